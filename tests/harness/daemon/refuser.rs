//! A peer that refuses some segments for good, on the real transport.
//!
//! `edged` refuses for reasons of its own only, so a test that wants a chosen member
//! refused plays the peer itself: this one meets whoever dials over QUIC with real
//! certificates, hears packs, and answers each with an ack of its own making. It
//! keeps nothing but what it has seen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use bytes::Bytes;
use certs::{DefaultTimeProvider, Identity};
use edged::config::{Config, Sources};
use edged::event::Event;
use edged::staging::{Staged, Staging};
use edged::transport::{Admit, Ground, Payload, Source, Transport, TransportConfig};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use relay_core::change::{Nack, Refused, Sent};
use relay_core::event::{Arrival, Effect, Input, SendTrouble};
use relay_core::id::{BootEpoch, LaneName, LaneNo, LedgerId, NodeId, NodeNo, PackNo, ReceiptNo};
use relay_core::pack::Table;
use tokio::sync::oneshot;

use super::Home;

/// Judges one segment by its bytes: why it is refused, if it is.
pub type Rule = fn(&[u8]) -> Option<Nack>;

/// A running one.
#[derive(Debug)]
pub struct Refuser {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<BTreeMap<[u8; 16], u64>>>,
}

impl Refuser {
    /// Listens as the node at `home`, and refuses by `rule`.
    ///
    /// # Panics
    /// If the identity does not load or no port is free.
    #[must_use]
    pub fn start(home: &Home, rule: Rule) -> Self {
        let (bound, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let home = home.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("the system gives a runtime");
            runtime.block_on(async {
                let (transport, heard) = listen(&home);
                let address = transport
                    .local_addr()
                    .expect("a bound socket has an address");
                bound.send(address).expect("the test waits for it");
                serve(transport, heard, rule, stopped).await
            })
        });
        let address = address.recv().expect("it binds");
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where to dial it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; which segments came, refused ones included, and how often each.
    ///
    /// # Panics
    /// If it has panicked.
    #[must_use]
    pub fn finish(mut self) -> BTreeMap<[u8; 16], u64> {
        drop(self.stop.take());
        let thread = self.thread.take().expect("it is finished once");
        thread.join().expect("it goes on until it is told to stop")
    }
}

fn listen(home: &Home) -> (Transport, tokio::sync::mpsc::Receiver<Event>) {
    let config = Config::load(&Sources::new().file(home.config()))
        .expect("init's config loads")
        .0;
    let identity = Identity::load(&config.tls.bundle, &config.tls.ca).expect("init's leaf loads");
    let staged = home.state().join("staged");
    std::fs::create_dir_all(&staged).expect("a folder");
    let (events, heard) = tokio::sync::mpsc::channel(1024);
    let settings = TransportConfig::new(
        config.listen.quic,
        config.node.id,
        LedgerId(7),
        BootEpoch(1),
    );
    let ground = Ground {
        identity: Arc::new(identity),
        clock: Arc::new(DefaultTimeProvider),
        admit: Admit::Any,
        source: Arc::new(Nothing),
        staging: Staging::new(&staged, 1),
        events,
    };
    (
        Transport::bind(&settings, ground).expect("a free port"),
        heard,
    )
}

async fn serve(
    transport: Transport,
    mut heard: tokio::sync::mpsc::Receiver<Event>,
    rule: Rule,
    mut stopped: oneshot::Receiver<()>,
) -> BTreeMap<[u8; 16], u64> {
    let mut seen = BTreeMap::new();
    let mut receipts: BTreeMap<Sent, ReceiptNo> = BTreeMap::new();
    loop {
        let event = tokio::select! {
            event = heard.recv() => event,
            _ = &mut stopped => None,
        };
        let Some(Event { input, staged, .. }) = event else {
            break;
        };
        let Input::Arrived { link, arrival } = input else {
            continue;
        };
        for (id, _) in arrival.ids.iter() {
            *seen.entry(id.0).or_default() += 1;
        }
        let next = ReceiptNo(receipts.len() as u64 + 1);
        let receipt = *receipts.entry(arrival.heading.sent).or_insert(next);
        let bytes = staged.map(|(_, bytes)| bytes);
        transport.perform(Effect::Ack {
            link,
            receipt,
            sent: arrival.heading.sent,
            table: arrival.table,
            count: (arrival.ids.len() + arrival.refused.len()) as u32,
            refused: judged(&arrival, bytes, rule),
        });
    }
    drop(heard);
    transport.close().await;
    seen
}

/// Members refused, by index in the pack as sent.
fn judged(arrival: &Arrival, staged: Option<Staged>, rule: Rule) -> Vec<Refused> {
    let Some(Staged::Memory(bytes)) = staged else {
        panic!("small packs are staged in memory")
    };
    let at = arrival.shape.table_len as usize;
    let table = Table::parse(bytes.slice(..at), arrival.shape.count).expect("a checked table");
    let mut refused = arrival.refused.clone();
    for (n, member) in (0u16..).zip(table.members()) {
        let from = at + usize::try_from(member.offset).expect("it is in memory");
        let to = from + usize::try_from(member.length).expect("it is in memory");
        if let Some(why) = rule(&bytes[from..to]) {
            let index = arrival
                .indexes
                .as_ref()
                .map_or(n, |all| all[usize::from(n)]);
            refused.push((index, why));
        }
    }
    refused.sort_unstable();
    refused
}

/// It has nothing to send.
struct Nothing;

impl Source for Nothing {
    fn load(&self, _: PackNo) -> BoxFuture<'_, Result<Payload, SendTrouble>> {
        async { Err(SendTrouble::Missing) }.boxed()
    }

    fn chunk<'a>(
        &'a self,
        _: &'a Payload,
        _: u64,
        _: u64,
    ) -> BoxFuture<'a, Result<Bytes, SendTrouble>> {
        async { Err(SendTrouble::Missing) }.boxed()
    }

    fn lane(&self, _: LaneNo) -> Option<LaneName> {
        None
    }

    fn node(&self, _: NodeNo) -> Option<NodeId> {
        None
    }
}
