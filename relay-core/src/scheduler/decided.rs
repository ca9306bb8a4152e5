//! Orders on deliveries: every target is found first, then all are decided at once.
//!
//! An order names rows that may be in memory in any phase, in the ledger, or spoken
//! for by the rest of their pack. What is not in memory is fetched, and stays until
//! the order is over; what is just being stored or judged is waited for. Then every
//! target is decided in one batch, with one audit record: one transaction, whatever
//! crashes. The answer follows when it is durable.

use std::collections::{BTreeMap, BTreeSet};

use super::verbs::{Verb, may};
use super::{Scheduler, paging};
use crate::audit::AuditRecord;
use crate::change::{Change, Due, Part};
use crate::delivery::{Cause, Outcome};
use crate::event::{Caller, Done, OrderId, OrderRefused, Target};
use crate::id::{NodeNo, PackNo};
use crate::limits;
use crate::peer::{Peer, Phase};
use crate::queue::Key;
use crate::segment::Digest;
use crate::time::Now;

/// Orders that are not yet decided.
#[derive(Debug, Default)]
pub(super) struct Orders {
    open: BTreeMap<OrderId, Open>,
    /// Of these, those that wait for something being stored or judged.
    blocked: BTreeSet<OrderId>,
    /// Rows that open orders may act on, and how many name each.
    pinned: BTreeMap<Due, u32>,
}

#[derive(Debug)]
struct Open {
    caller: Caller,
    verb: Verb,
    targets: Vec<Target>,
    /// Rows being read.
    reading: usize,
    /// Rows that are not in the ledger.
    absent: BTreeSet<Due>,
    /// Rows that could not be read.
    unread: BTreeSet<Due>,
}

/// Where a target is.
enum Found {
    /// It is all that this parcel speaks for.
    Own(Key),
    /// It is one of several members of this parcel.
    Shared(Key),
    /// There is no such delivery.
    Nowhere,
    /// This row is to be read first.
    Unread(Due),
    /// It is being stored or judged.
    Busy,
    /// Its row or its bytes cannot be read.
    Unreadable,
}

impl Orders {
    /// Whether an open order may act on this row.
    pub(super) fn is_pinned(&self, due: &Due) -> bool {
        self.pinned.contains_key(due)
    }

    fn pin(&mut self, targets: &[Target]) {
        for due in targets.iter().flat_map(|target| rows_of(target.due)) {
            *self.pinned.entry(due).or_default() += 1;
        }
    }

    fn unpin(&mut self, due: Due) {
        if let Some(held) = self.pinned.get_mut(&due) {
            *held -= 1;
            if *held == 0 {
                self.pinned.remove(&due);
            }
        }
    }
}

/// The rows that may speak for a target: its own, and the rest of its pack.
fn rows_of(due: Due) -> impl Iterator<Item = Due> {
    let rest = Due {
        part: Part::Rest,
        ..due
    };
    std::iter::once(due).chain((due != rest).then_some(rest))
}

impl Scheduler {
    /// An operator wants something done to `targets`.
    pub(super) fn begin_order(
        &mut self,
        now: Now,
        id: OrderId,
        caller: &Caller,
        verb: Verb,
        targets: Vec<Target>,
    ) {
        let refused = if self.draining.is_some() {
            Some(OrderRefused::Draining)
        } else if targets.len() > limits::ORDER_TARGETS {
            let (found, most) = (targets.len(), limits::ORDER_TARGETS);
            let why = format!("{found} deliveries in one order, at most {most} are taken");
            Some(OrderRefused::Malformed(why))
        } else if self.orders.open.len() >= self.settings.limits.orders {
            let open = self.orders.open.len();
            let why = format!("{open} orders are being carried out (try again)");
            Some(OrderRefused::Malformed(why))
        } else {
            None
        };
        if let Some(why) = refused {
            return self.answer_order(id, Err(why));
        }
        self.orders.pin(&targets);
        let open = Open {
            caller: caller.clone(),
            verb,
            targets,
            reading: 0,
            absent: BTreeSet::new(),
            unread: BTreeSet::new(),
        };
        self.orders.open.insert(id, open);
        self.try_order(now, id);
    }

    /// Decides an order if every target is at hand; otherwise asks for those that
    /// are not.
    fn try_order(&mut self, now: Now, id: OrderId) {
        let Some(open) = self.orders.open.get(&id).filter(|open| open.reading == 0) else {
            return;
        };
        let (mut unread, mut busy) = (BTreeSet::new(), false);
        for target in &open.targets {
            match self.find(target.due, open) {
                Found::Unread(due) => drop(unread.insert(due)),
                Found::Busy => busy = true,
                Found::Own(_) | Found::Shared(_) | Found::Nowhere | Found::Unreadable => {}
            }
        }
        if unread.is_empty() && !busy {
            return self.decide_order(now, id);
        }
        if unread.is_empty() {
            self.orders.blocked.insert(id);
            return;
        }
        let open = self.orders.open.get_mut(&id);
        open.expect("it was just there").reading = unread.len();
        for due in unread {
            self.ask(due, paging::Ask::Order(id));
        }
    }

    /// A row that an order asked for was read; `here`: it is in memory.
    pub(super) fn on_order_read(&mut self, now: Now, id: OrderId, due: Due, here: bool) {
        let Some(open) = self.orders.open.get_mut(&id) else {
            return;
        };
        open.reading -= 1;
        if !here {
            open.absent.insert(due);
        }
        self.try_order(now, id);
    }

    /// A row that an order asked for could not be read.
    pub(super) fn on_order_unread(&mut self, now: Now, id: OrderId, due: Due) {
        let Some(open) = self.orders.open.get_mut(&id) else {
            return;
        };
        open.reading -= 1;
        open.unread.insert(due);
        self.try_order(now, id);
    }

    /// Tries again what waited for something to be stored or judged.
    pub(super) fn try_blocked(&mut self, now: Now) {
        for id in std::mem::take(&mut self.orders.blocked) {
            self.try_order(now, id);
        }
    }

    /// The daemon goes down: what is not decided is not done.
    pub(super) fn refuse_orders(&mut self) {
        for id in self.orders.open.keys().copied().collect::<Vec<_>>() {
            self.close_order(id);
            self.answer_order(id, Err(OrderRefused::Draining));
        }
    }

    fn find(&self, due: Due, open: &Open) -> Found {
        let absent = &open.absent;
        let unread = |due: Due| match open.unread.contains(&due) {
            true => Found::Unreadable,
            false => Found::Unread(due),
        };
        let Some(peer) = self.peers.get(&due.peer) else {
            return Found::Nowhere;
        };
        let stored = |no: &PackNo| peer.lanes.values().any(|lane| lane.storing.contains(no));
        if stored(&due.pack) {
            return Found::Busy;
        }
        if let Some(found) = self.at_hand(peer, (due.pack, due.part)) {
            return found;
        }
        let Part::Member(member) = due.part else {
            return if absent.contains(&due) {
                Found::Nowhere
            } else {
                unread(due)
            };
        };
        let rest = (due.pack, Part::Rest);
        let whole = peer.parcels.get(&rest);
        if let Some(parcel) = whole.filter(|parcel| !parcel.except.contains(&member)) {
            if u32::from(member) >= parcel.info.count {
                return Found::Nowhere;
            }
            return match self.at_hand(peer, rest) {
                Some(Found::Own(_)) if self.is_put_off(parcel) => Found::Unreadable,
                Some(Found::Own(key)) if parcel.row.count > 1 => Found::Shared(key),
                Some(found) => found,
                None => Found::Nowhere,
            };
        }
        let rest = Self::due_of(due.peer, rest);
        if !absent.contains(&due) {
            unread(due)
        } else if whole.is_some() || absent.contains(&rest) {
            Found::Nowhere
        } else {
            unread(rest)
        }
    }

    fn decide_order(&mut self, now: Now, id: OrderId) {
        let Some(open) = self.close_order(id) else {
            return;
        };
        let (mut done, mut changed) = (Done::default(), Vec::new());
        for target in &open.targets {
            match self.carry_out(now, &open, *target) {
                Ok(0) => {}
                Ok(count) => {
                    done.changed += count;
                    changed.push(target.due);
                }
                Err(why) => done.refused.push((target.due, why)),
            }
        }
        let record = self.record_of(now, &open, &done, &changed);
        self.batch.push(Change::Audit(record));
        self.answer_order(id, Ok(done));
    }

    /// Does what an order wants to one target; answers how many deliveries changed.
    fn carry_out(&mut self, now: Now, open: &Open, target: Target) -> Result<u64, OrderRefused> {
        let no = target.due.peer;
        let (key, shared) = match self.find(target.due, open) {
            Found::Own(key) => (key, false),
            Found::Shared(key) => (key, true),
            Found::Unreadable => return Err(OrderRefused::Unreadable),
            Found::Nowhere | Found::Unread(_) | Found::Busy => return Err(OrderRefused::NotFound),
        };
        if self.is_over(now, no, key) {
            self.expire_one(now, no, key);
        }
        let parcel = &self.peers[&no].parcels[&key];
        if !may(&open.verb, &parcel.row, &parcel.info, now.unix)? {
            return Ok(0);
        }
        let key = match target.due.part {
            Part::Member(member) if shared => {
                if target.length > parcel.row.bytes {
                    let (found, most) = (target.length, parcel.row.bytes);
                    let why = format!("member {member} of {found} B, its pack has {most} B");
                    return Err(OrderRefused::Malformed(why));
                }
                self.take_out(now, no, key, (member, target.length))
            }
            Part::Member(_) | Part::Rest => key,
        };
        // A member that left a flight over its time was parked as it did.
        let parcel = &self.peers[&no].parcels[&key];
        if !may(&open.verb, &parcel.row, &parcel.info, now.unix)? {
            return Ok(0);
        }
        let count = u64::from(parcel.row.count);
        self.act(now, no, key, &open.verb);
        Ok(count)
    }

    fn act(&mut self, now: Now, no: NodeNo, key: Key, verb: &Verb) {
        self.dirty.insert(no);
        match verb {
            Verb::Hold => self.hold(now, no, key),
            Verb::Release => self.release(now, no, key),
            Verb::Cancel => {
                self.park(now, no, key, Cause::Cancelled, Outcome::Interrupted, None);
            }
            Verb::Force => {
                self.park(now, no, key, Cause::Forced, Outcome::Interrupted, None);
            }
            Verb::Retry { ttl } => self.retry(now, no, key, ttl.map(|ttl| now.unix + ttl)),
            Verb::Purge => self.purge(no, key),
        }
    }

    /// Takes an order off the table, and lets go of what it held in memory.
    fn close_order(&mut self, id: OrderId) -> Option<Open> {
        let open = self.orders.open.remove(&id)?;
        self.orders.blocked.remove(&id);
        for due in open.targets.iter().flat_map(|target| rows_of(target.due)) {
            self.orders.unpin(due);
            self.idle.push((due.peer, (due.pack, due.part)));
        }
        Some(open)
    }

    /// What the audit keeps of an order: how many, and which by a digest of their
    /// names (peer, pack, part; part 65535 is the rest).
    fn record_of(&self, now: Now, open: &Open, done: &Done, changed: &[Due]) -> AuditRecord {
        let mut names = Vec::with_capacity(changed.len() * 14);
        for due in changed {
            let part = match due.part {
                Part::Rest => u16::MAX,
                Part::Member(member) => member,
            };
            names.extend_from_slice(&due.peer.0.to_le_bytes());
            names.extend_from_slice(&due.pack.0.to_le_bytes());
            names.extend_from_slice(&part.to_le_bytes());
        }
        let peers: BTreeSet<NodeNo> = open.targets.iter().map(|target| target.due.peer).collect();
        let mut named = peers.iter().filter_map(|no| self.nodes.name(*no));
        let resource = match (named.next(), named.next()) {
            (Some(only), None) => only.to_string(),
            (Some(_), Some(_)) | (None, _) => "peers".to_owned(),
        };
        let event = open.verb.event();
        let record = AuditRecord::by(&open.caller, now.wall, event, "delivery", resource)
            .with("count", done.changed)
            .with("refused", done.refused.len())
            .with("digest", Digest::of(&names));
        match self.segment_of(&open.targets) {
            Some(id) => record.with("segment", id),
            None => record,
        }
    }

    /// The segment an order names, if it is one and its pack holds nothing else.
    fn segment_of(&self, targets: &[Target]) -> Option<crate::id::SegmentId> {
        let due = targets.first()?.due;
        let alone = targets.iter().all(|target| target.due.pack == due.pack);
        let peer = self.peers.get(&due.peer).filter(|_| alone)?;
        let parcel = rows_of(due).find_map(|due| peer.parcels.get(&(due.pack, due.part)))?;
        (parcel.info.count == 1).then_some(parcel.info.first)
    }

    /// A parcel in memory as an order finds it.
    fn at_hand(&self, peer: &Peer, key: Key) -> Option<Found> {
        let parcel = peer.parcels.get(&key)?;
        Some(match parcel.phase {
            Phase::Judging(_) if self.is_put_off(parcel) => Found::Own(key),
            Phase::Judging(_) if self.is_unreadable(parcel) => Found::Unreadable,
            Phase::Storing | Phase::Judging(_) | Phase::Woken(_) => Found::Busy,
            Phase::Settling(_) if parcel.gone => Found::Nowhere,
            Phase::Spared(_) => Found::Nowhere,
            Phase::Settling(_)
            | Phase::Ready
            | Phase::Marking(_)
            | Phase::Outbox
            | Phase::Offered
            | Phase::Leaving
            | Phase::Sent
            | Phase::Resting(_) => Found::Own(key),
        })
    }
}
