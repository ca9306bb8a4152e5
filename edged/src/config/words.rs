//! The values a config is written in: `"30s"`, `"5MB/s"`, `"host:7443"`.
//!
//! Each function takes the text as written and gives the value or one sentence
//! saying what was found and what to write. Bytes and rates are those of
//! `relay_core::units`; here they only gain a suggestion.

use std::time::Duration;

use relay_core::units::{ByteCount, Rate, UnitError};

/// Reads `"500ms"`, `"30s"`, `"5m"`, `"24h"`, `"90d"`, or several of them in
/// falling order (`"1h30m"`); `"0"` needs no unit.
///
/// # Errors
/// One sentence, when a number or a unit is missing or the sum passes 2^64 ms.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unknown = || format!("{text:?} is no duration (try \"30s\", units ms s m h d)");
    let (mut rest, mut sum, mut last) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() && !number.is_empty() {
            return Err(format!(
                "{text:?} has no unit (try \"{number}s\", units ms s m h d)"
            ));
        }
        let scale = SPANS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, ms)| *ms);
        let scale = scale.filter(|ms| *ms < last).ok_or_else(unknown)?;
        let part = number
            .parse::<u64>()
            .map_err(|_| unknown())?
            .checked_mul(scale);
        sum = part
            .and_then(|ms| sum.checked_add(ms))
            .ok_or_else(unknown)?;
        (rest, last) = (tail, scale);
    }
    match last {
        u64::MAX => Err(unknown()),
        _ => Ok(Duration::from_millis(sum)),
    }
}

/// Writes a duration so that [`duration`] reads it back: `1h30m`. What is
/// below a millisecond is cut.
#[must_use]
pub fn show_duration(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut shown = String::new();
    for (name, ms) in SPANS {
        if rest >= ms {
            shown.push_str(&format!("{}{name}", rest / ms));
            rest %= ms;
        }
    }
    if shown.is_empty() {
        "0".to_owned()
    } else {
        shown
    }
}

/// Reads `"8MiB"`.
///
/// # Errors
/// One sentence, with the unit that was probably meant.
pub(super) fn bytes(text: &str) -> Result<ByteCount, String> {
    text.parse().map_err(|error| advise(text, &error, ""))
}

/// Reads `"1MiB/s"`; `"0"` is unlimited.
///
/// # Errors
/// One sentence, with the unit that was probably meant.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|error| advise(text, &error, "/s"))
}

/// Reads `"host:7443"`, `"192.0.2.1:7443"` or `"[2001:db8::1]:7443"`.
///
/// # Errors
/// One sentence, when host or port is missing or malformed.
pub fn address(text: &str) -> Result<Address, String> {
    let refused = || format!("{text:?} is not an address (try \"depot-7.example:7443\")");
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(refused)?;
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let sound = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            (1..=253).contains(&host.len()) && host.bytes().all(letter)
        }
    };
    match sound {
        true => Ok(Address {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        }),
        false => Err(refused()),
    }
}

/// A host, by name or number, and a port. Names are resolved when dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// A name or an IP address, IPv6 without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        address(text)
    }
}

/// Units of time in milliseconds, longest first.
const SPANS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Units of bytes as `relay_core::units` spells them.
const SIZES: [&str; 9] = ["B", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB"];

/// The error again, with the text that was probably meant where that can be
/// guessed from the letters alone.
fn advise(text: &str, error: &UnitError, suffix: &str) -> String {
    let body = text.trim().trim_end_matches("/s").trim_end_matches("ps");
    let split = body
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(body.len());
    let (number, unit) = body.split_at(split);
    let meant = SIZES
        .iter()
        .find(|known| known.eq_ignore_ascii_case(unit.trim()));
    let (Some(unit), false) = (meant, number.is_empty()) else {
        return error.to_string();
    };
    let what = match (error, *unit == body[split..].trim()) {
        (UnitError::TooLarge(_), _) => return error.to_string(),
        (UnitError::NotARate(_), true) => "is not a rate",
        (UnitError::NotARate(_) | UnitError::UnknownUnit(_) | UnitError::NoNumber(_), _) => {
            "has no unit we know"
        }
    };
    format!("{text:?} {what} (try \"{number}{unit}{suffix}\")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_back() {
        let cases = [
            ("500ms", 500),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("90d", 7_776_000_000),
        ];
        for (text, ms) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(show_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in [
            "",
            "s",
            "5",
            "5 s",
            "5m1h",
            "5m5m",
            "-1s",
            "1.5h",
            "5y",
            "99999999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_unit_in_the_wrong_case_is_answered_with_the_right_one() {
        let answer = rate("5 mb").expect_err("mb is no unit");
        assert_eq!(answer, "\"5 mb\" has no unit we know (try \"5MB/s\")");

        let answer = bytes("5 mb").expect_err("mb is no unit");
        assert_eq!(answer, "\"5 mb\" has no unit we know (try \"5MB\")");

        let answer = rate("5MiB").expect_err("no rate");
        assert_eq!(answer, "\"5MiB\" is not a rate (try \"5MiB/s\")");
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for good in ["depot-7:7443", "192.0.2.1:1", "[2001:db8::1]:7443"] {
            assert_eq!(address(good).map(|a| a.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "depot-7",
            "depot-7:0",
            "depot-7:65536",
            ":7443",
            "a b:1",
            "2001:db8::1:7443",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
