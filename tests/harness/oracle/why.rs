//! Each step, now and then: what a node says of why a delivery does not move is
//! what the world shows.
//!
//! The truth is put together from links, answers, pauses and rows as asked, never
//! from the scheduler's gates.

use std::collections::BTreeMap;

use relay_core::change::OwedRow;
use relay_core::delivery::{State, StateName, WaitingOn};
use relay_core::units::Rate;
use relay_core::why::Standing;

use super::Oracle;
use crate::disk::shelved;
use crate::node::Node;

/// One step in so many is asked about.
const EVERY: u64 = 7;

impl Oracle {
    /// Asks why of one delivery of `n`, and judges the answer.
    pub(super) fn judge_why(&mut self, n: usize, nodes: &[Node]) {
        let watch = &self.watches[n];
        let Some(scheduler) = &nodes[n].scheduler else {
            return;
        };
        let theirs = watch.asked.values().filter(|row| row.due.peer.0 != 0);
        let rows = theirs.clone().count() as u64;
        // Drawn from the clock, so that no other dice fall differently.
        let drawn = self.now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        if rows == 0 || !drawn.is_multiple_of(EVERY) {
            return;
        }
        let nth = (drawn / EVERY % rows) as usize;
        let Some(row) = theirs.clone().nth(nth).cloned() else {
            return;
        };
        let now = nodes[n].clock(self.now);
        // An operator's question brings the row as the ledger has it.
        let kept = nodes[n].disk.owed.get(&row.due).unwrap_or(&row);
        let why = scheduler.why(now, kept);
        assert_eq!(
            why.state,
            row.state.name(),
            "[step] n{n} {:?}: why names another state",
            row.due
        );
        assert!(!why.sentence("x", now.wall).is_empty(), "[step] a sentence");
        match (&why.standing, row.state) {
            (Standing::Waiting { reasons, ahead }, State::Scheduled | State::Failed { .. }) => {
                let said: Vec<WaitingOn> = reasons.iter().map(|reason| reason.on).collect();
                assert!(
                    said.is_sorted(),
                    "[step] n{n} reasons out of order: {said:?}"
                );
                let waiting: u64 = theirs
                    .filter(|other| other.due.peer == row.due.peer)
                    .filter(|other| !other.state.name().is_terminal())
                    .map(|other| u64::from(other.count))
                    .sum();
                assert!(
                    ahead.count <= waiting,
                    "[step] n{n} {} ahead, {waiting} wait",
                    ahead.count
                );
                self.judge_reasons(n, &row, &said, nodes);
                self.judge_storage(n, &row, &said);
                self.judge_limit_reasons(n, &row, reasons, nodes);
            }
            (Standing::Inflight { .. }, State::Inflight) | (Standing::Acked, State::Acked) => {}
            (Standing::Deadletter(said), State::Deadletter { cause }) if *said == cause => {}
            (standing, state) => {
                panic!(
                    "[step] n{n} {:?} is {state:?}, why says {standing:?}",
                    row.due
                )
            }
        }
        self.tally.count("why asked");
        if (drawn / EVERY).is_multiple_of(EVERY) {
            self.judge_why_all(n, nodes);
        }
    }

    /// All that waits, told at once, is what each delivery says of itself, added up.
    fn judge_why_all(&mut self, n: usize, nodes: &[Node]) {
        let Some(scheduler) = &nodes[n].scheduler else {
            return;
        };
        let now = nodes[n].clock(self.now);
        let rows = self.watches[n].asked.values();
        let theirs = rows.filter(|row| row.due.peer.0 != 0);
        let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for row in theirs.clone() {
            let reasons = scheduler.waits_on(now, row);
            let Some(first) = reasons.first() else {
                continue;
            };
            // What of one delivery cannot be read is not known of its lane.
            if reasons.iter().any(|reason| reason.on == WaitingOn::Storage) {
                return;
            }
            let name = &self.watches[n].peers[&row.due.peer];
            let sum = sums
                .entry((nodes[*name].name.clone(), first.on))
                .or_default();
            sum.0 += u64::from(row.count);
            sum.1 += row.bytes;
            if matches!(first.on, WaitingOn::Held | WaitingOn::Standby) {
                self.tally.count("why all asked of what is shelved");
            }
        }
        let told = scheduler.why_all(now, &shelved(theirs));
        let told: BTreeMap<_, _> = told
            .into_iter()
            .map(|row| ((row.peer, row.reason.on), (row.count, row.bytes)))
            .collect();
        if told.keys().all(|(_, on)| *on != WaitingOn::Storage) {
            assert_eq!(told, sums, "[step] n{n} why --all");
        }
    }

    fn judge_reasons(&self, n: usize, row: &OwedRow, said: &[WaitingOn], nodes: &[Node]) {
        let watch = &self.watches[n];
        let peer = watch.peers[&row.due.peer];
        let unix = nodes[n].clock(self.now).unix;
        let failed = row.state.name() == StateName::Failed;
        let until = watch.busy.get(&peer).copied().unwrap_or_default();
        // A link that we asked to end is none.
        let ours = watch.up.iter().filter(|(_, to)| **to == peer);
        let up = ours.clone().any(|(link, _)| !watch.closing.contains(link));
        let limited = nodes[n].rate != Rate::UNLIMITED || nodes[n].peer_rates.contains_key(&peer);
        let exactly = [
            (WaitingOn::PeerDown, !up),
            (WaitingOn::Backoff, failed && !row.stuck),
            (WaitingOn::DeadletterFull, row.stuck),
            (WaitingOn::Held, row.held),
            (WaitingOn::PeerRemoved, nodes[n].removed.contains(&peer)),
        ];
        for (on, holds) in exactly {
            assert_eq!(
                said.contains(&on),
                holds,
                "[step] n{n} {:?} waits on {said:?}, {on:?} {holds}",
                row.due
            );
        }
        let lane = &watch.lanes[&row.lane];
        let paused = self.is_paused(n, peer, lane, unix);
        let must = [
            (WaitingOn::PeerBusy, up && until > self.now),
            (WaitingOn::Paused, paused),
            (WaitingOn::Certificate, watch.untrusted.contains_key(&peer)),
        ];
        for (on, holds) in must {
            assert!(
                !holds || said.contains(&on),
                "[step] n{n} {:?} waits on {said:?}, and {on:?} holds",
                row.due
            );
        }
        let may_not = [
            (WaitingOn::Tokens, !limited && !watch.rated),
            (WaitingOn::Turn, said.len() > 1),
        ];
        for (on, never) in may_not {
            assert!(
                !(never && said.contains(&on)),
                "[step] n{n} {:?} waits on {said:?}, and {on:?} cannot be",
                row.due
            );
        }
    }
}
