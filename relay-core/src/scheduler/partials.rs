//! Beginnings of large segments: which one is resumed, which are kept, which go.
//!
//! One that is cut off is kept for its sender to go on with: the same sender, origin,
//! id, digest and length, from the byte the shell still holds, or after a crash the
//! journal. At most so many are kept for one peer, and all of its large segments, kept
//! and arriving, take a quarter of the ceiling at most; what waits longest makes room,
//! and when nothing waits the peer is told `busy`. One without progress goes after a
//! day, and when the node runs full (semantics 10).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::question::Question;
use super::tickets::Pending;
use super::{Rung, Scheduler};
use crate::change::{Change, Sent, Snapshot};
use crate::event::{BusyWhy, Effect};
use crate::id::{LinkId, NodeNo, PartialNo};
use crate::limits::Limits;
use crate::partial::PartialRow;
use crate::time::{Mono, Now};

/// Of the ceiling, for the large segments of one peer.
const SHARE: u64 = 4;
/// One large segment of which the beginning is here, or is to come.
#[derive(Clone, Debug)]
struct Beginning {
    /// As last asked to be made durable; `bytes` is 0 before that.
    row: PartialRow,
    /// Bytes the shell holds.
    held: u64,
    /// Of its peer's quota, taken for what is still to come.
    charged: u64,
    /// Whether it has one of its peer's places: only then is it kept when cut off.
    kept: bool,
    /// Whether it takes room on the disk.
    filed: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Wanted on this link, under this name.
    Arriving(LinkId, Sent),
    /// Waits to be offered again, until then.
    Waiting(Mono),
}

impl Beginning {
    /// Whether the ledger has it.
    const fn is_written(&self) -> bool {
        self.row.bytes > 0
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Partials {
    all: BTreeMap<PartialNo, Beginning>,
    of: BTreeMap<NodeNo, BTreeSet<PartialNo>>,
    arriving: BTreeMap<(LinkId, Sent), PartialNo>,
    waiting: BTreeSet<(Mono, PartialNo)>,
    last: PartialNo,
}

impl Partials {
    /// Those an earlier run left, all waiting.
    pub(super) fn new(snapshot: &Snapshot, keep: Duration, now: Now) -> Self {
        let mut partials = Self {
            all: BTreeMap::new(),
            of: BTreeMap::new(),
            arriving: BTreeMap::new(),
            waiting: BTreeSet::new(),
            last: PartialNo(snapshot.epoch.0 << 32),
        };
        for row in &snapshot.partials {
            let idle = Duration::from_millis(now.unix.0.saturating_sub(row.at.0));
            let until = now.mono + keep.saturating_sub(idle);
            let (no, held) = (row.no, row.bytes);
            partials.insert(Beginning {
                row: row.clone(),
                held,
                charged: 0,
                kept: true,
                filed: true,
                stage: Stage::Waiting(until),
            });
            partials.waiting.insert((until, no));
        }
        partials
    }

    fn insert(&mut self, beginning: Beginning) {
        let (no, peer) = (beginning.row.no, beginning.row.peer);
        self.of.entry(peer).or_default().insert(no);
        self.all.insert(no, beginning);
    }

    fn remove(&mut self, no: PartialNo) -> Option<Beginning> {
        let gone = self.all.remove(&no)?;
        if let Some(of) = self.of.get_mut(&gone.row.peer) {
            of.remove(&no);
            if of.is_empty() {
                self.of.remove(&gone.row.peer);
            }
        }
        match gone.stage {
            Stage::Arriving(link, sent) => drop(self.arriving.remove(&(link, sent))),
            Stage::Waiting(until) => drop(self.waiting.remove(&(until, no))),
        }
        Some(gone)
    }

    fn of_peer(&self, peer: NodeNo) -> impl Iterator<Item = &Beginning> {
        let numbers = self.of.get(&peer).into_iter().flatten();
        numbers.map(|no| &self.all[no])
    }

    /// Places taken by a peer.
    fn places(&self, peer: NodeNo) -> usize {
        self.of_peer(peer).filter(|b| b.kept).count()
    }

    /// Room taken by a peer.
    fn room(&self, peer: NodeNo) -> u64 {
        let filed = self.of_peer(peer).filter(|b| b.filed);
        filed.map(|b| b.row.length).sum()
    }

    /// Of a peer's that wait, the one that has waited longest.
    fn oldest(&self, peer: NodeNo) -> Option<PartialNo> {
        let waiting = self.of_peer(peer).filter_map(|b| match b.stage {
            Stage::Waiting(until) => Some((until, b.row.no)),
            Stage::Arriving(..) => None,
        });
        waiting.min().map(|(_, no)| no)
    }

    /// What waits for `wanted`, which is a row without number and progress.
    fn matching(&self, wanted: &PartialRow) -> Option<PartialNo> {
        let same = |b: &&Beginning| {
            let row = &b.row;
            matches!(b.stage, Stage::Waiting(_))
                && (row.origin, row.id) == (wanted.origin, wanted.id)
                && (row.digest, row.length) == (wanted.digest, wanted.length)
        };
        self.of_peer(wanted.peer).find(same).map(|b| b.row.no)
    }

    /// So much of its peer's quota was taken for what is to come of it.
    pub(super) fn charged(&mut self, no: Option<PartialNo>, bytes: u64) {
        let of = no.and_then(|no| self.all.get_mut(&no));
        of.into_iter().for_each(|of| of.charged = bytes);
    }

    /// Whether the shell may be writing what was wanted under this name.
    pub(super) fn is_arriving(&self, link: LinkId, sent: Sent) -> bool {
        self.arriving.contains_key(&(link, sent))
    }

    /// When the first of those that wait goes.
    pub(super) fn first_expiry(&self) -> Option<Mono> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Asserts what must hold of them.
    pub(super) fn check(&self, limits: &Limits) {
        for peer in self.of.keys() {
            let most = limits.partials.max(1);
            assert!(self.places(*peer) <= most, "at most {most}");
        }
        for (no, beginning) in &self.all {
            let timed = match beginning.stage {
                Stage::Arriving(link, sent) => self.arriving.get(&(link, sent)) == Some(no),
                Stage::Waiting(until) => {
                    beginning.kept && beginning.held > 0 && self.waiting.contains(&(until, *no))
                }
            };
            assert!(timed, "{beginning:?} is where it says");
            assert!(
                beginning.row.bytes <= beginning.held,
                "what is journaled is held: {beginning:?}"
            );
        }
        assert_eq!(self.all.len(), self.arriving.len() + self.waiting.len());
    }
}

impl Scheduler {
    /// From which byte an offer is wanted, and under which number it is kept; or why
    /// there is no room for it.
    pub(super) fn begin_partial(
        &mut self,
        now: Now,
        question: &Question,
    ) -> Result<(u64, Option<PartialNo>), BusyWhy> {
        let (pace, length) = (self.settings.limits.pace, question.shape().bytes);
        let [(id, digest)] = question.ids()[..] else {
            return Ok((0, None));
        };
        if !pace.keeps(length) {
            return Ok((0, None));
        }
        let stage = Stage::Arriving(question.link, question.heading().sent);
        let row = PartialRow {
            no: PartialNo(self.partials.last.0 + 1),
            peer: question.peer,
            origin: question.origin,
            id,
            digest,
            length,
            bytes: 0,
            at: now.unix,
        };
        if let Some(no) = self.partials.matching(&row) {
            let mut beginning = self.partials.remove(no).expect("it was just found");
            let from = beginning.held;
            beginning.stage = stage;
            self.arrive(beginning);
            return Ok((from, Some(no)));
        }
        let filed = pace.files(length);
        if filed {
            self.make_place(question.peer, length)?;
        }
        let kept = filed && self.partials.places(row.peer) < self.settings.limits.partials;
        let no = row.no;
        self.partials.last = no;
        self.arrive(Beginning {
            row,
            held: 0,
            charged: 0,
            kept,
            filed,
            stage,
        });
        Ok((0, (kept || !filed).then_some(no)))
    }

    fn arrive(&mut self, beginning: Beginning) {
        if let Stage::Arriving(link, sent) = beginning.stage {
            let arriving = &mut self.partials.arriving;
            arriving.insert((link, sent), beginning.row.no);
            self.partials.insert(beginning);
        }
    }

    /// A place and room for a file of `length` bytes; what waits longest makes way.
    fn make_place(&mut self, peer: NodeNo, length: u64) -> Result<(), BusyWhy> {
        loop {
            let taken = self.partials.room(peer);
            let fits = taken == 0 || taken + length <= self.space.ceiling / SHARE;
            if fits && self.partials.places(peer) < self.settings.limits.partials {
                break;
            }
            match self.partials.oldest(peer) {
                Some(no) => self.drop_partial(no),
                // Without a place it arrives all the same, and is not kept.
                None if fits => break,
                None => return Err(BusyWhy::StorageFull),
            }
        }
        if self.space.disk_full || self.space.used.saturating_add(length) > self.space.ceiling {
            if let Some((_, no)) = self.partials.waiting.first().copied() {
                self.drop_partial(no);
            }
            return Err(BusyWhy::StorageFull);
        }
        Ok(())
    }

    /// So much of it is on stable storage: the journal is to say so.
    pub(super) fn on_progressed(&mut self, now: Now, no: PartialNo, bytes: u64) {
        let (most, share) = (self.settings.limits.partials, self.space.ceiling / SHARE);
        let Some(beginning) = self.partials.all.get(&no) else {
            return;
        };
        let (peer, length) = (beginning.row.peer, beginning.row.length);
        // One that began in memory asks for its place when it is slow.
        let place = beginning.kept
            || self.partials.places(peer) < most
                && self.partials.room(peer).saturating_add(length) <= share;
        let Some(beginning) = self.partials.all.get_mut(&no).filter(|_| place) else {
            return;
        };
        (beginning.kept, beginning.filed) = (true, true);
        let bytes = bytes.min(length);
        if bytes <= beginning.row.bytes {
            return;
        }
        (beginning.row.bytes, beginning.row.at) = (bytes, now.unix);
        beginning.held = beginning.held.max(bytes);
        self.batch.push(Change::Partial(beginning.row.clone()));
        self.batch_pending.push(Pending::Partial(no, bytes));
    }

    /// No more of it arrives: it waits to be offered again, or goes.
    pub(super) fn on_kept(&mut self, now: Now, no: PartialNo, bytes: u64) {
        let (most, share) = (self.settings.limits.partials, self.space.ceiling / SHARE);
        let Some(beginning) = self.partials.all.get_mut(&no) else {
            return self.effects.push_back(Effect::Forget(no));
        };
        let Stage::Arriving(link, sent) = beginning.stage else {
            return;
        };
        let row = &beginning.row;
        let (peer, length, journaled) = (row.peer, row.length, row.bytes);
        let missing = length.saturating_sub(bytes.max(beginning.held));
        let charged = std::mem::take(&mut beginning.charged);
        // Of nothing kept nobody knows how much was sent.
        let unused = if bytes > 0 { charged.min(missing) } else { 0 };
        self.give_back_body(now, peer, unused);
        let beginning = &self.partials.all[&no];
        let fits = beginning.filed || self.partials.room(peer).saturating_add(length) <= share;
        let place = beginning.kept || self.partials.places(peer) < most && fits;
        // Less than the journal says is nothing: what is missing was trusted.
        if !place || bytes < journaled.max(1) {
            self.drop_partial(no);
        } else if let Some(mut beginning) = self.partials.remove(no) {
            (beginning.kept, beginning.filed) = (true, true);
            if bytes > beginning.held {
                beginning.row.at = now.unix;
            }
            beginning.held = bytes.min(length);
            self.rest_partial(now, beginning);
        }
        self.release_stale(link, sent);
    }

    /// It waits, and no longer than it has had no progress.
    fn rest_partial(&mut self, now: Now, mut beginning: Beginning) {
        let idle = Duration::from_millis(now.unix.0.saturating_sub(beginning.row.at.0));
        let until = now.mono + self.settings.limits.keep_partials.saturating_sub(idle);
        beginning.stage = Stage::Waiting(until);
        self.partials.waiting.insert((until, beginning.row.no));
        self.partials.insert(beginning);
    }

    /// What was wanted under this name is over without a word of what is kept.
    pub(super) fn let_go_partial(&mut self, now: Now, link: LinkId, sent: Sent) {
        let Some(no) = self.partials.arriving.get(&(link, sent)).copied() else {
            return;
        };
        let beginning = self.partials.all.get_mut(&no).expect("it arrives");
        let (peer, held) = (beginning.row.peer, beginning.held);
        // Nothing of it was sent.
        let charged = std::mem::take(&mut beginning.charged);
        self.give_back_body(now, peer, charged);
        self.on_kept(now, no, held);
    }

    /// A link is down and all its tasks have ended: what was wanted on it and never
    /// begun stands as it stood before.
    pub(super) fn let_go_link(&mut self, now: Now, link: LinkId) {
        let on_it = |(on, sent): &(LinkId, Sent)| (*on == link).then_some(*sent);
        let names: Vec<Sent> = self.partials.arriving.keys().filter_map(on_it).collect();
        for sent in names {
            self.let_go_partial(now, link, sent);
        }
    }

    /// All of it is here. Answers its number if the ledger has a row to be removed.
    pub(super) fn end_partial(&mut self, link: LinkId, sent: Sent) -> Option<PartialNo> {
        let no = self.partials.arriving.get(&(link, sent)).copied()?;
        let ended = self.partials.remove(no)?;
        ended.is_written().then_some(no)
    }

    /// The ledger's row of it is to go.
    pub(super) fn partial_gone(&mut self, no: Option<PartialNo>) {
        self.batch.extend(no.map(Change::PartialGone));
    }

    /// Drops what is kept of a segment, here and in the ledger.
    fn drop_partial(&mut self, no: PartialNo) {
        let Some(gone) = self.partials.remove(no) else {
            return;
        };
        self.effects.push_back(Effect::Forget(no));
        self.partial_gone(gone.is_written().then_some(no));
    }

    /// Those that have waited long enough go.
    pub(super) fn expire_partials(&mut self, now: Now) {
        let over = |(until, _): &(Mono, PartialNo)| *until <= now.mono;
        while let Some((_, no)) = self.partials.waiting.first().copied().filter(over) {
            self.drop_partial(no);
        }
    }

    /// While the node runs full and local puts stop, what has waited longest goes, one at a
    /// time.
    pub(super) fn relieve(&mut self) {
        let first = self.partials.waiting.first().copied();
        let runs_full = Rung::of(&self.space) >= Rung::PutsRefused;
        if let Some((_, no)) = first.filter(|_| runs_full) {
            self.drop_partial(no);
        }
    }
}
