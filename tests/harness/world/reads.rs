//! Disks that do not answer, or take their time: what a world draws about them,
//! carried out.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "it tells questions from all else"
)]

use relay_core::change::Due;
use relay_core::event::{BusyWhy, Effect, Input};

use super::{Event, World};
use crate::scenario::SECOND;
use crate::scenario::reads::{ReadAct, kind, kind_of};

/// How the disk of a node answers just now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mood {
    /// Reads of these kinds fail, so many in a thousand, until then.
    fails: (u16, u64, u64),
    /// Reads take so much longer, until then.
    slow: (u64, u64),
}

impl Mood {
    /// How much longer a commit that begins at `now` takes.
    #[must_use]
    pub const fn slowness(&self, now: u64) -> u64 {
        if now < self.slow.1 { self.slow.0 } else { 0 }
    }
}

impl World {
    pub(super) fn read_act(&mut self, act: ReadAct) {
        match act {
            ReadAct::Fail {
                node,
                kinds,
                odds,
                time,
            } => {
                self.tally.count("fault: reads fail");
                self.nodes[node].mood.fails = (kinds, odds, self.now + time);
            }
            ReadAct::Slow { node, by, time } => {
                self.tally.count("fault: slow reads");
                self.nodes[node].mood.slow = (by, self.now + time);
            }
        }
    }

    /// Faults end: every disk answers again, but for what is dead for good.
    pub(super) fn reads_calm(&mut self, n: usize) {
        self.nodes[n].mood = Mood::default();
    }

    /// How long nodes may take to give up what they can never read: each row for as long as
    /// that takes with its waits, a few at a time.
    pub(super) fn time_to_give_up(&self) -> u64 {
        let limits = &self.plan.limits;
        let each = 2 * limits.unreadable.as_micros() as u64 + 2 * SECOND;
        let dead = self.nodes.iter().map(|node| {
            let packs = node.disk.owed.values().map(|row| row.due.pack);
            let dead = packs.filter(|no| node.disk.packs.get(no).is_some_and(|pack| pack.dead));
            dead.count() as u64
        });
        dead.sum::<u64>().div_ceil(limits.late_acks as u64) * each
    }

    /// How much longer a read of `n` takes just now.
    pub fn slow_read(&mut self, n: usize) -> u64 {
        match self.nodes[n].mood.slowness(self.now) {
            0 => 0,
            by => self.reads.between(0, by),
        }
    }

    /// Whether a read, or a write of a file, of this kind fails at `n` just now.
    pub fn read_fails(&mut self, n: usize, kind: u16) -> bool {
        let (kinds, odds, until) = self.nodes[n].mood.fails;
        !self.calm && self.now < until && kinds & kind != 0 && self.reads.chance(odds)
    }

    /// Whether the bytes of a pack cannot be read at `n` just now.
    pub fn bytes_unreadable(&mut self, n: usize, due: Due) -> bool {
        let stored = self.nodes[n].disk.packs.get(&due.pack);
        stored.is_some_and(|stored| stored.dead) || self.read_fails(n, kind::BYTES)
    }

    /// What `n` hears of a question that its disk does not answer; `None`: it does.
    pub fn unanswered(&mut self, n: usize, question: &Effect) -> Option<Input> {
        let fails = match question {
            Effect::Verify(due) => self.bytes_unreadable(n, *due),
            other => self.read_fails(n, kind_of(other)),
        };
        if !fails {
            return None;
        }
        self.tally.count(match question {
            Effect::FindKey(..) => "unread: key",
            Effect::Page { .. } => "unread: page",
            Effect::Owing { .. } => "unread: owing",
            Effect::Fetch(_) => "unread: row",
            Effect::FindExpired { .. } => "unread: expired",
            Effect::FindStuck { .. } => "unread: stuck",
            Effect::LookUp { .. } => "unread: look-up",
            Effect::Recall { .. } => "unread: receipts",
            Effect::Group(_) => "unread: group",
            Effect::Walk { .. } => "unread: walk",
            Effect::Verify(_) => "unread: bytes",
            _ => "unread: nothing",
        });
        Some(Input::Unread {
            question: Box::new(question.clone()),
            why: "input/output error".to_owned(),
        })
    }

    /// What is written of a large segment comes to nothing: the shell drops it.
    pub fn file_fails(
        &mut self,
        n: usize,
        link: usize,
        side: usize,
        sent: relay_core::change::Sent,
    ) {
        self.tally.count("fault: a file fails");
        let end = &mut self.wire.links[link].ends[side];
        let id = end.id;
        let Some(inflow) = end.inflows.remove(&sent) else {
            return;
        };
        self.oracle.spoiled(n, inflow.of());
        if let Some(partial) = inflow.partial() {
            self.hear(n, Input::Kept { partial, bytes: 0 });
        }
        let why = Some(BusyWhy::Io);
        let lost = Input::OfferLost {
            link: id,
            sent,
            why,
        };
        self.hear(n, lost);
    }

    /// A crash leaves the disk as it is: what fails goes on to fail.
    pub fn read_later(&mut self, n: usize, wait: u64, effect: Effect) {
        let run = self.nodes[n].run;
        let wait = wait + self.slow_read(n);
        self.after(wait, Event::Read(n, run, Box::new(effect)));
    }
}
