//! Packs whose every byte follows from their number.

use bytes::Bytes;
use relay_core::change::{Book, Change, Due, OwedRow, Part};
use relay_core::delivery::{Attempt, State};
use relay_core::id::{BootEpoch, LaneNo, NodeNo, PackNo, PartialNo, SegmentId, Sequence, StagedId};
use relay_core::pack::{Builder, Built, single_table};
use relay_core::partial::PartialRow;
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::Unix;

use crate::files::Body;
use crate::seeds::Dice;

/// When everything happens.
pub const NOW: Unix = Unix(1_700_000_000_000);
/// Whom everything that goes out is owed to.
pub const PEER: NodeNo = NodeNo(1);
/// Where arrivals come from.
pub const STRANGER: NodeNo = NodeNo(2);
/// The lane of everything.
pub const LANE: LaneNo = LaneNo(0);
/// How much of a large segment arrives.
pub const PARTIAL_HELD: usize = 600 << 10;

/// What becomes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A few small segments for the peer, in the log.
    Small,
    /// One too long for the log: the ledger makes it a file.
    Long,
    /// One that the shell has written to a file.
    Staged,
    /// One that the shell has written as it takes in what a peer sends, long enough that
    /// a sync is under way when it is whole.
    Resumed,
    /// A few small segments for the inbox.
    Arrival,
}

impl Kind {
    /// That of a number.
    #[must_use]
    pub const fn of(no: PackNo) -> Self {
        match (no.0 % 23, no.0 % 3) {
            (5, _) => Self::Long,
            (11, _) => Self::Staged,
            (17, _) if no.0.is_multiple_of(2) => Self::Resumed,
            (_, 1) => Self::Arrival,
            _ => Self::Small,
        }
    }
}

/// The segments of a pack, in order.
fn bodies(no: PackNo) -> Vec<Vec<u8>> {
    let mut dice = Dice::new(no.0);
    let (members, shortest, longest) = match Kind::of(no) {
        Kind::Small => (1 + no.0 % 5, 0, 12_000),
        Kind::Arrival => (1 + no.0 % 4, 0, 4_000),
        Kind::Long | Kind::Staged => (1, 140_000, 200_000),
        Kind::Resumed => (1, 530_000, 560_000),
    };
    let body = |n| Body {
        seed: no.0 << 8 | n,
        length: dice.between(shortest, longest),
    };
    (0..members).map(body).map(Body::bytes).collect()
}

/// The id of a member.
#[must_use]
pub fn id(no: PackNo, member: u64) -> SegmentId {
    SegmentId::v7(NOW.0, u128::from(no.0 << 8 | member))
}

/// A pack as it is put.
///
/// # Panics
/// Never: every pack has a member.
#[must_use]
pub fn built(no: PackNo) -> Built {
    let mut pack = Builder::new();
    for (member, body) in (0..).zip(bodies(no)) {
        pack.push(id(no, member), b"", &body);
    }
    pack.finish().expect("it has members")
}

/// The body of a pack that is a file of the shell's.
#[must_use]
pub fn body(no: PackNo) -> Vec<u8> {
    bodies(no).concat()
}

/// Its table.
#[must_use]
pub fn table(no: PackNo) -> Bytes {
    let body = body(no);
    single_table(id(no, 0), Digest::of(&body), body.len() as u64, b"")
}

/// What puts a pack: for the peer, in flight at once if its number is even, or for the inbox.
#[must_use]
pub fn put(no: PackNo) -> Vec<Change> {
    let info = info(no);
    let mut row = OwedRow::new(due(no), &info, NOW);
    if no.0.is_multiple_of(2) && Kind::of(no) != Kind::Arrival {
        row.state = State::Inflight;
        row.attempt = Some(Attempt {
            number: 1,
            epoch: BootEpoch(1),
            started: NOW,
            ended: None,
        });
    }
    let put = book(&row, Book::Put);
    let staged = StagedId(no.0);
    vec![Change::Pack { no, staged, info }, Change::Owed(row), put]
}

/// What settles it.
#[must_use]
pub fn settle(no: PackNo) -> Vec<Change> {
    let row = OwedRow {
        state: State::Acked,
        ..OwedRow::new(due(no), &info(no), NOW)
    };
    let book = book(&row, Book::Acked);
    vec![Change::Owed(row), book]
}

fn info(no: PackNo) -> PackInfo {
    let built = built(no);
    let table = built.bytes.slice(..built.table_len as usize);
    let arrives = Kind::of(no) == Kind::Arrival;
    PackInfo {
        lane: LANE,
        origin: if arrives { STRANGER } else { NodeNo::LOCAL },
        via: if arrives { STRANGER } else { NodeNo::LOCAL },
        hops: 0,
        sequence: Sequence::of(no),
        count: built.count,
        bytes: built.bytes.len() as u64 - u64::from(built.table_len),
        table_len: built.table_len,
        table: Digest::of(&table),
        first: built.first,
        last: built.last,
        created: NOW,
        expires: None,
    }
}

fn book(row: &OwedRow, entry: Book) -> Change {
    Change::Book {
        peer: row.due.peer,
        lane: LANE,
        entry,
        by: i64::from(row.count),
    }
}

/// Whom a pack is owed to.
#[must_use]
pub fn due(no: PackNo) -> Due {
    let arrives = Kind::of(no) == Kind::Arrival;
    Due {
        peer: if arrives { NodeNo::LOCAL } else { PEER },
        pack: no,
        part: Part::Rest,
    }
}

/// A large segment of which only a part arrives.
#[must_use]
pub fn partial_body(no: PartialNo) -> Body {
    Body {
        seed: no.0,
        length: 700 << 10,
    }
}

/// Its row.
#[must_use]
pub fn partial(no: PartialNo, bytes: u64) -> PartialRow {
    let body = partial_body(no);
    PartialRow {
        no,
        peer: STRANGER,
        origin: STRANGER,
        id: SegmentId::v7(NOW.0, u128::from(no.0) << 20),
        digest: Digest(body.digest()),
        length: body.length,
        bytes,
        at: NOW,
    }
}
