//! The offline check: what a start would meet, and every payload against its digest.
//!
//! Looking changes nothing: the database is copied beside itself and the copy is opened
//! as a start would open it, so that what is said is what would be done. Repairing does
//! it, and removes what nothing names. Bytes that are damaged stay where they are: the
//! daemon parks what is owed of them as `corrupt`, for an operator to decide.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::aside;
use super::bodies::{Bodies, Loaded};
use super::care::{self, Care, Ground};
use super::error::{LedgerError, ReadError};
use super::place::{PACK, PackRow, Place, read_pack};
use super::{DATABASE, LedgerResult, Options, audit, partial, payload, quarantine, salvage};
use crate::audit::AuditRecord;
use crate::id::{NodeNo, PackNo};
use crate::segment::Digest;
use crate::time::Unix;

use rusqlite::Connection;

/// A pack whose bytes are not what was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPack {
    /// Which.
    pub pack: PackNo,
    /// Where its bytes should lie.
    pub place: String,
    /// What is wrong with them.
    pub why: String,
    /// Deliveries that wait for them.
    pub owed: u64,
}

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What a start would do, or what was done.
    pub care: Care,
    /// Packs whose bytes were read.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those whose bytes are damaged or missing.
    pub bad: Vec<BadPack>,
    /// Files that nothing names.
    pub orphans: Vec<PathBuf>,
    /// Deliveries that wait, by peer.
    pub owed: Vec<(NodeNo, String, u64)>,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.care.is_clean() && self.bad.is_empty() && self.orphans.is_empty()
    }
}

/// Checks the ledger in `dir`, which nobody else has open.
///
/// # Errors
/// [`LedgerError`]: a newer schema, another node's ledger, no room for the copy, the
/// file system.
pub fn look(dir: &Path, options: &Options) -> LedgerResult<Checked> {
    let copy = dir.join(care::COPY);
    care::remove_copy(dir)?;
    fs::create_dir_all(&copy).map_err(LedgerError::io("create", &copy))?;
    let looked = copied(dir, &copy).and_then(|()| {
        let ground = Ground {
            database: &copy,
            store: dir,
            moves: false,
        };
        let (conn, care) = care::open(ground, options)?;
        checked(&conn, dir, care)
    });
    care::remove_copy(dir)?;
    looked
}

/// Does what a start would do, dates and records it, and removes what nothing names.
///
/// # Errors
/// As for [`look`].
pub fn repair(dir: &Path, options: &Options, now: Unix) -> LedgerResult<Checked> {
    care::remove_copy(dir)?;
    // However long the database is, all of it is looked at.
    care::leave_word(dir);
    let (conn, care) = care::open(Ground::of(dir), options)?;
    let mut checked = checked(&conn, dir, care)?;
    let lost_packs = checked.care.lost_packs() || quarantine::has_new_packs(&conn)?;
    for orphan in &checked.orphans {
        if lost_packs {
            checked.care.set_aside.push(aside::take(dir, orphan)?);
        } else {
            aside::remove(orphan)?;
        }
    }
    // Last, since until then a repair that is cut short begins anew.
    let work = conn.unchecked_transaction()?;
    quarantine::date(&work, now)?;
    for record in checked.care.records(now) {
        audit::append(&work, &record)?;
    }
    work.commit()
        .map_err(LedgerError::commit("commit repair"))?;
    Ok(checked)
}

/// Copies what there is of the database.
fn copied(dir: &Path, copy: &Path) -> LedgerResult<()> {
    let names = ["", "-wal", "-journal"].map(|suffix| format!("{DATABASE}{suffix}"));
    for name in names.iter().map(String::as_str).chain([aside::REBUILT]) {
        let from = dir.join(name);
        if from.is_file() {
            fs::copy(&from, copy.join(name)).map_err(LedgerError::io("copy", &from))?;
        }
    }
    Ok(())
}

fn checked(conn: &Connection, dir: &Path, care: Care) -> LedgerResult<Checked> {
    let mut checked = Checked {
        care,
        orphans: orphans(conn, dir)?,
        owed: salvage::owed(conn)?,
        ..Checked::default()
    };
    let mut bodies = Bodies::new(dir);
    let mut query = conn.prepare(&format!("SELECT {PACK} FROM pack p ORDER BY p.no"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(pack) = read_pack(row, 0) else {
            continue;
        };
        if matches!(pack.place, Place::GivenUp(_)) {
            continue;
        }
        checked.packs += 1;
        checked.bytes += pack.info.length();
        if let Err(why) = whole(&mut bodies, &pack) {
            checked.bad.push(BadPack {
                pack: pack.no,
                place: place(&pack),
                why,
                owed: waiting(conn, pack.no)?,
            });
        }
    }
    Ok(checked)
}

/// Whether every byte of a pack is what was put.
fn whole(bodies: &mut Bodies, pack: &PackRow) -> Result<(), String> {
    let words = |error: ReadError| error.to_string();
    let table = bodies.table(pack).map_err(words)?;
    match bodies.load(pack).map_err(words)? {
        Loaded::Memory { bytes, table_len } => {
            let bad = table.verify(&bytes[table_len as usize..]);
            match bad.map_err(|error| error.to_string())?[..] {
                [] => Ok(()),
                ref bad => Err(format!(
                    "{} of its bodies do not match their digest",
                    bad.len()
                )),
            }
        }
        Loaded::File { path, .. } => {
            let hash = || {
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(File::open(&path)?)?;
                std::io::Result::Ok(Digest(*hasher.finalize().as_bytes()))
            };
            match hash() {
                Ok(found) if table.members().iter().all(|member| member.digest == found) => Ok(()),
                Ok(_) => Err("the file does not match its digest".into()),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

fn place(pack: &PackRow) -> String {
    match &pack.place {
        Place::Log { file, start, .. } => format!("log/{file:04}.log at byte {start}"),
        Place::Payload { name, .. } => format!("payload/{name}"),
        Place::GivenUp(_) => "nowhere".into(),
    }
}

fn waiting(conn: &Connection, pack: PackNo) -> LedgerResult<u64> {
    let mut query = conn.prepare_cached(
        "SELECT coalesce(sum(count), 0) FROM owed WHERE pack = ?1 AND state IN (0, 1, 2)",
    )?;
    Ok(query.query_row([pack.0 as i64], |row| row.get::<_, i64>(0))? as u64)
}

/// Files of ours that no row names.
fn orphans(conn: &Connection, dir: &Path) -> LedgerResult<Vec<PathBuf>> {
    let folder = dir.join("payload");
    let mut orphans = Vec::new();
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(orphans);
    };
    for entry in entries {
        let entry = entry.map_err(LedgerError::io("list", &folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let named = conn
            .prepare_cached("SELECT 1 FROM pack WHERE name = ?1")?
            .exists([&name])?
            || payload::is_named_after_all(conn, entry.file_name().as_ref())?;
        if !named && !partial::names(conn, &name)? {
            orphans.push(entry.path());
        }
    }
    orphans.sort();
    Ok(orphans)
}

impl Care {
    /// What the audit keeps of it.
    pub(super) fn records(&self, at: Unix) -> Vec<AuditRecord> {
        use crate::audit::AuditEvent::{StorageMigrated, StorageQuarantined, StorageSalvaged};
        let mut records = Vec::new();
        if let Some(migrated) = &self.migrated {
            let record = AuditRecord::own(at, StorageMigrated, "ledger", migrated.to.to_string());
            let copy = match &migrated.copy {
                Ok(path) => path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into(),
                Err(why) => format!("none: {why}"),
            };
            records.push(record.with("from", migrated.from).with("copy", copy));
        }
        if let Some(salvaged) = &self.salvaged {
            let record = AuditRecord::own(at, StorageSalvaged, "ledger", salvaged.why.clone());
            records.push(
                record
                    .with("rows", salvaged.rows)
                    .with("set_aside", salvaged.set_aside.len()),
            );
        }
        if let Some(first) = self.quarantined.first() {
            let record = AuditRecord::own(at, StorageQuarantined, "ledger", first.what.clone());
            records.push(
                record
                    .with("entries", self.quarantined.len())
                    .with("segments", self.segments()),
            );
        }
        records
    }
}
