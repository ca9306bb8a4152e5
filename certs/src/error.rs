//! What can go wrong with identities, one enum per concern.
//!
//! Every message names the thing and what was found there, and where it helps, what
//! to try. Refused handshakes are not here: they are a [`crate::Gate`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A text is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A node id is empty, or longer than a DNS label.
    #[error("node id has {found} characters (use 1 to 63)")]
    NodeLength {
        /// How many characters it has.
        found: usize,
    },
    /// A node id holds a character outside `a-z 0-9 -`.
    #[error("node id {found:?} holds {character:?} (use a-z, 0-9 and -)")]
    NodeCharacter {
        /// The whole text.
        found: String,
        /// The first character that may not be there.
        character: char,
    },
    /// A trust domain is no DNS name in lower case.
    #[error("trust domain {found:?} is no DNS name in lower case (try \"example.edge\")")]
    TrustDomain {
        /// The whole text.
        found: String,
    },
    /// A URI is no name of a node or a CA of ours.
    #[error("name {found:?} is not of the form spiffe://<trust-domain>/node/<id>")]
    Spiffe {
        /// The whole text.
        found: String,
    },
}

/// A certificate does not say which node it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The chain holds no certificate.
    #[error("the chain is empty")]
    EmptyChain,
    /// The bytes are no X.509 certificate, or one of its parts is malformed.
    #[error("the certificate is malformed: {found}")]
    Malformed {
        /// What the parser met.
        found: String,
    },
    /// The certificate has no URI SAN, or more than one (SPIFFE allows one).
    #[error("the certificate holds {found} URI names, not one")]
    UriNames {
        /// How many it holds.
        found: usize,
    },
    /// The URI SAN is not a node's name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A file of ours cannot be read, written or understood.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing is at the path.
    #[error("{} does not exist ({hint})", path.display())]
    Missing {
        /// Where we looked.
        path: PathBuf,
        /// What to try.
        hint: &'static str,
    },
    /// A file with a private key may be read by others than its owner.
    #[error("{} holds a private key and has mode {mode:04o} (try: chmod 600 {})", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path is there, and is not a file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was asked for.
        path: PathBuf,
    },
    /// The file is larger than any of its kind can be.
    #[error("{} has {found} bytes, more than any such file holds (at most {most})", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The most we read, in bytes.
        most: u64,
    },
    /// The file is no PEM, or what its PEM sections hold is broken.
    #[error("{} is not readable as PEM: {found}", path.display())]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What was met.
        found: String,
    },
    /// The file holds no private key.
    #[error("{} holds no private key ({certificates} certificates found)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// How many certificates it does hold.
        certificates: usize,
    },
    /// The file holds more than one private key, so which is meant is unknown.
    #[error("{} holds {found} private keys, not one", path.display())]
    ManyKeys {
        /// The file.
        path: PathBuf,
        /// How many it holds.
        found: usize,
    },
    /// The file holds no certificate.
    #[error("{} holds no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The private key is not the one its certificate was issued for.
    #[error("{}: the key does not match the certificate of {certificate}", path.display())]
    KeyMismatch {
        /// The file.
        path: PathBuf,
        /// Whose certificate it is.
        certificate: String,
    },
    /// The certificate was read and does not name a node.
    #[error("{}", path.display())]
    Leaf {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        source: LeafError,
    },
    /// A certificate among the trusted CAs is no CA.
    #[error("{} holds the certificate of {subject}, which is no CA (give the CA's ca.crt)", path.display())]
    NotACa {
        /// The file.
        path: PathBuf,
        /// Whose certificate it is.
        subject: String,
    },
    /// A CA, or a part of one, is already there.
    #[error("{} exists, and a CA is never overwritten (choose another directory, or move it away)", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The system refused an operation on the file.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A CA could not be made, kept, loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// One of its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The CA's certificate does not name a trust domain.
    #[error("the CA certificate names no trust domain")]
    Name(#[from] LeafError),
    /// The life asked for is outside what we issue.
    #[error("a life of {} s was asked for (1 hour to 398 days are issued)", found.as_secs())]
    Life {
        /// What was asked for.
        found: Duration,
    },
    /// The CA ends too soon for the shortest leaf.
    #[error("the CA ends at unix second {not_after}, too soon to issue (begin a CA rollover)")]
    Ending {
        /// The CA's last second, unix.
        not_after: u64,
    },
    /// A moment lies outside what a certificate can say (years 1970 to 9999).
    #[error("unix second {found} is no moment a certificate can hold")]
    Moment {
        /// The moment, in unix seconds.
        found: u64,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// A key or a certificate could not be made.
    #[error("cannot sign: {0}")]
    Sign(#[from] rcgen::Error),
}

/// A bundle and the trusted CAs do not make an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// One of the two files.
    #[error(transparent)]
    File(#[from] FileError),
    /// rustls does not take what the files hold.
    #[error("the TLS library refuses the identity")]
    Tls(#[from] rustls::Error),
    /// rustls builds no verifier from the CAs.
    #[error("the TLS library refuses the trusted CAs")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}
