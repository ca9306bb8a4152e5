//! The real ledger beside the model: what is committed to one is committed to
//! the other, and every question is put to both.
//!
//! The simulator's disk is the list of committed changes, which is fast; this is
//! SQLite and a payload log in a folder. They must never differ: not in a row, a
//! page, a receipt, a look-up, nor in what start-up reads back after a crash. A
//! difference is a panic whose first word is `[sqlite]`.
//!
//! Bodies are zeros of the right length; tables are real, with the model's
//! digests. Nothing is swept here, so what the model has forgotten the ledger may
//! still know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use relay_core::age::Stamp;
use relay_core::change::{Change, Due, KeyName, KeyRow, PagedRow, Part, ReceiptRow, Snapshot};
use relay_core::event::{Ids, Known};
use relay_core::id::{LaneNo, NodeId, NodeNo, PackNo, PartialNo, ReceiptNo, StagedId, Ticket};
use relay_core::ledger::{Durability, Ledger, Options, Reader, Staged};
use relay_core::segment::Digest;
use relay_core::time::{Now, Unix};
use tempfile::TempDir;

use super::clocks::Kept;
use super::content::Content;
use super::{Job, ended_partial};

/// Above this a body is a file without a block on disk.
const IN_MEMORY: u64 = 64 << 10;

/// A ledger on a real file system.
pub(super) struct Real {
    dir: TempDir,
    options: Options,
    open: Option<(Ledger, Reader)>,
    files: u64,
    /// Partial files there have been.
    partials: BTreeSet<PartialNo>,
}

impl std::fmt::Debug for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Real({})", self.dir.path().display())
    }
}

impl Real {
    /// An empty one; it is opened by [`Real::restart`].
    pub(super) fn new(owner: NodeId, entropy: u64) -> Self {
        let shm = PathBuf::from("/dev/shm");
        let dir = if shm.is_dir() {
            TempDir::new_in(shm)
        } else {
            TempDir::new()
        };
        let mut options = Options::new(owner, 64 << 30, entropy);
        // Worlds are many and small. What a sync is for is asked elsewhere.
        options.log_file_bytes = 1 << 20;
        options.durability = Durability::Written;
        Self {
            dir: dir.expect("a folder for the ledger"),
            options,
            open: None,
            files: 0,
            partials: BTreeSet::new(),
        }
    }

    /// The process is gone, and starts again: what start-up reads back. Of partial
    /// files those that `stand` are there.
    pub(super) fn restart(&mut self, at: Unix, stand: &[PartialNo], clocks: Kept) -> Snapshot {
        self.open = None;
        let gone = self.partials.iter().filter(|no| !stand.contains(no));
        for no in gone {
            // It may have gone with its row.
            let _ = std::fs::remove_file(self.path(&no.file_name()));
        }
        self.partials.retain(|no| stand.contains(no));
        let clock = |last| {
            assert_eq!(last, clocks.durable, "[sqlite] what was kept of the clocks");
            let now = Now {
                unix: at,
                wall: at,
                ..Now::default()
            };
            (now, clocks.next)
        };
        let (ledger, snapshot) = Ledger::open_at(self.dir.path(), self.options.clone(), clock)
            .unwrap_or_else(|error| panic!("[sqlite] it does not open: {error}"));
        assert_eq!(ledger.damaged(), 0, "[sqlite] damaged rows at start");
        let reader = ledger.reader().expect("a second connection");
        self.open = Some((ledger, reader));
        snapshot
    }

    /// The next group keeps this.
    pub(super) fn keep_time(&mut self, stamp: Option<Stamp>) {
        if let (Some((ledger, _)), Some(stamp)) = (&mut self.open, stamp) {
            ledger.keep_time(stamp);
        }
    }

    /// One group.
    pub(super) fn commit(&mut self, jobs: &[Job], now: Unix) {
        let mut staged = BTreeMap::new();
        let mut items = Vec::with_capacity(jobs.len());
        for job in jobs {
            let contents: BTreeMap<_, _> = job.contents.iter().cloned().collect();
            let mut ended = job.changes.iter().filter_map(ended_partial);
            let whole = ended.find(|no| self.partials.contains(no));
            let changes = job.changes.iter().map(|change| {
                if let Change::Partial(row) = change
                    && self.partials.insert(row.no)
                {
                    self.file(&row.no.file_name(), row.length);
                }
                let Change::Pack {
                    no,
                    staged: name,
                    info,
                } = change
                else {
                    return change.clone();
                };
                let table = table_of(&contents[name]);
                let mut info = info.clone();
                info.table = Digest::of(&table);
                let bytes = match whole {
                    // Its file becomes the pack's.
                    Some(no) => Staged::File {
                        table,
                        name: no.file_name(),
                    },
                    None => self.stage(table, info.bytes),
                };
                staged.insert(*name, bytes);
                Change::Pack {
                    no: *no,
                    staged: *name,
                    info,
                }
            });
            items.push((job.ticket, changes.collect::<Vec<_>>()));
        }
        self.commit_items(&items, &mut staged, now);
    }

    /// Changes that no job brought: a consumer's.
    pub(super) fn set(&mut self, changes: Vec<Change>, now: Unix) {
        if self.open.is_some() {
            self.commit_items(&[(Ticket(0), changes)], &mut BTreeMap::new(), now);
        }
    }

    fn commit_items(
        &mut self,
        items: &[(Ticket, Vec<Change>)],
        staged: &mut BTreeMap<StagedId, Staged>,
        now: Unix,
    ) {
        let (ledger, _) = self.open.as_mut().expect("a running node commits");
        let report = ledger
            .commit(items, &mut |name| staged.remove(&name), now)
            .unwrap_or_else(|error| panic!("[sqlite] it does not commit: {error}"));
        assert_eq!(report.refused, vec![], "[sqlite] it has room");
        assert_eq!(report.stats.orphans, 0, "[sqlite] no row lacks its pack");
    }

    fn stage(&mut self, table: Bytes, bytes: u64) -> Staged {
        if bytes <= IN_MEMORY {
            let mut whole = BytesMut::from(&table[..]);
            whole.put_bytes(0, usize::try_from(bytes).expect("a short body"));
            return Staged::Memory(whole.freeze());
        }
        self.files += 1;
        let name = format!("body-{}", self.files);
        self.file(&name, bytes);
        Staged::File { table, name }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("payload").join(name)
    }

    fn file(&self, name: &str, bytes: u64) {
        let file = File::create(self.path(name)).expect("a payload file");
        file.set_len(bytes).expect("a sparse file");
    }

    fn reader(&mut self) -> &mut Reader {
        let (_, reader) = self.open.as_mut().expect("a running node reads");
        reader
    }

    /// A page must show the same rows in the same order.
    pub(super) fn same_page(
        &mut self,
        (peer, lane): (NodeNo, LaneNo),
        after: Option<(PackNo, Part)>,
        limit: usize,
        rows: &[PagedRow],
    ) {
        let found = self.reader().page(peer, lane, after, limit);
        let found = found.expect("[sqlite] a page");
        let same = found.len() == rows.len() && found.iter().zip(rows).all(|(a, b)| same(a, b));
        assert!(
            same,
            "[sqlite] page of {peer} {lane:?} after {after:?}: {found:#?}, the model has {rows:#?}"
        );
    }

    /// All that is owed to a peer must be the same rows in the same order.
    pub(super) fn same_owing(
        &mut self,
        peer: NodeNo,
        after: Option<(PackNo, Part)>,
        limit: usize,
        rows: &[PagedRow],
    ) {
        let found = self.reader().owing(peer, after, limit);
        let found = found.expect("[sqlite] what is owed");
        let same = found.len() == rows.len() && found.iter().zip(rows).all(|(a, b)| same(a, b));
        assert!(
            same,
            "[sqlite] owed to {peer} after {after:?}: {found:#?}, the model has {rows:#?}"
        );
    }

    /// A row must be the same, or missing from both.
    pub(super) fn same_row(&mut self, due: Due, row: Option<&PagedRow>) {
        let found = self.reader().fetch(due).expect("[sqlite] a row");
        let same = match (&found, row) {
            (Some(found), Some(row)) => same(found, row),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        assert!(same, "[sqlite] {due:?}: {found:#?}, the model has {row:#?}");
    }

    /// The members that left the rest of a pack must be the same.
    pub(super) fn same_except(&mut self, peer: NodeNo, pack: PackNo, except: &[u16]) {
        let found = self.reader().except(pack, peer).expect("[sqlite] members");
        assert_eq!(found, except, "[sqlite] members of {pack} that left");
    }

    /// What has expired must be the same, in the same order.
    pub(super) fn same_expired(
        &mut self,
        by: Unix,
        after: Option<(Unix, Due)>,
        limit: usize,
        model: &(Vec<(Unix, Due)>, Option<Unix>),
    ) {
        let found = self.reader().expired(by, after, limit);
        let found = found.expect("[sqlite] names");
        assert_eq!(&(found.dues, found.next), model, "[sqlite] expired");
    }

    /// What is stuck must be the same, in the same order.
    pub(super) fn same_stuck(&mut self, after: Option<Due>, limit: usize, model: &[Due]) {
        let found = self.reader().stuck(after, limit);
        assert_eq!(found.expect("[sqlite] names"), model, "[sqlite] stuck");
    }

    /// All rows of a group must be the same, in whatever order.
    pub(super) fn same_group(&mut self, pack: PackNo, rows: &[PagedRow]) {
        let mut found = self.reader().group(pack).expect("[sqlite] a group");
        found.sort_by_key(|row| row.row.due);
        let same = found.len() == rows.len() && found.iter().zip(rows).all(|(a, b)| same(a, b));
        assert!(
            same,
            "[sqlite] group {pack}: {found:#?}, the model has {rows:#?}"
        );
    }

    /// A look through a peer's groups must find the same.
    pub(super) fn same_walk(
        &mut self,
        (peer, standby): (NodeNo, bool),
        after: PackNo,
        limit: usize,
        packs: &(Vec<PackNo>, Option<PackNo>),
    ) {
        let found = self.reader().look_through(peer, standby, after, limit);
        let found = found.expect("[sqlite] a walk");
        assert_eq!(&found, packs, "[sqlite] walk of {peer}, standby {standby}");
    }

    /// What the model knows the ledger knows.
    pub(super) fn same_known(&mut self, origin: NodeNo, ids: &Ids, known: &[(Known, bool)]) {
        let found = self.reader().look_up(origin, ids).expect("[sqlite] marks");
        for (((id, _), found), (model, forgotten)) in ids.iter().zip(&found).zip(known) {
            assert!(
                found == model || *forgotten,
                "[sqlite] {id} of {origin}: {found:?}, the model has {model:?}"
            );
        }
    }

    /// Receipts must be the same.
    pub(super) fn same_receipts(
        &mut self,
        peer: NodeNo,
        after: ReceiptNo,
        limit: usize,
        rows: &[ReceiptRow],
    ) {
        let found = self.reader().recall(peer, after, limit);
        assert_eq!(found.expect("[sqlite] receipts"), rows, "[sqlite] receipts");
    }

    /// A key must name the same segment.
    pub(super) fn same_key(&mut self, name: &KeyName, row: Option<&KeyRow>) {
        let found = self.reader().find_key(name).expect("[sqlite] a key");
        assert_eq!(found.as_ref(), row, "[sqlite] {name:?}");
    }
}

/// What start-up reads back must be the same, in whatever order.
pub(super) fn same_snapshot(model: &Snapshot, real: &Snapshot) {
    assert_eq!(sorted(model), sorted(real), "[sqlite] start-up");
}

fn sorted(snapshot: &Snapshot) -> Snapshot {
    let mut sorted = snapshot.clone();
    sorted.nodes.sort();
    sorted.lanes.sort();
    sorted.heard.sort();
    sorted.unsettled.sort();
    sorted.depths.retain(|(_, _, _, depth)| depth.parcels > 0);
    sorted
        .depths
        .sort_by_key(|(peer, lane, state, _)| (*peer, *lane, *state));
    sorted.settings.sort_by_key(|(name, _)| *name);
    sorted.meters.sort();
    sorted.shelved.sort();
    sorted
}

/// Whether two rows say the same; the model's table digest is made up.
fn same(real: &PagedRow, model: &PagedRow) -> bool {
    let mut info = real.info.clone();
    info.table = model.info.table;
    let rest = real.except == model.except && real.met == model.met;
    real.row == model.row && info == model.info && rest
}

/// The table that the members of `content` would have.
fn table_of(content: &Arc<Content>) -> Bytes {
    let mut table = BytesMut::new();
    for body in &content.members {
        table.put_slice(&body.id.0);
        table.put_slice(&body.digest.0);
        table.put_uint_le(body.length, 6);
        table.put_u16_le(0);
    }
    table.freeze()
}
