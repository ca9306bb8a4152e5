//! What is done before a ledger is trusted: whatever lies in its folder, it opens.
//!
//! ```text
//! not a file where a file should be    set aside                       aside
//! one bad word of the write-ahead log  put right                       wal
//! an index at odds with its table      built anew                      check
//! a row that is not as it was written  into quarantine, books balanced reconcile
//! a schema of an earlier release       a copy kept, migrated           downgrade
//! anything SQLite cannot be sure of    set aside, rebuilt              salvage
//! ```
//!
//! A database up to [`Options::check_whole`] is checked whole at each start, a larger one only
//! in its small tables, unless an earlier run met damage or an error of the disk and left
//! word of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::check::{self, Bad, Trouble};
use super::downgrade::{Keep, Migrated};
use super::error::LedgerError;
use super::quarantine::Quarantined;
use super::salvage::{self, Salvaged};
use super::tables::Table;
use super::{
    DATABASE, Durability, LedgerResult, Options, aside, checkpoint, downgrade, identity, reconcile,
    restore, schema, unnamed, wal,
};

/// The file that says an earlier run met damage, or an error of the disk.
const DUE: &str = "check-due";

/// What opening had to do about damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Care {
    /// Words of the write-ahead log that were put right.
    pub mended: u64,
    /// Whether indexes were built anew.
    pub reindexed: bool,
    /// Whether what is counted was at odds with the rows, and was counted anew.
    pub recounted: bool,
    /// What was no file of ours, where it lies now.
    pub set_aside: Vec<PathBuf>,
    /// What a salvage came to, if there was one.
    pub salvaged: Option<Salvaged>,
    /// What went into quarantine.
    pub quarantined: Vec<Quarantined>,
    /// The migration, if an earlier release wrote the database.
    pub migrated: Option<Migrated>,
    /// Packs the log holds behind everything that rows know of: a group a crash cut
    /// short, or more, where the database is older than its log.
    pub unnamed: u64,
}

impl Care {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let beside = Self {
            unnamed: self.unnamed,
            migrated: self.migrated.clone(),
            ..Self::default()
        };
        *self == beside
    }

    /// Takes over what a look before this one did.
    pub(super) fn merge(&mut self, other: Self) {
        self.mended += other.mended;
        self.reindexed |= other.reindexed;
        self.recounted |= other.recounted;
        self.set_aside.extend(other.set_aside);
        self.salvaged = other.salvaged.or(self.salvaged.take());
        self.quarantined.extend(other.quarantined);
        self.migrated = other.migrated.or(self.migrated.take());
        self.unnamed = other.unnamed;
    }

    /// Whether there may be packs whose rows are gone.
    pub(super) fn lost_packs(&self) -> bool {
        self.salvaged.is_some() || self.quarantined.iter().any(|entry| entry.what == "pack")
    }

    /// Deliveries that will not happen.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.quarantined.iter().map(|entry| entry.segments).sum()
    }
}

/// Where a database lies, and where what it names does.
#[derive(Clone, Copy)]
pub(super) struct Ground<'d> {
    /// The folder of the database.
    pub(super) database: &'d Path,
    /// The folder of the log and the payload files.
    pub(super) store: &'d Path,
    /// Whether files there may be moved; otherwise the database is a copy to try on.
    pub(super) moves: bool,
}

impl<'d> Ground<'d> {
    /// All in one folder, in earnest.
    pub(super) const fn of(dir: &'d Path) -> Self {
        Self {
            database: dir,
            store: dir,
            moves: true,
        }
    }
}

/// The folder of a copy to try on.
pub(super) const COPY: &str = "fsck";

/// Removes a copy, if there is one.
pub(super) fn remove_copy(dir: &Path) -> LedgerResult<()> {
    let copy = dir.join(COPY);
    match fs::remove_dir_all(&copy) {
        Err(error) if copy.exists() => Err(LedgerError::io("remove", &copy)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Opens the database for writing, whatever state it is in.
pub(super) fn open(ground: Ground<'_>, options: &Options) -> LedgerResult<(Connection, Care)> {
    let dir = ground.database;
    if ground.moves {
        downgrade::clear(dir)?;
    }
    let mut care = Care {
        set_aside: aside::clear(ground.store, ground.moves)?,
        ..Care::default()
    };
    care.set_aside.extend(aside::swap(dir)?);
    let why = match examined(ground, options, &mut care) {
        Ok(conn) => return done(ground, conn, care),
        Err(Trouble::Other(error)) => return Err(error),
        Err(Trouble::Damage(why)) => why,
    };
    let (salvaged, quarantined) = salvage::salvage(ground, options, why)?;
    care.salvaged = Some(salvaged);
    care.quarantined = quarantined;
    match examined(ground, options, &mut care) {
        Ok(conn) => done(ground, conn, care),
        Err(Trouble::Other(error)) => Err(error),
        Err(Trouble::Damage(_)) => Err(LedgerError::Unreadable("the rebuilt database")),
    }
}

fn done(ground: Ground<'_>, conn: Connection, care: Care) -> LedgerResult<(Connection, Care)> {
    if ground.moves {
        aside::remove(&ground.store.join(DUE))?;
    }
    Ok((conn, care))
}

/// Leaves word that the next start has to look at everything.
pub(super) fn leave_word(dir: &Path) {
    // The disk may be what is ill; then that start meets the damage as this one did.
    let _ = File::create(dir.join(DUE));
}

/// The database, if it is what we wrote or could be made so in place.
fn examined(ground: Ground<'_>, options: &Options, care: &mut Care) -> Result<Connection, Trouble> {
    let dir = ground.database;
    let path = dir.join(DATABASE);
    let journal = dir.join(format!("{DATABASE}-journal"));
    let length = fs::metadata(&path).map_or(0, |found| found.len());
    if length == 0 && holds_segments(ground.store) {
        return Err(Trouble::Damage("it is missing".into()));
    }
    // What the very first transactions of a ledger left is for SQLite to finish: its mode is
    // not yet ours.
    let is_begun = length <= schema::PAGE && !holds_segments(ground.store);
    if length > 0 && !journal.exists() && !is_begun {
        check::header(&path)?;
    }
    let wal_path = dir.join(format!("{DATABASE}-wal"));
    let looked = wal::mend(&wal_path).map_err(LedgerError::io("read", &wal_path))?;
    care.mended += looked.mended;
    // What is not synced reaches the disk in any order: a hole says nothing then.
    if looked.is_damaged && options.durability == Durability::Synced {
        return Err(Trouble::Damage("its write-ahead log is damaged".into()));
    }
    let conn = schema::connect(&path)?;
    // What turns out to be damaged stays as it was found.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    version(&conn, ground.store)?;
    let conn = migrated(conn, ground, options, care)?;
    check::same_schema(&conn)?;
    if downgrade::is_copy(&conn)? {
        return Err(Trouble::Damage(
            "it is a copy kept before a migration".into(),
        ));
    }
    rows(&conn, ground, options, care)?;
    care.unnamed = unnamed::count(&conn, ground.store)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(conn)
}

/// The database in the newest schema; of an earlier one a copy is kept.
fn migrated(
    conn: Connection,
    ground: Ground<'_>,
    options: &Options,
    care: &mut Care,
) -> LedgerResult<Connection> {
    let keep = Keep {
        dir: ground.store,
        at: options.wall,
        options: Some(options),
    };
    let before = |conn: &Connection, from| {
        if ground.moves {
            return downgrade::keep(conn, from, keep).map(Some);
        }
        Ok(Some(Migrated {
            from,
            to: schema::NEWEST,
            copy: Err("this is a look".into()),
        }))
    };
    let wal = checkpoint::bound(options);
    let (conn, migrated) = schema::migrated(conn, options.durability, wal, before)?;
    care.migrated = migrated.or(care.migrated.take());
    Ok(conn)
}

fn rows(
    conn: &Connection,
    ground: Ground<'_>,
    options: &Options,
    care: &mut Care,
) -> Result<(), Trouble> {
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let is_due = ground.store.join(DUE).exists();
    let whole = pages as u64 * schema::PAGE <= options.check_whole || is_due || !ground.moves;
    if whole {
        care.reindexed |= check::trees(conn)?;
    }
    let bad = check::bad_rows(conn, |table| whole || is_small(table))?;
    if bad.iter().any(|bad| bad.table.name == "meta") || is_headless(conn, ground.store)? {
        return Err(Trouble::Damage("what it says of itself is damaged".into()));
    }
    // A start goes by what is counted; who has a reason to doubt it counts. Where rows go,
    // all is made to agree in any case.
    let counts = bad.is_empty() && (is_due || !ground.moves);
    let is_astray = counts && !reconcile::agree(conn)?;
    care.recounted |= is_astray;
    care.quarantined
        .extend(take_out(conn, bad, is_astray, options)?);
    Ok(())
}

/// Tables of a few rows each, on which everything hangs.
fn is_small(table: &Table) -> bool {
    [
        "meta", "node", "lane", "named", "counter", "log_file", "heard",
    ]
    .contains(&table.name)
}

/// Whether there are packs or segments, and no word of whose they are: a database that
/// was lost with its log, and made anew by asking for it.
fn is_headless(conn: &Connection, store: &Path) -> LedgerResult<bool> {
    let packs: bool = conn.query_row("SELECT EXISTS (SELECT 1 FROM pack)", [], |row| row.get(0))?;
    Ok((packs || holds_segments(store)) && super::meta(conn, "ledger")?.is_none())
}

/// Takes what is bad out of the way of the rest, in one transaction; makes the rest agree if
/// it is astray.
fn take_out(
    conn: &Connection,
    bad: Vec<Bad>,
    is_astray: bool,
    options: &Options,
) -> LedgerResult<Vec<Quarantined>> {
    let change = conn.unchecked_transaction()?;
    let head = restore::audit_head(&change)?;
    if bad.is_empty() && head.is_none() && !is_astray {
        return Ok(Vec::new());
    }
    let is_lost = |name| bad.iter().any(|bad| bad.table.name == name);
    let (lost_counters, lost_packs) = (is_lost("counter"), is_lost("pack"));
    let lost_receipts = is_lost("receipt");
    let mut found = Vec::new();
    for Bad { table, key, entry } in bad {
        let named: Vec<String> = (1..)
            .zip(table.key)
            .map(|(n, column)| format!("{column} IS ?{n}"))
            .collect();
        let sql = format!("DELETE FROM {} WHERE {}", table.name, named.join(" AND "));
        change
            .prepare_cached(&sql)?
            .execute(params_from_iter(&key))?;
        if table.name == "owed" {
            restore::member_gone(&change, &entry)?;
        }
        found.push(entry);
    }
    if lost_packs {
        identity::stand_clear(&change, "last_pack", identity::PACKS)?;
    }
    if lost_receipts {
        identity::stand_clear(&change, "last_receipt", identity::RECEIPTS)?;
    }
    found.extend(head);
    found.extend(restore::names(&change, &options.node)?);
    let found = reconcile::reconcile(&change, found, lost_counters)?;
    change
        .commit()
        .map_err(LedgerError::commit("commit quarantine"))?;
    Ok(found)
}

/// The schema's number stands in the header and, with a sum, in a row: where the two
/// differ, and the row is sound, it is the header that is damaged.
fn version(conn: &Connection, store: &Path) -> Result<(), Trouble> {
    let found = schema::found(conn)?;
    if !check::has_sums(conn)? {
        return match found > schema::NEWEST {
            true => Err(downgrade::too_new(store, found).into()),
            false => Ok(()),
        };
    }
    let bad = check::bad_rows(conn, |table| table.name == "meta")?;
    let noted: Option<i64> = conn
        .query_row(
            "SELECT value FROM meta WHERE name = ?1",
            [schema::SCHEMA],
            |row| row.get(0),
        )
        .optional()?;
    match noted.filter(|_| bad.is_empty()) {
        Some(noted) if noted > schema::NEWEST => Err(downgrade::too_new(store, noted).into()),
        Some(noted) if noted != found => Ok(conn.pragma_update(None, "user_version", noted)?),
        Some(_) => Ok(()),
        None if found > schema::NEWEST => Err(downgrade::too_new(store, found).into()),
        None if found == schema::NEWEST => Ok(()),
        None => Err(Trouble::Damage("its schema has no number".into())),
    }
}

/// Whether segments lie here that a database should name.
fn holds_segments(dir: &Path) -> bool {
    ["log", "payload"].iter().any(|folder| {
        fs::read_dir(dir.join(folder)).is_ok_and(|mut entries| entries.next().is_some())
    })
}
