//! Whom we believe: both verifiers, and where they note a refusal.
//!
//! [`Trust`] is what we believe by: the CAs and our trust domain. TLS checks chain,
//! time, use and signature (webpki does the work), and that the leaf names a node of
//! our domain. *Which* node is checked after TLS by the caller, so the name under
//! which a server was dialled plays no part. The moment comes from the time provider
//! of the TLS configuration; no clock is read here.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    RootCertStore, SignatureScheme,
};

use crate::error::IdentityError;
use crate::gate::Gate;
use crate::leaf::Leaf;
use crate::name::TrustDomain;

/// Where the verifier of one connection notes the gate it refused at.
///
/// QUIC libraries hand up an alert's number and a text, and the number does not tell
/// `expired` from `not_yet_valid`; this does. One refusal is for one connection: the
/// first gate noted stays. Clones share what they note.
#[derive(Debug, Clone, Default)]
pub struct Refusal(Arc<OnceLock<Gate>>);

impl Refusal {
    /// Nothing refused so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The gate our verifier refused at. `None` also where the refusal was made
    /// without it: no certificate was shown, or no protocol was common. There the
    /// alert that we sent tells, see [`Gate::from_quic_code`].
    pub fn gate(&self) -> Option<Gate> {
        self.0.get().copied()
    }

    fn note<T>(&self, verdict: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &verdict
            && let Some(gate) = Gate::of(error)
        {
            // A second refusal of one connection follows from the first.
            let _ = self.0.set(gate);
        }
        verdict
    }
}

/// What a node believes by: its CAs and its trust domain.
///
/// A root's own last second is not looked at (webpki takes roots for bare keys); it
/// need not be, since an authority issues no leaf that outlives it.
#[derive(Debug)]
pub(crate) struct Trust {
    domain: TrustDomain,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Trusts nodes of `domain` whose chain leads to one of `roots`.
    pub(crate) fn new(
        domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        let roots = Arc::new(store);
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        Ok(Self {
            domain,
            roots,
            clients,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Refuses a chain that must not act as a server towards us at `now`.
    pub(crate) fn check_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.check_domain(leaf)
    }

    /// Refuses a chain that must not act as a client towards us at `now`.
    pub(crate) fn check_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.clients.verify_client_cert(leaf, intermediates, now)?;
        self.check_domain(leaf)
    }

    fn check_domain(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        match Leaf::read(leaf) {
            Ok(leaf) if leaf.name.trust_domain == self.domain => Ok(()),
            Ok(_) | Err(_) => Err(CertificateError::NotValidForName.into()),
        }
    }
}

/// Verifies the other side of one connection, whichever side that is.
#[derive(Debug)]
pub(crate) struct Verifier {
    trust: Arc<Trust>,
    refusal: Refusal,
}

impl Verifier {
    /// Believes by `trust`, notes in `refusal`.
    pub(crate) fn new(trust: Arc<Trust>, refusal: Refusal) -> Self {
        Self { trust, refusal }
    }

    fn check_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verdict = verify_tls13_signature(message, cert, dss, &self.trust.algorithms);
        self.refusal.note(verdict)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.trust.check_server(end_entity, intermediates, now);
        self.refusal.note(verdict)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A node has one certificate and shows it: hints would only tell strangers
        // whom we trust.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self.trust.check_client(end_entity, intermediates, now);
        self.refusal.note(verdict)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}
