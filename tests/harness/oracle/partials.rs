//! Resuming: how much comes twice, onto whose bytes, and what may be dropped.
//!
//! The oracle follows how far each large segment was taken in at each node. When it is
//! wanted again, what comes twice is what was here already: nothing worth mentioning
//! after a lost link, at most what may run ahead of the journal after a crash.

use std::collections::BTreeMap;

use relay_core::change::Change;
use relay_core::id::{NodeNo, PartialNo, SegmentId};

use super::Oracle;
use crate::disk::partials::Whole;
use crate::node::Node;
use crate::node::clocks::BEGIN;

/// How far a segment was taken in at one node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    /// Bytes from the first on.
    taken: u64,
    /// The node has been restarted since.
    crashed: bool,
    /// What is kept was dropped, and rightly, or was never to be kept.
    excused: bool,
}

type Key = (usize, SegmentId);

impl Oracle {
    /// Node `n` wants an offer from byte `from` on.
    pub fn wanted(
        &mut self,
        n: usize,
        of: Whole,
        (from, partial): (u64, Option<PartialNo>),
        nodes: &[Node],
        now: u64,
    ) {
        self.now = now;
        let (sender, id, _, length) = of;
        let pace = self.limits.pace;
        if from > 0 {
            let no = partial.unwrap_or_else(|| panic!("[step] n{n} resumes {id} out of nothing"));
            let file = nodes[n].disk.partials.files.get(&no);
            let file = file.unwrap_or_else(|| panic!("[step] n{n} resumes {id}: no file {no}"));
            assert_eq!(file.of, of, "[step] n{n} resumes onto other bytes");
            assert!(
                from <= file.held,
                "[step] n{n} wants {id} from {from}, {} are here",
                file.held
            );
        }
        let crowded = self.kept_of(n, sender, None, nodes) >= self.limits.partials;
        assert!(
            partial.is_some() || !pace.keeps(length) || crowded,
            "[step] n{n} does not keep {id} of {length} B and has a place"
        );
        let track = self.watches[n].tracks.entry((sender, id)).or_default();
        let twice = track.taken.saturating_sub(from);
        // A short one may be in memory alone.
        let unsaved = if pace.files(length) { 0 } else { length };
        let (most, name) = match track.crashed {
            true => (pace.ahead.max(unsaved), "run"),
            false => (pace.keep_over, "link"),
        };
        assert!(
            track.excused || twice <= most,
            "[step] n{n} repeats {twice} B of {id} after a lost {name}, at most {most}"
        );
        if from > 0 && track.crashed {
            self.tally.count("resumed after a crash");
        }
        let excused = partial.is_none();
        *track = Track {
            taken: from,
            crashed: false,
            excused,
        };
    }

    /// So much of a segment has been taken in at `n`.
    pub fn took(&mut self, n: usize, (sender, id, ..): Whole, taken: u64) {
        let track = self.watches[n].tracks.entry((sender, id)).or_default();
        track.taken = track.taken.max(taken);
    }

    /// All of it is there.
    pub fn completed(&mut self, n: usize, (sender, id, ..): Whole) {
        self.excuse(n, (sender, id));
    }

    /// What was kept of it is bad, or nothing could be.
    pub fn spoiled(&mut self, n: usize, (sender, id, ..): Whole) {
        self.excuse(n, (sender, id));
    }

    fn excuse(&mut self, n: usize, key: Key) {
        if let Some(track) = self.watches[n].tracks.get_mut(&key) {
            track.excused = true;
        }
    }

    /// Node `n` was stopped: of what is not journaled nobody knows.
    pub(super) fn forget_unwritten(&mut self, n: usize) {
        for track in self.watches[n].tracks.values_mut() {
            track.crashed = true;
        }
    }

    /// Node `n` drops what is kept of a segment: is there a reason?
    pub(super) fn forget_asked(&mut self, n: usize, no: PartialNo, nodes: &[Node]) {
        let disk = &nodes[n].disk;
        let Some(file) = disk.partials.files.get(&no) else {
            return;
        };
        let (sender, id, _, length) = file.of;
        // The ceiling may have moved since the scheduler heard of it.
        let space = self.watches[n].space.unwrap_or_else(|| disk.space());
        let others = self.kept_of(n, sender, Some(no), nodes);
        // A wall clock that jumped while the node was down may have aged it by more.
        let age = nodes[n].clock(self.now).unix.0.saturating_sub(BEGIN) * 1_000;
        let reasons = [
            ("forgotten: bad", file.bad || file.held == 0),
            ("forgotten: no place", others + 1 >= self.limits.partials),
            // The age clock counts milliseconds.
            (
                "forgotten: old",
                self.now.max(age) + 2_000 >= file.at + self.limits.keep_partials.as_micros() as u64,
            ),
            (
                "forgotten: full",
                space.disk_full || space.used >= space.ceiling / 100 * 90,
            ),
            // In a small world a peer's share and the ceiling are soon reached.
            ("forgotten: share", space.ceiling / 4 < 16 * length),
        ];
        let spoiled = self.watches[n].tracks.get(&(sender, id));
        let spoiled = spoiled.is_some_and(|track| track.excused);
        let reason = reasons.iter().find(|(_, holds)| *holds);
        assert!(
            reason.is_some() || spoiled,
            "[step] n{n} drops {} B of {id} for no reason",
            file.held
        );
        self.tally
            .count(reason.map_or("forgotten: bad", |(name, _)| *name));
        self.excuse(n, (sender, id));
    }

    /// Beginnings kept at `n` of segments of `sender`.
    fn kept_of(&self, n: usize, sender: usize, but: Option<PartialNo>, nodes: &[Node]) -> usize {
        let files = nodes[n].disk.partials.files.iter();
        files
            .filter(|(no, file)| file.of.0 == sender && Some(**no) != but)
            .count()
    }

    /// What `n` has written about beginnings is within bounds.
    pub(super) fn partials_durable(&self, n: usize, changes: &[Change], nodes: &[Node]) {
        let touched = changes
            .iter()
            .any(|change| matches!(change, Change::Partial(_)));
        if !touched {
            return;
        }
        let mut of: BTreeMap<NodeNo, usize> = BTreeMap::new();
        for row in nodes[n].disk.partials.rows.values() {
            *of.entry(row.peer).or_default() += 1;
            // One that was dropped meanwhile loses its row as well.
            let Some(file) = nodes[n].disk.partials.files.get(&row.no) else {
                continue;
            };
            assert!(
                file.synced >= row.bytes,
                "[step] n{n} journals {} B of {}, {} are synced",
                row.bytes,
                row.id,
                file.synced
            );
        }
        let most = self.limits.partials;
        let over = of.iter().find(|(_, count)| **count > most);
        assert!(over.is_none(), "[step] n{n} keeps {over:?}, at most {most}");
    }

    /// At rest nothing is kept for anybody.
    pub(super) fn no_partial_left(&self, n: usize, nodes: &[Node]) {
        let partials = &nodes[n].disk.partials;
        assert!(
            partials.files.is_empty() && partials.rows.is_empty(),
            "[rest] n{n} keeps {:?}",
            partials.files.iter().next()
        );
    }
}
