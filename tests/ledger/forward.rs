//! What pins nearly empty files is copied forward, and the node digs itself out.

use bytes::Bytes;
use relay_core::change::{Change, Due, OwedRow};
use relay_core::delivery::{Cause, State, StateName};
use relay_core::id::{NodeNo, PackNo};

use crate::disk::{Disk, NOW, due_of, find, owed, patch, size_of};

const CEILING: u64 = 16 << 20;

fn small() -> Disk {
    Disk::with(|options| {
        options.max_bytes = CEILING;
        options.log_file_bytes = 1 << 20;
    })
}

fn acked(due: Due) -> Change {
    Change::Owed(OwedRow {
        state: State::Acked,
        ..owed(due)
    })
}

fn parked(due: Due) -> Change {
    let cause = Cause::RetriesExhausted;
    Change::Owed(OwedRow {
        state: State::Deadletter { cause },
        ..owed(due)
    })
}

/// Puts packs of 60 KiB, settling each with the next but for every `keep`-th, which
/// `keep_as` keeps. Answers what is kept.
fn churn(
    disk: &mut Disk,
    packs: u64,
    keep: u64,
    keep_as: fn(Due) -> Change,
) -> Vec<(PackNo, Bytes)> {
    let body = vec![7u8; 15 << 10];
    let (mut kept, mut settled) = (Vec::new(), Vec::new());
    for n in 0..packs {
        let (pack, bytes) = disk.pack(&[&body, &body, &body, &body], NodeNo(3));
        let due = due_of(&pack);
        let mut changes: Vec<Change> = std::mem::take(&mut settled);
        changes.push(pack);
        changes.push(Change::Owed(owed(due)));
        if n % keep == 0 {
            settled.push(keep_as(due));
            kept.push((due.pack, bytes));
        } else {
            settled.push(acked(due));
        }
        let report = disk.commit(changes);
        assert_eq!(report.refused, vec![], "group {n}: {:?}", report.space);
        let allocated = size_of(disk.dir.path());
        assert!(allocated <= CEILING, "group {n}: {allocated} B allocated");
    }
    kept
}

#[test]
fn one_pinned_pack_in_every_file_does_not_fill_the_node() {
    let mut disk = small();

    // 75 MiB pass through 16; one pack of 16 stays, first as waiting, then as parked.
    let mut kept = churn(&mut disk, 600, 16, |due| Change::Owed(owed(due)));
    kept.extend(churn(&mut disk, 600, 16, parked));

    assert_eq!(kept.len(), 76);
    for round in 0..2 {
        for (no, bytes) in &kept {
            assert_eq!(disk.bytes(*no), bytes, "{no}, round {round}");
        }
        disk.reopen();
    }
}

#[test]
fn a_full_node_cleans_itself_without_being_asked_for_room() {
    let mut disk = small();
    let body = vec![7u8; 15 << 10];
    let mut all = Vec::new();
    loop {
        let (pack, bytes) = disk.pack(&[&body, &body, &body, &body], NodeNo::LOCAL);
        let due = due_of(&pack);
        if !disk
            .commit(vec![pack, Change::Owed(owed(due))])
            .refused
            .is_empty()
        {
            break;
        }
        all.push((due, bytes));
    }
    let full = disk.ledger.space();
    assert!(full.used >= full.ceiling / 10 * 9, "{full:?}");

    // Two of three go, spread over all files: none of them is free by that.
    let gone = all.iter().enumerate().filter(|(n, _)| n % 3 > 0);
    disk.commit(gone.map(|(_, (due, _))| acked(*due)).collect());
    let before = disk.ledger.space();
    let mut calls = 0;
    while disk.ledger.relieve(NOW).expect("it cleans") {
        calls += 1;
        assert!(calls < 1_000, "it never ends");
        assert!(size_of(disk.dir.path()) <= CEILING);
    }

    let after = disk.ledger.space();
    assert!(before.used >= before.ceiling / 8 * 6, "{before:?}");
    assert!(after.used < after.ceiling / 8 * 6, "{after:?}");
    for (due, bytes) in all.iter().step_by(3) {
        assert_eq!(disk.bytes(due.pack), bytes);
    }
    assert!(
        !disk.ledger.relieve(NOW).expect("an answer"),
        "with room it rests"
    );
}

#[test]
fn a_pinned_pack_that_cannot_be_read_keeps_its_file_and_no_other() {
    let mut disk = small();
    let (no, _) = disk.put(b"about to rot", State::Scheduled);
    let log = disk.dir.path().join("log/0001.log");
    patch(&log, find(&log, b"about to rot"), b"A");

    let kept = churn(&mut disk, 600, 16, parked);

    for (no, bytes) in &kept {
        assert_eq!(disk.bytes(*no), bytes, "{no}");
    }
    assert!(disk.load(no).is_err(), "damage stays damage");
    assert!(
        disk.fetch(crate::disk::due(no)).is_some(),
        "and its record stays"
    );
}

#[test]
fn a_pack_is_copied_again_and_again_and_goes_when_it_is_settled() {
    let mut disk = small();
    let (no, bytes) = disk.put(b"owed all along", State::Scheduled);

    for round in 0..4 {
        churn(&mut disk, 300, 50, parked).clear();
        assert_eq!(disk.bytes(no), bytes, "round {round}");
        disk.reopen();
    }

    disk.commit(vec![acked(crate::disk::due(no))]);
    churn(&mut disk, 400, 500, acked);
    assert!(disk.load(no).is_err(), "its place was used again");
}

#[test]
fn a_row_that_is_damaged_pins_no_file_after_the_next_start() {
    let mut disk = small();
    let (pack, _) = disk.pack(&[b"its row will rot"], NodeNo::LOCAL);
    let Change::Pack { info, .. } = &pack else {
        unreachable!("it is a pack")
    };
    let (due, digest) = (due_of(&pack), info.table.0);
    disk.commit(vec![pack, Change::Owed(owed(due))]);
    disk.close();
    let database = disk.dir.path().join("ledger.db");
    patch(&database, find(&database, &digest), &[digest[0] ^ 1]);
    disk.reopen();
    disk.next = 2;

    churn(&mut disk, 600, 16, parked);

    let waiting = disk.ledger.depths().into_iter();
    let waiting = waiting.filter(|(_, _, state, _)| *state == StateName::Scheduled);
    let parcels: u64 = waiting.map(|(_, _, _, depth)| depth.parcels).sum();
    assert_eq!(
        parcels, 1,
        "the last one put: the damaged one is in quarantine"
    );
    assert!(!disk.ledger.care().quarantined.is_empty());
}

/// Puts packs of `length` until none finds room; answers them.
fn fill(disk: &mut Disk, length: usize, percent: u64) -> Vec<(Due, Bytes)> {
    let body = vec![7u8; length];
    let mut all = Vec::new();
    loop {
        let (pack, bytes) = disk.pack(&[&body], NodeNo::LOCAL);
        let due = due_of(&pack);
        let report = disk.commit(vec![pack, Change::Owed(owed(due))]);
        if !report.refused.is_empty() {
            return all;
        }
        all.push((due, bytes));
        assert!(all.len() < 2_000, "the ceiling is never reached");
        if report.space.used >= report.space.ceiling / 100 * percent {
            return all;
        }
    }
}

/// Calls of `relieve` until it has nothing to do.
fn relieve(disk: &mut Disk) -> u64 {
    let mut calls = 0;
    while disk.ledger.relieve(NOW).expect("it cleans") {
        calls += 1;
        assert!(calls < 1_000, "it never ends");
    }
    calls
}

#[test]
fn what_cannot_be_packed_tighter_is_refused_and_not_copied_round_and_round() {
    let mut disk = small();

    // Two of these lie in a file, and a third never fits.
    let all = fill(&mut disk, 360 << 10, 1_000);
    relieve(&mut disk);

    assert!(all.len() > 8, "only {} found room", all.len());
    for (due, bytes) in &all {
        assert_eq!(disk.bytes(due.pack), bytes);
    }
    // Half of them settled: cleaning is worth it again.
    let gone = all.iter().step_by(2);
    disk.commit(gone.map(|(due, _)| acked(*due)).collect());
    relieve(&mut disk);
    let space = disk.ledger.space();
    assert!(space.used < space.ceiling / 8 * 6, "{space:?}");
}

#[test]
fn a_node_that_never_was_full_makes_a_file_to_clean_into() {
    let mut disk = small();
    let all = fill(&mut disk, 60 << 10, 90);

    let gone = all.iter().step_by(2);
    disk.commit(gone.map(|(due, _)| acked(*due)).collect());
    relieve(&mut disk);

    let space = disk.ledger.space();
    assert!(space.used < space.ceiling / 8 * 6, "{space:?}");
    assert!(size_of(disk.dir.path()) <= CEILING);
}

#[test]
fn a_file_with_few_packs_is_cleaned_once_most_of_them_are_settled() {
    let mut disk = small();
    // Five in a file.
    let all = fill(&mut disk, 190 << 10, 1_000);
    relieve(&mut disk);

    let gone = all.iter().enumerate().filter(|(n, _)| n % 5 > 0);
    disk.commit(gone.map(|(_, (due, _))| acked(*due)).collect());
    relieve(&mut disk);

    let space = disk.ledger.space();
    assert!(space.used < space.ceiling / 8 * 6, "{space:?}");
    for (due, bytes) in all.iter().step_by(5) {
        assert_eq!(disk.bytes(due.pack), bytes);
    }
}
