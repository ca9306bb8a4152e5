//! Connections at one time, in all and of one uid.
//!
//! Half of all places is the most that one uid gets, so that a producer that forgets to
//! hang up keeps no other producer out. Operators get any place that is free, and a few
//! more are kept for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places kept for root, the daemon's own user and operators, so that a producer
/// that opens too many connections does not lock out whoever comes to look.
const SPARE: usize = 4;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: BTreeMap<u32, usize>,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Places {
    /// So many, and the spare ones.
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            taken: Mutex::default(),
        })
    }

    /// A place for `uid`, if there is one for it.
    pub(super) fn take(self: &Arc<Self>, uid: u32, operates: bool) -> Option<Place> {
        let mut taken = self.lock();
        let own = taken.of.get(&uid).copied().unwrap_or_default();
        let free = if operates {
            taken.all < self.all + SPARE
        } else {
            taken.all < self.all && own < self.all.div_ceil(2)
        };
        if !free {
            return None;
        }
        taken.all += 1;
        taken.of.insert(uid, own + 1);
        Some(Place {
            places: Arc::clone(self),
            uid,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        let own = taken.of.remove(&self.uid).unwrap_or_default();
        if own > 1 {
            taken.of.insert(self.uid, own - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_uid_gets_half_and_others_still_get_in() {
        let places = Places::new(8);

        let mine: Vec<Place> = (0..8).map_while(|_| places.take(7, false)).collect();
        let others: Vec<Place> = (8..99).map_while(|uid| places.take(uid, false)).collect();

        assert_eq!((mine.len(), others.len()), (4, 4));
    }

    #[test]
    fn an_operator_gets_in_though_all_places_are_taken() {
        let places = Places::new(2);
        let _all =
            [places.take(1, false), places.take(2, false)].map(|place| place.expect("it is free"));

        assert!(places.take(3, false).is_none());
        let operators: Vec<Place> = (0..9).map_while(|_| places.take(0, true)).collect();

        assert_eq!(operators.len(), SPARE);
    }

    #[test]
    fn a_place_is_given_back_and_nothing_is_remembered_of_who_had_it() {
        let places = Places::new(1);

        for uid in 0..1000 {
            drop(places.take(uid, false).expect("it is free"));
        }

        assert!(places.lock().of.is_empty());
        assert_eq!(places.lock().all, 0);
    }
}
