//! Bytes and rates: parsed with their units, checked arithmetic.
//!
//! `"8MiB"` and `"1MiB/s"` are how people write them; KiB, MiB, GiB, TiB are
//! powers of 1,024 and kB, MB, GB, TB powers of 1,000. A bare number needs no
//! unit only where the key itself says bytes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A count of bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ByteCount(pub u64);

/// Bytes per second; zero means unlimited wherever a limit is set.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Rate(pub u64);

/// Why a text is not a number of bytes or a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The number before the unit cannot be read.
    #[error("{0:?} does not begin with a number (try \"8MiB\")")]
    NoNumber(String),
    /// The unit is not one of ours.
    #[error("{0:?} has no unit we know (try \"5MiB\", units B kB KiB MB MiB GB GiB TB TiB)")]
    UnknownUnit(String),
    /// More than 2^63 bytes.
    #[error("{0:?} is more than 8 EiB")]
    TooLarge(String),
    /// A rate without `/s`.
    #[error("{0:?} is not a rate (try \"1MiB/s\")")]
    NotARate(String),
}

impl ByteCount {
    /// `n` × 1,024.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    /// `n` × 1,048,576.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self(0);

    /// Whether this rate limits nothing.
    #[must_use]
    pub const fn is_unlimited(self) -> bool {
        self.0 == 0
    }

    /// How long `bytes` take at this rate, rounded up to a microsecond; zero
    /// when unlimited.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Duration {
        if self.is_unlimited() {
            return Duration::ZERO;
        }
        let micros = (u128::from(bytes) * 1_000_000).div_ceil(u128::from(self.0));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1000 * 1000),
    ("MiB", 1 << 20),
    ("GB", 1000 * 1000 * 1000),
    ("GiB", 1 << 30),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("TiB", 1 << 40),
    ("K", 1 << 10),
    ("M", 1 << 20),
];

impl FromStr for ByteCount {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number = number.replace('_', "");
        if number.is_empty() {
            return Err(UnitError::NoNumber(text.to_owned()));
        }
        let unit = unit.trim();
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(UnitError::UnknownUnit(text.to_owned()));
        };
        let bytes = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*scale));
        bytes
            .filter(|n| *n <= 1 << 63)
            .map(Self)
            .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bytes = match text.trim().strip_suffix("/s") {
            Some(bytes) => bytes,
            None if text == "0" => text,
            None => return Err(UnitError::NotARate(text.to_owned())),
        };
        bytes.parse::<ByteCount>().map(|b| Self(b.0))
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scales = [
            ("TiB", 1u64 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ];
        for (name, scale) in scales {
            if self.0 >= scale {
                let tenths = (u128::from(self.0) * 10) / u128::from(scale);
                return match tenths % 10 {
                    0 => write!(f, "{} {name}", tenths / 10),
                    part => write!(f, "{}.{part} {name}", tenths / 10),
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            f.write_str("unlimited")
        } else {
            write!(f, "{}/s", ByteCount(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_rates_read_as_people_write_them() {
        assert_eq!("8MiB".parse(), Ok(ByteCount::mib(8)));
        assert_eq!("8 MiB".parse(), Ok(ByteCount::mib(8)));
        assert_eq!("100_000".parse(), Ok(ByteCount(100_000)));
        assert_eq!("1MiB/s".parse(), Ok(Rate(1 << 20)));
        assert_eq!("0".parse(), Ok(Rate::UNLIMITED));
        assert_eq!(
            "5 mb".parse::<ByteCount>(),
            Err(UnitError::UnknownUnit("5 mb".into()))
        );
        assert_eq!(
            "5MiB".parse::<Rate>(),
            Err(UnitError::NotARate("5MiB".into()))
        );
        assert!("MiB".parse::<ByteCount>().is_err());
        assert!("99999999999 TiB".parse::<ByteCount>().is_err());
    }

    #[test]
    fn a_rate_divides_bytes_into_time() {
        assert_eq!(Rate(1000).time_for(500), Duration::from_millis(500));
        assert_eq!(Rate(3).time_for(1), Duration::from_micros(333_334));
        assert_eq!(Rate::UNLIMITED.time_for(u64::MAX), Duration::ZERO);
    }

    #[test]
    fn bytes_print_humanely() {
        assert_eq!(
            ByteCount(18 * (1 << 20) + (400 << 10)).to_string(),
            "18.3 MiB"
        );
        assert_eq!(ByteCount::mib(1).to_string(), "1 MiB");
        assert_eq!(ByteCount(17).to_string(), "17 B");
    }
}
