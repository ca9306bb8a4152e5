//! Each step: who goes before whom.
//!
//! Without a backlog what was put first begins first. A chunk is of the most
//! urgent class that has something to send and room for it, unless its own class
//! was left without a turn for its longest wait; and of classes left so long, the
//! one left longest goes first. Kept from marks, sends and answers alone.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "it looks at what gives and takes turns"
)]

use std::collections::{BTreeMap, BTreeSet};

use relay_core::change::{Due, OwedRow, Part};
use relay_core::delivery::{State, StateName};
use relay_core::event::{Effect, Input, Parcel};
use relay_core::id::{LaneNo, NodeNo, PackNo, Ticket};
use relay_core::limits::SMALL_SEGMENT;

use super::Oracle;
use crate::node::Node;

type Class = u8;

/// What one node has to send, and to whom it gave turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The ticket whose changes are being asked for.
    ticket: Ticket,
    /// Marks on their way to disk.
    marks: Vec<(Ticket, Due)>,
    /// Marked durably, something left to send.
    outbox: BTreeMap<Due, Class>,
    /// Of these, what was there before this step.
    before: BTreeMap<Due, Class>,
    /// Offered, no answer yet.
    offered: BTreeSet<Due>,
    /// Of what is in the outbox: the peer has some of it, or room for it.
    begun: BTreeSet<Due>,
    /// Bytes and chunks sent and not taken.
    unsent: BTreeMap<Due, (Class, u64, u64)>,
    /// When each class of a peer had its last turn, or began to have work.
    since: BTreeMap<(NodeNo, Class), u64>,
    /// What was sent in this step, in order: whom to, class, when it last had a turn.
    sent: Vec<(Due, Class, u64)>,
    /// Lanes of which some waited in the ledger alone.
    backlog: BTreeSet<(NodeNo, LaneNo)>,
    /// Packs that may be too old to begin.
    pub(super) ages: BTreeSet<PackNo>,
    /// Deliveries whose bytes are being read again.
    judged: BTreeSet<Due>,
}

const fn waits(row: &OwedRow) -> bool {
    matches!(row.state.name(), StateName::Scheduled | StateName::Failed)
}

impl Turns {
    /// After a start all that waits is in the ledger.
    pub(super) fn new(rows: &BTreeMap<Due, OwedRow>) -> Self {
        let waiting = rows.values().filter(|row| waits(row));
        Self {
            backlog: waiting.map(|row| (row.due.peer, row.lane)).collect(),
            ..Self::default()
        }
    }

    /// Deliveries whose bytes are being read again.
    pub(super) fn judged(&self) -> impl Iterator<Item = &Due> {
        self.judged.iter()
    }

    fn enter(&mut self, due: Due, class: Class, now: u64) {
        let busy = |(other, held): (&Due, &Class)| other.peer == due.peer && *held == class;
        if !self.outbox.iter().any(busy) {
            self.since.insert((due.peer, class), now);
        }
        self.outbox.insert(due, class);
    }

    /// What counts against the bounds on what is unsent, for a class.
    fn unsent(&self, peer: NodeNo, class: Class) -> (u64, u64) {
        let held = self.unsent.iter().filter(|(due, _)| due.peer == peer);
        let ours = held.filter(|(_, (of, ..))| *of <= class);
        ours.fold((0, 0), |(b, c), (_, (_, bytes, chunks))| {
            (b + bytes, c + chunks)
        })
    }
}

impl Oracle {
    fn class_of(&self, n: usize, lane: LaneNo) -> Class {
        let name = &self.watches[n].lanes[&lane];
        let rules = &self.watches[n].rules.lanes;
        rules.get(name).map_or(4, |rule| rule.class.level())
    }

    /// Lanes may have changed their classes: what each holds goes along.
    pub(super) fn classes_changed(&mut self, n: usize) {
        let class = |oracle: &Self, due: &Due| {
            let row = oracle.watches[n].asked.get(due);
            row.map(|row| oracle.class_of(n, row.lane))
        };
        let now = self.now;
        let busy: BTreeSet<(NodeNo, Class)> = self.watches[n]
            .turns
            .outbox
            .iter()
            .map(|(due, class)| (due.peer, *class))
            .collect();
        let outbox = self.watches[n].turns.outbox.keys();
        let outbox: Vec<(Due, Class)> = outbox
            .filter_map(|due| Some((*due, class(self, due)?)))
            .collect();
        let unsent = self.watches[n].turns.unsent.keys();
        let unsent: Vec<(Due, Class)> = unsent
            .filter_map(|due| Some((*due, class(self, due)?)))
            .collect();
        let turns = &mut self.watches[n].turns;
        for (due, class) in outbox {
            turns.outbox.insert(due, class);
            if !busy.contains(&(due.peer, class)) {
                turns.since.insert((due.peer, class), now);
            }
        }
        for (due, class) in unsent {
            if let Some(held) = turns.unsent.get_mut(&due) {
                held.0 = class;
            }
        }
    }

    pub(super) fn turn_heard(&mut self, n: usize, input: &Input) {
        let now = self.now;
        let watch = &mut self.watches[n];
        watch.turns.before = watch.turns.outbox.clone();
        watch.turns.sent.clear();
        let mut enter = Vec::new();
        match input {
            Input::Persisted(ticket, _) => {
                let turns = &mut watch.turns;
                let due = turns.marks.extract_if(.., |(at, _)| *at <= *ticket);
                enter.extend(due.map(|(_, due)| due));
            }
            Input::Wanted { due, .. } if watch.turns.offered.remove(due) => {
                watch.turns.begun.insert(*due);
                enter.push(*due);
            }
            Input::Taken { due, bytes, .. } => {
                if let Some((_, held, chunks)) = watch.turns.unsent.get_mut(due) {
                    *held = held.saturating_sub(*bytes);
                    *chunks = chunks.saturating_sub(1);
                }
            }
            Input::Verified { due, .. } => drop(watch.turns.judged.remove(due)),
            _ => {}
        }
        for due in enter {
            let row = self.watches[n].asked.get(&due);
            let sends = |r: &&OwedRow| {
                r.state == State::Inflight && !self.watches[n].turns.judged.contains(&due)
            };
            if let Some(lane) = row.filter(sends).map(|r| r.lane) {
                let class = self.class_of(n, lane);
                self.watches[n].turns.enter(due, class, now);
            }
        }
    }

    pub(super) fn turn_asked(&mut self, n: usize, effect: &Effect) {
        match effect {
            Effect::Persist(ticket, _) => self.watches[n].turns.ticket = *ticket,
            Effect::Page { peer, lane, .. } => {
                self.watches[n].turns.backlog.insert((*peer, *lane));
            }
            Effect::Offer { parcel, .. } => {
                self.had_turn(n, parcel, 0);
                let turns = &mut self.watches[n].turns;
                turns.outbox.remove(&parcel.due);
                turns.offered.insert(parcel.due);
            }
            Effect::Send {
                parcel,
                bytes,
                last,
                ..
            } => {
                self.had_turn(n, parcel, *bytes);
                if *last {
                    self.watches[n].turns.outbox.remove(&parcel.due);
                }
            }
            Effect::Verify(due) => {
                let turns = &mut self.watches[n].turns;
                turns.outbox.remove(due);
                turns.judged.insert(*due);
            }
            _ => {}
        }
    }

    fn had_turn(&mut self, n: usize, parcel: &Parcel, bytes: u64) {
        let class = self.class_of(n, parcel.info.lane);
        let (now, due) = (self.now, parcel.due);
        let turns = &mut self.watches[n].turns;
        let since = turns.since.insert((due.peer, class), now).unwrap_or(now);
        turns.sent.push((due, class, since));
        if bytes > 0 {
            turns.begun.insert(due);
            let held = turns.unsent.entry(due).or_insert((class, 0, 0));
            (held.1, held.2) = (held.1 + bytes, held.2 + 1);
        }
    }

    /// A row moves: what that means for who has something to send, and whether a
    /// row that begins is the first of its lane.
    pub(super) fn row_turns(&mut self, n: usize, row: &OwedRow, nodes: &[Node]) {
        let limits = self.limits.clone();
        let watch = &self.watches[n];
        let key = (row.due.peer, row.lane);
        let lane_rows = || watch.asked.values().filter(|other| other.due.peer == key.0);
        let failed = |other: &&OwedRow| other.state.name() == StateName::Failed;
        let waiting = lane_rows().filter(|other| other.lane == key.1 && waits(other));
        let others = waiting.clone().filter(|other| other.due != row.due).count();
        let crowded =
            others >= limits.active || lane_rows().filter(failed).count() >= limits.resting;
        let fresh = !watch.asked.contains_key(&row.due);
        let woken = !row.standby && watch.asked.get(&row.due).is_some_and(|held| held.standby);
        let begins = row.state == State::Inflight;
        // A member that leaves its pack in flight begins nothing.
        let known = match watch.asked.get(&row.due) {
            Some(held) => held.state == State::Inflight,
            None => matches!(row.due.part, Part::Member(_)),
        };
        if begins && !known && !watch.turns.backlog.contains(&key) {
            let before = waiting.clone().find(|other| {
                let large = other.count == 1 && other.bytes > SMALL_SEGMENT;
                let pack = nodes[n].disk.packs.get(&other.due.pack);
                let ages = pack.is_some_and(|pack| pack.info.expires.is_some())
                    || watch.turns.ages.contains(&other.due.pack);
                other.due < row.due
                    && other.state == State::Scheduled
                    && !(other.held || other.standby || large || ages)
                    && !watch.turns.judged.contains(&other.due)
                    && !watch.unread.awaits_bytes(other.due)
            });
            assert!(
                before.is_none(),
                "[step] n{n} {:?} begins before {:?}",
                row.due,
                before.map(|row| row.due)
            );
        }
        let turns = &mut self.watches[n].turns;
        // What is woken comes out of the ledger, older than what is ready; so does what
        // left memory because too much waits.
        let many = waits(row) && others >= limits.active;
        if (fresh && crowded) || woken || many {
            turns.backlog.insert(key);
        } else if others == 0 && !waits(row) {
            turns.backlog.remove(&key);
        }
        if begins {
            if !known {
                turns.marks.push((turns.ticket, row.due));
            }
        } else {
            turns.marks.retain(|(_, due)| *due != row.due);
            turns.outbox.remove(&row.due);
            turns.begun.remove(&row.due);
            turns.offered.remove(&row.due);
            turns.unsent.remove(&row.due);
        }
    }

    /// Whoever was sent to last in this step had the turn: nobody was before it.
    pub(super) fn judge_turns(&mut self, n: usize) {
        let longest = self.limits.max_starvation.as_micros() as u64;
        let watch = &self.watches[n];
        let turns = &watch.turns;
        let is_busy = |no: &NodeNo| {
            let until = watch.peers.get(no).and_then(|peer| watch.busy.get(peer));
            until.is_some_and(|until| *until > self.now)
        };
        let mut seen = BTreeSet::new();
        for (due, class, since) in turns.sent.iter().rev() {
            if !seen.insert(due.peer) {
                continue;
            }
            let starved = self.now.saturating_sub(*since) >= longest;
            for (other, theirs) in &turns.outbox {
                let both = other.peer == due.peer && turns.before.contains_key(other);
                let both = both && (turns.begun.contains(other) || !is_busy(&due.peer));
                let (bytes, chunks) = turns.unsent(other.peer, *theirs);
                let open = bytes < self.limits.unsent_bytes
                    && chunks < u64::from(self.limits.unsent_chunks);
                if !both || !open || *theirs == *class {
                    continue;
                }
                let waited = turns.since[&(other.peer, *theirs)];
                // Under a rate the bound is 16 chunk times if that is longer: 16 s.
                let left = self.now.saturating_sub(waited) >= longest.max(16_000_000);
                assert!(
                    starved || theirs > class,
                    "[step] n{n} sends {due:?} of class {class} before {other:?} of class {theirs}"
                );
                assert!(
                    !left || (starved && *since <= waited),
                    "[step] n{n} sends {due:?} of class {class}, and class {theirs} waits since {waited}"
                );
            }
            if starved && turns.outbox.values().any(|other| other < class) {
                self.tally.count("class that starved goes first");
            }
        }
    }
}
