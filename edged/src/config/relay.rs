//! How segments move: `[relay]`, `[relay.retry]`, `[bandwidth]`, `[ingest]`.
//!
//! Each `read` is the whole truth about its table: keys, defaults, bounds.

use std::time::Duration;

pub use relay_core::aim::Success;
use relay_core::units::{ByteCount, Rate};

use super::choice::choice;
use super::effective::Effective;
use super::error::{Fault, Result};
use super::read::Section;
use super::tree::Value;

/// The shortest timeout: below it the scheduler's own rounds would trip it.
const SHORTEST: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// `[relay]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Whether segments leave and arrive at all.
    pub enabled: bool,
    /// Large segments in flight per peer.
    pub workers: u32,
    /// When a put that says nothing else is done.
    pub success_condition: Success,
    /// How long a dial may take.
    pub dial_timeout: Duration,
    /// How long an ack may take once every byte is out.
    pub ack_timeout: Duration,
    /// A class with work is served at least this often.
    pub max_starvation: Duration,
    /// What happens after failures.
    pub retry: Retry,
}

/// `[relay.retry]`: delays double from `first` to `longest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The delay after the first failure.
    pub first: Duration,
    /// No delay is longer.
    pub longest: Duration,
    /// Attempts before a delivery is parked.
    pub budget: u32,
}

impl Relay {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let retry = Retry::read(s.section("retry")?, seen)?;
        let relay = Self {
            enabled: s.boolean("enabled", true)?,
            workers: s.count("workers", 4, 1..=256)?,
            success_condition: success(&mut s, "success_condition", Success::AllPeers)?,
            dial_timeout: s.duration("dial_timeout", 10 * SECOND, SHORTEST..=HOUR)?,
            ack_timeout: s.duration("ack_timeout", 30 * SECOND, SHORTEST..=HOUR)?,
            max_starvation: s.duration("max_starvation", 30 * SECOND, SHORTEST..=HOUR)?,
            retry,
        };
        s.done(seen)?;
        Ok(relay)
    }
}

impl Retry {
    fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let retry = Self {
            first: s.duration("first", SECOND, SHORTEST..=HOUR)?,
            longest: s.duration("longest", 300 * SECOND, SHORTEST..=24 * HOUR)?,
            budget: s.count("budget", 8, 1..=1000)?,
        };
        if retry.longest < retry.first {
            let why = format!(
                "\"{}\" is shorter than relay.retry.first, expected \"{}\" or more",
                super::words::show_duration(retry.longest),
                super::words::show_duration(retry.first)
            );
            return Err(s.refused("longest", Fault::Value(why)));
        }
        s.done(seen)?;
        Ok(retry)
    }
}

/// The success condition in `key`, which may be a word or a number.
pub(super) fn success(s: &mut Section<'_>, key: &'static str, default: Success) -> Result<Success> {
    let read = |value: &Value, _| {
        let text = match value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Foreign(..) => {
                value.to_string()
            }
        };
        text.parse().map_err(Fault::Value)
    };
    s.read(key, default, Success::to_string, read)
}

choice! {
    /// What happens to deliveries when the daily quota is used up.
    OnExhausted {
        /// They wait until it opens.
        Wait = "wait",
        /// They are parked for an operator.
        Deadletter = "deadletter",
    }
}

/// `[bandwidth]`: what this node may send, to all peers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth {
    /// Stream bytes a second.
    pub bytes_per_second: Rate,
    /// UDP bytes in any 24 hours; 0 is unlimited.
    pub daily_quota_bytes: ByteCount,
    /// What happens when they are used up.
    pub on_exhausted: OnExhausted,
}

impl Bandwidth {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let bandwidth = Self {
            bytes_per_second: s.rate("bytes_per_second")?,
            daily_quota_bytes: s.bytes(
                "daily_quota_bytes",
                ByteCount(0),
                ByteCount(0)..=ByteCount(1 << 62),
            )?,
            on_exhausted: s.parsed("on_exhausted", OnExhausted::Wait)?,
        };
        s.done(seen)?;
        Ok(bandwidth)
    }
}

/// `[ingest]`: what one peer may send us; 0 is unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// Segments a second.
    pub per_peer_segments_per_second: u32,
    /// Bytes a second.
    pub per_peer_bytes_per_second: Rate,
}

impl Ingest {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let ingest = Self {
            per_peer_segments_per_second: s.count(
                "per_peer_segments_per_second",
                0,
                0..=u32::MAX,
            )?,
            per_peer_bytes_per_second: s.rate("per_peer_bytes_per_second")?,
        };
        s.done(seen)?;
        Ok(ingest)
    }
}
