//! Pauses: an operator keeps deliveries from beginning, for everything, a peer,
//! a lane, or a lane of a peer.
//!
//! What is under any pause is paused. [`Pausing::Drain`] lets what is in flight
//! run on; [`Pausing::Now`] returns it at once, unspent, except what the transport
//! has whole: its acks decide. A pause is durable before it is answered, holds over
//! a restart, and ends by itself when its time has come, on the age clock. One that
//! holds already is asked for with success.

use std::collections::BTreeMap;

use super::{Scheduler, gates::Gate};
use crate::audit::{AuditEvent, AuditRecord};
use crate::change::{Change, Snapshot};
use crate::delivery::WaitingOn;
use crate::event::{Caller, Done, OrderId, OrderRefused, Pausing, Scope};
use crate::id::{LaneNo, NodeNo};
use crate::peer::{Parcel, Peer, Phase};
use crate::queue::Key;
use crate::setting::{Setting, Value};
use crate::time::{Mono, Now, Unix};

/// A [`Scope`] by numbers: the peer, the lane.
pub(super) type Span = (Option<NodeNo>, Option<LaneNo>);

/// One pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    how: Pausing,
    since: Unix,
    until: Option<Unix>,
    /// When to look whether it is over: `until`, as the timers count.
    look: Option<Mono>,
}

/// One pause, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausePicture {
    /// Where.
    pub scope: Scope,
    /// What became of what was in flight.
    pub how: Pausing,
    /// Since when, on the age clock.
    pub since: Unix,
    /// When it ends by itself, on the age clock.
    pub until: Option<Unix>,
}

/// All pauses that hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses(BTreeMap<Span, Pause>);

impl Pause {
    fn new(now: Now, how: Pausing, since: Unix, until: Option<Unix>) -> Self {
        let look = until.map(|until| now.mono + super::paging::left(until, now.unix));
        Self {
            how,
            since,
            until,
            look,
        }
    }

    const fn value(&self) -> Value {
        Value::Pause {
            how: self.how,
            since: self.since,
            until: self.until,
        }
    }
}

impl Pauses {
    /// What earlier runs left.
    pub(super) fn new(snapshot: &Snapshot, now: Now) -> Self {
        let pauses = snapshot.settings.iter().filter_map(|(setting, value)| {
            let (Setting::Pause(peer, lane), Value::Pause { how, since, until }) =
                (*setting, *value)
            else {
                return None;
            };
            Some(((peer, lane), Pause::new(now, how, since, until)))
        });
        Self(pauses.collect())
    }

    /// The pauses that keep all of `peer` waiting.
    fn over_peer(&self, peer: NodeNo) -> impl Iterator<Item = &Pause> {
        let spans: [Span; 2] = [(None, None), (Some(peer), None)];
        spans.into_iter().filter_map(|span| self.0.get(&span))
    }

    /// The pauses that keep `lane` of `peer` waiting, beyond those of the peer.
    fn over_lane(&self, peer: NodeNo, lane: LaneNo) -> impl Iterator<Item = &Pause> {
        let spans: [Span; 2] = [(None, Some(lane)), (Some(peer), Some(lane))];
        spans.into_iter().filter_map(|span| self.0.get(&span))
    }

    /// Whether none holds.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When to look next whether one is over.
    pub(super) fn look(&self) -> Option<Mono> {
        self.0.values().filter_map(|pause| pause.look).min()
    }
}

/// The gate that these pauses are: it opens when the last of them ends.
fn gate<'a>(pauses: impl Iterator<Item = &'a Pause>) -> Option<Gate> {
    let looks: Vec<Option<Mono>> = pauses.map(|pause| pause.look).collect();
    let last = looks.iter().copied().collect::<Option<Vec<Mono>>>();
    (!looks.is_empty())
        .then(|| Gate::new(WaitingOn::Paused, last.and_then(|l| l.into_iter().max())))
}

impl Scheduler {
    pub(super) fn pause(
        &mut self,
        now: Now,
        id: OrderId,
        caller: &Caller,
        (scope, how, until): (&Scope, Pausing, Option<Unix>),
    ) {
        if let Some(until) = until.filter(|until| *until <= now.unix) {
            let why = format!(
                "the pause would end {} ms ago (try a later time)",
                now.unix.0 - until.0
            );
            return self.answer_order(id, Err(OrderRefused::Malformed(why)));
        }
        let span = match self.span(scope) {
            Ok(span) => span,
            Err(why) => return self.answer_order(id, Err(why)),
        };
        let held = self.pauses.0.get(&span).copied();
        let since = held.map_or(now.unix, |held| held.since);
        let fresh = Pause::new(now, how, since, until);
        let changed = held.is_none_or(|held| held.value() != fresh.value());
        if changed {
            self.pauses.0.insert(span, fresh);
            let setting = Setting::Pause(span.0, span.1);
            self.batch.push(Change::Set(setting, Some(fresh.value())));
        }
        if how == Pausing::Now {
            self.return_flying(now, span);
        }
        self.dirty.extend(self.peers.keys());
        let word = match how {
            Pausing::Drain => "drain",
            Pausing::Now => "now",
        };
        let mut record = self
            .pause_record(Some(caller), now, AuditEvent::Paused, span)
            .with("how", word)
            .with("held_already", held.is_some());
        if let Some(until) = until {
            record = record.with("until_ms", until.0);
        }
        self.batch.push(Change::Audit(record));
        self.answer_order(id, Ok(done(changed)));
    }

    pub(super) fn resume(&mut self, now: Now, id: OrderId, caller: &Caller, scope: &Scope) {
        let span = match self.span(scope) {
            Ok(span) => span,
            Err(why) => return self.answer_order(id, Err(why)),
        };
        let changed = self.end_pause(span);
        let record = self
            .pause_record(Some(caller), now, AuditEvent::Resumed, span)
            .with("was_paused", changed);
        self.batch.push(Change::Audit(record));
        self.answer_order(id, Ok(done(changed)));
    }

    /// Ends the pauses whose time has come.
    pub(super) fn end_pauses(&mut self, now: Now) {
        let due = |pause: &Pause| pause.look.is_some_and(|look| look <= now.mono);
        let spans: Vec<Span> = self
            .pauses
            .0
            .iter()
            .filter(|(_, p)| due(p))
            .map(|(s, _)| *s)
            .collect();
        for span in spans {
            let Some(pause) = self.pauses.0.get_mut(&span) else {
                continue;
            };
            if pause.until.is_some_and(|until| until > now.unix) {
                // The two clocks drifted: look again.
                *pause = Pause::new(now, pause.how, pause.since, pause.until);
                continue;
            }
            self.end_pause(span);
            let record = self
                .pause_record(None, now, AuditEvent::Resumed, span)
                .with("was_paused", true);
            self.batch.push(Change::Audit(record));
        }
    }

    /// Whether there was one to end.
    fn end_pause(&mut self, span: Span) -> bool {
        if self.pauses.0.remove(&span).is_none() {
            return false;
        }
        self.batch
            .push(Change::Set(Setting::Pause(span.0, span.1), None));
        self.dirty.extend(self.peers.keys());
        true
    }

    /// The scope by numbers; a lane of the config that nothing used gets one.
    fn span(&mut self, scope: &Scope) -> Result<Span, OrderRefused> {
        let known = |name| {
            self.nodes
                .number(name)
                .filter(|no| self.peers.contains_key(no))
        };
        let peer = match &scope.peer {
            None => None,
            Some(name) => {
                let no = known(name).ok_or_else(|| OrderRefused::UnknownPeer(name.clone()))?;
                Some(no)
            }
        };
        let lane = match &scope.lane {
            None => None,
            Some(name) => {
                let configured = self.settings.lanes.contains_key(name);
                let no = match self.lanes.number(name) {
                    None if configured => self.lane_number(name),
                    known => known,
                };
                Some(no.ok_or_else(|| OrderRefused::UnknownLane(name.clone()))?)
            }
        };
        Ok((peer, lane))
    }

    fn scope(&self, (peer, lane): Span) -> Scope {
        Scope {
            peer: peer.and_then(|no| self.nodes.name(no).cloned()),
            lane: lane.and_then(|no| self.lanes.name(no).cloned()),
        }
    }

    fn pause_record(
        &self,
        caller: Option<&Caller>,
        now: Now,
        event: AuditEvent,
        span: Span,
    ) -> AuditRecord {
        let scope = self.scope(span);
        let (kind, resource) = match (&scope.peer, &scope.lane) {
            (None, None) => ("relay", "relay".to_owned()),
            (Some(peer), None) => ("peer", peer.to_string()),
            (None, Some(lane)) => ("lane", lane.to_string()),
            (Some(peer), Some(lane)) => ("lane", format!("{peer}/{lane}")),
        };
        match caller {
            Some(caller) => AuditRecord::by(caller, now.wall, event, kind, resource),
            None => AuditRecord::own(now.wall, event, kind, resource),
        }
    }

    /// Returns what flies under `span` and is not with the transport whole.
    fn return_flying(&mut self, now: Now, span: Span) {
        let peers: Vec<NodeNo> = match span.0 {
            Some(no) => vec![no],
            None => self.peers.keys().copied().collect(),
        };
        for no in peers {
            let parcels = self.peers[&no].parcels.values();
            let meant = |p: &&Parcel| span.1.is_none_or(|lane| p.row.lane == lane);
            let keys: Vec<Key> = parcels
                .filter(meant)
                .filter(|parcel| returns(parcel))
                .map(Parcel::key)
                .collect();
            for key in keys {
                self.interrupt(now, no, key);
            }
        }
    }

    /// Whether what is put in flight in `lane` of `no` is to come back at once.
    pub(super) fn is_stopped(&self, no: NodeNo, lane: LaneNo) -> bool {
        let over = self
            .pauses
            .over_peer(no)
            .chain(self.pauses.over_lane(no, lane));
        over.into_iter().any(|pause| pause.how == Pausing::Now)
    }

    /// The gate of the pauses over all of a peer.
    pub(super) fn peer_pause(&self, peer: NodeNo) -> Option<Gate> {
        if self.pauses.is_empty() {
            return None;
        }
        gate(self.pauses.over_peer(peer))
    }

    /// The gate of the pauses over one lane.
    pub(super) fn lane_pause(&self, peer: NodeNo, lane: LaneNo) -> Option<Gate> {
        gate(self.pauses.over_lane(peer, lane))
    }

    /// What the link's state is called under a pause: `draining` while something
    /// is still in flight.
    pub(super) fn pause_word(&self, peer: &Peer) -> Option<&'static str> {
        self.pauses.over_peer(peer.no).next()?;
        let flying = peer.lanes.values().any(|lane| lane.flying > 0);
        Some(if flying { "draining" } else { "paused" })
    }

    /// Every pause, for people.
    pub(super) fn pauses_picture(&self) -> Vec<PausePicture> {
        let pictures = self.pauses.0.iter().map(|(span, pause)| PausePicture {
            scope: self.scope(*span),
            how: pause.how,
            since: pause.since,
            until: pause.until,
        });
        pictures.collect()
    }
}

/// Whether a parcel comes back when it is stopped: it flies, and the transport
/// has not all of it. One that is not durable yet comes back once it is.
fn returns(parcel: &Parcel) -> bool {
    let halfway = match parcel.phase {
        Phase::Marking(_) | Phase::Outbox | Phase::Offered => true,
        // A stream of its own is reset; what shares one runs on.
        Phase::Leaving => parcel.info.is_large(),
        Phase::Storing
        | Phase::Ready
        | Phase::Sent
        | Phase::Judging(_)
        | Phase::Resting(_)
        | Phase::Settling(_)
        | Phase::Spared(_)
        | Phase::Woken(_) => false,
    };
    parcel.is_flying() && halfway
}

fn done(changed: bool) -> Done {
    Done {
        changed: u64::from(changed),
        ..Done::default()
    }
}
