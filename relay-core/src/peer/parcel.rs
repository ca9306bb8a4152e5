//! A parcel in memory: members of one pack that are moved together, and what is
//! being done with them.

use std::sync::Arc;

use crate::change::OwedRow;
use crate::delivery::StateName;
use crate::event::{Ack, SendTrouble};
use crate::id::Ticket;
use crate::queue::Key;
use crate::segment::PackInfo;
use crate::time::Mono;

/// What a parcel in memory is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Put, and not yet durable.
    Storing,
    /// Scheduled, in its lane's ready set.
    Ready,
    /// In flight, its mark becoming durable with this ticket.
    Marking(Ticket),
    /// In flight, in its lane's outbox; `sent` bytes are with the transport.
    Outbox,
    /// In flight, offered, no answer yet.
    Offered,
    /// In flight, every byte with the transport; not all acknowledged by QUIC at
    /// the peer.
    Leaving,
    /// In flight, every byte at the peer; an ack is awaited since then.
    Sent,
    /// Our own bytes are being checked before its answer is believed.
    Judging(Box<Judgement>),
    /// Failed; rests until then.
    Resting(Mono),
    /// Nothing is to be done about it: terminal, or shelved. Its last change
    /// becomes durable with this ticket; then it leaves memory.
    Settling(Ticket),
    /// Not needed: its row goes with this ticket; then it leaves memory.
    Spared(Ticket),
    /// It stands by no longer once this ticket is durable; then it is ready.
    Woken(Ticket),
}

/// What made us look at our own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The peer's answer.
    Answer(Ack),
    /// The transport could not read them.
    Trouble(SendTrouble),
    /// A panic named its pack: it is to be taken apart.
    Suspect,
}

/// Members of one pack that are moved together.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its row, as last asked to be made durable.
    pub row: OwedRow,
    /// Its pack.
    pub info: PackInfo,
    /// Members of the pack with rows of their own.
    pub except: Arc<[u16]>,
    /// What it is doing.
    pub phase: Phase,
    /// While it waits: its row is durable with this ticket.
    pub said: Ticket,
    /// Whether its row was removed for good.
    pub gone: bool,
    /// Whether a large one was offered on this link and is wanted.
    pub wanted: bool,
    /// Whether its next chunk was already counted as delayed by a rate.
    pub throttled: bool,
    /// Whether it was put before its turn in the lane, and is not yet durable.
    pub fresh: bool,
    /// Bytes before this are given to the transport, or not wanted again.
    pub sent: u64,
    /// Of these, taken by the connection.
    pub taken: u64,
    /// Chunks of these not yet taken.
    pub chunks: u32,
    /// Bytes given to the transport in this attempt: without those before the place
    /// where a segment was resumed.
    pub given: u64,
    /// When the ack began to be awaited; orders the timeouts.
    pub awaiting: Option<Mono>,
    /// Enough other peers have it: once it is out of flight it is not needed.
    pub needless: bool,
}

impl Parcel {
    /// A parcel as read back or put, in `phase`.
    #[must_use]
    pub const fn new(row: OwedRow, info: PackInfo, except: Arc<[u16]>, phase: Phase) -> Self {
        Self {
            row,
            info,
            except,
            phase,
            said: Ticket(0),
            gone: false,
            wanted: false,
            throttled: false,
            fresh: false,
            sent: 0,
            taken: 0,
            chunks: 0,
            given: 0,
            awaiting: None,
            needless: false,
        }
    }

    /// Its place in its peer.
    #[must_use]
    pub const fn key(&self) -> Key {
        (self.row.due.pack, self.row.due.part)
    }

    /// Whether it waits for its turn, rests, or is shelved: nothing is being done with it,
    /// and no change of it is under way that another waits for.
    #[must_use]
    pub const fn waits(&self) -> bool {
        match self.phase {
            Phase::Ready | Phase::Resting(_) => true,
            Phase::Settling(_) => !self.row.state.name().is_terminal(),
            Phase::Storing
            | Phase::Marking(_)
            | Phase::Outbox
            | Phase::Offered
            | Phase::Leaving
            | Phase::Sent
            | Phase::Judging(_)
            | Phase::Spared(_)
            | Phase::Woken(_) => false,
        }
    }

    /// Whether nothing is to be done about it any more, and all of it is durable once
    /// `durable` is.
    #[must_use]
    pub fn is_done(&self, durable: Ticket) -> bool {
        match self.phase {
            Phase::Settling(ticket) | Phase::Spared(ticket) => ticket <= durable,
            Phase::Storing
            | Phase::Ready
            | Phase::Marking(_)
            | Phase::Outbox
            | Phase::Offered
            | Phase::Leaving
            | Phase::Sent
            | Phase::Judging(_)
            | Phase::Resting(_)
            | Phase::Woken(_) => false,
        }
    }

    /// Whether it holds a place in the window of its lane.
    #[must_use]
    pub fn is_flying(&self) -> bool {
        self.row.state.name() == StateName::Inflight
    }

    /// Whether a connection has it and cannot be made to give it back: a pack
    /// shares its stream, a large segment has its own.
    #[must_use]
    pub const fn is_handed_over(&self) -> bool {
        !self.info.is_large() && matches!(self.phase, Phase::Leaving | Phase::Sent)
    }

    /// What it puts on the wire, but for the words before it: a small pack goes with
    /// its table, that of a large segment went with the offer.
    #[must_use]
    pub const fn length(&self) -> u64 {
        if self.info.is_large() {
            self.row.bytes
        } else {
            self.info.table_len as u64 + self.row.bytes
        }
    }

    /// What it weighs in the window: a large one fills it no further than a MiB.
    #[must_use]
    pub fn weight(&self) -> u64 {
        (u64::from(self.info.table_len) + self.row.bytes).min(1 << 20)
    }
}

/// Members that have rows of their own. Of most packs none do: they share one empty list.
#[must_use]
pub fn exceptions(members: Vec<u16>) -> Arc<[u16]> {
    if members.is_empty() {
        return Arc::default();
    }
    members.into()
}
