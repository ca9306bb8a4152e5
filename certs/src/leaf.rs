//! What a certificate says of its node.
//!
//! [`Leaf`] is read from a certificate's bytes and proves nothing by itself: chain,
//! time and signature are for [`crate::verify`]. After a handshake [`peer_identity`]
//! reads the same from the chain that TLS has verified. Pure: bytes in, facts out.

use std::fmt;
use std::time::Duration;

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::error::LeafError;
use crate::gate::Gate;
use crate::name::{SpiffeName, TrustDomain};

/// What one node certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The node and its trust domain, from the one URI SAN.
    pub name: SpiffeName,
    /// The number its CA gave it.
    pub serial: Serial,
    /// From when until when it holds.
    pub validity: Validity,
    /// SHA-256 over the whole certificate.
    pub fingerprint: Fingerprint,
}

impl Leaf {
    /// Reads a certificate.
    ///
    /// # Errors
    /// The bytes are no certificate, or it does not carry exactly one URI SAN of the
    /// form `spiffe://<trust-domain>/node/<id>`.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let parsed = parse(certificate)?;
        Ok(Self {
            name: uri_name(&parsed)?.parse()?,
            serial: Serial::from_bytes(parsed.raw_serial()),
            validity: Validity::of(&parsed)?,
            fingerprint: Fingerprint::of(certificate),
        })
    }
}

/// Who the peer of a completed handshake is: reads the leaf (the first) of the chain
/// that TLS has verified. Whether this is the node that was expected there is for the
/// caller to compare; a mismatch is [`Gate::WrongNode`].
///
/// # Errors
/// The chain is empty, or as in [`Leaf::read`]; our verifiers let neither through.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<Leaf, LeafError> {
    Leaf::read(chain.first().ok_or(LeafError::EmptyChain)?)
}

/// From when until when a certificate holds, both seconds included (RFC 5280 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: UnixTime,
    /// The last second.
    pub not_after: UnixTime,
}

impl Validity {
    /// The gate a certificate would be refused at at `now` for its time alone.
    pub fn refuses(&self, now: UnixTime) -> Option<Gate> {
        if now < self.not_before {
            Some(Gate::NotYetValid)
        } else if now > self.not_after {
            Some(Gate::Expired)
        } else {
            None
        }
    }

    pub(crate) fn of(parsed: &X509Certificate<'_>) -> Result<Self, LeafError> {
        Ok(Self {
            not_before: moment(parsed.validity().not_before)?,
            not_after: moment(parsed.validity().not_after)?,
        })
    }
}

/// A certificate's serial number. Prints as lower-case hex without leading zero
/// bytes, so that one number has one text whoever encoded it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A serial from its big-endian bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }

    /// Its big-endian bytes, without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// SHA-256 of a certificate's DER bytes. Prints as `sha256:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate, a node's or a CA's.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        // ring's own SHA-256, by way of a suite that stands on it.
        let hash = TLS13_AES_128_GCM_SHA256
            .tls13()
            .expect("a TLS 1.3 suite by its name")
            .common
            .hash_provider
            .hash(certificate);
        Self(hash.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        write_hex(f, &self.0)
    }
}

/// The trust domain that a CA's certificate names in its URI SAN.
pub(crate) fn ca_domain(parsed: &X509Certificate<'_>) -> Result<TrustDomain, LeafError> {
    Ok(TrustDomain::from_uri(uri_name(parsed)?)?)
}

/// Parses DER to its last byte.
pub(crate) fn parse<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, LeafError> {
    let malformed = |found: String| LeafError::Malformed { found };
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    Ok(parsed)
}

fn uri_name<'a>(parsed: &'a X509Certificate<'_>) -> Result<&'a str, LeafError> {
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| LeafError::Malformed {
            found: error.to_string(),
        })?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| {
        if let GeneralName::URI(uri) = name {
            Some(*uri)
        } else {
            None
        }
    });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri),
        (None, _) => Err(LeafError::UriNames { found: 0 }),
        (Some(_), more) => Err(LeafError::UriNames { found: 1 + more }),
    }
}

fn moment(time: ASN1Time) -> Result<UnixTime, LeafError> {
    let seconds = u64::try_from(time.timestamp()).map_err(|_| LeafError::Malformed {
        found: format!("it is dated {time}, before 1970"),
    })?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn both_ends_of_a_validity_are_inside_it() {
        let validity = Validity {
            not_before: at(100),
            not_after: at(200),
        };

        assert_eq!(validity.refuses(at(99)), Some(Gate::NotYetValid));
        assert_eq!(validity.refuses(at(100)), None);
        assert_eq!(validity.refuses(at(200)), None);
        assert_eq!(validity.refuses(at(201)), Some(Gate::Expired));
    }

    #[test]
    fn one_serial_has_one_text() {
        assert_eq!(Serial::from_bytes(&[0, 0x80, 1]).to_string(), "8001");
        assert_eq!(Serial::from_bytes(&[0x80, 1]).to_string(), "8001");
    }

    #[test]
    fn a_fingerprint_is_sha256() {
        let empty = Fingerprint::of(&CertificateDer::from_slice(b""));

        assert_eq!(
            empty.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn bytes_that_are_no_certificate_say_so() {
        let found = peer_identity(&[CertificateDer::from_slice(b"nonsense")]);

        assert!(matches!(found, Err(LeafError::Malformed { .. })));
        assert_eq!(peer_identity(&[]), Err(LeafError::EmptyChain));
    }
}
