//! Why deliveries do not move, told from the gates that decide.
//!
//! One delivery may be in memory or in the ledger alone; the shell hands in its
//! row, and what memory knows better counts. All deliveries at once are told from
//! the depths, without a look at the ledger.

use std::collections::BTreeMap;

use super::{Gate, Scheduler};
use crate::change::{Depth, OwedRow, Shelved};
use crate::delivery::{Cause, State, StateName, WaitingOn};
use crate::event::BusyWhy;
use crate::id::{LaneNo, NodeNo};
use crate::link::Link;
use crate::peer::{Parcel, Peer, Phase};
use crate::time::{Mono, Now, Unix};
use crate::why::{Ahead, Blocked, Doing, Reason, Standing, Why};

/// What is said of an expired delivery whose payload is not kept any longer.
const GIVEN_UP: &str = "its bytes were given up after keep_expired";

impl Scheduler {
    /// Why the delivery whose row the ledger shows as `row` does not move.
    #[must_use]
    pub fn why(&self, now: Now, row: &OwedRow) -> Why {
        let key = (row.due.pack, row.due.part);
        let peer = self.peers.get(&row.due.peer);
        let parcel = peer.and_then(|peer| peer.parcels.get(&key));
        // What memory says is newer than what was read.
        let row = parcel.map_or(row, |parcel| &parcel.row);
        let standing = match (row.state, peer) {
            (State::Acked, _) => Standing::Acked,
            (State::Deadletter { cause }, _) => Standing::Deadletter(cause),
            (State::Inflight, Some(peer)) => self.moving(now, peer, parcel),
            (State::Scheduled | State::Failed { .. }, Some(peer)) => Standing::Waiting {
                reasons: self.reasons(now, peer, row, parcel),
                ahead: ahead(peer, row, parcel.is_some()),
            },
            (State::Inflight | State::Scheduled | State::Failed { .. }, None) => {
                Standing::Waiting {
                    reasons: vec![removed(now)],
                    ahead: Ahead::default(),
                }
            }
        };
        Why {
            state: row.state.name(),
            standing,
            since: row.updated,
            error: match row.state {
                // What failed before is not why it is parked.
                State::Deadletter {
                    cause: Cause::Expired,
                } => row.evicted.then(|| GIVEN_UP.to_owned()),
                State::Deadletter { .. }
                | State::Scheduled
                | State::Inflight
                | State::Failed { .. }
                | State::Acked => row.error.clone(),
            },
        }
    }

    /// What the delivery whose row the ledger shows as `row` waits on, the most
    /// binding first; nothing if it does not wait. What goes before it is not
    /// counted, so that a long list may ask.
    #[must_use]
    pub fn waits_on(&self, now: Now, row: &OwedRow) -> Vec<Reason> {
        let key = (row.due.pack, row.due.part);
        let peer = self.peers.get(&row.due.peer);
        let parcel = peer.and_then(|peer| peer.parcels.get(&key));
        let row = parcel.map_or(row, |parcel| &parcel.row);
        match (row.state, peer) {
            (State::Acked | State::Deadletter { .. }, _) | (State::Inflight, Some(_)) => Vec::new(),
            (State::Scheduled | State::Failed { .. }, Some(peer)) => {
                self.reasons(now, peer, row, parcel)
            }
            (State::Inflight | State::Scheduled | State::Failed { .. }, None) => {
                vec![removed(now)]
            }
        }
    }

    /// Everything that holds for a row that waits, the most binding first.
    fn reasons(
        &self,
        now: Now,
        peer: &Peer,
        row: &OwedRow,
        parcel: Option<&Parcel>,
    ) -> Vec<Reason> {
        let mut all = self.shut(now, peer, row.lane);
        all.extend(self.unread_gate(row, parcel));
        let mut add = |on, until| all.push(Gate::new(on, until));
        if row.held {
            add(WaitingOn::Held, None);
        }
        if row.standby {
            add(WaitingOn::Standby, None);
        }
        if row.stuck {
            add(WaitingOn::DeadletterFull, None);
        } else if let State::Failed { until } = row.state {
            let rests = match parcel.map(|parcel| &parcel.phase) {
                Some(Phase::Resting(until)) => *until,
                _ => now.mono + super::paging::left(until, now.unix),
            };
            add(WaitingOn::Backoff, Some(rests));
        }
        if all.is_empty() {
            all.push(Gate::new(WaitingOn::Turn, None));
        }
        all.sort_by_key(|gate| gate.on);
        all.dedup_by_key(|gate| gate.on);
        let told = |gate: Gate| match gate.on == WaitingOn::Storage {
            true => Reason {
                note: self.unread_words(row, parcel),
                ..reason(now, gate)
            },
            false => self.told(now, peer, row.lane, gate),
        };
        all.into_iter().map(told).collect()
    }

    /// Every gate that is shut for `lane` of `peer`, the rates among them.
    fn shut(&self, now: Now, peer: &Peer, lane: LaneNo) -> Vec<Gate> {
        let mut all = Vec::new();
        self.peer_gates(now, peer, &mut |gate| all.push(gate));
        self.lane_gates(now, peer, lane, &mut |gate| all.push(gate));
        let opens = [self.bucket.ready(now.mono), peer.bucket.ready(now.mono)];
        let opens = opens.into_iter().filter_map(Result::err).max();
        all.extend(opens.map(|at| Gate::new(WaitingOn::Tokens, Some(at))));
        all
    }

    /// A gate of `peer` in words: with what is known beside it, and with now as the time
    /// of a dial that is under way.
    fn told(&self, now: Now, peer: &Peer, lane: LaneNo, mut gate: Gate) -> Reason {
        if gate.on == WaitingOn::PeerDown && matches!(peer.link, Link::Dialing) {
            gate.until = Some(now.mono);
        }
        Reason {
            note: self.note(now, peer, lane, gate.on),
            ..reason(now, gate)
        }
    }

    /// What is known beside a reason.
    fn note(&self, now: Now, peer: &Peer, lane: LaneNo, on: WaitingOn) -> Option<String> {
        match on {
            WaitingOn::PeerBusy => peer.busy.map(|(_, why)| busy(why).to_owned()),
            WaitingOn::PeerDown => peer.last_error.clone(),
            WaitingOn::Tokens => {
                let rates = [self.bucket.rate(), peer.bucket.rate()];
                let limited = rates.into_iter().filter(|rate| !rate.is_unlimited());
                limited.min().map(|rate| format!("{} B/s", rate.0))
            }
            WaitingOn::Quota => self.quota_figures(now, peer),
            WaitingOn::LaneBudget => self.budget_figures(lane),
            WaitingOn::Storage => self.unread_lane_words(peer.no, lane),
            WaitingOn::Held
            | WaitingOn::Paused
            | WaitingOn::PeerRemoved
            | WaitingOn::Certificate
            | WaitingOn::Probe
            | WaitingOn::Window
            | WaitingOn::Standby
            | WaitingOn::Backoff
            | WaitingOn::DeadletterFull
            | WaitingOn::Turn => None,
        }
    }

    fn moving(&self, now: Now, peer: &Peer, parcel: Option<&Parcel>) -> Standing {
        let Some(parcel) = parcel else {
            // Read before it was settled: what became of it is not yet to be seen.
            return Standing::Inflight {
                doing: Doing::AwaitingAck,
                sent: (0, 0),
                overdue: None,
            };
        };
        let doing = match parcel.phase {
            Phase::Storing | Phase::Marking(_) | Phase::Spared(_) | Phase::Woken(_) => {
                Doing::Marking
            }
            Phase::Ready | Phase::Outbox | Phase::Resting(_) => Doing::Sending,
            Phase::Offered => Doing::Offered,
            Phase::Leaving => Doing::Leaving,
            Phase::Sent | Phase::Settling(_) => Doing::AwaitingAck,
            Phase::Judging(_) => Doing::Judging,
        };
        let timeout = self.settings.limits.ack_timeout;
        let overdue = parcel
            .awaiting
            .map(|since| since.max(peer.last_heard) + timeout);
        let gone = match doing {
            Doing::Leaving => parcel.taken,
            Doing::Marking
            | Doing::Sending
            | Doing::Offered
            | Doing::AwaitingAck
            | Doing::Judging => parcel.sent,
        };
        Standing::Inflight {
            doing,
            sent: (gone, parcel.length()),
            overdue: overdue.map(|at| wall(now, at)),
        }
    }

    /// What blocks how much of all that waits, the most deliveries first: from
    /// depths, gates, and what the ledger says is `shelved`.
    #[must_use]
    pub fn why_all(&self, now: Now, shelved: &[Shelved]) -> Vec<Blocked> {
        let mut blocked: BTreeMap<(NodeNo, WaitingOn), (Gate, LaneNo, Depth)> = BTreeMap::new();
        let mut add = |peer: &Peer, lane, state, aside: Option<WaitingOn>, depth: Depth| {
            let mut all = self.shut(now, peer, lane);
            if state == StateName::Failed && aside != Some(WaitingOn::DeadletterFull) {
                let first = peer.resting.first().map(|(until, _)| *until);
                all.push(Gate::new(WaitingOn::Backoff, first));
            }
            all.extend(aside.map(|on| Gate::new(on, None)));
            all.extend(self.unread_lane(peer.no, lane));
            let first = all.into_iter().min_by_key(|gate| gate.on);
            let gate = first.unwrap_or(Gate::new(WaitingOn::Turn, None));
            let blocked = blocked.entry((peer.no, gate.on));
            let sum = &mut blocked.or_insert((gate, lane, Depth::default())).2;
            sum.count += depth.count;
            sum.bytes += depth.bytes;
        };
        for peer in self.peers.values() {
            for ((lane, state), depth) in &peer.depth {
                if !matches!(state, StateName::Scheduled | StateName::Failed) {
                    continue;
                }
                let mut rest = *depth;
                let here =
                    |row: &&Shelved| (row.peer, row.lane, row.state) == (peer.no, *lane, *state);
                for row in shelved.iter().filter(here) {
                    // What was read may be older than what memory counts.
                    let part = Depth {
                        parcels: row.depth.parcels.min(rest.parcels),
                        count: row.depth.count.min(rest.count),
                        bytes: row.depth.bytes.min(rest.bytes),
                    };
                    rest.parcels -= part.parcels;
                    rest.count -= part.count;
                    rest.bytes -= part.bytes;
                    if part.count > 0 {
                        add(peer, *lane, *state, Some(row.on), part);
                    }
                }
                if rest.count > 0 {
                    add(peer, *lane, *state, None, rest);
                }
            }
        }
        let told = blocked
            .into_iter()
            .filter_map(|((no, _), (gate, lane, sum))| {
                let peer = self.peers.get(&no)?;
                Some(Blocked {
                    peer: peer.name.clone(),
                    reason: self.told(now, peer, lane, gate),
                    count: sum.count,
                    bytes: sum.bytes,
                })
            });
        let mut told: Vec<Blocked> = told.collect();
        told.sort_by_key(|row| (std::cmp::Reverse((row.count, row.bytes)), row.reason.on));
        told
    }
}

/// What goes before `row`: all that waits in more urgent classes, and what of its
/// own lane is older.
fn ahead(peer: &Peer, row: &OwedRow, in_memory: bool) -> Ahead {
    let Some(own) = peer.lanes.get(&row.lane) else {
        return Ahead::default();
    };
    let mut sum = Ahead::default();
    let mut add = |count: u64, bytes: u64| {
        sum.count += count;
        sum.bytes += bytes;
    };
    let urgent = |no: &LaneNo| {
        peer.lanes
            .get(no)
            .is_some_and(|lane| lane.rule.class < own.rule.class)
    };
    for ((lane, state), depth) in &peer.depth {
        if *state == StateName::Scheduled && urgent(lane) {
            add(depth.count, depth.bytes);
        }
    }
    let key = (row.due.pack, row.due.part);
    if in_memory {
        let older = [&own.ready, &own.ready_large, &own.fresh];
        for other in older.into_iter().flat_map(|set| set.below(&key)) {
            let other = &peer.parcels[other].row;
            add(u64::from(other.count), other.bytes);
        }
    } else if let Some(depth) = peer.depth.get(&(row.lane, StateName::Scheduled)) {
        let mine = row.state == State::Scheduled;
        let (count, bytes) = if mine {
            (u64::from(row.count), row.bytes)
        } else {
            (0, 0)
        };
        add(
            depth.count.saturating_sub(count),
            depth.bytes.saturating_sub(bytes),
        );
        sum.at_most = true;
    }
    sum
}

/// Nobody has that number: the peer left the config, its rows stay.
fn removed(now: Now) -> Reason {
    reason(now, Gate::new(WaitingOn::PeerRemoved, None))
}

fn reason(now: Now, gate: Gate) -> Reason {
    Reason {
        on: gate.on,
        until: gate.until.map(|at| wall(now, at)),
        note: None,
    }
}

/// A moment of the timers, as the wall clock will read.
fn wall(now: Now, at: Mono) -> Unix {
    now.wall + at.since(now.mono)
}

const fn busy(why: BusyWhy) -> &'static str {
    why.as_str()
}
