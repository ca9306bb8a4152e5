//! A wall-clock time on the socket: an integer in postcard, RFC 3339 in words.
//!
//! Owns only the printing. Nobody here reads a clock, and nothing is ever ordered
//! or expired by such a time: it is for people.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use serde::{Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z, printed as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    /// Always with milliseconds: columns line up, and text sorts as time does. A time
    /// past the last that has such a form (in the year 9999) prints as that one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            to.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    /// Reads the socket's form only: a time in words is never read back.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return Err(de::Error::custom(
                "a moment in words is for people and is not read back",
            ));
        }
        u64::deserialize(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_as_rfc_3339_in_utc() {
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-30T22:00:00.999Z"),
        ];

        for (ms, text) in known {
            assert_eq!(Moment(ms).to_string(), text);
        }
    }
}
