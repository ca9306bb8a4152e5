//! Where a put is to go, and how many of its peers must have it.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::id::NodeId;
use crate::segment::Topic;

/// When a put is done (semantics 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Success {
    /// Every peer has it.
    #[default]
    AllPeers,
    /// One peer has it, whichever.
    OnePeer,
    /// So many peers have it, whichever.
    Count(NonZeroU16),
}

impl Success {
    /// How many of `peers` must have it; more than there are if it asks for more.
    #[must_use]
    pub const fn needs(self, peers: usize) -> usize {
        match self {
            Self::AllPeers => peers,
            Self::OnePeer => 1,
            Self::Count(count) => count.get() as usize,
        }
    }
}

impl fmt::Display for Success {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllPeers => f.write_str("all_peers"),
            Self::OnePeer => f.write_str("one_peer"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl std::str::FromStr for Success {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("all_peers", _) => Ok(Self::AllPeers),
            ("one_peer", _) => Ok(Self::OnePeer),
            (_, Ok(count)) => Ok(Self::Count(count)),
            (_, Err(_)) => Err(format!(
                "{text:?} is not all_peers, one_peer or a number from 1 to 65535"
            )),
        }
    }
}

/// A delivery's place among those of a pack of which fewer than all must succeed.
/// Such a pack has one member, so that each (pack, peer) is one segment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// How many peers must have it.
    pub need: u16,
    /// The place of this peer in the order given, from 0.
    pub rank: u16,
}

/// Where a put is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct To {
    /// These peers, in order; none: a route decides.
    pub peers: Arc<[NodeId]>,
    /// The route of this name; none: the first that matches.
    pub route: Option<Arc<str>>,
    /// The topic of what is put, for the route.
    pub topic: Option<Topic>,
    /// The success condition asked for; none: the route's, or the node's.
    pub success: Option<Success>,
}

impl To {
    /// To these peers, as the node's own condition says.
    #[must_use]
    pub fn peers(peers: impl Into<Arc<[NodeId]>>) -> Self {
        Self {
            peers: peers.into(),
            ..Self::default()
        }
    }
}
