//! What a seed draws about how much one peer may send to a node.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world. Limits are small against what a world puts, so that they bind.

use relay_core::event::Ingest;
use relay_core::units::Rate;

use super::Plan;
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x696e_6765_7374;

/// Adds what `seed` draws about ingest quotas to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if !dice.chance(250) {
        return;
    }
    for node in 0..plan.nodes {
        let limits = draw(&mut dice, plan.small_only);
        plan.ingest.insert(node, limits);
    }
}

/// What a config that is read again says of it, where a world has such quotas.
#[must_use]
pub fn redraw(seed: u64, slow: bool) -> Ingest {
    draw(&mut Dice::new(seed ^ APART), slow)
}

fn draw(dice: &mut Dice, slow: bool) -> Ingest {
    let bytes = match dice.between(0, 2) {
        0 => Rate::UNLIMITED,
        _ if slow => Rate(dice.spread(500, 100_000)),
        _ => Rate(dice.spread(20_000, 10_000_000)),
    };
    let segments = match dice.between(0, 2) {
        0 => 0,
        _ => dice.spread(1, 100),
    };
    Ingest { segments, bytes }
}
