//! The world of the handshake tests: one CA, its nodes, and a wire without sockets.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};

use crate::verify::{Trust, Verifier};
use crate::{
    Authority, Bundle, Gate, Gates, Identity, IssueOptions, NodeId, Refusal, SERVER_NAME,
    TrustDomain, peer_identity, provider,
};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const YEAR: u64 = 365 * 24 * 3600;

/// One CA, and nodes of it.
pub(super) struct World {
    pub(super) authority: Authority,
}

pub(super) type Dial = (ClientConfig, Refusal);
pub(super) type Listen = (ServerConfig, Refusal);

impl World {
    pub(super) fn new() -> Self {
        let domain: TrustDomain = "example.edge".parse().expect("domain");
        // Old enough that an expired leaf does not predate it.
        let authority = Authority::create(&domain, at(NOW - 2 * YEAR)).expect("authority");
        Self { authority }
    }

    pub(super) fn bundle(&self, id: &str, issued: u64) -> Bundle {
        self.authority
            .issue(&node(id), IssueOptions::at(at(issued)))
            .expect("issue")
    }

    pub(super) fn identity_of(&self, bundle: &Bundle) -> Identity {
        Identity::new(bundle, vec![self.authority.certificate().clone()]).expect("identity")
    }

    pub(super) fn identity(&self, id: &str) -> Identity {
        self.identity_of(&self.bundle(id, NOW))
    }

    pub(super) fn dial(&self, id: &str) -> Dial {
        dial(&self.identity(id), NOW)
    }

    pub(super) fn listen(&self, id: &str) -> Listen {
        listen(&self.identity(id), NOW)
    }

    /// A dialler who believes as we do, and shows `shown`.
    pub(super) fn dial_with(&self, shown: &Bundle) -> Dial {
        let mut dial = self.dial("alpha");
        dial.0.client_auth_cert_resolver = pair(shown.chain().to_vec(), shown);
        dial
    }

    /// A listener who believes as we do, and shows `shown`.
    pub(super) fn listen_with(&self, shown: &Bundle) -> Listen {
        let mut listen = self.listen("hub");
        listen.0.cert_resolver = pair(shown.chain().to_vec(), shown);
        listen
    }

    pub(super) fn verifier(&self, refusal: &Refusal) -> Arc<dyn ServerCertVerifier> {
        let roots = vec![self.authority.certificate().clone()];
        let domain = self.authority.trust_domain().clone();
        let trust = Trust::new(domain, roots, &provider()).expect("trust");
        Arc::new(Verifier::new(Arc::new(trust), refusal.clone()))
    }
}

pub(super) fn dial(identity: &Identity, now: u64) -> Dial {
    let refusal = Refusal::new();
    let config = identity.client_config(Arc::new(Fixed(at(now))), refusal.clone());
    (config.expect("client config"), refusal)
}

pub(super) fn listen(identity: &Identity, now: u64) -> Listen {
    let refusal = Refusal::new();
    let config = identity.server_config(Arc::new(Fixed(at(now))), refusal.clone());
    (config.expect("server config"), refusal)
}

/// Any chain with the key of `own`, whether or not they belong together.
pub(super) fn pair(chain: Vec<CertificateDer<'static>>, own: &Bundle) -> Arc<SingleCertAndKey> {
    use rustls::pki_types::pem::PemObject;
    let key = PrivateKeyDer::from_pem_slice(own.to_pem().as_bytes()).expect("key");
    let key = provider().key_provider.load_private_key(key).expect("key");
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

/// What one side knows once the handshake is over.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) error: Option<Error>,
    /// What its verifier noted.
    pub(super) gate: Option<Gate>,
    /// What the alert it sent stands for.
    pub(super) sent: Option<Gates>,
    /// What the alert it received stands for.
    pub(super) heard: Option<Gates>,
    pub(super) kind: Option<HandshakeKind>,
    pub(super) peer: Option<String>,
}

pub(super) struct Met {
    pub(super) client: Side,
    pub(super) server: Side,
    pub(super) tickets: u32,
}

/// Runs one handshake to its end.
pub(super) fn meet((client, dialled): Dial, (server, heard): Listen) -> Met {
    let name = ServerName::try_from(SERVER_NAME).expect("a name");
    let client = ClientConnection::new(Arc::new(client), Version::V1, name, vec![]);
    let server = ServerConnection::new(Arc::new(server), Version::V1, vec![]);
    let mut client: Connection = client.expect("client").into();
    let mut server: Connection = server.expect("server").into();

    let (mut client_error, mut server_error) = (None, None);
    // A TLS 1.3 handshake takes two flights; the bound only stops a bug.
    for _ in 0..8 {
        server_error = server_error.or(pump(&mut client, &mut server));
        client_error = client_error.or(pump(&mut server, &mut client));
        if client_error.is_some() || server_error.is_some() {
            break;
        }
    }

    let tickets = match &client {
        Connection::Client(client) => client.tls13_tickets_received(),
        Connection::Server(_) => 0,
    };
    let (from_client, from_server) = (sent(&client), sent(&server));
    Met {
        client: side(&client, client_error, &dialled, from_client, from_server),
        server: side(&server, server_error, &heard, from_server, from_client),
        tickets,
    }
}

fn pump(source: &mut Connection, target: &mut Connection) -> Option<Error> {
    loop {
        let mut flight = Vec::new();
        let keys = source.write_hs(&mut flight);
        if let Err(error) = target.read_hs(&flight) {
            return Some(error);
        }
        if flight.is_empty() && keys.is_none() {
            return None;
        }
    }
}

fn sent(connection: &Connection) -> Option<Gates> {
    // As QUIC would carry it to the other side.
    let code = 0x100 + u64::from(u8::from(connection.alert()?));
    Gate::from_quic_code(code)
}

fn side(
    connection: &Connection,
    error: Option<Error>,
    refusal: &Refusal,
    sent: Option<Gates>,
    heard: Option<Gates>,
) -> Side {
    let peer = connection
        .peer_certificates()
        .and_then(|chain| peer_identity(chain).ok())
        .map(|leaf| leaf.name.to_string());
    Side {
        error,
        gate: refusal.gate(),
        sent,
        heard,
        kind: connection.handshake_kind(),
        peer,
    }
}

/// One side refused at `gate`, knows it both ways, and the other hears `set`.
#[track_caller]
pub(super) fn check_refused(refusing: &Side, refused: &Side, gate: Gate, set: &str) {
    let error = refusing.error.as_ref().expect("refused");
    assert_eq!(Gate::of(error), Some(gate), "{error}");
    assert_eq!(refusing.gate, Some(gate));
    assert_eq!(refused.error, None);
    assert_eq!(refused.gate, None);
    assert_eq!(
        refused.heard.map(|gates| gates.to_string()).as_deref(),
        Some(set)
    );
}

#[derive(Debug)]
pub(super) struct Fixed(pub(super) UnixTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

pub(super) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

pub(super) fn node(id: &str) -> NodeId {
    id.parse().expect("node id")
}
