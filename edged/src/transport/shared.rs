//! What all links of one transport share, and what one link shares with its tasks.
//!
//! The few locks here are held for a look-up, never across an `.await`: identity and
//! admission are replaced while links are being made, and orders find their link by a
//! number that may be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use certs::{Identity, TimeProvider};
use quinn::Connection;
use relay_core::event::Input;
use relay_core::id::{LedgerId, LinkId, NodeId};
use relay_core::repeats::Repeats;
use relay_core::wire::{Durability, Hello};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::{Addresses, LinkTimes};
use super::error::LinkError;
use super::order::Order;
use super::refusals::Refusals;
use super::room::Room;
use super::source::Source;
use super::wary::Wary;
use crate::event::Event;
use crate::staging::Staging;

/// Whom we meet.
#[derive(Clone, Debug)]
pub enum Admit {
    /// Any node of the trust domain.
    Any,
    /// These.
    Known(BTreeSet<NodeId>),
}

impl Admit {
    /// Whether `node` may have a link.
    #[must_use]
    pub fn admits(&self, node: &NodeId) -> bool {
        match self {
            Self::Any => true,
            Self::Known(nodes) => nodes.contains(node),
        }
    }
}

/// What all links share.
pub(crate) struct Shared {
    pub(crate) hello: Hello,
    pub(crate) handshake: std::time::Duration,
    /// How long links live.
    pub(crate) times: LinkTimes,
    /// Where peers are dialled next.
    pub(crate) addresses: Addresses,
    /// Whether the core is to hear the topics of what arrives.
    pub(crate) topics: bool,
    pub(crate) clock: Arc<dyn TimeProvider>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) staging: Staging,
    /// What is not touched as it arrives.
    pub(crate) wary: Wary,
    pub(crate) events: mpsc::Sender<Event>,
    /// Room for arrivals, all links together.
    pub(crate) room: Arc<Semaphore>,
    /// Ends everything.
    pub(crate) stopping: CancellationToken,
    /// Every task outside a link, and every link.
    pub(crate) tasks: TaskTracker,
    pub(crate) identity: Mutex<Arc<Identity>>,
    pub(crate) admit: Mutex<Admit>,
    pub(crate) refusals: Mutex<Refusals>,
    /// What was said of a disk that fails arrivals.
    pub(crate) complaints: Mutex<Repeats<std::io::ErrorKind>>,
    pub(crate) links: Mutex<BTreeMap<LinkId, Handle>>,
    pub(crate) next_link: AtomicU64,
}

/// Where a link is reached.
pub(crate) struct Handle {
    pub(crate) line: Arc<Line>,
    pub(crate) orders: mpsc::Sender<Order>,
}

impl Shared {
    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&locked(&self.identity))
    }

    /// Why a connection ended, in words, as our own certificate and clock see it.
    pub(crate) fn explain(&self, error: &quinn::ConnectionError) -> String {
        let ours = self.identity().leaf().validity;
        super::refusals::explain(error, ours, self.clock.current_time())
    }

    /// Tells the driver; waits while it has enough to hear.
    pub(crate) async fn tell(&self, event: impl Into<Event>) -> Result<(), LinkError> {
        self.events
            .send(event.into())
            .await
            .map_err(|_| LinkError::Gone)
    }
}

/// What one link shares with its tasks.
pub(crate) struct Line {
    pub(crate) link: LinkId,
    pub(crate) peer: NodeId,
    /// The peer's ledger: names in its packs mean something there.
    pub(crate) ledger: LedgerId,
    pub(crate) connection: Connection,
    pub(crate) shared: Arc<Shared>,
    pub(crate) room: Room,
    promised: AtomicU8,
}

impl Line {
    pub(crate) fn new(
        link: LinkId,
        hello: &Hello,
        connection: Connection,
        shared: Arc<Shared>,
    ) -> Self {
        let room = Room::new(Arc::clone(&shared.room));
        let (peer, ledger) = (hello.node.clone(), hello.ledger);
        let line = Self {
            link,
            peer,
            ledger,
            connection,
            shared,
            room,
            promised: AtomicU8::new(0),
        };
        line.promise(hello.durability);
        line
    }

    /// Tells the driver; waits while it has enough to hear.
    pub(crate) async fn tell(&self, input: Input) -> Result<(), LinkError> {
        self.shared.tell(input).await
    }

    /// The peer promised no more than this.
    pub(crate) fn promise(&self, word: Durability) {
        let rank = match word {
            Durability::Synced => 0,
            Durability::Written => 1,
        };
        self.promised.fetch_max(rank, Ordering::Relaxed);
    }

    /// The weakest promise the peer made on this link.
    pub(crate) fn promised(&self) -> Durability {
        match self.promised.load(Ordering::Relaxed) {
            0 => Durability::Synced,
            _ => Durability::Written,
        }
    }
}

/// What a lock guards. A panic elsewhere ends the daemon in a release build; in tests
/// the value is whole all the same, since nothing here is changed in two steps.
pub(crate) fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
