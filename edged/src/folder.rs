//! A folder of somebody else's, opened once: spools are read through it, sinks write
//! into it.
//!
//! All that happens in it goes through the one handle, so that a path that is made to
//! lead elsewhere later leads nobody there. It must be local (INV-01): a network file
//! system keeps neither names nor syncs as we promise them. One by FUSE may be either,
//! and is let pass.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, stat};
use nix::sys::statfs::{AFS_SUPER_MAGIC, CODA_SUPER_MAGIC, FsType, NCP_SUPER_MAGIC};
use nix::sys::statfs::{NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, fstatfs};
use nix::unistd::{AccessFlags, faccessat};

/// File systems that lie on another machine: statfs(2), and linux/magic.h for those
/// without a name in nix.
const REMOTE: [FsType; 9] = [
    NFS_SUPER_MAGIC,
    SMB_SUPER_MAGIC,
    AFS_SUPER_MAGIC,
    CODA_SUPER_MAGIC,
    NCP_SUPER_MAGIC,
    // CIFS, SMB2, Ceph, 9P.
    FsType(0xff53_4d42),
    FsType(0xfe53_4d42),
    FsType(0x00c3_6400),
    FsType(0x0102_1997),
];
/// Folders above it that are looked at: no path has more.
const DEPTH: usize = 4096;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    place: (u64, u64),
}

/// Why a folder is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// The file system said so.
    #[error("cannot open folder {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It lies on another machine.
    #[error("folder {} is on a network file system, and must be on a local one", path.display())]
    Remote {
        /// Which.
        path: PathBuf,
    },
    /// It lies in the state folder, whose files are ours alone.
    #[error("folder {} lies inside node.state_dir", path.display())]
    InState {
        /// Which.
        path: PathBuf,
    },
}

impl Folder {
    /// Opens `path`, which must lie outside `state`.
    pub(crate) fn open(path: &Path, state: &Path) -> Result<Self, FolderError> {
        let io = |source: nix::Error| FolderError::Io {
            path: path.to_owned(),
            source: source.into(),
        };
        let fd = openat(AT_FDCWD, path, FLAGS, Mode::empty()).map_err(io)?;
        if REMOTE.contains(&fstatfs(&fd).map_err(io)?.filesystem_type()) {
            return Err(FolderError::Remote {
                path: path.to_owned(),
            });
        }
        let place = place(&fstat(&fd).map_err(io)?);
        let folder = Self { fd, place };
        if folder.lies_in(state).map_err(io)? {
            return Err(FolderError::InState {
                path: path.to_owned(),
            });
        }
        Ok(folder)
    }

    /// Device and inode: what tells it from all other folders.
    pub(crate) const fn place(&self) -> (u64, u64) {
        self.place
    }

    /// What it is now.
    pub(crate) fn look(&self) -> io::Result<FileStat> {
        Ok(fstat(&self.fd)?)
    }

    /// Whether names in it may be made and taken away, as far as its mode says.
    pub(crate) fn is_writable(&self) -> bool {
        let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
        faccessat(&self.fd, ".", wanted, AtFlags::AT_EACCESS).is_ok()
    }

    /// A handle to list it with, from the beginning.
    pub(crate) fn list(&self) -> io::Result<Dir> {
        Ok(Dir::openat(&self.fd, ".", FLAGS, Mode::empty())?)
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::from(self.fd.try_clone()?).sync_all()
    }

    fn lies_in(&self, state: &Path) -> nix::Result<bool> {
        let Ok(state) = stat(state) else {
            return Ok(false);
        };
        let state = place(&state);
        let (mut at, mut here) = (None, self.place);
        for _ in 0..DEPTH {
            if here == state {
                return Ok(true);
            }
            let below: BorrowedFd<'_> = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let above = openat(below, "..", FLAGS, Mode::empty())?;
            let there = place(&fstat(&above)?);
            if there == here {
                break;
            }
            (at, here) = (Some(above), there);
        }
        Ok(false)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a folder is opened.
const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

fn place(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_unless_it_lies_in_the_state_folder_by_whatever_path() {
        let site = tempfile::tempdir().expect("a folder");
        let path = |name: &str| site.path().join(name);
        std::fs::create_dir_all(path("state/payload")).expect("a folder");
        std::fs::create_dir(path("spool")).expect("a folder");
        std::os::unix::fs::symlink(path("state/payload"), path("way")).expect("a link");
        let open = |name: &str| Folder::open(&path(name), &path("state"));

        assert!(open("spool").expect("it is sound").is_writable());
        for inside in ["state", "state/payload", "way"] {
            let error = open(inside).expect_err("it is ours");
            assert!(matches!(error, FolderError::InState { .. }), "{error}");
        }
        let error = open("nowhere").expect_err("it is not there");
        assert!(matches!(error, FolderError::Io { .. }), "{error}");
    }
}
