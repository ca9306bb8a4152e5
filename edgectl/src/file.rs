//! Files that are there whole or not at all.
//!
//! Written under another name beside the target, synced, then renamed; a folder is
//! synced once by whoever filled it. A temporary file begins with a dot and carries our
//! process id; what a crash left under that name is removed, never written through.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file on its way to its name; dropped unfinished, it leaves nothing.
pub(crate) struct Whole {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Whole {
    /// Opens the temporary file beside `target`.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let temporary = target.with_file_name(hidden);
        let open = || {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&temporary)?;
                open()?
            }
            opened => opened?,
        };
        Ok(Self {
            file,
            temporary,
            target: target.to_owned(),
            finished: false,
        })
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    /// Syncs it and gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.target)?;
        self.finished = true;
        Ok(())
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing better can be done with a file that will not go.
            drop(std::fs::remove_file(&self.temporary));
        }
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_left_by_a_crash_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let target = dir.path().join("a.bin");
        let mut left = Whole::create(&target).expect("first");
        left.write_all(b"half").expect("room");
        std::mem::forget(left);

        let mut whole = Whole::create(&target).expect("again");
        whole.write_all(b"all").expect("room");
        whole.finish().expect("renamed");

        assert_eq!(std::fs::read(&target).expect("there"), b"all");
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1);
    }
}
