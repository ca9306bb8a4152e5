//! The folder for what cannot be used and is not thrown away: `set-aside`.
//!
//! A damaged database goes there, the copy of one that a migration changes
//! ([`super::downgrade`]), and whatever lies where one of our files should and is no
//! file at all. Names are numbered in the order things came. What is here counts
//! under the ceiling; past a quarter of it the oldest go.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::LedgerError;
use super::files::sync_dir;
use super::{DATABASE, LedgerResult};

/// The folder's name.
pub(super) const FOLDER: &str = "set-aside";
/// A rebuilt database that has not yet taken its place.
pub(super) const REBUILT: &str = "ledger.rebuilt";

/// Moves `path` into the folder of `dir`; answers where it lies now.
pub(super) fn take(dir: &Path, path: &Path) -> LedgerResult<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    take_as(dir, path, &name)
}

/// [`take`] under a name of its own.
pub(super) fn take_as(dir: &Path, path: &Path, name: &str) -> LedgerResult<PathBuf> {
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder).map_err(LedgerError::io("create", &folder))?;
    let last = listed(&folder)?.last().map_or(0, |(no, _)| *no);
    let to = folder.join(format!("{:04}-{name}", last + 1));
    fs::rename(path, &to).map_err(LedgerError::io("set aside", path))?;
    sync_dir(&folder)?;
    Ok(to)
}

/// What lies in the folder, oldest first.
pub(super) fn listed(folder: &Path) -> LedgerResult<Vec<(u64, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(LedgerError::io("list", folder))? {
        let entry = entry.map_err(LedgerError::io("list", folder))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.split('-').next());
        let number = number.and_then(|number| number.parse().ok());
        all.extend(number.map(|number| (number, entry.path())));
    }
    all.sort_unstable();
    Ok(all)
}

/// Bytes in the folder, after the oldest went as far as they pass `most`.
pub(super) fn bounded(dir: &Path, most: u64) -> LedgerResult<u64> {
    let folder = dir.join(FOLDER);
    if !folder.is_dir() {
        return Ok(0);
    }
    let mut sizes = Vec::new();
    for (_, path) in listed(&folder)? {
        // A link is not followed: what it leads to is not ours.
        let found = fs::symlink_metadata(&path).map_err(LedgerError::io("read", &path))?;
        sizes.push((if found.is_file() { found.len() } else { 0 }, path));
    }
    let mut sum: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
    for (bytes, path) in sizes.iter().filter(|(bytes, _)| *bytes > 0) {
        if sum <= most {
            break;
        }
        fs::remove_file(path).map_err(LedgerError::io("remove", path))?;
        sum -= bytes;
    }
    Ok(sum)
}

/// Moves away whatever lies in the place of a file or folder of ours and is none: a
/// pipe there would hold the start up for good.
/// Without `moves` they are only named.
pub(super) fn clear(dir: &Path, moves: bool) -> LedgerResult<Vec<PathBuf>> {
    let mut moved = Vec::new();
    let unless = |path: &Path, fits: fn(&Path) -> bool| -> LedgerResult<Option<PathBuf>> {
        if path.symlink_metadata().is_err() || fits(path) {
            Ok(None)
        } else if moves {
            take(dir, path).map(Some)
        } else {
            Ok(Some(path.to_path_buf()))
        }
    };
    for suffix in ["", "-wal", "-shm", "-journal"] {
        moved.extend(unless(
            &dir.join(format!("{DATABASE}{suffix}")),
            Path::is_file,
        )?);
    }
    for folder in ["log", "payload", FOLDER] {
        let folder = dir.join(folder);
        if folder.ends_with(FOLDER) && !folder.is_dir() && folder.symlink_metadata().is_ok() {
            // There is no folder to move it into: it makes room under another name.
            let other = dir.join("set-aside.found");
            if moves {
                fs::rename(&folder, &other).map_err(LedgerError::io("set aside", &folder))?;
            }
            moved.extend([other]);
            continue;
        }
        moved.extend(unless(&folder, Path::is_dir)?);
    }
    for folder in [dir.join("log"), dir.join("payload")] {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.map_err(LedgerError::io("list", &folder))?.path();
            moved.extend(unless(&path, Path::is_file)?);
        }
    }
    Ok(moved)
}

/// Puts a rebuilt database in the place of the damaged one, which is set aside; does
/// nothing without one. A kill in between is made good by the next call.
pub(super) fn swap(dir: &Path) -> LedgerResult<Vec<PathBuf>> {
    let rebuilt = dir.join(REBUILT);
    if !rebuilt.exists() {
        return Ok(Vec::new());
    }
    let mut moved = Vec::new();
    for suffix in ["", "-wal", "-journal"] {
        let old = dir.join(format!("{DATABASE}{suffix}"));
        if old.exists() {
            moved.push(take(dir, &old)?);
        }
    }
    remove(&dir.join(format!("{DATABASE}-shm")))?;
    let place = dir.join(DATABASE);
    fs::rename(&rebuilt, &place).map_err(LedgerError::io("rename", &rebuilt))?;
    sync_dir(dir)?;
    Ok(moved)
}

/// Closes a database that nobody else has open, so that all of it lies in its one file,
/// synced.
pub(super) fn seal(conn: Connection, path: &Path) -> LedgerResult<()> {
    conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
    conn.close().map_err(|(_, error)| error)?;
    for suffix in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        remove(Path::new(&beside))?;
    }
    let sync = || File::open(path)?.sync_all();
    sync().map_err(LedgerError::io("sync", path))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> LedgerResult<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LedgerError::io("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
