//! `peer drop`: all that is owed to a peer which the config no longer names goes
//! to the deadletter, as `forced`.
//!
//! The ledger is read through once, a bounded part at a time, held and standing-by
//! rows included, whatever of it is in memory. Each part is parked in one
//! transaction with its own audit record, and the next is read once it is durable,
//! so that neither memory nor a transaction grows with what is owed. The order is
//! answered when all of it is durable. That a drop is under way is durable with its
//! first part: a restart in between goes on with what is left, for whoever ordered it,
//! unless the config names the peer again by then.

use super::{Pending, Scheduler};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};
use crate::change::{Change, PagedRow, Snapshot};
use crate::delivery::{Cause, Outcome, StateName};
use crate::event::{Caller, CloseWhy, Done, Effect, OrderId, OrderRefused};
use crate::id::{NodeId, NodeNo};
use crate::peer::{Parcel, Phase};
use crate::queue::Key;
use crate::segment::Digest;
use crate::setting::{Setting, Value};
use crate::time::Now;

/// A drop under way.
#[derive(Clone, Debug)]
pub(super) struct Dropping {
    orders: Vec<OrderId>,
    caller: Caller,
    /// Read up to here.
    after: Option<Key>,
    /// Deliveries parked by this order.
    parked: u64,
    /// Whether a part is being read: what is settled meanwhile is remembered.
    reading: bool,
}

impl Scheduler {
    pub(super) fn drop_peer(&mut self, now: Now, id: OrderId, caller: &Caller, name: &NodeId) {
        let known = self.nodes.number(name);
        let Some(no) = known.filter(|no| self.peers.contains_key(no)) else {
            return self.answer_order(id, Err(OrderRefused::UnknownPeer(name.clone())));
        };
        if self.peers[&no].configured {
            return self.answer_order(id, Err(OrderRefused::StillConfigured(name.clone())));
        }
        if self.draining.is_some() {
            return self.answer_order(id, Err(OrderRefused::Draining));
        }
        let mut record = self.drop_record(now, no, caller);
        record.outcome = AuditOutcome::Pending;
        self.batch.push(Change::Audit(record));
        if let Some(dropping) = self.drops.get_mut(&no) {
            return dropping.orders.push(id);
        }
        if let Some(link) = self.peers[&no].link.up() {
            let why = CloseWhy::UnknownPeer;
            self.effects.push_back(Effect::Close { link, why });
            self.drop_link(now, no, link);
        }
        let dropping = Dropping {
            orders: vec![id],
            caller: caller.clone(),
            after: None,
            parked: 0,
            reading: false,
        };
        self.drops.insert(no, dropping);
        let by = Value::By { uid: caller.uid };
        self.batch
            .push(Change::Set(Setting::Dropping(no), Some(by)));
        self.batch_pending.push(Pending::Dropped(no));
    }

    /// Goes on with the drops that an earlier run left, but for peers that the config
    /// names again.
    pub(super) fn resume_dropping(&mut self, now: Now, snapshot: &Snapshot) {
        for (setting, value) in &snapshot.settings {
            let (Setting::Dropping(no), Value::By { uid }) = (*setting, *value) else {
                continue;
            };
            if self.nodes.name(no).is_none() || self.peer_entry(no, now).configured {
                self.batch.push(Change::Set(*setting, None));
                continue;
            }
            let caller = Caller {
                uid,
                operator: None,
                reason: Some("goes on after a restart".to_owned()),
            };
            let dropping = Dropping {
                orders: Vec::new(),
                caller,
                after: None,
                parked: 0,
                reading: false,
            };
            self.drops.insert(no, dropping);
            self.on_dropped(no);
        }
    }

    /// What was parked so far is durable: the next part is read.
    pub(super) fn on_dropped(&mut self, no: NodeNo) {
        if let Some(dropping) = self.drops.get_mut(&no) {
            dropping.reading = true;
            self.effects.push_back(Effect::Owing {
                peer: no,
                after: dropping.after,
                limit: self.settings.limits.bulk_rows,
            });
        }
    }

    /// One part is read: park it in one transaction.
    pub(super) fn on_owing(&mut self, now: Now, no: NodeNo, rows: Vec<PagedRow>) {
        let Some(mut dropping) = self.drops.remove(&no) else {
            return;
        };
        let bulk = self.settings.limits.bulk_rows;
        let (read, last) = (rows.len(), rows.last().map(|paged| paged.row.due));
        let mut keys = Vec::new();
        for paged in rows {
            let key = (paged.row.due.pack, paged.row.due.part);
            let lane = self.peers[&no].lanes.get(&paged.row.lane);
            if lane.is_some_and(|lane| lane.storing.contains(&key.0)) {
                // Durable, but we have not been told yet: the next reading's.
                continue;
            }
            if !self.peers[&no].parcels.contains_key(&key) {
                self.take_up_row(now, paged);
            }
            keys.push(key);
        }
        if read < bulk {
            // What memory holds and this reading did not show.
            let loose = self.peers[&no].parcels.keys();
            keys.extend(loose.take(bulk - read).copied());
        }
        let (mut parked, mut names) = (0, Vec::new());
        for key in keys {
            if let Some(count) = self.drop_parcel(now, no, key) {
                parked += u64::from(count);
                names.extend_from_slice(format!("{key:?}").as_bytes());
            }
        }
        let lanes: Vec<_> = self.peers[&no].lanes.keys().copied().collect();
        lanes
            .into_iter()
            .for_each(|lane| self.forget_settled(no, lane));
        dropping.reading = false;
        dropping.parked += parked;
        dropping.after = last.map(|due| (due.pack, due.part)).or(dropping.after);
        if parked > 0 {
            let record = self
                .drop_record(now, no, &dropping.caller)
                .with("deliveries", parked)
                .with("digest", Digest::of(&names));
            self.batch.push(Change::Audit(record));
        }
        if read < bulk {
            // What could not be parked is parked by a second reading: a row that was
            // not durable when the first passed, or was being judged.
            if !self.has_loose(no) {
                return self.end_drop(no, dropping);
            }
            dropping.after = None;
        }
        self.drops.insert(no, dropping);
        if self.batch.is_empty() {
            // Nothing to wait for but the answer that is under way.
            self.waiting_drops.insert(no);
        } else {
            self.batch_pending.push(Pending::Dropped(no));
        }
    }

    /// Reads on for drops that found something unfinished, once more is durable.
    pub(super) fn resume_drops(&mut self) {
        for no in std::mem::take(&mut self.waiting_drops) {
            self.on_dropped(no);
        }
    }

    fn end_drop(&mut self, no: NodeNo, dropping: Dropping) {
        self.batch.push(Change::Set(Setting::Dropping(no), None));
        for id in dropping.orders {
            let done = Done {
                changed: dropping.parked,
                ..Done::default()
            };
            self.answer_order(id, Ok(done));
        }
    }

    /// Whether something in memory is owed to `no` and not yet parked.
    fn has_loose(&self, no: NodeNo) -> bool {
        let peer = &self.peers[&no];
        let gone = |parcel: &Parcel| matches!(parcel.phase, Phase::Spared(_));
        let waits = |parcel: &Parcel| !parcel.row.state.name().is_terminal() && !gone(parcel);
        let storing = |lane: &crate::queue::Lane| !lane.storing.is_empty();
        peer.parcels.values().any(waits) || peer.lanes.values().any(storing)
    }

    /// Parks what waits; answers for how many deliveries it spoke. What is not
    /// durable yet, or is being judged, is left to the next reading.
    fn drop_parcel(&mut self, now: Now, no: NodeNo, key: Key) -> Option<u32> {
        let parcel = &self.peers[&no].parcels[&key];
        if !parcel.waits() && !self.is_unreadable(parcel) {
            return None;
        }
        let outcome = Outcome::Interrupted;
        let said = "the peer was dropped by an operator";
        let count = self.peers[&no].parcels[&key].row.count;
        self.park(now, no, key, Cause::Forced, outcome, Some(said));
        Some(count)
    }

    /// A row that was in the ledger alone is in memory until it is parked durably.
    fn take_up_row(&mut self, now: Now, paged: PagedRow) {
        let (no, lane_no) = (paged.row.due.peer, paged.row.lane);
        let rule = self.lane_rule(lane_no);
        let shelved = paged.row.is_shelved();
        let waits = matches!(
            paged.row.state.name(),
            StateName::Scheduled | StateName::Failed
        );
        let peer = self.peer_entry(no, now);
        let lane = peer.lane(lane_no, rule, now.mono);
        if waits && !shelved {
            lane.unloaded = lane.unloaded.saturating_sub(1);
        }
        let parcel = Parcel::new(
            paged.row,
            paged.info,
            crate::peer::exceptions(paged.except),
            Phase::Ready,
        );
        peer.parcels.insert(parcel.key(), parcel);
    }

    /// Whether what is settled at `no` may be in a part that is being read.
    pub(super) fn is_being_dropped(&self, no: NodeNo) -> bool {
        self.drops.get(&no).is_some_and(|dropping| dropping.reading)
    }

    fn drop_record(&self, now: Now, no: NodeNo, caller: &Caller) -> AuditRecord {
        let name = self.peers[&no].name.to_string();
        AuditRecord::by(caller, now.wall, AuditEvent::PeerDropped, "peer", name)
    }
}
