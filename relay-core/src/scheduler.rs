//! The scheduler: three calls around one value.
//!
//! [`Scheduler::handle`] hears something, [`Scheduler::poll`] hands out what is
//! to be done (drain it before the next `handle`), [`Scheduler::deadline`] says
//! until when it can wait and why. [`Scheduler::check`] asserts its invariants.
//! It reads no clock and draws from one seeded generator: the same inputs and
//! seed give the same decisions (INV-11).
//!
//! Facts become durable through tickets. Everything one `handle` changes shares
//! one ticket, except that each put and each arrival has its own, since these
//! alone may be refused for want of room. Nothing is told to anybody before the
//! ticket that makes it true has come back.
//!
//! A pack put while its peer's link is up and its window open is written in
//! flight at once: its first row says `inflight` (enqueue and send in one).

mod allowance;
mod arrivals;
mod backpressure;
mod binding;
mod check;
mod configuring;
mod covered;
mod deadletter;
mod decided;
mod dispatch;
mod draining;
mod dropping;
mod expiry;
mod fates;
mod filing;
mod gates;
mod groups;
mod headroom;
mod heard;
mod holding;
mod ingest;
mod kicking;
mod ladder;
mod letting_go;
mod limiting;
mod links;
mod losses;
mod marking;
mod metering;
mod onward;
mod orders;
mod paging;
mod partials;
mod pausing;
mod picture;
mod poison;
mod puts;
mod question;
mod receipts;
mod rereading;
mod sending;
mod spare;
mod start;
mod table;
mod tickets;
mod unloading;
mod unread;
mod verbs;
mod verdicts;
mod waiting;
mod waking;
mod why;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_core::{Rng, SeedableRng};

use crate::aim::Success;
use crate::backoff::Backoff;
use crate::bandwidth::Bucket;
use crate::change::{Change, Due, Snapshot};
use crate::event::{Effect, Input, Space, Why};
use crate::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, ReceiptNo, Ticket,
};
use crate::limits::{self, Limits};
use crate::names::Names;
use crate::ordered::Ordered;
use crate::peer::Peer;
use crate::queue::Key;
use crate::route::Routing;
use crate::segment::LaneRule;
use crate::soonest::Soonest;
use crate::time::{Mono, Now};
use crate::units::Rate;

use tickets::Pending;

pub use gates::Gate;
pub use headroom::{BandwidthPicture, Bound, LanePicture, SetBy};
pub use ladder::Rung;
pub use limiting::{Bounds, OnExhausted, PeerBounds};
pub use pausing::PausePicture;
pub use picture::{DeadletterPicture, PeerPicture, Picture};

/// How a peer is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRule {
    /// Whether there is an address to dial.
    pub dial: bool,
    /// Its rate.
    pub rate: Rate,
    /// It is dialled when something waits alone, and its link ends after so long
    /// without use; `None`: the link is kept.
    pub lets_go: Option<Duration>,
}

/// What the operator set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// The peers of the config.
    pub peers: BTreeMap<NodeId, PeerRule>,
    /// Whether any node of the trust domain is let in.
    pub admit_any: bool,
    /// The lanes of the config, the built-in ones included.
    pub lanes: BTreeMap<LaneName, LaneRule>,
    /// The wait after a failed attempt.
    pub retry: Backoff,
    /// The wait after a failed dial.
    pub redial: Backoff,
    /// The rate over all peers.
    pub rate: Rate,
    /// Quotas, windows and budgets.
    pub bounds: Bounds,
    /// How many peers must have a put that does not say.
    pub success: Success,
    /// Which way segments go.
    pub routing: Routing,
    /// The bounds.
    pub limits: Limits,
}

/// The lane reserved for the daemon's own kinds.
pub const CONTROL_LANE: &str = "control";

/// The relay as a value.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    ledger: LedgerId,
    epoch: BootEpoch,
    rescued: u64,
    nodes: Names<NodeId, NodeNo>,
    lanes: Names<LaneName, LaneNo>,
    peers: table::Peers,
    /// When each peer has something to wait for, by its number.
    wakes: Soonest<(Mono, Why)>,
    /// The ticket each peer's receipts wait for, by its number.
    lines: Soonest<Ticket>,
    links: BTreeMap<LinkId, NodeNo>,
    issued: Ticket,
    durable: Ticket,
    last_pack: PackNo,
    last_receipt: ReceiptNo,
    /// What is to be done once a ticket is durable, rising.
    pending: VecDeque<(Ticket, Pending)>,
    batch: Vec<Change>,
    batch_pending: Vec<Pending>,
    effects: VecDeque<Effect>,
    /// Peers something happened to.
    dirty: Ordered<NodeNo>,
    /// Peers whose next chunk the rate of all did not admit.
    thirsty: Ordered<NodeNo>,
    spare: spare::Spare,
    turn: NodeNo,
    bucket: Bucket,
    standing: limiting::Standing,
    meters: metering::Meters,
    /// What the contact windows of peers that have some said last.
    sights: BTreeMap<NodeNo, limiting::Seen>,
    /// Quotas and budgets that are used up.
    spent: allowance::Spent,
    /// When limits are to be looked at though nothing happens.
    limit_wake: Option<Mono>,
    /// Whether what flies to one peer keeps another from beginning.
    tight: bool,
    /// What a quota refused last, so that it counts once.
    refused: BTreeMap<(NodeNo, LaneNo), Key>,
    questions: u64,
    space: Space,
    /// The step of the ladder that was told last.
    rung: Rung,
    puts: puts::Puts,
    arrivals: arrivals::Arrivals,
    intakes: ingest::Intakes,
    pauses: pausing::Pauses,
    drops: BTreeMap<NodeNo, dropping::Dropping>,
    /// Drops that wait for something to become durable.
    waiting_drops: BTreeSet<NodeNo>,
    partials: partials::Partials,
    groups: groups::Groups,
    asks: BTreeMap<Due, Vec<paging::Ask>>,
    /// Asked for while enough rows are being fetched.
    overdue: paging::Overdue,
    orders: decided::Orders,
    covers: covered::Covers,
    stuck: deadletter::Stuck,
    expiry: expiry::Expiry,
    poison: poison::Poison,
    crowds: unloading::Crowds,
    rereading: rereading::Rereading,
    /// Parcels that may have nothing left to do in memory.
    idle: Vec<(NodeNo, Key)>,
    draining: Option<Mono>,
    drained: bool,
    /// When the last input was heard.
    heard_at: Now,
    chance: rand_pcg::Pcg64,
}

impl Scheduler {
    /// A scheduler that carries on from `snapshot`; `seed` feeds its generator.
    #[must_use]
    pub fn new(settings: Settings, snapshot: Snapshot, seed: u64, now: Now) -> Self {
        let mut scheduler = Self {
            nodes: Names::new(snapshot.nodes.iter().cloned(), limits::MAX_NODES),
            lanes: Names::new(snapshot.lanes.iter().cloned(), limits::MAX_LANES),
            ledger: snapshot.ledger,
            epoch: snapshot.epoch,
            rescued: snapshot.rescued,
            peers: table::Peers::default(),
            wakes: Soonest::new(),
            lines: Soonest::new(),
            links: BTreeMap::new(),
            issued: Ticket(0),
            durable: Ticket(0),
            last_pack: snapshot.last_pack,
            last_receipt: snapshot.last_receipt,
            pending: VecDeque::new(),
            batch: Vec::new(),
            batch_pending: Vec::new(),
            effects: VecDeque::new(),
            dirty: Ordered::new(),
            thirsty: Ordered::new(),
            spare: spare::Spare::default(),
            turn: NodeNo(0),
            bucket: Bucket::new(settings.rate, now.mono),
            standing: limiting::Standing::new(&snapshot),
            meters: metering::Meters::new(&snapshot, now),
            sights: BTreeMap::new(),
            spent: allowance::Spent::new(),
            limit_wake: None,
            tight: false,
            refused: BTreeMap::new(),
            questions: 0,
            space: Space {
                ceiling: u64::MAX,
                inbox_ceiling: u64::MAX,
                clear: u64::MAX,
                ..Space::default()
            },
            rung: Rung::default(),
            puts: puts::Puts::default(),
            arrivals: arrivals::Arrivals::new(&snapshot),
            intakes: ingest::Intakes::default(),
            pauses: pausing::Pauses::new(&snapshot, now),
            drops: BTreeMap::new(),
            waiting_drops: BTreeSet::new(),
            partials: partials::Partials::new(&snapshot, settings.limits.keep_partials, now),
            groups: groups::Groups::default(),
            asks: BTreeMap::new(),
            overdue: paging::Overdue::default(),
            orders: decided::Orders::default(),
            covers: covered::Covers::default(),
            stuck: deadletter::Stuck::default(),
            expiry: expiry::Expiry::default(),
            poison: poison::Poison::new(&snapshot),
            crowds: unloading::Crowds::default(),
            rereading: rereading::Rereading::default(),
            idle: Vec::new(),
            draining: None,
            drained: false,
            heard_at: now,
            chance: rand_pcg::Pcg64::seed_from_u64(seed),
            settings,
        };
        scheduler.take_up(&snapshot, now);
        scheduler.note_wakes(now);
        scheduler.note_limit_wake(now);
        scheduler
    }

    /// Something happened at `now`: state moves, effects queue up.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.heard_at = now;
        let issued = self.issued;
        self.look_at_limits(now);
        self.note_use(now, &input);
        self.crowds.hear(&input);
        self.note_read(&input);
        self.end_pauses(now);
        self.dispatch(now, input);
        self.try_blocked(now);
        self.unstick(now);
        self.pump(now);
        self.save_meters(now, self.issued != issued);
        self.say_settled();
        self.flush();
        self.forget_idle();
        self.finish_drain(now);
        self.unload_crowds();
        self.note_wakes(now);
        self.note_limit_wake(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A drawn number.
    fn draw(&mut self) -> u64 {
        self.chance.next_u64()
    }

    /// The peer behind a link that is its current one.
    fn peer_on(&self, link: LinkId) -> Option<NodeNo> {
        let no = *self.links.get(&link)?;
        let current = self.peers.get(&no).and_then(|peer| peer.link.up());
        (current == Some(link)).then_some(no)
    }

    fn peer_mut(&mut self, no: NodeNo) -> &mut Peer {
        self.peers
            .get_mut(&no)
            .expect("a numbered peer is in the table")
    }
}
