//! The clocks of a node: one that counts, and a wall clock that may be set wrong.
//!
//! The age clock goes on at a start from what the disk kept, by the core's own
//! rule; while the node runs it counts with the world. What the wall clock says is
//! the world's time and an error that jumps when the plan says so.

use relay_core::age::{Stamp, resume};
use relay_core::time::{Mono, Now, Unix};

use crate::scenario::SECOND;

/// The wall clock when a world begins: late in 2023.
pub const BEGIN: u64 = 1_700_000_000_000;
/// No sound wall clock stands before this.
pub const FLOOR: Unix = Unix(BEGIN - 86_400_000);

/// The clocks of one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    born: u64,
    age: Unix,
    /// How far the wall clock stands before the world's, in milliseconds.
    pub ahead: i64,
}

impl Clocks {
    /// A run begins when the world's clock says `now`.
    pub fn begin(&mut self, now: u64, last: Option<Stamp>) {
        self.born = now;
        (self.age, _) = resume(last, self.wall(now), FLOOR);
    }

    /// All clocks when the world's says `now`.
    #[must_use]
    pub fn read(&self, now: u64) -> Now {
        Now {
            mono: Mono(SECOND + now - self.born),
            unix: Unix(self.age.0 + (now - self.born) / 1_000),
            wall: self.wall(now),
        }
    }

    fn wall(&self, now: u64) -> Unix {
        Unix((BEGIN + now / 1_000).saturating_add_signed(self.ahead))
    }

    /// What a disk keeps of them.
    #[must_use]
    pub fn stamp(&self, now: u64) -> Stamp {
        Stamp::of(self.read(now), FLOOR)
    }

    /// When the world's clock says what the timer clock will.
    #[must_use]
    pub const fn world_time(&self, at: Mono) -> u64 {
        at.0.saturating_sub(SECOND).saturating_add(self.born)
    }
}
