//! Rows of what is owed as values: columns to words and back, with a checksum.
//!
//! A row that does not match its checksum, or holds a code no release wrote, is
//! [`Damaged`]: it is skipped and counted by whoever reads it, never trusted.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, params};

use crate::aim::Place;
use crate::change::{Due, OwedRow, Part};
use crate::delivery::{Attempt, Cause, Outcome, State};
use crate::id::{BootEpoch, LaneNo, NodeNo, PackNo};
use crate::time::Unix;

/// A row that cannot be what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// A row of `owed`, with what only the inbox knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The row.
    pub(super) row: OwedRow,
    /// Until when a local consumer has it.
    pub(super) lease: Option<Unix>,
}

/// The columns [`read_owed`] takes, in its order, of a table named `o`.
pub(super) const OWED: &str = "o.pack, o.part, o.peer, o.lane, o.count, o.bytes, o.state, \
     o.detail, o.lease, o.spent, o.attempt, o.epoch, o.started, o.ended, o.outcome, o.flags, \
     o.queued, o.updated, o.error, o.sum, o.expires, o.left_at, o.place";
/// How many they are.
pub(super) const OWED_WIDTH: usize = 23;
/// A part as a number that sorts the rest before its members.
pub(super) const fn part_code(part: Part) -> i64 {
    match part {
        Part::Rest => -1,
        Part::Member(index) => index as i64,
    }
}

/// The part a number stands for.
pub(super) fn part(code: i64) -> Result<Part, Damaged> {
    match code {
        -1 => Ok(Part::Rest),
        index => u16::try_from(index).map(Part::Member).map_err(|_| Damaged),
    }
}

const OUTCOMES: [Outcome; 9] = [
    Outcome::Acked,
    Outcome::Failed,
    Outcome::Timeout,
    Outcome::Rejected,
    Outcome::SegmentMissing,
    Outcome::Corrupt,
    Outcome::Abandoned,
    Outcome::Interrupted,
    Outcome::Deferred,
];

/// An outcome as its number.
pub(super) const fn outcome_code(outcome: Outcome) -> i64 {
    outcome as i64
}

/// The outcome a number stands for.
pub(super) fn outcome(code: i64) -> Result<Outcome, Damaged> {
    usize::try_from(code)
        .ok()
        .and_then(|n| OUTCOMES.get(n))
        .copied()
        .ok_or(Damaged)
}

fn cause(code: i64) -> Result<Cause, Damaged> {
    usize::try_from(code)
        .ok()
        .and_then(|n| Cause::ALL.get(n))
        .copied()
        .ok_or(Damaged)
}

/// A state as its number and what it carries.
pub(super) const fn state_codes(state: State) -> (i64, Option<i64>) {
    let detail = match state {
        State::Scheduled | State::Inflight | State::Acked => None,
        State::Failed { until } => Some(until.0 as i64),
        State::Deadletter { cause } => Some(cause as i64),
    };
    (state.name() as i64, detail)
}

fn state(code: i64, detail: Option<i64>) -> Result<State, Damaged> {
    match (code, detail) {
        (0, None) => Ok(State::Scheduled),
        (1, None) => Ok(State::Inflight),
        (2, Some(until)) => Ok(State::Failed {
            until: Unix(until as u64),
        }),
        (3, None) => Ok(State::Acked),
        (4, Some(code)) => Ok(State::Deadletter {
            cause: cause(code)?,
        }),
        _ => Err(Damaged),
    }
}

/// A column, or [`Damaged`] if it holds another type.
pub(super) fn column<T: FromSql>(row: &Row<'_>, at: usize) -> Result<T, Damaged> {
    row.get(at).map_err(|_| Damaged)
}

/// A 32-bit checksum over the deciding columns of a row.
#[derive(Default)]
pub(super) struct Sum(crc32fast::Hasher);

impl Sum {
    /// Adds a number.
    pub(super) fn num(mut self, value: i64) -> Self {
        self.0.update(&value.to_le_bytes());
        self
    }

    /// Adds a number that may be absent.
    pub(super) fn maybe(self, value: Option<i64>) -> Self {
        match value {
            None => self.num(0),
            Some(value) => self.num(1).num(value),
        }
    }

    /// Adds bytes of any length.
    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// The checksum.
    pub(super) fn end(self) -> i64 {
        i64::from(self.0.finalize())
    }
}

/// The columns of an owed row, in the order of [`OWED`], without its checksum.
struct OwedColumns {
    numbers: [i64; 9],
    maybe: [Option<i64>; 7],
}

const RESCUED: i64 = 1;
pub(super) const HELD: i64 = 2;
pub(super) const STANDBY: i64 = 4;
pub(super) const STUCK: i64 = 8;
const ACKED_LATE: i64 = 16;
const EVICTED: i64 = 32;

/// A place as its number.
const fn place_code(place: Place) -> i64 {
    (place.need as i64) << 16 | place.rank as i64
}

const fn place(code: i64) -> Place {
    Place {
        need: (code >> 16) as u16,
        rank: code as u16,
    }
}

const fn flags(row: &OwedRow) -> i64 {
    row.rescued as i64 * RESCUED
        + row.held as i64 * HELD
        + row.standby as i64 * STANDBY
        + row.stuck as i64 * STUCK
        + row.acked_late as i64 * ACKED_LATE
        + row.evicted as i64 * EVICTED
}

fn owed_columns(stored: &Stored) -> OwedColumns {
    let row = &stored.row;
    let (state, detail) = state_codes(row.state);
    let attempt = row.attempt.as_ref();
    let ended = attempt.and_then(|attempt| attempt.ended);
    OwedColumns {
        numbers: [
            i64::from(row.lane.0),
            i64::from(row.count),
            row.bytes as i64,
            state,
            i64::from(row.spent),
            flags(row),
            row.queued.0 as i64,
            row.updated.0 as i64,
            i64::from(row.due.peer.0),
        ],
        maybe: [
            detail,
            stored.lease.map(|until| until.0 as i64),
            attempt.map(|attempt| i64::from(attempt.number)),
            attempt.map(|attempt| attempt.epoch.0 as i64),
            attempt.map(|attempt| attempt.started.0 as i64),
            ended.map(|(at, _)| at.0 as i64),
            ended.map(|(_, outcome)| outcome_code(outcome)),
        ],
    }
}

fn owed_sum(stored: &Stored, columns: &OwedColumns) -> i64 {
    let due = stored.row.due;
    // One buffer, one update: the hasher pays per call.
    let mut all = [0u8; 8 * 25];
    let numbers = columns.numbers.iter().copied();
    let maybe = columns
        .maybe
        .iter()
        .flat_map(|v| [i64::from(v.is_some()), v.unwrap_or(0)]);
    let values = [due.pack.0 as i64, part_code(due.part)]
        .into_iter()
        .chain(numbers)
        .chain(maybe);
    for (slot, value) in all.chunks_exact_mut(8).zip(values) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    let error = stored.row.error.as_deref().unwrap_or("");
    let mut sum = crc32fast::Hasher::new();
    sum.update(&all);
    sum.update(error.as_bytes());
    let row = &stored.row;
    // Rows of the first schema had none of these, and keep the sum they have.
    if row.left > 0 || row.expires.is_some() {
        let expires = row.expires.map_or(0, |at| at.0);
        sum.update(&[u8::from(row.expires.is_some())]);
        sum.update(&expires.to_le_bytes());
        sum.update(&row.left.to_le_bytes());
    }
    if let Some(place) = row.place {
        sum.update(&place_code(place).to_le_bytes());
    }
    i64::from(sum.finalize())
}

/// Writes a row of `owed`; `known` says whether it is there already.
pub(super) fn write_owed(conn: &Connection, stored: &Stored, known: bool) -> rusqlite::Result<()> {
    let mut write = conn.prepare_cached(if known {
        "UPDATE owed SET lane = ?4, count = ?5, bytes = ?6, state = ?7, detail = ?8, lease = ?9,
           spent = ?10, attempt = ?11, epoch = ?12, started = ?13, ended = ?14, outcome = ?15,
           flags = ?16, queued = ?17, updated = ?18, error = ?19, sum = ?20,
           expires = ?21, left_at = ?22, place = ?23
         WHERE pack = ?1 AND part = ?2 AND peer = ?3"
    } else {
        "INSERT INTO owed VALUES
           (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
            ?21, ?22, ?23)"
    })?;
    let columns = owed_columns(stored);
    let sum = owed_sum(stored, &columns);
    let OwedColumns { numbers, maybe } = columns;
    let [
        lane,
        count,
        bytes,
        state,
        spent,
        flags,
        queued,
        updated,
        peer,
    ] = numbers;
    let [detail, lease, attempt, epoch, started, ended, outcome] = maybe;
    let due = stored.row.due;
    write.execute(params![
        due.pack.0 as i64,
        part_code(due.part),
        peer,
        lane,
        count,
        bytes,
        state,
        detail,
        lease,
        spent,
        attempt,
        epoch,
        started,
        ended,
        outcome,
        flags,
        queued,
        updated,
        stored.row.error,
        sum,
        stored.row.expires.map(|at| at.0 as i64),
        stored.row.left,
        stored.row.place.map(place_code),
    ])?;
    Ok(())
}

/// Reads the columns [`OWED`] that begin at `at`.
pub(super) fn read_owed(row: &Row<'_>, at: usize) -> Result<Stored, Damaged> {
    let maybe = |n: usize| column::<Option<i64>>(row, at + n);
    let number = |n: usize| column::<i64>(row, at + n);
    let small = |n: usize| number(n).and_then(|v| u32::try_from(v).map_err(|_| Damaged));
    let ended = match (maybe(13)?, maybe(14)?) {
        (None, None) => None,
        (Some(when), Some(code)) => Some((Unix(when as u64), outcome(code)?)),
        (Some(_), None) | (None, Some(_)) => return Err(Damaged),
    };
    let attempt = match (maybe(10)?, maybe(11)?, maybe(12)?) {
        (Some(number), Some(epoch), Some(started)) => Some(Attempt {
            number: u32::try_from(number).map_err(|_| Damaged)?,
            epoch: BootEpoch(epoch as u64),
            started: Unix(started as u64),
            ended,
        }),
        _ => None,
    };
    let stored = Stored {
        row: OwedRow {
            due: Due {
                peer: NodeNo(small(2)?),
                pack: PackNo(number(0)? as u64),
                part: part(number(1)?)?,
            },
            lane: LaneNo(u16::try_from(number(3)?).map_err(|_| Damaged)?),
            count: small(4)?,
            bytes: number(5)? as u64,
            state: state(number(6)?, maybe(7)?)?,
            spent: small(9)?,
            attempt,
            rescued: number(15)? & RESCUED != 0,
            held: number(15)? & HELD != 0,
            standby: number(15)? & STANDBY != 0,
            stuck: number(15)? & STUCK != 0,
            acked_late: number(15)? & ACKED_LATE != 0,
            evicted: number(15)? & EVICTED != 0,
            expires: maybe(20)?.map(|at| Unix(at as u64)),
            left: small(21)?,
            place: maybe(22)?.map(place),
            queued: Unix(number(16)? as u64),
            updated: Unix(number(17)? as u64),
            error: column(row, at + 18)?,
        },
        lease: maybe(8)?.map(|until| Unix(until as u64)),
    };
    if owed_sum(&stored, &owed_columns(&stored)) == number(19)? {
        Ok(stored)
    } else {
        Err(Damaged)
    }
}
