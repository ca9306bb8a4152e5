//! A board on which spools and the sink write what they are at, for whoever asks.
//!
//! Whoever works writes, whoever asks reads a copy; the lock is held for that long. Logs
//! say when something changes, and each thing rarely; the board has the last of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relay_core::time::Unix;

use crate::clock;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder whose files are put.
    Spool,
    /// Where arrivals go.
    Sink,
}

/// What one is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum At {
    /// Nothing was tried yet.
    #[default]
    Starting,
    /// It works, or would if there were anything to do.
    Working,
    /// There is no room for what comes next.
    Waiting,
    /// It cannot be used.
    Unable,
}

/// All that is known of one.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Which way.
    pub(crate) kind: Kind,
    /// The folder or program.
    pub(crate) place: String,
    /// What it is at.
    pub(crate) at: At,
    /// Since when.
    pub(crate) since: Unix,
    /// How often in a row it could not go on.
    pub(crate) tries: u32,
    /// What is begun and not settled.
    pub(crate) in_hand: u64,
    /// What was put or confirmed.
    pub(crate) done: u64,
    /// What was left as it is.
    pub(crate) passed_over: u64,
    /// What was last found wrong.
    pub(crate) last: Option<(Unix, String)>,
}

/// Everything there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways(Arc<Mutex<Vec<Way>>>);

/// The place of one on the board.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    ways: Ways,
    number: usize,
}

impl Ways {
    /// A place for another one.
    pub(crate) fn hang(&self, kind: Kind, place: String) -> Notice {
        let mut all = self.lock();
        all.push(Way {
            kind,
            place,
            at: At::default(),
            since: clock::now().unix,
            tries: 0,
            in_hand: 0,
            done: 0,
            passed_over: 0,
            last: None,
        });
        Notice {
            ways: self.clone(),
            number: all.len() - 1,
        }
    }

    /// What all of `kind` are at, in the order of the config.
    pub(crate) fn of(&self, kind: Kind) -> Vec<Way> {
        let all = self.lock();
        all.iter().filter(|way| way.kind == kind).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Way>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notice {
    /// It works; so much was left as it is.
    pub(crate) fn works(&self, passed_over: usize) {
        self.change(|way| {
            way.become_at(At::Working);
            way.tries = 0;
            way.passed_over = passed_over as u64;
        });
    }

    /// It cannot go on just now.
    pub(crate) fn stuck(&self, at: At) {
        self.change(|way| {
            way.become_at(at);
            way.tries = way.tries.saturating_add(1);
        });
    }

    /// Something is wrong, with all of it or with one file or arrival.
    pub(crate) fn erred(&self, found: impl Into<String>) {
        let last = Some((clock::now().unix, found.into()));
        self.change(|way| way.last = last);
    }

    /// So much is in hand.
    pub(crate) fn has_in_hand(&self, count: usize) {
        self.change(|way| way.in_hand = count as u64);
    }

    /// So much more is done.
    pub(crate) fn did(&self, count: usize) {
        self.change(|way| way.done += count as u64);
    }

    fn change(&self, change: impl FnOnce(&mut Way)) {
        change(&mut self.ways.lock()[self.number]);
    }
}

impl Way {
    fn become_at(&mut self, at: At) {
        if self.at != at {
            self.at = at;
            self.since = clock::now().unix;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_counted_until_it_is_over_and_remembered_after() {
        let ways = Ways::default();
        let spool = ways.hang(Kind::Spool, "/in".into());
        let _sink = ways.hang(Kind::Sink, "dir:/out".into());

        spool.erred("it is not there");
        spool.stuck(At::Unable);
        spool.stuck(At::Unable);
        let stuck = ways.of(Kind::Spool).remove(0);
        spool.works(0);
        spool.did(3);

        assert_eq!((stuck.at, stuck.tries), (At::Unable, 2));
        let now = ways.of(Kind::Spool).remove(0);
        assert_eq!((now.at, now.tries, now.done), (At::Working, 0, 3));
        assert_eq!(
            now.last.map(|(_, found)| found),
            Some("it is not there".into())
        );
        assert_eq!(ways.of(Kind::Sink)[0].at, At::Starting);
    }
}
