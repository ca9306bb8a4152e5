//! What a seed draws about reads: those that fail, for a while or for good, and disks
//! that take up to a minute to answer.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "it tells questions from all else"
)]

use std::time::Duration;

use relay_core::event::Effect;

use super::{Act, Plan, SECOND};
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x7265_6164_7331;
/// The same, for what is drawn as the world goes on.
pub const READS: u64 = 0x7265_6164_7332;

/// What can be read, or not, each apart from the others.
pub mod kind {
    /// Rows of work, of a peer or a group, by page or by name.
    pub const ROWS: u16 = 1;
    /// Whether a key or an arrival is known.
    pub const KNOWN: u16 = 2;
    /// Receipts.
    pub const RECEIPTS: u16 = 4;
    /// Names by index: what has expired, what is stuck, what stands by.
    pub const INDEX: u16 = 8;
    /// Bytes to be sent or checked.
    pub const BYTES: u16 = 16;
    /// Files of large segments on their way in, written as well.
    pub const FILES: u16 = 32;
}

/// A spell of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAct {
    /// Reads of these kinds fail, so many in a thousand, for so long.
    Fail {
        /// Where.
        node: usize,
        /// Which: see [`kind`].
        kinds: u16,
        /// How many.
        odds: u64,
        /// For how long.
        time: u64,
    },
    /// Reads, and commits, take so much longer, for so long.
    Slow {
        /// Where.
        node: usize,
        /// How much longer.
        by: u64,
        /// For how long.
        time: u64,
    },
}

/// What reads are like in a world.
#[derive(Debug, Default)]
pub struct ReadPlan {
    /// One pack in so many lies where the disk never answers; 0: none does.
    pub dead_every: u64,
}

/// Adds what `seed` draws about reads to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if dice.chance(250) {
        for _ in 0..dice.between(2, 16) {
            let act = ReadAct::Fail {
                node: dice.between(0, plan.nodes as u64 - 1) as usize,
                kinds: match dice.chance(300) {
                    true => u16::MAX,
                    false => 1 << dice.between(0, 5),
                },
                odds: dice.spread(200, 1_000),
                time: dice.spread(SECOND, 120 * SECOND),
            };
            plan.acts
                .push((dice.between(0, plan.storm), Act::Reads(act)));
        }
        if dice.chance(300) {
            plan.reads.dead_every = dice.spread(2, 60);
            plan.limits.unreadable = Duration::from_micros(dice.spread(SECOND, 60 * SECOND));
        }
    }
    if dice.chance(120) {
        for _ in 0..dice.between(1, 3) {
            let act = ReadAct::Slow {
                node: dice.between(0, plan.nodes as u64 - 1) as usize,
                by: dice.spread(SECOND, 60 * SECOND),
                time: dice.spread(SECOND, 120 * SECOND),
            };
            plan.acts
                .push((dice.between(0, plan.storm), Act::Reads(act)));
        }
    }
}

/// What a question reads; 0: nothing that can fail.
#[must_use]
pub fn kind_of(question: &Effect) -> u16 {
    match question {
        Effect::Page { .. } | Effect::Owing { .. } | Effect::Fetch(_) | Effect::Group(_) => {
            kind::ROWS
        }
        Effect::FindKey(..) | Effect::LookUp { .. } => kind::KNOWN,
        Effect::Recall { .. } => kind::RECEIPTS,
        Effect::FindExpired { .. } | Effect::FindStuck { .. } | Effect::Walk { .. } => kind::INDEX,
        Effect::Verify(_) => kind::BYTES,
        _ => 0,
    }
}
