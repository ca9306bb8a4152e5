//! What expired keeps its record and, after a while, not its bytes.

use std::time::Duration;

use relay_core::change::{Change, Due, OwedRow};
use relay_core::delivery::{Cause, State};
use relay_core::id::{NodeNo, PackNo};
use relay_core::ledger::{DeliveryFilter, ReadError};
use relay_core::time::Unix;

use crate::disk::{DAY, Disk, NOW, PEER, STRANGER, due, due_of, owed, size_of};

const HOUR: Duration = Duration::from_secs(3_600);

fn parked(row: OwedRow, cause: Cause) -> OwedRow {
    OwedRow {
        state: State::Deadletter { cause },
        ..row
    }
}

fn later(time: Duration) -> Unix {
    NOW + time
}

#[test]
fn what_expired_says_after_its_time_that_its_bytes_are_given_up() {
    let mut disk = Disk::with(|options| options.keep_expired = HOUR);
    let (pack, bytes) = disk.pack(&[b"one", b"two"], NodeNo::LOCAL);
    let first = due_of(&pack);
    let second = Due {
        peer: STRANGER,
        ..first
    };
    let expired = parked(owed(first), Cause::Expired);
    let acked = OwedRow {
        state: State::Acked,
        ..owed(second)
    };
    let rows = [expired, acked].map(|row| Change::Owed(OwedRow { count: 2, ..row }));
    disk.commit([vec![pack], rows.to_vec()].concat());

    let early = disk.ledger.sweep(later(HOUR / 2)).expect("it sweeps");
    assert_eq!(early.given_up, 0);
    assert_eq!(disk.bytes(first.pack), bytes);
    let swept = disk.ledger.sweep(later(HOUR)).expect("it sweeps");
    let again = disk.ledger.sweep(later(DAY / 2)).expect("it sweeps");

    assert_eq!((swept.given_up, again.given_up), (1, 0));
    for _ in 0..2 {
        assert!(disk.fetch(first).expect("its record").evicted);
        assert!(!disk.fetch(second).expect("its record").evicted);
        assert!(matches!(disk.load(first.pack), Err(ReadError::Missing)));
        let filter = DeliveryFilter {
            peer: Some(PEER),
            ..DeliveryFilter::default()
        };
        let listed = disk.reader().deliveries(&filter, None, 9);
        assert_eq!(
            listed.expect("a listing").rows.len(),
            2,
            "its ids are known"
        );
        disk.reopen();
    }
    disk.commit(vec![Change::Gone(first)]);
    let swept = disk.ledger.sweep(later(2 * DAY)).expect("it sweeps");
    assert_eq!((swept.packs, disk.fetch(second)), (1, None));
    disk.reopen();
}

#[test]
fn bytes_that_anything_else_is_owed_of_stay() {
    let mut disk = Disk::with(|options| options.keep_expired = HOUR);
    let mut kept = Vec::new();
    let others = [
        owed(due(PackNo(0))),
        parked(owed(due(PackNo(0))), Cause::Rejected),
    ];
    for other in others {
        let (pack, bytes) = disk.pack(&[b"body"], NodeNo::LOCAL);
        let due = due_of(&pack);
        let other = OwedRow {
            due: Due {
                peer: STRANGER,
                ..due
            },
            ..other
        };
        let expired = parked(owed(due), Cause::Expired);
        disk.commit(vec![pack, Change::Owed(expired), Change::Owed(other)]);
        kept.push((due, bytes));
    }

    let swept = disk.ledger.sweep(later(2 * HOUR)).expect("it sweeps");

    assert_eq!(swept.given_up, 0);
    for (due, bytes) in kept {
        assert_eq!(disk.bytes(due.pack), bytes);
        assert!(!disk.fetch(due).expect("its record").evicted);
    }
}

#[test]
fn a_log_file_full_of_what_expired_is_used_again() {
    let mut disk = Disk::with(|options| {
        (options.max_bytes, options.log_file_bytes) = (8 << 20, 512 << 10);
        options.keep_expired = HOUR;
    });
    let body = vec![7u8; 15 << 10];
    let put = |disk: &mut Disk| {
        let (pack, _) = disk.pack(&[&body, &body, &body, &body], NodeNo::LOCAL);
        let row = parked(owed(due_of(&pack)), Cause::Expired);
        let due = row.due;
        let report = disk.commit(vec![pack, Change::Owed(row)]);
        report.refused.is_empty().then_some(due)
    };
    let mut expired = Vec::new();
    while let Some(due) = put(&mut disk) {
        expired.push(due);
    }

    while disk.ledger.sweep(later(HOUR)).expect("it sweeps").more {}

    let more = (0..expired.len()).filter_map(|_| put(&mut disk)).count();
    assert!(more * 2 > expired.len(), "{more} of {}", expired.len());
    assert!(size_of(disk.dir.path()) <= 8 << 20);
    let told = |due| disk.fetch(due).is_some_and(|row| row.evicted);
    assert!(expired.iter().all(|due| told(*due)), "each record is kept");
}

#[test]
fn the_file_of_a_large_segment_that_expired_is_removed() {
    let mut disk = Disk::with(|options| options.keep_expired = HOUR);
    let body = vec![9u8; 100_000];
    let file = disk.dir.path().join("payload").join("large.seg");
    std::fs::write(&file, &body).expect("it is written");
    let (pack, _) = disk.large(&body, "large.seg");
    let row = parked(owed(due_of(&pack)), Cause::Expired);
    let row = OwedRow {
        bytes: body.len() as u64,
        ..row
    };
    let due = row.due;
    disk.commit(vec![pack, Change::Owed(row)]);
    let before = disk.ledger.space().used;

    disk.ledger.sweep(later(HOUR)).expect("it sweeps");

    assert!(!file.exists());
    assert!(disk.ledger.space().used + 100_000 <= before + 4_096);
    assert!(disk.fetch(due).expect("its record").evicted);
    disk.reopen();
    disk.commit(vec![Change::Gone(due)]);
    let swept = disk.ledger.sweep(later(2 * DAY)).expect("it sweeps");
    assert_eq!((swept.packs, disk.fetch(due)), (1, None));
}
