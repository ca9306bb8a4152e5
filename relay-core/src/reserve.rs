//! When the reserve is given up, and when it is taken back.
//!
//! The reserve is a file of real blocks. When the disk itself is full it is cut to nothing:
//! what it held is room for acks, deletes and checkpoints, which add little and are never
//! refused, while everything that brings bytes is. It is taken back by writing it anew, a
//! piece at a time, and a margin beyond it: only when that much was free is the disk called
//! full no more, so that a node at the edge does not go back and forth. Nothing here asks
//! how much is free: what can be written is.

/// Bytes written beyond the reserve before the disk is trusted to have room: an eighth of
/// it, and what a group may need.
const MARGIN: u64 = 1 << 20;

/// How long the reserve is, how long it shall be, and whether the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    wanted: u64,
    held: u64,
    full: bool,
}

/// What is to be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write real bytes from `from` up to `to`, then say what came of it.
    Fill {
        /// How long it is.
        from: u64,
        /// How long it shall be.
        to: u64,
    },
    /// Cut it to so many bytes.
    Cut(u64),
}

impl Reserve {
    /// A reserve that shall be `wanted` long, found `held` long; of none at all nothing is
    /// ever asked.
    #[must_use]
    pub const fn found(wanted: u64, held: u64) -> Self {
        let full = false;
        Self { wanted, held, full }
    }

    /// How long it shall be; it counts against the ceiling whether it is there or not.
    #[must_use]
    pub const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// How long it is.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// Whether the disk is full: nothing that brings bytes is taken.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// The disk has no room: what is held of the reserve is given up. `None`: it has
    /// nothing left to give.
    pub fn on_full(&mut self) -> Option<Step> {
        self.full = true;
        let held = std::mem::take(&mut self.held);
        (held > 0).then_some(Step::Cut(0))
    }

    /// What is to be written next, at most `piece` bytes of it; `None`: all of it is there.
    #[must_use]
    pub fn next(&self, piece: u64) -> Option<Step> {
        let end = self.end();
        (self.held < end).then(|| Step::Fill {
            from: self.held,
            to: (self.held + piece).min(end),
        })
    }

    /// It is so long now. What lies beyond it has shown that the disk has room, and goes.
    pub fn on_filled(&mut self, to: u64) -> Option<Step> {
        self.held = to;
        if to < self.end() {
            return None;
        }
        self.full = false;
        self.held = self.wanted;
        (to > self.wanted).then_some(Step::Cut(self.wanted))
    }

    const fn end(&self) -> u64 {
        if self.full {
            self.wanted + self.wanted / 8 + MARGIN
        } else {
            self.wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fills as far as `free` allows; what was asked to be cut.
    fn fill(reserve: &mut Reserve, free: u64) -> Vec<u64> {
        let mut cuts = Vec::new();
        while let Some(Step::Fill { from, to }) = reserve.next(100) {
            assert!(from < to && to - from <= 100);
            let done = match to <= free {
                true => reserve.on_filled(to),
                false => reserve.on_full(),
            };
            cuts.extend(done.map(|step| match step {
                Step::Cut(to) => to,
                Step::Fill { .. } => unreachable!("nothing is filled unasked"),
            }));
            if to > free {
                break;
            }
        }
        cuts
    }

    #[test]
    fn a_new_reserve_is_filled_and_the_disk_is_not_full() {
        let mut reserve = Reserve::found(1_000, 0);

        assert_eq!(fill(&mut reserve, 1_000), Vec::<u64>::new());

        assert!(!reserve.is_full());
        assert_eq!(reserve.next(100), None);
    }

    #[test]
    fn a_full_disk_is_given_all_of_it_once() {
        let mut reserve = Reserve::found(1_000, 1_000);

        assert_eq!(reserve.on_full(), Some(Step::Cut(0)));
        assert_eq!(reserve.on_full(), None);

        assert!(reserve.is_full());
    }

    #[test]
    fn room_for_the_reserve_alone_is_a_full_disk_still() {
        let mut reserve = Reserve::found(1_000, 1_000);
        let _ = reserve.on_full();
        let enough = 1_000 + 125 + MARGIN;

        assert_eq!(fill(&mut reserve, 1_000), [0]);
        assert!(reserve.is_full());
        assert_eq!(fill(&mut reserve, enough), [1_000]);
        assert!(!reserve.is_full());
    }

    proptest! {
        #[test]
        fn while_the_disk_is_called_full_nothing_is_kept_from_it(
            free in proptest::collection::vec(0u64..3_000_000, 1..20),
        ) {
            let mut reserve = Reserve::found(500_000, 0);
            for free in free {
                while let Some(Step::Fill { to, .. }) = reserve.next(100_000) {
                    if to > free {
                        let _ = reserve.on_full();
                        prop_assert_eq!(reserve.held, 0);
                        break;
                    }
                    let _ = reserve.on_filled(to);
                }
                prop_assert_eq!(reserve.is_full(), reserve.held == 0);
            }
        }
    }
}
