//! A ledger in a folder of its own, and the rows tests put into it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use relay_core::change::{Change, Due, KeyName, KeyRow, OwedRow, Part, ReceiptRow, Sent, Snapshot};
use relay_core::delivery::{Attempt, Cause, Outcome, State};
use relay_core::id::{
    BootEpoch, LaneNo, LedgerId, NodeNo, PackNo, ReceiptNo, SegmentId, Sequence, StagedId, Ticket,
};
use relay_core::ledger::{Ledger, Loaded, Options, ReadError, Reader, Report, Staged};
use relay_core::pack::{Builder, Table, single_table};
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::Unix;
use tempfile::TempDir;

pub(crate) const PEER: NodeNo = NodeNo(1);
pub(crate) const STRANGER: NodeNo = NodeNo(9);
pub(crate) const LANE: LaneNo = LaneNo(2);
pub(crate) const NOW: Unix = Unix(1_700_000_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A ledger in a folder of its own.
pub(crate) struct Disk {
    pub(crate) dir: TempDir,
    pub(crate) ledger: Ledger,
    pub(crate) snapshot: Snapshot,
    pub(crate) options: Options,
    pub(crate) next: u64,
    pub(crate) staged: BTreeMap<StagedId, Staged>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = TempDir::new().expect("a folder");
        let mut options = Options::new("alpha".parse().expect("a name"), 64 << 20, 7);
        options.log_file_bytes = 1 << 20;
        change(&mut options);
        let (ledger, snapshot) = Ledger::open(dir.path(), options.clone(), NOW).expect("it opens");
        Self {
            dir,
            ledger,
            snapshot,
            options,
            next: 1,
            staged: BTreeMap::new(),
        }
    }

    pub(crate) fn reopen(&mut self) {
        self.close();
        let opened = Ledger::open(self.dir.path(), self.options.clone(), NOW);
        (self.ledger, self.snapshot) = opened.expect("it opens again");
    }

    /// Closes the ledger for good: what stands in its place is another one.
    pub(crate) fn close(&mut self) {
        let other = self.dir.path().join("other");
        self.ledger = Ledger::open(&other, self.options.clone(), NOW)
            .expect("it opens")
            .0;
    }

    pub(crate) fn put(&mut self, body: &[u8], state: State) -> (PackNo, Bytes) {
        let (pack, bytes) = self.pack(&[body], NodeNo::LOCAL);
        let due = due_of(&pack);
        self.commit(vec![
            pack,
            Change::Owed(OwedRow {
                state,
                ..owed_as(due, state_code(state))
            }),
        ]);
        (due.pack, bytes)
    }

    /// A pack for the inbox; answers the ids of its members.
    pub(crate) fn arrive(&mut self, bodies: &[&[u8]]) -> Vec<SegmentId> {
        let (pack, bytes) = self.pack(bodies, STRANGER);
        let Change::Pack { no, info, .. } = &pack else {
            unreachable!("it is a pack")
        };
        let due = Due {
            peer: NodeNo::LOCAL,
            pack: *no,
            part: Part::Rest,
        };
        let row = OwedRow {
            count: info.count,
            bytes: info.bytes,
            ..owed(due)
        };
        let ids = ids_of(&bytes, info.count)
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        self.commit(vec![pack, Change::Owed(row)]);
        ids
    }

    pub(crate) fn fill_with_settled(&mut self, body: &[u8], packs: u64) {
        for _ in 0..packs {
            let (pack, _) = self.pack(&[body, body], NodeNo::LOCAL);
            let row = OwedRow {
                state: State::Acked,
                ..owed(due_of(&pack))
            };
            let report = self.commit(vec![pack, Change::Owed(row)]);
            assert_eq!(report.refused, vec![]);
        }
    }

    pub(crate) fn pack(&mut self, bodies: &[&[u8]], origin: NodeNo) -> (Change, Bytes) {
        let no = PackNo(self.next);
        self.next += 1;
        let mut pack = Builder::new();
        for body in bodies {
            pack.push(SegmentId::v7(NOW.0, u128::from(no.0) << 20), b"", body);
        }
        let built = pack.finish().expect("it has members");
        let info = PackInfo {
            lane: LANE,
            origin,
            via: origin,
            hops: 0,
            sequence: Sequence::of(no),
            count: built.count,
            bytes: built.bytes.len() as u64 - u64::from(built.table_len),
            table_len: built.table_len,
            table: Digest::of(&built.bytes[..built.table_len as usize]),
            first: built.first,
            last: built.last,
            created: NOW,
            expires: None,
        };
        let staged = StagedId(no.0);
        self.staged
            .insert(staged, Staged::Memory(built.bytes.clone()));
        (Change::Pack { no, staged, info }, built.bytes)
    }

    pub(crate) fn large(&mut self, body: &[u8], name: &str) -> (Change, Bytes) {
        let (mut pack, _) = self.pack(&[b""], NodeNo::LOCAL);
        let id = SegmentId::v7(NOW.0, 77);
        let table = single_table(id, Digest::of(body), body.len() as u64, b"");
        let Change::Pack { staged, info, .. } = &mut pack else {
            unreachable!("it is a pack")
        };
        info.bytes = body.len() as u64;
        info.table = Digest::of(&table);
        (info.first, info.last) = (id, id);
        self.staged.insert(
            *staged,
            Staged::File {
                table: table.clone(),
                name: name.into(),
            },
        );
        (pack, table)
    }

    pub(crate) fn commit(&mut self, changes: Vec<Change>) -> Report {
        let mut staged = |id: StagedId| self.staged.remove(&id);
        self.ledger
            .commit(&[(Ticket(1), changes)], &mut staged, NOW)
            .expect("it commits")
    }

    pub(crate) fn reader(&self) -> Reader {
        self.ledger.reader().expect("a reader")
    }

    pub(crate) fn fetch(&self, due: Due) -> Option<OwedRow> {
        self.reader()
            .fetch(due)
            .expect("an answer")
            .map(|paged| paged.row)
    }

    pub(crate) fn load(&self, no: PackNo) -> Result<Loaded, ReadError> {
        self.reader().load(no)
    }

    pub(crate) fn bytes(&self, no: PackNo) -> Bytes {
        match self.load(no).expect("its bytes") {
            Loaded::Memory { bytes, .. } => bytes,
            Loaded::File { path, .. } => panic!("it is the file {}", path.display()),
        }
    }
}

pub(crate) fn due(pack: PackNo) -> Due {
    Due {
        peer: PEER,
        pack,
        part: Part::Rest,
    }
}

pub(crate) fn due_of(pack: &Change) -> Due {
    let Change::Pack { no, .. } = pack else {
        unreachable!("it is a pack")
    };
    due(*no)
}

pub(crate) fn owed(due: Due) -> OwedRow {
    owed_as(due, 0)
}

/// A row in the state of that number.
pub(crate) fn owed_as(due: Due, code: u8) -> OwedRow {
    let state = [
        State::Scheduled,
        State::Inflight,
        State::Failed { until: NOW },
        State::Acked,
        State::Deadletter {
            cause: Cause::Forced,
        },
    ][usize::from(code % 5)];
    let ended = (state != State::Inflight).then_some((NOW, Outcome::Failed));
    let attempt = Attempt {
        number: 1,
        epoch: BootEpoch(1),
        started: NOW,
        ended,
    };
    OwedRow {
        due,
        lane: LANE,
        count: 1,
        bytes: 5,
        state,
        spent: 0,
        attempt: (state != State::Scheduled).then_some(attempt),
        rescued: false,
        held: false,
        standby: false,
        stuck: false,
        acked_late: false,
        evicted: false,
        expires: None,
        left: 0,
        place: None,
        queued: NOW,
        updated: NOW,
        error: None,
    }
}

pub(crate) fn state_code(state: State) -> u8 {
    match state {
        State::Scheduled => 0,
        State::Inflight => 1,
        State::Failed { .. } => 2,
        State::Acked => 3,
        State::Deadletter { .. } => 4,
    }
}

pub(crate) fn receipt(no: u64, pack: PackNo) -> ReceiptRow {
    ReceiptRow {
        no: ReceiptNo(no),
        peer: STRANGER,
        sent: Sent {
            ledger: LedgerId(5),
            pack: PackNo(no),
            part: Part::Rest,
        },
        table: Digest::of(b"table"),
        count: 2,
        refused: vec![],
        pack,
    }
}

pub(crate) fn key(name: &str, chance: u128) -> KeyRow {
    KeyRow {
        name: KeyName {
            uid: 1000,
            key: name.into(),
        },
        id: SegmentId::v7(NOW.0, chance),
        digest: Digest::of(name.as_bytes()),
        targets: vec![PEER, STRANGER],
        at: NOW,
    }
}

pub(crate) fn ids_of(bytes: &Bytes, count: u32) -> Vec<(SegmentId, Digest)> {
    let table = Table::parse(bytes.slice(..56 * count as usize), count).expect("a table");
    table
        .members()
        .iter()
        .map(|member| (member.id, member.digest))
        .collect()
}

/// Bytes of every file below `dir`.
pub(crate) fn size_of(dir: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("it is there");
        sum += if meta.is_dir() {
            size_of(&entry.path())
        } else {
            meta.len()
        };
    }
    sum
}

pub(crate) fn find(path: &Path, wanted: &[u8]) -> u64 {
    let all = fs::read(path).expect("the file");
    let at = all.windows(wanted.len()).position(|found| found == wanted);
    at.expect("the bytes are in the file") as u64
}

pub(crate) fn patch(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options()
        .write(true)
        .open(path)
        .expect("the file");
    file.write_all_at(bytes, at).expect("it can be written");
}
