//! Each start: nothing has aged by what a wall clock was set to.
//!
//! The oracle knows how long a node was really away and how wrong its wall clock
//! was at both ends; what the node makes of it is held against that. That nothing
//! ages while it runs needs no rule of its own: wakes, expiries and the ends of
//! pauses are judged by the age clock, which no jump moves.

use std::time::Duration;

use relay_core::time::Unix;

use super::Oracle;
use crate::node::Node;
use crate::node::clocks::FLOOR;

/// Both clocks are read in whole milliseconds.
const COARSE: u64 = 2;
/// As `limits.rs` has it, said again: the judge does not ask the accused.
const MONTH: u64 = 30 * 86_400_000;
/// An idempotency key is known so long.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a disk kept, and how things really stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    at: u64,
    ahead: i64,
    age: Unix,
    wall: Unix,
}

impl Oracle {
    /// The disk of `n` keeps what its clocks say.
    pub fn time_kept(&mut self, n: usize, nodes: &[Node], now: u64) {
        let clock = nodes[n].clock(now);
        self.watches[n].kept = Some(Kept {
            at: now,
            ahead: nodes[n].clocks.ahead,
            age: clock.unix,
            wall: clock.wall,
        });
    }

    /// Node `n` starts with these clocks; whether its keys have grown too old.
    pub fn time_resumed(&mut self, n: usize, nodes: &[Node], now: u64) -> bool {
        let mut outlived = false;
        let clock = nodes[n].clock(now);
        if let Some(kept) = self.watches[n].kept {
            let gained = clock.unix.0.checked_sub(kept.age.0);
            let gained = gained.unwrap_or_else(|| panic!("[clock] n{n} grew younger"));
            let away = (now - kept.at) / 1_000;
            let jumped = nodes[n].clocks.ahead != kept.ahead;
            let past = clock.wall < FLOOR || kept.wall < FLOOR || clock.wall < kept.wall;
            if past {
                self.tally.count("clock: not believed");
                assert_eq!(gained, 0, "[clock] n{n} ages by a clock in the past");
            } else if jumped {
                self.tally.count("clock: jumped while away");
                assert!(
                    gained <= MONTH,
                    "[clock] n{n} ages by {gained} ms in one start"
                );
            } else {
                let wanted = away.min(MONTH);
                assert!(
                    gained.abs_diff(wanted) <= COARSE,
                    "[clock] n{n} was away for {wanted} ms and ages by {gained} ms"
                );
            }
            outlived = u128::from(gained) + 1 >= KEY_LIFE.as_millis();
            if outlived {
                self.watches[n].keys.clear();
            }
        }
        self.time_kept(n, nodes, now);
        outlived
    }
}
