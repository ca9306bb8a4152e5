//! The ladder a filling node climbs (semantics 9): the ledger cleans up first, then bulk
//! is refused, then every local put, and at the ceiling peers are told `busy`.
//!
//! What is decided looks at what is used now. The step shown to people and written to the
//! audit is left only once a fiftieth of the ceiling has come back, so that a node at the
//! edge of one does not fill its audit.

use super::Scheduler;
use crate::audit::{AuditEvent, AuditRecord};
use crate::change::Change;
use crate::event::Space;
use crate::segment::Class;
use crate::time::Now;

/// How far a node has filled up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Everything is taken.
    #[default]
    Open,
    /// Local puts of class 6 and 7 are refused.
    BulkRefused,
    /// All local puts are refused.
    PutsRefused,
    /// Arrivals are answered `busy`.
    Full,
}

/// The class from which on puts are refused first.
const BULK: Class = match Class::new(6) {
    Some(class) => class,
    None => panic!(),
};

impl Rung {
    /// The highest step whose part of the ceiling is used; the last one while the disk
    /// itself is full.
    #[must_use]
    pub const fn of(space: &Space) -> Self {
        if space.disk_full {
            Self::Full
        } else {
            Self::at(space.used, space.ceiling)
        }
    }

    const fn at(used: u64, ceiling: u64) -> Self {
        if used >= ceiling {
            Self::Full
        } else if used >= ceiling / 100 * 90 {
            Self::PutsRefused
        } else if used >= ceiling / 100 * 80 {
            Self::BulkRefused
        } else {
            Self::Open
        }
    }

    /// Whether a put of this class is taken.
    #[must_use]
    pub fn takes(self, class: Class) -> bool {
        match self {
            Self::Open => true,
            Self::BulkRefused => class < BULK,
            Self::PutsRefused | Self::Full => false,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::BulkRefused => "bulk_refused",
            Self::PutsRefused => "puts_refused",
            Self::Full => "full",
        }
    }

    /// The step a node stands on that stood on this one.
    const fn next(self, space: &Space) -> Self {
        let now = Self::of(space);
        let slack = space.ceiling / 50;
        let later = Self::at(space.used.saturating_add(slack), space.ceiling);
        // Up at once; down only as far as a little more would not lead up again.
        if now as u8 >= self as u8 {
            now
        } else if (later as u8) < self as u8 {
            later
        } else {
            self
        }
    }
}

impl Scheduler {
    /// The node is as full as `space` says: a step of the ladder is told to the audit.
    pub(super) fn note_space(&mut self, now: Now, space: Space) {
        self.space = space;
        let (before, after) = (self.rung, self.rung.next(&space));
        if before == after {
            return;
        }
        self.rung = after;
        let event = AuditEvent::StorageLadder;
        let record = AuditRecord::own(now.wall, event, "storage", after.as_str().to_owned())
            .with("from", before.as_str())
            .with("used", space.used)
            .with("ceiling", space.ceiling)
            .with("disk_full", space.disk_full);
        self.batch.push(Change::Audit(record));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn space(used: u64) -> Space {
        Space {
            used,
            ceiling: 1_000,
            ..Space::default()
        }
    }

    #[test]
    fn each_step_begins_at_its_part_of_the_ceiling() {
        let steps = [
            (799, Rung::Open),
            (800, Rung::BulkRefused),
            (900, Rung::PutsRefused),
        ];
        for (used, rung) in steps {
            assert_eq!(Rung::of(&space(used)), rung, "{used}");
        }
        assert_eq!(Rung::of(&space(1_000)), Rung::Full);
        let classes = |rung: Rung| {
            let taken = (0..8).filter(|n| rung.takes(Class::new(*n).expect("one")));
            taken.count()
        };
        assert_eq!(classes(Rung::Open), 8);
        assert_eq!(classes(Rung::BulkRefused), 6);
        assert_eq!(classes(Rung::PutsRefused), 0);
    }

    #[test]
    fn a_step_is_left_once_a_fiftieth_has_come_back() {
        let full = Rung::default().next(&space(905));
        assert_eq!(full, Rung::PutsRefused);
        assert_eq!(full.next(&space(885)), Rung::PutsRefused);
        assert_eq!(full.next(&space(879)), Rung::BulkRefused);
        assert_eq!(full.next(&space(10)), Rung::Open);
    }

    #[test]
    fn a_full_disk_is_the_last_step_and_is_left_as_soon_as_it_has_room() {
        let full = Space {
            disk_full: true,
            ..space(10)
        };

        assert_eq!(Rung::of(&full), Rung::Full);
        assert_eq!(Rung::Open.next(&full), Rung::Full);
        assert_eq!(Rung::Full.next(&space(10)), Rung::Open);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_never_below_what_holds(uses in proptest::collection::vec(0u64..1_100, 1..60)) {
            let (mut rung, mut moves) = (Rung::Open, 0);
            for used in &uses {
                let next = rung.next(&space(*used));
                prop_assert!(next >= Rung::of(&space(*used)));
                moves += u32::from(next != rung);
                // Nothing moves twice for one figure.
                prop_assert_eq!(next.next(&space(*used)), next);
                rung = next;
            }
            prop_assert!(moves as usize <= uses.len());
        }
    }
}
