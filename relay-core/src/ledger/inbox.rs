//! The inbox: take, confirm, refuse.
//!
//! A segment that arrived for a local consumer is a row owed to
//! [`NodeNo::LOCAL`]: scheduled is *ready*, with a lease *leased*, acked is
//! *confirmed*, deadletter is *refused*. A lease that has run out is ready again.
//! A pack taken or confirmed whole is one row; members that part ways get rows of
//! their own, which are folded into one again when the last is confirmed. Every
//! answer is durable when it is given.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{Applied, Group};
use super::error::LedgerError;
use super::place::PackRow;
use super::shelf::Shelf;
use super::{Ledger, LedgerResult};
use crate::change::Book;
use crate::delivery::{Cause, State};
use crate::id::{LaneNo, NodeNo, PackNo, SegmentId, Sequence};
use crate::pack::Table;
use crate::route::TopicPattern;
use crate::segment::{Digest, Meta};
use crate::time::Unix;

/// Which items are asked for; the default asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxFilter {
    /// Of this origin only.
    pub origin: Option<NodeNo>,
    /// In this lane only.
    pub lane: Option<LaneNo>,
    /// Of a topic that this pattern takes only.
    pub topic: Option<TopicPattern>,
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxState {
    /// Free to be taken.
    Ready,
    /// Given to a consumer, until then.
    Leased {
        /// When it is ready again.
        until: Unix,
    },
    /// A consumer has said that it is done with it.
    Confirmed,
    /// A consumer could not use it.
    Refused,
}

/// One segment in the inbox, without its bytes: they are
/// `length` bytes at `offset` of the bodies of `pack`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxItem {
    /// Its id.
    pub id: SegmentId,
    /// The digest of its body.
    pub digest: Digest,
    /// How long its body is.
    pub length: u64,
    /// What travels with it.
    pub meta: Meta,
    /// Where it entered.
    pub origin: NodeNo,
    /// The lane it came in.
    pub lane: LaneNo,
    /// The node it was heard from.
    pub via: NodeNo,
    /// Relays it passed.
    pub hops: u8,
    /// Where it stands in the origin's lane.
    pub sequence: Sequence,
    /// When it arrived here.
    pub received: Unix,
    /// When it stops being worth something.
    pub expires: Option<Unix>,
    /// The pack it lies in.
    pub pack: PackNo,
    /// Which member of it.
    pub member: u16,
    /// Where its body begins among the bodies.
    pub offset: u64,
    /// Where it stands.
    pub state: InboxState,
}

/// What became of one id that was confirmed or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmOutcome {
    /// It was ready or leased, and is settled by this call.
    Confirmed,
    /// It was settled before.
    Already,
    /// No such id is in the inbox.
    Unknown,
}

/// Items one call takes at most.
pub(super) const TAKE: usize = 4096;

impl Ledger {
    /// Leases at most `max` ready items until `until`, oldest first within a lane.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn take(
        &mut self,
        filter: &InboxFilter,
        max: usize,
        until: Unix,
        now: Unix,
    ) -> LedgerResult<Vec<InboxItem>> {
        let lanes: BTreeSet<LaneNo> = self
            .depths()
            .into_iter()
            .filter(|(peer, lane, _, depth)| {
                *peer == NodeNo::LOCAL
                    && depth.parcels > 0
                    && filter.lane.is_none_or(|wanted| wanted == *lane)
            })
            .map(|(_, lane, _, _)| lane)
            .collect();
        if lanes.is_empty() || max == 0 {
            return Ok(Vec::new());
        }
        self.change_inbox(|shelf| {
            shelf.give_back(now)?;
            let mut taken = Vec::new();
            for lane in lanes {
                shelf.take_lane(filter, lane, (until, now), max.min(TAKE), &mut taken)?;
            }
            Ok(taken)
        })
    }

    /// Settles items for good: their bytes may go.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn confirm(&mut self, ids: &[SegmentId], now: Unix) -> LedgerResult<Vec<ConfirmOutcome>> {
        self.change_inbox(|shelf| shelf.settle(ids, State::Acked, Book::Acked, now))
    }

    /// Parks items that no consumer can use: they and their bytes stay.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn refuse(&mut self, ids: &[SegmentId], now: Unix) -> LedgerResult<Vec<ConfirmOutcome>> {
        let parked = State::Deadletter {
            cause: Cause::Rejected,
        };
        self.change_inbox(|shelf| shelf.settle(ids, parked, Book::Deadletter, now))
    }

    /// Leases of these items, theirs who asks, end at `until`: later than they would, or
    /// at once. What is settled stays so.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn lease(&mut self, ids: &[SegmentId], until: Unix, now: Unix) -> LedgerResult<()> {
        self.change_inbox(|shelf| shelf.lease(ids, until, now))
    }

    fn change_inbox<T>(
        &mut self,
        work: impl FnOnce(&mut Shelf<'_>) -> LedgerResult<T>,
    ) -> LedgerResult<T> {
        self.alive()?;
        let result = self.inbox_transaction(work);
        self.guard(result)
    }

    fn inbox_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Shelf<'_>) -> LedgerResult<T>,
    ) -> LedgerResult<T> {
        self.make_wal_room(TAKE as u64 / 8)?;
        self.bound_database()?;
        let transaction = self.conn.unchecked_transaction()?;
        let group = Group {
            conn: &transaction,
            fresh: BTreeMap::new(),
            done: Applied::default(),
        };
        let mut shelf = Shelf {
            group,
            bodies: &mut self.bodies,
            damaged: 0,
        };
        let answer = work(&mut shelf)?;
        let Shelf { group, damaged, .. } = shelf;
        let done = group.done;
        if done.rows > 0 {
            self.counters.write(&transaction, &done.deltas)?;
            transaction
                .commit()
                .map_err(LedgerError::commit("commit inbox"))?;
            self.counters.merge(&done.deltas);
        } else {
            drop(transaction);
        }
        self.damaged += damaged;
        self.measure()?;
        Ok(answer)
    }
}

/// Member `n` of `pack` as an item.
pub(super) fn item(pack: &PackRow, table: &Table, n: u16, state: InboxState) -> InboxItem {
    let member = table.members()[usize::from(n)];
    InboxItem {
        id: member.id,
        digest: member.digest,
        length: member.length,
        // The table was checked when it was parsed.
        meta: table.meta(usize::from(n)).unwrap_or_default(),
        origin: pack.info.origin,
        lane: pack.info.lane,
        via: pack.info.via,
        hops: pack.info.hops,
        sequence: pack.info.sequence.at(pack.info.first, member.id),
        received: pack.info.created,
        expires: pack.info.expires,
        pack: pack.no,
        member: n,
        offset: member.offset,
        state,
    }
}

/// Whether the pattern asked for takes its topic.
pub(super) fn topic_matches(filter: &InboxFilter, meta: &Meta) -> bool {
    let Some(wanted) = &filter.topic else {
        return true;
    };
    meta.topic
        .as_ref()
        .is_some_and(|topic| wanted.matches(topic))
}
