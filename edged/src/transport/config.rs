//! What a transport is told once, at the start, and what it stands on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certs::{Identity, TimeProvider};
use relay_core::id::{BootEpoch, LedgerId, NodeId};
use relay_core::limits;
use relay_core::wire::{Durability, Hello, OLDEST, VERSION};
use tokio::sync::mpsc;

use super::addresses::Times;
use super::shared::Admit;
use super::source::Source;
use crate::event::Event;
use crate::staging::Staging;

/// What a transport is told once, at the start.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// The UDP address to bind; port 0 takes any.
    pub listen: SocketAddr,
    /// This node, as its certificate proves it.
    pub node: NodeId,
    /// This ledger.
    pub ledger: LedgerId,
    /// This run.
    pub epoch: BootEpoch,
    /// The longest segment this node takes.
    pub max_segment: u64,
    /// What our acks promise.
    pub durability: Durability,
    /// How often a silent link of a peer that is not in `times` is tried; zero is never.
    pub keep_alive: Duration,
    /// How long such a link lives.
    pub idle: Duration,
    /// The links of each peer.
    pub times: BTreeMap<NodeId, Times>,
    /// How long a dialler may take from its first datagram to its Hello.
    pub handshake: Duration,
    /// Whether the core is to hear the topics of what arrives: a route may ask.
    pub topics: bool,
}

impl TransportConfig {
    /// The defaults for this node.
    #[must_use]
    pub const fn new(listen: SocketAddr, node: NodeId, ledger: LedgerId, epoch: BootEpoch) -> Self {
        Self {
            listen,
            node,
            ledger,
            epoch,
            max_segment: limits::MAX_SEGMENT,
            durability: Durability::Synced,
            keep_alive: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            times: BTreeMap::new(),
            handshake: Duration::from_secs(10),
            topics: false,
        }
    }

    /// What we say first on every link.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            min_version: OLDEST,
            max_version: VERSION,
            node: self.node.clone(),
            ledger: self.ledger,
            boot_epoch: self.epoch,
            max_segment: self.max_segment,
            durability: self.durability,
        }
    }
}

/// What a transport stands on.
pub struct Ground {
    /// Who we are and whom we trust.
    pub identity: Arc<Identity>,
    /// By which certificates are judged.
    pub clock: Arc<dyn TimeProvider>,
    /// Whom we meet.
    pub admit: Admit,
    /// Where bytes to send come from.
    pub source: Arc<dyn Source>,
    /// Where large arrivals are staged.
    pub staging: Staging,
    /// Where inputs go; a full channel makes the links wait.
    pub events: mpsc::Sender<Event>,
}
