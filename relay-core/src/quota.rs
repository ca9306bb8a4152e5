//! How much was used in a rolling span of time: one bucket a minute.
//!
//! The clock is the age clock, which survives restarts and does not jump; it
//! moves only when told. A bucket counts until all that is in it is older than
//! the span, so that no stretch of that length ever holds more than was admitted,
//! and what was used is forgotten at most a minute late (semantics 7).

use std::collections::VecDeque;

/// What was used in the last `span` minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolling {
    span: u64,
    minute: u64,
    /// Minutes with something in them, rising.
    buckets: VecDeque<(u64, u64)>,
    used: u64,
}

impl Rolling {
    /// Nothing used, at `minute`.
    #[must_use]
    pub const fn new(span: u64, minute: u64) -> Self {
        Self {
            span,
            minute,
            buckets: VecDeque::new(),
            used: 0,
        }
    }

    /// Takes up what an earlier run used; minutes may come in any order. One
    /// that has not come yet counts as this one: a clock that was put back must
    /// not keep a quota shut for longer than its span.
    pub fn take_up(&mut self, minute: u64, amount: u64) {
        let minute = minute.min(self.minute);
        if minute + self.span < self.minute || amount == 0 {
            return;
        }
        let place = self.buckets.partition_point(|(at, _)| *at < minute);
        match self.buckets.get_mut(place) {
            Some((at, held)) if *at == minute => *held = held.saturating_add(amount),
            Some(_) | None => self.buckets.insert(place, (minute, amount)),
        }
        self.used = self.used.saturating_add(amount);
    }

    /// It is `minute` now: forgets what is older than the span. A minute that has
    /// passed is not gone back to.
    pub fn roll(&mut self, minute: u64) {
        self.minute = self.minute.max(minute);
        while let Some((at, amount)) = self.buckets.front().copied() {
            if at + self.span >= self.minute {
                break;
            }
            self.used -= amount;
            self.buckets.pop_front();
        }
    }

    /// So much more is used, in the minute last rolled to.
    pub fn add(&mut self, amount: u64) {
        // What does not fit any number stays at the greatest.
        let amount = amount.min(u64::MAX - self.used);
        self.used += amount;
        match self.buckets.back_mut() {
            Some((at, held)) if *at == self.minute => *held += amount,
            Some(_) | None if amount > 0 => self.buckets.push_back((self.minute, amount)),
            Some(_) | None => {}
        }
    }

    /// Used in the span that ends in the minute last rolled to.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// What was used in one minute.
    #[must_use]
    pub fn at(&self, minute: u64) -> u64 {
        let held = self.buckets.binary_search_by_key(&minute, |(at, _)| *at);
        held.map_or(0, |place| self.buckets[place].1)
    }

    /// The minute from which less than `below` is used, if `more` is added now and
    /// nothing after it; `None` when nothing is less than that.
    #[must_use]
    pub fn opens(&self, below: u64, more: u64) -> Option<u64> {
        if below == 0 {
            return None;
        }
        if more >= below {
            return Some(self.minute + self.span + 1);
        }
        let (below, mut used) = (below - more, self.used);
        let mut opens = self.minute;
        for (at, amount) in &self.buckets {
            if used < below {
                break;
            }
            used -= amount;
            opens = at + self.span + 1;
        }
        Some(opens)
    }
}

/// What deliveries may use of a quota, 98 parts of 100: the rest is for acks and
/// control frames, which go on.
#[must_use]
pub const fn stops_at(quota: u64) -> u64 {
    let stop = quota - quota.div_ceil(50);
    if stop == 0 { 1 } else { stop }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: u64 = 60;
    const MINUTE: u64 = 60_000;

    /// All that was ever used, by the millisecond.
    #[derive(Default)]
    struct Naive(Vec<(u64, u64)>);

    impl Naive {
        fn since(&self, from: u64, to: u64) -> u64 {
            let within = self.0.iter().filter(|(at, _)| *at >= from && *at <= to);
            within.map(|(_, amount)| amount).sum()
        }
    }

    #[test]
    fn what_was_used_counts_for_the_span_and_at_most_a_minute_more() {
        let mut rolling = Rolling::new(SPAN, 100);
        rolling.add(7);

        rolling.roll(100 + SPAN);
        assert_eq!(rolling.used(), 7, "its last moment is an hour ago, no more");
        rolling.roll(101 + SPAN);
        assert_eq!(rolling.used(), 0);
    }

    #[test]
    fn a_clock_put_back_keeps_nothing_shut_for_longer_than_the_span() {
        let mut rolling = Rolling::new(SPAN, 100);
        rolling.take_up(5_000_000, 7);

        assert_eq!(rolling.opens(7, 0), Some(101 + SPAN));
    }

    #[test]
    fn a_bound_of_nothing_never_opens() {
        let mut rolling = Rolling::new(SPAN, 100);
        assert_eq!(rolling.opens(0, 0), None);
        rolling.add(1);
        assert_eq!(rolling.opens(2, 0), Some(100), "it is open");
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_all_that_was_used(
            steps in proptest::collection::vec((0u64..20 * MINUTE, 0u64..1_000), 1..300),
            restart in 0usize..300,
        ) {
            let mut now = 1_000 * MINUTE;
            let mut rolling = Rolling::new(SPAN, now / MINUTE);
            let mut naive = Naive::default();
            let mut rows: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
            for (n, (wait, amount)) in steps.into_iter().enumerate() {
                now += wait;
                if n == restart {
                    rolling = Rolling::new(SPAN, now / MINUTE);
                    rows.iter().for_each(|(minute, held)| rolling.take_up(*minute, *held));
                }
                rolling.roll(now / MINUTE);
                rolling.add(amount);
                naive.0.push((now, amount));
                rows.insert(now / MINUTE, rolling.at(now / MINUTE));

                let span = SPAN * MINUTE;
                prop_assert!(rolling.used() >= naive.since(now - span, now), "forgotten too soon");
                prop_assert!(rolling.used() <= naive.since(now - span - MINUTE, now), "kept too long");
            }
        }

        #[test]
        fn it_opens_when_it_says_and_not_before(
            steps in proptest::collection::vec((0u64..10, 1u64..100), 1..60),
            below in 1u64..3_000,
            more in 1u64..4_000,
        ) {
            let mut rolling = Rolling::new(SPAN, 0);
            let mut minute = 0;
            for (wait, amount) in steps {
                minute += wait;
                rolling.roll(minute);
                rolling.add(amount);
            }
            let mut with_more = rolling.clone();
            with_more.add(more);
            prop_assert_eq!(rolling.opens(below, more), with_more.opens(below, 0));

            let shut = rolling.used() >= below;
            let opens = rolling.opens(below, 0).expect("it opens some time");
            let mut at = rolling.clone();
            at.roll(opens);
            prop_assert!(at.used() < below);
            if shut {
                rolling.roll(opens - 1);
                prop_assert!(rolling.used() >= below, "it could have opened sooner");
            }
        }
    }
}
