//! Units people write and read: durations in, bytes and ages out.

use std::time::Duration;

use edged_rpc::{Moment, Until};
use jiff::Timestamp;

/// Reads `10s`, `500ms`, `2m`, `1h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no duration (try \"10s\")"))?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("{text:?} has no unit (try \"{number}s\")")),
        _ => return Err(format!("{text:?} has no unit we know (ms, s, m, h, d)")),
    };
    let total = number.checked_mul(milliseconds);
    total
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is too long"))
}

/// Reads a TTL: a duration of at least a second, cut to whole seconds.
pub(crate) fn ttl(text: &str) -> Result<u64, String> {
    match duration(text)?.as_secs() {
        0 => Err(format!("{text:?} is shorter than a second")),
        seconds => Ok(seconds),
    }
}

/// Reads when something ends: after a duration, or at a time in RFC 3339.
pub(crate) fn until(text: &str) -> Result<Until, String> {
    if let Ok(seconds) = ttl(text) {
        return Ok(Until::After(seconds));
    }
    let at = text.parse::<Timestamp>().ok();
    let at = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    at.map(|at| Until::At(Moment(at))).ok_or_else(|| {
        format!("{text:?} is neither a duration (2h) nor a time (2026-01-31T06:00:00Z)")
    })
}

/// Reads when something began or ended: so long ago, or at a time in RFC 3339.
pub(crate) fn past(text: &str) -> Result<Moment, String> {
    let at = match duration(text) {
        Ok(ago) => jiff::SignedDuration::try_from(ago)
            .ok()
            .and_then(|ago| Timestamp::now().checked_sub(ago).ok()),
        Err(_) => text.parse::<Timestamp>().ok(),
    };
    let at = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    at.map(Moment).ok_or_else(|| {
        format!("{text:?} is neither a duration (2h) nor a time (2026-01-31T06:00:00Z)")
    })
}

/// `512 B`, `3.1 MiB`, `10 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    // In tenths, rounded; integers, so that no machine prints another digit.
    let tenths = |shift: u32| (u128::from(count) * 10 + (1 << (shift - 1))) >> shift;
    let mut unit = 0;
    let mut shift = 10;
    while tenths(shift) >= 10_240 && unit + 1 < UNITS.len() {
        unit += 1;
        shift += 10;
    }
    match (tenths(shift) / 10, tenths(shift) % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[unit]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

/// `41s`, `3m12s`, `2h05m`, `3d04h`.
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m{:02}s", seconds % 60),
        () if days == 0 => format!("{hours}h{:02}m", minutes % 60),
        () => format!("{days}d{:02}h", hours % 24),
    }
}

/// `1,048,576`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_we_know() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "10",
            "s",
            "5 mb",
            "-1s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ttl("1h"), Ok(3_600));
        assert!(ttl("999ms").is_err());
    }

    #[test]
    fn an_end_is_a_duration_or_a_time() {
        assert_eq!(until("90s"), Ok(Until::After(90)));
        assert_eq!(until("1970-01-01T00:00:02Z"), Ok(Until::At(Moment(2_000))));
        assert_eq!(until("1970-01-01T02:00:00+02:00"), Ok(Until::At(Moment(0))));
        for wrong in ["", "0s", "tomorrow", "2026-01-31", "06:00"] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_ages_and_counts_are_humane() {
        let known = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_048_575, "1 MiB"),
            (3_250_586, "3.1 MiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (count, text) in known {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(
            [41, 192, 7_500, 273_600].map(age),
            ["41s", "3m12s", "2h05m", "3d04h"]
        );
        assert_eq!(
            [0, 999, 1_000, 1_048_576].map(grouped),
            ["0", "999", "1,000", "1,048,576"]
        );
    }
}
