//! Whatever pins it, a ledger stays under its ceiling, settles and forgets, and has room
//! again for as much as went.

use bytes::Bytes;
use harness::files::allocated;
use relay_core::change::{Change, Due, OwedRow, Part};
use relay_core::delivery::{Cause, State};
use relay_core::id::{LaneNo, NodeNo, PackNo};

use crate::disk::{Disk, NOW, due_of, owed};

const CEILING: u64 = 16 << 20;
/// Members of each pack, and the bytes of each.
const MEMBERS: u32 = 4;
const LENGTH: usize = 15 << 10;

/// A pack's number and bytes, and the row that pins it.
type Pinned = (PackNo, Bytes, OwedRow);

/// Commits, and looks at what the folder takes of the disk; whether nothing was refused.
fn commit(disk: &mut Disk, changes: Vec<Change>) -> bool {
    let report = disk.commit(changes);
    let taken = allocated(disk.dir.path());
    assert!(taken <= CEILING, "{taken} B allocated: {:?}", report.space);
    report.refused.is_empty()
}

/// Puts a pack that `peer` is owed in `lane`; `None` if there is no room.
fn put(disk: &mut Disk, peer: NodeNo, lane: LaneNo) -> Option<(OwedRow, Bytes)> {
    let body = [7; LENGTH];
    let (pack, bytes) = disk.pack(&[&body[..]; MEMBERS as usize], NodeNo::LOCAL);
    let due = due_of(&pack);
    let row = OwedRow {
        count: MEMBERS,
        bytes: u64::from(MEMBERS) * LENGTH as u64,
        lane,
        ..owed(Due { peer, ..due })
    };
    commit(disk, vec![pack, Change::Owed(row.clone())]).then_some((row, bytes))
}

/// All of a pack is acked but for its first member.
fn all_but_one(row: &OwedRow) -> (Vec<Change>, OwedRow) {
    let length = LENGTH as u64;
    let member = OwedRow {
        due: Due {
            part: Part::Member(0),
            ..row.due
        },
        count: 1,
        bytes: length,
        ..row.clone()
    };
    let rest = OwedRow {
        count: row.count - 1,
        bytes: row.bytes - length,
        state: State::Acked,
        ..row.clone()
    };
    (
        vec![Change::Owed(member.clone()), Change::Owed(rest)],
        member,
    )
}

fn acked(row: &OwedRow) -> Change {
    Change::Owed(OwedRow {
        state: State::Acked,
        ..row.clone()
    })
}

/// Three times the ceiling passes; of each sixteenth pack one member stays, of one peer
/// and lane after the other.
fn pin_every_file(disk: &mut Disk) -> Vec<Pinned> {
    let mut pinned = Vec::new();
    for n in 0..800 {
        let (peer, lane) = (NodeNo(1 + n / 16 % 5), LaneNo(1 + (n / 16 % 3) as u16));
        let (row, bytes) = put(disk, peer, lane).expect("there is room");
        let changes = if n % 16 == 0 {
            let (changes, member) = all_but_one(&row);
            pinned.push((row.due.pack, bytes, member));
            changes
        } else {
            vec![acked(&row)]
        };
        assert!(commit(disk, changes), "settling is never refused");
    }
    pinned
}

/// What is put is parked, until nothing finds room.
fn park_until_full(disk: &mut Disk) -> Vec<Pinned> {
    let mut parked = Vec::new();
    while let Some((row, bytes)) = put(disk, NodeNo(1), LaneNo(2)) {
        let cause = Cause::RetriesExhausted;
        let state = State::Deadletter { cause };
        let row = OwedRow { state, ..row };
        assert!(commit(disk, vec![Change::Owed(row.clone())]));
        parked.push((row.due.pack, bytes, row));
        assert!(parked.len() < 1_000, "the ceiling is never reached");
    }
    parked
}

#[test]
fn pinned_files_and_a_full_deadletter_stay_under_the_ceiling_and_make_room_when_they_go() {
    let mut disk = Disk::with(|options| {
        options.max_bytes = CEILING;
        options.log_file_bytes = 1 << 20;
    });
    let pinned = pin_every_file(&mut disk);
    let parked = park_until_full(&mut disk);
    let full = disk.ledger.space();
    assert!(full.used >= full.ceiling / 10 * 9, "{full:?}");
    assert!(
        put(&mut disk, NodeNo(1), LaneNo(2)).is_none(),
        "full is full"
    );

    // Acks and purges one by one, each a group of its own, on a ledger that is full.
    for (_, _, row) in pinned.iter().skip(1).step_by(2) {
        assert!(commit(&mut disk, vec![acked(row)]), "an ack is refused");
    }
    for (_, _, row) in parked.iter().skip(1).step_by(2) {
        assert!(
            commit(&mut disk, vec![Change::Gone(row.due)]),
            "a purge is refused"
        );
    }
    while disk.ledger.relieve(NOW).expect("it cleans") {
        assert!(allocated(disk.dir.path()) <= CEILING);
    }

    // As much fits as went, and what stays is whole.
    let room = (parked.len() / 2 * 9 / 10) as u64;
    for n in 0..room {
        assert!(
            put(&mut disk, NodeNo(2), LaneNo(1)).is_some(),
            "{n} of {room}"
        );
    }
    for round in 0..2 {
        for (no, bytes, _) in pinned.iter().step_by(2).chain(parked.iter().step_by(2)) {
            assert_eq!(disk.bytes(*no), bytes, "{no}, round {round}");
        }
        disk.reopen();
    }
}
