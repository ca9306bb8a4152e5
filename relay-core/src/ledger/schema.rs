//! The tables, their numbered migrations, and how a connection is opened.
//!
//! `user_version` counts the migrations a file has seen. A file from a later
//! release is refused; nothing is guessed. Numbers that are unsigned in Rust lie
//! here as the signed integer of the same bits.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::downgrade::Migrated;
use super::error::LedgerError;
use super::{Durability, LedgerResult};

/// SQLite pages: larger ones gained nothing (`performance.md`, fact 9).
pub(super) const PAGE: u64 = 4096;

/// Each entry takes the schema one number further; none is ever edited.
const MIGRATIONS: [&str; 2] = [FIRST, SECOND];

/// The schema from which on small rows carry sums.
const SUMS_SINCE: i64 = 2;
/// The row of `meta` that says `user_version` once more, with a sum.
pub(super) const SCHEMA: &str = "schema";

const FIRST: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE node (no INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE lane (no INTEGER PRIMARY KEY, name TEXT NOT NULL);

-- Small numbers that every group moves, together on a page: books, depths, pins.
CREATE TABLE counter (
  kind INTEGER NOT NULL, a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL,
  value INTEGER NOT NULL, PRIMARY KEY (kind, a, b, c)
) WITHOUT ROWID;

-- Log files that hold rows; a file on disk without a row here is free.
CREATE TABLE log_file (
  no INTEGER PRIMARY KEY, generation INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL
);

-- A place is (file, generation, start) in the log, or a payload file's name with
-- the table kept here as head.
CREATE TABLE pack (
  no INTEGER PRIMARY KEY, lane INTEGER NOT NULL, origin INTEGER NOT NULL,
  hops INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
  table_len INTEGER NOT NULL, digest BLOB NOT NULL,
  id_first BLOB NOT NULL, id_last BLOB NOT NULL,
  created INTEGER NOT NULL, expires INTEGER,
  file INTEGER, generation INTEGER, start INTEGER, name TEXT, head BLOB,
  sum INTEGER NOT NULL
);
CREATE INDEX pack_by_id ON pack (id_first, id_last);
CREATE UNIQUE INDEX pack_by_name ON pack (name) WHERE name IS NOT NULL;

-- part -1 is the rest of the pack, otherwise the member that has left it.
-- state 0 scheduled, 1 inflight, 2 failed, 3 acked, 4 deadletter.
CREATE TABLE owed (
  pack INTEGER NOT NULL, part INTEGER NOT NULL, peer INTEGER NOT NULL,
  lane INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
  state INTEGER NOT NULL, detail INTEGER, lease INTEGER, spent INTEGER NOT NULL,
  attempt INTEGER, epoch INTEGER, started INTEGER, ended INTEGER, outcome INTEGER,
  rescued INTEGER NOT NULL, queued INTEGER NOT NULL, updated INTEGER NOT NULL,
  error TEXT, sum INTEGER NOT NULL, PRIMARY KEY (pack, part, peer)
) WITHOUT ROWID;
CREATE INDEX owed_waiting ON owed (peer, lane, pack, part)
  WHERE state IN (0, 2) AND lease IS NULL;
CREATE INDEX owed_leased ON owed (lease, pack, part) WHERE lease IS NOT NULL;
CREATE INDEX owed_inflight ON owed (pack, part, peer) WHERE state = 1;
CREATE INDEX owed_parked ON owed (pack, part, peer) WHERE state = 4;

CREATE TABLE attempt (
  pack INTEGER NOT NULL, part INTEGER NOT NULL, peer INTEGER NOT NULL,
  number INTEGER NOT NULL, epoch INTEGER NOT NULL, started INTEGER NOT NULL,
  ended INTEGER NOT NULL, outcome INTEGER NOT NULL, sent INTEGER NOT NULL, error TEXT,
  PRIMARY KEY (pack, part, peer, number)
) WITHOUT ROWID;

CREATE TABLE receipt (
  no INTEGER PRIMARY KEY, peer INTEGER NOT NULL, ledger INTEGER NOT NULL,
  sent_pack INTEGER NOT NULL, sent_part INTEGER NOT NULL, digest BLOB NOT NULL,
  count INTEGER NOT NULL, refused BLOB, pack INTEGER NOT NULL, sum INTEGER NOT NULL
);
CREATE INDEX receipt_by_peer ON receipt (peer, no);

-- What is still known of packs whose bytes have gone: ids and digests.
CREATE TABLE mark (
  pack INTEGER PRIMARY KEY, origin INTEGER NOT NULL, id_first BLOB NOT NULL,
  id_last BLOB NOT NULL, ids BLOB NOT NULL, at INTEGER NOT NULL
);
CREATE INDEX mark_by_id ON mark (id_first, id_last);

CREATE TABLE heard (
  ledger INTEGER NOT NULL, lane INTEGER NOT NULL, pack INTEGER NOT NULL,
  PRIMARY KEY (ledger, lane)
) WITHOUT ROWID;

CREATE TABLE put_key (
  uid INTEGER NOT NULL, key TEXT NOT NULL, id BLOB NOT NULL, digest BLOB NOT NULL,
  targets BLOB NOT NULL, at INTEGER NOT NULL, sum INTEGER NOT NULL,
  PRIMARY KEY (uid, key)
) WITHOUT ROWID;
CREATE INDEX put_key_by_age ON put_key (at);
";

const SECOND: &str = "
-- Bits: 1 a restart found an attempt open, 2 held by an operator, 4 on standby,
-- 8 stuck before a full deadletter; in the deadletter only: 16 acked since,
-- 32 its bytes were given up.
ALTER TABLE owed RENAME COLUMN rescued TO flags;
-- When it stops being worth sending; how many the rest was when a member left it.
ALTER TABLE owed ADD COLUMN expires INTEGER;
ALTER TABLE owed ADD COLUMN left_at INTEGER NOT NULL DEFAULT 0;
DROP INDEX owed_waiting;
CREATE INDEX owed_waiting ON owed (peer, lane, pack, part)
  WHERE state IN (0, 2) AND lease IS NULL AND flags < 2;
CREATE INDEX owed_shelved ON owed (peer, lane, pack, part)
  WHERE flags >= 2 AND state IN (0, 2);
CREATE INDEX owed_stuck ON owed (pack, part, peer) WHERE flags >= 8 AND state = 2;
CREATE INDEX owed_expiring ON owed (expires, pack, part, peer)
  WHERE expires IS NOT NULL AND state IN (0, 2) AND peer > 0;

-- Members whose rows were purged: the rest of their pack still does not mean them.
CREATE TABLE gone (
  pack INTEGER NOT NULL, peer INTEGER NOT NULL, part INTEGER NOT NULL,
  PRIMARY KEY (pack, peer, part)
) WITHOUT ROWID;

-- Set where a pack was copied to a log file that later packs were written to.
ALTER TABLE pack ADD COLUMN moved INTEGER;
-- The node it was heard from; where its first segment stands in the origin's lane.
ALTER TABLE pack ADD COLUMN via INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pack ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
CREATE INDEX pack_moved ON pack (file, no) WHERE moved IS NOT NULL;

-- Where fewer than all peers must have it: how many (high 16 bits), and the place of
-- this one in their order.
ALTER TABLE owed ADD COLUMN place INTEGER;
CREATE INDEX owed_placed ON owed (peer, pack, part)
  WHERE place IS NOT NULL AND state IN (0, 1, 2);

-- What operators set; name and value are postcard.
CREATE TABLE setting (name BLOB PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL)
  WITHOUT ROWID;

-- The audit chain, and its head, so that a cut end is seen too.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, category TEXT NOT NULL,
  action TEXT NOT NULL, outcome TEXT NOT NULL, source TEXT NOT NULL, actor TEXT, uid INTEGER,
  resource_type TEXT NOT NULL, resource TEXT NOT NULL, reason TEXT, fields BLOB NOT NULL,
  prev BLOB NOT NULL, hash BLOB NOT NULL
);
CREATE INDEX audit_by_event ON audit (event, seq);
CREATE TABLE audit_head (no INTEGER PRIMARY KEY CHECK (no = 0), seq INTEGER NOT NULL, hash BLOB NOT NULL);

-- What was used, minute by minute of the age clock; counts without a span lie in
-- minute 0. kind 1 UDP bytes of the node, 2 of a peer, 3 bytes of a lane, 4 its
-- attempts, 5 admissions delayed, 6 refused, 7 since when these two count.
CREATE TABLE meter (
  kind INTEGER NOT NULL, who INTEGER NOT NULL, minute INTEGER NOT NULL,
  amount INTEGER NOT NULL, sum INTEGER, PRIMARY KEY (kind, who, minute)
) WITHOUT ROWID;

-- Large segments of which the first `bytes` bytes are here, in a file that `no` names.
CREATE TABLE partial (
  no INTEGER PRIMARY KEY, peer INTEGER NOT NULL, origin INTEGER NOT NULL,
  id BLOB NOT NULL, digest BLOB NOT NULL, length INTEGER NOT NULL,
  bytes INTEGER NOT NULL, at INTEGER NOT NULL, sum INTEGER NOT NULL
);

-- Each small row tells by itself whether it is as it was written.
ALTER TABLE meta ADD COLUMN sum INTEGER;
ALTER TABLE node ADD COLUMN sum INTEGER;
ALTER TABLE lane ADD COLUMN sum INTEGER;
ALTER TABLE counter ADD COLUMN sum INTEGER;
ALTER TABLE log_file ADD COLUMN sum INTEGER;
ALTER TABLE heard ADD COLUMN sum INTEGER;
ALTER TABLE mark ADD COLUMN sum INTEGER;
ALTER TABLE gone ADD COLUMN sum INTEGER;
ALTER TABLE attempt ADD COLUMN sum INTEGER;

-- Names of nodes (kind 0) and lanes (1) once more, on other pages: without them
-- nothing is owed to anybody.
CREATE TABLE named (
  kind INTEGER NOT NULL, no INTEGER NOT NULL, name TEXT NOT NULL, sum INTEGER,
  PRIMARY KEY (kind, no)
) WITHOUT ROWID;

-- What was damaged, and taken out of the way of the rest.
CREATE TABLE quarantine (
  no INTEGER PRIMARY KEY, at INTEGER NOT NULL, what TEXT NOT NULL, place TEXT NOT NULL,
  why TEXT NOT NULL, pack INTEGER, part INTEGER, peer INTEGER, lane INTEGER,
  segments INTEGER NOT NULL, bytes INTEGER NOT NULL, sum INTEGER
);

-- Files of spool folders that are put and not yet known to be gone.
CREATE TABLE spooled (
  segment BLOB PRIMARY KEY, folder TEXT NOT NULL, inode INTEGER NOT NULL,
  length INTEGER NOT NULL, modified INTEGER NOT NULL, sum INTEGER NOT NULL
) WITHOUT ROWID;
";

/// A connection that may write, to a file of whatever schema.
pub(super) fn connect(path: &Path) -> LedgerResult<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settle_down(&conn)?;
    Ok(conn)
}

/// Runs the migrations up to `version` on an empty database.
pub(super) fn apply(conn: &Connection, version: i64) -> LedgerResult<()> {
    for migration in MIGRATIONS.iter().take(version as usize) {
        conn.execute_batch(migration)?;
    }
    Ok(())
}

/// The newest schema.
pub(super) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// The schema of a database; 0 without tables.
pub(super) fn found(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// `conn`, of a schema we know, as the writer's connection, migrated to the newest.
/// `before` is asked with the schema found, if an earlier release wrote it.
pub(super) fn migrated(
    mut conn: Connection,
    durability: Durability,
    wal_bytes: u64,
    before: impl FnOnce(&Connection, i64) -> LedgerResult<Option<Migrated>>,
) -> LedgerResult<(Connection, Option<Migrated>)> {
    let found = found(&conn)?;
    // These two only take before the first table.
    conn.pragma_update(None, "page_size", PAGE as i64)?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    write_ahead(&conn)?;
    conn.pragma_update(
        None,
        "synchronous",
        match durability {
            Durability::Synced => "FULL",
            Durability::Written => "NORMAL",
        },
    )?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", wal_bytes as i64, |_| Ok(()))?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    let mut migrated = match found {
        1..NEWEST => before(&conn, found)?,
        _ => None,
    };
    let mut done = steps(&mut conn);
    if done.as_ref().is_err_and(LedgerError::is_full) {
        // The room that the copy has may be what is missing.
        migrated = migrated.map(Migrated::without_copy).transpose()?;
        done = steps(&mut conn);
    }
    done.map_err(|error| match error {
        full if full.is_full() => LedgerError::NoRoomToMigrate {
            from: found,
            to: NEWEST,
        },
        other => other,
    })?;
    Ok((conn, migrated))
}

/// Puts it into WAL mode. What keeps SQLite from that may be no error of its pragma, which
/// answers with the mode that stays (<https://www.sqlite.org/pragma.html#pragma_journal_mode>),
/// or one that comes after the answer.
pub(super) fn write_ahead(conn: &Connection) -> LedgerResult<()> {
    let mut change = conn.prepare("PRAGMA journal_mode = WAL")?;
    let answers = change.query_map([], |row| row.get(0))?;
    let answers = answers.collect::<rusqlite::Result<Vec<String>>>()?;
    let mode = answers.concat();
    if mode == "wal" {
        return Ok(());
    }
    let path = conn.path().unwrap_or_default();
    let stays = io::Error::other(format!("SQLite stays with journal mode {mode:?}"));
    Err(LedgerError::io("write", Path::new(path))(stays))
}

/// Every step from the schema that is there to the newest, or none of them.
fn steps(conn: &mut Connection) -> LedgerResult<()> {
    let found = found(conn)?;
    if found == NEWEST {
        return Ok(());
    }
    let change = conn.transaction()?;
    for (n, migration) in (0i64..).zip(MIGRATIONS).skip(found as usize) {
        step(&change, n + 1, migration)?;
    }
    change
        .commit()
        .map_err(LedgerError::commit("migrate ledger"))
}

/// Takes the schema to number `to`.
fn step(change: &Connection, to: i64, migration: &str) -> LedgerResult<()> {
    change.execute_batch(migration)?;
    if to == SUMS_SINCE {
        super::sums::fill(change)?;
    }
    change.pragma_update(None, "user_version", to)?;
    if to >= SUMS_SINCE {
        super::set_meta(change, SCHEMA, to)?;
    }
    Ok(())
}

/// A connection that reads beside the writer.
pub(super) fn open_reader(path: &Path) -> LedgerResult<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settle_down(&conn)?;
    // A page of work is read once; a large cache would only hold memory.
    conn.pragma_update(None, "cache_size", -512)?;
    Ok(conn)
}

fn settle_down(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise the planner looks at bound values wherever a partial index might
    // serve, and prepares such a statement anew for each binding: 15 µs a row.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// How long one connection waits for another: a reader holds its snapshot for
/// one call only, so this is never reached unless something hangs.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Every statement of the hot path stays prepared.
const STATEMENTS: usize = 64;
