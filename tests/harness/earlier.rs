//! State folders as other releases leave them behind.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

/// The migrations as this release has them: the first one is never edited.
const SCHEMA: &str = include_str!("../../relay-core/src/ledger/schema.rs");
/// When the attempts were made: 2023-11-14T22:13:20Z.
const THEN: i64 = 1_700_000_000_000;

/// Puts what the ledger in `dir` holds, which nobody has open, into tables of the first
/// schema, with `attempts` rows of history beside it.
///
/// Sums of packs and of what is owed are kept: rows that say what the first schema could
/// not say (a sequence, a node it was heard from) do not match theirs then.
///
/// # Panics
/// If there is no ledger, or no room.
pub fn backdate(dir: &Path, attempts: u64) {
    let path = dir.join("ledger.db");
    let old = dir.join("old.db");
    let conn = Connection::open(&old).expect("a database");
    conn.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL",
    )
    .expect("it is ours");
    conn.execute_batch(first_schema())
        .expect("the first schema");
    conn.execute("ATTACH ?1 AS newer", [path.to_str()])
        .expect("the ledger");
    for table in names(
        &conn,
        "SELECT name FROM main.sqlite_schema WHERE type = 'table'",
    ) {
        let columns = names(
            &conn,
            &format!("SELECT name FROM pragma_table_info('{table}', 'main')"),
        );
        let to = columns.join(", ");
        let from = to.replace("rescued", "flags");
        conn.execute_batch(&format!(
            "INSERT INTO main.{table} ({to}) SELECT {from} FROM newer.{table}"
        ))
        .expect("its rows");
    }
    conn.execute_batch(
        "DELETE FROM main.meta WHERE name = 'schema'; PRAGMA main.user_version = 1; DETACH newer",
    )
    .expect("it is of the first release");
    conn.execute(
        "INSERT INTO attempt WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         SELECT 3, -1, 1, i, 1, ?2, ?2, 1, 0, 'it was busy' FROM n",
        (attempts.max(2) as i64, THEN),
    )
    .expect("history");
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("it lies in one file");
    drop(conn);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.join(format!("ledger.db{suffix}")));
    }
    fs::rename(old, path).expect("it takes its place");
}

fn first_schema() -> &'static str {
    let (_, text) = SCHEMA
        .split_once("const FIRST: &str = \"")
        .expect("the first migration");
    text.split_once("\";").expect("its end").0
}

fn names(conn: &Connection, sql: &str) -> Vec<String> {
    let mut query = conn.prepare(sql).expect("a question");
    let rows = query.query_map([], |row| row.get(0)).expect("an answer");
    rows.collect::<Result<_, _>>().expect("names")
}

/// Makes the ledger in `dir`, which nobody has open, one of a schema nobody knows yet.
///
/// # Panics
/// If there is no ledger.
pub fn postdate(dir: &Path) {
    let conn = Connection::open(dir.join("ledger.db")).expect("the database");
    conn.execute_batch("DELETE FROM meta WHERE name = 'schema'; PRAGMA user_version = 99")
        .expect("a later release wrote it");
}
