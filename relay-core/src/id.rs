//! The names of things: parse, print, order.
//!
//! Ids name; they never order or prune anything. A [`SegmentId`] is made by the
//! node where the segment enters and travels with it; nodes and lanes travel by
//! name ([`NodeId`], [`LaneName`]) and are handled inside by the small number
//! the ledger gave them ([`NodeNo`], [`LaneNo`]). Pack, receipt and ticket
//! numbers belong to one ledger and mean nothing elsewhere.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// 128 bits that name one segment for ever: a UUIDv7 (RFC 9562 section 5.7),
/// printed as `seg-` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId(pub [u8; 16]);

impl SegmentId {
    /// The id made at `unix_ms` milliseconds since 1970 with `chance` as its
    /// random bits; the version and variant bits are set over them.
    #[must_use]
    pub const fn v7(unix_ms: u64, chance: u128) -> Self {
        let time = (unix_ms as u128 & 0xffff_ffff_ffff) << 80;
        let rest = chance & 0x0fff_3fff_ffff_ffff_ffff;
        Self((time | (0x7 << 76) | (0b10 << 62) | rest).to_be_bytes())
    }

    /// The millisecond of its making, as its first 48 bits claim.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        (u128::from_be_bytes(self.0) >> 80) as u64
    }

    /// The `n`-th id after this one: the members of a pack are named in a run.
    /// Wraps inside the 62 low random bits, so version, variant and time stay.
    #[must_use]
    pub const fn after(self, n: u64) -> Self {
        let all = u128::from_be_bytes(self.0);
        const LOW: u128 = 0x3fff_ffff_ffff_ffff;
        let low = ((all & LOW) + n as u128) & LOW;
        Self(((all & !LOW) | low).to_be_bytes())
    }

    /// How many ids after `first` this one is, if both may be of one run.
    #[must_use]
    pub fn distance(self, first: Self) -> Option<u64> {
        let (this, first) = (u128::from_be_bytes(self.0), u128::from_be_bytes(first.0));
        this.checked_sub(first).and_then(|n| u64::try_from(n).ok())
    }
}

/// Where a segment stands in its lane, as its origin counts: the origin's number of its
/// pack, and in the low 10 bits which of that pack's run of ids it has. It rises with
/// each put of an origin in a lane, and stays what it is on the way (semantics 5).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Sequence(pub u64);

impl Sequence {
    const MEMBER: u32 = 10;
    const MEMBERS: u64 = (1 << Self::MEMBER) - 1;

    /// Of the first segment of the origin's own `pack`.
    #[must_use]
    pub const fn of(pack: PackNo) -> Self {
        Self(pack.0 << Self::MEMBER)
    }

    /// Of `id`, where this one is of `first`, the least id of its pack. Ids that are no
    /// run, which no honest origin makes, leave it within the pack.
    #[must_use]
    pub fn at(self, first: SegmentId, id: SegmentId) -> Self {
        let beyond = id.distance(first).unwrap_or(0);
        let room = Self::MEMBERS - (self.0 & Self::MEMBERS);
        Self(self.0 + beyond.min(room))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seg-{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a name of the asked kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not `seg-` followed by 1 to 32 hex digits.
    #[error("{0:?} is not a segment id (seg- and up to 32 hex digits)")]
    Segment(String),
    /// A node id outside 1–63 of `a-z 0-9 -`.
    #[error("{0:?} is not a node id (1 to 63 of a-z, 0-9 and -)")]
    Node(String),
    /// A lane name outside 1–63 of `a-z 0-9 - _`.
    #[error("{0:?} is not a lane name (1 to 63 of a-z, 0-9, - and _)")]
    Lane(String),
}

impl FromStr for SegmentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match SegmentPrefix::from_str(text)? {
            SegmentPrefix { low, high } if low == high => Ok(low),
            SegmentPrefix { .. } => Err(IdError::Segment(text.to_owned())),
        }
    }
}

/// All ids that begin with the digits an operator typed: from `low` to `high`,
/// both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentPrefix {
    /// The smallest id with this prefix.
    pub low: SegmentId,
    /// The greatest id with this prefix.
    pub high: SegmentId,
}

impl FromStr for SegmentPrefix {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refused = || IdError::Segment(text.to_owned());
        let digits = text.strip_prefix("seg-").ok_or_else(refused)?;
        let sound =
            (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !sound {
            return Err(refused());
        }
        let value = u128::from_str_radix(digits, 16).map_err(|_| refused())?;
        let free = 4 * (32 - digits.len() as u32);
        let low = value.checked_shl(free).unwrap_or(0);
        let high = low | 1u128.checked_shl(free).map_or(u128::MAX, |one| one - 1);
        Ok(Self {
            low: SegmentId(low.to_be_bytes()),
            high: SegmentId(high.to_be_bytes()),
        })
    }
}

/// The name of one node: 1–63 of `a-z 0-9 -`, proven by its certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

/// The name of a lane: 1–63 of `a-z 0-9 - _`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LaneName(Arc<str>);

macro_rules! name {
    ($name:ident, $refused:path, $extra:pat) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let letter = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9') || matches!(b, $extra);
                if (1..=63).contains(&text.len()) && text.bytes().all(letter) {
                    Ok(Self(text.into()))
                } else {
                    Err($refused(text.chars().take(80).collect()))
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
name!(NodeId, IdError::Node, b'-');
name!(LaneName, IdError::Lane, b'-' | b'_');

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
number! {
    /// A node as this ledger numbers it. 0 is this node itself: as an origin
    /// "ours", as a peer the local inbox.
    NodeNo(u32)
}
number! {
    /// A lane as this ledger numbers it.
    LaneNo(u16)
}
number! {
    /// A pack as its ledger numbers it, from 1, rising, never used twice.
    PackNo(u64)
}
number! {
    /// A stored arrival as the receiving ledger numbers it, from 1, rising.
    ReceiptNo(u64)
}
number! {
    /// A place in the order of facts asked to be made durable. One answer
    /// covers all tickets up to it.
    Ticket(u64)
}
number! {
    /// Bytes that the shell holds and that have no place in the ledger yet.
    StagedId(u64)
}
number! {
    /// A large segment of which only the beginning is here, never used twice: the
    /// boot epoch it was begun in stands in the upper half.
    PartialNo(u64)
}
number! {
    /// One live connection to a peer, named by the shell, never used twice in
    /// one run.
    LinkId(u64)
}
number! {
    /// One put of a local client, named by the shell, awaiting its answer.
    PutId(u64)
}
number! {
    /// The random 64 bits that tell one ledger from a restored copy of it.
    LedgerId(u64)
}
number! {
    /// Raised by one at each start of the daemon.
    BootEpoch(u64)
}

impl NodeNo {
    /// This node: the origin of local puts, and the inbox as a peer.
    pub const LOCAL: Self = Self(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_id_prints_and_parses_back() {
        let id = SegmentId::v7(1_700_000_000_123, u128::MAX);

        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.unix_ms(), 1_700_000_000_123);
        assert_eq!(id.0[6] >> 4, 7);
        assert_eq!(id.0[8] >> 6, 0b10);
    }

    #[test]
    fn a_segment_keeps_its_place_in_the_lane_whatever_left_its_pack() {
        let first = SegmentId::v7(1_700_000_000_123, 77);
        let (second, fifth) = (first.after(1), first.after(4));
        let own = Sequence::of(PackNo(3));

        assert_eq!(own.at(first, fifth), Sequence(3 * 1024 + 4));
        // The first member went another way, then others did.
        assert_eq!(
            own.at(first, second).at(second, fifth),
            own.at(first, fifth)
        );
        assert!(own.at(first, first.after(1023)) < Sequence::of(PackNo(4)));
        // Ids that are no run stay within the pack.
        let far = first.after(1 << 40);
        let later = SegmentId::v7(1_700_000_000_999, 77);
        assert_eq!(own.at(first, far), Sequence(3 * 1024 + 1023));
        assert_eq!(own.at(first, later), own);
        assert_eq!(own.at(far, first), own);
        assert_eq!(Sequence(u64::MAX).at(first, far), Sequence(u64::MAX));
    }

    #[test]
    fn a_prefix_spans_all_ids_that_begin_with_it() {
        let id = SegmentId::v7(1_700_000_000_123, 77);

        for digits in 1..=32 {
            let text = &id.to_string()[..4 + digits];
            let prefix: SegmentPrefix = text.parse().expect("a prefix of an id");
            assert!(prefix.low <= id && id <= prefix.high, "{text}");
        }
        for bad in [
            "",
            "seg-",
            "seg-g",
            "0190",
            "seg-+1",
            &format!("seg-{}", "0".repeat(33)),
        ] {
            assert!(bad.parse::<SegmentPrefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_in_a_run_differ_and_keep_version_and_time() {
        let first = SegmentId::v7(5, u128::MAX);

        let next = first.after(1);

        assert_ne!(first, next);
        assert_eq!(next.0[6] >> 4, 7);
        assert_eq!(next.0[8] >> 6, 0b10);
        assert_eq!(next.unix_ms(), 5);
    }

    #[test]
    fn names_outside_their_alphabet_are_refused() {
        assert!("depot-7".parse::<NodeId>().is_ok());
        for bad in ["", "Depot", "a b", "a/b", "a_b", &"x".repeat(64)] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
        assert!("bulk_2".parse::<LaneName>().is_ok());
    }
}
