//! Isolating poison: panics of earlier runs are counted before anything is touched,
//! and what they name goes to the deadletter as `rejected`, with evidence.
//!
//! Every row that is about to wait for its turn is judged here, so nothing that is
//! poison is sent again, whichever way it came into memory. Rows that were named are
//! read at the start too, so that they are parked though their peer is away. A count
//! lies in the ledger, is written before a byte goes out, and is forgotten when the
//! segment is acked, when an operator retries it, and after [`limits::KEEP_MARKS`].

use std::collections::{BTreeMap, BTreeSet};

use super::{Scheduler, paging};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};
use crate::change::{Change, Due, Part, Snapshot};
use crate::delivery::{Cause, Outcome};
use crate::event::Effect;
use crate::id::{NodeNo, PackNo};
use crate::limits;
use crate::peer::{Judgement, Parcel};
use crate::poison::{Alike, Mark, Marks, Panic, Suspect, Touched, Verdict};
use crate::queue::Key;
use crate::setting::{Setting, Value};
use crate::time::Now;

/// What is held against segments.
#[derive(Debug, Default)]
pub(super) struct Poison {
    marks: Marks,
    alike: Alike,
    /// Panics of runs up to this one are counted.
    counted: u64,
    /// Rows of packs that were named, to be read; the first is being read.
    seeking: BTreeSet<Due>,
    /// What the panics heard of in this run said of each pack.
    words: BTreeMap<PackNo, String>,
}

impl Poison {
    /// What earlier runs kept.
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut poison = Self::default();
        for (setting, value) in &snapshot.settings {
            match (setting, value) {
                (Setting::Panicked(touched), Value::Panics { count, whole, at }) => {
                    let (count, whole, at) = (*count, *whole, *at);
                    poison.marks.set(*touched, Mark { count, whole, at });
                }
                (Setting::PanicsCounted, Value::Number(epoch)) => poison.counted = *epoch,
                (
                    Setting::Rate(_)
                    | Setting::Quota(_)
                    | Setting::Pause(..)
                    | Setting::LaneBytes(_)
                    | Setting::LaneAttempts(_)
                    | Setting::Panicked(_)
                    | Setting::PanicsCounted
                    | Setting::Dropping(_),
                    _,
                ) => {}
            }
        }
        poison
    }

    /// Whether a segment is not taken in any more.
    pub(super) fn shuns(&self, id: crate::id::SegmentId) -> bool {
        self.marks.shuns(id)
    }
}

/// The only member a parcel speaks for, if it is one.
fn alone(parcel: &Parcel) -> Option<u16> {
    match parcel.row.due.part {
        Part::Member(member) => Some(member),
        Part::Rest if parcel.row.count == 1 => {
            let all = 0..=u16::MAX;
            all.take(parcel.info.count as usize)
                .find(|member| !parcel.except.contains(member))
        }
        Part::Rest => None,
    }
}

impl Scheduler {
    /// Counts what ended earlier runs, then looks for what is poison.
    pub(super) fn on_panicked(&mut self, now: Now, panics: Vec<Panic>) {
        let counted = self.poison.counted;
        for panic in panics {
            if panic.epoch.0 > counted {
                self.count_panic(now, panic);
            }
        }
        for gone in self.poison.marks.expire(now.unix, limits::KEEP_MARKS) {
            self.batch.push(Change::Set(Setting::Panicked(gone), None));
        }
        self.seek_poison();
    }

    fn count_panic(&mut self, now: Now, panic: Panic) {
        let (event, resource) = (AuditEvent::SystemPanicked, panic.epoch.0.to_string());
        let mut record = AuditRecord::own(now.wall, event, "boot_epoch", resource);
        record.outcome = AuditOutcome::Failure;
        let mut record = record.with("said", &panic.said);
        self.poison.counted = self.poison.counted.max(panic.epoch.0);
        let counted = Value::Number(self.poison.counted);
        self.batch
            .push(Change::Set(Setting::PanicsCounted, Some(counted)));
        // The number of a pack that never became durable is another's by now.
        let known = |touched: &Touched| match touched {
            Touched::Owed(due) => due.pack <= self.last_pack,
            Touched::Arriving(_) => true,
        };
        if let Some(touched) = panic.touched.filter(known) {
            // Its time begins as it is counted: the clock may have stood in between.
            let mark = self.poison.marks.name(touched, now.unix);
            record = match touched {
                Touched::Owed(due) => {
                    self.poison.words.insert(due.pack, panic.said);
                    record.with("touched", format!("{due:?}"))
                }
                Touched::Arriving(id) => record.with("segment", id),
            };
            record = record.with("times", mark.count);
            self.keep_mark(touched, mark);
        }
        self.batch.push(Change::Audit(record));
    }

    fn keep_mark(&mut self, touched: Touched, mark: Mark) {
        let Mark { count, whole, at } = mark;
        let value = Value::Panics { count, whole, at };
        self.batch
            .push(Change::Set(Setting::Panicked(touched), Some(value)));
    }

    /// Reads the rows of packs that were named, and says what is not to be taken in.
    pub(super) fn seek_poison(&mut self) {
        let shunned: Vec<_> = self.poison.marks.shunned().collect();
        let shunned = shunned.into_iter().map(Effect::Shun);
        self.effects.extend(shunned);
        let begun = !self.poison.seeking.is_empty();
        let peers: Vec<NodeNo> = self.peers.keys().copied().collect();
        for pack in self.poison.marks.packs() {
            let rows = self.poison.marks.of_pack(pack);
            let mut parts: Vec<Part> = rows.map(|(due, _)| due.part).collect();
            parts.push(Part::Rest);
            parts.sort_unstable();
            parts.dedup();
            for (peer, part) in peers
                .iter()
                .flat_map(|peer| parts.iter().map(|part| (*peer, *part)))
            {
                self.poison.seeking.insert(Due { peer, pack, part });
            }
        }
        if !begun {
            self.seek_next();
        }
    }

    /// Reads the next of these rows, one after the other, so that acks find room to ask.
    /// What is read is judged as it is taken up.
    fn seek_next(&mut self) {
        if let Some(due) = self.poison.seeking.first().copied() {
            self.ask(due, paging::Ask::Suspect);
        }
    }

    pub(super) fn on_sought(&mut self, due: Due) {
        self.poison.seeking.remove(&due);
        self.seek_next();
    }

    /// Judges a row that is about to wait for its turn; `true`: it does not wait.
    pub(super) fn isolate(&mut self, now: Now, no: NodeNo, key: Key) -> bool {
        if self.poison.marks.holds_nothing() {
            return false;
        }
        let parcel = &self.peers[&no].parcels[&key];
        let suspect = Suspect {
            due: parcel.row.due,
            alone: alone(parcel),
            of: parcel.info.count,
        };
        match self.poison.marks.judge(suspect) {
            Verdict::Sound => false,
            Verdict::TakeApart if parcel.row.is_shelved() => false,
            Verdict::TakeApart => {
                self.look_at(no, key, Judgement::Suspect);
                true
            }
            Verdict::Poison(times) => {
                let words = self.poison.words.get(&key.0).map_or("", String::as_str);
                let said = format!("poison: {times} panics of this daemon named it; {words}");
                self.park_poison(now, no, key, Outcome::Interrupted, &said);
                true
            }
        }
    }

    /// A suspected pack was read: each member goes alone from here on.
    pub(super) fn take_apart(&mut self, now: Now, no: NodeNo, key: Key, lengths: &[u64]) {
        let parcel = &self.peers[&no].parcels[&key];
        let left = (0u16..)
            .zip(lengths)
            .filter(|(member, _)| !parcel.except.contains(member))
            .map(|(member, length)| (member, *length));
        let mut left: Vec<(u16, u64)> = left.collect();
        // The last one keeps the row of the rest.
        left.truncate(left.len().saturating_sub(1).min(parcel.row.count as usize));
        let due = parcel.row.due;
        if let Some(mark) = self.poison.marks.of(due) {
            let (count, whole) = (0, true);
            let mark = Mark {
                count,
                whole,
                ..mark
            };
            self.poison.marks.set(Touched::Owed(due), mark);
            self.keep_mark(Touched::Owed(due), mark);
        }
        if left.is_empty() {
            return;
        }
        for part in self.split(no, key, &left) {
            self.wait_again(now, no, part);
        }
    }

    /// A member failed by a word of its peer: if another peer said the same of it, it
    /// is poison at both. `true`: it is parked.
    pub(super) fn fails_alike(&mut self, now: Now, no: NodeNo, key: Key, said: &str) -> bool {
        let Some(member) = alone(&self.peers[&no].parcels[&key]) else {
            return false;
        };
        let others = self.poison.alike.failed((key.0, member), no, said);
        if others.is_empty() {
            return false;
        }
        let all = others.iter().chain([&no]);
        let names: Vec<&str> = all
            .filter_map(|no| self.nodes.name(*no))
            .map(crate::id::NodeId::as_str)
            .collect();
        let evidence = format!("poison: it fails alike at {}: {said}", names.join(", "));
        for other in others {
            for part in [Part::Member(member), Part::Rest] {
                self.park_elsewhere(now, other, (key.0, part), member, &evidence);
            }
        }
        self.park_poison(now, no, key, Outcome::Failed, &evidence);
        true
    }

    /// Parks what waits at another peer and speaks for `member` alone. One in flight
    /// is answered first.
    fn park_elsewhere(&mut self, now: Now, no: NodeNo, key: Key, member: u16, said: &str) {
        let peer = self.peers.get(&no);
        let Some(parcel) = peer.and_then(|peer| peer.parcels.get(&key)) else {
            return;
        };
        if parcel.waits() && alone(parcel) == Some(member) {
            self.park_poison(now, no, key, Outcome::Interrupted, said);
        }
    }

    fn park_poison(&mut self, now: Now, no: NodeNo, key: Key, outcome: Outcome, said: &str) {
        self.park(now, no, key, Cause::Rejected, outcome, Some(said));
        let parcel = &self.peers[&no].parcels[&key];
        let name = self.peers[&no].name.to_string();
        let event = AuditEvent::PoisonIsolated;
        let record = AuditRecord::own(now.wall, event, "delivery", name)
            .with("evidence", said)
            .with("pack", key.0)
            .with("deliveries", parcel.row.count);
        let record = match alone(parcel) {
            Some(_) if parcel.info.count == 1 => record.with("segment", parcel.info.first),
            Some(member) => record.with("member", member),
            None => record,
        };
        self.batch.push(Change::Audit(record));
    }

    /// A peer has it: nothing holds against it.
    pub(super) fn clear_suspicion(&mut self, no: NodeNo, key: Key) {
        let parcel = &self.peers[&no].parcels[&key];
        let (due, except) = (parcel.row.due, std::sync::Arc::clone(&parcel.except));
        self.poison.alike.sound(key.0, |member| match key.1 {
            Part::Member(own) => own == member,
            Part::Rest => !except.contains(&member),
        });
        // What was named while it was whole still holds against the others.
        let own = self.poison.marks.of(due).filter(|mark| !mark.whole);
        if own.is_some() {
            self.forget_mark(due);
        }
    }

    /// An operator wants it tried again: what was counted against its pack is over.
    pub(super) fn forgive(&mut self, pack: PackNo) {
        let rows: Vec<Due> = self
            .poison
            .marks
            .of_pack(pack)
            .map(|(due, _)| due)
            .collect();
        rows.into_iter().for_each(|due| self.forget_mark(due));
        self.poison.alike.sound(pack, |_| true);
    }

    fn forget_mark(&mut self, due: Due) {
        let touched = Touched::Owed(due);
        self.poison.marks.forget(touched);
        self.batch
            .push(Change::Set(Setting::Panicked(touched), None));
    }
}
