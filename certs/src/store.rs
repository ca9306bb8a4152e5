//! The bundle: a node's key and chain in one file.
//!
//! One file, mode 0600, replaced by one rename, so that a key never stands beside
//! another generation's chain. The bundle it replaces is kept as `<file>.previous`.
//! Loading checks what needs no clock: that the file is its owner's alone, that key
//! and leaf belong together, that the leaf names a node. Whether the leaf is trusted
//! and still holds is for [`crate::Identity`].

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::durable;
use crate::error::FileError;
use crate::leaf::{Leaf, parse};
use crate::provider;

/// A key, the chain issued for it, and what its leaf says. The key is never printed.
pub struct Bundle {
    pem: String,
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    leaf: Leaf,
}

impl Bundle {
    /// Loads the bundle at `path`.
    ///
    /// # Errors
    /// The file is missing, may be touched by group or others, is no PEM, holds no
    /// key or more than one, no certificate, or key and leaf of different pairs.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        const HINT: &str = "issue one with `edgectl cert issue`, or enrol the node";
        let bytes = durable::read_secret(path, HINT)?;
        Self::parse(path, &bytes)
    }

    /// Reads a bundle from its text: a private key and a chain, the leaf first.
    ///
    /// # Errors
    /// As [`Bundle::load`], for a file called `bundle`.
    pub fn from_pem(text: &str) -> Result<Self, FileError> {
        Self::parse(Path::new("bundle"), text.as_bytes())
    }

    /// Puts the bundle at `path`, in one step and on disk before this returns. What
    /// stood there becomes `<path>.previous`; the same bundle again changes nothing.
    ///
    /// # Errors
    /// The system refuses a read or a write; the old bundle then still stands.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        match durable::read_open(path, "") {
            // Saved twice, a bundle would else become its own predecessor.
            Ok(current) if current == self.pem.as_bytes() => {}
            Ok(current) => durable::replace(&Self::previous(path), &current, durable::SECRET)?,
            Err(FileError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        durable::replace(path, self.pem.as_bytes(), durable::SECRET)
    }

    /// Where the predecessor of the bundle at `path` is kept.
    pub fn previous(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".previous");
        PathBuf::from(name)
    }

    /// What its leaf says.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Its certificates, the leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The text, private key and all: for a file or a terminal, never for a log.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// The pair as rustls takes it.
    pub(crate) fn certified_key(
        &self,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, rustls::Error> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), provider)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        let chain = certificates_or_none(path, bytes)?;
        let key = private_key(path, bytes, chain.len())?;
        let leaf = chain.first().ok_or_else(|| FileError::NoCertificate {
            path: path.to_owned(),
        })?;
        let leaf = Leaf::read(leaf).map_err(|source| FileError::Leaf {
            path: path.to_owned(),
            source,
        })?;
        check_pair(path, &chain, &key, leaf.name.node.as_str())?;
        let pem = std::str::from_utf8(bytes).map_err(|error| FileError::Garbage {
            path: path.to_owned(),
            found: error.to_string(),
        })?;
        Ok(Self {
            pem: pem.to_owned(),
            key,
            chain,
            leaf,
        })
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("leaf", &self.leaf)
            .finish_non_exhaustive()
    }
}

/// Loads the CAs a node trusts: one or more certificates in one PEM file.
pub(crate) fn load_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    const HINT: &str = "copy the ca.crt of the trust domain there";
    let roots = certificates(path, &durable::read_open(path, HINT)?)?;
    for root in &roots {
        check_is_ca(path, root)?;
    }
    Ok(roots)
}

/// The certificates of a PEM file, in its order; at least one.
pub(crate) fn certificates(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found = certificates_or_none(path, bytes)?;
    if found.is_empty() {
        return Err(FileError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

/// The one private key of a PEM file, in which `certificates` were found.
pub(crate) fn private_key(
    path: &Path,
    bytes: &[u8],
    certificates: usize,
) -> Result<PrivateKeyDer<'static>, FileError> {
    let mut keys = PrivateKeyDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| garbage(path, &error))?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(FileError::ManyKeys {
            path: path.to_owned(),
            found: others + 1,
        }),
        (None, _) if certificates == 0 && !is_pem(bytes) => Err(FileError::Garbage {
            path: path.to_owned(),
            found: format!("no PEM section in {} bytes", bytes.len()),
        }),
        (None, _) => Err(FileError::NoKey {
            path: path.to_owned(),
            certificates,
        }),
    }
}

/// Refuses a key that is not the one `chain` was issued for.
pub(crate) fn check_pair(
    path: &Path,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    certificate: &str,
) -> Result<(), FileError> {
    match CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(FileError::KeyMismatch {
            path: path.to_owned(),
            certificate: certificate.to_owned(),
        }),
        Err(error) => Err(FileError::Garbage {
            path: path.to_owned(),
            found: error.to_string(),
        }),
    }
}

/// Refuses a certificate that is no CA's.
pub(crate) fn check_is_ca(path: &Path, certificate: &CertificateDer<'_>) -> Result<(), FileError> {
    let parsed = parse(certificate).map_err(|source| FileError::Leaf {
        path: path.to_owned(),
        source,
    })?;
    if parsed.is_ca() {
        return Ok(());
    }
    Err(FileError::NotACa {
        path: path.to_owned(),
        subject: parsed.subject().to_string(),
    })
}

fn certificates_or_none(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| garbage(path, &error))
}

fn garbage(path: &Path, error: &PemError) -> FileError {
    // Not the parser's own words: they may quote a line of the key.
    let found = if let PemError::MissingSectionEnd { .. } = error {
        "a section has no end (a file cut short?)"
    } else if let PemError::Base64Decode(_) = error {
        "a section is no base64"
    } else {
        "a section is malformed"
    };
    FileError::Garbage {
        path: path.to_owned(),
        found: found.to_owned(),
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}
