//! A ledger as the first release kept it, and what it must still hold later.

use std::path::Path;

use bytes::Bytes;
use relay_core::change::{Change, Due, OwedRow, Part};
use relay_core::delivery::{Attempt, Outcome, State};
use relay_core::id::{BootEpoch, LaneNo, NodeNo, PackNo, SegmentId, Sequence, StagedId, Ticket};
use relay_core::ledger::{Ledger, Options, Staged};
use relay_core::pack::{Builder, Built};
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::Unix;

/// 2023-11-14T22:13:20Z.
pub(crate) const NOW: Unix = Unix(1_700_000_000_000);
pub(crate) const PEER: NodeNo = NodeNo(1);
const LANE: LaneNo = LaneNo(2);

pub(crate) fn options() -> Options {
    let mut options = Options::new("alpha".parse().expect("a name"), 64 << 20, 7);
    options.log_file_bytes = 1 << 20;
    options
}

/// The bytes of pack `no`.
pub(crate) fn built(no: PackNo) -> Built {
    let mut pack = Builder::new();
    for member in 0..2u8 {
        let id = SegmentId::v7(NOW.0, u128::from(no.0) << 8 | u128::from(member));
        pack.push(id, b"", &[no.0 as u8, member, 3]);
    }
    pack.finish().expect("it has members")
}

/// What puts pack `no`, owed to [`PEER`]; every third one was tried and failed.
pub(crate) fn put(no: PackNo) -> Vec<Change> {
    let built = built(no);
    let info = PackInfo {
        lane: LANE,
        origin: NodeNo::LOCAL,
        via: NodeNo::LOCAL,
        hops: 0,
        // The first schema knew none.
        sequence: Sequence(0),
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
    vec![
        Change::Pack { no, staged, info },
        Change::Owed(row(no, built.count)),
    ]
}

fn row(no: PackNo, count: u32) -> OwedRow {
    let failed = no.0.is_multiple_of(3);
    OwedRow {
        due: due(no),
        lane: LANE,
        count,
        bytes: 6,
        state: match failed {
            true => State::Failed { until: NOW },
            false => State::Scheduled,
        },
        spent: u32::from(failed),
        attempt: failed.then_some(Attempt {
            number: 1,
            epoch: BootEpoch(1),
            started: NOW,
            ended: Some((NOW, Outcome::Failed)),
        }),
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
        error: failed.then(|| "it was busy".into()),
    }
}

pub(crate) fn due(pack: PackNo) -> Due {
    Due {
        peer: PEER,
        pack,
        part: Part::Rest,
    }
}

pub(crate) fn commit(ledger: &mut Ledger, packs: impl Iterator<Item = u64>) {
    let items: Vec<(Ticket, Vec<Change>)> = packs.map(|no| (Ticket(no), put(PackNo(no)))).collect();
    let mut staged = |id: StagedId| Some(Staged::Memory(Bytes::clone(&built(PackNo(id.0)).bytes)));
    let report = ledger.commit(&items, &mut staged, NOW).expect("it commits");
    assert_eq!(report.refused, vec![]);
}

/// Makes a ledger of the first schema with `packs` packs and `attempts` rows of history.
pub(crate) fn first_release(dir: &Path, packs: u64, attempts: u64) {
    let (mut ledger, _) = Ledger::open(dir, options(), NOW).expect("it opens");
    let names = vec![
        Change::Node(PEER, "beta".parse().expect("a name")),
        Change::Lane(LANE, "default".parse().expect("a name")),
    ];
    ledger
        .commit(&[(Ticket(0), names)], &mut |_| None, NOW)
        .expect("it commits");
    commit(&mut ledger, 1..=packs);
    drop(ledger);
    harness::earlier::backdate(dir, attempts);
}

/// Holds the ledger to what [`first_release`] put: every pack, as it was left.
pub(crate) fn holds(ledger: &Ledger, packs: u64, what: &str) {
    let mut reader = ledger.reader().expect("a reader");
    for no in (1..=packs).map(PackNo) {
        let paged = reader.fetch(due(no)).expect("an answer");
        let found = paged
            .unwrap_or_else(|| panic!("{what}: pack {no} is gone"))
            .row;
        assert_eq!(found, row(no, 2), "{what}");
        let loaded = reader
            .load(no)
            .unwrap_or_else(|error| panic!("{what}: {no}: {error}"));
        let relay_core::ledger::Loaded::Memory { bytes, .. } = loaded else {
            panic!("{what}: {no} is a file");
        };
        assert!(bytes == built(no).bytes, "{what}: {no}");
    }
    assert_eq!(reader.damaged(), 0, "{what}");
    let quarantined = &ledger.care().quarantined;
    assert_eq!(*quarantined, vec![], "{what}");
}
