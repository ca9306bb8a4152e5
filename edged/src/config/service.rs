//! The daemon itself: `[node]`, `[rpc]`, `[listen]`, `[http]`, `[tls]`,
//! `[control_plane]`, `[audit]` and `[log]`.
//!
//! Each `read` is the whole truth about its table: keys, defaults, bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certs::TrustDomain;
use relay_core::id::NodeId;

use super::choice::choice;
use super::effective::Effective;
use super::error::{Fault, Result};
use super::read::Section;

/// The UDP port of the relay when none is said.
pub const DEFAULT_QUIC_PORT: u16 = 7443;
/// A socket path must fit `sun_path` with its closing zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;
const DAY: Duration = Duration::from_secs(86_400);

/// The trust domain of a fleet nobody has named: `edged.local`.
#[must_use]
pub fn default_trust_domain() -> TrustDomain {
    "edged.local"
        .parse()
        .expect("the built-in trust domain is a DNS name")
}

/// `[node]`: who this is and where it keeps what it owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node id; by default the host's name, made fit.
    pub id: NodeId,
    /// The folder of all state, on a local file system.
    pub state_dir: PathBuf,
    /// The name all certificates of this fleet carry.
    pub trust_domain: TrustDomain,
}

impl Node {
    pub(super) fn read(
        mut s: Section<'_>,
        default: Option<NodeId>,
        seen: &mut Effective,
    ) -> Result<Self> {
        let Some(id) = s.optional_or("id", default)? else {
            let expected = "a node id such as \"depot-7\"";
            return Err(s.refused("id", Fault::Missing { expected }));
        };
        let state_dir = s.path("state_dir", Some("/var/lib/edged".into()))?;
        let node = Self {
            id,
            state_dir: state_dir.ok_or_else(|| {
                s.refused(
                    "state_dir",
                    Fault::Missing {
                        expected: "a folder",
                    },
                )
            })?,
            trust_domain: s.parsed("trust_domain", default_trust_domain())?,
        };
        s.done(seen)?;
        Ok(node)
    }
}

/// `[rpc]`: the local socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// The socket, at most 107 bytes long.
    pub socket: PathBuf,
    /// Members of this group may read, put, take and confirm; nobody if it is
    /// empty or this host has no such group.
    pub group: String,
    /// Members of this group may do everything else, with the same exception.
    pub operators: String,
    /// Clients at one time.
    pub max_connections: u32,
}

impl Rpc {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let socket = s.path("socket", Some("/run/edged/rpc.sock".into()))?;
        let rpc = Self {
            socket: socket
                .ok_or_else(|| s.refused("socket", Fault::Missing { expected: "a path" }))?,
            group: s.parsed("group", "edged".to_owned())?,
            operators: s.parsed("operators", "edged-admin".to_owned())?,
            max_connections: s.count("max_connections", 64, 1..=4096)?,
        };
        let length = rpc.socket.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let why = format!(
                "\"{}\" has {length} bytes, a socket path at most {MAX_SOCKET_PATH}",
                rpc.socket.display()
            );
            return Err(s.refused("socket", Fault::Value(why)));
        }
        s.done(seen)?;
        Ok(rpc)
    }
}

/// `[listen]`: UDP ports for other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where links of peers arrive; port 0 takes any free one.
    pub quic: SocketAddr,
    /// Where renewal and enrolment arrive; none unless set.
    pub identity: Option<SocketAddr>,
}

impl Listen {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let listen = Self {
            quic: s
                .parsed(
                    "quic",
                    Socket(SocketAddr::from(([0, 0, 0, 0], DEFAULT_QUIC_PORT))),
                )?
                .0,
            identity: s.optional::<Socket>("identity")?.map(|socket| socket.0),
        };
        s.done(seen)?;
        Ok(listen)
    }
}

/// `[http]`: health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where HTTP is served; not at all unless set.
    pub listen: Option<SocketAddr>,
}

impl Http {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let http = Self {
            listen: s.optional::<Socket>("listen")?.map(|socket| socket.0),
        };
        s.done(seen)?;
        Ok(http)
    }
}

choice! {
    /// Who signs this node's next certificate.
    Renew {
        /// The CA key lies on this node, as `ca.key` beside `ca`.
        Ca = "ca",
        /// A peer signs for what the connection proved.
        Upstream = "upstream",
        /// Nobody: an operator brings certificates.
        Off = "off",
    }
}

/// `[tls]`: identity and trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The trusted CA certificates, PEM.
    pub ca: PathBuf,
    /// This node's key and chain in one file, PEM, mode 0600.
    pub bundle: PathBuf,
    /// The revocation list, PEM; none unless set.
    pub crl: Option<PathBuf>,
    /// Who renews the certificate.
    pub renew: Renew,
    /// The peer that renews it when `renew` is `upstream`.
    pub renew_from: Option<NodeId>,
}

impl Tls {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let ca = s.path("ca", Some("/etc/edged/ca.crt".into()))?;
        let bundle = s.path("bundle", Some("/etc/edged/identity.pem".into()))?;
        let missing = Fault::Missing {
            expected: "a PEM file",
        };
        let tls = Self {
            ca: ca.ok_or_else(|| s.refused("ca", missing.clone()))?,
            bundle: bundle.ok_or_else(|| s.refused("bundle", missing))?,
            crl: s.path("crl", None)?,
            renew: s.parsed("renew", Renew::Off)?,
            renew_from: s.optional("renew_from")?,
        };
        s.done(seen)?;
        Ok(tls)
    }
}

/// `[control_plane]`: where wishes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// The peer asked; none means this node is on its own.
    pub upstream: Option<NodeId>,
    /// The release channel followed.
    pub channel: String,
    /// How often the upstream is asked.
    pub poll: Duration,
    /// Whether this node is an upstream itself.
    pub serve: bool,
}

impl ControlPlane {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let control_plane = Self {
            upstream: s.optional("upstream")?,
            channel: s.parsed("channel", "stable".to_owned())?,
            poll: s.duration(
                "poll",
                Duration::from_secs(30),
                Duration::from_secs(1)..=DAY,
            )?,
            serve: s.boolean("serve", false)?,
        };
        s.done(seen)?;
        Ok(control_plane)
    }
}

/// `[audit]`: the record of what operators did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Where exports go; `audit` in the state folder unless set.
    pub dir: Option<PathBuf>,
    /// Whether records are sent upstream.
    pub ship: bool,
    /// How long records are kept here once shipped.
    pub keep: Duration,
}

impl Audit {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let audit = Self {
            dir: s.path("dir", None)?,
            ship: s.boolean("ship", true)?,
            keep: s.duration("keep", 90 * DAY, DAY..=3650 * DAY)?,
        };
        s.done(seen)?;
        Ok(audit)
    }
}

choice! {
    /// The least important event that is logged.
    LogLevel {
        /// We cannot go on.
        Error = "error",
        /// Someone should look tomorrow.
        Warn = "warn",
        /// What an operator would tell a colleague.
        Info = "info",
        /// Decisions and their reasons.
        Debug = "debug",
        /// Every input and effect.
        Trace = "trace",
    }
}

choice! {
    /// How log lines look.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
        /// With the priority prefixes of sd-daemon(3), no times of our own.
        Journald = "journald",
    }
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// What is logged.
    pub level: LogLevel,
    /// And how.
    pub format: LogFormat,
}

impl Log {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let log = Self {
            level: s.parsed("level", LogLevel::Info)?,
            format: s.parsed("format", LogFormat::Text)?,
        };
        s.done(seen)?;
        Ok(log)
    }
}

/// A socket address whose refusal shows how one looks.
struct Socket(SocketAddr);

impl std::str::FromStr for Socket {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let refused = |_| format!("{text:?} is not an address to listen on (try \"0.0.0.0:7443\")");
        text.parse().map(Self).map_err(refused)
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
