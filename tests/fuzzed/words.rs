//! Words that people and peers write: names, topics, patterns, amounts, windows.
//!
//! Promised: what parses prints as something that parses to the same; a pattern is
//! answered in bounded time; a window opens and shuts after the moment looked at.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use relay_core::id::{LaneName, NodeId, PartialNo, SegmentId, SegmentPrefix};
use relay_core::route::TopicPattern;
use relay_core::segment::Topic;
use relay_core::time::Unix;
use relay_core::units::{ByteCount, Rate};
use relay_core::window::{self, Window};

use super::Numbers;

/// Eight bytes of a moment, then lines: each is tried as everything.
///
/// # Panics
/// When a promise is broken.
pub fn play(bytes: &[u8]) {
    let mut numbers = Numbers(bytes);
    let moment = Unix(numbers.long() % (1 << 42));
    let text = String::from_utf8_lossy(numbers.0);
    let lines: Vec<&str> = text.lines().take(16).collect();
    for line in &lines {
        again::<NodeId>(line);
        again::<LaneName>(line);
        again::<SegmentId>(line);
        // Amounts are shown to people, rounded.
        let _ = line.parse::<ByteCount>().map(|amount| amount.to_string());
        let _ = line.parse::<Rate>().map(|rate| rate.to_string());
        let _ = line.parse::<SegmentPrefix>();
        if let Some(no) = PartialNo::of_file_name(line) {
            assert_eq!(no.file_name(), **line);
        }
        if let Ok(span) = edged::config::duration(line) {
            let shown = edged::config::show_duration(span);
            assert_eq!(edged::config::duration(&shown), Ok(span), "{shown}");
        }
        let _ = edged::config::address(line);
    }
    patterns(&lines);
    windows(&lines, moment);
}

fn again<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        let found = shown.parse::<T>().ok();
        assert_eq!(
            found.as_ref(),
            Some(&value),
            "{text:?} is shown as {shown:?}"
        );
    }
}

/// Every pattern is asked of every topic.
fn patterns(lines: &[&str]) {
    let topics: Vec<Topic> = lines.iter().filter_map(|line| line.parse().ok()).collect();
    let patterns = lines.iter().filter_map(|l| l.parse::<TopicPattern>().ok());
    for pattern in patterns {
        for topic in &topics {
            let same = pattern.as_str() == topic.as_str();
            let matches = pattern.matches(topic);
            assert!(matches || !same, "{pattern:?} is not its own topic");
        }
    }
}

fn windows(lines: &[&str], moment: Unix) {
    let windows: Vec<Window> = lines.iter().filter_map(|l| l.parse().ok()).collect();
    let sight = window::look(&windows, moment);
    if let Some(at) = sight.until {
        assert!(at > moment, "{windows:?}: {sight:?} at {moment:?}");
    }
}
