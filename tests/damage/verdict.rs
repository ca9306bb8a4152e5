//! What a damaged folder is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use relay_core::change::{Book, Change, Due, KeyName, OwedRow, Part, Snapshot};
use relay_core::delivery::{State, StateName};
use relay_core::id::{LaneNo, NodeNo, PackNo, ReceiptNo, SegmentId, Sequence, StagedId, Ticket};
use relay_core::ledger::{Care, Ledger, LedgerResult, Loaded, Reader, Staged};
use relay_core::pack::{Builder, Built, Table};
use relay_core::segment::{Digest, PackInfo};

use super::state::{NOW, Truth, open, open_in_part};

/// What one damaged folder came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Deliveries whose rows are gone, all counted.
    pub(crate) lost: u64,
    /// Packs whose bytes read as damaged or missing.
    pub(crate) unreadable: u64,
    pub(crate) mended: u64,
    pub(crate) reindexed: u64,
    pub(crate) quarantined: u64,
    pub(crate) salvaged: u64,
    pub(crate) clean: u64,
}

/// Opens the folder in `dir`, reads everything out of it, and writes a little more.
pub(crate) fn judge(dir: &Path, truth: &Truth) -> Seen {
    let (mut ledger, snapshot) = open(dir, 1_234).unwrap_or_else(|error| panic!("start: {error}"));
    let care = ledger.care().clone();
    let mut seen = Seen {
        mended: u64::from(care.mended > 0),
        reindexed: u64::from(care.reindexed),
        quarantined: u64::from(!care.quarantined.is_empty()),
        salvaged: u64::from(care.salvaged.is_some()),
        clean: u64::from(care.is_clean()),
        ..Seen::default()
    };
    let mut reader = ledger.reader().expect("a reader");
    seen.unreadable = bytes_are_right(&mut reader, truth);
    seen.lost = rows_are_right(&mut reader, truth, &ledger, &care);
    assert_eq!(reader.damaged(), 0, "what is bad was taken out at start");
    the_rest_is_right(&mut reader, truth, &snapshot, &care);
    books_add_up(&ledger, truth, &care);
    drop(reader);
    for _ in 0..3 {
        goes_on(&mut ledger, &snapshot);
    }
    drop(ledger);
    let (again, _) = open(dir, 99).expect("it opens again");
    assert!(again.care().is_clean(), "again: {:?}", again.care());
    books_add_up(&again, truth, &care);
    seen
}

/// The same, of a database too long to be looked at whole: it starts, gives out nothing
/// wrong, goes on or stops at the damage, and the start after that is as any.
pub(crate) fn judge_in_part(dir: &Path, truth: &Truth) -> Seen {
    let (mut ledger, snapshot) =
        open_in_part(dir, 1_234).unwrap_or_else(|error| panic!("start: {error}"));
    let mut cares = vec![ledger.care().clone()];
    let mut reader = ledger.reader().expect("a reader");
    let mut seen = Seen {
        unreadable: bytes_are_right(&mut reader, truth),
        salvaged: u64::from(cares[0].salvaged.is_some()),
        ..Seen::default()
    };
    drop(reader);
    let is_met = commit_more(&mut ledger, &snapshot).is_err();
    drop(ledger);
    // Damage is met: the next start looks at all of it. None is: an operator's does.
    let again = if is_met { open_in_part } else { open };
    let (ledger, _) = again(dir, 99).unwrap_or_else(|error| panic!("again: {error}"));
    let care = ledger.care().clone();
    seen.clean = u64::from(care.is_clean());
    seen.lost = care.segments();
    assert!(!is_met || !care.is_clean(), "damage was met and not found");
    let mut reader = ledger.reader().expect("a reader");
    bytes_are_right(&mut reader, truth);
    let gone = truth.owed.iter().any(|(due, wanted)| {
        wanted.state != State::Acked && reader.fetch(*due).expect("an answer").is_none()
    });
    assert_eq!(reader.damaged(), 0, "what is bad was taken out");
    cares.push(care);
    let is_said = cares
        .iter()
        .any(|care| !care.is_clean() || care.unnamed > 0);
    assert!(!gone || is_said, "deliveries are gone without a word");
    let sums = Care {
        salvaged: Some(Default::default()),
        ..cares[1].clone()
    };
    books_add_up(&ledger, truth, &sums);
    seen
}

/// The same, where whole files are gone or another's: it starts, gives out nothing
/// wrong, its books add up, and what is gone is said unless nothing is.
pub(crate) fn judge_roughly(dir: &Path, truth: &Truth) -> Care {
    let (mut ledger, snapshot) = open(dir, 1_234).unwrap_or_else(|error| panic!("start: {error}"));
    let care = ledger.care().clone();
    let mut reader = ledger.reader().expect("a reader");
    bytes_are_right(&mut reader, truth);
    let gone = truth.owed.iter().any(|(due, wanted)| {
        wanted.state != State::Acked && reader.fetch(*due).expect("an answer").is_none()
    });
    let is_said = !care.is_clean() || care.unnamed > 0;
    assert!(!gone || is_said, "deliveries are gone without a word");
    assert_eq!(reader.damaged(), 0, "what is bad was taken out at start");
    drop(reader);
    for _ in 0..3 {
        goes_on(&mut ledger, &snapshot);
    }
    let sums = care.clone();
    books_add_up(
        &ledger,
        truth,
        &Care {
            salvaged: Some(Default::default()),
            ..sums
        },
    );
    drop(ledger);
    let (again, _) = open(dir, 99).expect("it opens again");
    assert!(again.care().is_clean(), "again: {:?}", again.care());
    care
}

/// No byte of a pack is ever other than it was put; answers how many packs say that
/// they cannot be read.
fn bytes_are_right(reader: &mut Reader, truth: &Truth) -> u64 {
    let mut unreadable = 0;
    for (no, wanted) in &truth.packs {
        let found = match reader.load(*no) {
            Ok(Loaded::Memory { bytes, .. }) => Ok(bytes),
            Ok(Loaded::File { table, path, .. }) => std::fs::read(path)
                .map(|body| Bytes::from([&table[..], &body[..]].concat()))
                .map_err(|_| ()),
            Err(_) => Err(()),
        };
        let table = reader.table(*no);
        match found {
            Ok(bytes) if bytes == *wanted => {}
            // Whoever sends or hands out a file hashes it: the table it is held to
            // must be the right one.
            Ok(bytes) => {
                let table = table.expect("its table");
                assert_eq!(&wanted[..56], &bytes[..56], "pack {no}: another table");
                let bad = table.verify(&bytes[table_len(&table)..]);
                assert_ne!(bad, Ok(vec![]), "other bytes under the right digest");
                unreadable += 1;
            }
            Err(()) => unreadable += 1,
        }
    }
    unreadable
}

fn table_len(table: &Table) -> usize {
    56 * table.members().len()
}

/// Every delivery is in its state, or counted as lost; none stands elsewhere.
fn rows_are_right(reader: &mut Reader, truth: &Truth, ledger: &Ledger, care: &Care) -> u64 {
    let mut lost: BTreeMap<(NodeNo, LaneNo), u64> = BTreeMap::new();
    let paged = waiting(reader, truth);
    for (due, wanted) in &truth.owed {
        let found = reader.fetch(*due).expect("an answer");
        match found {
            Some(found) => {
                assert!(
                    same(&found.row, wanted) || care.salvaged.is_some(),
                    "{due:?}: {:?}, was {:?}",
                    found.row.state,
                    wanted.state
                );
                let waits = matches!(
                    found.row.state.name(),
                    StateName::Scheduled | StateName::Failed
                );
                assert_eq!(paged.contains(due), waits, "{due:?} in a page");
            }
            None if wanted.state == State::Acked => {}
            None => {
                *lost.entry((due.peer, wanted.lane)).or_default() += u64::from(wanted.count);
            }
        }
    }
    let strangers: Vec<&Due> = paged
        .iter()
        .filter(|due| !truth.owed.contains_key(due))
        .collect();
    assert_eq!(strangers, Vec::<&Due>::new(), "nobody put these");
    let mut counted: BTreeMap<(NodeNo, LaneNo), u64> = BTreeMap::new();
    for (peer, lane, book, value) in ledger.books() {
        if book == Book::Quarantined && value != 0 {
            counted.insert((peer, lane), value as u64);
        }
    }
    for (stream, lost) in &lost {
        let counted = counted.get(stream).copied().unwrap_or(0);
        assert!(
            counted >= *lost,
            "{stream:?}: {lost} lost, {counted} counted"
        );
    }
    let all: u64 = lost.values().sum();
    if care.salvaged.is_none() {
        let counted: u64 = counted.values().sum();
        assert_eq!(counted, all, "what is counted is lost");
    }
    assert_eq!(
        care.segments(),
        counted.values().sum::<u64>(),
        "all of it is named"
    );
    all
}

/// The same delivery, after a restart.
fn same(found: &OwedRow, wanted: &OwedRow) -> bool {
    let state = match wanted.state {
        State::Inflight => State::Scheduled,
        State::Scheduled | State::Failed { .. } | State::Acked | State::Deadletter { .. } => {
            wanted.state
        }
    };
    (found.state, found.count, found.bytes, found.lane)
        == (state, wanted.count, wanted.bytes, wanted.lane)
}

/// What pages of work and the inbox's walk show.
fn waiting(reader: &mut Reader, truth: &Truth) -> BTreeSet<Due> {
    let mut all = BTreeSet::new();
    for (peer, lane) in truth.put.keys() {
        let page = reader.page(*peer, *lane, None, 10_000).expect("a page");
        for paged in page {
            let members = paged.info.count as usize - paged.except.len();
            if paged.row.due.part == Part::Rest {
                assert_eq!(paged.row.count as usize, members, "{:?}", paged.row.due);
            }
            assert!(all.insert(paged.row.due), "{:?} twice", paged.row.due);
        }
    }
    all
}

/// Names, receipts, keys, settings, meters: all as they were, or said to be gone.
fn the_rest_is_right(reader: &mut Reader, truth: &Truth, snapshot: &Snapshot, care: &Care) {
    let before = truth.snapshot.as_ref().expect("how it was");
    if care.salvaged.as_ref().is_none_or(|done| done.rows > 0) {
        assert_eq!(snapshot.nodes, before.nodes, "names of nodes");
        assert_eq!(snapshot.lanes, before.lanes, "names of lanes");
    }
    let said = |table: &str| {
        care.salvaged.is_some() || care.quarantined.iter().any(|entry| entry.what == table)
    };
    let receipts = reader
        .recall(NodeNo(3), ReceiptNo(0), 10_000)
        .expect("receipts");
    assert!(receipts.len() as u64 == truth.receipts || said("receipt"));
    for (key, id) in &truth.keys {
        let name = KeyName {
            uid: 1000,
            key: key.clone(),
        };
        match reader.find_key(&name).expect("an answer") {
            Some(found) => assert_eq!(found.id, *id),
            None => assert!(said("put_key"), "{key} is gone"),
        }
    }
    assert!(snapshot.settings == before.settings || said("setting"));
    assert!(snapshot.meters == before.meters || said("meter"));
    assert!(snapshot.spooled == before.spooled || said("spooled"));
    let partials = || snapshot.partials == before.partials;
    assert!(partials() || said("partial") || snapshot.partials.len() + 1 >= before.partials.len());
    for heard in &before.heard {
        let now = snapshot
            .heard
            .iter()
            .find(|now| (now.0, now.1) == (heard.0, heard.1));
        let kept = now.is_some_and(|now| now.2 >= heard.2);
        assert!(kept || care.salvaged.is_some(), "{heard:?} is forgotten");
    }
    if care.salvaged.is_some() {
        assert_ne!(snapshot.ledger, before.ledger, "a new ledger");
        assert!(snapshot.last_pack.0 > before.last_pack.0, "new numbers");
        assert!(
            snapshot.last_receipt.0 > before.last_receipt.0,
            "new numbers"
        );
    } else {
        assert_eq!(snapshot.ledger, before.ledger);
        assert!(snapshot.last_pack >= before.last_pack, "no number twice");
    }
    assert!(snapshot.epoch > before.epoch, "an epoch of its own");
}

/// put = acked + deadletter + waiting + not_needed + purged + quarantined.
fn books_add_up(ledger: &Ledger, truth: &Truth, care: &Care) {
    let mut sums: BTreeMap<(NodeNo, LaneNo), (i64, i64)> = BTreeMap::new();
    for (peer, lane, book, value) in ledger.books() {
        let sum = sums.entry((peer, lane)).or_default();
        match book {
            Book::Put => sum.0 = value,
            Book::Acked | Book::Deadletter | Book::NotNeeded | Book::Purged | Book::Quarantined => {
                sum.1 += value;
                assert!(value >= 0, "{book:?} of {peer} {lane}: {value}");
            }
        }
    }
    for (peer, lane, state, depth) in ledger.depths() {
        let waits = matches!(
            state,
            StateName::Scheduled | StateName::Inflight | StateName::Failed
        );
        let sum = sums.entry((peer, lane)).or_default();
        sum.1 += if waits { depth.count as i64 } else { 0 };
    }
    for (stream, (put, rest)) in &sums {
        assert_eq!(put, rest, "the books of {stream:?}");
        let wanted = truth.put.get(stream).copied().unwrap_or(0);
        let more = stream.0 == NodeNo(1);
        assert!(
            more || *put as u64 == wanted || care.salvaged.is_some(),
            "{stream:?}: put {put}, was {wanted}"
        );
    }
}

/// A fresh put is taken and read back.
fn goes_on(ledger: &mut Ledger, snapshot: &Snapshot) {
    let (no, built) = commit_more(ledger, snapshot).expect("a commit");
    let mut reader = ledger.reader().expect("a reader");
    let Ok(Loaded::Memory { bytes, .. }) = reader.load(no) else {
        panic!("pack {no} was just put");
    };
    assert_eq!(bytes, built.bytes);
}

fn commit_more(ledger: &mut Ledger, snapshot: &Snapshot) -> LedgerResult<(PackNo, Built)> {
    let no = PackNo(ledger.books().len() as u64 + snapshot.last_pack.0 + fresh());
    let mut pack = Builder::new();
    pack.push(SegmentId::v7(NOW.0, u128::from(no.0) << 24), b"", b"more");
    let built = pack.finish().expect("a member");
    let info = PackInfo {
        lane: LaneNo(0),
        origin: NodeNo::LOCAL,
        via: NodeNo::LOCAL,
        hops: 0,
        sequence: Sequence::of(no),
        count: 1,
        bytes: 4,
        table_len: built.table_len,
        table: Digest::of(&built.bytes[..built.table_len as usize]),
        first: built.first,
        last: built.last,
        created: NOW,
        expires: None,
    };
    let due = Due {
        peer: NodeNo(1),
        pack: no,
        part: Part::Rest,
    };
    let changes = vec![
        Change::Pack {
            no,
            staged: StagedId(1),
            info: info.clone(),
        },
        Change::Owed(OwedRow::new(due, &info, NOW)),
        Change::Book {
            peer: NodeNo(1),
            lane: LaneNo(0),
            entry: Book::Put,
            by: 1,
        },
    ];
    let staged = Staged::Memory(built.bytes.clone());
    let mut staged = BTreeMap::from([(StagedId(1), staged)]);
    let group = [(Ticket(1), changes)];
    let report = ledger.commit(&group, &mut |id| staged.remove(&id), NOW)?;
    assert_eq!(report.refused, vec![], "there is room");
    Ok((no, built))
}

/// Numbers that rise over the whole test.
fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(100);
    NEXT.fetch_add(100, Ordering::Relaxed)
}
