//! What ends a stream, a link, or the attempt to make one.

use quinn::{ConnectionError, ReadError, ReadExactError, WriteError};
use relay_core::pack::PackError;
use relay_core::wire::{Goodbye, WireError};

/// Why the transport cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The UDP port is taken, or the address is not ours.
    #[error("socket on {listen}")]
    Socket {
        /// What was asked for.
        listen: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The identity makes no TLS configuration.
    #[error(transparent)]
    Identity(#[from] certs::IdentityError),
    /// TLS and QUIC have no cipher suite in common.
    #[error("TLS configuration without the cipher suite that QUIC begins with")]
    Suite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// An idle timeout beyond what QUIC can say.
    #[error("idle timeout of {0:?} is too long")]
    Idle(std::time::Duration),
}

/// Why a task of a link ends before its stream does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The peer said what it may not; the link ends, with this text for both sides.
    #[error("{0}")]
    Protocol(String),
    /// An invariant of our own does not hold; the link ends.
    #[error("{0}")]
    Broken(&'static str),
    /// The stream or the connection is gone; the link's owner knows of the latter.
    #[error("stream is gone")]
    Gone,
}

impl LinkError {
    /// The peer said what it may not.
    pub(crate) fn protocol(text: &str) -> Self {
        Self::Protocol(text.to_owned())
    }
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<PackError> for LinkError {
    fn from(error: PackError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<ReadError> for LinkError {
    fn from(_: ReadError) -> Self {
        Self::Gone
    }
}

impl From<ReadExactError> for LinkError {
    fn from(_: ReadExactError) -> Self {
        Self::Gone
    }
}

impl From<WriteError> for LinkError {
    fn from(_: WriteError) -> Self {
        Self::Gone
    }
}

impl From<ConnectionError> for LinkError {
    fn from(_: ConnectionError) -> Self {
        Self::Gone
    }
}

/// Why two nodes did not meet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeetError {
    /// We closed: the peer is not who it should be, or does not speak our language.
    #[error("closed here: {}: {text}", why.as_str())]
    Closed {
        /// The word of the close.
        why: Goodbye,
        /// The rest of it.
        text: String,
    },
    /// The connection ended.
    #[error("connection lost")]
    Lost(#[from] ConnectionError),
    /// No address, or none that can be dialled.
    #[error("{0}")]
    Address(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Setup(#[from] TransportError),
    /// Too long without a Hello.
    #[error("no Hello in time")]
    TimedOut,
    /// The transport closes.
    #[error("the transport closes")]
    Stopping,
}
