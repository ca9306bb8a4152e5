//! Whether one node id is one node: the ledgers heard under it.
//!
//! A node keeps its ledger, or takes a new one for good (a new disk, a restored
//! copy). Two machines with one certificate take turns: a ledger that was left is
//! heard again, or a run of it that is over. One such turn may be a straggler; two
//! within [`QUIET`] are two machines, and neither is trusted until an operator
//! says so, or one alone has been heard for [`QUIET`]. What is remembered is
//! small, and of this run of the daemon only.

use std::time::Duration;

use crate::id::{BootEpoch, LedgerId};
use crate::time::Mono;

/// Alternations further apart are strangers to each other; so long one of two must
/// be heard alone to be trusted again. Redials come at least every quarter of a
/// minute, so a second machine that lives is heard well within it.
pub const QUIET: Duration = Duration::from_secs(600);
/// Ledgers remembered; more have been left one after another than a node has lives.
const REMEMBERED: usize = 8;

/// A ledger, and the run of it.
type Run = (LedgerId, BootEpoch);

/// What was heard under one node id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    current: Option<Run>,
    /// Left for another, the latest last.
    former: Vec<LedgerId>,
    /// The last turn back to what had been left.
    turned: Option<Mono>,
    /// Two machines: the one heard last, and since when it alone was.
    cloned: Option<(Run, Mono)>,
}

impl Runs {
    /// A Hello of `ledger` in its run `epoch`; whether its node is to be trusted.
    pub fn hear(&mut self, ledger: LedgerId, epoch: BootEpoch, now: Mono) -> bool {
        let heard = (ledger, epoch);
        if let Some((last, since)) = self.cloned {
            if heard != last {
                self.cloned = Some((heard, now));
            } else if now.since(since) >= QUIET {
                self.forgive();
                self.current = Some(heard);
            }
            return self.cloned.is_none();
        }
        let Some((held, run)) = self.current else {
            self.current = Some(heard);
            return true;
        };
        let turned = if ledger == held {
            epoch < run
        } else {
            self.former.contains(&ledger)
        };
        if turned {
            let again = self.turned.is_some_and(|last| now.since(last) < QUIET);
            self.turned = Some(now);
            self.cloned = again.then_some((heard, now));
        }
        self.take_turn(heard, held);
        self.cloned.is_none()
    }

    fn take_turn(&mut self, (ledger, epoch): Run, held: LedgerId) {
        if ledger == held {
            // An older run of the same ledger does not become the current one.
            if self.current.is_some_and(|(_, run)| epoch > run) {
                self.current = Some((ledger, epoch));
            }
            return;
        }
        self.former.retain(|former| *former != ledger);
        self.former.push(held);
        if self.former.len() > REMEMBERED {
            self.former.remove(0);
        }
        self.current = Some((ledger, epoch));
    }

    /// Whether two machines were heard.
    #[must_use]
    pub const fn is_cloned(&self) -> bool {
        self.cloned.is_some()
    }

    /// An operator says that it is one machine: what was heard is forgotten.
    pub fn forgive(&mut self) {
        *self = Self::default();
    }

    /// The two that take turns, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let name = |ledger: LedgerId| format!("{:016x}", ledger.0);
        let current = self.current.map_or_else(String::new, |(l, _)| name(l));
        match self.former.last() {
            Some(former) => format!("ledgers {} and {current} take turns", name(*former)),
            None => format!("two runs of ledger {current} take turns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    fn hear(runs: &mut Runs, ledger: u64, epoch: u64, seconds: u64) -> bool {
        runs.hear(LedgerId(ledger), BootEpoch(epoch), at(seconds))
    }

    #[test]
    fn restarts_and_a_new_ledger_are_one_machine() {
        let mut runs = Runs::default();

        for (ledger, epoch, seconds) in [(1, 1, 0), (1, 1, 1), (1, 2, 2), (2, 1, 3), (2, 2, 4)] {
            assert!(hear(&mut runs, ledger, epoch, seconds), "{ledger} {epoch}");
        }
    }

    #[test]
    fn two_ledgers_that_take_turns_are_two_machines() {
        let mut runs = Runs::default();

        assert!(hear(&mut runs, 1, 1, 0));
        assert!(hear(&mut runs, 2, 1, 1));
        assert!(hear(&mut runs, 1, 1, 2), "one straggler is none");
        assert!(!hear(&mut runs, 2, 1, 3));
        assert!(runs.is_cloned());
        assert!(!hear(&mut runs, 2, 1, 4));
    }

    #[test]
    fn two_copies_of_one_ledger_are_two_machines() {
        let mut runs = Runs::default();

        assert!(hear(&mut runs, 1, 7, 0));
        assert!(hear(&mut runs, 1, 5, 1), "one straggler is none");
        assert!(!hear(&mut runs, 1, 5, 2));
    }

    #[test]
    fn one_heard_alone_for_long_is_trusted_again() {
        let mut runs = Runs::default();
        for (ledger, seconds) in [(1, 0), (2, 1), (1, 2), (2, 3)] {
            hear(&mut runs, ledger, 1, seconds);
        }

        assert!(!hear(&mut runs, 2, 1, 3 + 599));
        assert!(hear(&mut runs, 2, 1, 3 + 600));
        assert!(hear(&mut runs, 1, 1, 3 + 601), "the other is new again");
    }

    #[test]
    fn an_operators_word_is_enough() {
        let mut runs = Runs::default();
        for (ledger, seconds) in [(1, 0), (2, 1), (1, 2), (2, 3)] {
            hear(&mut runs, ledger, 1, seconds);
        }
        runs.forgive();

        assert!(hear(&mut runs, 2, 1, 4));
    }
}
