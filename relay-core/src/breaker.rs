//! How far a peer is trusted with deliveries: whether to dial it, and how many
//! it may have in flight after an outage.
//!
//! A failed dial opens the breaker: nothing goes, and the next dial waits its
//! backoff. A link that comes up after an outage (a failed dial, a lost link, an
//! ack that never came) is given one delivery, the probe; its answer lets two go,
//! and each ack after it doubles that, until the windows of the lanes bound it
//! alone. A peer that was never away starts there.

use crate::backoff::Backoff;
use crate::event::BusyWhy;
use crate::time::Mono;

/// Past this many in flight the windows of the lanes are bound enough.
const ENOUGH: usize = 1024;

/// How many deliveries may be in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// As many as the windows of the lanes allow.
    #[default]
    Full,
    /// So many.
    Upto(usize),
}

/// One peer's breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    trust: Trust,
}

impl Breaker {
    /// Notes a dial that failed or a link that was lost; answers when to dial.
    pub fn fail(&mut self, backoff: &Backoff, now: Mono, drawn: u64) -> Mono {
        self.failures = self.failures.saturating_add(1);
        self.doubt();
        now + backoff.wait(self.failures, drawn)
    }

    /// The peer is up and does not answer: one goes first.
    pub const fn doubt(&mut self) {
        self.trust = Trust::Upto(1);
    }

    /// Notes a link that has served a while, or an operator's word: the next
    /// failure is the first. A Hello alone is not enough: a peer may close every
    /// link right after it.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The peer cannot take more. A full or failing disk, or one that goes down,
    /// takes nothing until it says so with an ack; one that is only too slow for
    /// us takes half of what it had.
    pub fn hold_back(&mut self, why: BusyWhy, flying: usize, wanted: usize) {
        let held = match why {
            BusyWhy::StorageFull | BusyWhy::InboxFull | BusyWhy::Draining | BusyWhy::Io => {
                wanted + 1
            }
            BusyWhy::IngestQuota | BusyWhy::Unsettled => (flying / 2).max(wanted + 1),
        };
        self.trust = match self.trust {
            Trust::Full => Trust::Upto(held),
            Trust::Upto(before) => Trust::Upto(before.min(held)),
        };
    }

    /// The peer answered something in flight: twice as much may go.
    pub fn answered(&mut self) {
        self.failures = 0;
        if let Trust::Upto(bound) = self.trust {
            let next = bound.saturating_mul(2);
            self.trust = if next >= ENOUGH {
                Trust::Full
            } else {
                Trust::Upto(next)
            };
        }
    }

    /// How many may be in flight; `None`: the windows of the lanes say.
    #[must_use]
    pub const fn bound(&self) -> Option<usize> {
        match self.trust {
            Trust::Full => None,
            Trust::Upto(bound) => Some(bound),
        }
    }

    /// Whether one delivery goes first, and the others wait for its answer.
    #[must_use]
    pub const fn is_probing(&self) -> bool {
        matches!(self.trust, Trust::Upto(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(8),
    };

    #[test]
    fn a_peer_that_was_never_away_is_not_held_back() {
        let mut breaker = Breaker::default();
        breaker.reset();
        breaker.answered();

        assert_eq!(breaker.bound(), None);
    }

    #[test]
    fn after_an_outage_one_goes_and_each_answer_doubles_it() {
        let mut breaker = Breaker::default();
        breaker.fail(&BACKOFF, Mono(0), 0);
        breaker.reset();

        assert!(breaker.is_probing());
        let mut bounds = Vec::new();
        while let Some(bound) = breaker.bound() {
            bounds.push(bound);
            breaker.answered();
        }
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    }

    #[test]
    fn a_full_peer_is_probed_and_a_slow_one_halved() {
        let mut full = Breaker::default();
        full.hold_back(BusyWhy::StorageFull, 300, 0);
        let mut slow = Breaker::default();
        slow.hold_back(BusyWhy::IngestQuota, 300, 2);
        slow.hold_back(BusyWhy::IngestQuota, 299, 2);

        assert_eq!(full.bound(), Some(1));
        assert_eq!(slow.bound(), Some(149));
    }

    #[test]
    fn failed_dials_wait_longer_each_time() {
        let mut breaker = Breaker::default();
        let waits = [0, 1, 2].map(|_| breaker.fail(&BACKOFF, Mono(0), u64::MAX).0);
        breaker.reset();

        assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
        assert_eq!(breaker.fail(&BACKOFF, Mono(0), u64::MAX).0, waits[0]);
    }
}
