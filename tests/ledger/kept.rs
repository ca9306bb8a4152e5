//! What is settled is kept for a while, by time and by number, and then gives its room back.

use std::time::Duration;

use relay_core::change::{Change, OwedRow};
use relay_core::delivery::State;
use relay_core::id::NodeNo;

use crate::disk::{DAY, Disk, NOW, due_of, key, owed};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn what_was_confirmed_goes_after_its_own_time_and_what_was_sent_after_its_own() {
    let mut disk = Disk::with(|options| {
        options.keep_confirmed = HOUR;
        options.keep_acked = 3 * HOUR;
    });
    let ids = disk.arrive(&[b"one"]);
    disk.ledger.confirm(&ids, NOW).expect("it is here");
    let (pack, _) = disk.pack(&[b"two"], NodeNo::LOCAL);
    let sent = due_of(&pack);
    let acked = OwedRow {
        state: State::Acked,
        ..owed(sent)
    };
    disk.commit(vec![pack, Change::Owed(acked)]);

    let went = [HOUR / 2, HOUR, 2 * HOUR, 3 * HOUR].map(|time| {
        let swept = disk.ledger.sweep(NOW + time).expect("it sweeps");
        swept.packs
    });

    assert_eq!(went, [0, 1, 0, 1]);
}

#[test]
fn of_too_many_keys_the_oldest_go() {
    let mut disk = Disk::with(|options| options.keep_keys_rows = 3);
    let names = ["a", "b", "c", "d", "e"];
    let keys = (1..).zip(names).map(|(n, name)| {
        let mut row = key(name, n);
        row.at = NOW + Duration::from_secs(n as u64);
        row
    });
    let keys: Vec<_> = keys.collect();
    disk.commit(keys.iter().cloned().map(Change::Key).collect());

    let swept = disk.ledger.sweep(NOW + HOUR).expect("it sweeps");

    let mut reader = disk.reader();
    let known = keys.iter().map(|row| reader.find_key(&row.name));
    let known: Vec<bool> = known.map(|row| row.expect("an answer").is_some()).collect();
    assert_eq!(
        (swept.keys, known),
        (2, vec![false, false, true, true, true])
    );
}

#[test]
fn rows_that_went_give_their_pages_back_to_the_file_system() {
    let mut disk = Disk::with(|options| options.keep_known = Duration::ZERO);
    for _ in 0..200 {
        let packs = (0..100).map(|_| disk.pack(&[b"one"], NodeNo::LOCAL).0);
        let packs: Vec<Change> = packs.collect();
        let rows = packs.iter().map(|pack| {
            let state = State::Acked;
            let row = owed(due_of(pack));
            Change::Owed(OwedRow { state, ..row })
        });
        let rows: Vec<Change> = rows.collect();
        disk.commit([packs, rows].concat());
    }
    disk.reopen();
    let file = disk.dir.path().join("ledger.db");
    let length = || std::fs::metadata(&file).expect("it is there").len();
    let before = length();

    let mut given_back = 0;
    for _ in 0..1_000 {
        let swept = disk.ledger.sweep(NOW + DAY + DAY).expect("it sweeps");
        given_back += swept.pages;
        if !swept.more {
            break;
        }
    }
    disk.close();

    let after = length();
    assert!(given_back > 0, "no page is given back");
    assert!(after < before / 2, "{after} B of {before} B are left");
}
