//! What a seed draws about peers: pauses of every scope, resumed or ending by
//! themselves.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world.

use std::time::Duration;

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
    /// An operator ends the link of a node to a peer.
    Kick(usize, usize),
    /// The config of a node no longer names a peer; it starts anew.
    Remove(usize, usize),
    /// The config names it again.
    Restore(usize, usize),
    /// An operator drops what a node owes to a peer.
    Drop(usize, usize),
    /// A second machine speaks to a node under the name of a peer, so often.
    Clone(usize, usize, u64),
    /// The network of a node changes.
    NetworkChange(usize),
    /// A node is away for so long.
    Vanish(usize, u64),
}

/// Adds what `seed` draws about peers to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if dice.chance(300) {
        plan.limits.unadmitted = Duration::from_micros(dice.spread(SECOND / 2, 30 * SECOND));
    }
    if dice.chance(350) {
        pauses(&mut dice, plan);
    }
    if dice.chance(250) {
        kicks(&mut dice, plan);
    }
    if dice.chance(200) {
        removals(&mut dice, plan);
    }
    if dice.chance(150) {
        clones(&mut dice, plan);
    }
    if dice.chance(150) {
        let after = Duration::from_micros(dice.between(15, 60) * SECOND);
        for a in 0..plan.nodes {
            let all = plan.peers(a).collect::<Vec<_>>().into_iter();
            // Who has work and no address waits to be dialled.
            let both = all.filter(|b| [(a, *b), (*b, a)].iter().all(|p| plan.dials.contains(p)));
            let both: Vec<usize> = both.collect();
            plan.lets_go
                .extend(both.into_iter().map(|b| ((a, b), after)));
        }
    }
    if dice.chance(150) {
        for _ in 0..dice.between(1, 5) {
            let (node, _) = pair(&mut dice, plan);
            let when = dice.between(0, plan.storm);
            plan.acts
                .push((when, Act::Peers(PeerAct::NetworkChange(node))));
        }
    }
    if dice.chance(20) {
        week(&mut dice, plan);
    }
}

/// A node and one of its peers.
fn pair(dice: &mut Dice, plan: &Plan) -> (usize, usize) {
    let node = dice.between(0, plan.nodes as u64 - 1) as usize;
    let others: Vec<usize> = plan.peers(node).collect();
    (node, dice.pick(&others).copied().unwrap_or(node))
}

fn kicks(dice: &mut Dice, plan: &mut Plan) {
    for _ in 0..dice.between(1, 6) {
        let (node, peer) = pair(dice, plan);
        let when = dice.between(0, plan.storm);
        plan.acts
            .push((when, Act::Peers(PeerAct::Kick(node, peer))));
    }
}

/// A peer leaves the config; most of the time it is dropped, and comes back.
fn removals(dice: &mut Dice, plan: &mut Plan) {
    plan.limits.bulk_rows = dice.spread(1, 40) as usize;
    for _ in 0..dice.between(1, 3) {
        let (node, peer) = pair(dice, plan);
        let when = dice.between(0, plan.storm);
        plan.acts
            .push((when, Act::Peers(PeerAct::Remove(node, peer))));
        for _ in 0..dice.between(0, 3) {
            let later = (when + dice.spread(SECOND, 60 * SECOND)).min(plan.storm);
            plan.acts
                .push((later, Act::Peers(PeerAct::Drop(node, peer))));
        }
        if dice.chance(500) {
            let later = (when + dice.spread(SECOND, 90 * SECOND)).min(plan.storm);
            plan.acts
                .push((later, Act::Peers(PeerAct::Restore(node, peer))));
        }
    }
}

fn clones(dice: &mut Dice, plan: &mut Plan) {
    for _ in 0..dice.between(1, 2) {
        let (node, peer) = pair(dice, plan);
        let when = dice.between(0, plan.storm);
        let times = dice.between(1, 8);
        plan.acts
            .push((when, Act::Peers(PeerAct::Clone(node, peer, times))));
    }
}

/// One node is away for up to a week while the others go on. Consumers and
/// redials are slower in such a world, so that it stays small.
fn week(dice: &mut Dice, plan: &mut Plan) {
    let node = dice.between(0, plan.nodes as u64 - 1) as usize;
    let when = dice.between(0, plan.storm);
    let away = dice.between(24, 7 * 24) * 3_600 * SECOND;
    plan.redial.longest = Duration::from_secs(300);
    plan.pace = 200;
    plan.storm += away;
    plan.acts
        .push((when, Act::Peers(PeerAct::Vanish(node, away))));
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
