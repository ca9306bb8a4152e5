//! What has failed and is tried again: how soon, how often, and under which lease.
//!
//! The rest after a failure doubles from [`Rest::first`] up to [`Rest::longest`]; after
//! [`TRIES`] an item is given up, so that the others go on. It is tried again under the
//! lease it has if that outlives another run; otherwise it is left to the lease and comes
//! again with a new one. Owns no clock and asks nobody: moments are given, and what comes
//! of them is answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edged_rpc::{Id, InboxView};

/// Tries before an item is given up, as of a sink.
pub(super) const TRIES: u32 = 8;
/// Items whose tries are remembered, held ones among them: what is forgotten is only
/// tried more often.
const REMEMBERED: usize = 10_000;

/// How long an item rests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// After its first failure.
    pub(super) first: Duration,
    /// No rest is longer.
    pub(super) longest: Duration,
}

impl Rest {
    /// After so many failures in a row, from 1. Nothing is spread: nobody else failed
    /// with it.
    fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(TRIES);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// An item, and until when nobody else gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leased {
    pub(super) item: InboxView,
    pub(super) until: Instant,
}

impl Leased {
    fn id(&self) -> Id {
        self.item.segment_id
    }
}

/// What becomes of an item that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is tried again; this was its so-manieth try.
    Again(u32),
    /// Not again.
    Refuse,
}

#[derive(Debug)]
struct Failed {
    tries: u32,
    /// It rests until then.
    due: Instant,
    /// Tried again under this lease; `None`: under the next.
    held: Option<Leased>,
}

/// Items that have failed.
#[derive(Debug)]
pub(super) struct Tries {
    rest: Rest,
    /// How long a run may take.
    run: Duration,
    failed: BTreeMap<Id, Failed>,
}

impl Tries {
    pub(super) const fn new(rest: Rest, run: Duration) -> Self {
        Self {
            rest,
            run,
            failed: BTreeMap::new(),
        }
    }

    /// A leased item came: given back if it may run, kept if it rests still.
    pub(super) fn admit(&mut self, came: Leased, now: Instant) -> Option<Leased> {
        match self.failed.get_mut(&came.id()) {
            Some(failed) if failed.due > now => {
                failed.held = covers(&came, failed.due + self.run).then_some(came);
                None
            }
            Some(_) | None => Some(came),
        }
    }

    /// A try of it has failed.
    pub(super) fn fail(&mut self, item: Leased, now: Instant) -> Fate {
        let id = item.id();
        let tries = 1 + self.failed.get(&id).map_or(0, |failed| failed.tries);
        if tries >= TRIES {
            self.failed.remove(&id);
            return Fate::Refuse;
        }
        if self.failed.len() >= REMEMBERED && !self.failed.contains_key(&id) {
            self.forget_oldest();
        }
        let due = now + self.rest.after(tries);
        let held = covers(&item, due + self.run).then_some(item);
        self.failed.insert(id, Failed { tries, due, held });
        Fate::Again(tries)
    }

    /// It is out of our hands.
    pub(super) fn forget(&mut self, id: Id) {
        self.failed.remove(&id);
    }

    /// One that has rested and may run under the lease it has.
    pub(super) fn due(&mut self, now: Instant) -> Option<Leased> {
        loop {
            let rested = |failed: &&mut Failed| failed.held.is_some() && failed.due <= now;
            let failed = self.failed.values_mut().filter(rested);
            let held = failed.min_by_key(|failed| failed.due)?.held.take()?;
            // It may have waited for its turn for too long: then its lease ends first.
            if covers(&held, now + self.run) {
                return Some(held);
            }
        }
    }

    /// When the next may run that is held.
    pub(super) fn next(&self) -> Option<Instant> {
        let held = self.failed.values().filter(|failed| failed.held.is_some());
        held.map(|failed| failed.due).min()
    }

    fn forget_oldest(&mut self) {
        let oldest = self.failed.iter().min_by_key(|(_, failed)| failed.due);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.failed.remove(&id);
        }
    }
}

/// Whether it is nobody else's until `end`.
fn covers(leased: &Leased, end: Instant) -> bool {
    leased.until >= end
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edged_rpc::{Digest, LeaseState, Moment};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const REST: Rest = Rest {
        first: SECOND,
        longest: Duration::from_secs(40),
    };

    fn leased(n: u8, until: Instant) -> Leased {
        let item = InboxView {
            segment_id: Id([n; 16]),
            origin: "beta".into(),
            via: "beta".into(),
            lane: "default".into(),
            lane_sequence: 5,
            topic: None,
            labels: BTreeMap::new(),
            len: 3,
            digest: Digest([2; 32]),
            received_at: Moment(1_000),
            state: LeaseState::Leased,
            leased_until: None,
            takes: 1,
        };
        Leased { item, until }
    }

    #[test]
    fn rests_double_up_to_the_longest() {
        let rests: Vec<u64> = (1..10).map(|n| REST.after(n).as_secs()).collect();

        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 40, 40, 40]);
        assert_eq!(REST.after(u32::MAX), REST.longest);
    }

    #[test]
    fn what_fails_runs_again_once_it_has_rested_and_is_given_up_after_eight() {
        let mut tries = Tries::new(REST, SECOND);
        let mut now = Instant::now();
        let item = leased(1, now + 1000 * SECOND);

        for n in 1..TRIES {
            assert_eq!(tries.fail(item.clone(), now), Fate::Again(n));
            let due = now + REST.after(n);
            assert_eq!(tries.next(), Some(due));
            assert_eq!(tries.due(due - Duration::from_millis(1)), None);
            assert_eq!(tries.due(due), Some(item.clone()));
            assert_eq!((tries.due(due), tries.next()), (None, None), "it runs");
            now = due;
        }
        assert_eq!(tries.fail(item.clone(), now), Fate::Refuse);

        assert_eq!(tries.fail(item, now), Fate::Again(1), "it is forgotten");
    }

    #[test]
    fn nothing_runs_under_a_lease_that_ends_before_it() {
        let now = Instant::now();
        let mut tries = Tries::new(REST, 60 * SECOND);

        tries.fail(leased(1, now + 60 * SECOND), now);
        assert_eq!(tries.next(), None, "it is left to its lease");
        tries.fail(leased(2, now + 90 * SECOND), now);
        assert_eq!(tries.next(), Some(now + SECOND));
        let late = now + 31 * SECOND;
        assert_eq!(tries.due(late), None, "its turn came too late");
        let again = leased(2, late + 90 * SECOND);
        assert_eq!(tries.admit(again.clone(), late), Some(again));
    }

    #[test]
    fn what_comes_again_before_it_has_rested_is_kept_until_then() {
        let now = Instant::now();
        let mut tries = Tries::new(REST, 60 * SECOND);
        tries.fail(leased(1, now), now);
        let again = leased(1, now + 90 * SECOND);

        assert_eq!(tries.admit(again.clone(), now), None);
        assert_eq!(tries.due(now), None);
        assert_eq!(tries.due(now + SECOND), Some(again));
        let other = leased(2, now);
        assert_eq!(tries.admit(other.clone(), now), Some(other));
        tries.forget(Id([1; 16]));
        assert_eq!(tries.fail(leased(1, now), now), Fate::Again(1));
    }

    #[test]
    fn so_many_are_remembered_and_the_oldest_is_forgotten_first() {
        let now = Instant::now();
        let mut tries = Tries::new(REST, SECOND);
        let item = |n: usize| {
            let mut leased = leased(0, now);
            let n = u32::try_from(n).expect("a small number");
            leased.item.segment_id.0[..4].copy_from_slice(&n.to_be_bytes());
            leased
        };
        for n in 0..=REMEMBERED {
            let at = now + Duration::from_millis(n as u64);
            assert_eq!(tries.fail(item(n), at), Fate::Again(1));
        }

        assert_eq!(tries.failed.len(), REMEMBERED);
        assert_eq!(tries.fail(item(REMEMBERED), now), Fate::Again(2));
        assert_eq!(tries.fail(item(0), now), Fate::Again(1));
    }
}
