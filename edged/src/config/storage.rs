//! What is kept, how safely and for how long: `[storage]` and `[inbox]`.
//!
//! Each `read` is the whole truth about its table: keys, defaults, bounds.

use std::path::PathBuf;
use std::time::Duration;

use relay_core::units::ByteCount;

use super::choice::choice;
use super::effective::Effective;
use super::error::{Fault, Result};
use super::read::Section;
use super::tree::Value;
use super::value::resolve;

/// The smallest ceiling: below it two WALs, a log file, its copy and the
/// reserve leave no room for payload.
pub const LEAST_STORAGE: ByteCount = ByteCount::mib(64);
const MOST_STORAGE: ByteCount = ByteCount(1 << 50);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

choice! {
    /// What an accepted put may count on.
    Durability {
        /// It is on stable storage.
        Synced = "synced",
        /// It is with the operating system; power loss may take it.
        Written = "written",
    }
}

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The promise behind every answer.
    pub durability: Durability,
    /// The most that is ever allocated under the state folder.
    pub max_bytes: ByteCount,
    /// Kept free of work, so that acks and deletes go on when the disk is full.
    pub reserve: ByteCount,
    /// How long acknowledged deliveries can be looked up.
    pub keep_acked: Duration,
    /// And how many packs of them.
    pub keep_acked_rows: u32,
    /// What the deadletter may pin.
    pub keep_deadletter_bytes: ByteCount,
    /// How long an expired payload is kept.
    pub keep_expired: Duration,
}

impl Storage {
    pub(super) fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let zero = ByteCount(0);
        let max_bytes = s.bytes(
            "max_bytes",
            ByteCount::mib(8192),
            LEAST_STORAGE..=MOST_STORAGE,
        )?;
        let quarter = ByteCount(max_bytes.0 / 4);
        let reserve = ByteCount(max_bytes.0 / 16).min(ByteCount::mib(16));
        let storage = Self {
            durability: s.parsed("durability", Durability::Synced)?,
            max_bytes,
            reserve: s.bytes("reserve", reserve, ByteCount::mib(1)..=quarter)?,
            keep_acked: s.duration("keep_acked", DAY, Duration::ZERO..=YEAR)?,
            keep_acked_rows: s.count("keep_acked_rows", 100_000, 0..=100_000_000)?,
            keep_deadletter_bytes: s.bytes(
                "keep_deadletter_bytes",
                ByteCount::mib(1024),
                zero..=MOST_STORAGE,
            )?,
            keep_expired: s.duration("keep_expired", DAY, Duration::ZERO..=YEAR)?,
        };
        s.done(seen)?;
        Ok(storage)
    }

    /// The length of one file of the payload log: 1/32 of the ceiling, between
    /// 4 and 64 MiB (semantics 9).
    #[must_use]
    pub fn log_file(&self) -> ByteCount {
        ByteCount(self.max_bytes.0 / 32).clamp(ByteCount::mib(4), ByteCount::mib(64))
    }
}

/// Where arrivals go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// They stay until someone takes them: `"hold"`.
    Hold,
    /// Written as files into a folder: `"dir:/path"`.
    Dir(PathBuf),
    /// Each handed to a program: `"exec:/path/to/program"`.
    Exec(PathBuf),
}

impl std::fmt::Display for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hold => f.write_str("hold"),
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
            Self::Exec(path) => write!(f, "exec:{}", path.display()),
        }
    }
}

/// `[inbox]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    /// Where arrivals go.
    pub sink: Sink,
    /// What unconfirmed arrivals may take; half the ceiling unless set.
    pub max_bytes: ByteCount,
    /// How long a taken arrival is nobody else's.
    pub lease: Duration,
    /// How long a confirmed arrival is kept.
    pub keep_confirmed: Duration,
    /// How long an id is known beyond what was agreed with its sender.
    pub keep_known: Duration,
}

impl Inbox {
    pub(super) fn read(
        mut s: Section<'_>,
        storage: &Storage,
        seen: &mut Effective,
    ) -> Result<Self> {
        let base = s.base();
        let sink = |value: &Value, by_hand| {
            let text = match value {
                Value::Text(text) => text.as_str(),
                Value::Integer(_)
                | Value::Boolean(_)
                | Value::List(_)
                | Value::Table(_)
                | Value::Foreign(..) => "",
            };
            let path = |rest: &str| resolve(base, by_hand, rest);
            match (text, text.split_once(':')) {
                ("hold", _) => Ok(Sink::Hold),
                (_, Some(("dir", rest))) if !rest.is_empty() => Ok(Sink::Dir(path(rest))),
                (_, Some(("exec", rest))) if !rest.is_empty() => Ok(Sink::Exec(path(rest))),
                _ => Err(Fault::Value(format!(
                    "{value} is not a sink (\"hold\", \"dir:/path\" or \"exec:/path/to/program\")"
                ))),
            }
        };
        let half = ByteCount(storage.max_bytes.0 / 2);
        let inbox = Self {
            sink: s.read("sink", Sink::Hold, Sink::to_string, sink)?,
            max_bytes: s.bytes("max_bytes", half, ByteCount::mib(1)..=storage.max_bytes)?,
            lease: s.duration(
                "lease",
                Duration::from_secs(300),
                Duration::from_secs(1)..=7 * DAY,
            )?,
            keep_confirmed: s.duration(
                "keep_confirmed",
                Duration::from_secs(3600),
                Duration::ZERO..=YEAR,
            )?,
            keep_known: s.duration("keep_known", DAY, Duration::ZERO..=YEAR)?,
        };
        s.done(seen)?;
        Ok(inbox)
    }
}
