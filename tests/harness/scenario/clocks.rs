//! What a seed draws about wall clocks: jumps by a second to ten years, to and fro,
//! while a node runs and while it is down.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

use super::{Act, Plan};
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x636c_6f63_6b73;
/// Ten years, in milliseconds.
const TEN_YEARS: u64 = 3_652 * 86_400_000;

/// Adds what `seed` draws about clocks to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if !dice.chance(300) {
        return;
    }
    for _ in 0..dice.between(1, 8) {
        let node = dice.between(0, plan.nodes as u64 - 1) as usize;
        let by = dice.spread(1_000, TEN_YEARS) as i64;
        let by = if dice.chance(500) { by } else { -by };
        let when = dice.between(0, plan.storm);
        plan.acts.push((when, Act::Jump(node, by)));
    }
}
