//! Which complaints are said and which are kept back, so that a folder full of bad
//! files, or a program that always fails, does not fill the log.
//!
//! The same complaint about the same thing is said once an hour; of all complaints of
//! one complainer at most [`BURST`] are said a minute, and how many were kept back is
//! said with the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Mono;

/// Complaints said within one minute.
pub const BURST: u32 = 6;
/// Things remembered; what is forgotten may be said again.
pub const REMEMBERED: usize = 1024;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What was complained of lately.
#[derive(Debug)]
pub struct Repeats<K> {
    said: BTreeMap<K, Mono>,
    minute: Mono,
    left: u32,
    kept_back: u64,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self {
            said: BTreeMap::new(),
            minute: Mono(0),
            left: BURST,
            kept_back: 0,
        }
    }
}

impl<K: Ord> Repeats<K> {
    /// Whether a complaint about `what` is said at `now`, and if so how many others
    /// were kept back before it.
    pub fn says(&mut self, what: K, now: Mono) -> Option<u64> {
        if now.since(self.minute) >= MINUTE {
            (self.minute, self.left) = (now, BURST);
        }
        if self.said.get(&what).is_some_and(|at| now.since(*at) < HOUR) {
            return None;
        }
        if self.said.len() >= REMEMBERED {
            self.said.retain(|_, at| now.since(*at) < HOUR);
        }
        if self.left == 0 || self.said.len() >= REMEMBERED {
            self.kept_back += 1;
            return None;
        }
        self.left -= 1;
        self.said.insert(what, now);
        Some(std::mem::take(&mut self.kept_back))
    }

    /// What was wrong with it is over: the next complaint about it is news.
    pub fn forget(&mut self, what: &K) {
        self.said.remove(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_said_once_an_hour() {
        let mut repeats = Repeats::default();
        let at = Mono(5_000_000);

        assert_eq!(repeats.says("a", at), Some(0));
        assert_eq!(repeats.says("a", at + MINUTE), None);
        assert_eq!(repeats.says("b", at + MINUTE), Some(0));
        assert_eq!(repeats.says("a", at + HOUR), Some(0));
        repeats.forget(&"b");
        assert_eq!(repeats.says("b", at + HOUR), Some(0));
    }

    #[test]
    fn of_many_complaints_few_are_said_a_minute_and_the_others_are_counted() {
        let mut repeats = Repeats::default();
        let at = Mono(5_000_000);

        let said = (0..1_000)
            .filter(|n| repeats.says(*n, at).is_some())
            .count();

        assert_eq!(said, BURST as usize);
        assert_eq!(
            repeats.says(2_000, at + MINUTE),
            Some(1_000 - u64::from(BURST))
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut repeats = Repeats::default();
        for n in 0..10 * REMEMBERED as u64 {
            let _ = repeats.says(n, Mono(n * 20_000_000));
        }

        assert!(repeats.said.len() <= REMEMBERED);
    }
}
