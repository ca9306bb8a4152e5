//! A model of the ledger: rows in maps, and a commit that takes its time.
//!
//! It applies [`Change`]s in the order of their tickets, a group at a time; what
//! a crash catches between ask and commit is lost, or durable without anyone
//! having heard. It answers every question of the core from committed rows, and
//! refuses tickets that bring a pack when it is full. Restart does what recovery
//! must do (semantics 4) by the core's own `close_attempt`. When things happen
//! is [`crate::node`]'s; whether they may is [`crate::oracle`]'s.

mod clocks;
pub mod content;
pub mod partials;
mod reads;
mod real;
mod recover;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use relay_core::audit::AuditRecord;
use relay_core::change::{Book, Change, Due, KeyName, KeyRow, OwedRow, Part, ReceiptRow};
use relay_core::delivery::State;
use relay_core::event::Space;
use relay_core::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, NodeId, NodeNo, PackNo, PartialNo, ReceiptNo, SegmentId,
    StagedId, Ticket,
};
use relay_core::meter::{Meter, Metered};
use relay_core::segment::{Digest, PackInfo};
use relay_core::setting::{Setting, Value};
use relay_core::spool::Spooled;
use relay_core::time::Unix;

use self::content::Content;
use self::real::Real;
pub(crate) use self::recover::shelved;

/// A pack as it lies on the disk.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its row.
    pub info: PackInfo,
    /// Its bytes.
    pub content: Arc<Content>,
    /// Whether the bytes are gone.
    pub missing: bool,
    /// Members whose bytes have rotted.
    pub bad: BTreeSet<u16>,
    /// Whether no read of the bytes is ever answered.
    pub dead: bool,
}

/// Changes asked for and not yet durable.
#[derive(Clone, Debug)]
pub struct Job {
    /// Their place in the order.
    pub ticket: Ticket,
    /// They.
    pub changes: Vec<Change>,
    /// The bytes of each pack among them.
    pub contents: Vec<(StagedId, Arc<Content>)>,
}

/// What a commit did.
#[derive(Debug)]
pub struct Committed {
    /// Jobs that are durable now, in order.
    pub done: Vec<Job>,
    /// Jobs that found no room.
    pub refused: Vec<Job>,
    /// The last ticket of the group.
    pub upto: Ticket,
}

/// When a receipt's marks may go: a while after the sender settled it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    digest: Digest,
    pack: PackNo,
    forget: Option<u64>,
}

/// The disk of one node.
#[derive(Debug)]
pub struct Disk {
    /// Which ledger this is.
    pub ledger: LedgerId,
    /// The run it was opened for.
    pub epoch: BootEpoch,
    /// Numbered nodes.
    pub nodes: BTreeMap<NodeNo, NodeId>,
    /// Numbered lanes.
    pub lanes: BTreeMap<LaneNo, LaneName>,
    /// Packs.
    pub packs: BTreeMap<PackNo, Stored>,
    /// What is owed; the inbox is the peer [`NodeNo::LOCAL`].
    pub owed: BTreeMap<Due, OwedRow>,
    /// Members that have or had a row of their own.
    pub split: BTreeMap<(NodeNo, PackNo), BTreeSet<u16>>,
    /// Receipts the senders have not settled.
    pub receipts: BTreeMap<ReceiptNo, ReceiptRow>,
    /// The packs of each, where they are several.
    pub filed: BTreeMap<ReceiptNo, Vec<PackNo>>,
    /// What came again after its marks had gone, by origin.
    pub again: BTreeSet<(NodeNo, SegmentId)>,
    /// What operators set.
    pub settings: BTreeMap<Setting, Value>,
    /// What was used, by meter and minute.
    pub meters: BTreeMap<(Meter, u64), u64>,
    /// The audit, in the order of the chain.
    pub audit: Vec<AuditRecord>,
    /// The books.
    pub books: BTreeMap<(NodeNo, LaneNo, Book), i64>,
    /// Beginnings of large segments.
    pub partials: partials::Partials,
    /// Whether every pack is refused for now.
    pub full: bool,
    /// The ceiling.
    pub ceiling: u64,
    /// How long marks are kept after their receipt is settled, in microseconds.
    pub keep_known: u64,
    heard: BTreeMap<(LedgerId, LaneNo), PackNo>,
    keys: BTreeMap<KeyName, KeyRow>,
    /// Files that are put and were not seen to be gone.
    pub spooled: BTreeMap<SegmentId, Spooled>,
    marks: BTreeMap<(NodeNo, SegmentId), Mark>,
    last_pack: PackNo,
    last_receipt: ReceiptNo,
    used: u64,
    inbox: u64,
    pins: BTreeMap<PackNo, u32>,
    /// The real ledger beside this model, where the world has one.
    real: Option<RefCell<Real>>,
    /// When the node last looked at its clock.
    clock: Unix,
    clocks: clocks::Kept,
    waiting: VecDeque<Job>,
    group: Vec<Job>,
}

impl Disk {
    /// An empty disk, as first start finds it.
    #[must_use]
    pub fn new(ledger: LedgerId, owner: NodeId, ceiling: u64, keep_known: u64) -> Self {
        Self {
            ledger,
            epoch: BootEpoch(0),
            nodes: BTreeMap::from([(NodeNo::LOCAL, owner)]),
            lanes: BTreeMap::new(),
            packs: BTreeMap::new(),
            owed: BTreeMap::new(),
            split: BTreeMap::new(),
            receipts: BTreeMap::new(),
            filed: BTreeMap::new(),
            again: BTreeSet::new(),
            settings: BTreeMap::new(),
            meters: BTreeMap::new(),
            audit: Vec::new(),
            books: BTreeMap::new(),
            partials: partials::Partials::default(),
            full: false,
            ceiling,
            keep_known,
            heard: BTreeMap::new(),
            keys: BTreeMap::new(),
            spooled: BTreeMap::new(),
            marks: BTreeMap::new(),
            last_pack: PackNo(0),
            last_receipt: ReceiptNo(0),
            used: 0,
            inbox: 0,
            pins: BTreeMap::new(),
            real: None,
            clock: Unix(0),
            clocks: clocks::Kept::default(),
            waiting: VecDeque::new(),
            group: Vec::new(),
        }
    }

    /// Keeps a real ledger beside the model, and compares them from now on.
    pub fn shadow(&mut self) {
        let owner = self.nodes[&NodeNo::LOCAL].clone();
        self.real = Some(RefCell::new(Real::new(owner, self.ledger.0)));
    }

    /// Takes changes in, for the next group.
    pub fn ask(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Whether anything asked for is not durable yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.group.is_empty()
    }

    /// All that was asked so far becomes one group.
    pub fn begin(&mut self) {
        assert!(self.group.is_empty(), "one commit at a time");
        self.group.extend(self.waiting.drain(..));
    }

    /// The group is durable, but for what found no room; `None` without a group.
    pub fn commit(&mut self, now: u64) -> Option<Committed> {
        let upto = self.group.last()?.ticket;
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        for job in std::mem::take(&mut self.group) {
            if self.has_room(&job) {
                self.apply_all(&job, now);
                done.push(job);
            } else {
                refused.push(job);
            }
        }
        if !done.is_empty() {
            self.clocks.commit();
        }
        if let (Some(real), false) = (&self.real, done.is_empty()) {
            real.borrow_mut().keep_time(self.clocks.next);
            real.borrow_mut().commit(&done, self.clock);
        }
        Some(Committed {
            done,
            refused,
            upto,
        })
    }

    /// Whether a commit should begin.
    #[must_use]
    pub fn wants_commit(&self) -> bool {
        self.group.is_empty() && !self.waiting.is_empty()
    }

    fn has_room(&self, job: &Job) -> bool {
        let wanted: u64 = job
            .contents
            .iter()
            .map(|(_, content)| content.shape().bytes)
            .sum();
        // A file becomes a pack where it lies.
        let ended = job.changes.iter().filter_map(ended_partial);
        let ended = ended.filter_map(|no| self.partials.files.get(&no));
        let ended = ended.map(|file| file.of.3);
        let taken = (self.used + self.partials.room()).saturating_sub(ended.sum());
        job.contents.is_empty() || (!self.full && taken + wanted <= self.ceiling)
    }

    /// Whether a row names this file, or is about to.
    #[must_use]
    pub fn names_partial(&self, no: PartialNo) -> bool {
        let asked = self.waiting.iter().chain(&self.group);
        let names = |change: &Change| matches!(change, Change::Partial(row) if row.no == no);
        let mut changes = asked.flat_map(|job| &job.changes);
        self.partials.rows.contains_key(&no) || changes.any(names)
    }

    /// Whether a file may be written that will be so long.
    #[must_use]
    pub fn has_room_for_file(&self, length: u64) -> bool {
        !self.full && self.used + self.partials.room() + length <= self.ceiling
    }

    fn apply_all(&mut self, job: &Job, now: u64) {
        let contents: BTreeMap<_, _> = job.contents.iter().cloned().collect();
        for change in &job.changes {
            self.apply(change, &contents, now);
        }
        for change in &job.changes {
            if let Change::Receipt(row) = change {
                let packs = job.changes.iter().filter_map(new_pack);
                self.filed.insert(row.no, packs.collect());
            }
        }
    }

    fn apply(&mut self, change: &Change, contents: &BTreeMap<StagedId, Arc<Content>>, now: u64) {
        match change {
            Change::Node(no, name) => drop(self.nodes.insert(*no, name.clone())),
            Change::Lane(no, name) => drop(self.lanes.insert(*no, name.clone())),
            Change::Pack { no, staged, info } => {
                let content = contents
                    .get(staged)
                    .expect("a pack comes with its bytes")
                    .clone();
                self.store(*no, info, content, now);
            }
            Change::Owed(row) => self.set_row(row.clone()),
            Change::Gone(due) => self.remove_row(*due),
            Change::Attempt(_) => {}
            Change::Book {
                peer,
                lane,
                entry,
                by,
            } => {
                *self.books.entry((*peer, *lane, *entry)).or_default() += by;
            }
            Change::Heard(ledger, lane, pack) => {
                let highest = self.heard.entry((*ledger, *lane)).or_default();
                *highest = (*highest).max(*pack);
            }
            Change::Receipt(row) => {
                self.last_receipt = self.last_receipt.max(row.no);
                self.receipts.insert(row.no, row.clone());
            }
            Change::Settled(peer, upto) => self.forget(*peer, *upto, now),
            Change::Key(row) => drop(self.keys.insert(row.name.clone(), row.clone())),
            Change::Partial(row) => drop(self.partials.rows.insert(row.no, row.clone())),
            Change::PartialGone(no) => self.partials.remove(*no),
            Change::Set(setting, Some(value)) => drop(self.settings.insert(*setting, *value)),
            Change::Set(setting, None) => drop(self.settings.remove(setting)),
            Change::Metered(row) => self.meter(*row),
            Change::Audit(record) => self.audit.push(record.clone()),
            // The model keeps every record it was ever given.
            Change::PruneAudit(_) => {}
            Change::Spooled(row) => drop(self.spooled.insert(row.segment, row.from.clone())),
            Change::Unspooled(segment) => drop(self.spooled.remove(segment)),
        }
    }

    fn meter(&mut self, row: Metered) {
        let oldest = row.meter.oldest(row.minute);
        self.meters
            .retain(|(meter, minute), _| *meter != row.meter || *minute >= oldest);
        match row.amount {
            0 => self.meters.remove(&(row.meter, row.minute)),
            amount => self.meters.insert((row.meter, row.minute), amount),
        };
    }

    fn store(&mut self, no: PackNo, info: &PackInfo, content: Arc<Content>, now: u64) {
        self.last_pack = self.last_pack.max(no);
        for body in &content.members {
            let mark = Mark {
                digest: body.digest,
                pack: no,
                forget: None,
            };
            let earlier = self.marks.insert((info.origin, body.id), mark);
            let gone = |mark: &Mark| mark.forget.is_some_and(|at| at <= now);
            if earlier.as_ref().is_some_and(gone) {
                self.again.insert((info.origin, body.id));
            }
        }
        let bad = BTreeSet::new();
        self.packs.insert(
            no,
            Stored {
                info: info.clone(),
                content,
                missing: false,
                bad,
                dead: false,
            },
        );
    }

    fn set_row(&mut self, row: OwedRow) {
        let due = row.due;
        if let Part::Member(n) = due.part {
            self.split
                .entry((due.peer, due.pack))
                .or_default()
                .insert(n);
        }
        let pins = pins(&row);
        let pinned = self
            .owed
            .insert(due, row)
            .is_some_and(|old| self::pins(&old));
        self.pin(due, pinned, pins);
    }

    fn remove_row(&mut self, due: Due) {
        if let Part::Member(n) = due.part {
            self.split
                .entry((due.peer, due.pack))
                .or_default()
                .insert(n);
        }
        let pinned = self.owed.remove(&due).is_some_and(|old| pins(&old));
        self.pin(due, pinned, false);
    }

    fn pin(&mut self, due: Due, was: bool, is: bool) {
        let length = self
            .packs
            .get(&due.pack)
            .map_or(0, |stored| stored.info.bytes);
        let count = self.pins.entry(due.pack).or_default();
        let before = *count > 0;
        *count = *count + u32::from(is) - u32::from(was);
        match (before, *count > 0) {
            (false, true) => self.used += length,
            (true, false) => self.used -= length,
            (true, true) | (false, false) => {}
        }
        if due.peer == NodeNo::LOCAL {
            let bytes = |held: bool| if held { length } else { 0 };
            self.inbox = (self.inbox + bytes(is)).saturating_sub(bytes(was));
        }
    }

    fn forget(&mut self, peer: NodeNo, upto: ReceiptNo, now: u64) {
        let settled: Vec<_> = self
            .receipts
            .range(..=upto)
            .filter(|(_, row)| row.peer == peer)
            .map(|(no, _)| *no)
            .collect();
        let mut packs: BTreeSet<PackNo> = BTreeSet::new();
        for no in settled {
            self.receipts.remove(&no);
            packs.extend(self.filed.remove(&no).into_iter().flatten());
        }
        let forget = Some(now + self.keep_known);
        for mark in self
            .marks
            .values_mut()
            .filter(|mark| packs.contains(&mark.pack))
        {
            mark.forget = mark.forget.or(forget);
        }
    }

    /// The bytes of a pack are never read again.
    pub fn kill(&mut self, no: PackNo) {
        if let Some(stored) = self.packs.get_mut(&no) {
            stored.dead = true;
        }
    }

    /// How full it is.
    #[must_use]
    pub fn space(&self) -> Space {
        let taken = self.used + self.partials.room();
        Space {
            used: taken,
            ceiling: self.ceiling,
            inbox: self.inbox,
            inbox_ceiling: self.ceiling / 2,
            disk_full: self.full,
            clear: self.ceiling.saturating_sub(taken),
            // Here nothing has a file of its own.
            longest: 0,
            unit: u64::MAX,
        }
    }

    /// A consumer takes the oldest segments out of the inbox; true if any.
    pub fn consume(&mut self, most: usize) -> bool {
        let ready: Vec<Due> = self
            .owed
            .iter()
            .take_while(|(due, _)| due.peer == NodeNo::LOCAL)
            .filter(|(_, row)| pins(row))
            .map(|(due, _)| *due)
            .take(most)
            .collect();
        let mut taken = Vec::with_capacity(ready.len());
        for due in &ready {
            let mut row = self.owed[due].clone();
            row.state = State::Acked;
            taken.push(Change::Owed(row.clone()));
            self.set_row(row);
        }
        if let Some(real) = &self.real {
            real.borrow_mut().set(taken, self.clock);
        }
        !ready.is_empty()
    }
}

/// The beginning of a segment that is over with this change.
fn new_pack(change: &Change) -> Option<PackNo> {
    if let Change::Pack { no, .. } = change {
        Some(*no)
    } else {
        None
    }
}

fn ended_partial(change: &Change) -> Option<PartialNo> {
    if let Change::PartialGone(no) = change {
        Some(*no)
    } else {
        None
    }
}

/// Whether a row keeps its pack's bytes.
const fn pins(row: &OwedRow) -> bool {
    match row.state {
        State::Scheduled | State::Inflight | State::Failed { .. } | State::Deadletter { .. } => {
            true
        }
        State::Acked => false,
    }
}
