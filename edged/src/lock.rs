//! One process per state folder.
//!
//! [`StateLock::take`] makes the folder ours (mode 0700, with a marker file, so
//! that a mistyped `state_dir` never has its contents touched), then holds an
//! `flock` on `state_dir/lock` for as long as it lives and writes our pid there
//! for whoever comes second. The kernel drops the lock with the process, however
//! it dies, so a lock file left behind means nothing. The caller turns a
//! [`LockError`] into exit code 2.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The exclusive right to one state folder, until dropped.
#[derive(Debug)]
pub struct StateLock {
    dir: PathBuf,
    _held: Flock<File>,
}

/// Why a state folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Something that is no folder stands at the path.
    #[error("state_dir {} is not a folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The folder holds files, and our marker is not among them.
    #[error(
        "state_dir {} is not ours: it holds {found} and no {MARKER} (choose an empty folder)",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The first few names in it.
        found: String,
    },
    /// Another process has it.
    #[error("state_dir {} is held by {} (stop it, or choose another state_dir)", path.display(), holder(*pid))]
    Held {
        /// The folder.
        path: PathBuf,
        /// Its process id, if it has written it already.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl StateLock {
    /// Makes or checks the folder and locks it.
    ///
    /// # Errors
    /// [`LockError`], at once: it never waits for another process to end.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        prepare(dir)?;
        let path = dir.join(LOCK);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(&path).map_err(refused("open", &path))?;
        let mut held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(LockError::Held {
                    path: dir.to_owned(),
                    pid: read_pid(file),
                });
            }
            Err((_, errno)) => return Err(refused("lock", &path)(errno.into())),
        };
        write_pid(&mut held).map_err(refused("write", &path))?;
        Ok(Self {
            dir: dir.to_owned(),
            _held: held,
        })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Makes the folder with mode 0700 and our marker in it; an empty one becomes
/// ours, one of ours stays as it is.
///
/// # Errors
/// [`LockError`], but never `Held`: nothing is locked.
pub fn prepare(dir: &Path) -> Result<(), LockError> {
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            return Err(LockError::NotAFolder {
                path: dir.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(dir);
            made.map_err(refused("create", dir))?;
        }
        Err(error) => return Err(refused("look at", dir)(error)),
    }
    if !is_ours(dir)? {
        mark(dir).map_err(refused("write the marker into", dir))?;
    }
    let found = fs::metadata(dir).map_err(refused("look at", dir))?;
    if found.permissions().mode() & 0o777 != PRIVATE {
        let private = Permissions::from_mode(PRIVATE);
        fs::set_permissions(dir, private).map_err(refused("set mode 0700 on", dir))?;
    }
    Ok(())
}

/// The file that says that a folder is a state folder of ours.
pub const MARKER: &str = "edged-state";
/// The file that is locked.
pub const LOCK: &str = "lock";
/// Nobody but the daemon's user looks into state.
const PRIVATE: u32 = 0o700;
/// Names shown of a folder that is not ours.
const SHOWN: usize = 3;

/// Whether the marker is there; an error if something else is instead.
fn is_ours(dir: &Path) -> Result<bool, LockError> {
    // One listing decides: a marker written meanwhile by another process of ours
    // would otherwise be taken for somebody else's file.
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(refused("list", dir))? {
        let name = entry
            .map_err(refused("list", dir))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name == MARKER {
            return Ok(true);
        }
        // A fresh ext4 mounted at the folder has this one.
        if name != "lost+found" && found.len() <= SHOWN {
            found.push(format!("{name:?}"));
        }
    }
    if found.is_empty() {
        return Ok(false);
    }
    found.sort();
    if found.len() > SHOWN {
        found[SHOWN] = "more".to_owned();
    }
    Err(LockError::Foreign {
        path: dir.to_owned(),
        found: found.join(", "),
    })
}

/// Writes the marker to stable storage. Only that it exists counts.
fn mark(dir: &Path) -> io::Result<()> {
    let marker = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(dir.join(MARKER));
    match marker {
        Ok(mut file) => {
            file.write_all(
                b"This folder is the state of edged. Nothing in it is to be edited by hand.\n",
            )?;
            file.sync_all()?;
            File::open(dir)?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

fn refused<'a>(act: &'static str, path: &'a Path) -> impl Fn(io::Error) -> LockError + 'a {
    move |source| LockError::Io {
        act,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("the folder is there")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn a_second_holder_is_told_the_pid_of_the_first() {
        let world = tempfile::tempdir().expect("a folder");
        let dir = world.path().join("state");
        let first = StateLock::take(&dir).expect("the first has it");

        let second = StateLock::take(&dir).expect_err("the second has not");

        let ours = std::process::id();
        assert!(
            matches!(second, LockError::Held { pid: Some(pid), .. } if pid == ours),
            "{second}"
        );
        assert!(
            second
                .to_string()
                .contains(&format!("held by process {ours}")),
            "{second}"
        );
        drop(first);
        StateLock::take(&dir).expect("free again");
    }

    #[test]
    fn a_new_folder_is_private_and_marked() {
        let world = tempfile::tempdir().expect("a folder");
        let dir = world.path().join("a/b/state");

        prepare(&dir).expect("made");

        assert_eq!(mode(&dir), PRIVATE);
        assert!(dir.join(MARKER).exists());
    }

    #[test]
    fn an_empty_folder_becomes_ours_and_private() {
        let world = tempfile::tempdir().expect("a folder");
        fs::create_dir(world.path().join("lost+found")).expect("made");
        fs::set_permissions(world.path(), Permissions::from_mode(0o755)).expect("opened up");

        prepare(world.path()).expect("ours");

        assert_eq!(mode(world.path()), PRIVATE);
    }

    #[test]
    fn a_foreign_folder_is_refused_and_left_alone() {
        let world = tempfile::tempdir().expect("a folder");
        fs::set_permissions(world.path(), Permissions::from_mode(0o755)).expect("opened up");
        fs::write(world.path().join("thesis.tex"), "years of work").expect("written");

        let error = StateLock::take(world.path()).expect_err("not ours");

        assert!(matches!(error, LockError::Foreign { .. }));
        assert!(
            error
                .to_string()
                .contains("it holds \"thesis.tex\" and no edged-state"),
            "{error}"
        );
        assert_eq!(mode(world.path()), 0o755);
        assert_eq!(fs::read_dir(world.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_file_is_no_state_folder() {
        let world = tempfile::tempdir().expect("a folder");
        let path = world.path().join("state");
        fs::write(&path, "").expect("written");

        let error = StateLock::take(&path).expect_err("no folder");

        assert!(matches!(error, LockError::NotAFolder { .. }));
    }
}
