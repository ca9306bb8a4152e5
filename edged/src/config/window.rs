//! When a peer may be sent to: `"22:00-06:00"`, `"sat,sun 00:00-24:00"`,
//! `"mon-fri 08:00-18:00"`, in UTC.
//!
//! A window that ends before it begins runs past midnight, and belongs to the
//! day on which it began. Whether a window is open is decided elsewhere: this
//! file only reads.

/// One window of a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The days on which it opens: bit 0 is Monday, bit 6 Sunday.
    pub days: u8,
    /// The minute of the day at which it opens, 0 to 1439, UTC.
    pub from: u16,
    /// The minute at which it closes, 0 to 1440; on the next day if not after
    /// `from`.
    pub until: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0b111_1111;

impl std::str::FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (on, hours) = text
            .split_once(' ')
            .map_or((None, text), |(on, hours)| (Some(on), hours));
        let read = || {
            let (from, until) = hours.split_once('-')?;
            let days = on.map_or(Some(EVERY_DAY), days)?;
            let window = Self {
                days,
                from: minute(from)?,
                until: minute(until)?,
            };
            (window.from < 1440 && window.from != window.until).then_some(window)
        };
        read().ok_or_else(|| {
            format!(
                "{text:?} is not a window (try \"22:00-06:00\" or \"mon-fri 08:00-18:00\", UTC)"
            )
        })
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.days != EVERY_DAY {
            let named = DAYS
                .iter()
                .enumerate()
                .filter(|(n, _)| self.days & (1 << n) != 0);
            let named: Vec<_> = named.map(|(_, name)| *name).collect();
            write!(f, "{} ", named.join(","))?;
        }
        let (from, until) = (self.from, self.until);
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02}",
            from / 60,
            from % 60,
            until / 60,
            until % 60
        )
    }
}

/// `mon-fri`, `sat,sun` or `mon,wed-fri`; a range may pass Sunday.
fn days(text: &str) -> Option<u8> {
    text.split(',').try_fold(0, |days, part| {
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
    use super::*;

    #[test]
    fn windows_read_and_print_back() {
        for text in [
            "22:00-06:00",
            "sat,sun 00:00-24:00",
            "mon,tue,wed,thu,fri 08:00-18:30",
        ] {
            assert_eq!(
                text.parse::<Window>().map(|w| w.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(
            "fri-mon 00:00-24:00".parse::<Window>().map(|w| w.days),
            Ok(0b111_0001)
        );
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
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
    }
}
