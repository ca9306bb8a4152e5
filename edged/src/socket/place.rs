//! The socket's path: taken only from a daemon that is gone, given back at the end.
//!
//! Whether somebody answers is asked by knocking, without waiting: a listener whose
//! queue is full is a listener. The state folder's lock keeps two daemons of one folder
//! apart; this keeps apart two folders with one socket path.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, chown};
use socket2::{Domain, SockAddr, Type};
use tokio::net::UnixListener;
use tracing::{debug, info, warn};

/// Owner and group may connect, nobody else.
const MODE: u32 = 0o660;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else lies at the path; it is left alone.
    #[error("rpc.socket {} is a socket path that is not a socket: found {found} (remove it or choose another path)", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What lies there.
        found: &'static str,
    },
    /// Somebody answers there.
    #[error("rpc.socket {}: another daemon answers there", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {act} rpc.socket {}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// A path that is ours until dropped.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    inode: (u64, u64),
}

/// Listens at `path` with `group` as its group, if there is such a group.
pub(super) fn take(path: &Path, group: &str) -> Result<(UnixListener, Place), SocketError> {
    let err = |act| {
        move |source| SocketError::Io {
            act,
            path: path.to_owned(),
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Ok(found) => remove_stale(path, &found)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(err("look at")(error)),
    }
    let listener = UnixListener::bind(path).map_err(err("bind"))?;
    // From here on an error gives the path back. Until the mode is set, the umask holds;
    // rights are asked of each caller in any case.
    let found = fs::symlink_metadata(path).map_err(err("look at"))?;
    let place = Place {
        path: path.to_owned(),
        inode: (found.dev(), found.ino()),
    };
    give_to_group(path, group);
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(err("set the mode of"))?;
    Ok((listener, place))
}

fn remove_stale(path: &Path, found: &Metadata) -> Result<(), SocketError> {
    if !found.file_type().is_socket() {
        let path = path.to_owned();
        let found = kind(found);
        return Err(SocketError::NotASocket { path, found });
    }
    match knock(path) {
        Ok(false) => {}
        Ok(true) => {
            let path = path.to_owned();
            return Err(SocketError::InUse { path });
        }
        Err(source) => {
            let path = path.to_owned();
            return Err(SocketError::Io {
                act: "knock at",
                path,
                source,
            });
        }
    }
    info!(path = %path.display(), "Replacing a socket at which nobody answers");
    fs::remove_file(path).map_err(|source| SocketError::Io {
        act: "remove stale",
        path: path.to_owned(),
        source,
    })
}

/// Whether somebody listens.
fn knock(path: &Path) -> io::Result<bool> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        // The queue of a listener is full.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

fn kind(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_file() {
        "a file"
    } else {
        "something else"
    }
}

/// A group that is not there, or not ours to give, leaves the socket to its owner.
fn give_to_group(path: &Path, name: &str) {
    if name.is_empty() {
        return;
    }
    match Group::from_name(name) {
        Ok(Some(group)) => {
            if let Err(error) = chown(path, None, Some(group.gid)) {
                warn!(group = name, %error, "The socket cannot be given to its group");
            }
        }
        Ok(None) => debug!(group = name, "No such group: the socket is its owner's"),
        Err(error) => warn!(group = name, %error, "The group cannot be looked up"),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if ours {
            // What is left is stale, and the next daemon sees that it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}
