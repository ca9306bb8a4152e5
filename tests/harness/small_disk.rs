//! A small file system of its own, and how full it is: a tmpfs, mounted for one test.
//!
//! Its blocks are pages. [`SmallDisk::leave`] takes all of them but so many, so that each
//! write that needs another one can be the first that finds none.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What is taken and given back at once.
pub const PAGE: u64 = 4096;

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
    /// Where it is mounted, if nobody else owns the folder.
    own: Option<TempDir>,
}

impl SmallDisk {
    /// One of `bytes` in a folder of its own; `None` if this machine lets us mount nothing,
    /// which is said.
    ///
    /// # Panics
    /// If there is no temporary folder.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = Self::over(folder.path(), bytes)?;
        disk.own = Some(folder);
        Some(disk)
    }

    /// One of `bytes` over a folder that is there.
    ///
    /// # Panics
    /// If `mount` cannot be run.
    #[must_use]
    pub fn over(folder: &Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "edged-test"])
            .arg(folder);
        let done = mount.output().expect("mount can be run");
        if done.status.success() {
            let at = folder.to_path_buf();
            return Some(Self { at, own: None });
        }
        let said = String::from_utf8_lossy(&done.stderr);
        crate::seeds::say(&format!(
            "  NOT SHOWN: no file system may be mounted here: {}",
            said.trim()
        ));
        assert!(std::env::var_os("CI").is_none(), "CI mounts file systems");
        None
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Something else takes all but `pages` pages.
    ///
    /// # Panics
    /// If it cannot, for another reason than that the disk is full.
    pub fn leave(&self, pages: u64) {
        let mut open = OpenOptions::new();
        let mut file: File = open
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("a name is free");
        let mut length = file.metadata().expect("its length").len();
        let mut piece = 1 << 20;
        while piece >= PAGE {
            match file.write(&vec![1; piece as usize]) {
                Ok(0) => piece /= 2,
                Ok(done) => length += done as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => piece /= 2,
                Err(error) => panic!("the disk is not full and will not be: {error}"),
            }
        }
        let all = length.div_ceil(PAGE);
        file.set_len(all.saturating_sub(pages) * PAGE)
            .expect("it is cut");
    }

    /// It goes: there is room again.
    ///
    /// # Panics
    /// If it will not go.
    pub fn free(&self) {
        match fs::remove_file(self.ballast()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("the ballast stays: {error}"),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being ended may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
