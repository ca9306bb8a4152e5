//! Reads that fail: what may wait for them, and for how long.
//!
//! Kept from questions and answers alone. What waits as `storage` has a question open
//! that failed; what was taken out of flight because its bytes could not be read says
//! so until it is moved; a peer whose arrival could not be looked up hears `busy` in
//! the same step; bytes are given up no sooner than they may be.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "it looks at questions and their answers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relay_core::change::{Due, OwedRow};
use relay_core::delivery::{Move, WaitingOn};
use relay_core::event::{BusyWhy, Effect, Input, SendTrouble};
use relay_core::id::{LaneNo, LinkId, NodeNo, PackNo};

use super::Oracle;

/// What a node could not read.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pages: BTreeSet<(NodeNo, LaneNo)>,
    rows: BTreeSet<Due>,
    groups: BTreeSet<PackNo>,
    /// Since when the bytes of each could not be read.
    bytes: BTreeMap<Due, u64>,
    /// Of these, what came out of flight for it and was not moved since.
    away: BTreeSet<Due>,
    /// Of these, what waits for nothing else.
    out: BTreeSet<Due>,
    /// The name of what could not be checked in this step.
    hearing: Option<Due>,
    /// On which link each look-up's arrival came, where that is known for sure.
    look_ups: BTreeMap<u64, LinkId>,
    /// Of a look-up that failed in this step: where a `busy` is owed.
    owes_busy: Option<LinkId>,
    /// When a read last failed, or was slow.
    pub(super) last: Option<u64>,
}

impl Unread {
    /// Whether it came out of flight since its bytes could not be read.
    pub(super) fn awaits_bytes(&self, due: Due) -> bool {
        self.away.contains(&due)
    }
}

impl Oracle {
    pub(super) fn unread_heard(&mut self, n: usize, input: &Input) {
        let watch = &mut self.watches[n];
        let unread = &mut watch.unread;
        unread.hearing = None;
        unread.owes_busy = None;
        match input {
            Input::Unread { question, .. } => {
                unread.last = Some(self.now);
                match **question {
                    Effect::Page { peer, lane, .. } => drop(unread.pages.insert((peer, lane))),
                    Effect::Fetch(due) => drop(unread.rows.insert(due)),
                    Effect::Group(pack) => drop(unread.groups.insert(pack)),
                    Effect::Verify(due) => {
                        unread.bytes.entry(due).or_insert(self.now);
                        unread.hearing = Some(due);
                    }
                    Effect::LookUp { question, .. } => {
                        let came = unread.look_ups.remove(&question);
                        let sender = |link: &LinkId| watch.up.get(link).copied();
                        let links = |peer| watch.up.values().filter(|to| **to == peer).count();
                        let only = |link: &LinkId| sender(link).map(links) == Some(1);
                        let closing = &watch.closing;
                        unread.owes_busy =
                            came.filter(|link| only(link) && !closing.contains(link));
                    }
                    _ => {}
                }
            }
            Input::SendFailed {
                due,
                trouble: SendTrouble::Unreadable,
                ..
            } => {
                unread.last = Some(self.now);
                unread.bytes.entry(*due).or_insert(self.now);
                unread.hearing = Some(*due);
            }
            Input::Paged { peer, lane, .. } => drop(unread.pages.remove(&(*peer, *lane))),
            Input::Fetched { due, .. } => drop(unread.rows.remove(due)),
            Input::Grouped { pack, .. } => drop(unread.groups.remove(pack)),
            Input::Verified { due, .. } => {
                unread.bytes.remove(due);
                unread.out.remove(due);
                unread.away.remove(due);
            }
            _ => {}
        }
    }

    pub(super) fn unread_asked(&mut self, n: usize, effect: &Effect) {
        let watch = &mut self.watches[n];
        match effect {
            Effect::LookUp { question, ids, .. } => {
                let same = |seen: &super::Seen| {
                    let own = seen.members.iter().map(|(_, id, _)| id);
                    own.eq(ids.iter().map(|(id, _)| id))
                };
                let came = watch.arrivals.iter();
                let came = came.filter(|(_, seen)| seen.iter().any(same));
                let senders: BTreeSet<usize> = came.map(|((sender, _), _)| *sender).collect();
                let up = watch.up.iter().filter(|(_, to)| senders.contains(to));
                let links: Vec<LinkId> = up.map(|(link, _)| *link).collect();
                if let ([link], 1) = (&links[..], senders.len()) {
                    watch.unread.look_ups.insert(*question, *link);
                }
            }
            Effect::Busy {
                why: BusyWhy::Io, ..
            } => watch.unread.owes_busy = None,
            Effect::Fetch(due) => {
                // Held back while the bytes of the same are not read.
                watch.unread.rows.remove(due);
            }
            _ => {}
        }
    }

    /// A row moved: it waits for its bytes only if this is why it came back.
    pub(super) fn unread_moved(&mut self, n: usize, row: &OwedRow, moves: &[Move]) {
        let due = row.due;
        let watch = &self.watches[n];
        let read = watch.turns.judged().chain(watch.unread.bytes.keys());
        let read: BTreeSet<&Due> = read.filter(|other| other.peer == due.peer).collect();
        // With more of them it may go back to wait for its turn.
        let room = read.len() <= self.limits.late_acks;
        let unread = &mut self.watches[n].unread;
        let came = unread.hearing == Some(due) && moves == [Move::Return];
        for (set, holds) in [(&mut unread.away, came), (&mut unread.out, came && room)] {
            match holds {
                true => set.insert(due),
                false => set.remove(&due),
            };
        }
    }

    pub(super) fn unread_gone(&mut self, n: usize, due: Due) {
        self.watches[n].unread.out.remove(&due);
    }

    /// Whether the bytes of a row could not be read for as long as it takes.
    pub(super) fn is_given_up(&mut self, n: usize, due: Due) -> bool {
        let since = self.watches[n].unread.bytes.get(&due);
        let long = |since: &u64| Duration::from_micros(self.now - since) >= self.limits.unreadable;
        let given_up = since.is_some_and(long);
        self.tally.add("given up unread", u64::from(given_up));
        given_up
    }

    /// Whether reads of `n` failed lately, so that what is found by them is late.
    pub(super) fn read_ill(&self, n: usize) -> bool {
        const LATE: u64 = 300_000_000;
        let last = self.watches[n].unread.last;
        last.is_some_and(|at| self.now < at + LATE)
    }

    /// Whoever sent what could not be looked up has been told to wait.
    pub(super) fn judge_unread_step(&self, n: usize) {
        let owed = self.watches[n].unread.owes_busy;
        assert!(
            owed.is_none(),
            "[step] n{n} could not look an arrival up, and nobody is told on {owed:?}"
        );
    }

    pub(super) fn judge_storage(&mut self, n: usize, row: &OwedRow, said: &[WaitingOn]) {
        let unread = &self.watches[n].unread;
        let due = row.due;
        let may = unread.bytes.keys().any(|other| other.peer == due.peer)
            || unread.rows.contains(&due)
            || unread.groups.contains(&due.pack)
            || unread.pages.contains(&(due.peer, row.lane));
        let says = said.contains(&WaitingOn::Storage);
        assert!(
            may || !says,
            "[step] n{n} {due:?} waits on {said:?}, and everything could be read"
        );
        assert!(
            says || !unread.out.contains(&due),
            "[step] n{n} {due:?} waits on {said:?}, and its bytes could not be read"
        );
        if says {
            self.tally.count("why: storage");
        }
    }
}
