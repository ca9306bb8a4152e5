//! How a conversation can go wrong, as the client sees it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::{FrameError, RpcError};

/// Why a call did not do what was asked.
///
/// After [`ClientError::Refused`] and [`ClientError::AnswersDue`] the conversation goes
/// on; after any other the client is of no more use and says so ([`ClientError::Broken`]).
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no daemon at {path}: {source}")]
    NoDaemon {
        /// Where we knocked.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket's mode keeps us out.
    #[error("socket {path} is not open to this user: {source}")]
    NotAllowed {
        /// Where we knocked.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(#[from] RpcError),
    /// Not a byte moved for so long.
    #[error("no progress for {0:?}")]
    TimedOut(Duration),
    /// The daemon hung up in the middle.
    #[error("the daemon hung up")]
    HungUp,
    /// The daemon speaks another version.
    #[error(
        "the daemon speaks version {theirs} of the conversation, this client {oldest} to {newest}"
    )]
    OtherVersion {
        /// The daemon's answer.
        theirs: u16,
        /// Our oldest.
        oldest: u16,
        /// Our newest.
        newest: u16,
    },
    /// What came or should go is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A sound frame, but not one that may come here.
    #[error("the daemon answered something else than {wanted}")]
    OffScript {
        /// What we were waiting for.
        wanted: &'static str,
    },
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[source] io::Error),
    /// The caller's own bytes could not be read.
    #[error("cannot read what is to be put: {0}")]
    Source(#[source] io::Error),
    /// The caller could not write what came.
    #[error("cannot write what came: {0}")]
    Sink(#[source] io::Error),
    /// Batches are unanswered, or one more would exceed the window: call `recv_batch` first.
    #[error("{batches} batches of {members} segments are unanswered")]
    AnswersDue {
        /// Batches sent and not answered.
        batches: usize,
        /// Their members.
        members: usize,
    },
    /// An earlier call broke the conversation: connect again.
    #[error("this connection broke in an earlier call")]
    Broken,
}
