//! Segments and packs as the core sees them: everything but the bytes.
//!
//! A segment is opaque bytes with an id, a length and a digest; a pack is an
//! immutable run of segments of one origin, put together for one lane and one
//! set of peers. The layout of a pack's bytes is [`crate::pack`]'s.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{LaneNo, NodeNo, PackNo, SegmentId, Sequence};
use crate::limits;
use crate::time::Unix;

/// A BLAKE3 hash, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How urgent a lane is: 0 (most urgent) to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Class(u8);

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 8;

    /// The class `level`, if it is at most 7.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if level < Self::COUNT as u8 {
            Some(Self(level))
        } else {
            None
        }
    }

    /// 0 (most urgent) to 7.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }
}

/// How a lane is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRule {
    /// Strict priority between classes.
    pub class: Class,
    /// Share inside the class, at least 1.
    pub weight: u32,
    /// Attempts a delivery may spend; at least 1.
    pub budget: u32,
}

impl LaneRule {
    /// Whether rates and quotas let it pass: class 0 is the daemon's own.
    #[must_use]
    pub const fn is_exempt(&self) -> bool {
        self.class.level() == 0
    }
}

/// The numbers of a pack that its bytes fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Members.
    pub count: u32,
    /// The sum of their lengths.
    pub bytes: u64,
    /// The length of the table.
    pub table_len: u32,
    /// The digest of the table.
    pub table: Digest,
    /// The smallest id.
    pub first: SegmentId,
    /// The greatest id.
    pub last: SegmentId,
}

impl Shape {
    /// The pack of this shape that came here at `at`, to be worth sending for `ttl`.
    #[must_use]
    pub fn info(&self, lane: LaneNo, came: Came, at: Unix, ttl: Option<Duration>) -> PackInfo {
        PackInfo {
            lane,
            origin: came.origin,
            via: came.via,
            hops: came.hops,
            sequence: came.sequence,
            count: self.count,
            bytes: self.bytes,
            table_len: self.table_len,
            table: self.table,
            first: self.first,
            last: self.last,
            created: at,
            expires: ttl.map(|ttl| at + ttl),
        }
    }
}

/// Which way a pack came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The node its segments entered at.
    pub origin: NodeNo,
    /// The node it was heard from.
    pub via: NodeNo,
    /// Relays passed so far.
    pub hops: u8,
    /// Where its first segment stands in the origin's lane.
    pub sequence: Sequence,
}

impl Came {
    /// It was put here, as `pack`.
    #[must_use]
    pub const fn here(pack: PackNo) -> Self {
        Self {
            origin: NodeNo::LOCAL,
            via: NodeNo::LOCAL,
            hops: 0,
            sequence: Sequence::of(pack),
        }
    }
}

/// What a pack is, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackInfo {
    /// The lane it travels in.
    pub lane: LaneNo,
    /// The node its segments entered at.
    pub origin: NodeNo,
    /// The node it was heard from: the origin, or the last relay before this one.
    pub via: NodeNo,
    /// Relays passed so far; 0 at the origin.
    pub hops: u8,
    /// Where its first segment stands in the origin's lane.
    pub sequence: Sequence,
    /// Members, at least 1.
    pub count: u32,
    /// The sum of the members' lengths.
    pub bytes: u64,
    /// The length of the table before the bodies.
    pub table_len: u32,
    /// The digest of the table, which holds the digest of each body.
    pub table: Digest,
    /// The smallest id.
    pub first: SegmentId,
    /// The greatest id.
    pub last: SegmentId,
    /// When it was put here or arrived here.
    pub created: Unix,
    /// When its members stop being worth sending.
    pub expires: Option<Unix>,
}

impl PackInfo {
    /// Whether it is one segment that travels by offer and answer.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.count == 1 && self.bytes > limits::SMALL_SEGMENT
    }

    /// The slots it takes among its peer's large segments in flight: one for each
    /// 128 KiB, at most eight; none if it travels in a pack. So a few long ones
    /// are under way at once, or many that are hardly longer than a pack, whose
    /// time goes into waiting for answers.
    #[must_use]
    pub fn slots(&self) -> usize {
        if !self.is_large() {
            return 0;
        }
        let pieces = self
            .bytes
            .div_ceil(128 << 10)
            .min(limits::LONGEST_SLOTS as u64);
        usize::try_from(pieces).unwrap_or(limits::LONGEST_SLOTS)
    }

    /// Table and bodies together.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.table_len as u64 + self.bytes
    }
}

/// A topic: at most 8 levels of `[A-Za-z0-9._-]` joined by `/`, at most 255 B.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(String);

impl Topic {
    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What travels with a segment beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// What it is about.
    pub topic: Option<Topic>,
    /// At most 16 pairs: key at most 64 B, value at most 256 B.
    pub labels: Vec<(String, String)>,
}

/// Why a topic or label is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Outside the alphabet or the bounds of a topic.
    #[error("topic {0:?} is not at most 8 levels of [A-Za-z0-9._-] joined by /, 255 B in all")]
    Topic(String),
    /// More labels than a segment may carry.
    #[error("{0} labels, at most 16 are allowed")]
    TooManyLabels(usize),
    /// A label key or value outside its bounds, or with control characters.
    #[error(
        "label {0:?} needs a key of 1-64 B and a value of at most 256 B without control characters"
    )]
    Label(String),
}

impl FromStr for Topic {
    type Err = MetaError;

    fn from_str(text: &str) -> Result<Self, MetaError> {
        let sound = |level: &str| {
            let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !level.is_empty() && level.bytes().all(letter)
        };
        if text.len() <= 255 && text.split('/').count() <= 8 && text.split('/').all(sound) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MetaError::Topic(text.chars().take(300).collect()))
        }
    }
}

impl TryFrom<String> for Topic {
    type Error = MetaError;
    fn try_from(text: String) -> Result<Self, MetaError> {
        text.parse()
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.0
    }
}

impl Meta {
    /// Checks the bounds on labels; the topic is checked by its type.
    ///
    /// # Errors
    /// [`MetaError`] naming the first label out of bounds.
    pub fn check(&self) -> Result<(), MetaError> {
        if self.labels.len() > 16 {
            return Err(MetaError::TooManyLabels(self.labels.len()));
        }
        for (key, value) in &self.labels {
            let printable = |text: &str| !text.chars().any(char::is_control);
            let sound = (1..=64).contains(&key.len())
                && value.len() <= 256
                && printable(key)
                && printable(value);
            if !sound {
                return Err(MetaError::Label(key.chars().take(80).collect()));
            }
        }
        Ok(())
    }

    /// Whether there is nothing to carry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.topic.is_none() && self.labels.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_keep_to_their_alphabet() {
        for good in ["a", "alarm/pump-7/over.heat", "a/b/c/d/e/f/g/h"] {
            assert!(good.parse::<Topic>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a//b",
            "a/b/c/d/e/f/g/h/i",
            "a b",
            "ä",
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_out_of_bounds_are_refused() {
        let meta = |key: &str, value: &str| Meta {
            topic: None,
            labels: vec![(key.to_owned(), value.to_owned())],
        };

        assert!(meta("unit", "kPa").check().is_ok());
        assert!(meta("", "x").check().is_err());
        assert!(meta("k", "\u{1b}[31m").check().is_err());
        assert!(meta("k", &"v".repeat(257)).check().is_err());
        let many = Meta {
            topic: None,
            labels: vec![("k".into(), "v".into()); 17],
        };
        assert_eq!(many.check(), Err(MetaError::TooManyLabels(17)));
    }
}
