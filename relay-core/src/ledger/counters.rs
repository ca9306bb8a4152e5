//! Small persistent numbers: the books, how much stands where, what pins what.
//!
//! They live in memory and in one table, and move in the transaction of the
//! change that moves them, so that start-up and status read them without a scan.
//! A group gathers [`Deltas`]; once it is durable they are [`Counters::merge`]d.

mod recount;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::sums;
pub(super) use recount::Recount;

use crate::change::{Book, Depth};
use crate::delivery::StateName;
use crate::id::{LaneNo, NodeNo, PackNo};

/// A counter as its row names it: kind, then up to three numbers.
type Key = [i64; 4];

/// What a group moves, by how much.
pub(super) type Deltas = BTreeMap<Key, i64>;

/// Where the bytes of a pack lie, as far as keeping them is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Home {
    /// In a log file.
    Log(u32),
    /// In a payload file of its own.
    Payload(PackNo),
}

/// All counters, by key; zeros are absent, except pins of payload files.
#[derive(Debug, Default)]
pub(super) struct Counters {
    values: BTreeMap<Key, i64>,
    pinned_logs: u64,
    /// How long each payload file is, by pack.
    lengths: BTreeMap<i64, u64>,
    /// The sum of those that nothing pins.
    settled_payloads: u64,
    /// Those that something pins, by length.
    pinned: BTreeSet<(u64, i64)>,
}

const BOOK: i64 = 1;
const DEPTH: i64 = 2;
const LOG_PINS: i64 = 3;
const PAYLOAD_PINS: i64 = 4;
const UNSETTLED: i64 = 5;
const TOTAL: i64 = 6;
/// Rows of `age`, which keeps the clocks here: these pages are written with every
/// group anyhow.
pub(super) const CLOCKS: i64 = 7;

/// A number the ledger keeps of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Total {
    /// Rows of `put_key`.
    Keys,
    /// Rows of `mark`.
    Marks,
    /// Bytes in the `ids` of marks.
    MarkBytes,
    /// Rows of `pack`.
    Packs,
}

/// One of the three numbers of a [`Depth`].
#[derive(Clone, Copy, Debug)]
enum Column {
    Parcels,
    Count,
    Bytes,
}

pub(super) const BOOKS: [Book; 6] = [
    Book::Put,
    Book::Acked,
    Book::Deadletter,
    Book::NotNeeded,
    Book::Purged,
    Book::Quarantined,
];

const fn depth_key(peer: NodeNo, lane: LaneNo, state: StateName, column: Column) -> Key {
    [
        DEPTH,
        peer.0 as i64,
        lane.0 as i64,
        state as i64 * 3 + column as i64,
    ]
}

pub(super) const fn pins_key(home: Home) -> Key {
    match home {
        Home::Log(file) => [LOG_PINS, file as i64, 0, 0],
        Home::Payload(pack) => [PAYLOAD_PINS, pack.0 as i64, 0, 0],
    }
}

pub(super) const fn book_key(peer: NodeNo, lane: LaneNo, entry: Book) -> Key {
    [BOOK, peer.0 as i64, lane.0 as i64, entry as i64]
}

pub(super) const fn unsettled_key(peer: NodeNo) -> Key {
    [UNSETTLED, peer.0 as i64, 0, 0]
}

pub(super) const fn total_key(total: Total) -> Key {
    [TOTAL, total as i64, 0, 0]
}

/// Adds `by` to `key`.
pub(super) fn bump(deltas: &mut Deltas, key: Key, by: i64) {
    *deltas.entry(key).or_default() += by;
}

/// Moves what stands in one (peer, lane, state) by `sign` times `depth`.
pub(super) fn bump_depth(
    deltas: &mut Deltas,
    (peer, lane, state): (NodeNo, LaneNo, StateName),
    depth: Depth,
    sign: i64,
) {
    bump(
        deltas,
        depth_key(peer, lane, state, Column::Parcels),
        sign * depth.parcels as i64,
    );
    bump(
        deltas,
        depth_key(peer, lane, state, Column::Count),
        sign * depth.count as i64,
    );
    bump(
        deltas,
        depth_key(peer, lane, state, Column::Bytes),
        sign * depth.bytes as i64,
    );
}

impl Counters {
    /// Reads every counter.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let mut all = Self::default();
        let mut query = conn.prepare("SELECT kind, a, b, c, value FROM counter")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let key = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            all.set(key, row.get(4)?);
        }
        Ok(all)
    }

    /// Writes what `deltas` would make of the counters, inside a transaction.
    pub(super) fn write(&self, conn: &Connection, deltas: &Deltas) -> rusqlite::Result<()> {
        for (key, by) in deltas.iter().filter(|(_, by)| **by != 0) {
            set(conn, *key, self.value(*key) + by)?;
        }
        Ok(())
    }

    /// Takes what has become durable.
    pub(super) fn merge(&mut self, deltas: &Deltas) {
        for (key, by) in deltas.iter().filter(|(_, by)| **by != 0) {
            self.set(*key, self.value(*key) + by);
        }
    }

    fn set(&mut self, key: Key, value: i64) {
        let before = if value == 0 && key[0] != PAYLOAD_PINS {
            self.values.remove(&key)
        } else {
            self.values.insert(key, value)
        };
        if key[0] == LOG_PINS {
            self.pinned_logs += u64::from(value > 0);
            self.pinned_logs -= u64::from(before.unwrap_or(0) > 0);
        }
        if key[0] == PAYLOAD_PINS {
            let length = self.lengths.get(&key[1]).copied().unwrap_or(0);
            self.settled_payloads -= if before == Some(0) { length } else { 0 };
            self.settled_payloads += if value == 0 { length } else { 0 };
            self.weigh(key[1], length, value > 0);
        }
    }

    fn weigh(&mut self, pack: i64, length: u64, pinned: bool) {
        if pinned && length > 0 {
            self.pinned.insert((length, pack));
        } else {
            self.pinned.remove(&(length, pack));
        }
    }

    fn value(&self, key: Key) -> i64 {
        self.values.get(&key).copied().unwrap_or(0)
    }

    fn of_kind(&self, kind: i64) -> impl Iterator<Item = (&Key, &i64)> {
        self.values
            .range([kind, i64::MIN, i64::MIN, i64::MIN]..[kind + 1, i64::MIN, 0, 0])
    }

    /// Rows that keep the bytes at `home`, with what `deltas` adds.
    pub(super) fn pins(&self, home: Home) -> u64 {
        u64::try_from(self.value(pins_key(home))).unwrap_or(0)
    }

    /// Log files that hold something that may not go.
    pub(super) const fn pinned_logs(&self) -> u64 {
        self.pinned_logs
    }

    /// Rows that pin the log.
    pub(super) fn log_pins(&self) -> u64 {
        let pins = self.of_kind(LOG_PINS).map(|(_, value)| *value);
        pins.map(|pins| u64::try_from(pins).unwrap_or(0)).sum()
    }

    /// Packs with a payload file, and the rows that pin each.
    pub(super) fn payloads(&self) -> impl Iterator<Item = (PackNo, u64)> {
        self.of_kind(PAYLOAD_PINS)
            .map(|(key, value)| (PackNo(key[1] as u64), u64::try_from(*value).unwrap_or(0)))
    }

    /// Bytes of payload files that hold nothing that may not go.
    pub(super) const fn settled_payloads(&self) -> u64 {
        self.settled_payloads
    }

    /// The length of the longest payload file that something pins; 0: of none.
    pub(super) fn longest_pinned(&self) -> u64 {
        self.pinned.last().map_or(0, |(length, _)| *length)
    }

    /// Forgets a payload file that is gone.
    pub(super) fn forget_payload(&mut self, pack: PackNo) {
        let pins = self.values.remove(&pins_key(Home::Payload(pack)));
        let length = self.lengths.remove(&(pack.0 as i64)).unwrap_or(0);
        self.settled_payloads -= if pins == Some(0) { length } else { 0 };
        self.weigh(pack.0 as i64, length, false);
    }

    /// Forgets how long a payload file was: it is gone, and what pinned it stays.
    pub(super) fn forget_length(&mut self, pack: PackNo) {
        let settled = self.pins(Home::Payload(pack)) == 0;
        let length = self.lengths.remove(&(pack.0 as i64)).unwrap_or(0);
        self.settled_payloads -= if settled { length } else { 0 };
        self.weigh(pack.0 as i64, length, false);
    }

    /// Makes a payload file of `length` bytes known, whatever pins it.
    pub(super) fn note_payload(&mut self, pack: PackNo, length: u64) {
        let key = pins_key(Home::Payload(pack));
        let pins = self.value(key);
        if self.lengths.insert(key[1], length).is_none() {
            self.values.insert(key, pins);
            self.settled_payloads += if pins == 0 { length } else { 0 };
            self.weigh(key[1], length, pins > 0);
        }
    }

    /// One number the ledger keeps of itself.
    pub(super) fn total(&self, total: Total) -> u64 {
        u64::try_from(self.value(total_key(total))).unwrap_or(0)
    }

    /// Receipts not yet settled, per peer.
    pub(super) fn unsettled(&self) -> Vec<(NodeNo, u64)> {
        self.of_kind(UNSETTLED)
            .map(|(key, value)| (NodeNo(key[1] as u32), *value as u64))
            .collect()
    }

    /// The books, per peer, lane and column.
    pub(super) fn books(&self) -> Vec<(NodeNo, LaneNo, Book, i64)> {
        self.of_kind(BOOK)
            .map(|(key, value)| {
                (
                    NodeNo(key[1] as u32),
                    LaneNo(key[2] as u16),
                    BOOKS[key[3] as usize % 6],
                    *value,
                )
            })
            .collect()
    }

    /// What stands where.
    pub(super) fn depths(&self) -> Vec<(NodeNo, LaneNo, StateName, Depth)> {
        let mut all: BTreeMap<(NodeNo, LaneNo, StateName), Depth> = BTreeMap::new();
        for (key, value) in self.of_kind(DEPTH) {
            let state = STATES[(key[3] / 3) as usize % 5];
            let depth = all
                .entry((NodeNo(key[1] as u32), LaneNo(key[2] as u16), state))
                .or_default();
            let value = u64::try_from(*value).unwrap_or(0);
            match key[3] % 3 {
                0 => depth.parcels = value,
                1 => depth.count = value,
                _ => depth.bytes = value,
            }
        }
        all.into_iter()
            .map(|((peer, lane, state), depth)| (peer, lane, state, depth))
            .collect()
    }

    /// Bytes the inbox holds that are not confirmed.
    pub(super) fn inbox_bytes(&self) -> u64 {
        let local = i64::from(NodeNo::LOCAL.0);
        let range = [DEPTH, local, i64::MIN, i64::MIN]..[DEPTH, local + 1, i64::MIN, i64::MIN];
        let held = |key: &Key| key[3] % 3 == 2 && key[3] / 3 != StateName::Acked as i64;
        let bytes = self.values.range(range).filter(|(key, _)| held(key));
        bytes
            .map(|(_, value)| u64::try_from(*value).unwrap_or(0))
            .sum()
    }

    /// Rows that stand as acked and are kept for people.
    pub(super) fn acked_parcels(&self) -> u64 {
        self.depths()
            .into_iter()
            .filter(|(_, _, state, _)| *state == StateName::Acked)
            .map(|(_, _, _, depth)| depth.parcels)
            .sum()
    }
}

/// The states in the order of their numbers in rows and keys.
pub(super) const STATES: [StateName; 5] = [
    StateName::Scheduled,
    StateName::Inflight,
    StateName::Failed,
    StateName::Acked,
    StateName::Deadletter,
];

/// Removes the row of a payload file's pins; a log file's stays, at zero.
pub(super) fn forget_pins(conn: &Connection, home: Home) -> rusqlite::Result<()> {
    match home {
        Home::Log(_) => Ok(()),
        Home::Payload(pack) => conn
            .prepare_cached("DELETE FROM counter WHERE kind = ?1 AND a = ?2")?
            .execute((PAYLOAD_PINS, pack.0 as i64))
            .map(drop),
    }
}

/// Makes the row of a payload file's pins, so that one without pins is found.
pub(super) fn note_pins(conn: &Connection, pack: PackNo) -> rusqlite::Result<()> {
    let mut known = conn
        .prepare_cached("SELECT 1 FROM counter WHERE kind = ?1 AND a = ?2 AND b = 0 AND c = 0")?;
    if known.exists((PAYLOAD_PINS, pack.0 as i64))? {
        return Ok(());
    }
    set(conn, [PAYLOAD_PINS, pack.0 as i64, 0, 0], 0)
}

/// Sets the row of a counter.
pub(super) fn set(conn: &Connection, key: Key, value: i64) -> rusqlite::Result<()> {
    let [kind, a, b, c] = key.map(sums::int);
    sums::set(conn, sums::COUNTER, &[kind, a, b, c, sums::int(value)])
}

/// Sets one column of the books of (peer, lane).
pub(super) fn set_book(
    conn: &Connection,
    (peer, lane): (NodeNo, LaneNo),
    book: Book,
    value: i64,
) -> rusqlite::Result<()> {
    set(conn, book_key(peer, lane, book), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_file_is_settled_while_nothing_pins_it() {
        let mut counters = Counters::default();
        let pins = |by| Deltas::from([(pins_key(Home::Payload(PackNo(7))), by)]);

        counters.merge(&pins(2));
        counters.note_payload(PackNo(7), 100);
        assert_eq!(counters.settled_payloads(), 0, "two rows keep it");
        assert_eq!(counters.longest_pinned(), 100);
        counters.merge(&pins(-2));
        assert_eq!(counters.settled_payloads(), 100, "none does");
        assert_eq!(counters.longest_pinned(), 0);
        counters.merge(&pins(1));
        assert_eq!(counters.settled_payloads(), 0, "one does again");
        assert_eq!(counters.longest_pinned(), 100);
        counters.merge(&pins(-1));
        counters.forget_payload(PackNo(7));
        assert_eq!(counters.settled_payloads(), 0, "it is gone");
        assert_eq!(counters.longest_pinned(), 0);
    }
}
