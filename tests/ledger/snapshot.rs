//! A snapshot that somebody else holds open keeps SQLite's log from being cut.

use std::time::{Duration, Instant};

use relay_core::change::Change;
use relay_core::delivery::State;
use relay_core::id::NodeNo;
use rusqlite::{Connection, OpenFlags};

use crate::disk::{Disk, due_of, owed, size_of};

const CEILING: u64 = 24 << 20;

/// A reader of somebody else's: it sees what it saw first for as long as it lives.
struct Outsider(Connection);

impl Outsider {
    fn of(disk: &Disk) -> Self {
        let path = disk.dir.path().join("ledger.db");
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let outsider = Self(conn.expect("the database opens"));
        outsider.0.execute_batch("BEGIN").expect("a transaction");
        outsider.rows();
        outsider
    }

    fn rows(&self) -> i64 {
        let count = |row: &rusqlite::Row<'_>| row.get(0);
        let rows = self.0.query_row("SELECT count(*) FROM pack", [], count);
        rows.expect("rows can be read")
    }
}

fn small() -> Disk {
    Disk::with(|options| options.max_bytes = CEILING)
}

#[test]
fn what_another_holds_open_is_told_and_nothing_waits_long_for_it() {
    let mut disk = small();
    let bound = 2 * disk.options.log_file_bytes;
    let outsider = Outsider::of(&disk);
    assert_eq!(disk.ledger.overgrown(), None);

    let begun = Instant::now();
    let stored = grow(&mut disk, 2 * bound);

    // A wait of a second, and none again until the log is twice as long.
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let found = disk.ledger.overgrown().expect("it is told");
    assert!(found.bytes > bound && found.bound == bound, "{found:?}");
    assert_eq!(found.path, disk.dir.path().join("ledger.db-wal"));
    assert_eq!(outsider.rows(), 0, "it sees what it saw first");
    assert_eq!(
        disk.reader().depths().expect("an answer")[0].3.parcels,
        stored
    );

    // As long as it is held there is nothing to cut.
    disk.ledger.tend_log().expect("it looks");
    assert!(disk.ledger.log_is_held());
    drop(outsider);
    disk.ledger.tend_log().expect("it looks");
    assert!(!disk.ledger.log_is_held());
    assert_eq!((disk.ledger.overgrown(), log_of(&disk)), (None, 0));
}

#[test]
fn a_log_that_another_holds_is_cut_by_the_next_groups_too() {
    let mut disk = small();
    let bound = 2 * disk.options.log_file_bytes;
    let outsider = Outsider::of(&disk);
    grow(&mut disk, 2 * bound);

    drop(outsider);
    for _ in 0..3 {
        grow(&mut disk, 1);
        disk.put(b"one more", State::Scheduled);
    }

    assert_eq!(disk.ledger.overgrown(), None);
    assert!(log_of(&disk) <= bound, "{} B", log_of(&disk));
}

#[test]
fn a_log_that_another_holds_counts_under_the_ceiling_until_puts_are_refused() {
    let mut disk = small();
    let outsider = Outsider::of(&disk);

    let stored = grow(&mut disk, u64::MAX);
    let full = disk.ledger.space();

    assert!(stored > 0 && full.used >= full.ceiling / 10 * 9, "{full:?}");
    drop(outsider);
    disk.ledger.tend_log().expect("it looks");
    let after = disk.ledger.space();
    assert!(after.used < full.used / 10 * 8, "{full:?}, then {after:?}");
    let (no, bytes) = disk.put(b"there is room", State::Scheduled);
    assert_eq!(disk.bytes(no), bytes);
}

/// Puts packs of a segment each until SQLite's log is this long, or nothing finds room;
/// answers how many were stored.
fn grow(disk: &mut Disk, upto: u64) -> u64 {
    let mut stored = 0;
    while log_of(disk) < upto {
        let mut changes = Vec::new();
        for _ in 0..8 {
            let (pack, _) = disk.pack(&[b"small"], NodeNo::LOCAL);
            changes.push(Change::Owed(owed(due_of(&pack))));
            changes.push(pack);
        }
        let report = disk.commit(changes);
        let allocated = size_of(disk.dir.path());
        assert!(allocated <= CEILING, "{allocated} B allocated");
        if !report.refused.is_empty() {
            break;
        }
        stored += 8;
    }
    stored
}

fn log_of(disk: &Disk) -> u64 {
    let log = disk.dir.path().join("ledger.db-wal");
    std::fs::metadata(log).map_or(0, |file| file.len())
}

#[test]
fn a_log_that_another_holds_just_below_its_bound_is_waited_for_once() {
    let mut disk = small();
    let bound = 2 * disk.options.log_file_bytes;
    let outsider = Outsider::of(&disk);
    let mut put = 0;
    while !disk.ledger.log_is_held() {
        disk.put(b"one more", State::Scheduled);
        put += 1;
        assert!(put < 10_000, "the log is {} B", log_of(&disk));
    }
    assert!(log_of(&disk) <= bound, "{} B", log_of(&disk));

    for _ in 0..20 {
        disk.put(b"one more", State::Scheduled);
        assert!(disk.ledger.log_is_held(), "it would be waited for again");
    }
    drop(outsider);
    disk.ledger.tend_log().expect("it looks");
    assert!(!disk.ledger.log_is_held());
}
