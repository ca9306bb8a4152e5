//! Contact windows: when a peer may be sent to, by the clock on a wall.
//!
//! `"22:00-06:00 Europe/Berlin"`, `"mon-fri 08:00-18:00 America/New_York"`,
//! `"sat,sun 00:00-24:00"`; without a zone it is UTC. A window that ends before
//! it begins runs past midnight and belongs to the day on which it began.
//!
//! A window is open whenever the wall clock of its zone shows a time inside it.
//! So where an hour is skipped what lies in that hour does not open, where an
//! hour is repeated it opens twice, and a night is an hour shorter or longer
//! twice a year. The rules of the zones are built in: this file reads none.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::time::Unix;

/// One window of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The days on which it opens: bit 0 is Monday, bit 6 Sunday.
    days: u8,
    /// The minute of the day at which it opens, 0 to 1439.
    from: u16,
    /// The minute at which it closes, 0 to 1440; on the next day if not after
    /// `from`.
    until: u16,
    zone: TimeZone,
}

/// What windows say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Whether one of them is open.
    pub open: bool,
    /// When that changes; `None`: not within the next weeks.
    pub until: Option<Unix>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0b111_1111;
/// How far a change is looked for: a weekly window may lie in an hour that is
/// skipped, and so pass over a week.
const AHEAD: i64 = 16;

/// What `windows` say at `wall`. Without any, and on a clock beyond the year
/// 9999, all is open.
#[must_use]
pub fn look(windows: &[Window], wall: Unix) -> Sight {
    let now = i64::try_from(wall.0)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let Some(now) = now.filter(|_| !windows.is_empty()) else {
        return Sight {
            open: true,
            until: None,
        };
    };
    let open = |at: Timestamp| windows.iter().any(|window| window.is_open(at));
    let held = open(now);
    let mut edges = BTreeSet::new();
    for window in windows {
        window.edges(now, &mut edges);
    }
    let mut later = edges.into_iter().filter(|at| *at > now);
    let until = later.find(|at| open(*at) != held);
    Sight {
        open: held,
        until: until.and_then(|at| Some(Unix(u64::try_from(at.as_millisecond()).ok()?))),
    }
}

impl Window {
    /// Whether the wall clock of its zone shows a time inside it.
    fn is_open(&self, at: Timestamp) -> bool {
        let local = self.zone.to_datetime(at);
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = local.date().weekday().to_monday_zero_offset();
        let on = |day: i8| self.days & (1 << day.rem_euclid(7)) != 0;
        if self.from < self.until {
            return on(today) && (self.from..self.until).contains(&minute);
        }
        on(today) && minute >= self.from || on(today - 1) && minute < self.until
    }

    /// Moments at which it may open or close, from yesterday on: each time its
    /// zone shows one of its two times of day, or puts its clocks.
    fn edges(&self, now: Timestamp, into: &mut BTreeSet<Timestamp>) {
        let today = self.zone.to_datetime(now).date();
        for ahead in -1..=AHEAD {
            let Ok(day) = today.checked_add(jiff::Span::new().days(ahead)) else {
                continue;
            };
            for minute in [self.from, self.until] {
                let shown = at_minute(day, minute);
                let shown = shown.map(|shown| self.zone.to_ambiguous_timestamp(shown));
                if let Some(shown) = shown {
                    into.extend(shown.earlier().ok());
                    into.extend(shown.later().ok());
                }
            }
        }
        // Clocks are put at most a few times in such a while.
        into.extend(self.zone.following(now).take(4).map(|put| put.timestamp()));
    }
}

/// `minute` of `day`; minute 1440 is the next day's first.
fn at_minute(day: Date, minute: u16) -> Option<DateTime> {
    let (day, minute) = match minute {
        1440 => (day.tomorrow().ok()?, 0),
        _ => (day, minute),
    };
    let (hour, minute) = (
        i8::try_from(minute / 60).ok()?,
        i8::try_from(minute % 60).ok()?,
    );
    Some(day.at(hour, minute, 0, 0))
}

/// Why a text is not a window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not days, hours and a zone.
    #[error(
        "{0:?} is not a window (try \"22:00-06:00 Europe/Berlin\" or \"mon-fri 08:00-18:00\", without a zone in UTC)"
    )]
    Malformed(String),
    /// No zone is called so.
    #[error(
        "{zone:?} in {text:?} is no time zone (try a name such as \"Europe/Berlin\" or \"UTC\")"
    )]
    UnknownZone {
        /// What stands for the zone.
        zone: String,
        /// Where.
        text: String,
    },
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let malformed = || WindowError::Malformed(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_hours = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
        let (on, hours, zone) = match words.as_slice() {
            [hours] => (None, *hours, None),
            [hours, zone] if is_hours(hours) => (None, *hours, Some(*zone)),
            [on, hours] => (Some(*on), *hours, None),
            [on, hours, zone] => (Some(*on), *hours, Some(*zone)),
            _ => return Err(malformed()),
        };
        let (from, until) = hours.split_once('-').ok_or_else(malformed)?;
        let (from, until) = (minute(from), minute(until));
        let (from, until) = (from.ok_or_else(malformed)?, until.ok_or_else(malformed)?);
        let days = on.map_or(Some(EVERY_DAY), days).ok_or_else(malformed)?;
        if from >= 1440 || from == until {
            return Err(malformed());
        }
        let zone = zone.map_or(Some(TimeZone::UTC), zone_named);
        let zone = zone.ok_or_else(|| WindowError::UnknownZone {
            zone: words.last().copied().unwrap_or_default().to_owned(),
            text: text.to_owned(),
        })?;
        Ok(Self {
            days,
            from,
            until,
            zone,
        })
    }
}

fn zone_named(name: &str) -> Option<TimeZone> {
    match name {
        "UTC" => Some(TimeZone::UTC),
        _ => TimeZoneDatabase::bundled().get(name).ok(),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != EVERY_DAY {
            let named = DAYS.iter().enumerate();
            let named = named.filter(|(n, _)| self.days & (1 << n) != 0);
            let named: Vec<_> = named.map(|(_, name)| *name).collect();
            write!(f, "{} ", named.join(","))?;
        }
        let shown = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", shown(self.from), shown(self.until))?;
        match self.zone.iana_name() {
            Some("UTC") | None => Ok(()),
            Some(name) => write!(f, " {name}"),
        }
    }
}

/// `mon-fri`, `sat,sun` or `mon,wed-fri`, in letters of any case; a range may
/// pass Sunday.
fn days(text: &str) -> Option<u8> {
    text.to_ascii_lowercase()
        .split(',')
        .try_fold(0, |days, part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |name| DAYS.iter().position(|day| *day == name);
            let (first, last) = (number(first)?, number(last)?);
            let length = (last + 7 - first) % 7;
            Some((0..=length).fold(days, |days, n| days | 1 << ((first + n) % 7)))
        })
}

/// `HH:MM`, `24:00` included.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| digits.parse::<u16>().ok().filter(|_| digits.len() == 2);
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < 60 && hour * 60 + minute <= 1440).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    #[test]
    fn windows_read_and_print_back() {
        for text in [
            "22:00-06:00",
            "22:00-06:00 Europe/Berlin",
            "sat,sun 00:00-24:00",
            "mon,tue,wed,thu,fri 08:00-18:30 America/New_York",
        ] {
            let read = text.parse::<Window>().map(|w| w.to_string());
            assert_eq!(read, Ok(text.to_owned()));
        }
        let names = "Fri-Mon 00:00-24:00 Asia/Kathmandu".parse::<Window>();
        assert_eq!(names.map(|w| w.days), Ok(0b111_0001));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for bad in [
            "",
            "22:00",
            "24:00-06:00",
            "8:00-9:00",
            "08:60-09:00",
            "08:00-08:00",
            "xyz 08:00-09:00",
            "99:00-100:00",
            "mon 08:00-09:00 UTC more",
        ] {
            let refused = bad.parse::<Window>();
            assert!(matches!(refused, Err(WindowError::Malformed(_))), "{bad}");
        }
        let nowhere = "08:00-09:00 Europe/Atlantis".parse::<Window>();
        let said = nowhere.expect_err("no such zone").to_string();
        assert!(said.contains("Europe/Atlantis"), "{said}");
    }

    #[test]
    fn a_night_is_an_hour_shorter_when_clocks_go_forward_and_longer_when_they_go_back() {
        let night = ["22:00-06:00 Europe/Berlin".parse().expect("a window")];
        // 21:00 UTC is 22:00 in Berlin before the last Sunday of March 2025.
        let spring = look(&night, at("2025-03-29T21:00:00Z"));
        assert_eq!(spring, open_until("2025-03-30T04:00:00Z"));
        let autumn = look(&night, at("2025-10-25T20:00:00Z"));
        assert_eq!(autumn, open_until("2025-10-26T05:00:00Z"));
    }

    #[test]
    fn an_hour_that_is_skipped_does_not_open_and_one_that_repeats_opens_for_both() {
        let early = ["02:00-03:00 Europe/Berlin".parse().expect("a window")];
        let skipped = look(&early, at("2025-03-29T12:00:00Z"));
        assert_eq!(skipped, shut_until("2025-03-31T00:00:00Z"));
        let twice = look(&early, at("2025-10-26T00:00:00Z"));
        assert_eq!(twice, open_until("2025-10-26T02:00:00Z"));
        let half = ["02:00-02:30 Europe/Berlin".parse().expect("a window")];
        assert_eq!(
            look(&half, at("2025-10-26T00:30:00Z")),
            shut_until("2025-10-26T01:00:00Z")
        );
    }

    #[test]
    fn windows_that_touch_are_one() {
        let both = [
            "20:00-24:00".parse().expect("one"),
            "00:00-06:00".parse().expect("two"),
        ];
        let evening = look(&both, at("2025-05-05T21:00:00Z"));
        assert_eq!(evening, open_until("2025-05-06T06:00:00Z"));
    }

    #[test]
    fn without_windows_all_is_open() {
        let always = Sight {
            open: true,
            until: None,
        };
        assert_eq!(look(&[], at("2025-05-05T21:00:00Z")), always);
        let week = ["00:00-24:00".parse().expect("a window")];
        assert_eq!(look(&week, at("2025-05-05T21:00:00Z")), always);
        assert_eq!(look(&week, Unix(u64::MAX)), always);
    }

    /// Moments near which the zones below put their clocks, and one plain one.
    const NEAR: [&str; 6] = [
        "2025-03-30T01:00:00Z",
        "2025-10-26T01:00:00Z",
        "2025-03-09T07:00:00Z",
        "2025-11-02T06:00:00Z",
        "2025-04-05T15:00:00Z",
        "2025-07-01T00:00:00Z",
    ];
    /// Lord Howe puts its clocks by half an hour, Kathmandu never.
    const ZONES: [&str; 6] = [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "UTC",
        "America/St_Johns",
    ];

    /// What a clock on the wall of `zone` shows: weekday and minute.
    fn shown(zone: &TimeZone, at: u64) -> (usize, u16) {
        let at = Timestamp::from_millisecond(at as i64).expect("a moment");
        let local = zone.to_datetime(at);
        let day = local.date().weekday().to_monday_zero_offset() as usize;
        (day, local.hour() as u16 * 60 + local.minute() as u16)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn they_agree_with_a_look_at_the_clock_each_minute(
            near in 0..NEAR.len(),
            zones in (0..ZONES.len(), 0..ZONES.len()),
            windows in proptest::collection::vec((1u8..128, 0u16..1440, 0u16..=1440, any::<bool>()), 1..4),
            offset in 0u64..48 * 60,
        ) {
            let zones = [ZONES[zones.0], ZONES[zones.1]];
            let zones = zones.map(|zone| zone_named(zone).expect("a zone"));
            let windows: Vec<Window> = windows
                .into_iter()
                .filter(|(_, from, until, _)| from != until)
                .map(|(days, from, until, second)| {
                    let zone = zones[usize::from(second)].clone();
                    Window { days, from, until, zone }
                })
                .collect();
            prop_assume!(!windows.is_empty());
            let naive = |at: u64| windows.iter().any(|w| {
                let (day, minute) = shown(&w.zone, at);
                (0..1440u16.max(w.until)).any(|past| {
                    // Whether it opened `past` minutes ago by that clock.
                    let length = (w.until + 1440 - w.from - 1) % 1440 + 1;
                    let opened = (minute + 2 * 1440 - past) % 1440;
                    let days_back = usize::from(past > minute) + usize::from(past > minute + 1440);
                    past < length && opened == w.from
                        && w.days & (1 << ((day + 14 - days_back) % 7)) != 0
                })
            });
            let begin = at(NEAR[near]).0 - 24 * HOUR + offset * MINUTE;
            let seen = look(&windows, Unix(begin));
            prop_assert_eq!(seen.open, naive(begin));
            let most = begin + 30 * HOUR;
            let until = seen.until.map_or(most, |until| until.0.min(most));
            let mut minute = begin;
            while minute < until {
                prop_assert_eq!(naive(minute), seen.open, "{} minutes on", (minute - begin) / MINUTE);
                minute += MINUTE;
            }
            if until < most {
                prop_assert_eq!(naive(until), !seen.open);
            }
        }
    }

    fn at(text: &str) -> Unix {
        let at: Timestamp = text.parse().expect("a moment");
        Unix(at.as_millisecond() as u64)
    }

    fn open_until(text: &str) -> Sight {
        Sight {
            open: true,
            until: Some(at(text)),
        }
    }

    fn shut_until(text: &str) -> Sight {
        Sight {
            open: false,
            until: Some(at(text)),
        }
    }
}
