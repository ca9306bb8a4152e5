//! The ledger against its contract: what is committed is there after a reopen,
//! in the state it was left in, and nothing else is.
//!
//! A property test drives the ledger and a few plain maps with the same changes
//! and asks both the same questions. The rest is one test for each promise of
//! semantics 2, 4 and 9; kills are in `ledger_crash.rs`.

#[path = "ledger/ceiling.rs"]
mod ceiling;
#[path = "ledger/disk.rs"]
mod disk;
#[path = "ledger/expired.rs"]
mod expired;
#[path = "ledger/forward.rs"]
mod forward;
#[path = "ledger/kept.rs"]
mod kept;
#[path = "ledger/model.rs"]
mod model;
#[path = "ledger/snapshot.rs"]
mod snapshot;
#[path = "ledger/uses.rs"]
mod uses;

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use relay_core::change::{Book, Change, Depth, Due, OwedRow, ReceiptRow};
use relay_core::delivery::{Outcome, State, StateName};
use relay_core::event::Known;
use relay_core::id::{
    BootEpoch, NodeNo, PackNo, ReceiptNo, SegmentId, SegmentPrefix, StagedId, Ticket,
};
use relay_core::ledger::{
    ConfirmOutcome, DeliveryFilter, InboxFilter, InboxState, Ledger, LedgerError, Loaded,
    Quarantined, ReadError,
};
use relay_core::segment::Digest;
use relay_core::time::Unix;

use disk::{
    DAY, Disk, LANE, NOW, PEER, STRANGER, due, due_of, find, ids_of, key, owed, patch, receipt,
    size_of,
};
use model::{Model, steps};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_changes_read_back_as_a_plain_map_would(steps in steps()) {
        let mut disk = Disk::new();
        let mut model = Model::default();

        for group in steps {
            if group.is_empty() {
                disk.reopen();
                model.reopen();
                model.check_snapshot(&disk.snapshot);
            }
            let changes: Vec<Change> =
                group.into_iter().flat_map(|step| model.apply(step, &mut disk)).collect();
            let report = disk.commit(changes);
            prop_assert_eq!(report.refused, vec![]);
            model.check(&disk);
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
    assert_eq!(
        (row.state, row.rescued, row.spent),
        (State::Scheduled, true, 0)
    );
    assert_eq!(
        row.attempt.expect("an attempt").ended,
        Some((NOW, Outcome::Abandoned))
    );
    let table = disk.reader().table(no).expect("a table");
    let id = table.members()[0].id;
    let all = disk
        .reader()
        .inspect(SegmentPrefix { low: id, high: id }, 2)
        .expect("an answer");
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
    let Disk {
        dir,
        ledger,
        mut options,
        ..
    } = disk;
    drop(ledger);

    options.node = "beta".parse().expect("a name");
    let other = Ledger::open(dir.path(), options.clone(), NOW)
        .err()
        .expect("a refusal");
    harness::earlier::postdate(dir.path());
    let newer = Ledger::open(dir.path(), options, NOW)
        .err()
        .expect("a refusal");

    assert!(matches!(other, LedgerError::OtherNode { .. }), "{other}");
    assert!(
        matches!(
            newer,
            LedgerError::TooNew {
                found: 99,
                known: 2,
                ..
            }
        ),
        "{newer}"
    );
    assert!(
        newer.to_string().contains("schema 99 is newer than 2"),
        "{newer}"
    );
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
fn a_damaged_row_is_taken_out_of_the_way_and_named() {
    let mut disk = Disk::new();
    for no in 0..3 {
        let (pack, _) = disk.pack(&[b"x"], NodeNo::LOCAL);
        let row = OwedRow {
            error: Some(format!("trouble {no}")),
            ..owed(due_of(&pack))
        };
        disk.commit(vec![pack, Change::Owed(row)]);
    }
    disk.close();
    let database = disk.dir.path().join("ledger.db");
    patch(&database, find(&database, b"trouble 1"), b"TROUBLE 1");
    disk.reopen();

    let mut reader = disk.reader();
    let page = reader.page(PEER, LANE, None, 10).expect("a page");

    assert_eq!(page.len(), 2);
    assert_eq!(reader.damaged(), 0, "nobody meets it again");
    let named = &disk.ledger.care().quarantined;
    assert!(
        named
            .iter()
            .any(|entry| entry.what == "owed" && entry.pack == Some(PackNo(2)))
    );
    assert_eq!(
        *named,
        reader
            .quarantine_page(None, 10)
            .expect("it is kept")
            .entries
            .into_iter()
            .rev()
            .map(|(_, entry)| undated(entry))
            .collect::<Vec<_>>()
    );
    assert_eq!(reader.fetch(due(PackNo(2))).expect("an answer"), None);
}

/// An entry as it was before the clock was known.
fn undated(entry: Quarantined) -> Quarantined {
    Quarantined {
        at: Unix(0),
        ..entry
    }
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
        settled.push(OwedRow {
            state: State::Acked,
            ..owed(due)
        });
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
    assert!(matches!(
        held.load(old.expect("an early one")),
        Err(ReadError::Missing)
    ));
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
            assert!(
                report.space.used * 10 > report.space.ceiling * 9,
                "{:?}",
                report.space
            );
            break due;
        }
        kept.push((due, bytes));
        assert!(kept.len() < 200, "the ceiling is never reached");
    };

    assert!(
        kept.len() > 60,
        "only {} packs of 60 KiB found room in 8 MiB",
        kept.len()
    );
    assert_eq!(disk.fetch(refused), None);
    for (due, bytes) in &kept {
        assert_eq!(disk.bytes(due.pack), bytes);
    }
    let settle = |(due, _): &(Due, Bytes)| {
        Change::Owed(OwedRow {
            state: State::Acked,
            ..owed(*due)
        })
    };
    disk.commit(kept.iter().map(settle).collect());
    let (pack, bytes) = disk.pack(&[&body], NodeNo::LOCAL);
    let due = due_of(&pack);
    assert_eq!(
        disk.commit(vec![pack, Change::Owed(owed(due))]).refused,
        vec![]
    );
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
    let acked = OwedRow {
        state: State::Acked,
        ..owed(due)
    };
    disk.commit(vec![pack, Change::Owed(acked), Change::Receipt(receipt)]);

    disk.fill_with_settled(&vec![1u8; 15 << 10], 400);

    assert!(matches!(disk.load(due.pack), Err(ReadError::Missing)));
    let other = [(ids[0].0, Digest::of(b"another"))];
    let mut reader = disk.reader();
    assert_eq!(
        reader.look_up(STRANGER, &ids).expect("an answer"),
        vec![Known::Same; 2]
    );
    assert_eq!(
        reader.look_up(STRANGER, &other).expect("an answer"),
        vec![Known::Other]
    );
    assert_eq!(
        reader.look_up(PEER, &ids).expect("an answer"),
        vec![Known::No; 2]
    );
    assert_eq!(disk.ledger.sweep(NOW + DAY).expect("a sweep").marks, 0);
    disk.commit(vec![Change::Settled(STRANGER, ReceiptNo(1))]);
    assert_eq!(disk.ledger.sweep(NOW + DAY).expect("a sweep").marks, 1);
    assert_eq!(
        disk.reader().look_up(STRANGER, &ids).expect("an answer"),
        vec![Known::No; 2]
    );
    disk.reopen();
    assert_eq!(disk.snapshot.last_receipt, ReceiptNo(1));
}

#[test]
fn what_was_filed_as_several_packs_is_known_until_its_one_receipt_is_settled() {
    let mut disk = Disk::with(|options| {
        options.max_bytes = 8 << 20;
        options.log_file_bytes = 512 << 10;
        options.keep_known = Duration::ZERO;
    });
    let packs = [b"one", b"two"].map(|body| disk.pack(&[body], STRANGER));
    let ids: Vec<_> = packs.iter().flat_map(|(_, b)| ids_of(b, 1)).collect();
    let first = due_of(&packs[0].0).pack;
    let acked = |pack: &Change| {
        Change::Owed(OwedRow {
            state: State::Acked,
            ..owed(due_of(pack))
        })
    };
    let one_for_both = ReceiptRow {
        count: 2,
        ..receipt(1, first)
    };
    let mut changes = vec![Change::Receipt(one_for_both)];
    for (pack, _) in packs {
        let row = acked(&pack);
        changes.extend([pack, row]);
    }
    disk.commit(changes);

    disk.fill_with_settled(&vec![1u8; 15 << 10], 400);

    assert!(matches!(disk.load(first), Err(ReadError::Missing)));
    let known = |disk: &Disk| disk.reader().look_up(STRANGER, &ids).expect("an answer");
    assert_eq!(known(&disk), vec![Known::Same; 2]);
    assert_eq!(disk.ledger.sweep(NOW + DAY).expect("a sweep").marks, 0);
    disk.commit(vec![Change::Settled(STRANGER, ReceiptNo(1))]);
    assert_eq!(disk.ledger.sweep(NOW + DAY).expect("a sweep").marks, 2);
    assert_eq!(known(&disk), vec![Known::No; 2]);
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
    assert!(
        disk.ledger
            .reserve(body.len() as u64, NOW)
            .expect("an answer")
    );
    fs::write(folder.join("large-1.seg"), &body).expect("it can be written");
    disk.commit(vec![pack, Change::Owed(owed(due))]);
    disk.reopen();

    let path = folder.join("large-1.seg");
    let wanted = Loaded::File {
        table: staged,
        path: path.clone(),
        len: body.len() as u64,
    };
    assert_eq!(disk.load(due.pack).expect("a file"), wanted);
    disk.commit(vec![Change::Owed(OwedRow {
        state: State::Acked,
        ..owed(due)
    })]);
    assert_eq!(disk.ledger.sweep(NOW).expect("a sweep").packs, 0);
    assert_eq!(
        disk.ledger.sweep(NOW + DAY + DAY).expect("a sweep").packs,
        1
    );
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

    assert_eq!(
        disk.reader().find_key(&row.name).expect("an answer"),
        Some(row.clone())
    );
    assert_eq!(disk.ledger.sweep(NOW).expect("a sweep").keys, 0);
    assert_eq!(disk.ledger.sweep(NOW + DAY + DAY).expect("a sweep").keys, 2);
    assert_eq!(disk.reader().find_key(&row.name).expect("an answer"), None);
}

#[test]
fn an_inbox_item_is_leased_once_and_ready_again_when_its_lease_runs_out() {
    let mut disk = Disk::new();
    disk.put(b"owed to a peer", State::Scheduled);
    let ready = |disk: &Disk, now| disk.reader().any_ready(now).expect("an answer");
    assert!(!ready(&disk, NOW), "what is owed to a peer is no arrival");
    let ids = disk.arrive(&[b"one", b"two", b"three"]);
    let all = InboxFilter::default();
    let (soon, later) = (NOW + DAY, NOW + DAY + DAY);
    assert!(ready(&disk, NOW));

    let first = disk.ledger.take(&all, 2, soon, NOW).expect("items");
    let rest = disk.ledger.take(&all, 9, soon, NOW).expect("items");
    assert_eq!(
        first
            .iter()
            .chain(&rest)
            .map(|item| item.id)
            .collect::<Vec<_>>(),
        ids
    );
    assert_eq!(disk.ledger.take(&all, 9, soon, NOW).expect("items"), vec![]);
    disk.reopen();
    assert_eq!(disk.ledger.take(&all, 9, soon, NOW).expect("items"), vec![]);
    assert!(
        !ready(&disk, NOW) && ready(&disk, soon),
        "once its lease is over"
    );
    let outcome = disk
        .ledger
        .confirm(&[ids[1], ids[1]], NOW)
        .expect("an answer");
    assert_eq!(outcome, vec![ConfirmOutcome::Confirmed; 2]);

    let again = disk.ledger.take(&all, 9, later, soon).expect("items");

    assert_eq!(
        again.iter().map(|item| item.id).collect::<Vec<_>>(),
        vec![ids[2], ids[0]]
    );
    disk.ledger.confirm(&ids, soon).expect("an answer");
    assert!(!ready(&disk, later + DAY), "all are confirmed");
}

#[test]
fn confirmed_items_fold_into_one_row_and_stop_pinning() {
    let mut disk = Disk::new();
    let ids = disk.arrive(&[b"one", b"two", b"three"]);
    let all = InboxFilter::default();
    disk.ledger.take(&all, 3, NOW + DAY, NOW).expect("items");

    for id in &ids {
        let unknown = SegmentId::v7(1, 1);
        let outcome = disk
            .ledger
            .confirm(&[*id, unknown], NOW)
            .expect("an answer");
        assert_eq!(
            outcome,
            vec![ConfirmOutcome::Confirmed, ConfirmOutcome::Unknown]
        );
    }

    let again = disk.ledger.confirm(&ids, NOW).expect("an answer");
    assert_eq!(again, vec![ConfirmOutcome::Already; 3]);
    let depth = Depth {
        parcels: 1,
        count: 3,
        bytes: 11,
    };
    assert_eq!(
        disk.ledger.depths(),
        vec![(NodeNo::LOCAL, LANE, StateName::Acked, depth)]
    );
    assert_eq!(
        disk.ledger.books(),
        vec![(NodeNo::LOCAL, LANE, Book::Acked, 3)]
    );
    assert_eq!(disk.ledger.space().inbox, 0);
    let listed = disk.reader().inbox(&all, None, 10).expect("a listing").rows;
    assert!(
        listed
            .iter()
            .all(|item| item.state == InboxState::Confirmed)
    );
}

#[test]
fn listings_go_on_where_they_stopped() {
    let mut disk = Disk::new();
    for _ in 0..3 {
        let (pack, _) = disk.pack(&[b"a", b"b", b"c"], NodeNo::LOCAL);
        let due = due_of(&pack);
        disk.commit(vec![
            pack,
            Change::Owed(OwedRow {
                count: 3,
                ..owed(due)
            }),
        ]);
    }
    let filter = DeliveryFilter {
        peer: Some(PEER),
        ..DeliveryFilter::default()
    };
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
    let own = reader.segments(&filter, None, 9).expect("a listing").rows;
    let places = own.iter().map(|row| (row.segment.pack, row.segment.member));
    assert!(places.is_sorted_by(|a, b| a > b), "newest first");
    let parked = DeliveryFilter {
        state: Some(StateName::Deadletter),
        ..filter
    };
    assert_eq!(
        reader.deliveries(&parked, None, 9).expect("a listing").rows,
        vec![]
    );
}

#[test]
fn staged_bytes_that_are_not_held_leave_the_ledger_as_it_was() {
    let mut disk = Disk::new();
    let (pack, _) = disk.pack(&[b"hello"], NodeNo::LOCAL);
    let mut none = |_: StagedId| None;

    let error = disk
        .ledger
        .commit(&[(Ticket(1), vec![pack])], &mut none, NOW);

    assert!(matches!(error, Err(LedgerError::Unstaged(StagedId(1)))));
    let (no, bytes) = disk.put(b"hello", State::Scheduled);
    assert_eq!(disk.bytes(no), bytes);
}
