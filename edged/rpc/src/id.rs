//! Segment ids and digests as they cross the socket.
//!
//! They are bytes in postcard and hex in JSON, so that one view serves both the
//! socket and `--output json`. Text form and rules
//! are those of `semantics.md`, section 1; nothing here makes an id.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A segment's name: 128 bits chosen by its origin, printed `seg-` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// All zero: stands where a batch names no segment because it was refused.
    pub const NIL: Self = Self([0; 16]);

    /// Whether this names no segment.
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seg-")?;
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stood where an id or a digest was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct NotHex {
    /// The text as found.
    pub found: String,
    /// What would have been right.
    pub expected: &'static str,
}

impl FromStr for Id {
    type Err = NotHex;

    /// Reads a whole id, with or without `seg-`. Prefixes are resolved by the daemon.
    fn from_str(text: &str) -> Result<Self, NotHex> {
        let digits = text.strip_prefix("seg-").unwrap_or(text);
        read_hex(digits).map(Self).ok_or_else(|| NotHex {
            found: text.to_owned(),
            expected: "a segment id (seg- and 32 hex digits)",
        })
    }
}

/// A BLAKE3 digest, printed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        read_hex(text).map(Self).ok_or_else(|| NotHex {
            found: text.to_owned(),
            expected: "a digest (64 hex digits)",
        })
    }
}

/// Many ids in a row, carried as one run of bytes so that a batch answer costs a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids(pub Vec<Id>);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            self.0.serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(from).map(Self)
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            self.0.serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(from).map(Self)
        }
    }
}

impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.collect_seq(&self.0);
        }
        let mut bytes = Vec::with_capacity(self.0.len() * 16);
        for id in &self.0 {
            bytes.extend_from_slice(&id.0);
        }
        to.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return Vec::deserialize(from).map(Self);
        }
        from.deserialize_bytes(Run)
    }
}

/// Reads a run of whole ids.
struct Run;

impl Visitor<'_> for Run {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run of 16-byte ids")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Ids, E> {
        let (ids, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(Ids(ids.iter().copied().map(Id).collect()))
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = Id(*b"0123456789abcdef");

        let text = id.to_string();

        assert_eq!(text, "seg-30313233343536373839616263646566");
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text["seg-".len()..].parse(), Ok(id));
    }

    #[test]
    fn a_prefix_is_not_an_id() {
        let error = "seg-3031".parse::<Id>().expect_err("too short");

        assert_eq!(
            error.to_string(),
            "\"seg-3031\" is not a segment id (seg- and 32 hex digits)"
        );
    }
}
