//! The scheduler alone: a backlog behind a stub pager, 64 peers, 8 classes, every
//! effect answered at once. One element is one parcel from paged in to settled:
//! paged, chosen, marked, sent, taken, acked, forgotten.
//!
//! `cargo bench -p relay-benches --bench schedule`

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a stub answers the effects it is about"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_core::backoff::Backoff;
use relay_core::change::{Depth, Due, OwedRow, PagedRow, Part, Snapshot};
use relay_core::delivery::{State, StateName};
use relay_core::event::{Ack, Effect, Greeting, Input, Space};
use relay_core::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, ReceiptNo, SegmentId,
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
};

/// A scheduler with a backlog, and a shell that answers everything at once.
struct World {
    scheduler: Scheduler,
    now: Now,
    members: u32,
    answers: VecDeque<Input>,
    settled: u64,
    receipt: u64,
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
            answers: VecDeque::new(),
            settled: 0,
            receipt: 0,
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
        while self.settled < goal {
            let input = self
                .answers
                .pop_front()
                .expect("a world with a backlog does not stall");
            self.now.mono = self.now.mono + Duration::from_micros(1);
            self.scheduler.handle(self.now, input);
            while let Some(effect) = self.scheduler.poll() {
                self.answer(effect);
            }
        }
    }

    fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(ticket, _) => {
                self.answers.push_back(Input::Persisted(ticket, SPACE));
            }
            Effect::Page {
                peer,
                lane,
                after,
                limit,
            } => {
                let from = after.map_or(0, |(pack, _)| pack.0);
                let rows = (1..=limit as u64).map(|n| row(peer, lane, from + n, self.members));
                self.answers.push_back(Input::Paged {
                    peer,
                    lane,
                    rows: rows.collect(),
                });
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
        limits: Limits::default(),
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
            hops: 0,
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
    }
}

fn schedule(c: &mut Criterion) {
    for (what, members) in [("single", 1u32), ("pack-of-200", 200)] {
        let mut group = c.benchmark_group(format!("schedule/{what}"));
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(2));
        group.warm_up_time(Duration::from_millis(500));
        group.throughput(Throughput::Elements(u64::from(members)));
        for backlog in [1_000_000u64, 1_000_000_000] {
            group.bench_function(BenchmarkId::from_parameter(backlog), |b| {
                let mut world = World::new(backlog, members);
                world.run(10_000);
                b.iter_custom(|parcels| {
                    let start = Instant::now();
                    world.run(parcels);
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, schedule);
criterion_main!(benches);
