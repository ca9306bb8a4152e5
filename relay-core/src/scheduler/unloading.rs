//! What waits beyond the bound leaves memory: `active` ready ones a lane, `resting`
//! ones a peer.
//!
//! Pages are asked for while there is room, but much comes in beside them: what flew
//! when a link went, what an order brought back, members that left their pack. The
//! oldest stay. The others go back to being rows alone, as soon as nobody looks at them
//! and their last change is durable, and are paged in again when their turn is near. A
//! page that is under way by then is passed over: it may have been read before that
//! change.

use std::collections::BTreeSet;

use super::Scheduler;
use crate::change::Part;
use crate::event::Input;
use crate::id::{NodeNo, PackNo, Ticket};
use crate::peer::{Judgement, Parcel, Peer, Phase};
use crate::queue::{Key, Lane};

/// Where more may wait in memory than should.
#[derive(Debug, Default)]
pub(super) struct Crowds {
    peers: BTreeSet<NodeNo>,
    /// Whether something happened since that may let some of it go.
    look: bool,
}

impl Crowds {
    /// Something was heard: may it end what keeps rows in memory? What a busy link says
    /// all the time does not.
    pub(super) const fn hear(&mut self, input: &Input) {
        self.look |= !matches!(
            input,
            Input::Taken { .. } | Input::Delivered { .. } | Input::SentOnWire { .. }
        );
    }
}

impl Scheduler {
    /// Puts a scheduled parcel into its lane's ready set, for as long as there is room.
    pub(super) fn make_ready(&mut self, no: NodeNo, key: Key) {
        let (said, active) = (self.said_by(), self.settings.limits.active);
        let peer = self.peer_mut(no);
        peer.make_ready(key);
        let parcel = peer.parcels.get_mut(&key).expect("it is in memory");
        parcel.said = said;
        if peer.lanes[&parcel.row.lane].loaded() > active {
            self.crowd(no);
        }
    }

    /// Notes a parcel that rests, for as long as there is room.
    pub(super) fn note_rest(&mut self, no: NodeNo, key: Key) {
        let (said, resting) = (self.said_by(), self.settings.limits.resting);
        let peer = self.peer_mut(no);
        let parcel = peer.parcels.get_mut(&key).expect("it is in memory");
        parcel.said = said;
        if peer.resting.len() > resting {
            self.crowd(no);
        }
    }

    fn crowd(&mut self, no: NodeNo) {
        self.crowds.peers.insert(no);
        self.crowds.look = true;
    }

    /// With which ticket all that was said so far is durable.
    const fn said_by(&self) -> Ticket {
        if self.batch.is_empty() {
            self.issued
        } else {
            self.batch_ticket()
        }
    }

    /// Lets go of what is too much, where it may go.
    pub(super) fn unload_crowds(&mut self) {
        if !std::mem::take(&mut self.crowds.look) || self.crowds.peers.is_empty() {
            return;
        }
        for no in std::mem::take(&mut self.crowds.peers) {
            let peer = &self.peers[&no];
            let lanes = peer.lanes.values();
            let mut surplus: Vec<Key> = lanes
                .flat_map(|lane| self.surplus_of_lane(peer, lane))
                .collect();
            surplus.extend(self.surplus_of_rest(peer));
            for key in surplus {
                self.unload(no, key);
            }
            if self.is_crowded(&self.peers[&no]) {
                self.crowds.peers.insert(no);
            }
        }
    }

    fn is_crowded(&self, peer: &Peer) -> bool {
        let limits = &self.settings.limits;
        let full = |lane: &Lane| lane.loaded() > limits.active;
        peer.lanes.values().any(full) || peer.resting.len() > limits.resting
    }

    /// The ready ones beyond the oldest `active`, as far as they may go.
    fn surplus_of_lane(&self, peer: &Peer, lane: &Lane) -> Vec<Key> {
        let active = self.settings.limits.active;
        if lane.loaded() <= active {
            return Vec::new();
        }
        let ready = lane.ready.iter().chain(&lane.ready_large);
        let mut all: Vec<Key> = ready.copied().collect();
        all.sort_unstable();
        let beyond = all.into_iter().skip(active);
        beyond
            .filter(|key| self.may_unload(&peer.parcels[key]))
            .collect()
    }

    /// Those that rest beyond the `resting` that wake first, as far as they may go.
    fn surplus_of_rest(&self, peer: &Peer) -> Vec<Key> {
        let beyond = peer.resting.iter().skip(self.settings.limits.resting);
        beyond
            .map(|(_, key)| *key)
            .filter(|key| self.may_unload(&peer.parcels[key]))
            .collect()
    }

    /// Whether nothing but its row is needed of a parcel that waits.
    fn may_unload(&self, parcel: &Parcel) -> bool {
        parcel.said <= self.durable && !parcel.needless && !self.is_looked_at(parcel.row.due)
    }

    /// A waiting parcel is a row alone from here on.
    pub(super) fn unload(&mut self, no: NodeNo, key: Key) {
        let peer = self.peer_mut(no);
        peer.unwait(key);
        let parcel = peer.parcels.remove(&key).expect("it is in memory");
        let lane = peer.lanes.get_mut(&parcel.row.lane);
        let lane = lane.expect("a parcel's lane is there");
        lane.unloaded += 1;
        lane.brought = true;
        lane.page_is_stale = lane.paging.is_some();
        // Pages go on before it, so that the oldest come first.
        lane.cursor = lane.cursor.min(before(key));
        self.dirty.insert(no);
    }

    /// Asserts that no more is in memory than may be, but for what is looked at or not yet
    /// durable.
    ///
    /// # Panics
    /// If more is.
    pub(super) fn check_bounds(&self, peer: &Peer) {
        let (limits, name) = (&self.settings.limits, &peer.name);
        for (no, lane) in &peer.lanes {
            let surplus = self.surplus_of_lane(peer, lane);
            assert!(
                surplus.is_empty(),
                "{name}: too much is ready in {no}: {surplus:?}"
            );
            let (found, most) = (
                lane.fresh.len() + lane.coming,
                limits.active + limits.fresh(),
            );
            assert!(
                found <= most,
                "{name}: {found} fresh in {no}, at most {most}"
            );
            let (found, most) = (lane.flying, limits.window_parcels);
            assert!(
                found <= most,
                "{name}: {found} in flight in {no}, at most {most}"
            );
        }
        let surplus = self.surplus_of_rest(peer);
        assert!(surplus.is_empty(), "{name}: too much rests: {surplus:?}");
        let judged = |parcel: &&Parcel| matches!(parcel.phase, Phase::Judging(_));
        let judged = peer.parcels.values().filter(judged);
        let (flying, others): (Vec<_>, Vec<_>) = judged.partition(|parcel| parcel.is_flying());
        let found = flying.len() + others.len();
        assert!(
            found <= peer.judging,
            "{}: what is judged is read",
            peer.name
        );
        // Packs that a panic named are read once each, at the start.
        let suspect = |parcel: &&&Parcel| matches!(&parcel.phase, Phase::Judging(of) if **of == Judgement::Suspect);
        let found = others.iter().filter(|parcel| !suspect(parcel)).count();
        let most = limits.late_acks + flying.len();
        assert!(
            found <= most,
            "{}: {found} judged, at most {most}",
            peer.name
        );
    }
}

/// The greatest name before `key`; `None`: it is the first.
const fn before((pack, part): Key) -> Option<Key> {
    match part {
        Part::Member(0) => Some((pack, Part::Rest)),
        Part::Member(member) => Some((pack, Part::Member(member - 1))),
        Part::Rest if pack.0 == 0 => None,
        Part::Rest => Some((PackNo(pack.0 - 1), Part::Member(u16::MAX))),
    }
}
