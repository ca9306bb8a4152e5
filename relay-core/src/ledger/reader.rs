//! Reading beside the writer: work, receipts, keys, bytes.
//!
//! Each call is a snapshot of its own and ends with it, so that the WAL is never
//! held back. A row that does not match its checksum is skipped and counted
//! ([`Reader::damaged`]). Bytes are asked for by pack number: if the log file was
//! used again in between, the index is asked anew, and only a mismatch with the
//! current row is corrupt.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::bodies::{Bodies, Loaded};
use super::error::ReadError;
use super::groups::is_met;
use super::place::{PACK, PackRow, read_pack};
use super::recovery::{after_key, due_key};
use super::rows::{OWED, OWED_WIDTH, column, part, read_owed};
use super::{DATABASE, LedgerResult, apply, schema};
use crate::change::{Due, KeyName, KeyRow, OwedRow, PagedRow, Part, ReceiptRow, Refused, Sent};
use crate::id::{LaneNo, LedgerId, NodeNo, PackNo, ReceiptNo, SegmentId};
use crate::pack::Table;
use crate::segment::Digest;
use crate::time::Unix;

/// A read-only view of a ledger; moves to another thread.
pub struct Reader {
    pub(super) conn: Connection,
    pub(super) bodies: Bodies,
    pub(super) damaged: u64,
}

/// What reading gives: SQLite's error is the only one.
pub(super) type Read<T> = Result<T, ReadError>;

/// How often the index is asked anew for a pack whose place has changed.
const REASK: usize = 3;

impl Reader {
    pub(super) fn open(dir: &Path) -> LedgerResult<Self> {
        let path: PathBuf = dir.join(DATABASE);
        Ok(Self {
            conn: schema::open_reader(&path)?,
            bodies: Bodies::new(dir),
            damaged: 0,
        })
    }

    /// A reader of the ledger in `dir`, which nobody need have open. Writes nothing.
    ///
    /// # Errors
    /// [`LedgerError`](super::LedgerError): there is none, or it is of another release.
    pub fn of_folder(dir: &Path) -> LedgerResult<Self> {
        Self::open(dir)
    }

    /// Damaged rows skipped since this reader was opened.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Scheduled and failed rows of one (peer, lane) above `after`, by pack and
    /// part, the rest of a pack before its members; at most `limit`, and fewer
    /// only at the end.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn page(
        &mut self,
        peer: NodeNo,
        lane: LaneNo,
        after: Option<(PackNo, Part)>,
        limit: usize,
    ) -> Result<Vec<PagedRow>, ReadError> {
        let snapshot = self.conn.unchecked_transaction()?;
        let mut query = snapshot.prepare_cached(&format!(
            "SELECT {OWED}, {PACK} FROM owed o INDEXED BY owed_waiting JOIN pack p ON p.no = o.pack
             WHERE o.peer = ?1 AND o.lane = ?2 AND o.state IN (0, 2) AND o.lease IS NULL AND o.flags < 2
               AND (o.pack, o.part) > (?3, ?4)
             ORDER BY o.pack, o.part"
        ))?;
        let (pack, part) = after_key(after);
        let mut rows = query.query((peer.0, lane.0, pack, part))?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(row) = rows.next()? else { break };
            match (read_owed(row, 0), read_pack(row, OWED_WIDTH)) {
                (Ok(stored), Ok(pack)) => {
                    let except = except_of(&snapshot, &stored.row)?;
                    let met = is_met(&snapshot, &stored.row)?;
                    found.push(PagedRow {
                        row: stored.row,
                        info: pack.info,
                        except,
                        met,
                    });
                }
                _ => self.damaged += 1,
            }
        }
        Ok(found)
    }

    /// Scheduled and failed rows of `peer` in all lanes above `after`, shelved ones
    /// included, by pack and part; at most `limit`, and fewer only at the end. Walks
    /// the table: for what an operator wants once.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn owing(
        &mut self,
        peer: NodeNo,
        after: Option<(PackNo, Part)>,
        limit: usize,
    ) -> Result<Vec<PagedRow>, ReadError> {
        let snapshot = self.conn.unchecked_transaction()?;
        let mut query = snapshot.prepare_cached(&format!(
            "SELECT {OWED}, {PACK} FROM owed o JOIN pack p ON p.no = o.pack
             WHERE o.peer = ?1 AND o.state IN (0, 2) AND (o.pack, o.part) > (?2, ?3)
             ORDER BY o.pack, o.part"
        ))?;
        let (pack, part) = after_key(after);
        let mut rows = query.query((peer.0, pack, part))?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(row) = rows.next()? else { break };
            match (read_owed(row, 0), read_pack(row, OWED_WIDTH)) {
                (Ok(stored), Ok(pack)) => found.push(PagedRow {
                    except: except_of(&snapshot, &stored.row)?,
                    met: is_met(&snapshot, &stored.row)?,
                    row: stored.row,
                    info: pack.info,
                }),
                _ => self.damaged += 1,
            }
        }
        Ok(found)
    }

    /// One row and its pack, in whatever state.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn fetch(&mut self, due: Due) -> Result<Option<PagedRow>, ReadError> {
        let snapshot = self.conn.unchecked_transaction()?;
        let mut query = snapshot.prepare_cached(&format!(
            "SELECT {OWED}, {PACK} FROM owed o JOIN pack p ON p.no = o.pack
             WHERE o.pack = ?1 AND o.part = ?2 AND o.peer = ?3"
        ))?;
        let found = query.query_row(due_key(due), |row| {
            Ok(read_owed(row, 0).and_then(|stored| Ok((stored, read_pack(row, OWED_WIDTH)?))))
        });
        match found.optional()? {
            None => Ok(None),
            Some(Err(_)) => {
                self.damaged += 1;
                Ok(None)
            }
            Some(Ok((stored, pack))) => {
                let except = except_of(&snapshot, &stored.row)?;
                let met = is_met(&snapshot, &stored.row)?;
                Ok(Some(PagedRow {
                    row: stored.row,
                    info: pack.info,
                    except,
                    met,
                }))
            }
        }
    }

    /// Members of `pack` that have or had a row of their own for `peer`, ascending.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn except(&self, pack: PackNo, peer: NodeNo) -> Result<Vec<u16>, ReadError> {
        Ok(except(&self.conn, pack, peer)?)
    }

    /// Receipts of `peer` above `after`, rising; fewer than `limit` at the end.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn recall(
        &mut self,
        peer: NodeNo,
        after: ReceiptNo,
        limit: usize,
    ) -> Result<Vec<ReceiptRow>, ReadError> {
        let mut query = self.conn.prepare_cached(
            "SELECT no, peer, ledger, sent_pack, sent_part, digest, count, refused, pack, sum
             FROM receipt WHERE peer = ?1 AND no > ?2 ORDER BY no",
        )?;
        let mut rows = query.query((peer.0, after.0 as i64))?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(row) = rows.next()? else { break };
            match read_receipt(row) {
                Some(receipt) => found.push(receipt),
                None => self.damaged += 1,
            }
        }
        Ok(found)
    }

    /// What an idempotency key was used for.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn find_key(&mut self, name: &KeyName) -> Result<Option<KeyRow>, ReadError> {
        let mut query = self.conn.prepare_cached(
            "SELECT id, digest, targets, at, sum FROM put_key WHERE uid = ?1 AND key = ?2",
        )?;
        let found = query.query_row((name.uid, &name.key), |row| Ok(read_key(name, row, 0)));
        match found.optional()? {
            Some(None) => {
                self.damaged += 1;
                Ok(None)
            }
            found => Ok(found.flatten()),
        }
    }

    /// The bytes of a pack, checked against what was written.
    ///
    /// # Errors
    /// [`ReadError::Missing`] when there is no such pack, [`ReadError::Corrupt`]
    /// when the bytes at its current place are not its own.
    pub fn load(&mut self, pack: PackNo) -> Result<Loaded, ReadError> {
        self.at_its_place(pack, |bodies, row| bodies.load(row))
    }

    /// The table of a pack, checked against its digest.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn table(&mut self, pack: PackNo) -> Result<Table, ReadError> {
        self.at_its_place(pack, |bodies, row| bodies.table(row))
    }

    fn at_its_place<T>(
        &mut self,
        pack: PackNo,
        read: impl Fn(&mut Bodies, &PackRow) -> Read<T>,
    ) -> Read<T> {
        let mut last = None;
        for _ in 0..REASK {
            let row = self.pack(pack)?.ok_or(ReadError::Missing)?;
            if let Some((place, error)) = last.take()
                && place == row.place
            {
                return Err(error);
            }
            match read(&mut self.bodies, &row) {
                Err(error @ (ReadError::Corrupt(_) | ReadError::Missing)) => {
                    last = Some((row.place, error));
                }
                other => return other,
            }
        }
        Err(last.map_or(ReadError::Missing, |(_, error)| error))
    }

    /// The row of a pack; a damaged one is counted and reads as corrupt.
    pub(super) fn pack(&mut self, pack: PackNo) -> Read<Option<PackRow>> {
        let mut query = self
            .conn
            .prepare_cached(&format!("SELECT {PACK} FROM pack p WHERE p.no = ?1"))?;
        let found = query.query_row([pack.0 as i64], |row| Ok(read_pack(row, 0)));
        match found.optional()? {
            None => Ok(None),
            Some(Ok(row)) => Ok(Some(row)),
            Some(Err(_)) => {
                self.damaged += 1;
                Err(ReadError::Corrupt(
                    "row of the pack does not match its checksum",
                ))
            }
        }
    }
}

pub(super) fn except_of(conn: &Connection, row: &OwedRow) -> rusqlite::Result<Vec<u16>> {
    match row.due.part {
        Part::Rest => except(conn, row.due.pack, row.due.peer),
        Part::Member(_) => Ok(Vec::new()),
    }
}

pub(super) fn except(conn: &Connection, pack: PackNo, peer: NodeNo) -> rusqlite::Result<Vec<u16>> {
    let mut query = conn.prepare_cached(
        "SELECT part FROM owed WHERE pack = ?1 AND part >= 0 AND peer = ?2
         UNION SELECT part FROM gone WHERE pack = ?1 AND peer = ?2 ORDER BY 1",
    )?;
    let rows = query.query_map((pack.0 as i64, peer.0), |row| row.get(0))?;
    rows.collect()
}

fn read_receipt(row: &rusqlite::Row<'_>) -> Option<ReceiptRow> {
    let number = |at| column::<i64>(row, at).ok();
    let refused: Option<Vec<u8>> = column(row, 7).ok()?;
    let receipt = ReceiptRow {
        no: ReceiptNo(number(0)? as u64),
        peer: NodeNo(column(row, 1).ok()?),
        sent: Sent {
            ledger: LedgerId(number(2)? as u64),
            pack: PackNo(number(3)? as u64),
            part: part(number(4)?).ok()?,
        },
        table: Digest(column(row, 5).ok()?),
        count: column(row, 6).ok()?,
        refused: match &refused {
            None => Vec::new(),
            Some(encoded) => postcard::from_bytes::<Vec<Refused>>(encoded).ok()?,
        },
        pack: PackNo(number(8)? as u64),
    };
    (apply::receipt_sum(&receipt, refused.as_deref()) == number(9)?).then_some(receipt)
}

/// The columns id, digest, targets, at and sum, which begin at `from`.
fn read_key(name: &KeyName, row: &rusqlite::Row<'_>, from: usize) -> Option<KeyRow> {
    let targets: Vec<u8> = column(row, from + 2).ok()?;
    let numbers = targets
        .chunks_exact(4)
        .map(|no| u32::from_le_bytes([no[0], no[1], no[2], no[3]]));
    let key = KeyRow {
        name: name.clone(),
        id: SegmentId(column(row, from).ok()?),
        digest: Digest(column(row, from + 1).ok()?),
        targets: numbers.map(NodeNo).collect(),
        at: Unix(column::<i64>(row, from + 3).ok()? as u64),
    };
    (apply::key_sum(&key, &targets) == column::<i64>(row, from + 4).ok()?).then_some(key)
}

/// Whether a row of `receipt` is as it was written.
pub(super) fn is_receipt(row: &rusqlite::Row<'_>) -> bool {
    read_receipt(row).is_some()
}

/// Whether a row of `put_key` is as it was written.
pub(super) fn is_key(row: &rusqlite::Row<'_>) -> bool {
    let (Ok(uid), Ok(key)) = (column(row, 0), column(row, 1)) else {
        return false;
    };
    read_key(&KeyName { uid, key }, row, 2).is_some()
}
