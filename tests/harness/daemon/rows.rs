//! Raw rows of a ledger, read past all that the ledger does when it opens.
//!
//! After a SIGKILL the question is what stood open *then*; any start answers it by
//! closing it. So the database and its WAL are copied as they lie, and the copy is
//! read with SQLite alone. The same eyes look at a running node's database, as
//! one more reader.

use std::fs;
use std::path::Path;

use relay_core::delivery::Outcome;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::Home;

/// An attempt that stands open: the row that speaks for it, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenAttempt {
    /// The pack.
    pub pack: i64,
    /// Which of its members; -1 is all that have no row of their own.
    pub part: i64,
    /// To whom.
    pub peer: i64,
    /// The attempt's number.
    pub number: i64,
    /// In which run it began.
    pub epoch: i64,
    /// Members it speaks for.
    pub count: i64,
}

/// A view of a ledger's rows.
#[derive(Debug)]
pub struct Rows {
    conn: Connection,
    _copy: Option<TempDir>,
}

impl Rows {
    /// Of a copy, made as the files lie; the node must be frozen or dead.
    ///
    /// # Panics
    /// If the copy cannot be made or opened.
    #[must_use]
    pub fn of_copy(home: &Home) -> Self {
        let copy = tempfile::tempdir().expect("a temporary folder");
        for name in ["ledger.db", "ledger.db-wal"] {
            let from = home.state().join(name);
            if from.exists() {
                fs::copy(from, copy.path().join(name)).expect("a database can be copied");
            }
        }
        let conn = open(
            &copy.path().join("ledger.db"),
            OpenFlags::SQLITE_OPEN_READ_WRITE,
        );
        Self {
            conn,
            _copy: Some(copy),
        }
    }

    /// Of a running node, as one more reader.
    ///
    /// # Panics
    /// If the database does not open.
    #[must_use]
    pub fn of_running(home: &Home) -> Self {
        let conn = open(
            &home.state().join("ledger.db"),
            OpenFlags::SQLITE_OPEN_READ_ONLY,
        );
        Self { conn, _copy: None }
    }

    /// Every attempt that stands open.
    ///
    /// # Panics
    /// If the rows cannot be read.
    #[must_use]
    pub fn open_attempts(&self) -> Vec<OpenAttempt> {
        let sql = "SELECT pack, part, peer, attempt, epoch, count FROM owed
                   WHERE state = 1 OR (attempt IS NOT NULL AND ended IS NULL)";
        let mut query = self.conn.prepare(sql).expect("the schema is known");
        let rows = query.query_map([], |row| {
            Ok(OpenAttempt {
                pack: row.get(0)?,
                part: row.get(1)?,
                peer: row.get(2)?,
                number: row.get(3)?,
                epoch: row.get(4)?,
                count: row.get(5)?,
            })
        });
        let rows: Result<Vec<_>, _> = rows.expect("rows can be read").collect();
        rows.expect("an open attempt has a number")
    }

    /// How an attempt ended, as the history has it; `None` if it has not.
    ///
    /// # Panics
    /// If the rows cannot be read.
    #[must_use]
    pub fn outcome(&self, attempt: OpenAttempt) -> Option<i64> {
        let sql = "SELECT outcome FROM attempt
                   WHERE pack = ?1 AND part = ?2 AND peer = ?3 AND number = ?4 AND epoch = ?5";
        let mut query = self.conn.prepare_cached(sql).expect("the schema is known");
        let OpenAttempt {
            pack,
            part,
            peer,
            number,
            epoch,
            ..
        } = attempt;
        let mut rows = query
            .query((pack, part, peer, number, epoch))
            .expect("rows can be read");
        let row = rows.next().expect("rows can be read")?;
        Some(row.get(0).expect("an outcome is a number"))
    }

    /// The id, as printed, of the only segment an attempt speaks for; `None` if it
    /// speaks for more.
    ///
    /// # Panics
    /// If the rows cannot be read.
    #[must_use]
    pub fn lone_segment(&self, attempt: OpenAttempt) -> Option<String> {
        let sql = "SELECT lower(hex(id_first)) FROM pack WHERE no = ?1 AND count = 1";
        let mut query = self.conn.prepare_cached(sql).expect("the schema is known");
        let mut rows = query.query([attempt.pack]).expect("rows can be read");
        let row = rows.next().expect("rows can be read")?;
        Some(format!(
            "seg-{}",
            row.get::<_, String>(0).expect("an id is text here")
        ))
    }

    /// How many attempts in the history ended so.
    ///
    /// # Panics
    /// If the rows cannot be read.
    #[must_use]
    pub fn ended_as(&self, outcome: Outcome) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM attempt WHERE outcome = ?1)
                        + (SELECT count(*) FROM owed WHERE outcome = ?1 AND peer <> 0)";
        self.conn
            .query_row(sql, [outcome as i64], |row| row.get(0))
            .expect("rows can be counted")
    }

    /// Bytes given to the transport in attempts that ended so.
    ///
    /// # Panics
    /// If the rows cannot be read.
    #[must_use]
    pub fn sent_in(&self, outcome: Outcome) -> i64 {
        let sql = "SELECT coalesce(sum(sent), 0) FROM attempt WHERE outcome = ?1";
        self.conn
            .query_row(sql, [outcome as i64], |row| row.get(0))
            .expect("rows can be summed")
    }

    /// Large segments of which the ledger has a beginning.
    ///
    /// # Panics
    /// If the rows cannot be read.
    #[must_use]
    pub fn partials(&self) -> i64 {
        self.conn
            .query_row("SELECT count(*) FROM partial", [], |row| row.get(0))
            .expect("rows can be counted")
    }

    /// The most any delivery has spent of its budget.
    ///
    /// # Panics
    /// If the rows cannot be read.
    #[must_use]
    pub fn most_spent(&self) -> i64 {
        let sql = "SELECT coalesce(max(spent), 0) FROM owed WHERE peer <> 0";
        self.conn
            .query_row(sql, [], |row| row.get(0))
            .expect("rows can be read")
    }
}

fn open(path: &Path, how: OpenFlags) -> Connection {
    let conn = Connection::open_with_flags(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let conn = conn.expect("a database opens");
    conn.busy_timeout(super::PATIENCE)
        .expect("a timeout can be set");
    conn
}
