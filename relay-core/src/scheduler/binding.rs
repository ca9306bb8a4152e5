//! To whom something goes: bound when it is put, and owed from then on.
//!
//! A put that names peers goes to them, one that names a route to the peers of the
//! route, in the order given. Where fewer than all must have it, the first rows say
//! who stands by.

use super::{CONTROL_LANE, Rung, Scheduler};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::aim::{Place, To};
use crate::change::{Book, Change, Depth, Due, OwedRow, Part};
use crate::delivery::{Attempt, Move, State, StateName};
use crate::event::{Refusal, Space};
use crate::id::{BootEpoch, LaneName, LaneNo, NodeNo, PackNo};
use crate::limits;
use crate::meter::Meter;
use crate::peer::{Parcel, Peer, Phase, rest_of};
use crate::segment::{Class, PackInfo};
use crate::success::first_standbys;
use crate::time::{Now, Unix};

/// In which lane something goes to whom.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) lane: LaneNo,
    /// The peers, each once, in the order given.
    pub(super) peers: SmallVec<[NodeNo; 4]>,
    /// How many of them must have it.
    pub(super) need: usize,
    /// Whether it goes to this node's inbox, too.
    pub(super) local: bool,
}

impl Bound {
    /// Whether fewer than all must have it: then a pack holds one segment.
    pub(super) fn is_partial(&self) -> bool {
        self.need < self.peers.len()
    }

    /// To whom it is owed, ascending, as a key remembers it.
    pub(super) fn targets(&self) -> Vec<NodeNo> {
        let mut targets = self.peers.to_vec();
        targets.extend(self.local.then_some(NodeNo::LOCAL));
        targets.sort_unstable();
        targets
    }
}

/// A row that is on its way to disk for the first time.
#[derive(Clone, Debug)]
pub(super) struct Owing {
    due: Due,
    lane: LaneNo,
    depth: Depth,
    standby: bool,
    expires: Option<Unix>,
}

impl Scheduler {
    /// The lane and the peers of a put that is announced, if it may come in.
    pub(super) fn bind_announced(
        &mut self,
        length: u64,
        lane: &LaneName,
        to: &To,
    ) -> Result<Bound, Refusal> {
        self.bind(length, length, lane, to)
    }

    /// The lane and the peers of a put whose bytes are here, if it may come in: for a long
    /// one room has been taken.
    pub(super) fn bind_put(
        &mut self,
        length: u64,
        lane: &LaneName,
        to: &To,
    ) -> Result<Bound, Refusal> {
        let brings = if self.space.has_own_file(length) {
            0
        } else {
            length
        };
        self.bind(length, brings, lane, to)
    }

    fn bind(
        &mut self,
        length: u64,
        brings: u64,
        lane: &LaneName,
        to: &To,
    ) -> Result<Bound, Refusal> {
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
        let (peers, need, local) = self.aim(lane, to)?;
        if !self.has_room(length, brings, self.settings.lanes[lane].class) {
            return Err(Refusal::StorageFull(self.space));
        }
        let lane = self.lane_number(lane).ok_or(Refusal::TooManyNames)?;
        Ok(Bound {
            lane,
            peers,
            need,
            local,
        })
    }

    /// Whether a put of `length`, of which `brings` has no room yet, finds the room that
    /// puts may use.
    fn has_room(&self, length: u64, brings: u64, class: Class) -> bool {
        let takes = brings.saturating_add(self.puts.under_way());
        let after = Space {
            used: self.space.used.saturating_add(takes),
            ..self.space
        };
        Rung::of(&after).takes(class) && self.space.leaves_way(length, takes)
    }

    /// To whom a put goes, how many of them must have it, and whether it stays here,
    /// too: as it says itself, or as its route does.
    fn aim(
        &self,
        lane: &LaneName,
        to: &To,
    ) -> Result<(SmallVec<[NodeNo; 4]>, usize, bool), Refusal> {
        let routing = &self.settings.routing;
        let route = match &to.route {
            Some(name) => match routing.named(name) {
                Some(route) => Some(route),
                None => return Err(Refusal::UnknownRoute(name.to_string())),
            },
            None if !to.peers.is_empty() => None,
            None if routing.routes.is_empty() => return Err(Refusal::NoPeer),
            None => match routing.first(to.topic.as_ref(), lane, &self.settings.node) {
                Some(route) => Some(route),
                None => {
                    return Err(Refusal::NoRoute {
                        topic: to.topic.clone(),
                        lane: lane.clone(),
                    });
                }
            },
        };
        let names = route.map_or(&to.peers[..], |route| &route.peers);
        for name in names {
            let known = self.nodes.number(name);
            let known = known.and_then(|no| self.peers.get(&no));
            if !known.is_some_and(|peer| peer.configured) {
                return Err(Refusal::UnknownPeer(name.clone()));
            }
        }
        let peers: SmallVec<[NodeNo; 4]> = self.numbered(names).collect();
        let (named, local) = (peers.len(), route.is_some_and(|route| route.local));
        let need = match to.success {
            // What the put itself asks for must be possible.
            Some(asked) if asked.needs(named) > named => {
                return Err(Refusal::TooFewPeers {
                    wanted: asked.needs(named),
                    named,
                });
            }
            Some(asked) => asked.needs(named),
            None => {
                let said = route.map_or(self.settings.success, |route| route.success);
                said.needs(named).min(named)
            }
        };
        Ok((peers, need, local))
    }

    /// The first rows of `pack`, added to `changes` with the books and to `owing`.
    pub(super) fn owe_to(
        &mut self,
        now: Now,
        pack: PackNo,
        info: &PackInfo,
        bound: &Bound,
        (changes, owing): (&mut Vec<Change>, &mut SmallVec<[Owing; 1]>),
    ) {
        assert!(
            info.count == 1 || !bound.is_partial(),
            "a pack owed to some of its peers holds one segment"
        );
        let standbys = self.first_standbys(now, bound);
        if bound.local {
            let due = Due {
                peer: NodeNo::LOCAL,
                pack,
                part: Part::Rest,
            };
            // In the inbox `scheduled` reads "ready".
            changes.push(Change::Owed(OwedRow::new(due, info, now.unix)));
        }
        for (rank, peer) in bound.peers.iter().enumerate() {
            let standby = standbys.get(rank).is_some_and(|standby| *standby);
            let due = Due {
                peer: *peer,
                pack,
                part: Part::Rest,
            };
            let place = bound.is_partial().then_some(Place {
                need: bound.need as u16,
                rank: rank as u16,
            });
            let row = OwedRow {
                place,
                standby,
                ..OwedRow::new(due, info, now.unix)
            };
            let (depth, by) = (Peer::depth_of(&row), i64::from(row.count));
            changes.push(Change::Owed(self.owe(now, row, info)));
            changes.push(Change::Book {
                peer: *peer,
                lane: info.lane,
                entry: Book::Put,
                by,
            });
            owing.push(Owing {
                due,
                lane: info.lane,
                depth,
                standby,
                expires: info.expires,
            });
        }
    }

    /// Which of the peers stand by, in their order; empty where all must have it.
    fn first_standbys(&self, now: Now, bound: &Bound) -> Vec<bool> {
        if !bound.is_partial() {
            return Vec::new();
        }
        let long = self.settings.limits.standby_after;
        let away = |no: &NodeNo| self.peers[no].is_long_away(now.mono, long);
        let away: Vec<bool> = bound.peers.iter().map(away).collect();
        first_standbys(bound.need, &away)
    }

    /// The first row of a delivery: in flight at once if nothing is before it
    /// and the window is open, otherwise waiting in memory or in the ledger.
    fn owe(&mut self, now: Now, mut row: OwedRow, info: &PackInfo) -> OwedRow {
        let due = row.due;
        let rule = self.lane_rule(info.lane);
        let epoch = self.epoch;
        let crowded_groups = row.place.is_some() && self.groups_are_full();
        let mut may_send = self.may_send(now, due.peer)
            && !self.is_starved(now, due.peer)
            && info.expires.is_none()
            && !crowded_groups;
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
        let depth = Peer::depth_of(&row);
        peer.shift(info.lane, None, Move::Enqueue, depth);
        let crowded = peer.resting.len() >= limits.resting;
        let large_open = !info.is_large() || peer.has_slots(rule.class, info.slots(), limits.large);
        let lane = peer.lane(info.lane, rule, now.mono);
        if row.standby {
            return row;
        }
        let in_turn = lane.is_caught_up() && lane.loaded() + lane.coming < limits.active;
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
        let mut parcel = Parcel::new(row.clone(), info.clone(), Arc::default(), Phase::Storing);
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

    /// First rows are durable: what they stand for goes on.
    pub(super) fn owing_stored(&mut self, now: Now, owing: &[Owing]) {
        for owed in owing {
            if let Some(at) = owed.expires {
                self.note_expiry(now, at);
            }
            if !owed.standby {
                self.owed_stored(now, owed);
            }
        }
    }

    fn owed_stored(&mut self, now: Now, owed: &Owing) {
        let due = owed.due;
        self.dirty.insert(due.peer);
        let (draining, durable) = (self.draining.is_some(), self.durable);
        let peer = self.peer_mut(due.peer);
        let key = (due.pack, due.part);
        let Some(parcel) = peer.parcels.get_mut(&key) else {
            let lane = peer
                .lanes
                .get_mut(&owed.lane)
                .expect("the lane of what is owed is there");
            lane.storing.remove(&due.pack);
            lane.unloaded += 1;
            lane.brought = true;
            return;
        };
        if !parcel.is_flying() {
            let fresh = std::mem::take(&mut parcel.fresh);
            let over = parcel.row.has_expired(&parcel.info, now.unix);
            let lane = peer.lanes.get_mut(&owed.lane);
            lane.expect("the lane of what is owed is there").coming -= 1;
            return if over {
                self.wait_again(now, due.peer, key);
            } else if fresh {
                peer.make_fresh(key);
            } else {
                self.make_ready(due.peer, key);
            };
        }
        // The link may have gone while the row became durable.
        parcel.phase = Phase::Marking(durable);
        if self.peers[&due.peer].link.up().is_none()
            || draining
            || self.is_stopped(due.peer, owed.lane)
            || self.peers[&due.peer].flies_too_much()
        {
            self.interrupt(now, due.peer, key);
        } else {
            self.enter_outbox(now, due.peer, key);
        }
    }

    /// First rows found no room: as if they had never been.
    pub(super) fn owing_refused(&mut self, owing: &[Owing]) {
        for owed in owing {
            let due = owed.due;
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
                .get_mut(&owed.lane)
                .expect("the lane of what is owed is there");
            lane.storing.remove(&due.pack);
            lane.coming -= coming;
            // Not a move: the delivery never was.
            let depth = peer.depth.entry((owed.lane, state)).or_default();
            depth.parcels -= owed.depth.parcels;
            depth.count -= owed.depth.count;
            depth.bytes -= owed.depth.bytes;
        }
    }
}

const fn first_attempt(epoch: BootEpoch, started: Unix) -> Attempt {
    Attempt {
        number: 1,
        epoch,
        started,
        ended: None,
    }
}
