//! What a seed draws about spool folders: how many files producers drop, where and when.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

use super::Plan;
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x73_706f_6f6c;

/// Adds what `seed` draws about spools to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if !dice.chance(250) {
        return;
    }
    for _ in 0..dice.between(1, 40) {
        let node = dice.between(0, plan.nodes as u64 - 1) as usize;
        plan.drops.push((dice.between(0, plan.storm), node));
    }
}
