//! What a seed draws: how many nodes, which bounds bind, what goes wrong.
//!
//! A [`Plan`] is drawn whole before the run begins, so that a seed can be read
//! as a sentence. Each world draws *which* faults it has and how often (a swarm
//! of different worlds finds more than many alike), and its bounds from ranges
//! whose small end binds: a window of one parcel, a page of one row, a budget of
//! one attempt. When each act happens is drawn here; what it means is
//! [`crate::world`]'s.

mod bounds;
pub mod clocks;
pub mod extra;
pub mod ingest;
pub mod limits;
pub mod peers;
pub mod poison;
pub mod reads;
pub mod reload;
pub mod routes;
pub mod spools;
pub mod verbs;

use std::collections::{BTreeMap, BTreeSet};

use relay_core::backoff::Backoff;
use relay_core::event::Ingest;
use relay_core::id::{LaneName, NodeId, SegmentId};
use relay_core::limits::Limits;
use relay_core::route::Routing;
use relay_core::segment::LaneRule;
use relay_core::units::Rate;

use crate::seeds::Dice;

/// One second of the virtual clock, in microseconds.
pub const SECOND: u64 = 1_000_000;

/// Tells the dice of beginnings from those of the rest of a world.
const PARTIALS: u64 = 0x7061_7274_6961_6c73;

/// Everything a seed draws before its run.
#[derive(Debug)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// How lanes are served, everywhere alike.
    pub lanes: BTreeMap<LaneName, LaneRule>,
    /// The bounds of every node.
    pub limits: Limits,
    /// How failures are waited out.
    pub retry: Backoff,
    /// How failed dials are waited out.
    pub redial: Backoff,
    /// The rate of each node.
    pub rates: Vec<Rate>,
    /// The rate of each (node, peer) that has one of its own.
    pub peer_rates: BTreeMap<(usize, usize), Rate>,
    /// Who knows an address of whom.
    pub dials: BTreeSet<(usize, usize)>,
    /// The network.
    pub path: Path,
    /// The disks.
    pub disk: DiskPlan,
    /// What goes wrong all the time, in thousandths.
    pub odds: Odds,
    /// What happens, and when, in microseconds.
    pub acts: Vec<(u64, Act)>,
    /// When faults end.
    pub storm: u64,
    /// Links that are not kept, and after how long they go.
    pub lets_go: BTreeMap<(usize, usize), std::time::Duration>,
    /// What brings nodes down.
    pub poison: poison::Poison,
    /// How much slower consumers take than they might.
    pub pace: u64,
    /// Whether segments are kept small, because a low rate binds.
    pub small_only: bool,
    /// Quotas, windows and budgets.
    pub limiting: limits::LimitPlan,
    /// What each peer may send to a node, where that is bounded.
    pub ingest: BTreeMap<usize, Ingest>,
    /// Reads that fail.
    pub reads: reads::ReadPlan,
    /// Which way segments go, node by node; empty in a world without routes.
    pub routing: Vec<Routing>,
    /// What it has beside.
    pub extra: extra::Extra,
    /// When files are dropped into the spool folder of which node.
    pub drops: Vec<(u64, usize)>,
}

/// What the network is like.
#[derive(Debug)]
pub struct Path {
    /// One way, at least.
    pub latency: u64,
    /// And at most so much more.
    pub jitter: u64,
    /// What a connection takes in, bytes per second.
    pub takes: u64,
    /// How long a silent link may stay unnoticed.
    pub idle: u64,
}

/// What the disks are like.
#[derive(Debug)]
pub struct DiskPlan {
    /// A commit takes between these.
    pub commit: (u64, u64),
    /// A read takes between these.
    pub read: (u64, u64),
    /// How much each holds.
    pub ceiling: u64,
    /// How long marks outlive the settling of their receipt.
    pub keep_known: u64,
    /// Whether bytes are checked when they are read to be sent.
    pub checks_reads: bool,
}

/// Chances of faults that belong to no moment, in thousandths.
#[derive(Debug, Default)]
pub struct Odds {
    /// An ack is delivered twice.
    pub repeat_ack: u64,
    /// An ack carries another digest than it should.
    pub lying_ack: u64,
    /// A sound member is called bad.
    pub bad_digest: u64,
    /// A pack is answered `busy`.
    pub busy: u64,
    /// A link dies without either end being told.
    pub silent: u64,
    /// A dial comes to nothing.
    pub deaf: u64,
    /// A put repeats the key of an earlier one.
    pub repeat_key: u64,
    /// A receiver refuses one id in so many for good; 0 refuses none.
    pub refuse_every: u64,
    /// A put has a time to live.
    pub ttl: u64,
    /// A pack's bytes rot or vanish once durable.
    pub rot: u64,
}

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A client of this node puts.
    Put(usize),
    /// A link goes.
    DropLink,
    /// Two nodes cannot reach each other for so long.
    Part(u64),
    /// The process dies; what was committed stays.
    Crash(usize),
    /// The machine dies; what was not committed is lost.
    PowerLoss(usize),
    /// SIGTERM, and a start after.
    Drain(usize),
    /// Commits take so much longer each, for a while.
    SlowDisk(usize, u64),
    /// No pack finds room for so long.
    Full(usize, u64),
    /// An operator retries a delivery.
    Retry(usize),
    /// An operator purges a delivery.
    Purge(usize),
    /// An operator sets a rate.
    SetRate(usize),
    /// The wall clock of this node is set by so many milliseconds.
    Jump(usize, i64),
    /// Something about peers: pauses, kicks, clones.
    Peers(peers::PeerAct),
    /// An order on deliveries.
    Verb(verbs::VerbAct),
    /// An operator sets a limit.
    Limits(limits::LimitAct),
    /// A disk does not answer, or takes its time.
    Reads(reads::ReadAct),
    /// The config of a node is read again.
    Reload(reload::ReloadAct),
}

/// The name of node `n`.
#[must_use]
pub fn node_name(n: usize) -> NodeId {
    format!("n{n}").parse().expect("a short name is a name")
}

/// Which node bears this name.
///
/// # Panics
/// If it is none of [`node_name`]'s.
#[must_use]
pub fn node_index(name: &NodeId) -> usize {
    name.as_str()[1..]
        .parse()
        .expect("nodes are named n0, n1, …")
}

impl Plan {
    /// What `seed` draws.
    #[must_use]
    pub fn drawn(dice: &mut Dice, beside: &mut Dice) -> Self {
        let nodes = [2, 2, 3, 3, 4, 5][dice.between(0, 5) as usize];
        let storm = dice.spread(20, 300) * SECOND;
        let rated = dice.chance(300);
        let odds = bounds::odds(dice);
        let acts = acts(dice, nodes, storm, rated);
        let (rates, peer_rates) = bounds::rates(dice, nodes, rated);
        Self {
            nodes,
            lanes: bounds::lanes(dice),
            limits: bounds::limits(dice),
            retry: bounds::retry(dice),
            redial: bounds::retry(dice),
            rates,
            peer_rates,
            dials: dials(dice, nodes),
            path: bounds::path(dice),
            disk: bounds::disk(dice),
            odds,
            acts,
            storm,
            lets_go: BTreeMap::new(),
            poison: poison::Poison::default(),
            pace: 1,
            small_only: rated,
            limiting: limits::LimitPlan::default(),
            ingest: BTreeMap::new(),
            reads: reads::ReadPlan::default(),
            routing: Vec::new(),
            extra: extra::Extra::drawn(beside),
            drops: Vec::new(),
        }
    }

    /// Draws how beginnings of large segments are kept, from dice of their own.
    pub fn draw_partials(&mut self, seed: u64) {
        bounds::partials(&mut Dice::new(seed ^ PARTIALS), &mut self.limits);
    }

    /// The peers of a node.
    pub fn peers(&self, node: usize) -> impl Iterator<Item = usize> {
        (0..self.nodes).filter(move |peer| *peer != node)
    }

    /// Whether `node` refuses this segment for good.
    #[must_use]
    pub const fn refuses(&self, node: usize, id: SegmentId) -> bool {
        refuses(self.odds.refuse_every, node, id)
    }
}

/// Whether `node` refuses this segment where one in `every` is refused.
#[must_use]
pub const fn refuses(every: u64, node: usize, id: SegmentId) -> bool {
    let low = u64::from_le_bytes([id.0[15], id.0[14], id.0[13], id.0[12], 0, 0, 0, 0]);
    every > 0 && (low + node as u64).is_multiple_of(every)
}

fn dials(dice: &mut Dice, nodes: usize) -> BTreeSet<(usize, usize)> {
    let mut dials = BTreeSet::new();
    for a in 0..nodes {
        for b in a + 1..nodes {
            match dice.between(0, 3) {
                0 => drop(dials.insert((a, b))),
                1 => drop(dials.insert((b, a))),
                _ => dials.extend([(a, b), (b, a)]),
            }
        }
    }
    dials
}

/// How often one kind of act happens in a world that has it.
struct Kind {
    most: u64,
    make: fn(&mut Dice, usize) -> Act,
}

const KINDS: [Kind; 9] = [
    Kind {
        most: 30,
        make: |_, _| Act::DropLink,
    },
    Kind {
        most: 6,
        make: |dice, _| Act::Part(dice.spread(1, 60) * SECOND),
    },
    Kind {
        most: 5,
        make: |_, node| Act::Crash(node),
    },
    Kind {
        most: 5,
        make: |_, node| Act::PowerLoss(node),
    },
    Kind {
        most: 3,
        make: |_, node| Act::Drain(node),
    },
    Kind {
        most: 4,
        make: |dice, node| Act::SlowDisk(node, dice.spread(100_000, 20 * SECOND)),
    },
    Kind {
        most: 3,
        make: |dice, node| Act::Full(node, dice.spread(1, 60) * SECOND),
    },
    Kind {
        most: 10,
        make: |_, node| Act::Purge(node),
    },
    Kind {
        most: 4,
        make: |_, node| Act::SetRate(node),
    },
];

fn acts(dice: &mut Dice, nodes: usize, storm: u64, rated: bool) -> Vec<(u64, Act)> {
    let mut acts = Vec::new();
    let mut at = |dice: &mut Dice, act| {
        let when = dice.between(0, storm);
        acts.push((when, act));
    };
    let node = |dice: &mut Dice| dice.between(0, nodes as u64 - 1) as usize;
    for _ in 0..dice.spread(5, if rated { 60 } else { 150 }) {
        let who = node(dice);
        at(dice, Act::Put(who));
    }
    for kind in KINDS {
        if dice.chance(450) {
            for _ in 0..dice.between(1, kind.most) {
                let who = node(dice);
                let act = (kind.make)(dice, who);
                at(dice, act);
            }
        }
    }
    if dice.chance(600) {
        for _ in 0..dice.between(1, 20) {
            let who = node(dice);
            at(dice, Act::Retry(who));
        }
    }
    acts
}
