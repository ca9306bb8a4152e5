//! One world: nodes, a network, a clock that jumps from event to event.
//!
//! A run has two phases. In the storm everything the plan holds goes wrong; then
//! faults end, and within a bounded virtual time everything must come to rest.
//! The world hands events to nodes in order of time and of drawing, so the same
//! seed is the same run. What nodes do with effects is [`crate::node`]'s, what
//! goes wrong when is [`crate::scenario`]'s, what may be done at all
//! [`crate::oracle`]'s.

mod faults;
mod limits;
mod peers;
mod poison;
pub mod reads;
mod reload;
mod verbs;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use relay_core::change::Sent;
use relay_core::event::{Effect, Input};
use relay_core::id::{PartialNo, SegmentId};

use crate::node::Node;
use crate::oracle::Oracle;
use crate::scenario::extra::SALT;
use crate::scenario::{Act, Plan, SECOND};
use crate::seeds::{Dice, Tally, say};
use crate::wire::{Message, Wire};

/// No run may take more events than this: more is a loop.
const MOST_EVENTS: u64 = 1_000_000;
/// Waking so often at one moment is a loop.
const MOST_WAKES: u32 = 1_000;

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// A node hears something.
    Hear(usize, u32, Box<Input>),
    /// A node's disk is read to answer a question.
    Read(usize, u32, Box<Effect>),
    /// An end of a link hears something.
    Wire(usize, usize, Box<Message>),
    /// A dial from one node to another has an outcome.
    Dialled(usize, u32, usize),
    /// A node's disk finishes a group.
    Commit(usize, u32),
    /// A node's deadline has come.
    Wake(usize, u32, u64),
    /// An end of a link says what it has put on the wire.
    Report(usize, usize),
    /// The plan says so.
    Act(Act),
    /// Commits of a node are quick again, or its disk has room again.
    Mend(usize),
    /// A sync of the beginning of a segment has ended.
    Synced(usize, u32, PartialNo, u64),
    /// A while has passed for a large segment on its way in.
    Pace(usize, u32, usize, usize, Sent),
    /// A file of a large segment on its way in cannot be read or written.
    FileFails(usize, u32, usize, usize, Sent),
    /// A drain has taken too long.
    Kill(usize, u32),
    /// A node dies of a panic.
    Panic(usize, u32),
    /// A node starts.
    Start(usize),
    /// A producer drops a file into a node's spool folder.
    Dropped(usize),
    /// A node looks at its spool folder.
    Spool(usize, u32),
    /// A node's spool folder is synced; these files are gone for good.
    Swept(usize, u32, Vec<(u64, SegmentId)>),
    /// A consumer empties a node's inbox.
    Consume(usize),
    /// The config of a node names all its peers again, and it starts anew.
    Restore(usize),
    /// The config of a node has no contact windows any more, and it starts anew.
    Lift(usize),
    /// The storm is over.
    Calm,
    /// Is everything at rest?
    Look,
}

/// What to keep of a run beside its tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Nothing.
    Off,
    /// A hash of every Input and Effect.
    Hash,
    /// Every Input and Effect, on stderr.
    Print,
}

/// One world.
#[derive(Debug)]
pub struct World {
    /// Virtual microseconds since the beginning.
    pub now: u64,
    /// What was drawn before the run.
    pub plan: Plan,
    /// What is drawn in it.
    pub dice: Dice,
    /// What is drawn in it for [`crate::scenario::extra`].
    pub beside: Dice,
    /// What is drawn in it for [`crate::scenario::reads`].
    pub reads: Dice,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The network.
    pub wire: Wire,
    /// Who judges.
    pub oracle: Oracle,
    /// What happened how often.
    pub tally: Tally,
    /// Whether faults have ended.
    pub calm: bool,
    queue: BTreeMap<(u64, u64), Event>,
    drawn: u64,
    trace: Trace,
    hash: DefaultHasher,
}

/// Plays `seed` to the end.
///
/// # Panics
/// With what was seen, if anything is not as it should be.
#[must_use]
pub fn play(seed: u64) -> Tally {
    World::new(seed, Trace::Off).run().0
}

/// Plays `seed` and answers a hash of all it heard and asked for.
#[must_use]
pub fn play_hashed(seed: u64) -> u64 {
    World::new(seed, Trace::Hash).run().1
}

/// Plays `seed` with a real ledger beside each node's model of one.
#[must_use]
pub fn play_on_sqlite(seed: u64) -> Tally {
    let mut world = World::new(seed, Trace::Off);
    world.nodes.iter_mut().for_each(|node| node.disk.shadow());
    world.run().0
}

/// Plays `seed` with every Input and Effect on stderr.
#[must_use]
pub fn play_aloud(seed: u64) -> Tally {
    World::new(seed, Trace::Print).run().0
}

impl World {
    /// The world of `seed`, before its first event.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut dice = Dice::new(seed);
        let mut beside = Dice::new(seed ^ SALT);
        let mut plan = Plan::drawn(&mut dice, &mut beside);
        crate::scenario::peers::add(seed, &mut plan);
        plan.draw_partials(seed);
        crate::scenario::clocks::add(seed, &mut plan);
        crate::scenario::verbs::add(seed, &mut plan);
        crate::scenario::poison::add(seed, &mut plan);
        crate::scenario::limits::add(seed, &mut plan);
        crate::scenario::routes::add(seed, &mut plan);
        crate::scenario::reads::add(seed, &mut plan);
        crate::scenario::reload::add(seed, &mut plan);
        crate::scenario::spools::add(seed, &mut plan);
        crate::scenario::ingest::add(seed, &mut plan);
        if trace == Trace::Print {
            say(&format!("seed {seed}: {plan:#?}"));
        }
        let nodes: Vec<Node> = (0..plan.nodes)
            .map(|n| Node::new(n, &plan, &mut dice))
            .collect();
        let mut world = Self {
            now: SECOND,
            oracle: Oracle::new(&plan),
            plan,
            dice,
            beside,
            reads: Dice::new(seed ^ crate::scenario::reads::READS),
            nodes,
            wire: Wire::default(),
            tally: Tally::default(),
            calm: false,
            queue: BTreeMap::new(),
            drawn: 0,
            trace,
            hash: DefaultHasher::new(),
        };
        for (at, act) in world.plan.acts.clone() {
            world.at(SECOND + at, Event::Act(act));
        }
        for n in 0..world.plan.nodes {
            let late = world.dice.between(0, 2 * SECOND);
            world.after(late, Event::Start(n));
            world.after(late + SECOND, Event::Consume(n));
        }
        for (at, n) in world.plan.drops.clone() {
            world.at(SECOND + at, Event::Dropped(n));
        }
        world.at(SECOND + world.plan.storm, Event::Calm);
        world
    }

    /// `event` will happen at `when`, after all that were set for then before.
    pub fn at(&mut self, when: u64, event: Event) {
        self.drawn += 1;
        self.queue.insert((when.max(self.now), self.drawn), event);
    }

    /// `event` will happen `wait` microseconds from here.
    pub fn after(&mut self, wait: u64, event: Event) {
        self.at(self.now + wait, event);
    }

    fn run(mut self) -> (Tally, u64) {
        let (mut events, mut patience) = (0, u64::MAX);
        while let Some(((when, _), event)) = self.queue.pop_first() {
            self.now = when;
            events += 1;
            assert!(
                events < MOST_EVENTS,
                "[step] {events} events: something goes in circles"
            );
            if matches!(event, Event::Calm) {
                patience = self.calm_down();
            } else if matches!(event, Event::Look) {
                let Some(missing) = self.unrest() else { break };
                assert!(self.now <= patience, "[rest] no progress: {missing}");
                self.verbs_calm();
                let patient = if self.plan.limiting.on { 60 } else { 1 };
                self.after(patient * SECOND, Event::Look);
            } else {
                self.happen(event);
            }
        }
        self.oracle.judge_rest(&self.nodes, &self.plan);
        self.tally.merge(&self.oracle.tally);
        self.tally.add("events", events);
        self.tally.add("virtual seconds", self.now / SECOND);
        (self.tally, self.hash.finish())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hear(n, run, input) => {
                if self.nodes[n].is_run(run) {
                    self.hear(n, *input);
                }
            }
            Event::Read(n, run, effect) => {
                if self.nodes[n].is_run(run) {
                    self.read(n, *effect);
                }
            }
            Event::Wire(link, side, message) => self.deliver(link, side, *message),
            Event::Dialled(n, run, peer) => self.dialled(n, run, peer),
            Event::Commit(n, run) => {
                if self.nodes[n].is_run(run) {
                    self.commit(n);
                }
            }
            Event::Wake(n, run, turn) => {
                if self.nodes[n].is_run(run) && self.nodes[n].turn == turn {
                    self.wake(n);
                }
            }
            Event::Report(link, side) => self.report(link, side),
            Event::Act(act) => self.act(act),
            Event::Synced(n, run, no, bytes) => {
                if self.nodes[n].is_run(run) {
                    self.synced(n, no, bytes);
                }
            }
            Event::Pace(n, run, link, side, sent) => {
                if self.nodes[n].is_run(run) {
                    self.pace(n, link, side, sent);
                }
            }
            Event::FileFails(n, run, link, side, sent) => {
                if self.nodes[n].is_run(run) {
                    self.file_fails(n, link, side, sent);
                }
            }
            Event::Mend(n) => self.mend(n),
            Event::Kill(n, run) => {
                if self.nodes[n].is_run(run) {
                    self.end_drain(n);
                }
            }
            Event::Panic(n, run) => {
                if self.nodes[n].is_run(run) {
                    self.die_of_panic(n);
                }
            }
            Event::Start(n) => self.start(n),
            Event::Dropped(n) => self.dropped(n),
            Event::Spool(n, run) => {
                if self.nodes[n].is_run(run) {
                    self.spool(n);
                }
            }
            Event::Swept(n, run, gone) => {
                if self.nodes[n].is_run(run) {
                    self.swept(n, &gone);
                }
            }
            Event::Consume(n) => self.consume(n),
            Event::Restore(n) => self.restore(n),
            Event::Lift(n) => self.lift_windows(n),
            Event::Calm | Event::Look => {}
        }
    }

    fn wake(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.turn += 1;
        node.wakes = if node.woken == self.now {
            node.wakes + 1
        } else {
            0
        };
        node.woken = self.now;
        let why = node.scheduler.as_ref().and_then(|s| s.deadline());
        assert!(
            node.wakes < MOST_WAKES,
            "[step] n{n} asks to be woken at once, again and again: {why:?}"
        );
        self.hear(n, Input::Wake);
    }

    /// Node `n` hears `input`, and everything it asks for is begun.
    pub fn hear(&mut self, n: usize, input: Input) {
        self.show(n, "←", &input);
        self.oracle.heard(n, &input, &self.nodes, self.now);
        let now = self.nodes[n].clock(self.now);
        let Some(scheduler) = &mut self.nodes[n].scheduler else {
            return;
        };
        scheduler.handle(now, input);
        self.drain(n);
    }

    /// Takes what `n` asks for, checks it, begins it, and notes the deadline.
    fn drain(&mut self, n: usize) {
        let Some(scheduler) = &mut self.nodes[n].scheduler else {
            return;
        };
        let effects: Vec<Effect> = std::iter::from_fn(|| scheduler.poll()).collect();
        scheduler.check();
        for effect in effects {
            self.show(n, "→", &effect);
            self.oracle.asked(n, &effect, &self.nodes, self.now);
            self.perform(n, effect);
        }
        self.oracle.stepped(n, &self.nodes);
        self.begin_commit(n);
        self.arm(n);
    }

    /// Sets the alarm of `n` to its deadline.
    pub fn arm(&mut self, n: usize) {
        let Some(scheduler) = &self.nodes[n].scheduler else {
            return;
        };
        let deadline = scheduler.deadline();
        if deadline != self.nodes[n].deadline {
            self.nodes[n].deadline = deadline;
            self.nodes[n].turn += 1;
        }
        if let Some(deadline) = deadline {
            let (run, turn) = (self.nodes[n].run, self.nodes[n].turn);
            if self.nodes[n].armed != turn {
                self.nodes[n].armed = turn;
                // A woken thread is never early and often a little late.
                let late = if self.dice.chance(250) {
                    self.dice.between(0, 2_000)
                } else {
                    0
                };
                let when = self.nodes[n].world_time(deadline.at) + late;
                self.at(when, Event::Wake(n, run, turn));
            }
        }
    }

    fn show<T: std::fmt::Debug>(&mut self, n: usize, arrow: &str, what: &T) {
        match self.trace {
            Trace::Off => {}
            Trace::Hash => format!("{} n{n} {arrow} {what:?}", self.now).hash(&mut self.hash),
            Trace::Print => {
                let at = Duration::from_micros(self.now);
                say(&format!("{:>12.6} n{n} {arrow} {what:?}", at.as_secs_f64()));
            }
        }
    }

    /// A line of the trace about the world itself.
    pub fn note(&self, what: &str) {
        if self.trace == Trace::Print {
            let at = Duration::from_micros(self.now);
            say(&format!("{:>12.6}    ‖ {what}", at.as_secs_f64()));
        }
    }

    /// What is not at rest yet, in words; `None` when all is.
    fn unrest(&self) -> Option<String> {
        // On links that are not kept, receipts may wait for the next use of one.
        let kept = self.plan.lets_go.is_empty();
        let busy = self.nodes.iter().position(|node| node.is_unsettled(kept));
        let ordered = (0..self.nodes.len()).find(|n| self.oracle.has_open_order(*n));
        busy.or(ordered)
            .map(|n| format!("n{n} {}", self.nodes[n].unsettled_words()))
    }
}
