//! What a seed draws about poison: segments that bring a node down whenever it sends
//! them, or whenever they arrive there.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

use std::collections::BTreeSet;

use relay_core::id::SegmentId;

use super::Plan;
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x706f_6973_6f6e;

/// What is poison, and where.
#[derive(Debug, Default)]
pub struct Poison {
    /// One segment in so many; 0: none is.
    every: u64,
    /// Nodes that die as they send one.
    sending: BTreeSet<usize>,
    /// Nodes that die as one arrives.
    taking: BTreeSet<usize>,
}

impl Poison {
    /// Whether any segment is.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.every > 0
    }

    /// Whether `node` dies as it sends this segment.
    #[must_use]
    pub fn kills_sender(&self, node: usize, id: SegmentId) -> bool {
        self.sending.contains(&node) && self.is_one(id)
    }

    /// Whether `node` dies as this segment arrives.
    #[must_use]
    pub fn kills_receiver(&self, node: usize, id: SegmentId) -> bool {
        self.taking.contains(&node) && self.is_one(id)
    }

    const fn is_one(&self, id: SegmentId) -> bool {
        let low = u64::from_le_bytes([id.0[15], id.0[14], id.0[13], id.0[12], 0, 0, 0, 0]);
        self.every > 0 && (low.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).is_multiple_of(self.every)
    }
}

/// Adds what `seed` draws about poison to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if !dice.chance(150) {
        return;
    }
    plan.poison.every = dice.spread(20, 400);
    for node in 0..plan.nodes {
        if dice.chance(400) {
            plan.poison.sending.insert(node);
        }
        if dice.chance(400) {
            plan.poison.taking.insert(node);
        }
    }
}
