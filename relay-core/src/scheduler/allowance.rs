//! What limits let go: contact windows, budgets of lanes, quotas.
//!
//! None of them ever spends an attempt. A pack that has begun is finished;
//! whatever else is in flight and not yet with the transport returns to its
//! queue and waits there, saying for what and until when. Less is begun than a
//! quota or budget has left, so that little has to return.

use std::collections::BTreeSet;

use super::Scheduler;
use super::gates::Gate;
use super::limiting::OnExhausted;
use crate::delivery::{Cause, Outcome, WaitingOn};
use crate::id::{LaneNo, NodeNo};
use crate::limits;
use crate::meter::{Meter, minute_of, start_of};
use crate::peer::{Peer, Phase};
use crate::queue::{Key, Lane};
use crate::quota;
use crate::setting::Setting;
use crate::time::{Mono, Now};
use crate::window::look;

/// How much more a lane may begin with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    bytes: u64,
    attempts: u64,
}

/// Quotas and budgets that are used up.
pub(super) type Spent = BTreeSet<Setting>;
/// With more limits than this used up they are looked at every minute, which is
/// when one may open.
const LOOKED_AT_EACH: usize = 16;

impl Room {
    pub(super) const ALL: Self = Self {
        bytes: u64::MAX,
        attempts: u64::MAX,
    };

    /// Whether one parcel more may begin; its length may pass what is left.
    pub(super) const fn is_open(self) -> bool {
        self.bytes > 0 && self.attempts > 0
    }

    /// With one parcel more begun.
    pub(super) const fn less(self, bytes: u64, attempts: u32) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(bytes),
            attempts: self.attempts.saturating_sub(attempts as u64),
        }
    }
}

/// Whose quota: a peer's, or the node's.
pub(super) const fn meter_of(whose: Option<NodeNo>) -> Meter {
    match whose {
        None => Meter::Node,
        Some(no) => Meter::Peer(no),
    }
}

impl Scheduler {
    /// The gates of limits that are shut for `lane` of `peer`.
    pub(super) fn limit_gates(
        &self,
        now: Now,
        peer: &Peer,
        lane: LaneNo,
        shut: &mut impl FnMut(Gate),
    ) {
        if let Some(gate) = self.window_gate(now, peer.no) {
            shut(gate);
        }
        self.budget_gate(now, lane).into_iter().for_each(&mut *shut);
        if !is_exempt(peer, lane) {
            let quotas = [Some(peer.no), None].into_iter();
            let spent = quotas.filter_map(|whose| self.quota_shut(now, whose));
            if let Some(until) = spent.reduce(|one, other| one.max(other)) {
                shut(Gate::new(WaitingOn::Quota, until));
            }
        }
    }

    /// Until when the budget of `lane` is used up, if it is.
    pub(super) fn budget_gate(&self, now: Now, lane: LaneNo) -> Option<Gate> {
        let budgets = [
            (Setting::LaneBytes(lane), Meter::LaneBytes(lane)),
            (Setting::LaneAttempts(lane), Meter::LaneAttempts(lane)),
        ];
        let spent = budgets.into_iter().filter_map(|(setting, meter)| {
            let cap = self.standing.cap(setting)?;
            (self.meters.used(meter) >= cap).then(|| self.opens(now, meter, cap, 0))
        });
        let until = spent.reduce(|one, other| one.max(other))?;
        Some(Gate::new(WaitingOn::LaneBudget, until))
    }

    /// Until when the window of `no` is shut, if it is.
    fn window_gate(&self, now: Now, no: NodeNo) -> Option<Gate> {
        let sight = self.sights.get(&no).filter(|sight| !sight.open)?;
        let until = sight.until.map(|until| Self::mono_of_wall(now, until));
        Some(Gate::new(WaitingOn::Window, until))
    }

    /// Whether the quota of `whose` is used up for deliveries, what is about to go on
    /// the wire included, and when it opens.
    pub(super) fn quota_shut(&self, now: Now, whose: Option<NodeNo>) -> Option<Option<Mono>> {
        let stop = quota::stops_at(self.standing.cap(Setting::Quota(whose))?);
        let (meter, pending) = (meter_of(whose), self.meters.pending(whose));
        let used = self.meters.used(meter).saturating_add(pending);
        (used >= stop).then(|| self.opens(now, meter, stop, pending))
    }

    fn opens(&self, now: Now, meter: Meter, below: u64, more: u64) -> Option<Mono> {
        let opens = self.meters.opens(meter, below, more)?;
        Some(Self::mono_of_age(now, start_of(opens)))
    }

    fn mono_of_age(now: Now, at: crate::time::Unix) -> Mono {
        now.mono + std::time::Duration::from_millis(at.0.saturating_sub(now.unix.0))
    }

    fn mono_of_wall(now: Now, at: crate::time::Unix) -> Mono {
        now.mono + std::time::Duration::from_millis(at.0.saturating_sub(now.wall.0))
    }

    /// Whether bytes of `lane` may go to `peer` by window, budget and quota. A
    /// pack that has begun is finished.
    pub(super) fn may_pass(&self, now: Now, peer: &Peer, no: LaneNo, lane: &Lane) -> bool {
        if self.standing.is_open() && self.sights.is_empty() {
            return true;
        }
        let front = lane.outbox.front();
        front.is_some_and(|key| has_begun(peer, *key)) || !self.is_shut(now, peer, no)
    }

    /// Whether no byte more may go: attempts are counted where they begin.
    fn is_shut(&self, now: Now, peer: &Peer, lane: LaneNo) -> bool {
        let bytes = self.standing.cap(Setting::LaneBytes(lane));
        self.window_gate(now, peer.no).is_some()
            || bytes.is_some_and(|cap| self.meters.used(Meter::LaneBytes(lane)) >= cap)
            || self.is_out_of_quota(now, peer, lane)
    }

    fn is_out_of_quota(&self, now: Now, peer: &Peer, lane: LaneNo) -> bool {
        let mut quotas = [Some(peer.no), None].into_iter();
        !is_exempt(peer, lane) && quotas.any(|whose| self.quota_shut(now, whose).is_some())
    }

    /// How much `lane` of `peer` may begin with, what flies already left out.
    pub(super) fn room(&self, peer: &Peer, lane: LaneNo) -> Room {
        if self.standing.is_open() {
            return Room::ALL;
        }
        let left = |cap: u64, used: u64| cap.saturating_sub(used);
        let flying = |peer: &Peer| peer.lanes.values().map(|l| l.flying_bytes).sum::<u64>();
        let mut room = Room::ALL;
        if let Some(cap) = self.standing.cap(Setting::LaneAttempts(lane)) {
            room.attempts = left(cap, self.meters.used(Meter::LaneAttempts(lane)));
        }
        if let Some(cap) = self.standing.cap(Setting::LaneBytes(lane)) {
            let in_lane = self.peers.values().filter_map(|peer| peer.lanes.get(&lane));
            let flying: u64 = in_lane.map(|lane| lane.flying_bytes).sum();
            let used = self.meters.used(Meter::LaneBytes(lane));
            room.bytes = left(cap, used.saturating_add(flying));
        }
        if is_exempt(peer, lane) {
            return room;
        }
        for whose in [Some(peer.no), None] {
            let Some(cap) = self.standing.cap(Setting::Quota(whose)) else {
                continue;
            };
            let flying = match whose {
                Some(_) => flying(peer),
                None => self.peers.values().map(flying).sum(),
            };
            let used = self.meters.used(meter_of(whose)) + self.meters.pending(whose);
            room.bytes = room
                .bytes
                .min(left(quota::stops_at(cap), used.saturating_add(flying)));
        }
        room
    }

    /// Sees which windows are open and which limits are used up, and who is
    /// concerned when that changes.
    pub(super) fn look_at_limits(&mut self, now: Now) {
        self.meters.roll(now);
        for (no, sight) in &mut self.sights {
            let (from, until) = (sight.from, sight.until);
            let until = until.unwrap_or(from + limits::LOOK_AHEAD);
            if now.wall < from || until <= now.wall {
                let name = self.nodes.name(*no);
                let bounds = &self.settings.bounds;
                let own = name.and_then(|name| bounds.peers.get(name));
                let seen = look(&own.unwrap_or(&bounds.any).windows, now.wall);
                *sight = super::limiting::Seen::new(seen, now);
                self.dirty.insert(*no);
            }
        }
        if self.standing.is_open() && self.spent.is_empty() {
            return;
        }
        let settings = self.standing.caps();
        let spent: Spent = settings
            .filter(|setting| self.is_spent(now, *setting))
            .collect();
        for setting in spent.symmetric_difference(&self.spent) {
            match setting {
                Setting::Quota(Some(no)) => drop(self.dirty.insert(*no)),
                Setting::Quota(None)
                | Setting::LaneBytes(_)
                | Setting::LaneAttempts(_)
                | Setting::Rate(_)
                | Setting::Pause(..)
                | Setting::Panicked(_)
                | Setting::PanicsCounted
                | Setting::Dropping(_) => self.tight = true,
            }
        }
        self.spent = spent;
        if std::mem::take(&mut self.tight) {
            self.dirty.extend(self.peers.keys());
        }
    }

    /// Whether a quota or budget is used up.
    fn is_spent(&self, now: Now, setting: Setting) -> bool {
        let beyond = |meter| {
            let cap = self.standing.cap(setting);
            cap.is_some_and(|cap| self.meters.used(meter) >= cap)
        };
        match setting {
            Setting::Quota(whose) => self.quota_shut(now, whose).is_some(),
            Setting::LaneBytes(lane) => beyond(Meter::LaneBytes(lane)),
            Setting::LaneAttempts(lane) => beyond(Meter::LaneAttempts(lane)),
            Setting::Rate(_)
            | Setting::Pause(..)
            | Setting::Panicked(_)
            | Setting::PanicsCounted
            | Setting::Dropping(_) => false,
        }
    }

    /// Notes when limits are to be looked at though nothing happens: when one
    /// opens, when a window changes, and now and then, since the wall clock may be
    /// put.
    pub(super) fn note_limit_wake(&mut self, now: Now) {
        self.limit_wake = None;
        if self.draining.is_some() {
            return;
        }
        let mut first: Option<Mono> = None;
        let mut offer = |at: Mono| first = Some(first.map_or(at, |held| held.min(at)));
        if !self.sights.is_empty() {
            offer(now.mono + limits::LOOK_AT_WALL);
        }
        for sight in self.sights.values() {
            sight
                .until
                .into_iter()
                .for_each(|until| offer(Self::mono_of_wall(now, until)));
        }
        if self.spent.len() > LOOKED_AT_EACH {
            offer(Self::mono_of_age(now, start_of(minute_of(now.unix) + 1)));
            self.limit_wake = first;
            return;
        }
        for setting in &self.spent {
            let opens = match setting {
                Setting::Quota(whose) => self.quota_shut(now, *whose).flatten(),
                Setting::LaneBytes(lane) | Setting::LaneAttempts(lane) => {
                    self.budget_gate(now, *lane).and_then(|gate| gate.until)
                }
                Setting::Rate(_)
                | Setting::Pause(..)
                | Setting::Panicked(_)
                | Setting::PanicsCounted
                | Setting::Dropping(_) => None,
            };
            opens.into_iter().for_each(&mut offer);
        }
        self.limit_wake = first;
    }

    /// Returns to its queue what is in flight to `no` and may not go on.
    pub(super) fn give_back_shut(&mut self, now: Now, no: NodeNo) {
        if self.standing.is_open() && self.sights.is_empty() {
            return;
        }
        let peer = &self.peers[&no];
        let mut back = Vec::new();
        for (lane_no, lane) in &peer.lanes {
            if lane.outbox.is_empty() || !self.is_shut(now, peer, *lane_no) {
                continue;
            }
            let quota = self.is_out_of_quota(now, peer, *lane_no);
            let waiting = lane.outbox.iter().filter(|key| !has_begun(peer, **key));
            back.extend(waiting.map(|key| (*key, quota)));
        }
        for (key, quota) in back {
            if quota {
                self.meters.add(Meter::QuotaDrops(no), 1);
            }
            self.give_back(now, no, key, Outcome::Interrupted);
        }
    }

    /// Notes that a quota refuses what is first in `lane`; parks all of it that
    /// is in memory, where the config wants that.
    pub(super) fn refuse_shut(&mut self, now: Now, no: NodeNo, lane: LaneNo) {
        if self.standing.is_open() {
            return;
        }
        let peer = &self.peers[&no];
        let Some(first) = first_ready(&peer.lanes[&lane]) else {
            return;
        };
        if !self.is_out_of_quota(now, peer, lane) {
            return;
        }
        let counted = self.refused.insert((no, lane), first);
        if counted != Some(first) {
            self.meters.add(Meter::QuotaDrops(no), 1);
        }
        if self.settings.bounds.on_exhausted == OnExhausted::Wait {
            return;
        }
        let why = "the daily quota is used up, and bandwidth.on_exhausted is \"deadletter\"";
        while let Some(key) = first_ready(&self.peers[&no].lanes[&lane]) {
            self.park(now, no, key, Cause::Forced, Outcome::Interrupted, Some(why));
        }
    }
}

/// The daemon's own kinds, class 0, go on when a quota is used up.
fn is_exempt(peer: &Peer, lane: LaneNo) -> bool {
    peer.lanes
        .get(&lane)
        .is_some_and(|lane| lane.rule.is_exempt())
}

/// Whether the first bytes of a pack are with the transport: its stream is
/// shared, so the rest must follow.
fn has_begun(peer: &Peer, key: Key) -> bool {
    let parcel = &peer.parcels[&key];
    parcel.sent > 0 && !parcel.info.is_large() && parcel.phase == Phase::Outbox
}

/// The oldest parcel of a lane that could begin.
fn first_ready(lane: &Lane) -> Option<Key> {
    let (small, large) = (lane.ready.first(), lane.ready_large.first());
    small.into_iter().chain(large).min().copied()
}
