//! Files that are whole or absent.
//!
//! A write goes to a temporary neighbour, is synced, takes its place by one rename,
//! and the directory is synced: at any instant, also after a power cut, the path
//! holds all of the old or all of the new. What the bytes mean is left to callers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::FileError;

/// Mode of files with a private key: for their owner alone.
pub(crate) const SECRET: u32 = 0o600;
/// Mode of files that everyone may read.
pub(crate) const OPEN: u32 = 0o644;

/// Puts `bytes` at `path` with `mode`, replacing what is there in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let fresh = temporary(path);
    let placed = write_synced(&fresh, bytes, mode).and_then(|()| fs::rename(&fresh, path));
    if placed.is_err() {
        // Nothing more can be done about a leftover: the write's own error matters.
        let _ = fs::remove_file(&fresh);
    }
    placed
        .and_then(|()| sync_directory(path))
        .map_err(|source| io_error("write", path, source))
}

/// Appends one line to `path`, and returns once it is on disk.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<(), FileError> {
    let append = || {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(OPEN)
            .open(path)?;
        // One write, so that two processes appending never weave their lines.
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        sync_directory(path)
    };
    append().map_err(|source| io_error("write", path, source))
}

/// Makes a directory and its parents, for the owner alone; one that exists stays as it is.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| io_error("create", path, source))
}

/// Reads a file that everyone may see. `hint` says what to try where it is missing.
pub(crate) fn read_open(path: &Path, hint: &'static str) -> Result<Vec<u8>, FileError> {
    read(path, hint).map(|(bytes, _)| bytes)
}

/// Reads a file with a private key; one that group or others may touch is refused.
pub(crate) fn read_secret(path: &Path, hint: &'static str) -> Result<Vec<u8>, FileError> {
    let (bytes, mode) = read(path, hint)?;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(bytes)
}

/// A key, or a chain of certificates, takes some KiB: a megabyte is another file.
const MOST: u64 = 1024 * 1024;

fn read(path: &Path, hint: &'static str) -> Result<(Vec<u8>, u32), FileError> {
    let failed = |source: io::Error| match source.kind() == io::ErrorKind::NotFound {
        true => FileError::Missing {
            path: path.to_owned(),
            hint,
        },
        false => io_error("read", path, source),
    };
    // Asked before opening: to open a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    let found = file
        .take(MOST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if found as u64 > MOST {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            found: about.len(),
            most: MOST,
        });
    }
    Ok((bytes, about.permissions().mode() & 0o7777))
}

/// A neighbour of `path` that no other living writer uses: by process and by count.
fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    PathBuf::from(name)
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A leftover of a killed process with our number; its mode may be another.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

fn io_error(act: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Io {
        act,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_its_bytes_its_mode_and_no_neighbours() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");

        replace(&path, b"old", OPEN).expect("first write");
        replace(&path, b"new", SECRET).expect("second write");

        assert_eq!(read_secret(&path, "").expect("read"), b"new");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_write_that_cannot_take_its_place_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("taken");
        fs::create_dir(&path).expect("a directory in the way");

        replace(&path, b"new", OPEN).expect_err("a file cannot replace a directory");

        assert!(path.is_dir());
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_file_too_large_and_a_directory_are_refused_unread() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("large");
        let size = MOST + 1;
        File::create(&path)
            .and_then(|file| file.set_len(size))
            .expect("sparse file");

        assert!(matches!(
            read_open(&path, ""),
            Err(FileError::TooLarge { found, .. }) if found == size
        ));
        assert!(matches!(
            read_open(dir.path(), ""),
            Err(FileError::NotAFile { .. })
        ));
    }
}
