//! Requests per second of one uid.
//!
//! A batch is one request: the bound is against a client in a loop, not against
//! throughput. Going over it is an answer, and the conversation goes on.

use std::num::NonZeroU32;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock;

/// Far above what a client that waits for answers can ask, far below what would keep
/// the daemon from its links.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(20_000).expect("not zero");

/// How fast each uid has been asking.
pub(super) struct Pace {
    limiter: RateLimiter<u32, HashMapStateStore<u32>, BootTime, NoOpMiddleware<Nanos>>,
}

/// The daemon's own clock, as governor wants one.
#[derive(Clone, Debug, Default)]
pub(super) struct BootTime;

impl Clock for BootTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(clock::now().mono.0.saturating_mul(1_000))
    }
}

impl Pace {
    /// Nobody has asked anything.
    pub(super) fn new() -> Self {
        Self {
            limiter: RateLimiter::hashmap_with_clock(Quota::per_second(PER_SECOND), BootTime),
        }
    }

    /// Whether `uid` may ask once more.
    pub(super) fn admits(&self, uid: u32) -> bool {
        self.limiter.check_key(&uid).is_ok()
    }

    /// Forgets who has not asked for a while: memory follows the uids of now.
    pub(super) fn forget_idle(&self) {
        self.limiter.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_that_asks_too_fast_is_told_and_others_are_not() {
        let pace = Pace::new();

        let asked = PER_SECOND.get() * 20;
        let admitted = (0..asked).take_while(|_| pace.admits(7)).count();

        assert!(admitted >= PER_SECOND.get() as usize, "{admitted}");
        assert!(admitted < asked as usize, "{admitted}");
        assert!(pace.admits(8));
    }
}
