//! Each step: every row asked for is one legal move from the one before.
//!
//! Moves are told from the two ends alone and then held against the core's own
//! table; what the table cannot say (whose attempt is spent, which cause is
//! true) is checked here against the whole world.

use relay_core::change::{Change, Due, OwedRow, Part};
use relay_core::delivery::{Cause, Move, Outcome, State, StateName, step};
use relay_core::id::{NodeNo, PackNo, StagedId};

use super::Oracle;
use crate::node::Node;
use crate::scenario::node_index;

impl Oracle {
    pub(super) fn persist_asked(&mut self, n: usize, changes: &[Change], nodes: &[Node]) {
        self.judge_bulk(n, changes);
        self.places_asked(n, changes, nodes);
        self.arrival_asked(n, changes, nodes);
        for change in changes {
            match change {
                Change::Node(no, name) => {
                    self.watches[n].peers.insert(*no, node_index(name));
                }
                Change::Lane(no, name) => {
                    drop(self.watches[n].lanes.insert(*no, name.clone()));
                }
                Change::Pack { no, staged, info } => {
                    if info.expires.is_some() {
                        self.watches[n].turns.ages.insert(*no);
                    }
                    self.pack_asked(n, *no, *staged, nodes);
                }
                Change::Owed(row) if row.due.peer == NodeNo::LOCAL => {}
                Change::Owed(row) => {
                    self.row_turns(n, row, nodes);
                    self.row_asked(n, row, nodes);
                }
                Change::Gone(due) => self.gone_asked(n, *due),
                Change::Attempt(row) => {
                    let ended = row.attempt.ended.map(|(_, outcome)| outcome);
                    let outcome = ended.expect("[step] the history holds closed attempts only");
                    self.tally.count(outcome_name(outcome));
                }
                Change::Settled(peer, upto) => {
                    let watch = &self.watches[n];
                    let said = watch
                        .settled
                        .get(&watch.peers[peer])
                        .copied()
                        .unwrap_or_default();
                    assert!(
                        *upto <= said,
                        "[step] n{n} forgets receipts up to {upto}, settled are {said}"
                    );
                }
                Change::Book { .. }
                | Change::Heard(..)
                | Change::Receipt(_)
                | Change::Key(_)
                | Change::Partial(_)
                | Change::PartialGone(_)
                | Change::Set(..)
                | Change::Metered(_)
                | Change::Audit(_)
                | Change::PruneAudit(_)
                | Change::Spooled(_) => {}
                Change::Unspooled(_) => self.unspool_asked(n, change, nodes),
            }
        }
    }

    fn pack_asked(&mut self, n: usize, no: PackNo, staged: StagedId, nodes: &[Node]) {
        let fresh = !nodes[n].disk.packs.contains_key(&no);
        assert!(fresh, "[step] n{n} gives the number {no} twice");
        self.watches[n].pack_of.insert(staged, no);
    }

    fn row_asked(&mut self, n: usize, row: &OwedRow, nodes: &[Node]) {
        let due = row.due;
        let before = self.before(n, due);
        let moves = self.moves(n, before.as_ref(), row);
        let mut at = before.as_ref().map(|row| row.state.name());
        for wanted in &moves {
            at = step(at, *wanted).unwrap_or_else(|e| panic!("[step] n{n} {due:?}: {e}"));
            self.tally.count(move_name(*wanted));
        }
        assert_eq!(
            at,
            Some(row.state.name()),
            "[step] n{n} {due:?} by {moves:?}"
        );
        self.judge_attempt(n, before.as_ref(), row, &moves);
        self.judge_standby(n, before.as_ref(), row);
        self.unread_moved(n, row, &moves);
        for wanted in moves {
            self.judge_move(n, row, wanted, nodes);
        }
        let watch = &mut self.watches[n];
        if row.state.name() == StateName::Inflight && row.count > 0 {
            watch.flying.insert(due);
        } else {
            watch.flying.remove(&due);
        }
        watch.asked.insert(due, row.clone());
    }

    /// The row before; a member that leaves the rest stood where the rest stands.
    pub(super) fn before(&self, n: usize, due: Due) -> Option<OwedRow> {
        let asked = &self.watches[n].asked;
        let rest = Due {
            part: Part::Rest,
            ..due
        };
        asked.get(&due).or_else(|| asked.get(&rest)).cloned()
    }

    fn moves(&self, n: usize, before: Option<&OwedRow>, row: &OwedRow) -> Vec<Move> {
        use StateName as S;
        let Some(before) = before else {
            return match row.state.name() {
                S::Inflight => vec![Move::Enqueue, Move::Send],
                S::Scheduled | S::Failed | S::Acked | S::Deadletter => vec![Move::Enqueue],
            };
        };
        let exhausted = row.state
            == State::Deadletter {
                cause: Cause::RetriesExhausted,
            };
        match (before.state.name(), row.state.name()) {
            (S::Scheduled, S::Inflight) => vec![Move::Send],
            (S::Inflight, S::Acked) => vec![Move::Ack],
            (S::Scheduled | S::Failed, S::Acked) => vec![Move::AckLate],
            (S::Inflight, S::Failed) => vec![Move::Fail],
            (S::Inflight, S::Scheduled) => vec![Move::Return],
            (S::Failed, S::Scheduled) => vec![Move::Wake],
            (S::Failed, S::Deadletter) if exhausted => vec![Move::Exhaust],
            (S::Scheduled | S::Inflight | S::Failed, S::Deadletter) => vec![Move::Park],
            (S::Deadletter, S::Scheduled) => vec![Move::Retry],
            (a, b) if a == b && before.attempt == row.attempt && before.spent == row.spent => {
                vec![]
            }
            (a, b) => panic!("[step] n{n} {:?}: no move leads from {a} to {b}", row.due),
        }
    }

    /// Attempts open with a send, close with what ends it, and are spent by
    /// FAILED and TIMEOUT on a live link alone.
    fn judge_attempt(&self, n: usize, before: Option<&OwedRow>, row: &OwedRow, moves: &[Move]) {
        let due = row.due;
        let spent = before.map_or(0, |row| row.spent);
        let open = row.attempt.is_some_and(|attempt| attempt.ended.is_none());
        let flies = row.state.name() == StateName::Inflight;
        assert_eq!(
            open, flies,
            "[step] n{n} {due:?}: an attempt is open exactly in flight"
        );
        let ended = row
            .attempt
            .and_then(|attempt| attempt.ended)
            .map(|(_, outcome)| outcome);
        if moves.contains(&Move::Fail) {
            let outcome = ended.expect("[step] a failed attempt has an end");
            assert!(
                outcome.spends_budget(),
                "[step] n{n} {due:?} fails by {outcome:?}"
            );
            assert_eq!(
                row.spent,
                spent + 1,
                "[step] n{n} {due:?}: a failure spends one attempt"
            );
            let peer = self.watches[n].peers[&due.peer];
            assert!(
                self.watches[n].is_up(peer),
                "[step] n{n} {due:?}: spent on a peer that is down"
            );
        } else if moves.contains(&Move::Retry) {
            assert_eq!(row.spent, 0, "[step] n{n} {due:?}: a retry starts at zero");
        } else {
            assert_eq!(
                row.spent, spent,
                "[step] n{n} {due:?}: {moves:?} spends nothing"
            );
        }
        if moves.contains(&Move::Return) {
            let outcome = ended.expect("[step] a returned attempt has an end");
            let unspent = matches!(outcome, Outcome::Interrupted | Outcome::Deferred);
            assert!(unspent, "[step] n{n} {due:?} returns by {outcome:?}");
        }
    }

    fn judge_move(&mut self, n: usize, row: &OwedRow, wanted: Move, nodes: &[Node]) {
        let due = row.due;
        let unix = nodes[n].clock(self.now).unix;
        let lane = self.watches[n].lanes.get(&row.lane);
        let rules = &self.watches[n].rules;
        let rule = lane.and_then(|lane| rules.lanes.get(lane));
        let budget = rule.map_or(8, |rule| rule.budget);
        let most = lane.and_then(|lane| rules.most.get(lane)).copied();
        let most = most.unwrap_or(8);
        let retry = rules.retry.expect("a node that runs has a backoff");
        match wanted {
            Move::Ack | Move::AckLate => self.judge_acked(n, row, nodes),
            Move::Fail => {
                let State::Failed { until } = row.state else {
                    return;
                };
                let wait = until.0.saturating_sub(unix.0) as u128;
                let longest = retry.longest.as_millis() + 1;
                assert!(
                    wait <= longest,
                    "[step] n{n} {due:?} rests {wait} ms, at most {longest}"
                );
                assert!(
                    wait + 1 >= retry.first.as_millis() / 2,
                    "[step] n{n} {due:?} rests {wait} ms"
                );
                let attempt = row.attempt.expect("[step] a failure has an attempt");
                let timeout = attempt
                    .ended
                    .is_some_and(|(_, outcome)| outcome == Outcome::Timeout);
                let lasted = unix.0.saturating_sub(attempt.started.0) as u128 + 1;
                let least = self.limits.ack_timeout.as_millis();
                assert!(
                    !timeout || lasted >= least,
                    "[step] n{n} {due:?} times out after {lasted} ms"
                );
                if timeout {
                    let bytes = nodes[n].disk.packs[&due.pack].info.bytes;
                    self.judge_timeout(n, due, bytes > relay_core::limits::SMALL_SEGMENT);
                }
                let blamed = timeout || self.is_blamed(n, due, nodes);
                assert!(blamed, "[step] n{n} {due:?} fails and no answer says so");
            }
            Move::Exhaust => {
                // A budget may have been cut since the last failure, or raised since it was
                // stuck before a full deadletter.
                let stuck = self.watches[n].asked.get(&due).is_some_and(|row| row.stuck);
                let spent = if stuck { 1 } else { budget }..=most;
                assert!(
                    spent.contains(&row.spent),
                    "[step] n{n} {due:?} is exhausted by {}",
                    row.spent
                );
                self.tally.count("cause: RetriesExhausted");
            }
            Move::Park => self.judge_cause(n, row, nodes),
            Move::Wake => {
                let before = self.watches[n].asked.get(&due).map(|row| row.state);
                let Some(State::Failed { until }) = before else {
                    return;
                };
                assert!(
                    unix.0 + 1 >= until.0,
                    "[step] n{n} {due:?} wakes before {until:?}"
                );
            }
            Move::Retry => {
                assert!(
                    self.watches[n].is_named(due),
                    "[step] n{n} {due:?} leaves deadletter"
                );
            }
            Move::Send => {
                self.judge_begin(n, row, nodes);
                self.judge_attempt_begins(n, row, nodes);
            }
            Move::Enqueue | Move::Return | Move::Remove | Move::Spare => {}
        }
        if let State::Failed { .. } = row.state {
            assert!(
                row.spent <= most,
                "[step] n{n} {due:?}: budget {budget} is never passed"
            );
        }
    }

    /// Acked means: the peer said so of this very pack, and it is there.
    fn judge_acked(&self, n: usize, row: &OwedRow, nodes: &[Node]) {
        let due = row.due;
        let peer = self.watches[n].peers[&due.peer];
        let stored = &nodes[n].disk.packs[&due.pack];
        let acks = self.watches[n].acks.get(&(peer, due.pack));
        for member in self.covered(n, due, nodes) {
            let answers = |part: Part| part == Part::Rest || part == Part::Member(member);
            let said = acks.into_iter().flatten().any(|ack| {
                let refused = ack.refused.iter().any(|(index, _)| *index == member);
                answers(ack.part) && ack.table == stored.info.table && !refused
            });
            assert!(
                said,
                "[step] n{n} {due:?} member {member} is acked and nobody said so"
            );
            let body = &stored.content.members[usize::from(member)];
            let origin = &nodes[n].disk.nodes[&stored.info.origin];
            let number = nodes[peer].number(origin);
            let there = number.is_some_and(|no| nodes[peer].disk.has(no, body.id, body.digest));
            assert!(
                there,
                "[step] n{n} {due:?} member {member} is acked and not at n{peer}"
            );
        }
    }

    /// Whether the peer ever answered this pack with a bad word that may pass.
    fn is_blamed(&self, n: usize, due: Due, nodes: &[Node]) -> bool {
        let covered = self.covered(n, due, nodes);
        let peer = self.watches[n].peers[&due.peer];
        let table = nodes[n].disk.packs[&due.pack].info.table;
        let acks = self.watches[n].acks.get(&(peer, due.pack));
        let mut foreign = acks.into_iter().flatten();
        foreign.any(|ack| ack.table != table)
            || covered.iter().any(|m| self.blames(n, due, *m, nodes))
    }

    /// Whether the peer ever said of this member, or of its whole pack, what may pass.
    pub(super) fn blames(&self, n: usize, due: Due, member: u16, nodes: &[Node]) -> bool {
        let peer = self.watches[n].peers[&due.peer];
        let table = nodes[n].disk.packs[&due.pack].info.table;
        let acks = self.watches[n].acks.get(&(peer, due.pack));
        acks.into_iter().flatten().any(|ack| {
            let passing = |(m, nack): &(u16, _)| {
                let nack: &relay_core::change::Nack = nack;
                *m == member && !nack.is_permanent()
            };
            ack.table != table || ack.refused.iter().any(passing)
        })
    }

    fn judge_cause(&mut self, n: usize, row: &OwedRow, nodes: &[Node]) {
        let due = row.due;
        let State::Deadletter { cause } = row.state else {
            return;
        };
        let peer = self.watches[n].peers[&due.peer];
        let stored = &nodes[n].disk.packs[&due.pack];
        let covered = self.covered(n, due, nodes);
        let unix = nodes[n].clock(self.now).unix;
        let id = |member: &u16| stored.content.members[usize::from(*member)].id;
        let (name, true_cause) = match cause {
            Cause::SegmentMissing => ("cause: SegmentMissing", stored.missing),
            Cause::Corrupt => (
                "cause: Corrupt",
                covered.iter().all(|m| stored.bad.contains(m)) || self.is_given_up(n, due),
            ),
            Cause::Rejected => (
                "cause: Rejected",
                covered
                    .iter()
                    .all(|m| self.refuses(peer, id(m)) || self.shuns(peer, id(m)))
                    || self.is_poison(n, row, nodes)
                    || self.turns_away(peer, n, &stored.info, nodes),
            ),
            Cause::Expired => ("cause: Expired", row.has_expired(&stored.info, unix)),
            Cause::Forced => (
                "cause: Forced",
                self.watches[n].dropped.contains(&peer)
                    || self.watches[n].verbs.forces(due)
                    || self.parks_for_quota(n, peer, unix),
            ),
            Cause::Cancelled => ("cause: Cancelled", self.watches[n].verbs.cancels(due)),
            Cause::RetriesExhausted => ("cause: RetriesExhausted", false),
        };
        assert!(
            true_cause,
            "[step] n{n} {due:?} is parked as {cause:?} and is not"
        );
        let quota = cause == Cause::Forced && self.parks_for_quota(n, peer, unix);
        self.tally.count(name);
        if quota {
            self.tally.count("parked for a quota");
        }
    }

    /// The members a row speaks for, from all rows asked so far.
    pub(super) fn covered(&self, n: usize, due: Due, nodes: &[Node]) -> Vec<u16> {
        let asked = &self.watches[n].asked;
        let all = nodes[n].disk.packs[&due.pack].content.all();
        let split = |m: &u16| {
            let own = Due {
                part: Part::Member(*m),
                ..due
            };
            asked.contains_key(&own) || nodes[n].disk.except(due.peer, due.pack).contains(m)
        };
        match due.part {
            Part::Rest => all.into_iter().filter(|m| !split(m)).collect(),
            Part::Member(m) => vec![m],
        }
    }

    fn gone_asked(&mut self, n: usize, due: Due) {
        self.unread_gone(n, due);
        let watch = &mut self.watches[n];
        let row = watch
            .asked
            .remove(&due)
            .unwrap_or_else(|| panic!("[step] n{n} removes {due:?} twice"));
        watch.flying.remove(&due);
        if !row.state.name().is_terminal() {
            return self.judge_spared(n, &row);
        }
        let gone = step(Some(row.state.name()), Move::Remove);
        assert!(matches!(gone, Ok(None)), "[step] n{n} {due:?}: {gone:?}");
        assert!(
            watch.is_named(due),
            "[step] n{n} {due:?} is removed and nobody asked"
        );
        if row.state == State::Acked {
            watch.purged_acked.insert(due);
        }
        self.tally.count(move_name(Move::Remove));
    }
}

/// The tally's name for a row of the table.
pub(super) const fn move_name(wanted: Move) -> &'static str {
    match wanted {
        Move::Enqueue => "move: Enqueue",
        Move::Send => "move: Send",
        Move::Ack => "move: Ack",
        Move::AckLate => "move: AckLate",
        Move::Fail => "move: Fail",
        Move::Return => "move: Return",
        Move::Wake => "move: Wake",
        Move::Exhaust => "move: Exhaust",
        Move::Park => "move: Park",
        Move::Retry => "move: Retry",
        Move::Remove => "move: Remove",
        Move::Spare => "move: Spare",
    }
}

const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Acked => "outcome: Acked",
        Outcome::Failed => "outcome: Failed",
        Outcome::Timeout => "outcome: Timeout",
        Outcome::Rejected => "outcome: Rejected",
        Outcome::SegmentMissing => "outcome: SegmentMissing",
        Outcome::Corrupt => "outcome: Corrupt",
        Outcome::Abandoned => "outcome: Abandoned",
        Outcome::Interrupted => "outcome: Interrupted",
        Outcome::Deferred => "outcome: Deferred",
    }
}
