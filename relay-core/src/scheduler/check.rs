//! What must hold after every `handle`. The simulator always asks; the driver
//! does in debug builds.

use std::collections::BTreeMap;

use super::Scheduler;
use crate::delivery::StateName;
use crate::id::{LaneNo, Ticket};
use crate::peer::{Peer, Phase};
use crate::turn::ByClass;

impl Scheduler {
    /// Asserts the invariants of the state.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        for peer in self.peers.values() {
            self.check_wake(peer);
            check_phases(peer, self.durable);
            check_windows(peer);
            self.check_bounds(peer);
            self.check_deadline(peer);
        }
        self.partials.check(&self.settings.limits);
        self.check_asks();
        assert!(self.batch.is_empty(), "every change has a ticket");
        assert!(
            self.durable <= self.issued,
            "nothing is durable before it was asked for"
        );
    }

    /// What was noted when the peer was touched last is no later than what a
    /// fresh look says; one that has come already is acted on at the next wake.
    fn check_wake(&self, peer: &Peer) {
        let noted = self.wakes.at(peer.no.0 as usize).map(|(at, _)| at);
        if let Some((fresh, why)) = self.peer_wakes(self.heard_at, peer) {
            assert!(
                noted.is_some_and(|noted| noted <= fresh.max(self.heard_at.mono)),
                "{}: {why:?} at {fresh:?}, and {noted:?} was noted",
                peer.name
            );
        }
    }

    /// What waits for time has a deadline.
    fn check_deadline(&self, peer: &Peer) {
        let waits = !peer.resting.is_empty() || !peer.awaiting.is_empty();
        let dials = self.redial_at(peer).is_some();
        if waits || dials {
            assert!(
                self.deadline().is_some(),
                "{}: what waits for time has a deadline",
                peer.name
            );
        }
    }
}

fn check_phases(peer: &Peer, durable: Ticket) {
    let up = peer.link.up().is_some();
    for (key, parcel) in peer.parcels.iter() {
        let lane = &peer.lanes[&parcel.row.lane];
        let state = parcel.row.state.name();
        let waits = [&lane.ready, &lane.ready_large, &lane.fresh];
        let ready = waits.iter().filter(|set| set.contains(key)).count() == 1;
        let in_outbox = lane.outbox.contains(key);
        let (may_state, may_ready) = match &parcel.phase {
            Phase::Storing => (
                matches!(state, StateName::Scheduled | StateName::Inflight),
                false,
            ),
            Phase::Ready => (state == StateName::Scheduled, true),
            Phase::Marking(_) | Phase::Outbox | Phase::Offered | Phase::Leaving | Phase::Sent => {
                assert!(
                    up,
                    "{} {key:?}: nothing is in flight on a link that is down",
                    peer.name
                );
                (state == StateName::Inflight, false)
            }
            Phase::Judging(_) => (state != StateName::Acked, false),
            Phase::Resting(until) => {
                assert!(
                    peer.resting.contains(&(*until, *key)),
                    "a resting parcel has a timer"
                );
                (state == StateName::Failed, false)
            }
            Phase::Settling(ticket) => {
                let lets_go = *ticket > durable || lane.lingering.contains(key);
                assert!(lets_go, "{} {key:?}: it is let go of some day", peer.name);
                let shelved = state != StateName::Inflight && parcel.row.is_shelved();
                (state.is_terminal() || shelved, false)
            }
            Phase::Spared(_) => (
                matches!(state, StateName::Scheduled | StateName::Failed),
                false,
            ),
            Phase::Woken(_) => (state == StateName::Scheduled, false),
        };
        assert!(
            may_state,
            "{} {key:?}: {state} while {:?}",
            peer.name, parcel.phase
        );
        assert_eq!(
            ready, may_ready,
            "{} {key:?}: ready while {:?}",
            peer.name, parcel.phase
        );
        assert_eq!(
            in_outbox,
            parcel.phase == Phase::Outbox,
            "{} {key:?}: outbox",
            peer.name
        );
        let timed = matches!(parcel.phase, Phase::Offered | Phase::Sent);
        assert_eq!(
            parcel.awaiting.is_some(),
            timed,
            "{} {key:?}: ack timer",
            peer.name
        );
    }
    for (_, key) in &peer.awaiting {
        assert!(
            peer.parcels.contains_key(key),
            "a timed parcel is in memory"
        );
    }
}

fn check_windows(peer: &Peer) {
    let mut flying: BTreeMap<LaneNo, (usize, u64)> = BTreeMap::new();
    let mut large = ByClass::default();
    let mut unsent = ByClass::default();
    for parcel in peer.parcels.values().filter(|parcel| parcel.is_flying()) {
        let lane = flying.entry(parcel.row.lane).or_default();
        lane.0 += 1;
        lane.1 += parcel.weight();
        let class = peer.class(parcel.row.lane);
        large.add(class, parcel.info.slots() as u64);
        unsent.add(class, parcel.sent - parcel.taken);
    }
    assert_eq!(peer.large, large, "{}: large parcels in flight", peer.name);
    assert_eq!(peer.unsent, unsent, "{}: bytes not taken", peer.name);
    let by_class = peer.lanes.iter().map(|(no, l)| (l.rule.class, *no));
    let listed = |lane| peer.by_class.contains(&lane);
    assert!(
        peer.by_class.is_sorted() && by_class.clone().all(listed),
        "{}: lanes by class",
        peer.name
    );
    for (no, lane) in &peer.lanes {
        let counted = flying.get(no).copied().unwrap_or_default();
        assert_eq!(
            (lane.flying, lane.flying_bytes),
            counted,
            "{}: window of lane {no}",
            peer.name
        );
        let depth = |state| {
            peer.depth
                .get(&(*no, state))
                .copied()
                .unwrap_or_default()
                .parcels
        };
        assert_eq!(
            depth(StateName::Inflight),
            counted.0 as u64,
            "{}: depth of {no}",
            peer.name
        );
        let waiting = depth(StateName::Scheduled) + depth(StateName::Failed);
        let loaded = peer.parcels.values().filter(|parcel| {
            let state = parcel.row.state.name();
            let gone = matches!(parcel.phase, Phase::Spared(_));
            let waits = matches!(state, StateName::Scheduled | StateName::Failed);
            parcel.row.lane == *no && waits && !gone
        });
        let known = loaded.count() as u64 + lane.unloaded + lane.storing.len() as u64;
        assert!(
            known >= waiting.min(known) && known <= waiting,
            "{}: waiting in {no}",
            peer.name
        );
    }
}
