//! What a seed draws about orders on deliveries: every verb, on several at once.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

use super::{Act, Plan};
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x7665_7262_7331;

/// What an operator does to deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Keeps them from being sent.
    Hold,
    /// Lets them go again.
    Release,
    /// Calls them back.
    Cancel,
    /// Parks them.
    Force,
    /// Puts them back to work, with a time to live or without.
    Retry(bool),
    /// Removes them.
    Purge,
}

/// An order: where, what, and what its targets are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerbAct {
    /// At this node.
    pub node: usize,
    /// What is done.
    pub verb: Verb,
    /// Draws the targets when the moment has come.
    pub seed: u64,
}

const VERBS: [Verb; 7] = [
    Verb::Hold,
    Verb::Release,
    Verb::Cancel,
    Verb::Force,
    Verb::Retry(false),
    Verb::Retry(true),
    Verb::Purge,
];

/// Adds what `seed` draws about orders to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if !dice.chance(350) {
        return;
    }
    if dice.chance(400) {
        plan.limits.deadletter_bytes = dice.spread(1, 64 << 10);
    }
    if dice.chance(200) {
        plan.limits.orders = dice.between(1, 2) as usize;
    }
    for _ in 0..dice.between(1, 40) {
        let when = dice.between(0, plan.storm);
        let act = VerbAct {
            node: dice.between(0, plan.nodes as u64 - 1) as usize,
            verb: VERBS[dice.between(0, 6) as usize],
            seed: dice.draw(),
        };
        plan.acts.push((when, Act::Verb(act)));
    }
}
