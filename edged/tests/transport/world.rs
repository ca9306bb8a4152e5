//! Nodes in one process: identities of one trust domain, packs to send, events heard.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use certs::{
    Authority, Bundle, DefaultTimeProvider, Identity, IssueOptions, TimeProvider, UnixTime,
};
use edged::event::Event;
use edged::staging::{Staged, Staging};
use edged::transport::{Admit, Bodies, Ground, Payload, Source, Transport, TransportConfig};
use futures_util::future::{BoxFuture, FutureExt};
use relay_core::change::{Due, Part};
use relay_core::event::{Arrival, Effect, Input, Parcel, SendTrouble};
use relay_core::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, SegmentId, Sequence,
};
use relay_core::pack::{Builder, Table, single_table};
use relay_core::segment::{Class, Digest, PackInfo};
use relay_core::time::Unix;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Longer than anything here takes, shorter than anyone waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn node_id(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

pub(crate) fn now() -> UnixTime {
    DefaultTimeProvider
        .current_time()
        .expect("this machine has a clock")
}

pub(crate) fn earlier(by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs()) - by)
}

/// A certificate authority of the test's trust domain.
pub(crate) fn authority() -> Authority {
    Authority::create(
        &"example.edge".parse().expect("a domain"),
        earlier(Duration::from_secs(86_400)),
    )
    .expect("an authority")
}

pub(crate) fn bundle(authority: &Authority, node: &str) -> Bundle {
    authority
        .issue(&node.parse().expect("a node id"), IssueOptions::at(now()))
        .expect("a leaf")
}

pub(crate) fn identity(bundle: &Bundle, trusted: &Authority) -> Arc<Identity> {
    Arc::new(Identity::new(bundle, vec![trusted.certificate().clone()]).expect("an identity"))
}

/// Two nodes of one domain, not yet linked.
pub(crate) fn two() -> (Node, Node) {
    let authority = authority();
    (Node::of("alpha", &authority), Node::of("beta", &authority))
}

/// Two nodes and the number each gives their link; the first has dialled.
pub(crate) async fn linked() -> ((Node, LinkId), (Node, LinkId)) {
    let (mut alpha, mut beta) = two();
    alpha.dial(&beta);
    let (a, b) = (alpha.link().await, beta.link().await);
    ((alpha, a), (beta, b))
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) transport: Transport,
    pub(crate) packs: Arc<Packs>,
    pub(crate) folder: TempDir,
    events: mpsc::Receiver<Event>,
}

impl Node {
    pub(crate) fn of(id: &str, authority: &Authority) -> Self {
        Self::with(id, identity(&bundle(authority, id), authority), Admit::Any)
    }

    pub(crate) fn with(id: &str, identity: Arc<Identity>, admit: Admit) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let packs = Arc::new(Packs::default());
        let (events, heard) = mpsc::channel(1024);
        let listen = "127.0.0.1:0".parse().expect("an address");
        let ledger = LedgerId(id.bytes().map(u64::from).sum());
        let config = TransportConfig::new(listen, node_id(id), ledger, BootEpoch(1));
        let ground = Ground {
            identity,
            clock: Arc::new(DefaultTimeProvider),
            admit,
            source: Arc::clone(&packs) as Arc<dyn Source>,
            staging: Staging::new(folder.path(), 1),
            events,
        };
        let transport = Transport::bind(&config, ground).expect("a free port");
        Self {
            id: node_id(id),
            transport,
            packs,
            folder,
            events: heard,
        }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.transport.local_addr().expect("a bound socket")
    }

    pub(crate) fn dial(&self, to: &Self) {
        self.dial_as(to, to.id.as_str());
    }

    pub(crate) fn dial_as(&self, to: &Self, name: &str) {
        self.transport
            .dial(node_id(name), vec![to.address().to_string()], PATIENCE);
    }

    /// The next event that `pick` takes; others are passed over.
    pub(crate) async fn hear<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the transport lives");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("the event comes in time")
    }

    /// What was heard and not yet looked at, but for what the wire carried: that is told
    /// once in a while, whatever happens.
    pub(crate) fn unheard(&mut self) -> Vec<Input> {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .map(|event| event.input)
            .filter(|input| !matches!(input, Input::SentOnWire { .. }))
            .collect()
    }

    pub(crate) async fn link(&mut self) -> LinkId {
        self.hear(|event| match event.input {
            Input::LinkUp { link, .. } => Some(link),
            Input::LinkDown { why, .. } => panic!("no link: {why}"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn down(&mut self) -> (Option<LinkId>, String) {
        self.hear(|event| match event.input {
            Input::LinkDown { link, why, .. } => Some((link, why)),
            _ => None,
        })
        .await
    }

    pub(crate) async fn arrival(&mut self) -> (Arrival, Option<Staged>) {
        self.hear(|event| match event.input {
            Input::Arrived { arrival, .. } => {
                Some((*arrival, event.staged.map(|(_, bytes)| bytes)))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn taken(&mut self, due: Due) -> u64 {
        self.hear(|event| match event.input {
            Input::Taken { due: of, bytes, .. } if of == due => Some(bytes),
            _ => None,
        })
        .await
    }

    /// Sends all that `parcel` selects in one piece.
    pub(crate) fn send(&self, link: LinkId, parcel: &Parcel, bytes: u64) {
        let parcel = parcel.clone();
        let table = u64::from(parcel.info.table_len);
        self.transport.perform(Effect::Send {
            link,
            parcel,
            from: 0,
            bytes: table + bytes,
            last: true,
        });
    }

    /// The first refusal this node counts at a gate.
    pub(crate) async fn refusal(&self) -> (String, String) {
        let found = async {
            loop {
                let refusals = self.transport.refusals();
                if let Some((gate, _)) = refusals.counts.first_key_value() {
                    let last = refusals.last.into_values().next().unwrap_or_default();
                    return (gate.to_string(), last);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("the refusal is counted in time")
    }
}

/// The packs a node has to send.
#[derive(Default)]
pub(crate) struct Packs {
    held: Mutex<BTreeMap<PackNo, Payload>>,
}

impl Packs {
    /// Keeps a pack of these bodies; answers what the core would ask to send of it.
    pub(crate) fn keep(&self, no: u64, bodies: &[&[u8]]) -> Parcel {
        let mut pack = Builder::new();
        for body in bodies {
            pack.push(SegmentId::v7(1_000, u128::from(no)), b"", body);
        }
        let built = pack.finish().expect("it has members");
        let table = built.bytes.slice(..built.table_len as usize);
        let bodies = built.bytes.slice(built.table_len as usize..);
        self.hold(no, built.count, table, Bodies::Memory(bodies))
    }

    /// Keeps one large segment in memory.
    pub(crate) fn keep_large(&self, no: u64, body: Bytes) -> Parcel {
        let id = SegmentId::v7(1_000, u128::from(no));
        let table = single_table(id, Digest::of(&body), body.len() as u64, b"");
        self.hold(no, 1, table, Bodies::Memory(body))
    }

    /// Keeps one large segment in a file.
    pub(crate) fn keep_file(&self, no: u64, body: &[u8], path: &Path) -> Parcel {
        std::fs::write(path, body).expect("a file");
        let id = SegmentId::v7(1_000, u128::from(no));
        let table = single_table(id, Digest::of(body), body.len() as u64, b"");
        let bodies = Bodies::File {
            path: path.to_owned(),
            length: body.len() as u64,
        };
        self.hold(no, 1, table, bodies)
    }

    /// Flips a bit of a body that is kept in memory.
    pub(crate) fn spoil(&self, no: u64, at: usize) {
        let mut held = self.held.lock().expect("no test panics here");
        let payload = held.get_mut(&PackNo(no)).expect("it is kept");
        if let Bodies::Memory(bytes) = &mut payload.bodies {
            let mut spoilt = bytes.to_vec();
            spoilt[at] ^= 1;
            *bytes = spoilt.into();
        }
    }

    pub(crate) fn lose(&self, no: u64) {
        self.held
            .lock()
            .expect("no test panics here")
            .remove(&PackNo(no));
    }

    pub(crate) fn table(&self, no: u64) -> Bytes {
        self.held.lock().expect("no test panics here")[&PackNo(no)]
            .table
            .clone()
    }

    fn hold(&self, no: u64, count: u32, table: Bytes, bodies: Bodies) -> Parcel {
        let parsed = Table::parse(table.clone(), count).expect("a sound table");
        let (first, last) = parsed.id_range();
        let info = PackInfo {
            lane: LaneNo(4),
            origin: NodeNo::LOCAL,
            via: NodeNo::LOCAL,
            sequence: Sequence::of(PackNo(no)),
            hops: 0,
            count,
            bytes: parsed.body_len(),
            table_len: table.len() as u32,
            table: Digest::of(&table),
            first,
            last,
            created: Unix(0),
            expires: None,
        };
        let payload = Payload { table, bodies };
        self.held
            .lock()
            .expect("no test panics here")
            .insert(PackNo(no), payload);
        Parcel {
            due: Due {
                peer: NodeNo(1),
                pack: PackNo(no),
                part: Part::Rest,
            },
            except: Arc::from([]),
            info,
            class: Class::new(4).expect("a class"),
            ttl: Some(Duration::from_secs(60)),
        }
    }
}

impl Source for Packs {
    fn load(&self, pack: PackNo) -> BoxFuture<'_, Result<Payload, SendTrouble>> {
        let held = self.held.lock().expect("no test panics here");
        let found = held.get(&pack).cloned().ok_or(SendTrouble::Missing);
        async move { found }.boxed()
    }

    fn chunk<'a>(
        &'a self,
        payload: &'a Payload,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Bytes, SendTrouble>> {
        let chunk = match &payload.bodies {
            Bodies::Memory(_) => Err(SendTrouble::Missing),
            Bodies::File { path, .. } => {
                let all = std::fs::read(path).map_err(|_| SendTrouble::Missing);
                all.map(|all| Bytes::copy_from_slice(&all[from as usize..(from + length) as usize]))
            }
        };
        async move { chunk }.boxed()
    }

    fn lane(&self, lane: LaneNo) -> Option<LaneName> {
        (lane == LaneNo(4)).then(|| "default".parse().expect("a lane"))
    }

    fn node(&self, node: NodeNo) -> Option<NodeId> {
        (node == NodeNo(2)).then(|| node_id("gamma"))
    }
}

/// The bodies of what was staged in memory, digests checked.
pub(crate) fn bodies(arrival: &Arrival, staged: Option<Staged>) -> Vec<Bytes> {
    let Some(Staged::Memory(bytes)) = staged else {
        panic!("staged in memory: {staged:?}")
    };
    let at = arrival.shape.table_len as usize;
    let table = Table::parse(bytes.slice(..at), arrival.shape.count).expect("a sound table");
    assert_eq!(table.verify(&bytes[at..]), Ok(vec![]));
    assert_eq!(Digest::of(table.bytes()), arrival.shape.table);
    let of = |offset: u64, length: u64| at + offset as usize..at + (offset + length) as usize;
    table
        .members()
        .iter()
        .map(|m| bytes.slice(of(m.offset, m.length)))
        .collect()
}

/// Bytes that repeat nowhere near.
pub(crate) fn noise(length: usize) -> Bytes {
    (0..length)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

pub(crate) fn known(names: &[&str]) -> Admit {
    Admit::Known(
        names
            .iter()
            .map(|name| node_id(name))
            .collect::<BTreeSet<_>>(),
    )
}
