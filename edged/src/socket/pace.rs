//! Requests and connections per second of one uid.
//!
//! A batch is one request: the bounds are against a client in a loop, not against
//! throughput. Going over the first is an answer, and the conversation goes on; over the
//! second it is greeted with a refusal, before anybody asks who it is.

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

/// As many as a script can make that runs `edgectl` in a loop, and few enough to look up
/// who each is.
const CALLS: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

type Limiter = RateLimiter<u32, HashMapStateStore<u32>, BootTime, NoOpMiddleware<Nanos>>;

/// How fast each uid has been asking, and connecting.
pub(super) struct Pace {
    limiter: Limiter,
    calls: Limiter,
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
            calls: RateLimiter::hashmap_with_clock(Quota::per_second(CALLS), BootTime),
        }
    }

    /// Whether `uid` may connect once more.
    pub(super) fn lets_in(&self, uid: u32) -> bool {
        self.calls.check_key(&uid).is_ok()
    }

    /// Whether `uid` may ask once more.
    pub(super) fn admits(&self, uid: u32) -> bool {
        self.limiter.check_key(&uid).is_ok()
    }

    /// Forgets who has not asked for a while: memory follows the uids of now.
    pub(super) fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.calls.retain_recent();
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

    #[test]
    fn a_uid_that_connects_too_fast_is_kept_out_and_others_are_not() {
        let pace = Pace::new();

        let knocks = CALLS.get() * 20;
        let let_in = (0..knocks).take_while(|_| pace.lets_in(7)).count();

        assert!(let_in >= CALLS.get() as usize, "{let_in}");
        assert!(let_in < knocks as usize, "{let_in}");
        assert!(pace.lets_in(8));
        assert!(pace.admits(7), "it may still ask over what it has");
    }
}
