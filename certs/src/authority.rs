//! The CA of a trust domain.
//!
//! An [`Authority`] is a key and the certificate it signed for itself: ECDSA P-256,
//! ten years, path length 0. In a directory it is `ca.crt` (for everyone), `ca.key`
//! (mode 0600, its owner's alone) and `issued.jsonl`, one line per leaf ever issued.
//! An existing CA is never overwritten. Making leaves is [`crate::issue`]'s.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::durable;
use crate::error::{AuthorityError, FileError};
use crate::issue::{BACKDATED, common_name, date, earlier, later, random_serial};
use crate::leaf::{Leaf, Validity, ca_domain, parse};
use crate::name::TrustDomain;
use crate::store;

/// A CA, ready to issue. Its key is never printed.
pub struct Authority {
    trust_domain: TrustDomain,
    validity: Validity,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// Where it stands, if it does: issues are recorded there.
    home: Option<PathBuf>,
}

impl Authority {
    /// Makes a new CA that holds for ten years from `now` on. It is in memory alone
    /// until [`Authority::save`], and until then its issues are recorded nowhere.
    ///
    /// # Errors
    /// The moment cannot be written in a certificate, or the system gives no key.
    pub fn create(trust_domain: &TrustDomain, now: UnixTime) -> Result<Self, AuthorityError> {
        let serial = random_serial()?;
        let mut params = CertificateParams::default();
        params.not_before = date(earlier(now, BACKDATED))?;
        params.not_after = date(later(now, LIFE))?;
        // Two CAs of one domain must differ in name: otherwise a leaf of the one,
        // met with the root of the other, looks forged instead of unknown.
        params.distinguished_name = common_name(&format!("{trust_domain} CA {serial}"));
        params.serial_number = Some(serial);
        params.subject_alt_names = vec![SanType::URI(trust_domain.uri().try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        Self::from_parts(certificate.pem(), certificate.into(), key)
    }

    /// Writes the CA to `dir` (made if need be), key first: where `ca.crt` is, the CA
    /// is whole. From then on issues are recorded there.
    ///
    /// # Errors
    /// A part of a CA is already there, or the system refuses a write.
    pub fn save(&mut self, dir: &Path) -> Result<(), AuthorityError> {
        durable::make_directory(dir)?;
        for name in [KEY_FILE, CERTIFICATE_FILE, ISSUED_FILE] {
            let path = dir.join(name);
            if path.symlink_metadata().is_ok() {
                return Err(FileError::Exists { path }.into());
            }
        }
        let key = self.issuer.key().serialize_pem();
        durable::replace(&dir.join(KEY_FILE), key.as_bytes(), durable::SECRET)?;
        durable::replace(
            &dir.join(CERTIFICATE_FILE),
            self.certificate_pem.as_bytes(),
            durable::OPEN,
        )?;
        self.home = Some(dir.to_owned());
        Ok(())
    }

    /// Loads the CA that stands in `dir`.
    ///
    /// # Errors
    /// A file is missing or broken, the key may be read by others or is not the
    /// certificate's, or the certificate is no CA's or names no trust domain.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        const HINT: &str = "make a CA with `edgectl cert ca init`";
        let certificate_path = dir.join(CERTIFICATE_FILE);
        let key_path = dir.join(KEY_FILE);
        let certificate_pem = durable::read_open(&certificate_path, HINT)?;
        let key_pem = durable::read_secret(&key_path, HINT)?;

        let certificate = store::certificates(&certificate_path, &certificate_pem)?.remove(0);
        let key = store::private_key(&key_path, &key_pem, 0)?;
        store::check_is_ca(&certificate_path, &certificate)?;
        store::check_pair(
            &key_path,
            std::slice::from_ref(&certificate),
            &key,
            "its CA",
        )?;

        let key = KeyPair::try_from(&key)?;
        let certificate_pem = String::from_utf8_lossy(&certificate_pem).into_owned();
        let mut authority = Self::from_parts(certificate_pem, certificate, key)?;
        authority.home = Some(dir.to_owned());
        Ok(authority)
    }

    /// The domain it vouches for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// From when until when it holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Its certificate, the root that others trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate as text, as in `ca.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Appends a leaf to `issued.jsonl`, and returns once the line is on disk.
    pub(crate) fn record(&self, leaf: &Leaf, at: UnixTime) -> Result<(), AuthorityError> {
        let Some(home) = &self.home else {
            return Ok(());
        };
        durable::append_line(&home.join(ISSUED_FILE), &issued_line(leaf, at))?;
        Ok(())
    }

    fn from_parts(
        certificate_pem: String,
        certificate: CertificateDer<'static>,
        key: KeyPair,
    ) -> Result<Self, AuthorityError> {
        let parsed = parse(&certificate)?;
        Ok(Self {
            trust_domain: ca_domain(&parsed)?,
            validity: Validity::of(&parsed)?,
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate_pem,
            certificate: certificate.clone(),
            home: None,
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("validity", &self.validity)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

const CERTIFICATE_FILE: &str = "ca.crt";
const KEY_FILE: &str = "ca.key";
const ISSUED_FILE: &str = "issued.jsonl";
/// Ten years of 365 days.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// One line of `issued.jsonl`. Written by hand: hex, numbers and node ids hold
/// nothing that JSON would have to escape.
fn issued_line(leaf: &Leaf, at: UnixTime) -> String {
    format!(
        r#"{{"serial":"{}","node":"{}","not_before":{},"not_after":{},"at":{}}}"#,
        leaf.serial,
        leaf.name.node,
        leaf.validity.not_before.as_secs(),
        leaf.validity.not_after.as_secs(),
        at.as_secs(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::issue::IssueOptions;

    const NOW: u64 = 1_800_000_000;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn authority() -> Authority {
        Authority::create(&"example.edge".parse().expect("domain"), at(NOW)).expect("create")
    }

    fn saved() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut authority = authority();
        authority.save(dir.path()).expect("save");
        (dir, authority)
    }

    #[test]
    fn a_ca_is_what_the_design_says() {
        let authority = authority();

        let parsed = parse(authority.certificate()).expect("parse");
        let constraints = parsed
            .basic_constraints()
            .expect("one")
            .expect("constraints")
            .value;
        assert!(constraints.ca);
        assert_eq!(constraints.path_len_constraint, Some(0));
        assert_eq!(authority.validity().not_after, at(NOW + 3650 * 24 * 3600));
    }

    #[test]
    fn a_saved_ca_loads_as_it_was_and_goes_on_issuing() {
        let (dir, made) = saved();

        let loaded = Authority::load(dir.path()).expect("load");

        assert_eq!(loaded.trust_domain(), made.trust_domain());
        assert_eq!(loaded.certificate(), made.certificate());
        let mode = |name: &str| {
            let about = fs::metadata(dir.path().join(name)).expect("metadata");
            about.permissions().mode() & 0o777
        };
        assert_eq!(mode("ca.key"), 0o600);
        loaded
            .issue(&"a".parse().expect("node"), IssueOptions::at(at(NOW)))
            .expect("issue");
    }

    #[test]
    fn a_ca_is_never_overwritten_not_even_half_of_one() {
        for name in ["ca.key", "ca.crt", "issued.jsonl"] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join(name);
            fs::write(&path, "precious").expect("write");

            let found = authority().save(dir.path());

            assert!(matches!(
                found,
                Err(AuthorityError::File(FileError::Exists { path: p })) if p == path
            ));
            assert_eq!(fs::read(&path).expect("read"), b"precious");
            assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
        }
    }

    #[test]
    fn every_issue_is_one_line_in_the_log() {
        let (dir, authority) = saved();
        let mut expected = String::new();

        for node in ["a", "b"] {
            let bundle = authority
                .issue(&node.parse().expect("node"), IssueOptions::at(at(NOW)))
                .expect("issue");
            expected += &format!(
                "{{\"serial\":\"{}\",\"node\":\"{node}\",\"not_before\":1799999700,\
                 \"not_after\":1807776000,\"at\":1800000000}}\n",
                bundle.leaf().serial
            );
        }

        let log = fs::read_to_string(dir.path().join("issued.jsonl")).expect("read");
        assert_eq!(log, expected);
    }

    #[test]
    fn a_leaf_that_cannot_be_recorded_is_not_handed_out() {
        let (dir, authority) = saved();
        fs::create_dir(dir.path().join("issued.jsonl")).expect("in the way");

        let found = authority.issue(&"a".parse().expect("node"), IssueOptions::at(at(NOW)));

        assert!(matches!(
            found,
            Err(AuthorityError::File(FileError::Io { .. }))
        ));
    }

    #[test]
    fn a_ca_with_another_cas_key_or_an_open_key_does_not_load() {
        let (dir, _) = saved();
        let (other, _) = saved();
        let key = dir.path().join("ca.key");
        fs::copy(other.path().join("ca.key"), &key).expect("copy");
        let mixed = Authority::load(dir.path());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("chmod");
        let open = Authority::load(dir.path());

        assert!(matches!(
            mixed,
            Err(AuthorityError::File(FileError::KeyMismatch { .. }))
        ));
        assert!(matches!(
            open,
            Err(AuthorityError::File(FileError::Exposed { mode: 0o640, .. }))
        ));
    }

    #[test]
    fn a_missing_ca_says_what_to_try() {
        let dir = tempfile::tempdir().expect("tempdir");

        let error = Authority::load(dir.path()).expect_err("nothing there");

        let message = error.to_string();
        assert!(message.ends_with("ca.crt does not exist (make a CA with `edgectl cert ca init`)"));
    }
}
