//! The scheduler alone: a backlog behind a stub pager, 64 peers, 8 classes, every
//! effect answered at once.
//!
//! A *decision* is one input heard, its effects drained and the deadline asked for.
//! A parcel's *whole way* is all decisions from its put to where it is settled and
//! forgotten: put, stored, paged in, marked, sent, taken, acked. Whatever is settled
//! is put anew, so that the backlog stays what it is. Only the three calls are
//! timed, and the giving back of room for changes, not the stub; allocations are
//! counted inside them. It fails if a decision allocates, takes much longer than it
//! should, or much longer with 1 M waiting than with 1 k.
//!
//! `cargo bench -p relay-benches --bench schedule`

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a stub answers the effects it is about"
)]
#![expect(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use relay_core::backoff::Backoff;
use relay_core::change::{Change, Depth, Due, OwedRow, PagedRow, Part, Snapshot};
use relay_core::delivery::{State, StateName};
use relay_core::event::{Ack, Effect, Greeting, Input, Put, Shape, Space};
use relay_core::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, PutId, ReceiptNo,
    SegmentId, Sequence, StagedId,
};
use relay_core::limits::Limits;
use relay_core::scheduler::{Bounds, PeerRule, Scheduler, Settings};
use relay_core::segment::{Class, Digest, LaneRule, PackInfo};
use relay_core::time::{Mono, Now, Unix};
use relay_core::units::Rate;

const PEERS: u32 = 64;
const LANES: u16 = 8;
const SPACE: Space = Space {
    used: 0,
    ceiling: u64::MAX,
    inbox: 0,
    inbox_ceiling: u64::MAX,
    disk_full: false,
    clear: u64::MAX,
    longest: 0,
    unit: u64::MAX,
};

/// Counts what is asked of the system's allocator while told to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ASKED.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A scheduler with a backlog, and a shell that answers everything at once.
struct World {
    scheduler: Scheduler,
    now: Now,
    members: u32,
    /// Parcels of each peer and lane at the start.
    each: u64,
    names: Vec<Arc<relay_core::aim::To>>,
    lanes: Vec<LaneName>,
    answers: VecDeque<Input>,
    /// Room of changes that are durable, on its way back.
    spent_batches: Vec<Vec<Change>>,
    /// Rows put since, that wait.
    waiting: BTreeMap<(NodeNo, LaneNo), BTreeSet<PackNo>>,
    settled: u64,
    receipt: u64,
    put: u64,
    decisions: u64,
    spent: Duration,
}

impl World {
    fn new(backlog: u64, members: u32) -> Self {
        let now = Now {
            mono: Mono(1_000_000),
            unix: Unix(1_700_000_000_000),
            wall: Unix(1_700_000_000_000),
        };
        let each = backlog.div_ceil(u64::from(PEERS) * u64::from(LANES));
        let mut scheduler = Scheduler::new(settings(), snapshot(each, members), 1, now);
        let greeting = |peer: u32| Greeting {
            ledger: LedgerId(u64::from(peer)),
            epoch: BootEpoch(1),
            dialled: true,
            max_segment: 1 << 32,
        };
        while scheduler.poll().is_some() {}
        let mut world = Self {
            scheduler,
            now,
            members,
            each,
            names: (0..=PEERS)
                .map(|peer| Arc::new(relay_core::aim::To::peers([name(peer.max(1))])))
                .collect(),
            lanes: (0..LANES).map(lane_name).collect(),
            answers: VecDeque::new(),
            spent_batches: Vec::new(),
            waiting: BTreeMap::new(),
            settled: 0,
            receipt: 0,
            put: 0,
            decisions: 0,
            spent: Duration::ZERO,
        };
        for peer in 1..=PEERS {
            let link = LinkId(u64::from(peer));
            world.answers.push_back(Input::LinkUp {
                peer: name(peer),
                link,
                greeting: greeting(peer),
            });
        }
        world
    }

    /// Runs until `wanted` more parcels are settled.
    fn run(&mut self, wanted: u64) {
        let goal = self.settled + wanted;
        let mut effects = Vec::new();
        while self.settled < goal {
            let input = self
                .answers
                .pop_front()
                .expect("a world with a backlog does not stall");
            self.now.mono = self.now.mono + Duration::from_micros(1);
            effects.reserve(1024);
            COUNTS.store(true, Ordering::Relaxed);
            let start = Instant::now();
            while let Some(changes) = self.spent_batches.pop() {
                self.scheduler.recycle(changes);
            }
            self.scheduler.handle(self.now, input);
            while let Some(effect) = self.scheduler.poll() {
                effects.push(effect);
            }
            std::hint::black_box(self.scheduler.deadline());
            self.spent += start.elapsed();
            COUNTS.store(false, Ordering::Relaxed);
            self.decisions += 1;
            for effect in effects.drain(..) {
                self.answer(effect);
            }
        }
    }

    /// A parcel in the place of one that is settled.
    fn put(&mut self, peer: NodeNo, lane: LaneNo) {
        self.put += 1;
        let sample = row(peer, lane, self.put, self.members).info;
        self.answers.push_back(Input::Put(Put {
            put: PutId(self.put),
            staged: StagedId(self.put),
            shape: Shape {
                count: sample.count,
                bytes: sample.bytes,
                table_len: sample.table_len,
                table: sample.table,
                first: sample.first,
                last: sample.last,
            },
            lane: self.lanes[usize::from(lane.0) - 1].clone(),
            to: Arc::clone(&self.names[peer.0 as usize]),
            ttl: None,
            key: None,
            spooled: None,
        }));
    }

    fn note(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Owed(row) = change {
                let waiting = self.waiting.entry((row.due.peer, row.lane)).or_default();
                if row.state == State::Scheduled {
                    waiting.insert(row.due.pack);
                } else {
                    waiting.remove(&row.due.pack);
                }
            }
        }
    }

    fn page(&self, peer: NodeNo, lane: LaneNo, after: u64, limit: usize) -> Vec<PagedRow> {
        let all = u64::from(PEERS) * u64::from(LANES);
        let place = u64::from(peer.0 - 1) * u64::from(LANES) + u64::from(lane.0 - 1) + 1;
        let done = after.saturating_sub(place).div_ceil(all) + u64::from(after >= place);
        let done = if after > self.each * all {
            self.each
        } else {
            done.min(self.each)
        };
        let old = (done..self.each)
            .map(|n| place + n * all)
            .filter(|no| *no > after);
        let put = self.waiting.get(&(peer, lane));
        let new = put
            .into_iter()
            .flat_map(|set| set.range(PackNo(after + 1)..))
            .map(|no| no.0);
        let packs = old
            .chain(new.filter(|no| *no > self.each * all))
            .take(limit);
        packs.map(|no| row(peer, lane, no, self.members)).collect()
    }

    fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(ticket, mut changes) => {
                self.note(&changes);
                changes.clear();
                self.spent_batches.push(changes);
                self.answers.push_back(Input::Persisted(ticket, SPACE));
            }
            Effect::Page {
                peer,
                lane,
                after,
                limit,
            } => {
                let after = after.map_or(0, |(pack, _)| pack.0);
                let rows = self.page(peer, lane, after, limit);
                self.answers.push_back(Input::Paged { peer, lane, rows });
            }
            Effect::Send {
                link,
                parcel,
                bytes,
                ..
            } => {
                let due = parcel.due;
                self.receipt += 1;
                self.settled += 1;
                let ack = Ack {
                    receipt: ReceiptNo(self.receipt),
                    pack: due.pack,
                    part: due.part,
                    table: parcel.info.table,
                    count: parcel.info.count,
                    refused: Vec::new(),
                };
                self.answers.push_back(Input::Taken { link, due, bytes });
                self.answers.push_back(Input::Acked { link, ack });
                self.put(due.peer, parcel.info.lane);
            }
            other => drop(other),
        }
    }
}

fn name(peer: u32) -> NodeId {
    format!("peer-{peer}").parse().expect("a node id")
}

fn lane_name(lane: u16) -> LaneName {
    format!("lane-{lane}").parse().expect("a lane name")
}

fn settings() -> Settings {
    let second = Duration::from_secs(1);
    let rule = |n: u16| LaneRule {
        class: Class::new(n as u8).expect("8 classes"),
        weight: 1,
        budget: 8,
    };
    Settings {
        node: "alpha".parse().expect("a node id"),
        peers: (1..=PEERS)
            .map(|peer| {
                (
                    name(peer),
                    PeerRule {
                        dial: false,
                        rate: Rate::UNLIMITED,
                        lets_go: None,
                    },
                )
            })
            .collect(),
        admit_any: false,
        lanes: (0..LANES)
            .map(|n| (lane_name(n), rule(n)))
            .collect::<BTreeMap<_, _>>(),
        retry: Backoff {
            first: second,
            longest: second,
        },
        redial: Backoff {
            first: second,
            longest: second,
        },
        rate: Rate::UNLIMITED,
        bounds: Bounds::default(),
        success: relay_core::aim::Success::AllPeers,
        routing: relay_core::route::Routing::default(),
        limits: Limits::default().for_fleet(PEERS as usize, usize::from(LANES)),
    }
}

fn snapshot(each: u64, members: u32) -> Snapshot {
    let depth = Depth {
        parcels: each,
        count: each * u64::from(members),
        bytes: each * 256 * u64::from(members),
    };
    let mut nodes = vec![(NodeNo::LOCAL, "alpha".parse().expect("a node id"))];
    nodes.extend((1..=PEERS).map(|peer| (NodeNo(peer), name(peer))));
    let depths = (1..=PEERS).flat_map(|peer| {
        let one = move |lane: u16| (NodeNo(peer), LaneNo(lane + 1), StateName::Scheduled, depth);
        (0..LANES).map(one)
    });
    Snapshot {
        ledger: LedgerId(1),
        epoch: BootEpoch(2),
        nodes,
        lanes: (0..LANES).map(|n| (LaneNo(n + 1), lane_name(n))).collect(),
        depths: depths.collect(),
        last_pack: PackNo(each * u64::from(PEERS) * u64::from(LANES)),
        ..Snapshot::default()
    }
}

fn row(peer: NodeNo, lane: LaneNo, pack: u64, members: u32) -> PagedRow {
    let first = SegmentId::v7(pack, 0);
    let bytes = 256 * u64::from(members);
    PagedRow {
        row: OwedRow {
            held: false,
            standby: false,
            stuck: false,
            acked_late: false,
            evicted: false,
            expires: None,
            left: 0,
            place: None,
            due: Due {
                peer,
                pack: PackNo(pack),
                part: Part::Rest,
            },
            lane,
            count: members,
            bytes,
            state: State::Scheduled,
            spent: 0,
            attempt: None,
            rescued: false,
            queued: Unix(0),
            updated: Unix(0),
            error: None,
        },
        info: PackInfo {
            lane,
            origin: NodeNo::LOCAL,
            via: NodeNo::LOCAL,
            hops: 0,
            sequence: Sequence::of(PackNo(pack)),
            count: members,
            bytes,
            table_len: 56 * members,
            table: Digest([7; 32]),
            first,
            last: first.after(u64::from(members) - 1),
            created: Unix(0),
            expires: None,
        },
        except: Vec::new(),
        met: false,
    }
}

/// Batches measured, and parcels in each: short enough to be over, now and then,
/// before the system gives the core to somebody else.
const BATCHES: usize = 100;
const PARCELS: u64 = 2_000;
/// What waits: nothing beyond memory, what fills it, and far more.
const BACKLOGS: [u64; 4] = [1_000, 16_000, 1_000_000, 4_000_000];

fn main() {
    for (what, members) in [("single", 1u32), ("pack of 200", 200)] {
        let runs = measure(members);
        for run in &runs {
            run.print(what, members);
            // Rings and tables that have not yet been as large as they get, and the
            // rows of a page, are all that may still grow.
            assert!(run.asked < 0.05, "{what}: a decision allocates");
            // Other work may run on the machine: this floor is wide.
            assert!(run.best < 5_000.0, "{what}: a decision takes too long");
        }
        // All were measured in turns, so that a slow minute is everybody's.
        let [few, full, many, most] = runs.each_ref().map(|run| run.best);
        #[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
        {
            println!(
                "{what:<12} 1 M costs {:.2} times 1 k, {:.2} times 16 k; 4 M costs {:.2} times 1 M",
                many / few,
                many / full,
                most / many,
            );
        }
        assert!(many < few * 2.0, "{what}: cost grows with what waits");
        assert!(most < full * 1.5, "{what}: cost grows with what waits");
    }
}

/// What one backlog costs.
struct Run {
    backlog: u64,
    /// Nanoseconds a decision, in the best and in the middle batch.
    best: f64,
    middle: f64,
    /// Decisions a parcel.
    made: f64,
    /// Allocations a decision.
    asked: f64,
}

impl Run {
    fn print(&self, what: &str, members: u32) {
        let way = self.best * self.made;
        #[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
        {
            println!(
                "{what:<12} {:>8} waiting: best {:>5.0} ns, median {:>5.0} ns a decision  \
                 whole way {way:>6.0} ns, {:.1} decisions  {:>7.1} ns a segment  \
                 {:.2} allocations a decision",
                self.backlog,
                self.best,
                self.middle,
                self.made,
                way / f64::from(members),
                self.asked,
            );
        }
    }
}

/// A batch of each backlog in turn.
fn measure(members: u32) -> [Run; BACKLOGS.len()] {
    let mut worlds = BACKLOGS.map(|backlog| {
        let mut world = World::new(backlog, members);
        world.run(30_000);
        let before = (world.decisions, world.settled);
        (backlog, world, before, Vec::with_capacity(BATCHES), 0)
    });
    for _ in 0..BATCHES {
        for (_, world, _, each, asked) in &mut worlds {
            ASKED.store(0, Ordering::Relaxed);
            let (decided, spent) = (world.decisions, world.spent);
            world.run(PARCELS);
            let nanos = (world.spent - spent).as_nanos() as f64;
            each.push(nanos / (world.decisions - decided) as f64);
            *asked += ASKED.load(Ordering::Relaxed);
        }
    }
    worlds.map(|(backlog, world, before, mut each, asked)| {
        each.sort_unstable_by(f64::total_cmp);
        let made = (world.decisions - before.0) as f64;
        Run {
            backlog,
            best: each[0],
            middle: each[BATCHES / 2],
            made: made / (world.settled - before.1) as f64,
            asked: asked as f64 / made,
        }
    })
}
