//! One node: a scheduler, a disk, and a model of the shell between them.
//!
//! The shell does what each effect asks for, in its own time: it commits, reads,
//! dials, sends, and hands the answers back as inputs. It decides nothing but
//! what a real shell would (which bytes are bad, how long a read takes). A crash
//! ends the run: answers still under way are for nobody.

mod clients;
pub mod clocks;
mod hears;
pub mod inflow;
mod links;
mod reads;
mod spools;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use relay_core::aim::To;
use relay_core::backoff::Backoff;
use relay_core::change::{Due, KeyName};
use relay_core::delivery::StateName;
use relay_core::event::{Deadline, Effect, Input, Put};
use relay_core::id::{LaneName, LinkId, NodeId, NodeNo, PutId, StagedId, Ticket};
use relay_core::poison::Panic;
use relay_core::scheduler::{Bounds, PeerRule, Scheduler, Settings};
use relay_core::segment::{Digest, LaneRule};
use relay_core::time::{Mono, Now};
use relay_core::units::Rate;

use self::clocks::Clocks;
use crate::disk::Disk;
use crate::disk::content::Content;
use crate::scenario::{Plan, node_name};
use crate::seeds::Dice;
use crate::world::reads::Mood;
use crate::world::{Event, World};

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: NodeId,
    /// Which of the world's it is.
    pub index: usize,
    /// What survives.
    pub disk: Disk,
    /// What does not; `None` while it is down.
    pub scheduler: Option<Scheduler>,
    /// Raised at each stop, so that old answers find nobody.
    pub run: u32,
    /// Raised whenever the deadline changes.
    pub turn: u64,
    /// The turn a wake was set for.
    pub armed: u64,
    /// The deadline last heard.
    pub deadline: Option<Deadline>,
    /// Wakes in a row at `woken`.
    pub wakes: u32,
    /// When it was last woken.
    pub woken: u64,
    /// How much longer each commit takes just now.
    pub slow: u64,
    /// How its disk answers just now.
    pub mood: Mood,
    /// Whether it was asked to stop.
    pub draining: bool,
    /// Whether it said that it has stopped.
    pub drained: bool,
    /// Peers its config does not name just now.
    pub removed: BTreeSet<usize>,
    /// Its rate as set.
    pub rate: Rate,
    /// The slowest rate that ever held.
    pub slowest: u64,
    /// Its lanes as its config has them.
    pub lanes: BTreeMap<LaneName, LaneRule>,
    /// Its backoff as its config has it.
    pub retry: Backoff,
    /// What its config bounds beside rates.
    pub bounds: Bounds,
    /// The rates of its peers as set.
    pub peer_rates: BTreeMap<usize, Rate>,
    /// Live links by the node's name for them: which link, which side.
    pub links: BTreeMap<LinkId, (usize, usize)>,
    /// Bytes held for the core and not yet durable.
    pub staged: BTreeMap<StagedId, Arc<Content>>,
    /// Puts announced and not yet answered, with what would follow.
    pub announced: BTreeMap<PutId, Put>,
    /// Keys used so far.
    keys: Vec<(KeyName, Digest, To, Arc<Content>)>,
    numbers: BTreeMap<NodeId, NodeNo>,
    /// What its file of panics holds.
    pub panics: Vec<Panic>,
    /// Whether it is dying of one.
    pub panicking: bool,
    /// Segments it was told not to take in.
    pub shunned: BTreeSet<relay_core::id::SegmentId>,
    /// Its spool folder.
    pub folder: spools::Folder,
    /// What time it is there.
    pub clocks: Clocks,
    issued: Ticket,
    given: u64,
}

impl Node {
    /// Node `index` of the plan, not yet started.
    #[must_use]
    pub fn new(index: usize, plan: &Plan, dice: &mut Dice) -> Self {
        let name = node_name(index);
        let ledger = relay_core::id::LedgerId(dice.draw());
        let (ceiling, keep) = (plan.disk.ceiling, plan.disk.keep_known);
        let own = plan
            .peer_rates
            .iter()
            .filter(|((node, _), _)| *node == index);
        Self {
            disk: Disk::new(ledger, name.clone(), ceiling, keep),
            name,
            index,
            scheduler: None,
            run: 0,
            turn: 0,
            armed: 0,
            deadline: None,
            wakes: 0,
            woken: 0,
            slow: 0,
            mood: Mood::default(),
            draining: false,
            drained: false,
            removed: BTreeSet::new(),
            rate: plan.rates[index],
            slowest: u64::MAX,
            lanes: plan.lanes.clone(),
            retry: plan.retry,
            bounds: Bounds {
                ingest: plan.ingest.get(&index).copied().unwrap_or_default(),
                ..plan
                    .limiting
                    .bounds
                    .get(&index)
                    .cloned()
                    .unwrap_or_default()
            },
            peer_rates: own.map(|((_, peer), rate)| (*peer, *rate)).collect(),
            links: BTreeMap::new(),
            staged: BTreeMap::new(),
            announced: BTreeMap::new(),
            keys: Vec::new(),
            numbers: BTreeMap::new(),
            panics: Vec::new(),
            panicking: false,
            shunned: BTreeSet::new(),
            folder: spools::Folder::default(),
            clocks: Clocks::default(),
            issued: Ticket(0),
            given: 0,
        }
    }

    /// Whether `run` is the one under way.
    #[must_use]
    pub const fn is_run(&self, run: u32) -> bool {
        self.run == run && self.scheduler.is_some()
    }

    /// What its clocks say when the world's says `now`.
    #[must_use]
    pub fn clock(&self, now: u64) -> Now {
        self.clocks.read(now)
    }

    /// When the world's clock says what this node's timer clock will.
    #[must_use]
    pub const fn world_time(&self, at: Mono) -> u64 {
        self.clocks.world_time(at)
    }

    /// A number never given before at this node.
    pub const fn give(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// The number this node has given to a name.
    #[must_use]
    pub fn number(&self, name: &NodeId) -> Option<NodeNo> {
        self.numbers.get(name).copied()
    }

    /// Ends the run: all that lives in memory is gone.
    pub fn stop(&mut self) {
        self.scheduler = None;
        self.run += 1;
        self.draining = false;
        self.drained = false;
        self.links.clear();
        self.staged.clear();
        self.announced.clear();
        self.folder.forget();
    }

    /// Whether something here has not come to its end.
    #[must_use]
    pub fn is_unsettled(&self, links_are_kept: bool) -> bool {
        let waits = |state: StateName| !state.is_terminal();
        let mut owed = self
            .disk
            .owed
            .values()
            .filter(|row| row.due.peer != NodeNo::LOCAL);
        self.scheduler.is_none()
            || self.disk.is_busy()
            || links_are_kept && !self.disk.receipts.is_empty()
            || !self.staged.is_empty()
            || !self.disk.partials.files.is_empty()
            || !self.folder.is_empty()
            || !self.disk.spooled.is_empty()
            || owed.any(|row| waits(row.state.name()))
    }

    /// What [`Node::is_unsettled`] saw.
    #[must_use]
    pub fn unsettled_words(&self) -> String {
        let open = self
            .disk
            .owed
            .values()
            .filter(|row| row.due.peer != NodeNo::LOCAL && !row.state.name().is_terminal());
        let rows: Vec<String> = open
            .take(3)
            .map(|row| format!("{:?} {:?}", row.due, row.state))
            .collect();
        let receipts = self
            .disk
            .receipts
            .values()
            .next()
            .map(|row| (row.no, row.peer));
        format!(
            "up: {}, commit busy: {}, first unsettled receipt: {receipts:?}, staged: {:?}, partial: {:?}, open: {rows:?}, deadline: {:?}",
            self.scheduler.is_some(),
            self.disk.is_busy(),
            self.staged.keys().next(),
            self.disk.partials.files.iter().next(),
            self.deadline,
        )
    }

    /// What its config bounds just now.
    #[must_use]
    pub fn config_bounds(&self) -> Bounds {
        let mut bounds = self.bounds.clone();
        for peer in &self.removed {
            bounds.peers.remove(&node_name(*peer));
        }
        bounds
    }

    /// The rates of the peers its config names just now.
    #[must_use]
    pub fn config_rates(&self) -> BTreeMap<usize, Rate> {
        let mut rates = self.peer_rates.clone();
        rates.retain(|peer, _| !self.removed.contains(peer));
        rates
    }

    fn settings(&self, plan: &Plan) -> Settings {
        let rule = |peer: usize| PeerRule {
            dial: plan.dials.contains(&(self.index, peer)),
            rate: self
                .peer_rates
                .get(&peer)
                .copied()
                .unwrap_or(Rate::UNLIMITED),
            lets_go: plan.lets_go.get(&(self.index, peer)).copied(),
        };
        Settings {
            node: self.name.clone(),
            peers: plan
                .peers(self.index)
                .filter(|peer| !self.removed.contains(peer))
                .map(|peer| (node_name(peer), rule(peer)))
                .collect(),
            admit_any: false,
            lanes: self.lanes.clone(),
            retry: self.retry,
            redial: plan.redial,
            rate: self.rate,
            bounds: self.config_bounds(),
            success: plan.extra.success,
            routing: plan.routing.get(self.index).cloned().unwrap_or_default(),
            limits: plan.limits.clone(),
        }
    }
}

impl World {
    /// Node `n` starts: recovery, then the scheduler carries on.
    pub fn start(&mut self, n: usize) {
        if self.nodes[n].scheduler.is_some() {
            return;
        }
        self.note(&format!("n{n} starts"));
        let node = &mut self.nodes[n];
        node.clocks.begin(self.now, node.disk.stamp());
        node.disk.keep_time(node.clocks.stamp(self.now));
        node.issued = Ticket(0);
        node.deadline = None;
        let now = node.clock(self.now);
        let (snapshot, abandoned) = node.disk.restart(now.unix);
        node.numbers = node
            .disk
            .nodes
            .iter()
            .map(|(no, name)| (name.clone(), *no))
            .collect();
        if self.oracle.time_resumed(n, &self.nodes, self.now) {
            // A put under a key that is too old is a put of something new, and no
            // client gives that an old name.
            self.nodes[n].keys.clear();
        }
        self.tally.add("outcome: Abandoned", abandoned.len() as u64);
        self.oracle
            .started(n, &snapshot, &abandoned, &self.nodes, self.now);
        let seed = self.dice.draw();
        let node = &mut self.nodes[n];
        node.scheduler = Some(Scheduler::new(
            node.settings(&self.plan),
            snapshot,
            seed,
            now,
        ));
        self.arm(n);
        self.hand_in_panics(n);
        self.resume_spool(n);
        self.resume_all(n);
        self.limits_calm(n);
    }

    /// Does what `n` asks for.
    pub fn perform(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::Admit(put) => self.admitted(n, put),
            Effect::Refuse(put, why) => {
                self.spool_answered(n, put, false);
                self.tally.count(match why {
                    relay_core::event::Refusal::StorageFull(_) => "refused: storage full",
                    relay_core::event::Refusal::KeyConflict { .. } => "refused: key conflict",
                    relay_core::event::Refusal::TooLarge { .. } => "refused: too large",
                    relay_core::event::Refusal::TooFewPeers { .. } => "refused: too few peers",
                    relay_core::event::Refusal::Draining => "refused: draining",
                    relay_core::event::Refusal::UnknownRoute(_) => "refused: unknown route",
                    relay_core::event::Refusal::NoRoute { .. } => "refused: no route",
                    relay_core::event::Refusal::UnknownPeer(_)
                    | relay_core::event::Refusal::UnknownLane(_)
                    | relay_core::event::Refusal::ReservedLane(_)
                    | relay_core::event::Refusal::NoPeer
                    | relay_core::event::Refusal::TooManyNames => "refused: names",
                    relay_core::event::Refusal::Unreadable => "refused: unreadable",
                });
                // A client refused before its bytes never sends them.
                if let Some(put) = self.nodes[n].announced.remove(&put) {
                    self.nodes[n].staged.remove(&put.staged);
                }
            }
            Effect::Accept(put) => {
                self.tally.count("accepted");
                self.spool_answered(n, put, true);
            }
            Effect::AcceptAs(..) => self.tally.count("accepted as before"),
            Effect::Discard(staged) => drop(self.nodes[n].staged.remove(&staged)),
            Effect::Persist(ticket, changes) => self.persist(n, ticket, changes),
            Effect::Page { .. }
            | Effect::Owing { .. }
            | Effect::Fetch(_)
            | Effect::FindExpired { .. }
            | Effect::FindStuck { .. }
            | Effect::FindKey(..)
            | Effect::LookUp { .. }
            | Effect::Recall { .. }
            | Effect::Divide { .. }
            | Effect::Group(_)
            | Effect::Walk { .. }
            | Effect::Verify(_) => {
                let wait = self.read_time();
                self.read_later(n, wait, effect);
            }
            Effect::Dial(peer) => self.dial(n, &peer),
            Effect::Answer(id, outcome) => self.oracle.answered(n, id, &outcome, &self.nodes),
            Effect::Journaled { partial, bytes } => self.journaled(n, partial, bytes),
            Effect::Forget(no) => drop(self.nodes[n].disk.partials.files.remove(&no)),
            Effect::Shun(id) => drop(self.nodes[n].shunned.insert(id)),
            Effect::Drained => {
                // The daemon ends after this step, not within it.
                let run = self.nodes[n].run;
                self.nodes[n].drained = true;
                self.after(0, Event::Kill(n, run));
            }
            Effect::Close { .. }
            | Effect::Offer { .. }
            | Effect::Send { .. }
            | Effect::Reset { .. }
            | Effect::Want { .. }
            | Effect::Have { .. }
            | Effect::Ack { .. }
            | Effect::Busy { .. }
            | Effect::Settle { .. } => self.speak(n, effect),
        }
    }

    fn hear_later(&mut self, n: usize, wait: u64, input: Input) {
        let run = self.nodes[n].run;
        self.after(wait, Event::Hear(n, run, Box::new(input)));
    }

    fn read_time(&mut self) -> u64 {
        let (low, high) = self.plan.disk.read;
        self.dice.between(low, high)
    }
}

/// All of a pack but some, ascending.
fn all_but(content: &Content, except: &[u16]) -> Vec<u16> {
    let except: BTreeSet<u16> = except.iter().copied().collect();
    content
        .all()
        .into_iter()
        .filter(|n| !except.contains(n))
        .collect()
}

/// The members a part of a pack means.
fn members_of(content: &Content, due: Due, except: &[u16]) -> Vec<u16> {
    match due.part {
        relay_core::change::Part::Rest => all_but(content, except),
        relay_core::change::Part::Member(n) => vec![n],
    }
}
