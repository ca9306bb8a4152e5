//! What a seed draws about limits: quotas, contact windows, budgets of lanes, and
//! operators who change them.
//!
//! Drawn from a generator of its own, so that what other files draw stays the
//! same world. Limits are small against what a world puts, so that they bind.

use std::collections::BTreeMap;

use relay_core::event::Standing;
use relay_core::id::LaneName;
use relay_core::scheduler::{Bounds, OnExhausted, PeerBounds};
use relay_core::units::Rate;
use relay_core::window::Window;

use super::{Act, Plan, node_name};
use crate::seeds::Dice;

/// Keeps these draws apart from those of the plan.
const APART: u64 = 0x6c69_6d69_7473;
/// The lanes that have budgets.
const LANES: [&str; 3] = ["alarm", "default", "bulk"];
/// Worlds begin at 22:13:20 UTC: some of these are open then, some shut.
const WINDOWS: [&str; 6] = [
    "22:00-22:15",
    "22:14-22:36",
    "23:14-23:45 Europe/Berlin",
    "00:00-22:14",
    "mon-fri 17:10-17:40 America/New_York",
    "22:15-22:14",
];

/// The limits of one world.
#[derive(Debug, Default)]
pub struct LimitPlan {
    /// Whether this world has any; otherwise no link reports what it sends.
    pub on: bool,
    /// What the config of each node bounds.
    pub bounds: BTreeMap<usize, Bounds>,
    /// How long a link keeps to itself what it sent, in microseconds.
    pub report: u64,
    /// What the wire adds to bytes, in thousandths: resent datagrams.
    pub resent: u64,
}

/// An operator sets a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAct {
    /// Rate and quota of a node, or of a peer of it.
    Bandwidth {
        /// At this node.
        node: usize,
        /// For this peer alone.
        peer: Option<usize>,
        /// The rate; `None` leaves it.
        rate: Option<Rate>,
        /// The quota; `None` leaves it.
        quota: Option<u64>,
        /// How long it holds.
        standing: Standing,
        /// Whether it is only asked what would happen.
        dry_run: bool,
    },
    /// The budget of a lane.
    Lane {
        /// At this node.
        node: usize,
        /// Of which lane.
        lane: &'static str,
        /// Bytes a day.
        bytes: Option<u64>,
        /// Attempts an hour.
        attempts: Option<u64>,
    },
}

/// Adds what `seed` draws about limits to `plan`.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ APART);
    if !dice.chance(200) {
        return;
    }
    plan.limiting.on = true;
    plan.limiting.report = dice.spread(10_000, 2_000_000);
    plan.limiting.resent = dice.between(0, 100);
    for node in 0..plan.nodes {
        let bounds = bounds(&mut dice, plan, node);
        plan.limiting.bounds.insert(node, bounds);
    }
    if dice.chance(600) {
        for _ in 0..dice.between(1, 8) {
            let when = dice.between(0, plan.storm);
            let act = act(&mut dice, plan);
            plan.acts.push((when, Act::Limits(act)));
        }
    }
}

fn bounds(dice: &mut Dice, plan: &Plan, node: usize) -> Bounds {
    let mut bounds = Bounds::default();
    if dice.chance(500) {
        bounds.quota = quota(dice);
    }
    if dice.chance(150) {
        bounds.on_exhausted = OnExhausted::Deadletter;
    }
    for peer in plan.peers(node).collect::<Vec<_>>() {
        let quota = if dice.chance(300) { quota(dice) } else { 0 };
        let mut windows: Vec<Window> = Vec::new();
        if dice.chance(300) {
            for _ in 0..dice.between(1, 2) {
                let text = dice.pick(&WINDOWS).copied().unwrap_or(WINDOWS[0]);
                windows.push(text.parse().expect("a window"));
            }
        }
        bounds
            .peers
            .insert(node_name(peer), PeerBounds { quota, windows });
    }
    if dice.chance(300) {
        let lane: LaneName = lane(dice).parse().expect("a short name is a name");
        bounds.lane_bytes.insert(lane, dice.spread(5_000, 500_000));
    }
    bounds
}

fn quota(dice: &mut Dice) -> u64 {
    dice.spread(20_000, 5_000_000)
}

fn lane(dice: &mut Dice) -> &'static str {
    dice.pick(&LANES).copied().unwrap_or(LANES[0])
}

fn act(dice: &mut Dice, plan: &Plan) -> LimitAct {
    let node = dice.between(0, plan.nodes as u64 - 1) as usize;
    if dice.chance(300) {
        let none = dice.chance(200);
        let bytes = dice.chance(500).then(|| dice.spread(5_000, 500_000));
        let attempts = dice.spread(5, 500);
        return LimitAct::Lane {
            node,
            lane: lane(dice),
            bytes: bytes.map(|bytes| if none { 0 } else { bytes }),
            attempts: bytes.is_none().then_some(if none { 0 } else { attempts }),
        };
    }
    let peers: Vec<usize> = plan.peers(node).collect();
    let peer = dice.pick(&peers).copied().filter(|_| dice.chance(500));
    let slow = plan.small_only;
    let rate = match dice.between(0, 2) {
        0 => None,
        1 if !slow => Some(Rate::UNLIMITED),
        _ if slow => Some(Rate(dice.spread(500, 100_000))),
        _ => Some(Rate(dice.spread(20_000, 10_000_000))),
    };
    let quota = match dice.between(0, 3) {
        0 if rate.is_some() => None,
        1 => Some(0),
        _ => Some(quota(dice)),
    };
    let standing = [
        Standing::Stored,
        Standing::Stored,
        Standing::Ephemeral,
        Standing::Reset,
    ];
    LimitAct::Bandwidth {
        node,
        peer,
        rate,
        quota,
        standing: standing[dice.between(0, 3) as usize],
        dry_run: dice.chance(100),
    }
}
