//! The stage: two nodes, the link between them, and what alpha says of its work.
//!
//! Raises everything in a temporary folder and takes it down again in any case:
//! fields drop in their order, so the nodes end before what talks to them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use edged_rpc::{Client, LinkState, Paging, RelayList, RelayStatus, State, StatusView};
use relay_core::units::{ByteCount, Rate};
use tempfile::TempDir;

use super::link::Link;
use super::load::Load;
use super::node::{Leash, Node};
use super::watch::Watch;

/// The sender.
const ALPHA: &str = "alpha";
/// The receiver.
pub(super) const BETA: &str = "beta";
/// A chosen port may be taken before beta binds it: so many ports are tried.
const PORTS: usize = 3;
/// The least ceiling of a node, as the config has it by default.
const CEILING: ByteCount = ByteCount(8 << 30);

/// What the stage is built for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    /// The program to run as a node.
    pub(super) binary: &'a Path,
    /// Bytes of all that is relayed.
    pub(super) bytes: u64,
    /// Bytes of the largest segment.
    pub(super) largest: u64,
    /// What alpha may send.
    pub(super) rate: Rate,
    /// Whether there will be faults, and so a link of our own.
    pub(super) faults: bool,
    /// Whether the nodes live on in the end.
    pub(super) keep: bool,
}

/// Both nodes and all between them.
#[derive(Debug)]
pub(super) struct Stage {
    /// A conversation with alpha; none while it is down.
    talk: Option<Client>,
    /// The sender.
    pub(super) alpha: Node,
    /// The receiver.
    pub(super) beta: Node,
    /// The putting, once it has begun.
    pub(super) load: Option<Load>,
    /// The link, if the demo holds it.
    pub(super) link: Option<Link>,
    /// Where beta listens.
    port: u16,
    /// How long nothing may move before we give up.
    patience: Duration,
    dir: TempDir,
}

/// How far alpha's ledger is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Deliveries that beta has and that alpha durably knows of.
    pub(super) acked: u64,
    /// Parked.
    pub(super) deadletter: u64,
    /// All that are neither.
    pub(super) waiting: u64,
}

impl Stage {
    /// Two running nodes.
    ///
    /// # Errors
    /// A node does not start; its log is quoted.
    pub(super) fn raise(plan: &Plan<'_>, watch: &Watch<'_>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("edged-demo-").tempdir();
        let dir = dir.context("no folder for the demo (TMPDIR says where)")?;
        let mut alpha = Node::set_up(dir.path(), ALPHA, plan.binary, None, 0)?;
        let ca = alpha.ca().to_owned();
        let mut beta = Node::set_up(dir.path(), BETA, plan.binary, Some(&ca), 0)?;
        let mut port = 0;
        for attempt in 1..=PORTS {
            port = free_port()?;
            beta.configure(&config(plan, Rate::UNLIMITED, ALPHA, None, Some(port)))?;
            match beta.start(Leash::Held, watch) {
                Ok(()) => break,
                // Most likely somebody took the port; if not, the last try says what.
                Err(error) if attempt == PORTS => return Err(error),
                Err(_) => watch.go_on()?,
            }
        }
        let link = plan
            .faults
            .then(|| Link::open(loopback(port)))
            .transpose()?;
        let target = link.as_ref().map_or(loopback(port), Link::address);
        alpha.configure(&config(plan, plan.rate, BETA, Some(target), None))?;
        alpha.start(Leash::Held, watch)?;
        Ok(Self {
            talk: None,
            alpha,
            beta,
            load: None,
            link,
            port,
            patience: patience(plan),
            dir,
        })
    }

    /// The folder of it all.
    #[must_use]
    pub(super) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The putting.
    ///
    /// # Errors
    /// It has not begun.
    pub(super) fn load(&self) -> Result<&Load> {
        self.load.as_ref().context("the load has not begun")
    }

    /// The link.
    ///
    /// # Errors
    /// The stage was raised without one.
    pub(super) fn link(&self) -> Result<&Link> {
        self.link
            .as_ref()
            .context("the nodes have a link of their own")
    }

    /// Lets the first `count` items be put, and waits until they are and until
    /// their fate is durable at alpha.
    ///
    /// # Errors
    /// A put is refused, alpha does not answer, or nothing moves any more.
    pub(super) fn carry(&mut self, count: usize, watch: &Watch<'_>) -> Result<Progress> {
        self.load()?.open(count);
        let mut before = None;
        loop {
            let what = "any progress of the deliveries";
            let (put, progress) = watch.until(what, self.patience, || {
                let put = self.load()?.has_put(count)?.is_some();
                let progress = self.progress()?;
                watch.at(progress.acked);
                let seen = (put, progress);
                Ok((before != Some(seen)).then_some(seen))
            })?;
            // Waiting is what the core knows, the rest is durable: it may be behind.
            let ended = progress.acked + progress.deadletter;
            if put && progress.waiting == 0 && ended >= count as u64 {
                return Ok(progress);
            }
            before = Some((put, progress));
        }
    }

    /// Stops both nodes as a service manager would, and starts them once more.
    ///
    /// # Errors
    /// One does not go or does not come back; its log is quoted.
    pub(super) fn restart(&mut self, plan: &Plan<'_>, watch: &Watch<'_>) -> Result<()> {
        self.talk = None;
        self.alpha.stop(watch)?;
        self.beta.stop(watch)?;
        let leash = if plan.keep { Leash::Loose } else { Leash::Held };
        if plan.keep {
            // Our link ends with us; what lives on must not need it.
            let direct = Some(loopback(self.port));
            self.alpha
                .configure(&config(plan, plan.rate, BETA, direct, None))?;
            self.link = None;
        }
        self.beta.start(leash, watch)?;
        self.alpha.start(leash, watch)
    }

    /// Kills alpha, and leaves it dead.
    ///
    /// # Errors
    /// It does not run, or the system refuses.
    pub(super) fn kill_alpha(&mut self) -> Result<()> {
        self.talk = None;
        self.alpha.kill()
    }

    /// Starts alpha again; how many open attempts it found in its ledger.
    ///
    /// # Errors
    /// It does not come back; its log is quoted.
    pub(super) fn start_alpha(&mut self, watch: &Watch<'_>) -> Result<u64> {
        self.alpha.start(Leash::Held, watch)?;
        Ok(self.status()?.rescued_at_start)
    }

    /// Both nodes live on, and so does their folder. The process ids.
    pub(super) fn leave(self) -> Vec<String> {
        let Self {
            mut alpha,
            mut beta,
            dir,
            ..
        } = self;
        let pids = [alpha.leave(), beta.leave()];
        // From here on it is the user's to remove.
        let _ = dir.keep();
        pids.into_iter()
            .flatten()
            .map(|pid| pid.to_string())
            .collect()
    }

    /// How far alpha's ledger is, from its counters.
    ///
    /// # Errors
    /// Alpha does not answer; its log is quoted.
    pub(super) fn progress(&mut self) -> Result<Progress> {
        let counters = self.ask(|alpha| Ok(alpha.counters()?))?;
        let mut progress = Progress::default();
        for book in counters.books.iter().filter(|book| book.peer_id == BETA) {
            progress.acked += book.acked;
            progress.deadletter += book.deadletter;
            progress.waiting += book.waiting;
        }
        Ok(progress)
    }

    /// How many attempts stand open in alpha's ledger.
    ///
    /// # Errors
    /// Alpha does not answer; its log is quoted.
    pub(super) fn inflight(&mut self) -> Result<u64> {
        let which = RelayList {
            state: Some(State::Inflight),
            page: Paging {
                limit: 1,
                after: None,
            },
            ..RelayList::default()
        };
        Ok(self.ask(|alpha| Ok(alpha.deliveries(&which)?))?.total)
    }

    /// Whether alpha believes that its link to beta is up.
    ///
    /// # Errors
    /// Alpha does not answer; its log is quoted.
    pub(super) fn is_up(&mut self) -> Result<bool> {
        let status = self.status()?;
        Ok(status
            .peers
            .iter()
            .any(|peer| peer.peer_id == BETA && peer.state == LinkState::Up))
    }

    fn status(&mut self) -> Result<StatusView> {
        Ok(self
            .ask(|alpha| Ok(alpha.status(&RelayStatus::default())?))?
            .status)
    }

    /// Asks alpha over one connection, kept while it runs.
    fn ask<T>(&mut self, question: impl FnOnce(&mut Client) -> Result<T>) -> Result<T> {
        let talk = match &mut self.talk {
            Some(talk) => talk,
            None => self.talk.insert(self.alpha.client()?),
        };
        question(talk).with_context(|| self.alpha.last_words())
    }
}

/// What the demo lays over the config that `init` wrote: a peer, its rate, room
/// for the input, and timeouts short enough to watch a link go down.
fn config(
    plan: &Plan<'_>,
    rate: Rate,
    peer: &str,
    target: Option<SocketAddr>,
    port: Option<u16>,
) -> String {
    // An inbox may take half of the ceiling, a put a quarter of it.
    let ceiling = CEILING
        .0
        .max(plan.bytes.saturating_mul(4))
        .max(plan.largest.saturating_mul(5));
    let addresses = target.map_or(String::new(), |target| format!("\"{target}\""));
    let listen = port.map_or(String::new(), |port| {
        format!("[listen]\nquic = \"127.0.0.1:{port}\"\n")
    });
    format!(
        "{listen}[relay]\ndial_timeout = \"5s\"\n\
         [bandwidth]\nbytes_per_second = {rate}\n\
         [storage]\nmax_bytes = \"{ceiling}B\"\n\
         [[peers]]\nid = \"{peer}\"\naddresses = [{addresses}]\n\
         keep_alive = \"500ms\"\nidle_timeout = \"2s\"\n",
        rate = rate.0,
    )
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A UDP port that nobody holds at this moment.
fn free_port() -> Result<u16> {
    let socket = UdpSocket::bind(loopback(0)).context("no free UDP port")?;
    Ok(socket.local_addr().context("no free UDP port")?.port())
}

/// How long nothing may move: a minute, and longer where one segment takes longer,
/// at its rate or at the 10 MiB/s of a slow disk.
fn patience(plan: &Plan<'_>) -> Duration {
    let slow = Rate(10 << 20).time_for(plan.largest);
    Duration::from_secs(60) + slow + plan.rate.time_for(plan.largest.saturating_mul(2))
}
