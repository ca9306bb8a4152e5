//! Classes of traffic: `[lanes.NAME]`.
//!
//! Four lanes are built in; a config changes their settings or adds lanes.
//! Class 0 belongs to `control` alone, which carries the daemon's own kinds.

use std::collections::BTreeMap;
use std::time::Duration;

use relay_core::id::LaneName;
use relay_core::limits::MAX_LANES;
use relay_core::segment::Class;
use relay_core::units::ByteCount;

use super::effective::Effective;
use super::error::{Fault, Result};
use super::read::Section;

/// The lane of the daemon's own kinds, refused to clients.
pub const CONTROL: &str = "control";
/// Where a put goes that names no lane.
pub const DEFAULT: &str = "default";

/// How one lane is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Strict priority: 0 (most urgent) to 7.
    pub class: Class,
    /// Share among the lanes of its class, 1 to 1000.
    pub weight: u32,
    /// Lifetime of its segments that name none; none means that they live on.
    pub ttl: Option<Duration>,
    /// Attempts before a delivery is parked; `relay.retry.budget` unless set.
    pub budget: u32,
    /// What it may send in any 24 hours; 0 is unlimited.
    pub bytes_per_day: ByteCount,
}

/// Built-in lanes and their classes.
const BUILT_IN: [(&str, u32); 4] = [(CONTROL, 0), ("alarm", 1), (DEFAULT, 4), ("bulk", 6)];
/// The class of a lane that names none: that of `default`.
const PLAIN_CLASS: u32 = 4;
const TEN_YEARS: Duration = Duration::from_secs(3650 * 86_400);

impl Lane {
    /// The built-in lanes and those of `section`, by name.
    pub(super) fn read_all(
        mut section: Section<'_>,
        budget: u32,
        seen: &mut Effective,
    ) -> Result<BTreeMap<LaneName, Self>> {
        let mut lanes = BTreeMap::new();
        for (name, class) in BUILT_IN {
            let lane = Self::read(section.section(name)?, (name, class), budget, seen)?;
            lanes.insert(
                name.parse().expect("a built-in lane has a sound name"),
                lane,
            );
        }
        for (name, s) in section.into_sections()? {
            let key = "class";
            let id = name.parse().map_err(|why: relay_core::id::IdError| {
                s.refused(key, Fault::Value(why.to_string()))
            })?;
            if lanes.len() == MAX_LANES {
                return Err(s.refused(
                    key,
                    Fault::Value(format!(
                        "{name:?} is one too many, at most {MAX_LANES} lanes"
                    )),
                ));
            }
            lanes.insert(id, Self::read(s, (&name, PLAIN_CLASS), budget, seen)?);
        }
        Ok(lanes)
    }

    fn read(
        mut s: Section<'_>,
        (name, class): (&str, u32),
        budget: u32,
        seen: &mut Effective,
    ) -> Result<Self> {
        let level = s.count("class", class, 0..=7)?;
        if (level == 0) != (name == CONTROL) {
            let why = format!(
                "{level} does not fit: class 0 belongs to the lane {CONTROL} alone, others take 1 to 7"
            );
            return Err(s.refused("class", Fault::Value(why)));
        }
        let ttl = s.duration("ttl", Duration::ZERO, Duration::ZERO..=TEN_YEARS)?;
        let class = u8::try_from(level).ok().and_then(Class::new);
        let lane = Self {
            class: class.expect("a level up to 7 is a class"),
            weight: s.count("weight", 1, 1..=1000)?,
            ttl: (!ttl.is_zero()).then_some(ttl),
            budget: s.count("budget", budget, 1..=1000)?,
            bytes_per_day: s.bytes(
                "bytes_per_day",
                ByteCount(0),
                ByteCount(0)..=ByteCount(1 << 62),
            )?,
        };
        s.done(seen)?;
        Ok(lane)
    }
}
