//! The audit chain as rows: every entry carries the hash of the one before it.
//!
//! An entry is written in the transaction of the change it records, and the head
//! beside it (INV-AUDIT-01). Nothing but pruning removes entries, and that leaves
//! an entry of its own with the hash of the last one removed. Rows are read as
//! they lie: whether they are what was written is for [`Chain`] to say.

mod read;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

pub(super) use read::is_sound;
pub use read::{AuditFilter, AuditPage, AuditSummary, Span};

use super::downgrade::{self, Keep};
use super::error::LedgerError;
use super::{DATABASE, Durability, LedgerResult, schema, wal};
use crate::audit::{AuditEntry, AuditRecord};
use crate::segment::Digest;

#[cfg(doc)]
use crate::audit::Chain;

/// Appends `record` to the chain, inside the transaction of the change it records.
pub(super) fn append(conn: &Connection, record: &AuditRecord) -> rusqlite::Result<()> {
    let (seq, prev) = head(conn)?.unwrap_or_default();
    let entry = AuditEntry::chained(record, seq + 1, prev);
    write(conn, &entry)?;
    conn.prepare_cached("INSERT OR REPLACE INTO audit_head VALUES (0, ?1, ?2)")?
        .execute((entry.seq as i64, entry.hash.0))
        .map(drop)
}

/// Removes every entry up to `upto`; the record that says so is appended beside it.
pub(super) fn prune(conn: &Connection, upto: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM audit WHERE seq <= ?1")?
        .execute([upto as i64])
        .map(drop)
}

/// Writes one record into the ledger in `dir`, which nobody else has open, and
/// removes the entries up to `pruned` first: for verbs that work without a daemon.
///
/// # Errors
/// [`LedgerError`](super::LedgerError): the ledger cannot be opened or written.
pub fn append_offline(dir: &Path, pruned: Option<u64>, record: &AuditRecord) -> LedgerResult<()> {
    mend_log(dir)?;
    let conn = schema::connect(&dir.join(DATABASE))?;
    let found = schema::found(&conn)?;
    if found > schema::NEWEST {
        return Err(downgrade::too_new(dir, found));
    }
    let keep = Keep {
        dir,
        at: record.at,
        options: None,
    };
    let (mut conn, _) = schema::migrated(conn, Durability::Synced, 0, |conn, found| {
        downgrade::keep(conn, found, keep).map(Some)
    })?;
    let change = conn.transaction()?;
    if let Some(upto) = pruned {
        prune(&change, upto)?;
    }
    append(&change, record)?;
    change
        .commit()
        .map_err(LedgerError::unknown("write the audit"))
}

/// What a kill left in SQLite's log is made sound before anybody opens the ledger in `dir`
/// to write to it: behind one bad byte all of it would be written over.
///
/// # Errors
/// [`LedgerError`](super::LedgerError): the log cannot be read or is damaged beyond that,
/// and it takes a start of the daemon, or a repair, to save the rest.
pub fn mend_log(dir: &Path) -> LedgerResult<()> {
    let log = dir.join(format!("{DATABASE}-wal"));
    let looked = wal::mend(&log).map_err(LedgerError::io("read", &log))?;
    match looked.is_damaged {
        true => Err(LedgerError::Unreadable("the log of the database")),
        false => Ok(()),
    }
}

/// The last entry's number and hash, as noted beside the chain.
fn head(conn: &Connection) -> rusqlite::Result<Option<(u64, Digest)>> {
    conn.prepare_cached("SELECT seq, hash FROM audit_head")?
        .query_row([], |row| {
            Ok((row.get::<_, i64>(0)? as u64, Digest(row.get(1)?)))
        })
        .optional()
}

fn write(conn: &Connection, entry: &AuditEntry) -> rusqlite::Result<()> {
    let fields = postcard::to_stdvec(&entry.fields).expect("fields are plain words");
    conn.prepare_cached(
        "INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        entry.seq as i64,
        entry.at.0 as i64,
        entry.event,
        entry.category,
        entry.action,
        entry.outcome,
        entry.source,
        entry.actor,
        entry.uid,
        entry.resource_type,
        entry.resource,
        entry.reason,
        fields,
        entry.prev.0,
        entry.hash.0,
    ])
    .map(drop)
}
