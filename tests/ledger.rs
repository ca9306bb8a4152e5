//! The ledger against its contract: what is committed is there after a reopen,
//! in the state it was left in, and nothing else is.
//!
//! A property test drives the ledger and a few plain maps with the same changes
//! and asks both the same questions. The rest is one test for each promise of
//! semantics 2, 4 and 9; kills are in `ledger_crash.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use relay_core::change::{
    AttemptRow, Book, Change, Depth, Due, KeyName, KeyRow, Nack, OwedRow, Part, ReceiptRow, Sent,
    Snapshot, close_attempt,
};
use relay_core::delivery::{Attempt, Cause, Outcome, State, StateName};
use relay_core::event::Known;
use relay_core::id::{
    BootEpoch, LaneNo, LedgerId, NodeNo, PackNo, ReceiptNo, SegmentId, SegmentPrefix, StagedId,
    Ticket,
};
use relay_core::ledger::{
    ConfirmOutcome, DeliveryFilter, InboxFilter, InboxState, Ledger, LedgerError, Loaded, Options,
    ReadError, Reader, Report, Staged,
};
use relay_core::pack::{Builder, Table, single_table};
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::Unix;
use tempfile::TempDir;

const PEER: NodeNo = NodeNo(1);
const STRANGER: NodeNo = NodeNo(9);
const LANE: LaneNo = LaneNo(2);
const NOW: Unix = Unix(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_changes_read_back_as_a_plain_map_would(steps in steps()) {
        let mut disk = Disk::new();
        let mut model = Model::default();

        for group in steps {
            if group.is_empty() {
                disk.reopen();
                model.reopen(disk.snapshot.epoch);
                model.check_snapshot(&disk.snapshot);
            }
            let changes: Vec<Change> =
                group.into_iter().flat_map(|step| model.apply(step, &mut disk)).collect();
            let report = disk.commit(changes);
            prop_assert_eq!(report.refused, vec![]);
            model.check(&mut disk);
        }
    }
}

#[test]
fn what_is_committed_is_there_after_a_reopen() {
    let mut disk = Disk::new();
    let (no, bytes) = disk.put(b"hello", State::Scheduled);

    disk.reopen();

    let page = disk.reader().page(PEER, LANE, None, 10).expect("a page");
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].row.due, due(no));
    assert_eq!(disk.bytes(no), bytes);
    assert_eq!(disk.snapshot.last_pack, no);
}

#[test]
fn an_attempt_left_open_reads_abandoned_and_spends_nothing() {
    let mut disk = Disk::new();
    let (no, _) = disk.put(b"hello", State::Inflight);

    disk.reopen();

    assert_eq!(disk.snapshot.rescued, 1);
    let row = disk.fetch(due(no)).expect("the row");
    assert_eq!((row.state, row.rescued, row.spent), (State::Scheduled, true, 0));
    assert_eq!(row.attempt.expect("an attempt").ended, Some((NOW, Outcome::Abandoned)));
    let table = disk.reader().table(no).expect("a table");
    let id = table.members()[0].id;
    let all = disk.reader().inspect(SegmentPrefix { low: id, high: id }, 2).expect("an answer");
    let (_, attempts) = &all[0].deliveries[0];
    assert_eq!(attempts[0].attempt.ended, Some((NOW, Outcome::Abandoned)));
}

#[test]
fn an_epoch_begins_with_each_open_and_the_ledger_stays_the_same() {
    let mut disk = Disk::new();
    let first = disk.snapshot.clone();

    disk.options.entropy = 99;
    disk.reopen();

    assert_eq!(disk.snapshot.ledger, first.ledger);
    assert_eq!(disk.snapshot.epoch, BootEpoch(first.epoch.0 + 1));
}

#[test]
fn a_newer_schema_and_another_node_are_refused_by_name() {
    let disk = Disk::new();
    let Disk { dir, ledger, mut options, .. } = disk;
    drop(ledger);

    options.node = "beta".parse().expect("a name");
    let other = Ledger::open(dir.path(), options.clone(), NOW).err().expect("a refusal");
    // The user version lies at offset 60 of the database header.
    patch(&dir.path().join("ledger.db"), 60, &99u32.to_be_bytes());
    let newer = Ledger::open(dir.path(), options, NOW).err().expect("a refusal");

    assert!(matches!(other, LedgerError::OtherNode { .. }), "{other}");
    assert!(matches!(newer, LedgerError::TooNew { found: 99, known: 1, .. }), "{newer}");
    assert!(newer.to_string().contains("schema 99 is newer than 1"), "{newer}");
}

#[test]
fn a_damaged_record_reads_corrupt_and_a_lost_one_missing() {
    let mut disk = Disk::new();
    let (first, _) = disk.put(b"first body", State::Scheduled);
    let (last, _) = disk.put(b"last body", State::Scheduled);
    let log = disk.dir.path().join("log/0001.log");

    let at = find(&log, b"first body");
    patch(&log, at, b"F");
    assert!(matches!(disk.load(first), Err(ReadError::Corrupt(_))));
    assert!(disk.load(last).is_ok());
    fs::File::options()
        .write(true)
        .open(&log)
        .and_then(|file| file.set_len(find(&log, b"last body") + 3))
        .expect("it can be cut");
    assert!(matches!(disk.load(last), Err(ReadError::Corrupt(_))));
    assert!(matches!(disk.load(PackNo(77)), Err(ReadError::Missing)));
}

#[test]
fn a_damaged_row_is_skipped_and_counted() {
    let mut disk = Disk::new();
    for no in 0..3 {
        let (pack, _) = disk.pack(&[b"x"], NodeNo::LOCAL);
        let row = OwedRow { error: Some(format!("trouble {no}")), ..owed(due_of(&pack)) };
        disk.commit(vec![pack, Change::Owed(row)]);
    }
    disk.close();
    let database = disk.dir.path().join("ledger.db");
    patch(&database, find(&database, b"trouble 1"), b"TROUBLE 1");
    disk.reopen();

    let mut reader = disk.reader();
    let page = reader.page(PEER, LANE, None, 10).expect("a page");

    assert_eq!(page.len(), 2);
    assert_eq!(reader.damaged(), 1);
    assert_eq!(reader.fetch(due(PackNo(2))).expect("an answer"), None);
}

#[test]
fn four_times_the_ceiling_passes_without_touching_it() {
    let mut disk = Disk::with(|options| {
        options.max_bytes = 16 << 20;
        options.log_file_bytes = 1 << 20;
    });
    let body = vec![7u8; 15 << 10];
    let (kept, bytes) = disk.put(b"owed all along", State::Scheduled);
    let mut held = disk.reader();
    let (mut old, mut settled) = (None, Vec::new());

    // Four times the ceiling, each group settled by the next one.
    for n in 0..1100u64 {
        let (pack, _) = disk.pack(&[&body, &body, &body, &body], NodeNo(3));
        let due = due_of(&pack);
        let mut changes: Vec<Change> = settled.drain(..).map(Change::Owed).collect();
        changes.push(pack);
        changes.push(Change::Owed(owed(due)));
        settled.push(OwedRow { state: State::Acked, ..owed(due) });
        let report = disk.commit(changes);
        assert_eq!(report.refused, vec![], "group {n}");
        let allocated = size_of(disk.dir.path());
        assert!(allocated <= 16 << 20, "group {n}: {allocated} B allocated");
        if n == 40 {
            old = Some(due.pack);
            held.load(due.pack).expect("it is there at first");
        }
    }

    assert_eq!(disk.bytes(kept), bytes);
    assert!(matches!(held.load(old.expect("an early one")), Err(ReadError::Missing)));
    disk.reopen();
    assert_eq!(disk.bytes(kept), bytes);
}

#[test]
fn what_is_owed_is_never_evicted_and_a_refused_item_leaves_nothing() {
    let mut disk = Disk::with(|options| {
        options.max_bytes = 8 << 20;
        options.log_file_bytes = 512 << 10;
    });
    let body = vec![7u8; 15 << 10];
    let mut kept = Vec::new();

    let refused = loop {
        let (pack, bytes) = disk.pack(&[&body, &body, &body, &body], NodeNo::LOCAL);
        let due = due_of(&pack);
        let report = disk.commit(vec![pack, Change::Owed(owed(due))]);
        assert!(size_of(disk.dir.path()) <= 8 << 20);
        if !report.refused.is_empty() {
            assert!(report.space.used * 10 > report.space.ceiling * 9, "{:?}", report.space);
            break due;
        }
        kept.push((due, bytes));
        assert!(kept.len() < 200, "the ceiling is never reached");
    };

    assert!(kept.len() > 60, "only {} packs of 60 KiB found room in 8 MiB", kept.len());
    assert_eq!(disk.fetch(refused), None);
    for (due, bytes) in &kept {
        assert_eq!(disk.bytes(due.pack), bytes);
    }
    let settle = |(due, _): &(Due, Bytes)| {
        Change::Owed(OwedRow { state: State::Acked, ..owed(*due) })
    };
    disk.commit(kept.iter().map(settle).collect());
    let (pack, bytes) = disk.pack(&[&body], NodeNo::LOCAL);
    let due = due_of(&pack);
    assert_eq!(disk.commit(vec![pack, Change::Owed(owed(due))]).refused, vec![]);
    assert_eq!(disk.bytes(due.pack), bytes);
}

#[test]
fn ids_are_known_after_their_bytes_have_gone_until_they_are_settled() {
    let mut disk = Disk::with(|options| {
        options.max_bytes = 8 << 20;
        options.log_file_bytes = 512 << 10;
        options.keep_known = Duration::ZERO;
    });
    let (pack, bytes) = disk.pack(&[b"one", b"two"], STRANGER);
    let due = due_of(&pack);
    let ids = ids_of(&bytes, 2);
    let receipt = receipt(1, due.pack);
    let acked = OwedRow { state: State::Acked, ..owed(due) };
    disk.commit(vec![pack, Change::Owed(acked), Change::Receipt(receipt)]);

    disk.fill_with_settled(&vec![1u8; 15 << 10], 400);

    assert!(matches!(disk.load(due.pack), Err(ReadError::Missing)));
    let other = [(ids[0].0, Digest::of(b"another"))];
    let mut reader = disk.reader();
    assert_eq!(reader.look_up(STRANGER, &ids).expect("an answer"), vec![Known::Same; 2]);
    assert_eq!(reader.look_up(STRANGER, &other).expect("an answer"), vec![Known::Other]);
    assert_eq!(reader.look_up(PEER, &ids).expect("an answer"), vec![Known::No; 2]);
    assert_eq!(disk.ledger.sweep(NOW + DAY).expect("a sweep").marks, 0);
    disk.commit(vec![Change::Settled(STRANGER, ReceiptNo(1))]);
    assert_eq!(disk.ledger.sweep(NOW + DAY).expect("a sweep").marks, 1);
    assert_eq!(disk.reader().look_up(STRANGER, &ids).expect("an answer"), vec![Known::No; 2]);
    disk.reopen();
    assert_eq!(disk.snapshot.last_receipt, ReceiptNo(1));
}

#[test]
fn a_large_payload_has_a_file_of_its_own_until_it_is_settled_and_swept() {
    let mut disk = Disk::new();
    let body = vec![3u8; 1 << 20];
    let folder = disk.dir.path().join("payload");
    fs::write(folder.join("left-by-a-crash.seg"), b"x").expect("it can be written");
    disk.reopen();
    assert!(!folder.join("left-by-a-crash.seg").exists());

    let (pack, staged) = disk.large(&body, "large-1.seg");
    let due = due_of(&pack);
    assert!(disk.ledger.reserve(body.len() as u64, NOW).expect("an answer"));
    fs::write(folder.join("large-1.seg"), &body).expect("it can be written");
    disk.commit(vec![pack, Change::Owed(owed(due))]);
    disk.reopen();

    let path = folder.join("large-1.seg");
    let wanted = Loaded::File { table: staged, path: path.clone(), len: body.len() as u64 };
    assert_eq!(disk.load(due.pack).expect("a file"), wanted);
    disk.commit(vec![Change::Owed(OwedRow { state: State::Acked, ..owed(due) })]);
    assert_eq!(disk.ledger.sweep(NOW).expect("a sweep").packs, 0);
    assert_eq!(disk.ledger.sweep(NOW + DAY + DAY).expect("a sweep").packs, 1);
    assert!(!path.exists());
    assert!(matches!(disk.load(due.pack), Err(ReadError::Missing)));
}

#[test]
fn a_pack_too_long_for_the_log_is_a_file_as_well() {
    let mut disk = Disk::new();
    let body = vec![5u8; 700 << 10];
    let (pack, bytes) = disk.pack(&[&body], NodeNo::LOCAL);
    let due = due_of(&pack);

    disk.commit(vec![pack, Change::Owed(owed(due))]);

    let Loaded::File { table, path, len } = disk.load(due.pack).expect("it is there") else {
        panic!("it lies in the log");
    };
    assert_eq!((table.len(), len), (56, body.len() as u64));
    assert_eq!(fs::read(path).expect("the body"), &bytes[56..]);
}

#[test]
fn a_key_is_known_for_its_day() {
    let mut disk = Disk::new();
    let row = key("a", 1);

    disk.commit(vec![Change::Key(row.clone()), Change::Key(key("b", 2))]);
    disk.reopen();

    assert_eq!(disk.reader().find_key(&row.name).expect("an answer"), Some(row.clone()));
    assert_eq!(disk.ledger.sweep(NOW).expect("a sweep").keys, 0);
    assert_eq!(disk.ledger.sweep(NOW + DAY + DAY).expect("a sweep").keys, 2);
    assert_eq!(disk.reader().find_key(&row.name).expect("an answer"), None);
}

#[test]
fn an_inbox_item_is_leased_once_and_ready_again_when_its_lease_runs_out() {
    let mut disk = Disk::new();
    let ids = disk.arrive(&[b"one", b"two", b"three"]);
    let all = InboxFilter::default();
    let (soon, later) = (NOW + DAY, NOW + DAY + DAY);

    let first = disk.ledger.take(&all, 2, soon, NOW).expect("items");
    let rest = disk.ledger.take(&all, 9, soon, NOW).expect("items");
    assert_eq!(first.iter().chain(&rest).map(|item| item.id).collect::<Vec<_>>(), ids);
    assert_eq!(disk.ledger.take(&all, 9, soon, NOW).expect("items"), vec![]);
    disk.reopen();
    assert_eq!(disk.ledger.take(&all, 9, soon, NOW).expect("items"), vec![]);
    let outcome = disk.ledger.confirm(&[ids[1], ids[1]], NOW).expect("an answer");
    assert_eq!(outcome, vec![ConfirmOutcome::Confirmed; 2]);

    let again = disk.ledger.take(&all, 9, later, soon).expect("items");

    assert_eq!(again.iter().map(|item| item.id).collect::<Vec<_>>(), vec![ids[2], ids[0]]);
}

#[test]
fn confirmed_items_fold_into_one_row_and_stop_pinning() {
    let mut disk = Disk::new();
    let ids = disk.arrive(&[b"one", b"two", b"three"]);
    let all = InboxFilter::default();
    disk.ledger.take(&all, 3, NOW + DAY, NOW).expect("items");

    for id in &ids {
        let unknown = SegmentId::v7(1, 1);
        let outcome = disk.ledger.confirm(&[*id, unknown], NOW).expect("an answer");
        assert_eq!(outcome, vec![ConfirmOutcome::Confirmed, ConfirmOutcome::Unknown]);
    }

    let again = disk.ledger.confirm(&ids, NOW).expect("an answer");
    assert_eq!(again, vec![ConfirmOutcome::Already; 3]);
    let depth = Depth { parcels: 1, count: 3, bytes: 11 };
    assert_eq!(disk.ledger.depths(), vec![(NodeNo::LOCAL, LANE, StateName::Acked, depth)]);
    assert_eq!(disk.ledger.books(), vec![(NodeNo::LOCAL, LANE, Book::Acked, 3)]);
    assert_eq!(disk.ledger.space().inbox, 0);
    let listed = disk.reader().inbox(&all, None, 10).expect("a listing").rows;
    assert!(listed.iter().all(|item| item.state == InboxState::Confirmed));
}

#[test]
fn listings_go_on_where_they_stopped() {
    let mut disk = Disk::new();
    for _ in 0..3 {
        let (pack, _) = disk.pack(&[b"a", b"b", b"c"], NodeNo::LOCAL);
        let due = due_of(&pack);
        disk.commit(vec![pack, Change::Owed(OwedRow { count: 3, ..owed(due) })]);
    }
    let filter = DeliveryFilter { peer: Some(PEER), ..DeliveryFilter::default() };
    let mut reader = disk.reader();

    let (mut deliveries, mut after) = (Vec::new(), None);
    for _ in 0..9 {
        let part = reader.deliveries(&filter, after, 2).expect("a listing");
        deliveries.extend(part.rows.into_iter().map(|row| row.segment.id));
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    let (mut segments, mut after) = (Vec::new(), None);
    for _ in 0..9 {
        let part = reader.segments(&filter, after, 2).expect("a listing");
        segments.extend(part.rows.into_iter().map(|row| row.segment.id));
        after = part.next;
        if after.is_none() {
            break;
        }
    }

    assert_eq!(deliveries.len(), 9);
    assert_eq!(segments, deliveries);
    let parked = DeliveryFilter { state: Some(StateName::Deadletter), ..filter };
    assert_eq!(reader.deliveries(&parked, None, 9).expect("a listing").rows, vec![]);
}

#[test]
fn staged_bytes_that_are_not_held_leave_the_ledger_as_it_was() {
    let mut disk = Disk::new();
    let (pack, _) = disk.pack(&[b"hello"], NodeNo::LOCAL);
    let mut none = |_: StagedId| None;

    let error = disk.ledger.commit(&[(Ticket(1), vec![pack])], &mut none, NOW);

    assert!(matches!(error, Err(LedgerError::Unstaged(StagedId(1)))));
    let (no, bytes) = disk.put(b"hello", State::Scheduled);
    assert_eq!(disk.bytes(no), bytes);
}

/// One thing to do: what, and three numbers that say to which.
type Step = (u8, u8, u8, u8);

/// Groups of steps; an empty one is a reopen.
fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0u8..9, any::<u8>(), any::<u8>(), any::<u8>());
    proptest::collection::vec(proptest::collection::vec(step, 0..8), 1..12)
}

/// What the ledger should hold, in plain maps.
#[derive(Default)]
struct Model {
    packs: BTreeMap<PackNo, (PackInfo, Bytes)>,
    owed: BTreeMap<Due, OwedRow>,
    receipts: BTreeMap<ReceiptNo, ReceiptRow>,
    keys: BTreeMap<KeyName, KeyRow>,
    heard: BTreeMap<(LedgerId, LaneNo), PackNo>,
    books: BTreeMap<(NodeNo, LaneNo, Book), i64>,
    last_receipt: u64,
    rescued: u64,
}

impl Model {
    fn apply(&mut self, (what, a, b, c): Step, disk: &mut Disk) -> Vec<Change> {
        let peer = NodeNo(u32::from(a % 3) + 1);
        match what {
            0..3 => self.put(a, b, c, disk),
            3 | 4 => self.move_one(a, b, c),
            5 => {
                let Some(due) = nth(&self.owed, a) else { return vec![] };
                self.owed.remove(&due);
                vec![Change::Gone(due)]
            }
            6 => {
                let (lane, by) = (LaneNo(u16::from(b % 2)), i64::from(c) - 100);
                let entry = [Book::Put, Book::Acked, Book::Purged][usize::from(c % 3)];
                *self.books.entry((peer, lane, entry)).or_default() += by;
                vec![Change::Book { peer, lane, entry, by }]
            }
            7 => self.receive(peer, b, c),
            _ => {
                let row = key(&format!("k{}", a % 4), u128::from(b));
                self.keys.insert(row.name.clone(), row.clone());
                let (ledger, lane) = (LedgerId(u64::from(b % 2)), LaneNo(u16::from(c % 2)));
                let pack = PackNo(u64::from(c));
                self.heard.insert((ledger, lane), pack);
                vec![Change::Key(row), Change::Heard(ledger, lane, pack)]
            }
        }
    }

    fn put(&mut self, a: u8, b: u8, c: u8, disk: &mut Disk) -> Vec<Change> {
        let bodies: Vec<Vec<u8>> = (0..=a % 4).map(|n| vec![n; usize::from(b)]).collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let (pack, bytes) = disk.pack(&bodies, NodeNo(u32::from(c % 2)));
        let Change::Pack { no, info, .. } = &pack else { unreachable!("it is a pack") };
        self.packs.insert(*no, (info.clone(), bytes));
        let mut changes = vec![pack.clone()];
        for peer in 1..=u32::from(b % 3) {
            let due = Due { peer: NodeNo(peer), pack: *no, part: Part::Rest };
            let row = OwedRow { count: info.count, bytes: info.bytes, ..owed_as(due, c) };
            self.owed.insert(due, row.clone());
            changes.push(Change::Owed(row));
        }
        changes
    }

    /// Moves a row on, or one of its members to a row of its own.
    fn move_one(&mut self, a: u8, b: u8, c: u8) -> Vec<Change> {
        let Some(due) = nth(&self.owed, a) else { return vec![] };
        let part = if b % 3 == 0 { Part::Member(u16::from(c % 4)) } else { due.part };
        let due = Due { part, ..due };
        let row = OwedRow { spent: u32::from(c), ..owed_as(due, b) };
        self.owed.insert(due, row.clone());
        let attempt = Attempt {
            number: u32::from(b),
            epoch: BootEpoch(1),
            started: NOW,
            ended: Some((NOW, Outcome::Timeout)),
        };
        let history = AttemptRow { due, attempt, sent: 5, error: None };
        vec![Change::Owed(row), Change::Attempt(history)]
    }

    fn receive(&mut self, peer: NodeNo, b: u8, c: u8) -> Vec<Change> {
        if b % 3 == 0 {
            let upto = ReceiptNo(u64::from(c) % (self.last_receipt + 1));
            self.receipts.retain(|no, row| row.peer != peer || *no > upto);
            return vec![Change::Settled(peer, upto)];
        }
        self.last_receipt += 1;
        let refused = if c % 2 == 0 { vec![] } else { vec![(u16::from(c), Nack::Malformed)] };
        let row = ReceiptRow { peer, refused, ..receipt(self.last_receipt, PackNo(u64::from(c))) };
        self.receipts.insert(row.no, row.clone());
        vec![Change::Receipt(row)]
    }

    fn reopen(&mut self, _epoch: BootEpoch) {
        self.rescued = 0;
        for row in self.owed.values_mut().filter(|row| row.state == State::Inflight) {
            close_attempt(row, NOW, Outcome::Abandoned);
            (row.state, row.rescued, row.updated) = (State::Scheduled, true, NOW);
            self.rescued += u64::from(row.count);
        }
    }

    fn depths(&self) -> Vec<(NodeNo, LaneNo, StateName, Depth)> {
        let mut all: BTreeMap<(NodeNo, LaneNo, StateName), Depth> = BTreeMap::new();
        for row in self.owed.values() {
            let depth = all.entry((row.due.peer, row.lane, row.state.name())).or_default();
            depth.parcels += 1;
            depth.count += u64::from(row.count);
            depth.bytes += row.bytes;
        }
        all.into_iter().map(|((peer, lane, state), depth)| (peer, lane, state, depth)).collect()
    }

    fn unsettled(&self) -> Vec<(NodeNo, u64)> {
        let mut all: BTreeMap<NodeNo, u64> = BTreeMap::new();
        self.receipts.values().for_each(|row| *all.entry(row.peer).or_default() += 1);
        all.into_iter().collect()
    }

    fn check_snapshot(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.depths, self.depths());
        assert_eq!(snapshot.unsettled, self.unsettled());
        assert_eq!(snapshot.rescued, self.rescued);
        assert_eq!(snapshot.last_receipt, ReceiptNo(self.last_receipt));
        let last = self.packs.keys().next_back().copied().unwrap_or_default();
        assert_eq!(snapshot.last_pack, last);
        let heard: Vec<_> = self.heard.iter().map(|((l, n), p)| (*l, *n, *p)).collect();
        assert_eq!(snapshot.heard, heard);
    }

    fn check(&self, disk: &mut Disk) {
        let mut reader = disk.reader();
        assert_eq!(disk.ledger.depths(), self.depths());
        assert_eq!(reader.depths().expect("an answer"), self.depths());
        let held = self.books.iter().filter(|(_, by)| **by != 0);
        let books: Vec<_> = held.map(|((peer, lane, b), by)| (*peer, *lane, *b, *by)).collect();
        assert_eq!(disk.ledger.books(), books);
        for peer in (1..4).map(NodeNo) {
            self.check_pages(&mut reader, peer);
            let rows: Vec<ReceiptRow> =
                self.receipts.values().filter(|row| row.peer == peer).cloned().collect();
            assert_eq!(reader.recall(peer, ReceiptNo(0), 99).expect("rows"), rows);
        }
        for (due, row) in &self.owed {
            let found = reader.fetch(*due).expect("an answer").expect("the row");
            assert_eq!((&found.row, &found.info), (row, &self.packs[&due.pack].0));
        }
        for (no, (info, bytes)) in &self.packs {
            let ids = ids_of(bytes, info.count);
            let known = reader.look_up(info.origin, &ids).expect("an answer");
            assert_eq!(known, vec![Known::Same; ids.len()]);
            let wanted = Loaded::Memory { bytes: bytes.clone(), table_len: info.table_len };
            assert_eq!(reader.load(*no).expect("bytes"), wanted);
        }
        for (name, row) in &self.keys {
            assert_eq!(reader.find_key(name).expect("an answer").as_ref(), Some(row));
        }
        assert_eq!(reader.damaged(), 0);
    }

    /// Pages of three, one after the other, are all the waiting rows in order.
    fn check_pages(&self, reader: &mut Reader, peer: NodeNo) {
        let waits = |row: &&OwedRow| {
            row.due.peer == peer && matches!(row.state, State::Scheduled | State::Failed { .. })
        };
        let mut wanted: Vec<&OwedRow> = self.owed.values().filter(waits).collect();
        wanted.sort_by_key(|row| (row.due.pack, row.due.part));
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..=wanted.len() {
            let page = reader.page(peer, LANE, after, 3).expect("a page");
            let Some(last) = page.last() else { break };
            after = Some((last.row.due.pack, last.row.due.part));
            for paged in page {
                let own = self.owed.keys().filter(|due| {
                    due.peer == peer && due.pack == paged.row.due.pack && due.part != Part::Rest
                });
                if paged.row.due.part == Part::Rest {
                    assert_eq!(paged.except.len(), own.count());
                }
                found.push(paged.row);
            }
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
    }
}

fn nth(owed: &BTreeMap<Due, OwedRow>, n: u8) -> Option<Due> {
    owed.keys().nth(usize::from(n) % owed.len().max(1)).copied()
}

/// A ledger in a folder of its own.
struct Disk {
    dir: TempDir,
    ledger: Ledger,
    snapshot: Snapshot,
    options: Options,
    next: u64,
    staged: BTreeMap<StagedId, Staged>,
}

impl Disk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = TempDir::new().expect("a folder");
        let mut options = Options::new("alpha".parse().expect("a name"), 64 << 20, 7);
        options.log_file_bytes = 1 << 20;
        change(&mut options);
        let (ledger, snapshot) = Ledger::open(dir.path(), options.clone(), NOW).expect("it opens");
        Self { dir, ledger, snapshot, options, next: 1, staged: BTreeMap::new() }
    }

    fn reopen(&mut self) {
        self.close();
        let opened = Ledger::open(self.dir.path(), self.options.clone(), NOW);
        (self.ledger, self.snapshot) = opened.expect("it opens again");
    }

    /// Closes the ledger for good: what stands in its place is another one.
    fn close(&mut self) {
        let other = self.dir.path().join("other");
        self.ledger = Ledger::open(&other, self.options.clone(), NOW).expect("it opens").0;
    }

    fn put(&mut self, body: &[u8], state: State) -> (PackNo, Bytes) {
        let (pack, bytes) = self.pack(&[body], NodeNo::LOCAL);
        let due = due_of(&pack);
        self.commit(vec![pack, Change::Owed(OwedRow { state, ..owed_as(due, state_code(state)) })]);
        (due.pack, bytes)
    }

    /// A pack for the inbox; answers the ids of its members.
    fn arrive(&mut self, bodies: &[&[u8]]) -> Vec<SegmentId> {
        let (pack, bytes) = self.pack(bodies, STRANGER);
        let Change::Pack { no, info, .. } = &pack else { unreachable!("it is a pack") };
        let due = Due { peer: NodeNo::LOCAL, pack: *no, part: Part::Rest };
        let row = OwedRow { count: info.count, bytes: info.bytes, ..owed(due) };
        let ids = ids_of(&bytes, info.count).into_iter().map(|(id, _)| id).collect();
        self.commit(vec![pack, Change::Owed(row)]);
        ids
    }

    fn fill_with_settled(&mut self, body: &[u8], packs: u64) {
        for _ in 0..packs {
            let (pack, _) = self.pack(&[body, body], NodeNo::LOCAL);
            let row = OwedRow { state: State::Acked, ..owed(due_of(&pack)) };
            let report = self.commit(vec![pack, Change::Owed(row)]);
            assert_eq!(report.refused, vec![]);
        }
    }

    fn pack(&mut self, bodies: &[&[u8]], origin: NodeNo) -> (Change, Bytes) {
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
            hops: 0,
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
        self.staged.insert(staged, Staged::Memory(built.bytes.clone()));
        (Change::Pack { no, staged, info }, built.bytes)
    }

    fn large(&mut self, body: &[u8], name: &str) -> (Change, Bytes) {
        let (mut pack, _) = self.pack(&[b""], NodeNo::LOCAL);
        let id = SegmentId::v7(NOW.0, 77);
        let table = single_table(id, Digest::of(body), body.len() as u64, b"");
        let Change::Pack { staged, info, .. } = &mut pack else { unreachable!("it is a pack") };
        info.bytes = body.len() as u64;
        info.table = Digest::of(&table);
        (info.first, info.last) = (id, id);
        self.staged.insert(*staged, Staged::File { table: table.clone(), name: name.into() });
        (pack, table)
    }

    fn commit(&mut self, changes: Vec<Change>) -> Report {
        let mut staged = |id: StagedId| self.staged.remove(&id);
        self.ledger.commit(&[(Ticket(1), changes)], &mut staged, NOW).expect("it commits")
    }

    fn reader(&self) -> Reader {
        self.ledger.reader().expect("a reader")
    }

    fn fetch(&self, due: Due) -> Option<OwedRow> {
        self.reader().fetch(due).expect("an answer").map(|paged| paged.row)
    }

    fn load(&self, no: PackNo) -> Result<Loaded, ReadError> {
        self.reader().load(no)
    }

    fn bytes(&self, no: PackNo) -> Bytes {
        match self.load(no).expect("its bytes") {
            Loaded::Memory { bytes, .. } => bytes,
            Loaded::File { path, .. } => panic!("it is the file {}", path.display()),
        }
    }
}

fn due(pack: PackNo) -> Due {
    Due { peer: PEER, pack, part: Part::Rest }
}

fn due_of(pack: &Change) -> Due {
    let Change::Pack { no, .. } = pack else { unreachable!("it is a pack") };
    due(*no)
}

fn owed(due: Due) -> OwedRow {
    owed_as(due, 0)
}

/// A row in the state of that number.
fn owed_as(due: Due, code: u8) -> OwedRow {
    let state = [
        State::Scheduled,
        State::Inflight,
        State::Failed { until: NOW },
        State::Acked,
        State::Deadletter { cause: Cause::Forced },
    ][usize::from(code % 5)];
    let ended = (state != State::Inflight).then_some((NOW, Outcome::Failed));
    let attempt = Attempt { number: 1, epoch: BootEpoch(1), started: NOW, ended };
    OwedRow {
        due,
        lane: LANE,
        count: 1,
        bytes: 5,
        state,
        spent: 0,
        attempt: (state != State::Scheduled).then_some(attempt),
        rescued: false,
        queued: NOW,
        updated: NOW,
        error: None,
    }
}

fn state_code(state: State) -> u8 {
    match state {
        State::Scheduled => 0,
        State::Inflight => 1,
        State::Failed { .. } => 2,
        State::Acked => 3,
        State::Deadletter { .. } => 4,
    }
}

fn receipt(no: u64, pack: PackNo) -> ReceiptRow {
    ReceiptRow {
        no: ReceiptNo(no),
        peer: STRANGER,
        sent: Sent { ledger: LedgerId(5), pack: PackNo(no), part: Part::Rest },
        table: Digest::of(b"table"),
        count: 2,
        refused: vec![],
        pack,
    }
}

fn key(name: &str, chance: u128) -> KeyRow {
    KeyRow {
        name: KeyName { uid: 1000, key: name.into() },
        id: SegmentId::v7(NOW.0, chance),
        digest: Digest::of(name.as_bytes()),
        targets: vec![PEER, STRANGER],
        at: NOW,
    }
}

fn ids_of(bytes: &Bytes, count: u32) -> Vec<(SegmentId, Digest)> {
    let table = Table::parse(bytes.slice(..56 * count as usize), count).expect("a table");
    table.members().iter().map(|member| (member.id, member.digest)).collect()
}

/// Bytes of every file below `dir`.
fn size_of(dir: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("it is there");
        sum += if meta.is_dir() { size_of(&entry.path()) } else { meta.len() };
    }
    sum
}

fn find(path: &Path, wanted: &[u8]) -> u64 {
    let all = fs::read(path).expect("the file");
    let at = all.windows(wanted.len()).position(|found| found == wanted);
    at.expect("the bytes are in the file") as u64
}

fn patch(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).expect("the file");
    file.write_all_at(bytes, at).expect("it can be written");
}
