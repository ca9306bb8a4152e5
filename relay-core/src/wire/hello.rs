//! The first words of a link and the last: who speaks, and why it ends.

use serde::{Deserialize, Serialize};

use super::{OLDEST, VERSION};
use crate::event::{CloseWhy, Greeting};
use crate::id::{BootEpoch, LedgerId, NodeId};

/// The first frame each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest version the speaker knows.
    pub min_version: u16,
    /// The newest.
    pub max_version: u16,
    /// Its name, as its certificate proves it.
    pub node: NodeId,
    /// Its ledger.
    pub ledger: LedgerId,
    /// Its run.
    pub boot_epoch: BootEpoch,
    /// The longest segment it takes, in bytes.
    pub max_segment: u64,
    /// What its acks promise at most.
    pub durability: Durability,
}

impl Hello {
    /// The version both sides speak: the lower of the newest, if both know it.
    #[must_use]
    pub fn common_version(&self) -> Option<u16> {
        let version = self.max_version.min(VERSION);
        (version >= self.min_version && version >= OLDEST).then_some(version)
    }

    /// What the core hears of it; `dialled` says whether we dialled.
    #[must_use]
    pub const fn greeting(&self, dialled: bool) -> Greeting {
        Greeting {
            ledger: self.ledger,
            epoch: self.boot_epoch,
            dialled,
            max_segment: self.max_segment,
        }
    }
}

/// What "stored" means where it is said (semantics 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Durability {
    /// On stable storage.
    Synced,
    /// Given to the operating system; a power loss may take it.
    Written,
}

impl Durability {
    /// The word in answers, logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Written => "written",
        }
    }
}

/// The application error code by which a sender resets a stream of its own that it takes
/// back: what it carries is cancelled, held or paused, or goes later. The link stays.
pub const TAKEN_BACK: u32 = 0x20;

/// Why a side ends a link: the word of [`Frame::Bye`](super::Frame::Bye) and the code of the close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Goodbye {
    /// Another link to the same peer stays.
    Duplicate,
    /// The peer is not in the config.
    UnknownPeer,
    /// The peer broke the protocol.
    Protocol,
    /// The daemon goes down.
    Draining,
    /// The certificate proves another node than the one meant (a gate).
    WrongNode,
    /// No version in common.
    Version,
    /// The speaker's own fault.
    Internal,
    /// An operator ended it; it may be dialled anew.
    Kicked,
    /// Two machines speak under this name.
    IdentityCloned,
    /// It was of no use for a while.
    Idle,
}

impl Goodbye {
    const ALL: [Self; 10] = [
        Self::Duplicate,
        Self::UnknownPeer,
        Self::Protocol,
        Self::Draining,
        Self::WrongNode,
        Self::Version,
        Self::Internal,
        Self::Kicked,
        Self::IdentityCloned,
        Self::Idle,
    ];

    /// The name in logs and in the reason of the close.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::UnknownPeer => "unknown_peer",
            Self::Protocol => "protocol",
            Self::Draining => "draining",
            Self::WrongNode => "wrong_node",
            Self::Version => "version",
            Self::Internal => "internal",
            Self::Kicked => "kicked",
            Self::IdentityCloned => "identity_cloned",
            Self::Idle => "idle",
        }
    }

    /// The application error code of the close: 16 and the place in this enum.
    #[must_use]
    pub const fn code(self) -> u32 {
        0x10 + self as u32
    }

    /// The word for a code heard, if it is one of ours.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|why| u64::from(why.code()) == code)
    }
}

impl From<CloseWhy> for Goodbye {
    fn from(why: CloseWhy) -> Self {
        match why {
            CloseWhy::Duplicate => Self::Duplicate,
            CloseWhy::UnknownPeer => Self::UnknownPeer,
            CloseWhy::Protocol => Self::Protocol,
            CloseWhy::Draining => Self::Draining,
            CloseWhy::Kicked => Self::Kicked,
            CloseWhy::IdentityCloned => Self::IdentityCloned,
            CloseWhy::Idle => Self::Idle,
        }
    }
}
