//! What a seed draws about peers: pauses of every scope, resumed or ending by
//! themselves.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

use super::{Act, Plan, SECOND};
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x7065_6572_7331;

/// The lanes an operator pauses.
const LANES: [&str; 4] = ["alarm", "default", "extra", "bulk"];

/// Where an operator pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Where {
    /// At this node.
    pub node: usize,
    /// This peer alone.
    pub peer: Option<usize>,
    /// This lane alone.
    pub lane: Option<&'static str>,
}

/// Something about peers that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAct {
    /// An operator pauses, at once or not, for so long or until resumed.
    Pause(Where, bool, Option<u64>),
    /// An operator resumes.
    Resume(Where),
}

/// Adds what `seed` draws about peers to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if dice.chance(350) {
        pauses(&mut dice, plan);
    }
}

fn pauses(dice: &mut Dice, plan: &mut Plan) {
    for _ in 0..dice.between(1, 8) {
        let place = drawn_where(dice, plan);
        let at_once = dice.chance(500);
        let lasts = dice
            .chance(500)
            .then(|| dice.spread(SECOND / 10, 60 * SECOND));
        let when = dice.between(0, plan.storm);
        plan.acts
            .push((when, Act::Peers(PeerAct::Pause(place, at_once, lasts))));
        if dice.chance(800) {
            let later = when + dice.spread(SECOND / 10, 60 * SECOND);
            plan.acts
                .push((later.min(plan.storm), Act::Peers(PeerAct::Resume(place))));
        }
    }
}

fn drawn_where(dice: &mut Dice, plan: &Plan) -> Where {
    let node = dice.between(0, plan.nodes as u64 - 1) as usize;
    let peers: Vec<usize> = plan.peers(node).collect();
    let peer = dice.pick(&peers).copied().filter(|_| dice.chance(500));
    let lane = dice.pick(&LANES).copied().filter(|_| dice.chance(500));
    Where { node, peer, lane }
}
