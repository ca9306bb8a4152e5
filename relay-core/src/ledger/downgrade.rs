//! The copy kept of a database before a migration changes it: the way back to the
//! release that wrote it.
//!
//! A copy is one file in `set-aside`, whose name tells its schema and when it was made.
//! It is whole and synced before the migration begins, one is kept for each schema, and
//! they count under the ceiling as all does that lies there. Where there is no room for
//! one, the start goes on without and says so: a full node has to start to be emptied.
//!
//! A copy says of itself that it is one. Whoever opens it where the database should lie
//! went back in time: its log is newer than its rows, and peers have heard numbers that
//! it would give again. So it is taken over like a damaged one ([`super::salvage`]):
//! under a new ledger id, with numbers far above all it knows.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql};

use super::error::LedgerError;
use super::files::sync_dir;
use super::{DATABASE, LedgerResult, Options, aside, check, meta, room, schema};
use crate::time::Unix;

/// A migration, and what became of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The schema that was found.
    pub from: i64,
    /// The one that is there now.
    pub to: i64,
    /// Where the copy lies, or why there is none.
    pub copy: Result<PathBuf, String>,
}

impl Migrated {
    /// The same, where the disk has no room for both.
    pub(super) fn without_copy(self) -> LedgerResult<Self> {
        if let Ok(path) = &self.copy {
            aside::remove(path)?;
        }
        let copy = Err(FULL.into());
        Ok(Self { copy, ..self })
    }
}

/// How a copy is kept.
#[derive(Clone, Copy)]
pub(super) struct Keep<'d> {
    /// The folder of the ledger.
    pub(super) dir: &'d Path,
    /// What the wall clock says.
    pub(super) at: Unix,
    /// How the ledger is kept; without them no ceiling is known.
    pub(super) options: Option<&'d Options>,
}

/// Why there is none, in words.
const FULL: &str = "the disk is full";
/// A copy in the making.
const NEW: &str = "ledger.copy";
/// What its name begins with, behind the number of what is set aside.
const NAME: &str = "ledger.db.schema-";
/// The row of `meta` by which a copy says what it is.
const MARK: &str = "copy";

/// Copies the database of `conn`, which has the schema `found` and is about to lose it.
pub(super) fn keep(conn: &Connection, found: i64, keep: Keep<'_>) -> LedgerResult<Migrated> {
    let done = |copy| Migrated {
        from: found,
        to: schema::NEWEST,
        copy,
    };
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let wanted = pages as u64 * schema::PAGE;
    let left = match keep.options {
        Some(options) => room::for_copy(keep.dir, options, wanted)?,
        None => u64::MAX,
    };
    if wanted > left {
        return Ok(done(Err(format!(
            "a copy of {wanted} B does not fit the {left} B that the ceiling leaves for one"
        ))));
    }
    match written(conn, found, keep) {
        Ok(copy) => Ok(done(Ok(copy))),
        Err(error) => {
            clear(keep.dir)?;
            match error.is_full() {
                true => Ok(done(Err(FULL.into()))),
                false => Err(error),
            }
        }
    }
}

/// Removes what a kill left of a copy in the making.
pub(super) fn clear(dir: &Path) -> LedgerResult<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        aside::remove(&dir.join(format!("{NEW}{suffix}")))?;
    }
    Ok(())
}

fn written(conn: &Connection, found: i64, keep: Keep<'_>) -> LedgerResult<PathBuf> {
    clear(keep.dir)?;
    let new = keep.dir.join(NEW);
    // Pages that were given up stay behind: a salvage would find their rows again.
    conn.execute("VACUUM INTO ?1", [Bytes(&new)])?;
    let copy = schema::connect(&new)?;
    // Nobody else has it: so it needs no index of its log on the disk, which may be full.
    copy.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    schema::write_ahead(&copy)?;
    if check::has_sums(&copy)? {
        super::set_meta(&copy, MARK, 1)?;
    } else {
        // Whoever went back and goes on again copies a copy.
        copy.execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, 1)",
            [MARK],
        )?;
    }
    aside::seal(copy, &new)?;
    let older: Vec<PathBuf> = copies(keep.dir)?
        .into_iter()
        .filter_map(|(schema, path)| (schema == found).then_some(path))
        .collect();
    let name = format!("{NAME}{found}-{}", written_out(conn, keep.at)?);
    let place = aside::take_as(keep.dir, &new, &name)?;
    // The folder itself may be new.
    sync_dir(keep.dir)?;
    for path in older {
        aside::remove(&path)?;
    }
    Ok(place)
}

/// A moment as a word of digits that fits a file name.
fn written_out(conn: &Connection, at: Unix) -> rusqlite::Result<String> {
    conn.query_row(
        "SELECT strftime('%Y%m%dT%H%M%SZ', ?1, 'unixepoch')",
        [(at.0 / 1000) as i64],
        |row| row.get(0),
    )
}

/// The copies in `dir`, oldest first, with their schemas.
fn copies(dir: &Path) -> LedgerResult<Vec<(i64, PathBuf)>> {
    let folder = dir.join(aside::FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let of = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let (_, named) = name.split_once('-')?;
        let (schema, time) = named.strip_prefix(NAME)?.split_once('-')?;
        // Who looked into a copy may have left other files beside it.
        let is_time = time.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let schema = schema.parse().ok().filter(|_| is_time)?;
        Some((schema, path))
    };
    let listed = aside::listed(&folder)?;
    Ok(listed
        .into_iter()
        .filter_map(|(_, path)| of(path))
        .collect())
}

/// The newest copy in `dir` that this release can read.
fn newest(dir: &Path) -> Option<PathBuf> {
    let copies = copies(dir).unwrap_or_default().into_iter();
    let known = copies.filter(|(schema, _)| *schema <= schema::NEWEST);
    known
        .max_by_key(|(schema, _)| *schema)
        .map(|(_, path)| path)
}

/// Why the database in `dir` is not opened: a later release wrote it.
pub(super) fn too_new(dir: &Path, found: i64) -> LedgerError {
    LedgerError::TooNew {
        path: dir.join(DATABASE),
        found,
        known: schema::NEWEST,
        copy: newest(dir),
    }
}

/// Whether this is a copy in the place of the database.
pub(super) fn is_copy(conn: &Connection) -> LedgerResult<bool> {
    Ok(meta(conn, MARK)?.is_some())
}

/// A copy that was taken over is none any more.
pub(super) fn unmark(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM meta WHERE name = ?1", [MARK])
        .map(drop)
}

/// A path as SQLite takes it: bytes.
struct Bytes<'p>(&'p Path);

impl ToSql for Bytes<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let bytes = self.0.as_os_str().as_bytes();
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(bytes)))
    }
}
