//! A small state folder with some of everything in it, and what was put there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use harness::seeds::Dice;
use relay_core::audit::{AuditEvent, AuditRecord};
use relay_core::change::{
    Book, Change, Due, KeyName, KeyRow, OwedRow, Part, ReceiptRow, Sent, Snapshot,
};
use relay_core::delivery::{Attempt, Cause, Outcome, State};
use relay_core::id::{
    BootEpoch, LaneNo, LedgerId, NodeNo, PackNo, PartialNo, ReceiptNo, SegmentId, Sequence,
    StagedId, Ticket,
};
use relay_core::ledger::{Ledger, LedgerResult, Options, Staged};
use relay_core::meter::{Meter, Metered};
use relay_core::pack::{Builder, single_table};
use relay_core::partial::PartialRow;
use relay_core::segment::{Digest, PackInfo};
use relay_core::setting::{Setting, Value};
use relay_core::spool::{FileMark, Spooled, SpooledRow};
use relay_core::time::Unix;
use tempfile::TempDir;

pub(crate) const NOW: Unix = Unix(1_700_000_000_000);
/// Whom this node sends to.
const PEERS: [NodeNo; 2] = [NodeNo(1), NodeNo(2)];
/// Who sends to this node.
const SENDER: NodeNo = NodeNo(3);
const LANES: [LaneNo; 2] = [LaneNo(0), LaneNo(1)];
const LOG_FILE: u64 = 64 << 10;

/// What was put, and where each of it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Table and bodies of each pack.
    pub(crate) packs: BTreeMap<PackNo, Bytes>,
    /// What is owed of each.
    pub(crate) owed: BTreeMap<Due, OwedRow>,
    /// Deliveries ever put, by peer and lane.
    pub(crate) put: BTreeMap<(NodeNo, LaneNo), u64>,
    pub(crate) keys: BTreeMap<String, SegmentId>,
    pub(crate) receipts: u64,
    pub(crate) snapshot: Option<Snapshot>,
    next: u64,
}

/// How the ledgers of these tests are kept; each is made with a new id.
pub(crate) fn options(entropy: u64) -> Options {
    let mut options = Options::new("alpha".parse().expect("a name"), 16 << 20, entropy);
    options.log_file_bytes = LOG_FILE;
    options
}

/// A folder in memory, where there is one.
pub(crate) fn folder() -> TempDir {
    TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .expect("a folder")
}

pub(crate) fn open(dir: &Path, entropy: u64) -> LedgerResult<(Ledger, Snapshot)> {
    Ledger::open(dir, options(entropy), NOW)
}

/// As if its database were too long to be looked at whole.
pub(crate) fn open_in_part(dir: &Path, entropy: u64) -> LedgerResult<(Ledger, Snapshot)> {
    let mut options = options(entropy);
    options.check_whole = 0;
    Ledger::open(dir, options, NOW)
}

/// Fills the ledger in `dir` with so many groups, as `seed` says. It is still open when it
/// is handed back.
pub(crate) fn make(dir: &Path, seed: u64, groups: u64) -> (Ledger, Truth) {
    let mut dice = Dice::new(seed);
    let (mut ledger, _) = open(dir, 7).expect("it opens");
    let mut truth = Truth {
        next: 1,
        ..Truth::default()
    };
    commit(&mut ledger, names(), &mut BTreeMap::new());
    for round in 0..groups {
        let mut staged = BTreeMap::new();
        let mut changes = Vec::new();
        for _ in 0..dice.between(1, 4) {
            changes.extend(put(&mut dice, &mut truth, &mut staged));
        }
        if round % 6 == 1 {
            changes.extend(large(&mut truth, dir, &mut staged));
        }
        changes.extend(beside(round, dir, &mut truth));
        commit(&mut ledger, changes, &mut staged);
    }
    (ledger, truth)
}

pub(crate) fn commit(
    ledger: &mut Ledger,
    changes: Vec<Change>,
    staged: &mut BTreeMap<StagedId, Staged>,
) {
    let report = ledger
        .commit(&[(Ticket(1), changes)], &mut |id| staged.remove(&id), NOW)
        .expect("it commits");
    assert_eq!(report.refused, vec![], "there is room");
}

fn names() -> Vec<Change> {
    let node = |no: NodeNo, name: &str| Change::Node(no, name.parse().expect("a name"));
    let lane = |no: LaneNo, name: &str| Change::Lane(no, name.parse().expect("a name"));
    vec![
        node(PEERS[0], "beta"),
        node(PEERS[1], "gamma"),
        node(SENDER, "delta"),
        lane(LANES[0], "default"),
        lane(LANES[1], "bulk"),
    ]
}

/// A pack to one or two peers or to the inbox, in some state.
fn put(dice: &mut Dice, truth: &mut Truth, staged: &mut BTreeMap<StagedId, Staged>) -> Vec<Change> {
    let no = PackNo(truth.next);
    truth.next += 1;
    let count = dice.between(1, 6);
    let mut pack = Builder::new();
    for n in 0..count {
        let body = vec![no.0 as u8 ^ n as u8; dice.between(1, 900) as usize];
        pack.push(
            SegmentId::v7(NOW.0, (u128::from(no.0) << 20) + u128::from(n)),
            b"",
            &body,
        );
    }
    let built = pack.finish().expect("it has members");
    let lane = *dice.pick(&LANES).expect("two lanes");
    let arrives = dice.chance(300);
    let info = PackInfo {
        lane,
        origin: if arrives { SENDER } else { NodeNo::LOCAL },
        via: if arrives { SENDER } else { NodeNo::LOCAL },
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
    truth.packs.insert(no, built.bytes.clone());
    staged.insert(StagedId(no.0), Staged::Memory(built.bytes));
    let mut changes = vec![Change::Pack {
        no,
        staged: StagedId(no.0),
        info: info.clone(),
    }];
    if arrives {
        changes.push(Change::Receipt(receipt(no, truth)));
        changes.push(Change::Heard(LedgerId(5), lane, no));
        owe(dice, truth, NodeNo::LOCAL, no, &info, &mut changes);
    } else {
        let peers = if dice.chance(300) {
            &PEERS[..]
        } else {
            &PEERS[..1]
        };
        for peer in peers {
            owe(dice, truth, *peer, no, &info, &mut changes);
        }
    }
    changes
}

fn receipt(no: PackNo, truth: &mut Truth) -> ReceiptRow {
    truth.receipts += 1;
    ReceiptRow {
        no: ReceiptNo(truth.receipts),
        peer: SENDER,
        sent: Sent {
            ledger: LedgerId(5),
            pack: no,
            part: Part::Rest,
        },
        table: Digest::of(b"table"),
        count: 1,
        refused: vec![],
        pack: no,
    }
}

/// Rows and books of one pack and one peer; now and then a member stands apart.
fn owe(
    dice: &mut Dice,
    truth: &mut Truth,
    peer: NodeNo,
    no: PackNo,
    info: &PackInfo,
    changes: &mut Vec<Change>,
) {
    let due = |part| Due {
        peer,
        pack: no,
        part,
    };
    let mut book = |entry, by: u32| {
        changes.push(Change::Book {
            peer,
            lane: info.lane,
            entry,
            by: by.into(),
        });
    };
    book(Book::Put, info.count);
    *truth.put.entry((peer, info.lane)).or_default() += u64::from(info.count);
    let mut rest = in_state(OwedRow::new(due(Part::Rest), info, NOW), state(dice, peer));
    let mut rows = Vec::new();
    if info.count > 1 && dice.chance(250) {
        let bytes = info.bytes / u64::from(info.count);
        rest.count -= 1;
        rest.bytes -= bytes;
        rows.push(OwedRow {
            count: 1,
            bytes,
            left: info.count,
            ..in_state(
                OwedRow::new(due(Part::Member(1)), info, NOW),
                state(dice, peer),
            )
        });
    }
    rows.push(rest);
    for row in rows {
        match row.state {
            State::Acked => book(Book::Acked, row.count),
            State::Deadletter { .. } => book(Book::Deadletter, row.count),
            State::Scheduled | State::Inflight | State::Failed { .. } => {}
        }
        truth.owed.insert(row.due, row);
    }
    let rows = truth
        .owed
        .range(due(Part::Rest)..=due(Part::Member(u16::MAX)));
    changes.extend(rows.map(|(_, row)| Change::Owed(row.clone())));
}

fn state(dice: &mut Dice, peer: NodeNo) -> State {
    let all = [
        State::Scheduled,
        State::Acked,
        State::Scheduled,
        State::Deadletter {
            cause: Cause::Forced,
        },
        State::Failed { until: NOW },
        State::Inflight,
    ];
    let all = if peer == NodeNo::LOCAL {
        &all[..2]
    } else {
        &all[..]
    };
    *dice.pick(all).expect("some states")
}

fn in_state(row: OwedRow, state: State) -> OwedRow {
    let ended = (state != State::Inflight).then_some((NOW, Outcome::Failed));
    let attempt = Attempt {
        number: 1,
        epoch: BootEpoch(1),
        started: NOW,
        ended,
    };
    OwedRow {
        state,
        attempt: (state != State::Scheduled).then_some(attempt),
        ..row
    }
}

/// A segment with a file of its own.
fn large(truth: &mut Truth, dir: &Path, staged: &mut BTreeMap<StagedId, Staged>) -> Vec<Change> {
    let no = PackNo(truth.next);
    truth.next += 1;
    let body = vec![no.0 as u8; 5_000];
    let id = SegmentId::v7(NOW.0, u128::from(no.0) << 20);
    let table = single_table(id, Digest::of(&body), body.len() as u64, b"");
    let name = format!("{no}.seg");
    fs::write(dir.join("payload").join(&name), &body).expect("it is written");
    let info = PackInfo {
        lane: LANES[1],
        origin: NodeNo::LOCAL,
        via: NodeNo::LOCAL,
        hops: 0,
        sequence: Sequence::of(no),
        count: 1,
        bytes: body.len() as u64,
        table_len: table.len() as u32,
        table: Digest::of(&table),
        first: id,
        last: id,
        created: NOW,
        expires: None,
    };
    truth
        .packs
        .insert(no, [&table[..], &body[..]].concat().into());
    staged.insert(StagedId(no.0), Staged::File { table, name });
    let mut changes = vec![Change::Pack {
        no,
        staged: StagedId(no.0),
        info: info.clone(),
    }];
    let due = Due {
        peer: PEERS[0],
        pack: no,
        part: Part::Rest,
    };
    let row = OwedRow::new(due, &info, NOW);
    changes.push(Change::Owed(row.clone()));
    changes.push(Change::Book {
        peer: PEERS[0],
        lane: info.lane,
        entry: Book::Put,
        by: 1,
    });
    *truth.put.entry((PEERS[0], info.lane)).or_default() += 1;
    truth.owed.insert(due, row);
    changes
}

/// What else a ledger keeps.
fn beside(round: u64, dir: &Path, truth: &mut Truth) -> Vec<Change> {
    let id = SegmentId::v7(NOW.0, 1_000_000 + u128::from(round));
    let key = format!("key-{round}");
    truth.keys.insert(key.clone(), id);
    let mut all = vec![
        Change::Key(KeyRow {
            name: KeyName { uid: 1000, key },
            id,
            digest: Digest::of(b"body"),
            targets: PEERS.to_vec(),
            at: NOW,
        }),
        Change::Metered(Metered {
            meter: Meter::Peer(PEERS[0]),
            minute: 10_000 + round,
            amount: 100 + round,
        }),
        Change::Audit(AuditRecord::own(
            NOW,
            AuditEvent::Held,
            "segment",
            id.to_string(),
        )),
    ];
    if round.is_multiple_of(8) {
        all.push(Change::Set(
            Setting::LaneBytes(LANES[1]),
            Some(Value::Number(round + 1)),
        ));
        all.push(Change::Spooled(SpooledRow {
            segment: id,
            from: Spooled {
                folder: "in".into(),
                file: FileMark {
                    inode: round,
                    length: 9,
                    modified: 1,
                },
            },
        }));
        let no = PartialNo(100 + round);
        fs::write(dir.join("payload").join(no.file_name()), [5; 600]).expect("it is written");
        all.push(Change::Partial(PartialRow {
            no,
            peer: SENDER,
            origin: SENDER,
            id,
            digest: Digest::of(b"whole"),
            length: 5_000,
            bytes: 600,
            at: NOW,
        }));
    }
    all
}
