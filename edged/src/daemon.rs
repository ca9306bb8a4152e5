//! Raises the parts in order, lowers them in reverse. The one file that knows
//! them all.
//!
//! Up: the state folder is locked, the ledger recovers, readers and journal
//! start, the identity is read, the endpoint binds, the socket listens. Down:
//! the socket stops accepting, the driver drains, links close, the journal
//! writes what was asked of it, the lock is given back.

mod opening;
mod wanted;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use certs::{DefaultTimeProvider, Identity};
use relay_core::backoff::Backoff;
use relay_core::change::Snapshot;
use relay_core::ledger::Ledger;
use relay_core::limits::KEEP_MARKS;
use relay_core::poison::Panic;
use relay_core::scheduler::Scheduler;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use opening::ledger_options;

use crate::clock;
use crate::config::{Config, Durability, Effective, Peer, PeerName};
use crate::desk::{Desk, Parts};
use crate::driver::{Driver, Ears, Hands};
use crate::journal::{Journal, JournalThread};
use crate::last_panic;
use crate::lock::StateLock;
use crate::payloads::Payloads;
use crate::readers::{ReaderThreads, Readers};
use crate::running::Running;
use crate::signals;
use crate::sink;
use crate::socket::{Closing, Socket};
use crate::spool;
use crate::staging::Staging;
use crate::transport::{Admit, Ground, Times, Transport, TransportConfig};

/// Inputs of links that wait to be heard: a few for each stream.
const EVENTS: usize = 1024;
/// Puts of local clients that wait to be heard: a few batches of packs.
const LOCALS: usize = 1024;
/// The wait after a failed dial, doubling.
const REDIAL: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(15),
};

/// Runs a daemon until `stop`, then until everything is durable.
///
/// # Errors
/// Why it cannot start, or cannot go on.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    run_loaded(config, Running::new(Effective::default(), None), stop).await
}

/// The same, with where the config came from, so that it can be read again.
///
/// # Errors
/// As [`run`].
pub async fn run_loaded(
    config: Config,
    running: Running,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (config, running) = (Arc::new(config), Arc::new(running));
    let lock = StateLock::take(&config.node.state_dir).context("cannot start edged")?;
    let (ledger, snapshot) = opening::open(&config).context("cannot start edged")?;
    let stores = Stores::start(ledger).context("cannot start edged")?;
    let result = serve((&config, running), &snapshot, &stores, stop).await;
    stores.lower();
    drop(lock);
    info!("Stopped");
    result
}

/// The threads that hold the ledger.
struct Stores {
    journal: Journal,
    journal_thread: JournalThread,
    reports: std::sync::Mutex<Option<mpsc::UnboundedReceiver<crate::journal::Report>>>,
    readers: Readers,
    reader_threads: ReaderThreads,
}

impl Stores {
    fn start(ledger: Ledger) -> anyhow::Result<Self> {
        let (readers, reader_threads) = Readers::start(&ledger)?;
        let (journal, journal_thread, reports) = Journal::start(ledger)?;
        let reports = std::sync::Mutex::new(Some(reports));
        Ok(Self {
            journal,
            journal_thread,
            reports,
            readers,
            reader_threads,
        })
    }

    /// Ends the threads once they have done what was asked of them. Tasks of the
    /// runtime may still hold handles on them: nobody waits for those.
    fn lower(self) {
        self.journal_thread.join(&self.journal);
        self.reader_threads.join(&self.readers);
    }
}

async fn serve(
    (config, running): (&Arc<Config>, Arc<Running>),
    snapshot: &Snapshot,
    stores: &Stores,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let staging =
        Staging::new(&payload_folder(config), snapshot.epoch.0).bounded_by(stores.journal.clone());
    let payloads = Payloads::new(stores.readers.clone());
    snapshot
        .nodes
        .iter()
        .for_each(|(no, name)| payloads.name_node(*no, name.clone()));
    snapshot
        .lanes
        .iter()
        .for_each(|(no, name)| payloads.name_lane(*no, name.clone()));
    let (events, heard_events) = mpsc::channel(EVENTS);
    let (locals, heard_locals) = mpsc::channel(LOCALS);
    let transport =
        bind(config, snapshot, &payloads, &staging, events).context("cannot start edged")?;
    let transport = Arc::new(transport);
    let socket = Socket::bind(&config.rpc).context("cannot start edged")?;
    let seed = random()?;
    let desk = Desk::new(Parts {
        config: Arc::clone(config),
        running,
        epoch: snapshot.epoch,
        locals,
        readers: stores.readers.clone(),
        journal: stores.journal.clone(),
        payloads: payloads.clone(),
        staging: staging.clone(),
        transport: Arc::clone(&transport),
        seed,
    });
    let scheduler = Scheduler::new(
        wanted::settings(config),
        snapshot.clone(),
        random()?,
        clock::now(),
    );
    let hands = Hands {
        journal: stores.journal.clone(),
        readers: stores.readers.clone(),
        payloads,
        transport: Arc::clone(&transport),
        staging,
        addresses: addresses(config),
        dial_timeout: config.relay.dial_timeout,
    };
    let reports = stores
        .reports
        .lock()
        .ok()
        .and_then(|mut reports| reports.take());
    let reports = reports.context("the journal reports once")?;
    let ears = Ears {
        reports,
        events: heard_events,
        locals: heard_locals,
    };
    info!(
        node = %config.node.id, epoch = snapshot.epoch.0, rescued = snapshot.rescued,
        quic = %transport.local_addr()?, socket = %config.rpc.socket.display(), "Started"
    );
    let socket_stop = CancellationToken::new();
    signals::reload_on_hangup(desk.clone(), socket_stop.clone())
        .context("cannot listen for SIGHUP")?;
    let closing = Closing::new(stop);
    let spools = spool::run(desk.clone(), snapshot.spooled.clone(), socket_stop.clone());
    let spools = tokio::spawn(spools);
    let sink = tokio::spawn(sink::run(desk.clone(), socket_stop.clone()));
    let clients = tokio::spawn(socket.serve(desk, closing.clone(), socket_stop.clone()));
    tell_systemd(&sd_notify::NotifyState::Status(""));
    tell_systemd(&sd_notify::NotifyState::Ready);
    let panics = last_panics(config, snapshot, &transport);
    let ended = Driver::new(scheduler, hands)
        .after(panics)
        .run(ears, closing.told)
        .await;
    tell_systemd(&sd_notify::NotifyState::Stopping);
    socket_stop.cancel();
    // These tasks end with the token; a panic of theirs has aborted us.
    let _ = clients.await;
    let _ = spools.await;
    let _ = sink.await;
    transport.close().await;
    ended.map_err(Into::into)
}

/// What earlier runs died of, which the core hears of first.
fn last_panics(config: &Config, snapshot: &Snapshot, transport: &Transport) -> Vec<Panic> {
    let (ledger, epoch) = (snapshot.ledger, snapshot.epoch);
    let panics = last_panic::arm(&config.node.state_dir, ledger, epoch);
    if let Some(last) = panics.iter().find(|panic| panic.epoch.0 + 1 == epoch.0) {
        warn!(epoch = last.epoch.0, touched = ?last.touched, said = %last.said, "The last run ended by a panic");
    }
    let now = clock::now().unix;
    if panics.iter().any(|panic| panic.at + KEEP_MARKS > now) {
        transport.be_careful();
    }
    panics
}

/// Says to the service manager how far we are, if there is one.
fn tell_systemd(state: &sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::debug!(%error, "No service manager was told");
    }
}

/// Where payloads that are files lie: the ledger's own folder for them.
fn payload_folder(config: &Config) -> PathBuf {
    config.node.state_dir.join("payload")
}

fn bind(
    config: &Config,
    snapshot: &Snapshot,
    payloads: &Payloads,
    staging: &Staging,
    events: mpsc::Sender<crate::event::Event>,
) -> anyhow::Result<Transport> {
    let identity = Identity::load(&config.tls.bundle, &config.tls.ca)?;
    let named = identity.leaf().name.node.as_str();
    anyhow::ensure!(
        named == config.node.id.as_str(),
        "certificate {} names node {named:?}, the config says {:?} (wrong_node)",
        config.tls.bundle.display(),
        config.node.id.as_str(),
    );
    let mut settings = TransportConfig::new(
        config.listen.quic,
        config.node.id.clone(),
        snapshot.ledger,
        snapshot.epoch,
    );
    settings.max_segment = max_put(config);
    settings.topics = !config.routes.is_empty();
    settings.handshake = config.relay.dial_timeout;
    settings.durability = match config.storage.durability {
        Durability::Synced => relay_core::wire::Durability::Synced,
        Durability::Written => relay_core::wire::Durability::Written,
    };
    for peer in &config.peers {
        let (keep_alive, idle) = (peer.keep_alive, peer.idle_timeout);
        match &peer.id {
            PeerName::Any => (settings.keep_alive, settings.idle) = (keep_alive, idle),
            PeerName::Node(id) => {
                settings
                    .times
                    .insert(id.clone(), Times { keep_alive, idle });
            }
        }
    }
    let ground = Ground {
        identity: Arc::new(identity),
        clock: Arc::new(DefaultTimeProvider),
        admit: admit(config),
        source: Arc::new(payloads.clone()),
        staging: staging.clone(),
        events,
    };
    Ok(Transport::bind(&settings, ground)?)
}

fn admit(config: &Config) -> Admit {
    let named = |peer: &Peer| match &peer.id {
        PeerName::Node(id) => Some(id.clone()),
        PeerName::Any => None,
    };
    if config.peers.iter().any(|peer| peer.id == PeerName::Any) {
        return Admit::Any;
    }
    Admit::Known(config.peers.iter().filter_map(named).collect())
}

/// The largest put and arrival: a quarter of the ceiling (semantics 9).
fn max_put(config: &Config) -> u64 {
    config.storage.max_bytes.0 / 4
}

fn addresses(config: &Config) -> std::collections::BTreeMap<relay_core::id::NodeId, Vec<String>> {
    let of = |peer: &Peer| match &peer.id {
        PeerName::Node(id) => Some((
            id.clone(),
            peer.addresses.iter().map(ToString::to_string).collect(),
        )),
        PeerName::Any => None,
    };
    config.peers.iter().filter_map(of).collect()
}

fn random() -> anyhow::Result<u64> {
    getrandom::u64().context("the operating system gives no random bytes")
}
