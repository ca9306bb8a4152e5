//! Puts of local clients: refused before their bytes where possible, durable
//! before accepted, and at most once per idempotency key.

use std::collections::{BTreeMap, VecDeque};

use super::{CONTROL_LANE, Pending, Scheduler, no_exceptions};
use crate::change::{Book, Change, Depth, Due, KeyName, KeyRow, OwedRow, Part};
use crate::delivery::{Attempt, Move, State, StateName};
use crate::event::{Effect, Put, Refusal};
use crate::id::{LaneName, LaneNo, NodeId, NodeNo, PutId, StagedId};
use crate::limits;
use crate::meter::Meter;
use crate::peer::{Parcel, Peer, Phase, rest_of};
use crate::segment::PackInfo;
use crate::time::{Now, Unix};

/// How long a key is remembered, 24 h (semantics 2.7).
const KEY_LIFE_MS: u64 = 24 * 60 * 60 * 1000;
/// Puts stop when this much of the ceiling is used, in percent (semantics 9).
const PUTS_STOP_AT: u64 = 90;

/// Keyed puts on their way.
#[derive(Debug, Default)]
pub(super) struct Puts {
    /// Puts whose key is being looked up.
    asked: BTreeMap<PutId, Put>,
    /// Keys in use, each with the puts that wait for it.
    busy: BTreeMap<KeyName, VecDeque<Put>>,
}

/// A put whose rows are on their way to disk.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    put: PutId,
    staged: StagedId,
    key: Option<KeyName>,
    lane: LaneNo,
    dues: Vec<Due>,
    depth: Depth,
    expires: Option<Unix>,
}

impl Scheduler {
    pub(super) fn on_announced(
        &mut self,
        put: PutId,
        length: u64,
        lane: &LaneName,
        peers: &[NodeId],
    ) {
        let answer = match self.try_put(length, lane, peers) {
            Ok(_) => Effect::Admit(put),
            Err(why) => Effect::Refuse(put, why),
        };
        self.effects.push_back(answer);
    }

    pub(super) fn on_put(&mut self, now: Now, put: Put) {
        let place = match self.try_put(put.shape.bytes, &put.lane, &put.peers) {
            Ok(place) => place,
            Err(why) => return self.refuse(put.put, put.staged, why),
        };
        let Some((name, _)) = put.key.clone() else {
            return self.store_put(now, put, place, None);
        };
        if let Some(waiting) = self.puts.busy.get_mut(&name) {
            waiting.push_back(put);
            return;
        }
        self.puts.busy.insert(name.clone(), VecDeque::new());
        self.effects.push_back(Effect::FindKey(put.put, name));
        self.puts.asked.insert(put.put, put);
    }

    pub(super) fn on_key_found(&mut self, now: Now, id: PutId, row: Option<KeyRow>) {
        let Some(put) = self.puts.asked.remove(&id) else {
            return;
        };
        let (name, digest) = put.key.clone().expect("only keyed puts are asked about");
        let row = row.filter(|row| now.unix.0.saturating_sub(row.at.0) < KEY_LIFE_MS);
        let (lane, targets) = match self.try_put(put.shape.bytes, &put.lane, &put.peers) {
            Ok(place) => place,
            Err(why) => {
                self.refuse(put.put, put.staged, why);
                return self.release_key(&name);
            }
        };
        match row {
            None => {
                let row = KeyRow {
                    name,
                    id: put.shape.first,
                    digest,
                    targets: targets.clone(),
                    at: now.unix,
                };
                return self.store_put(now, put, (lane, targets), Some(row));
            }
            Some(row) if row.digest == digest && row.targets == targets => {
                self.effects.push_back(Effect::Discard(put.staged));
                self.effects
                    .push_back(Effect::AcceptAs(put.put, row.id, row.digest));
            }
            Some(row) => {
                self.refuse(put.put, put.staged, Refusal::KeyConflict { first: row.id });
            }
        }
        self.release_key(&name);
    }

    pub(super) fn on_put_stored(&mut self, now: Now, stored: Stored) {
        self.effects.push_back(Effect::Accept(stored.put));
        if let Some(at) = stored.expires {
            self.note_expiry(now, at);
        }
        for due in &stored.dues {
            self.due_stored(now, &stored, *due);
        }
        if let Some(name) = &stored.key {
            self.release_key(name);
        }
    }

    fn due_stored(&mut self, now: Now, stored: &Stored, due: Due) {
        self.dirty.insert(due.peer);
        let (draining, durable) = (self.draining.is_some(), self.durable);
        let peer = self.peer_mut(due.peer);
        let key = (due.pack, due.part);
        let Some(parcel) = peer.parcels.get_mut(&key) else {
            let lane = peer
                .lanes
                .get_mut(&stored.lane)
                .expect("a put's lane is there");
            lane.storing.remove(&due.pack);
            lane.unloaded += 1;
            return;
        };
        if !parcel.is_flying() {
            let (fresh, over) = (
                std::mem::take(&mut parcel.fresh),
                parcel.row.has_expired(&parcel.info, now.unix),
            );
            let lane = peer.lanes.get_mut(&stored.lane);
            lane.expect("a put's lane is there").coming -= 1;
            return if over {
                self.wait_again(now, due.peer, key);
            } else if fresh {
                peer.make_fresh(key);
            } else {
                peer.make_ready(key);
            };
        }
        // The link may have gone while the row became durable.
        parcel.phase = Phase::Marking(durable);
        if self.peers[&due.peer].link.up().is_none()
            || draining
            || self.is_stopped(due.peer, stored.lane)
            || self.peers[&due.peer].flies_too_much()
        {
            self.interrupt(now, due.peer, key);
        } else {
            self.enter_outbox(now, due.peer, key);
        }
    }

    pub(super) fn on_put_refused(&mut self, stored: Stored) {
        for due in &stored.dues {
            let peer = self.peer_mut(due.peer);
            let key = (due.pack, due.part);
            let (state, coming) = match peer.parcels.get(&key) {
                Some(parcel) if parcel.is_flying() => {
                    peer.land(key);
                    (StateName::Inflight, 0)
                }
                Some(_) => (StateName::Scheduled, 1),
                None => (StateName::Scheduled, 0),
            };
            peer.parcels.remove(&key);
            let lane = peer
                .lanes
                .get_mut(&stored.lane)
                .expect("a put's lane is there");
            lane.storing.remove(&due.pack);
            lane.coming -= coming;
            // Not a move: the delivery never was.
            let depth = peer.depth.entry((stored.lane, state)).or_default();
            depth.parcels -= 1;
            depth.count -= stored.depth.count;
            depth.bytes -= stored.depth.bytes;
        }
        let why = Refusal::StorageFull(self.space);
        self.refuse(stored.put, stored.staged, why);
        if let Some(name) = &stored.key {
            self.release_key(name);
        }
    }

    /// The lane and the peers of a put, ascending, if it may come in.
    fn try_put(
        &mut self,
        length: u64,
        lane: &LaneName,
        peers: &[NodeId],
    ) -> Result<(LaneNo, Vec<NodeNo>), Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::Draining);
        }
        if lane.as_str() == CONTROL_LANE {
            return Err(Refusal::ReservedLane(lane.clone()));
        }
        if !self.settings.lanes.contains_key(lane) {
            return Err(Refusal::UnknownLane(lane.clone()));
        }
        let max = self.settings.limits.max_put.min(limits::MAX_SEGMENT);
        if length > max {
            return Err(Refusal::TooLarge { length, max });
        }
        let mut targets = Vec::with_capacity(peers.len());
        for name in peers {
            let known = self
                .nodes
                .number(name)
                .filter(|no| self.peers.contains_key(no));
            match known {
                Some(no) if self.peers[&no].configured => targets.push(no),
                Some(_) | None => return Err(Refusal::UnknownPeer(name.clone())),
            }
        }
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() {
            return Err(Refusal::NoPeer);
        }
        if self.space.used >= self.space.ceiling / 100 * PUTS_STOP_AT {
            return Err(Refusal::StorageFull(self.space));
        }
        let lane = self.lane_number(lane).ok_or(Refusal::TooManyNames)?;
        Ok((lane, targets))
    }

    /// Asks for a put that may come in to be made durable.
    fn store_put(
        &mut self,
        now: Now,
        put: Put,
        (lane, targets): (LaneNo, Vec<NodeNo>),
        key: Option<KeyRow>,
    ) {
        let shape = put.shape;
        let info = shape.info(lane, (NodeNo::LOCAL, 0), now.unix, put.ttl);
        self.last_pack.0 += 1;
        let no = self.last_pack;
        let depth = Depth {
            parcels: 1,
            count: u64::from(shape.count),
            bytes: shape.bytes,
        };
        let mut changes = vec![Change::Pack {
            no,
            staged: put.staged,
            info: info.clone(),
        }];
        let mut dues = Vec::with_capacity(targets.len());
        for target in targets {
            let due = Due {
                peer: target,
                pack: no,
                part: Part::Rest,
            };
            let row = self.owe(now, due, &info);
            changes.push(Change::Owed(row));
            let by = i64::from(shape.count);
            changes.push(Change::Book {
                peer: target,
                lane,
                entry: Book::Put,
                by,
            });
            dues.push(due);
        }
        let name = key.as_ref().map(|row| row.name.clone());
        changes.extend(key.map(Change::Key));
        let stored = Stored {
            put: put.put,
            staged: put.staged,
            key: name,
            lane,
            dues,
            depth,
            expires: info.expires,
        };
        self.persist_alone(changes, Pending::Put(stored));
    }

    /// The first row of a delivery: in flight at once if nothing is before it
    /// and the window is open, otherwise waiting in memory or in the ledger.
    fn owe(&mut self, now: Now, due: Due, info: &PackInfo) -> OwedRow {
        let rule = self.lane_rule(info.lane);
        let epoch = self.epoch;
        let mut may_send = self.may_send(now, due.peer)
            && !self.is_starved(now, due.peer)
            && info.expires.is_none();
        if let Some(peer) = self.peers.get(&due.peer) {
            self.lane_gates(now, peer, info.lane, &mut |_| may_send = false);
            may_send &= self.room(peer, info.lane).is_open();
        }
        let limits = &self.settings.limits;
        let peer = self
            .peers
            .get_mut(&due.peer)
            .expect("a numbered peer is in the table");
        let may_send = may_send && peer.may_take_off();
        let mut row = OwedRow::new(due, info, now.unix);
        let depth = Peer::depth_of(&row);
        peer.shift(info.lane, None, Move::Enqueue, depth);
        let crowded = peer.resting.len() >= limits.resting;
        let large_open = !info.is_large() || peer.has_slots(rule.class, info.slots(), limits.large);
        let lane = peer.lane(info.lane, rule, now.mono);
        let in_turn = lane.is_caught_up() && lane.loaded() < limits.active;
        if crowded || !(in_turn || lane.has_room_for_fresh(limits)) {
            lane.storing.insert(due.pack);
            return row;
        }
        // None of the lane may be before it, not even one that is not yet durable.
        let first = in_turn && !lane.has_ready() && lane.coming == 0;
        let fly = first && may_send && lane.is_open(limits) && large_open;
        lane.coming += usize::from(!fly);
        if fly {
            row.state = State::Inflight;
            row.attempt = Some(first_attempt(epoch, now.unix));
            peer.shift(info.lane, Some(StateName::Scheduled), Move::Send, depth);
        }
        let mut parcel = Parcel::new(row.clone(), info.clone(), no_exceptions(), Phase::Storing);
        parcel.fresh = !in_turn;
        let (weight, slots) = (parcel.weight(), info.slots());
        peer.parcels.insert(rest_of(due.pack), parcel);
        if fly {
            peer.take_off(info.lane, weight, slots);
            let lane = Meter::LaneAttempts(info.lane);
            self.meters.add(lane, row.count.into());
        }
        row
    }

    fn refuse(&mut self, put: PutId, staged: StagedId, why: Refusal) {
        self.effects.push_back(Effect::Discard(staged));
        self.effects.push_back(Effect::Refuse(put, why));
    }

    /// Lets the next put with this key ask.
    fn release_key(&mut self, name: &KeyName) {
        let Some(waiting) = self.puts.busy.get_mut(name) else {
            return;
        };
        match waiting.pop_front() {
            Some(next) => {
                self.effects
                    .push_back(Effect::FindKey(next.put, name.clone()));
                self.puts.asked.insert(next.put, next);
            }
            None => {
                self.puts.busy.remove(name);
            }
        }
    }
}

const fn first_attempt(epoch: crate::id::BootEpoch, started: Unix) -> Attempt {
    Attempt {
        number: 1,
        epoch,
        started,
        ended: None,
    }
}
