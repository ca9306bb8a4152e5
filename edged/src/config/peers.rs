//! Whom this node talks to: `[[peers]]`.
//!
//! `id = "*"` admits any node of the trust domain that dials us; its settings
//! are those of every peer that has no entry of its own.

use std::time::Duration;

use relay_core::id::NodeId;
use relay_core::units::{ByteCount, Rate};
use relay_core::window::Window;

use super::effective::Effective;
use super::error::{Fault, Result};
use super::read::Section;
use super::words::Address;

/// One `[[peers]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node, or any.
    pub id: PeerName,
    /// Where it is dialled, in this order; empty means that it dials us.
    pub addresses: Vec<Address>,
    /// What may be sent to it, in stream bytes a second.
    pub bytes_per_second: Rate,
    /// And in UDP bytes in any 24 hours; 0 is unlimited.
    pub daily_quota_bytes: ByteCount,
    /// When it may be sent to; always if empty.
    pub windows: Vec<Window>,
    /// An idle link is kept up by a packet this often; zero dials on demand.
    pub keep_alive: Duration,
    /// A link that hears nothing for this long is down.
    pub idle_timeout: Duration,
    /// Origins whose segments it may hand us beside its own.
    pub forward_for: Vec<PeerName>,
}

/// A node by its id, or any node: `"*"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerName {
    /// This one.
    Node(NodeId),
    /// Any node of the trust domain.
    Any,
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(id) => id.fmt(f),
            Self::Any => f.write_str("*"),
        }
    }
}

impl std::str::FromStr for PeerName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "*" => Ok(Self::Any),
            _ => text
                .parse()
                .map(Self::Node)
                .map_err(|why| format!("{why}, nor \"*\"")),
        }
    }
}

/// Peers a config may name: the links and buckets of each are held in memory.
const MOST_PEERS: usize = 1024;
/// Addresses of one peer: each costs a whole dial timeout when it is dead.
const MOST_ADDRESSES: usize = 16;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

impl Peer {
    /// All peers, each named once, none of them `own`.
    pub(super) fn read_all(
        sections: Vec<Section<'_>>,
        own: &NodeId,
        seen: &mut Effective,
    ) -> Result<Vec<Self>> {
        let mut peers: Vec<Self> = Vec::new();
        for section in sections {
            let peer = Self::read(section, &peers, own, seen)?;
            peers.push(peer);
        }
        Ok(peers)
    }

    fn read(
        mut s: Section<'_>,
        before: &[Self],
        own: &NodeId,
        seen: &mut Effective,
    ) -> Result<Self> {
        let peer = Self {
            id: s.required("id", "a node id or \"*\"")?,
            addresses: s.list("addresses")?,
            bytes_per_second: s.rate("bytes_per_second")?,
            daily_quota_bytes: s.bytes(
                "daily_quota_bytes",
                ByteCount(0),
                ByteCount(0)..=ByteCount(1 << 62),
            )?,
            windows: s.list("windows")?,
            keep_alive: s.duration("keep_alive", 20 * SECOND, Duration::ZERO..=DAY)?,
            idle_timeout: s.duration("idle_timeout", 60 * SECOND, SECOND..=DAY)?,
            forward_for: s.list("forward_for")?,
        };
        if let Some(first) = before.iter().position(|other| other.id == peer.id) {
            let first = seen
                .find(&format!("peers[{first}].id"))
                .map(|shown| shown.origin.clone());
            let first = first.expect("the id of a peer read before is noted");
            return Err(s.refused(
                "id",
                Fault::Duplicate {
                    name: peer.id.to_string(),
                    first,
                },
            ));
        }
        if let Some((key, why)) = peer.contradiction(before.len(), own) {
            return Err(s.refused(key, Fault::Value(why)));
        }
        s.done(seen)?;
        Ok(peer)
    }

    /// The first key that does not fit the others, and why.
    fn contradiction(&self, before: usize, own: &NodeId) -> Option<(&'static str, String)> {
        if before == MOST_PEERS {
            return Some((
                "id",
                format!(
                    "{:?} is one too many, at most {MOST_PEERS} peers",
                    self.id.to_string()
                ),
            ));
        }
        match &self.id {
            PeerName::Node(id) if id == own => {
                return Some(("id", format!("{:?} is this node itself", own.as_str())));
            }
            PeerName::Any if !self.addresses.is_empty() => {
                return Some((
                    "addresses",
                    "\"*\" cannot be dialled, expected no addresses".to_owned(),
                ));
            }
            PeerName::Any | PeerName::Node(_) => {}
        }
        if self.addresses.len() > MOST_ADDRESSES {
            return Some((
                "addresses",
                format!(
                    "{} addresses, expected at most {MOST_ADDRESSES}",
                    self.addresses.len()
                ),
            ));
        }
        let kept = !self.keep_alive.is_zero();
        let why = "is not longer than keep_alive, so an idle link would drop";
        (kept && self.idle_timeout <= self.keep_alive).then(|| {
            (
                "idle_timeout",
                format!(
                    "\"{}\" {why}",
                    super::words::show_duration(self.idle_timeout)
                ),
            )
        })
    }
}
