//! A loaded bundle, as TLS configurations.
//!
//! An [`Identity`] is one generation of a node's key, chain and trusted CAs; it does
//! not change, and a rotation loads another. Its configurations speak TLS 1.3 alone,
//! show and ask for a certificate on both sides, offer [`ALPN`] and nothing else, and
//! never resume: rustls would restore a client's chain from a ticket without
//! verifying it again, and a revoked peer would be back. They are cheap to build,
//! one for each connection, since each carries its own [`Refusal`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::error::IdentityError;
use crate::gate::Gate;
use crate::leaf::Leaf;
use crate::provider;
use crate::store::{Bundle, load_roots};
use crate::verify::{Refusal, Trust, Verifier};

/// The one application protocol that nodes speak with each other.
pub const ALPN: &[u8] = b"edged/1";

/// What to pass where a TLS library wants the name of the server it dials. It is
/// neither sent nor checked: a node is known by its certificate's URI name.
pub const SERVER_NAME: &str = "edged";

/// Who this node is and whom it trusts: one generation, never changed.
pub struct Identity {
    leaf: Leaf,
    chain: Vec<CertificateDer<'static>>,
    pair: Arc<SingleCertAndKey>,
    trust: Arc<Trust>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// Loads the bundle of this node and the CAs it trusts (one PEM file of one or
    /// more certificates). The bundle's trust domain is ours: peers must be of it.
    /// An expired leaf loads, and so does one that our own CAs do not vouch for, since
    /// a node must start in order to say so: ask [`Identity::check`].
    ///
    /// # Errors
    /// As [`Bundle::load`]; or the CA file is missing, no PEM, or holds no CA's
    /// certificate.
    pub fn load(bundle: &Path, ca: &Path) -> Result<Self, IdentityError> {
        Self::new(&Bundle::load(bundle)?, load_roots(ca)?)
    }

    /// As [`Identity::load`], from what is already in memory.
    ///
    /// # Errors
    /// rustls takes the key or one of the roots for broken, or there is no root.
    pub fn new(
        bundle: &Bundle,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        let provider = provider();
        let leaf = bundle.leaf().clone();
        let trust = Trust::new(leaf.name.trust_domain.clone(), roots, &provider)?;
        let pair = SingleCertAndKey::from(bundle.certified_key(&provider)?);
        Ok(Self {
            leaf,
            chain: bundle.chain().to_vec(),
            pair: Arc::new(pair),
            trust: Arc::new(trust),
            provider,
        })
    }

    /// What our own certificate says: node, trust domain, life, serial, fingerprint.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Shows our chain to our own verifiers, as client and as server at `now`.
    ///
    /// # Errors
    /// The gate that a peer with our CAs and that clock would refuse us at.
    pub fn check(&self, now: UnixTime) -> Result<(), Gate> {
        let (leaf, intermediates) = self.chain.split_first().ok_or(Gate::NoCertificate)?;
        self.trust
            .check_server(leaf, intermediates, now)
            .and_then(|()| self.trust.check_client(leaf, intermediates, now))
            .map_err(|error| Gate::of(&error).unwrap_or(Gate::BadSignature))
    }

    /// How we answer a dialler: certificates are judged by `clock`, the gate of a
    /// refusal is noted in `refusal`. A clock that gives no time refuses everyone.
    ///
    /// # Errors
    /// The crypto provider offers no TLS 1.3.
    pub fn server_config(
        &self,
        clock: Arc<dyn TimeProvider>,
        refusal: Refusal,
    ) -> Result<ServerConfig, IdentityError> {
        let verifier = Verifier::new(self.trust.clone(), refusal);
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), clock)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.pair.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// How we dial: as [`Identity::server_config`]. The server's name is not looked
    /// at (pass [`SERVER_NAME`]); who answered is [`crate::peer_identity`]'s to say.
    ///
    /// # Errors
    /// The crypto provider offers no TLS 1.3.
    pub fn client_config(
        &self,
        clock: Arc<dyn TimeProvider>,
        refusal: Refusal,
    ) -> Result<ClientConfig, IdentityError> {
        let verifier = Verifier::new(self.trust.clone(), refusal);
        let mut config = ClientConfig::builder_with_details(self.provider.clone(), clock)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.pair.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("leaf", &self.leaf)
            .finish_non_exhaustive()
    }
}
