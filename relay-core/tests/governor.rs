//! The token bucket beside governor's, which counts whole cells and knows no debt.
//!
//! The bucket lends a part of a cell, so it may be one cell ahead of a limiter of the same
//! burst, and is never behind it; a limiter with one cell more admits all that it admits.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};
use proptest::prelude::*;
use relay_core::bandwidth::Bucket;
use relay_core::time::Mono;
use relay_core::units::Rate;

/// Rates at which a cell takes a whole number of nanoseconds, as governor counts.
const RATES: [u32; 8] = [1, 2, 5, 8, 50, 200, 1_000, 8_000];

proptest! {
    #[test]
    fn a_bucket_admits_what_governor_admits_and_at_most_a_cell_more(
        rate in proptest::sample::select(&RATES[..]),
        waits in proptest::collection::vec(0u64..700_000, 1..60),
    ) {
        let cells = NonZeroU32::new(rate).expect("not zero");
        let quota = Quota::per_second(cells);
        let clock = FakeRelativeClock::default();
        let same = RateLimiter::direct_with_clock(quota, clock.clone());
        let more = cells.saturating_add(1);
        let wider = RateLimiter::direct_with_clock(quota.allow_burst(more), clock.clone());
        let mut now = Mono(1_000_000);
        let mut bucket = Bucket::new(Rate(u64::from(rate)), now);
        let (mut ours, mut theirs) = (0u64, 0u64);
        for wait in waits {
            clock.advance(Duration::from_micros(wait));
            now = Mono(now.0 + wait);
            // As many as either takes.
            while same.check().is_ok() {
                theirs += 1;
            }
            while bucket.ready(now).is_ok() {
                bucket.take(now, 1);
                ours += 1;
                prop_assert!(wider.check().is_ok(), "{ours} at {rate} a second: one too many");
            }
            prop_assert!(ours >= theirs, "{ours}, and governor let {theirs} pass");
        }
    }
}
