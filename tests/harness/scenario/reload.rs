//! What a seed draws about configs that are read again while a node runs: rates,
//! quotas, lanes and the backoff. Peers, windows and routes wait for a start.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

use relay_core::backoff::Backoff;
use relay_core::id::LaneName;
use relay_core::segment::{Class, LaneRule};
use relay_core::units::Rate;

use super::{Act, Plan, bounds};
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x7265_6c6f_6164;

/// The config of this node is read again; what it says is drawn from this when the
/// moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadAct {
    /// Which node.
    pub node: usize,
    /// What draws the rest.
    pub seed: u64,
}

/// Adds what `seed` draws about reloads to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if !dice.chance(250) {
        return;
    }
    for _ in 0..dice.between(1, 8) {
        let act = ReloadAct {
            node: dice.between(0, plan.nodes as u64 - 1) as usize,
            seed: dice.draw(),
        };
        plan.acts
            .push((dice.between(0, plan.storm), Act::Reload(act)));
    }
}

/// A rate of a config, such as this world can bear.
#[must_use]
pub fn rate(dice: &mut Dice, slow: bool) -> Rate {
    match dice.between(0, 2) {
        _ if slow => Rate(dice.spread(500, 100_000)),
        0 => Rate(dice.spread(20_000, 10_000_000)),
        _ => Rate::UNLIMITED,
    }
}

/// Another rule for a lane; `control` stays what it is.
#[must_use]
pub fn rule(dice: &mut Dice, name: &LaneName, held: LaneRule) -> LaneRule {
    if name.as_str() == "control" || dice.chance(400) {
        return held;
    }
    let class = Class::new(dice.between(1, 7) as u8).expect("a class is at most 7");
    LaneRule {
        class: if dice.chance(500) { class } else { held.class },
        weight: dice.between(1, 8) as u32,
        budget: dice.between(1, 8) as u32,
    }
}

/// Another backoff.
#[must_use]
pub fn retry(dice: &mut Dice) -> Backoff {
    bounds::retry(dice)
}
