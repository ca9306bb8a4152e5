//! A new database out of what can be read of a damaged one.
//!
//! The old file is not opened by SQLite but read page by page: every row that matches
//! its own sum is taken over, wherever it lies, so that one bad page costs the rows on
//! it and nothing else. The new database has a new ledger id and numbers far above the
//! old ones: no peer takes what it sends for something it knows, nor the other way
//! round without a look. What the books miss afterwards is entered as quarantined. The
//! log and the payload files stay where they are; payload files that no row names any
//! longer are set aside. The old database is set aside when the new one is whole and
//! synced; a kill before that begins anew, one after it is finished by the next start.

mod cells;
mod pages;

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::bodies::Bodies;
use super::care::Ground;
use super::error::{LedgerError, ReadError};
use super::place::{PACK, Place, read_pack};
use super::quarantine::Quarantined;
use super::tables::{self, Table};
use super::{
    DATABASE, Durability, LedgerResult, Options, aside, downgrade, identity, meta, partial,
    reconcile, restore, schema, set_meta,
};
use crate::id::NodeNo;
use cells::Cell;
use pages::Pages;

/// What a salvage came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Why the old database could not be used.
    pub why: String,
    /// Rows taken over.
    pub rows: u64,
    /// Pages the disk did not give.
    pub unreadable: u64,
    /// What was set aside, where it lies now.
    pub set_aside: Vec<PathBuf>,
    /// Deliveries that will be offered again or are still waiting, by the node's
    /// number and name.
    pub owed: Vec<(NodeNo, String, u64)>,
}

/// The database in the making.
const NEW: &str = "ledger.new";

/// Builds a database from what lies there and puts it in the place of the old one.
pub(super) fn salvage(
    ground: Ground<'_>,
    options: &Options,
    why: String,
) -> LedgerResult<(Salvaged, Vec<Quarantined>)> {
    let (dir, store) = (ground.database, ground.store);
    let new = dir.join(NEW);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        aside::remove(&dir.join(format!("{NEW}{suffix}")))?;
    }
    let old = dir.join(DATABASE);
    let wal = dir.join(format!("{DATABASE}-wal"));
    let mut pages = Pages::open(&old, &wal).map_err(LedgerError::io("read", &old))?;
    let conn = schema::connect(&new)?;
    let (conn, _) = schema::migrated(conn, Durability::Synced, 0, |_, _| Ok(None))?;
    let work = conn.unchecked_transaction()?;
    let mut done = Salvaged {
        why,
        rows: take_over(&mut pages, &work)?,
        unreadable: pages.unreadable,
        ..Salvaged::default()
    };
    renumber(&work, options)?;
    stale(&work, store)?;
    let mut found = restore::names(&work, &options.node)?;
    restore::audit_head(&work)?;
    let unnamed = unnamed_payloads(&work, store)?;
    found.extend(unnamed.iter().map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Quarantined::new("payload", format!("file {name}"), "no row names it")
    }));
    let found = reconcile::reconcile(&work, found, false)?;
    done.owed = owed(&work)?;
    work.commit()
        .map_err(LedgerError::commit("rebuild ledger"))?;
    // Before the new database is there: its first start removes what no row names.
    let mut kept = Vec::new();
    for path in unnamed.iter().filter(|_| ground.moves) {
        kept.push(aside::take(store, path)?);
    }
    finish(conn, dir, &new)?;
    done.set_aside = aside::swap(dir)?;
    done.set_aside.extend(kept);
    Ok((done, found))
}

/// Everything of the new database lies in its one file, synced, under the name that
/// says it is whole.
fn finish(conn: Connection, dir: &Path, new: &Path) -> LedgerResult<()> {
    aside::seal(conn, new)?;
    fs::rename(new, dir.join(aside::REBUILT)).map_err(LedgerError::io("rename", new))?;
    super::files::sync_dir(dir)
}

/// Writes every sound row of every page into `conn`; answers how many.
fn take_over(pages: &mut Pages, conn: &Connection) -> LedgerResult<u64> {
    let probe = Connection::open_in_memory()?;
    schema::apply(&probe, schema::NEWEST)?;
    let mut kinds = Vec::new();
    for table in tables::all().into_iter().chain([tables::audit_chain()]) {
        kinds.push((table, defaults(&probe, table.name)?));
    }
    let mut page = vec![0u8; schema::PAGE as usize];
    let mut taken = 0;
    for no in pages.numbers() {
        if !pages.read(no, &mut page) {
            continue;
        }
        for cell in cells::rows(pages, no, &page) {
            taken += u64::from(take(&probe, conn, &kinds, cell)?);
        }
    }
    Ok(taken)
}

/// What each column of a table holds where a row says nothing of it.
fn defaults(conn: &Connection, table: &str) -> LedgerResult<Vec<Value>> {
    let mut query = conn.prepare("SELECT dflt_value FROM pragma_table_info(?1) ORDER BY cid")?;
    let all = query.query_map([table], |row| row.get::<_, Option<String>>(0))?;
    all.map(|one| match one? {
        Some(sql) => Ok(conn.query_row(&format!("SELECT {sql}"), [], |row| row.get(0))?),
        None => Ok(Value::Null),
    })
    .collect()
}

/// Finds the table a row is of, by its sum, and writes it there. A row written before
/// its table got its last columns lies here without them.
fn take(
    probe: &Connection,
    conn: &Connection,
    kinds: &[(Table, Vec<Value>)],
    mut cell: Cell,
) -> LedgerResult<bool> {
    if let (Some(rowid), Some(first)) = (cell.rowid, cell.columns.first_mut())
        && *first == Value::Null
    {
        *first = Value::Integer(rowid);
    }
    let found = cell.columns.len();
    for (table, defaults) in kinds {
        if table.has_rowid != cell.rowid.is_some() || found > defaults.len() {
            continue;
        }
        let width = defaults.len();
        let mut columns = cell.columns.clone();
        columns.extend_from_slice(&defaults[found..]);
        let marks: Vec<String> = (1..=width).map(|n| format!("?{n}")).collect();
        let into = format!("INTO {} VALUES ({})", table.name, marks.join(", "));
        let tried = probe
            .prepare_cached(&format!("INSERT {into}"))?
            .execute(params_from_iter(&columns));
        // A row that breaks a rule of its table is none of it.
        if tried.is_err() {
            continue;
        }
        let sound = probe
            .prepare_cached(&format!("SELECT * FROM {}", table.name))?
            .query_row([], |row| Ok(table.is_sound(row)))?;
        probe
            .prepare_cached(&format!("DELETE FROM {}", table.name))?
            .execute([])?;
        if sound {
            return keep(conn, table, &into, &columns);
        }
    }
    Ok(false)
}

/// Writes a row, unless a newer one of the same key is there: a page may be read of
/// which a later one was made.
fn keep(conn: &Connection, table: &Table, into: &str, columns: &[Value]) -> LedgerResult<bool> {
    let newest = match table.name {
        "owed" => Some(17),
        "pack" => Some(13),
        "meta" => Some(1),
        "heard" => Some(2),
        _ => None,
    };
    if let Some(at) = newest {
        let key: Vec<String> = (1..)
            .zip(table.key)
            .map(|(n, key)| format!("{key} IS ?{n}"))
            .collect();
        let sql = format!("SELECT * FROM {} WHERE {}", table.name, key.join(" AND "));
        let mut query = conn.prepare_cached(&sql)?;
        let width = table.key.len();
        let mut rows = query.query(params_from_iter(&columns[..width]))?;
        if let Some(row) = rows.next()? {
            let known: Value = row.get(at)?;
            if number(&known) > number(&columns[at]) {
                return Ok(false);
            }
        }
    }
    let sql = format!("INSERT OR REPLACE {into}");
    Ok(conn
        .prepare_cached(&sql)?
        .execute(params_from_iter(columns))
        .is_ok())
}

const fn number(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        Value::Null | Value::Real(_) | Value::Text(_) | Value::Blob(_) => i64::MIN,
    }
}

/// A new ledger, whose numbers stand clear of the old one's.
fn renumber(conn: &Connection, options: &Options) -> LedgerResult<()> {
    downgrade::unmark(conn)?;
    set_meta(conn, "ledger", options.entropy as i64)?;
    set_meta(conn, schema::SCHEMA, schema::NEWEST)?;
    identity::stand_clear(conn, "last_pack", identity::PACKS)?;
    identity::stand_clear(conn, "last_receipt", identity::RECEIPTS)?;
    const EPOCHS: &str =
        "SELECT max(epoch) FROM (SELECT epoch FROM owed UNION SELECT epoch FROM attempt)";
    match meta(conn, "epoch")? {
        Some(_) => {
            let known = identity::greatest(conn, "epoch", EPOCHS)?;
            Ok(set_meta(conn, "epoch", known as i64)?)
        }
        None => identity::stand_clear(conn, "epoch", EPOCHS),
    }
}

/// Packs whose place holds another's record went before the damage: their rows are of a
/// page that was already given up.
fn stale(conn: &Connection, dir: &Path) -> LedgerResult<()> {
    let mut bodies = Bodies::new(dir);
    let mut gone = Vec::new();
    let mut query = conn.prepare(&format!("SELECT {PACK} FROM pack p ORDER BY p.no"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(pack) = read_pack(row, 0) else {
            continue;
        };
        if !matches!(pack.place, Place::Log { .. }) {
            continue;
        }
        match bodies.load(&pack) {
            Err(ReadError::Corrupt(what)) if what.contains("another") => gone.push(pack.no),
            Ok(_) | Err(_) => {}
        }
    }
    drop(rows);
    for no in gone {
        conn.execute("DELETE FROM pack WHERE no = ?1", [no.0 as i64])?;
    }
    Ok(())
}

/// Payload files that opening would remove, since no row names them.
fn unnamed_payloads(conn: &Connection, dir: &Path) -> LedgerResult<Vec<PathBuf>> {
    let folder = dir.join("payload");
    let mut unnamed = Vec::new();
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(unnamed);
    };
    for entry in entries {
        let entry = entry.map_err(LedgerError::io("list", &folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let named: bool = conn
            .prepare_cached("SELECT 1 FROM pack WHERE name = ?1")?
            .exists([&name])?;
        if !named && !partial::names(conn, &name)? {
            unnamed.push(entry.path());
        }
    }
    unnamed.sort();
    Ok(unnamed)
}

/// How many deliveries wait, by peer.
pub(super) fn owed(conn: &Connection) -> rusqlite::Result<Vec<(NodeNo, String, u64)>> {
    let mut query = conn.prepare(
        "SELECT o.peer, n.name, sum(o.count) FROM owed o JOIN node n ON n.no = o.peer
         WHERE o.state IN (0, 1, 2) GROUP BY o.peer ORDER BY o.peer",
    )?;
    let rows = query.query_map([], |row| {
        Ok((
            NodeNo(row.get(0)?),
            row.get(1)?,
            row.get::<_, i64>(2)? as u64,
        ))
    })?;
    rows.collect()
}
