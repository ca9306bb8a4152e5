//! Whether a database is what we wrote: its header, its schema, its trees, its rows.
//!
//! Answers in three words. What SQLite cannot be trusted with is [`Trouble::Damage`]:
//! the database is set aside and what can be read is taken over. An index that
//! disagrees with its table is built anew. A row that is not as it was written is
//! named, for [`super::reconcile`] to take out of the way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode};

use super::LedgerResult;
use super::error::LedgerError;
use super::quarantine::Quarantined;
use super::schema;
use super::tables::{self, Table};
use crate::id::{LaneNo, NodeNo, PackNo};

/// Why a database cannot be used as it lies.
pub(super) enum Trouble {
    /// It is damaged, in these words.
    Damage(String),
    /// Something else is wrong: with the disk, or with who asks.
    Other(LedgerError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            Self::Damage(error.to_string())
        } else {
            Self::Other(error.into())
        }
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Sql(error) => error.into(),
            LedgerError::Unreadable(what) => Self::Damage(format!("{what} is unreadable")),
            other @ (LedgerError::TooNew { .. }
            | LedgerError::NoRoomToMigrate { .. }
            | LedgerError::OtherNode { .. }
            | LedgerError::Unstaged(_)
            | LedgerError::StagedLength { .. }
            | LedgerError::Io { .. }
            | LedgerError::OutcomeUnknown { .. }
            | LedgerError::Poisoned) => Self::Other(other),
        }
    }
}

/// Whether SQLite's answer is about what lies in the file, not about the disk or us.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        None => true,
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::Unknown
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
        ),
    }
}

/// What the first page of every database of ours begins with, but for counts.
const FIXED: [(usize, &[u8], &str); 4] = [
    (0, b"SQLite format 3\0", "it is not a SQLite file"),
    (16, &[16, 0], "its page size is not ours"),
    (18, &[2, 2], "its journal mode is not ours"),
    (20, &[0, 64, 32, 32], "its page layout is not ours"),
];
/// What it says once there is a table. Until the first checkpoint that stands in the
/// write-ahead log alone, and zeros here.
const WITH_TABLES: [(usize, u32, &str); 2] = [
    (44, 4, "its schema format is not ours"),
    (56, 1, "its text is not in our encoding"),
];

/// Looks at the header, which SQLite believes: whether a log is read at all stands there.
pub(super) fn header(path: &Path) -> Result<(), Trouble> {
    let mut head = [0u8; 100];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut head, 0));
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(Trouble::Damage("it is cut short".into()));
        }
        Err(source) => return Err(LedgerError::io("read", path)(source).into()),
    }
    let vacuum = head[52..56] != [0; 4] && head[64..68] == [0, 0, 0, 1];
    for (at, wanted, why) in FIXED {
        if head[at..at + wanted.len()] != *wanted {
            return Err(Trouble::Damage(why.into()));
        }
    }
    for (at, wanted, why) in WITH_TABLES {
        let found = u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if found != wanted && found != 0 {
            return Err(Trouble::Damage(why.into()));
        }
    }
    if vacuum {
        Ok(())
    } else {
        Err(Trouble::Damage("its kind of vacuum is not ours".into()))
    }
}

/// Compares every table and index with what this release writes.
pub(super) fn same_schema(conn: &Connection) -> Result<(), Trouble> {
    // What this release writes is worked out once: it takes longer than the rest of a look.
    static OURS: OnceLock<Texts> = OnceLock::new();
    let ours = match OURS.get() {
        Some(ours) => ours,
        None => {
            let fresh = Connection::open_in_memory()?;
            schema::apply(&fresh, schema::NEWEST)?;
            let found = texts(&fresh)?;
            OURS.get_or_init(|| found)
        }
    };
    if *ours == texts(conn)? {
        Ok(())
    } else {
        Err(Trouble::Damage("its tables are not ours".into()))
    }
}

/// Type, name, table and statement of each.
type Texts = Vec<[Option<String>; 4]>;

fn texts(conn: &Connection) -> rusqlite::Result<Texts> {
    let mut query = conn
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name, sql")?;
    let rows = query.query_map([], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
    })?;
    rows.collect()
}

/// Whether its small rows have sums: not in the first schema.
pub(super) fn has_sums(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM pragma_table_info('meta') WHERE name = 'sum'";
    conn.prepare(sql)?.exists([])
}

/// Walks every tree. Indexes that disagree with their tables are built anew; answers
/// whether there were any.
pub(super) fn trees(conn: &Connection) -> Result<bool, Trouble> {
    let found = complaints(conn)?;
    let Some(first) = found.first() else {
        let is_unreadable = !indexes_read(conn)?;
        if is_unreadable {
            conn.execute_batch("REINDEX")?;
        }
        return Ok(is_unreadable);
    };
    let about_index = |words: &String| {
        [
            "missing from index",
            "entries in index",
            "non-unique entry in index",
            "values differ from index",
        ]
        .iter()
        .any(|known| words.contains(known))
    };
    if let Some(worse) = found.iter().find(|words| !about_index(words)) {
        return Err(Trouble::Damage(worse.clone()));
    }
    conn.execute_batch("REINDEX")?;
    if complaints(conn)?.is_empty() {
        Ok(true)
    } else {
        Err(Trouble::Damage(first.clone()))
    }
}

fn complaints(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut query = conn.prepare("PRAGMA integrity_check(32)")?;
    let rows = query.query_map([], |row| row.get::<_, String>(0))?;
    let all: Vec<String> = rows.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|words| words != "ok").collect())
}

/// Whether every entry of every index can be read: SQLite's own check finds each by its
/// key, and does not mind what is wrong with the entry's own header.
fn indexes_read(conn: &Connection) -> rusqlite::Result<bool> {
    let mut query = conn.prepare(
        "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOT NULL",
    )?;
    let indexes = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for index in indexes {
        let (name, table, sql): (String, String, String) = index?;
        let mut columns = conn.prepare_cached("SELECT name FROM pragma_index_info(?1)")?;
        let columns = columns.query_map([&name], |row| {
            Ok(format!("total(length({}))", row.get::<_, String>(0)?))
        })?;
        let columns: Vec<String> = columns.collect::<Result<_, _>>()?;
        let part = sql.find("WHERE").map_or("", |at| &sql[at..]);
        let all = format!(
            "SELECT {} FROM {table} INDEXED BY {name} {part}",
            columns.join(", ")
        );
        match conn.query_row(&all, [], |_| Ok(())) {
            Err(error) if is_damage(&error) => return Ok(false),
            read => read?,
        }
    }
    Ok(true)
}

/// A row that is not as it was written.
pub(super) struct Bad {
    /// Of which table.
    pub(super) table: Table,
    /// What names it there, as it reads now.
    pub(super) key: Vec<Value>,
    /// What to keep of it.
    pub(super) entry: Quarantined,
}

/// Every such row of the tables that `wanted` lets through.
pub(super) fn bad_rows(
    conn: &Connection,
    wanted: impl Fn(&Table) -> bool,
) -> LedgerResult<Vec<Bad>> {
    let mut bad = Vec::new();
    for table in tables::all().into_iter().filter(wanted) {
        let keys: Vec<String> = table.key.iter().map(|key| format!("t.{key}")).collect();
        let sql = format!("SELECT *, {} FROM {} t", keys.join(", "), table.name);
        // The key stands behind the columns once more, so that its place is known.
        let mut plain = conn.prepare(&format!("SELECT * FROM {}", table.name))?;
        let mut rows = plain.query([])?;
        let mut any = false;
        while let Some(row) = rows.next()? {
            if !table.is_sound(row) {
                any = true;
                break;
            }
        }
        if any {
            name_bad(conn, &sql, table, &mut bad)?;
        }
    }
    Ok(bad)
}

fn name_bad(
    conn: &Connection,
    keyed: &str,
    table: Table,
    bad: &mut Vec<Bad>,
) -> rusqlite::Result<()> {
    let mut plain = conn.prepare(&format!("SELECT * FROM {}", table.name))?;
    let mut keyed = conn.prepare(keyed)?;
    let width = plain.column_count();
    let mut rows = plain.query([])?;
    let mut keys = keyed.query([])?;
    // Both walk the same tree in the same order.
    while let (Some(row), Some(key)) = (rows.next()?, keys.next()?) {
        if table.is_sound(row) {
            continue;
        }
        let key: Vec<Value> = (0..table.key.len())
            .map(|at| key.get(width + at))
            .collect::<Result<_, _>>()?;
        bad.push(Bad {
            table,
            entry: named(&table, row, &key),
            key,
        });
    }
    Ok(())
}

fn named(table: &Table, row: &rusqlite::Row<'_>, key: &[Value]) -> Quarantined {
    let words: Vec<String> = table
        .key
        .iter()
        .zip(key)
        .map(|(name, value)| format!("{name} {}", shown(value)))
        .collect();
    let said = |which| table.about_owed(row, which);
    Quarantined {
        pack: said(0).map(|no| PackNo(no as u64)),
        part: said(1),
        peer: said(2).and_then(|no| u32::try_from(no).ok()).map(NodeNo),
        lane: said(3).and_then(|no| u16::try_from(no).ok()).map(LaneNo),
        ..Quarantined::new(
            table.name,
            format!("row {}", words.join(", ")),
            "it does not match its checksum",
        )
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Integer(number) => number.to_string(),
        Value::Real(_) => "a fraction".into(),
        Value::Text(text) => text.escape_debug().to_string(),
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
