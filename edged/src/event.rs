//! What reaches the driver: inputs for the core with the bytes they name, puts
//! of local clients with whom to answer, questions about where things stand.

use relay_core::change::{OwedRow, Shelved};
use relay_core::event::{Caller, Done, Input, Order, OrderRefused, Refusal};
use relay_core::id::{PutId, SegmentId, StagedId};
use relay_core::scheduler::Picture;
use relay_core::segment::Digest;
use relay_core::time::Now;
use relay_core::why::{Blocked, Reason, Why};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::staging::Staged;

/// One thing that happened on a link or in the ledger.
#[derive(Debug)]
pub struct Event {
    /// For the core.
    pub input: Input,
    /// The bytes it names, if it names any.
    pub staged: Option<(StagedId, Staged)>,
    /// Room held for those bytes until they are stored or dropped.
    pub room: Option<HeldRoom>,
}

/// Room in memory for bytes that are on their way to disk; given back when dropped.
#[derive(Debug)]
pub struct HeldRoom {
    /// Of the node, and for what a peer sent of the share of its link. Behind one
    /// pointer, since most events hold none.
    permits: Box<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>,
}

impl HeldRoom {
    /// Room of the node and of one link.
    #[must_use]
    pub fn of_link(node: OwnedSemaphorePermit, link: OwnedSemaphorePermit) -> Self {
        Self {
            permits: Box::new((node, Some(link))),
        }
    }

    /// Parts so many bytes from it, or what it has of them.
    #[must_use]
    pub fn part(&mut self, bytes: usize) -> Self {
        let share = |permit: &mut OwnedSemaphorePermit| {
            let bytes = bytes.min(permit.num_permits());
            permit.split(bytes).expect("no more than it has is parted")
        };
        let (node, link) = &mut *self.permits;
        Self {
            permits: Box::new((share(node), link.as_mut().map(share))),
        }
    }
}

impl From<OwnedSemaphorePermit> for HeldRoom {
    fn from(node: OwnedSemaphorePermit) -> Self {
        Self {
            permits: Box::new((node, None)),
        }
    }
}

impl From<Input> for Event {
    fn from(input: Input) -> Self {
        Self {
            input,
            staged: None,
            room: None,
        }
    }
}

/// Something a local client wants.
#[derive(Debug)]
pub enum Local {
    /// An announcement or a put; the answer goes to `answer`.
    Put {
        /// What the core hears.
        event: Box<Event>,
        /// The put in it.
        put: PutId,
        /// Whom to tell.
        answer: oneshot::Sender<Answer>,
    },
    /// An operator's order, allowed already; the answer goes to `answer` once
    /// what it says is durable.
    Order {
        /// Who gives it.
        caller: Caller,
        /// What.
        order: Box<Order>,
        /// Whom to tell.
        answer: oneshot::Sender<Result<Done, OrderRefused>>,
    },
    /// The files these segments were made of are gone for good.
    Unspooled(Vec<SegmentId>),
    /// Why do these not move? Rows as the ledger shows them.
    Why(Vec<OwedRow>, oneshot::Sender<(Vec<Why>, Picture, Now)>),
    /// What does each of these wait on? Rows as the ledger shows them.
    Waits(Vec<OwedRow>, oneshot::Sender<Waits>),
    /// What blocks how much?
    WhyAll(Vec<Shelved>, oneshot::Sender<(Vec<Blocked>, Now)>),
    /// Where does everything stand?
    Look(oneshot::Sender<(Picture, Now)>),
}

/// What each row that was asked about waits on, and where everything stands.
pub type Waits = (Vec<Vec<Reason>>, Picture, Now);

/// What became of a put or an announcement.
#[derive(Debug)]
pub enum Answer {
    /// Its bytes are welcome.
    Admitted,
    /// It is durable.
    Accepted,
    /// Its key already named this segment; nothing was stored.
    Known(SegmentId, Digest),
    /// No, and nothing of it is kept.
    Refused(Refusal),
}
