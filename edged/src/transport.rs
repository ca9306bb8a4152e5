//! The QUIC endpoint: it meets peers, carries what the core asks for, tells what comes.
//!
//! A [`Transport`] performs the effects that name a link, dials the peers it is told to,
//! and reports inputs on one bounded channel. It decides nothing: which link of two
//! stays, what is sent when, what is acknowledged, is the core's to say. What is said on
//! a link is [`relay_core::wire`]'s doorway.
//!
//! Promised: a link is reported up after the peer's Hello, never before its certificate
//! and name are proven, and no stream but control is read until then; it is reported
//! down exactly once, after the last of its inputs. Arrivals take room in memory before
//! they are read and hold it until the event is dropped. A peer that breaks the protocol
//! ends its own link, never another, never the daemon.
//!
//! | file | what it is |
//! |---|---|
//! | `config` | what a transport is told, and what it stands on |
//! | `endpoint` | the UDP socket and QUIC's numbers, each with its reason |
//! | `meet` | TLS, then the node, then Hello: accepting and dialling |
//! | `refusals` | who was refused at which gate, and how to say so |
//! | `link` | the task that owns one connection and the tasks of its streams |
//! | `order` | what the core asks of a link |
//! | `control` | answers, both ways |
//! | `lane` | the packs of one lane, both ways |
//! | `upload`, `download` | one large segment, out and in |
//! | `inflow` | the body of one on its way in, kept when it is cut off |
//! | `arrival` | from the bytes of a pack to the words the core hears; pure |
//! | `source` | where bytes to send come from |
//! | `addresses` | where peers are dialled, and how long their links live |
//! | `wary` | what is not touched as it arrives, since it brought us down |
//! | `watch` | changes of the network, and silence |
//! | `room` | memory for arrivals, bounded |
//! | `frames` | one frame at a time from a stream |
//! | `shared`, `error` | what links share; what ends them |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certs::{Identity, Refusal};
use quinn::{Endpoint, Incoming, VarInt};
use relay_core::event::Effect;
use relay_core::id::{LinkId, NodeId, SegmentId};
use relay_core::wire::{Durability, Goodbye};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use shared::{Shared, locked};

mod addresses;
mod arrival;
mod config;
mod control;
mod download;
mod endpoint;
mod error;
mod frames;
mod inflow;
mod lane;
mod link;
mod meet;
mod odometer;
mod order;
mod refusals;
mod room;
mod shared;
mod source;
mod upload;
mod wary;
mod watch;

pub use addresses::Times;
pub use config::{Ground, TransportConfig};
pub use error::TransportError;
pub use refusals::Refusals;
pub use shared::Admit;
pub use source::{Bodies, Payload, Source};

/// Handshakes under way at once. From a quarter of them on, a dialler must first show
/// that it can be reached at its address.
const HANDSHAKES: usize = 64;
/// How long the endpoint waits for its last datagrams to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How one link fares.
#[derive(Clone, Debug)]
pub struct LinkStats {
    /// Who is there.
    pub peer: NodeId,
    /// Where.
    pub address: SocketAddr,
    /// The smoothed round trip time.
    pub rtt: Duration,
    /// UDP bytes sent, headers of IP and UDP not counted.
    pub sent_bytes: u64,
    /// UDP datagrams sent.
    pub sent_datagrams: u64,
    /// UDP bytes received.
    pub received_bytes: u64,
    /// Packets QUIC takes for lost.
    pub lost_packets: u64,
    /// The largest datagram the path is known to carry.
    pub mtu: u16,
    /// Times the path was judged to swallow large datagrams.
    pub black_holes: u64,
    /// The weakest promise the peer's words made on this link.
    pub promised: Durability,
}

/// The QUIC endpoint of this node.
pub struct Transport {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

impl Transport {
    /// Binds the UDP socket and begins to answer; called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be bound, the identity makes no TLS configuration, or the idle
    /// timeout is beyond what QUIC can say.
    pub fn bind(config: &TransportConfig, ground: Ground) -> Result<Self, TransportError> {
        let Ground {
            identity,
            clock,
            admit,
            source,
            staging,
            events,
        } = ground;
        let rest = Times {
            keep_alive: config.keep_alive,
            idle: config.idle,
        };
        let times = addresses::LinkTimes::new(rest, &config.times)?;
        // Only its retry tokens are used: each dialler is answered with a fresh one.
        let tls = identity.server_config(Arc::clone(&clock), Refusal::new())?;
        let server = endpoint::server_config(tls, times.accepted())?;
        let socket = endpoint::socket(config.listen)?;
        let unbound = |source| TransportError::Socket {
            listen: config.listen,
            source,
        };
        let spare = socket.try_clone().map_err(unbound)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(endpoint::endpoint_config(), Some(server), socket, runtime)
            .map_err(unbound)?;
        let shared = Arc::new(Shared {
            hello: config.hello(),
            handshake: config.handshake,
            times,
            addresses: addresses::Addresses::default(),
            topics: config.topics,
            clock,
            source,
            staging,
            wary: wary::Wary::default(),
            events,
            room: Arc::new(Semaphore::new(room::NODE_BYTES)),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            identity: Mutex::new(identity),
            admit: Mutex::new(admit),
            refusals: Mutex::new(Refusals::default()),
            complaints: Mutex::default(),
            links: Mutex::new(BTreeMap::new()),
            next_link: AtomicU64::new(1),
        });
        shared
            .tasks
            .spawn(answer(Arc::clone(&shared), endpoint.clone()));
        shared
            .tasks
            .spawn(watch::watch(Arc::clone(&shared), endpoint.clone(), spare));
        Ok(Self { endpoint, shared })
    }

    /// The address bound, with the port the system chose.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Dials `peer` at `addresses` (`host:port`) in order, those that failed lately last,
    /// all within `timeout`. Comes to
    /// [`Input::LinkUp`], or to [`Input::LinkDown`] without a link.
    ///
    /// [`Input::LinkUp`]: relay_core::event::Input::LinkUp
    /// [`Input::LinkDown`]: relay_core::event::Input::LinkDown
    pub fn dial(&self, peer: NodeId, addresses: Vec<String>, timeout: Duration) {
        let (shared, endpoint) = (Arc::clone(&self.shared), self.endpoint.clone());
        self.shared
            .tasks
            .spawn(meet::dial(shared, endpoint, peer, addresses, timeout));
    }

    /// Performs an effect that names a link. Others, and those whose link is gone, are
    /// passed over.
    pub fn perform(&self, effect: Effect) {
        let Some((link, order)) = order::order(effect, self.shared.hello.durability) else {
            return;
        };
        let links = locked(&self.shared.links);
        let Some(handle) = links.get(&link) else {
            debug!(%link, ?order, "Order for a link that is gone");
            return;
        };
        match handle.orders.try_send(order) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                error!(%link, peer = %handle.line.peer, "Link ends: more orders than the core allows");
                let code = VarInt::from_u32(Goodbye::Internal.code());
                handle.line.connection.close(code, b"overflow");
            }
        }
    }

    /// Never touches the bytes of this segment as it arrives: it is refused.
    pub fn shun(&self, id: SegmentId) {
        self.shared.wary.shun(id);
    }

    /// What arrives is touched segment by segment from here on, so that a panic names
    /// one.
    pub fn be_careful(&self) {
        self.shared.wary.be_careful();
    }

    /// How a link fares; `None` when it is gone.
    #[must_use]
    pub fn stats(&self, link: LinkId) -> Option<LinkStats> {
        let links = locked(&self.shared.links);
        let line = &links.get(&link)?.line;
        let stats = line.connection.stats();
        Some(LinkStats {
            peer: line.peer.clone(),
            address: line.connection.remote_address(),
            rtt: stats.path.rtt,
            sent_bytes: stats.udp_tx.bytes,
            sent_datagrams: stats.udp_tx.datagrams,
            received_bytes: stats.udp_rx.bytes,
            lost_packets: stats.path.lost_packets,
            mtu: stats.path.current_mtu,
            black_holes: stats.path.black_holes_detected,
            promised: line.promised(),
        })
    }

    /// The links there are, in the order they came up.
    #[must_use]
    pub fn links(&self) -> Vec<LinkId> {
        locked(&self.shared.links).keys().copied().collect()
    }

    /// Handshakes refused since the start.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        locked(&self.shared.refusals).clone()
    }

    /// New links use this identity; live ones stay as they are.
    pub fn set_identity(&self, identity: Arc<Identity>) {
        *locked(&self.shared.identity) = identity;
    }

    /// New links are admitted by this; live ones stay as they are.
    pub fn set_admit(&self, admit: Admit) {
        *locked(&self.shared.admit) = admit;
    }

    /// Ends every link with `draining`, and the endpoint; returns once all is ended. The
    /// events must be read meanwhile, or their channel be closed.
    pub async fn close(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let code = VarInt::from_u32(Goodbye::Draining.code());
        self.endpoint
            .close(code, Goodbye::Draining.as_str().as_bytes());
        // What has not left by then is repeated by nobody and missed by nobody.
        let _ = tokio::time::timeout(LAST_WORDS, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // Its tasks hold the endpoint: without this they would outlive it.
        self.shared.stopping.cancel();
    }
}

/// Answers diallers until the transport stops.
async fn answer(shared: Arc<Shared>, endpoint: Endpoint) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = shared.stopping.cancelled() => None,
        };
        let Some(incoming) = incoming else { return };
        admit(&shared, &handshakes, incoming);
    }
}

fn admit(shared: &Arc<Shared>, handshakes: &Arc<Semaphore>, incoming: Incoming) {
    let Ok(place) = Arc::clone(handshakes).try_acquire_owned() else {
        debug!(from = %incoming.remote_address(), "Too many handshakes at once");
        incoming.refuse();
        return;
    };
    let crowded = handshakes.available_permits() < HANDSHAKES - HANDSHAKES / 4;
    if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
        // It may: asked just above.
        let _ = incoming.retry();
        return;
    }
    shared
        .tasks
        .spawn(meet::answer(Arc::clone(shared), incoming, place));
}
