//! One leaf, from a name and a moment.
//!
//! Makes a fresh ECDSA P-256 key and a certificate for it, as `certificates.md`
//! describes: URI and DNS names, client and server use, a 128-bit random serial, its
//! first second five minutes back. What is kept of an issue is the authority's.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

use crate::authority::Authority;
use crate::error::AuthorityError;
use crate::name::{NodeId, SpiffeName};
use crate::provider;
use crate::store::Bundle;

/// The life of a leaf where nothing else is asked for.
pub const DEFAULT_VALID: Duration = Duration::from_secs(90 * DAY);
/// The shortest life issued: one in which a renewal can still be retried.
pub const SHORTEST_VALID: Duration = Duration::from_secs(3600);
/// The longest life issued, as the CA/Browser Forum had it for years.
pub const LONGEST_VALID: Duration = Duration::from_secs(398 * DAY);

/// How to issue a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueOptions {
    /// How long it holds from `now` on, [`SHORTEST_VALID`] to [`LONGEST_VALID`].
    pub valid: Duration,
    /// The moment of the issue. It need not be the present.
    pub now: UnixTime,
}

impl IssueOptions {
    /// Issued at `now`, for [`DEFAULT_VALID`].
    pub fn at(now: UnixTime) -> Self {
        Self {
            valid: DEFAULT_VALID,
            now,
        }
    }

    /// The same, for another life.
    #[must_use]
    pub fn valid_for(self, valid: Duration) -> Self {
        Self { valid, ..self }
    }
}

impl Authority {
    /// Issues a leaf with a new key to `node`. A CA that stands in a directory
    /// records the issue there, on disk, before the leaf is handed out. No leaf
    /// outlives its CA: near the CA's end, its life is cut to that end.
    ///
    /// # Errors
    /// The life asked for is out of bounds or the CA ends within the shortest one,
    /// the moment cannot be written in a certificate, or the record cannot be kept.
    pub fn issue(&self, node: &NodeId, options: IssueOptions) -> Result<Bundle, AuthorityError> {
        let name = SpiffeName {
            trust_domain: self.trust_domain().clone(),
            node: node.clone(),
        };
        self.issue_as(&name, options)
    }

    /// As [`Authority::issue`], for any name: tests make strangers with it.
    pub(crate) fn issue_as(
        &self,
        name: &SpiffeName,
        options: IssueOptions,
    ) -> Result<Bundle, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = self.leaf_params(name, options)?;
        let certificate = params.signed_by(&key, self.issuer())?;
        let bundle = Bundle::from_pem(&format!("{}{}", key.serialize_pem(), certificate.pem()))
            .expect("what was just issued is a whole bundle");
        self.record(bundle.leaf(), options.now)?;
        Ok(bundle)
    }

    fn leaf_params(
        &self,
        name: &SpiffeName,
        options: IssueOptions,
    ) -> Result<CertificateParams, AuthorityError> {
        let IssueOptions { valid, now } = options;
        if !(SHORTEST_VALID..=LONGEST_VALID).contains(&valid) {
            return Err(AuthorityError::Life { found: valid });
        }
        let end = self.validity().not_after;
        let last = later(now, valid).min(end);
        if last < later(now, SHORTEST_VALID) {
            return Err(AuthorityError::Ending {
                not_after: end.as_secs(),
            });
        }

        let mut params = CertificateParams::default();
        params.not_before = date(earlier(now, BACKDATED))?;
        params.not_after = date(last)?;
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = common_name(name.node.as_str());
        params.subject_alt_names = vec![
            SanType::URI(name.to_string().try_into()?),
            SanType::DnsName(name.node.as_str().try_into()?),
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

const DAY: u64 = 24 * 3600;
/// How far back a first second lies: what a peer's clock may lag behind ours.
pub(crate) const BACKDATED: Duration = Duration::from_secs(300);

/// A serial of 128 random bits.
pub(crate) fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Random)?;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A subject with nothing but a common name.
pub(crate) fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// A moment as certificates write it.
pub(crate) fn date(moment: UnixTime) -> Result<OffsetDateTime, AuthorityError> {
    let outside = AuthorityError::Moment {
        found: moment.as_secs(),
    };
    i64::try_from(moment.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(outside)
}

/// `moment` and `by` more.
pub(crate) fn later(moment: UnixTime, by: Duration) -> UnixTime {
    let seconds = moment.as_secs().saturating_add(by.as_secs());
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// `moment` less `by`, but not before 1970.
pub(crate) fn earlier(moment: UnixTime, by: Duration) -> UnixTime {
    let seconds = moment.as_secs().saturating_sub(by.as_secs());
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::parse;

    const NOW: u64 = 1_800_000_000;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn authority() -> Authority {
        let domain = "example.edge".parse().expect("domain");
        Authority::create(&domain, at(NOW)).expect("authority")
    }

    fn node() -> NodeId {
        "depot-7".parse().expect("node")
    }

    #[test]
    fn a_leaf_is_what_the_design_says() {
        let bundle = authority()
            .issue(&node(), IssueOptions::at(at(NOW)))
            .expect("issue");

        let leaf = bundle.leaf();
        assert_eq!(leaf.name.to_string(), "spiffe://example.edge/node/depot-7");
        assert_eq!(leaf.validity.not_before, at(NOW - 300));
        assert_eq!(leaf.validity.not_after, at(NOW + 90 * DAY));
        let parsed = parse(&bundle.chain()[0]).expect("parse");
        let usage = parsed
            .extended_key_usage()
            .expect("one")
            .expect("usage")
            .value;
        assert!(usage.client_auth && usage.server_auth && !usage.any);
        assert!(!parsed.is_ca());
        let names = &parsed
            .subject_alternative_name()
            .expect("one")
            .expect("names")
            .value
            .general_names;
        assert!(names.contains(&x509_parser::extensions::GeneralName::DNSName("depot-7")));
    }

    #[test]
    fn serials_and_keys_never_repeat() {
        let authority = authority();
        let issue = || {
            authority
                .issue(&node(), IssueOptions::at(at(NOW)))
                .expect("issue")
        };

        let (one, two) = (issue(), issue());

        assert_ne!(one.leaf().serial, two.leaf().serial);
        assert_ne!(one.to_pem(), two.to_pem());
    }

    #[test]
    fn only_lives_of_an_hour_to_398_days_are_issued() {
        let authority = authority();
        let issue =
            |valid: Duration| authority.issue(&node(), IssueOptions::at(at(NOW)).valid_for(valid));
        let second = Duration::from_secs(1);

        for good in [SHORTEST_VALID, LONGEST_VALID] {
            assert!(issue(good).is_ok(), "{good:?}");
        }
        for bad in [SHORTEST_VALID - second, LONGEST_VALID + second] {
            let found = issue(bad);
            assert!(matches!(found, Err(AuthorityError::Life { found }) if found == bad));
        }
    }

    #[test]
    fn no_leaf_outlives_its_ca() {
        let authority = authority();
        let end = authority.validity().not_after;
        let issue = |now| authority.issue(&node(), IssueOptions::at(now));

        let cut = issue(earlier(end, Duration::from_secs(DAY))).expect("issue");
        let late = issue(earlier(end, Duration::from_secs(60)));

        assert_eq!(cut.leaf().validity.not_after, end);
        assert!(matches!(late, Err(AuthorityError::Ending { .. })));
    }
}
