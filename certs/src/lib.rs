//! Who a node is, and who may speak to it.
//!
//! A node is its certificate. An [`Authority`] issues leaves, a [`Bundle`] keeps one
//! leaf and its key in one file, an [`Identity`] turns a bundle and the trusted CAs
//! into TLS configurations, and a [`Gate`] names why a handshake was refused.
//!
//! Promised: TLS 1.3 only, both sides always show a certificate, nothing is ever
//! resumed, two generations of key and chain never mix, no secret is printed.
//! Left to others: sockets, the clock (every moment is passed in) and the question
//! whether the node that proved its name is the one that was meant to be there.
//!
//! ```
//! use std::time::Duration;
//! use certs::{Authority, IssueOptions, NodeId, TrustDomain, UnixTime};
//!
//! let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
//! let authority = Authority::create(&"example.edge".parse::<TrustDomain>()?, now)?;
//! let bundle = authority.issue(&"depot-7".parse::<NodeId>()?, IssueOptions::at(now))?;
//!
//! assert_eq!(bundle.leaf().name.to_string(), "spiffe://example.edge/node/depot-7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `name` | node ids, trust domains, the SPIFFE name made of both |
//! | `authority` | the CA: create, save, load, and its log of issues |
//! | `issue` | one leaf, from a name and a moment |
//! | `store` | the bundle: key and chain in one file |
//! | `leaf` | what a certificate says of its node |
//! | `identity` | a loaded bundle as rustls configurations |
//! | `verify` | both verifiers, and where they note a refusal |
//! | `gate` | the names of refusals, and what an alert may stand for |
//! | `durable` | files that are whole or absent |
//! | `error` | what can go wrong, one enum per concern |

mod authority;
mod durable;
mod error;
mod gate;
mod identity;
mod issue;
mod leaf;
mod name;
mod store;
mod verify;

#[cfg(test)]
mod handshake_tests;

pub use authority::Authority;
pub use error::{AuthorityError, FileError, IdentityError, LeafError, NameError};
pub use gate::{Gate, Gates};
pub use identity::{ALPN, Identity, SERVER_NAME};
pub use issue::{DEFAULT_VALID, IssueOptions, LONGEST_VALID, SHORTEST_VALID};
pub use leaf::{Fingerprint, Leaf, Serial, Validity, peer_identity};
pub use name::{NodeId, SpiffeName, TrustDomain};
pub use store::Bundle;
pub use verify::Refusal;

pub use rustls::pki_types::{CertificateDer, UnixTime};
pub use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use std::sync::Arc;

/// The one crypto provider: `ring`, since it cross-builds with a C compiler alone.
/// Passed wherever rustls asks, so that no process-wide default decides for us.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
