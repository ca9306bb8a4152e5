//! Routes over several nodes, driven by hand: schedulers that hear each other at
//! once, with disks that are always quick.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the little world answers what it must and passes over the rest"
)]

mod ground;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ground::{SPACE, settings};
use relay_core::aim::{Success, To};
use relay_core::change::{Book, Change, Due, OwedRow, PagedRow, Part, Sent, Snapshot};
use relay_core::delivery::State;
use relay_core::event::{
    Ack, Arrival, Effect, Greeting, Heading, Input, Known, Put, Refusal, Shape,
};
use relay_core::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, PutId, SegmentId,
    StagedId,
};
use relay_core::route::{Route, Routing, Whom};
use relay_core::scheduler::{Scheduler, Settings};
use relay_core::segment::{Digest, PackInfo, Topic};
use relay_core::time::{Mono, Now, Unix};

const NOW: Now = Now {
    mono: Mono(1_000_000),
    unix: Unix(1_000_000),
    wall: Unix(1_000_000),
};

/// Members of a pack: ids and topics.
type Content = Vec<(SegmentId, Option<Topic>)>;

struct Node {
    name: NodeId,
    scheduler: Scheduler,
    staged: BTreeMap<StagedId, Content>,
    packs: BTreeMap<PackNo, (PackInfo, Content)>,
    known: BTreeMap<(NodeNo, SegmentId), Digest>,
    owed: BTreeMap<Due, OwedRow>,
    nodes: BTreeMap<NodeNo, NodeId>,
    lanes: BTreeMap<LaneNo, LaneName>,
    books: BTreeMap<Book, i64>,
    refused: Vec<Refusal>,
}

/// Nodes `a`, `b`, … that have links as given.
struct World {
    nodes: Vec<Node>,
    queue: VecDeque<(usize, Input)>,
    staged: u64,
    arrivals: usize,
}

fn name(n: usize) -> NodeId {
    let letter = char::from(b'a' + n as u8);
    format!("node-{letter}").parse().expect("a node id")
}

fn link(from: usize, to: usize) -> LinkId {
    LinkId((from * 16 + to) as u64 + 1)
}

fn route(topic: Option<&str>, peers: &[usize]) -> Route {
    Route {
        name: format!("to-{peers:?}"),
        topic: topic.map(|text| text.parse().expect("a pattern")),
        lane: None,
        origin: None,
        peers: peers.iter().map(|n| name(*n)).collect(),
        success: Success::AllPeers,
        local: false,
    }
}

fn shape(content: &Content) -> Shape {
    let ids: Vec<u8> = content.iter().flat_map(|(id, _)| id.0).collect();
    Shape {
        count: content.len() as u32,
        bytes: 100 * content.len() as u64,
        table_len: 56 * content.len() as u32,
        table: Digest::of(&ids),
        first: content.first().map_or(SegmentId([0; 16]), |(id, _)| *id),
        last: content.last().map_or(SegmentId([0; 16]), |(id, _)| *id),
    }
}

fn digest(id: SegmentId) -> Digest {
    Digest::of(&id.0)
}

impl World {
    /// Nodes with these routes, every pair of `links` joined; each may forward for all.
    fn new(routes: Vec<Vec<Route>>, links: &[(usize, usize)]) -> Self {
        let forward: Vec<Whom> = vec![Whom::Any];
        Self::with(routes, links, &forward)
    }

    fn with(routes: Vec<Vec<Route>>, links: &[(usize, usize)], forward: &[Whom]) -> Self {
        let mut nodes = Vec::new();
        for (n, routes) in routes.into_iter().enumerate() {
            let peers = links.iter().filter_map(|(a, b)| match n {
                n if n == *a => Some(*b),
                n if n == *b => Some(*a),
                _ => None,
            });
            nodes.push(node(n, routes, &peers.collect::<Vec<_>>(), forward));
        }
        let mut world = Self {
            nodes,
            queue: VecDeque::new(),
            staged: 0,
            arrivals: 0,
        };
        for (a, b) in links {
            for (from, to) in [(*a, *b), (*b, *a)] {
                let greeting = Greeting {
                    ledger: LedgerId(to as u64 + 1),
                    epoch: BootEpoch(1),
                    dialled: from == *a,
                    max_segment: 1 << 32,
                };
                world.hear(
                    from,
                    Input::LinkUp {
                        peer: name(to),
                        link: link(from, to),
                        greeting,
                    },
                );
            }
        }
        world.run();
        world
    }

    fn hear(&mut self, n: usize, input: Input) {
        self.queue.push_back((n, input));
    }

    fn run(&mut self) {
        for _ in 0..10_000 {
            let Some((n, input)) = self.queue.pop_front() else {
                return;
            };
            let node = &mut self.nodes[n];
            node.scheduler.handle(NOW, input);
            node.scheduler.check();
            let effects: Vec<Effect> = std::iter::from_fn(|| node.scheduler.poll()).collect();
            for effect in effects {
                self.perform(n, effect);
            }
        }
        panic!("something goes in circles");
    }

    fn perform(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::Persist(ticket, changes) => {
                for change in changes {
                    self.nodes[n].apply(change);
                }
                self.hear(n, Input::Persisted(ticket, SPACE));
            }
            Effect::Refuse(_, why) => self.nodes[n].refused.push(why),
            Effect::LookUp {
                question,
                origin,
                ids,
            } => {
                let known = &self.nodes[n].known;
                let known = ids.iter().map(|(id, _)| match known.get(&(origin, *id)) {
                    Some(_) => Known::Same,
                    None => Known::No,
                });
                let known = known.collect();
                self.hear(n, Input::LookedUp { question, known });
            }
            Effect::Divide {
                question,
                staged,
                parts,
                ..
            } => {
                let whole = self.nodes[n].staged[&staged].clone();
                let parts = parts.iter().map(|keep| {
                    let content: Content =
                        keep.iter().map(|m| whole[*m as usize].clone()).collect();
                    let shape = shape(&content);
                    self.staged += 1;
                    let id = StagedId(1_000 + self.staged);
                    self.nodes[n].staged.insert(id, content);
                    (id, shape)
                });
                let parts = parts.collect();
                self.hear(n, Input::Divided { question, parts });
            }
            Effect::Group(pack) => {
                let node = &self.nodes[n];
                let rows = node.owed.values().filter(|row| row.due.pack == pack);
                let rows = rows.filter(|row| row.place.is_some()).map(|row| PagedRow {
                    row: row.clone(),
                    info: node.packs[&pack].0.clone(),
                    except: Vec::new(),
                    met: false,
                });
                let rows = rows.collect();
                self.hear(n, Input::Grouped { pack, rows });
            }
            Effect::Send {
                link: on,
                parcel,
                last: true,
                bytes,
                ..
            } => {
                let (due, to) = (parcel.due, (on.0 as usize - 1) % 16);
                self.hear(
                    n,
                    Input::Taken {
                        link: on,
                        due,
                        bytes,
                    },
                );
                self.deliver(n, to, due, &parcel.info);
            }
            Effect::Ack {
                link: on,
                receipt,
                sent,
                table,
                count,
                refused,
            } => {
                let to = (on.0 as usize - 1) % 16;
                let ack = Ack {
                    receipt,
                    pack: sent.pack,
                    part: sent.part,
                    table,
                    count,
                    refused,
                };
                let link = link(to, n);
                self.hear(to, Input::Acked { link, ack });
            }
            Effect::Settle { link: on, receipt } => {
                let to = (on.0 as usize - 1) % 16;
                let link = link(to, n);
                self.hear(to, Input::PeerSettled { link, receipt });
            }
            Effect::Verify(due) => {
                let lengths = vec![100; self.nodes[n].packs[&due.pack].1.len()];
                let bad = Vec::new();
                self.hear(n, Input::Verified { due, bad, lengths });
            }
            _ => {}
        }
    }

    fn deliver(&mut self, from: usize, to: usize, due: Due, info: &PackInfo) {
        self.arrivals += 1;
        self.staged += 1;
        let staged = StagedId(1_000 + self.staged);
        let sender = &self.nodes[from];
        let content = sender.packs[&due.pack].1.clone();
        let origin = (info.origin != NodeNo::LOCAL).then(|| sender.nodes[&info.origin].clone());
        let shape = shape(&content);
        let arrival = Arrival {
            heading: Heading {
                sent: Sent {
                    ledger: LedgerId(from as u64 + 1),
                    pack: due.pack,
                    part: due.part,
                },
                lane: sender.lanes[&info.lane].clone(),
                origin,
                sequence: info.sequence,
                hops: info.hops + 1,
                ttl: None,
            },
            staged,
            shape,
            table: shape.table,
            ids: content.iter().map(|(id, _)| (*id, digest(*id))).collect(),
            indexes: None,
            refused: Vec::new(),
            topics: content.iter().map(|(_, topic)| topic.clone()).collect(),
        };
        self.nodes[to].staged.insert(staged, content);
        self.hear(
            to,
            Input::Arrived {
                link: link(to, from),
                arrival: Box::new(arrival),
            },
        );
    }

    /// Node `n` puts segments of these topics, in one pack, by its routes.
    fn put(&mut self, n: usize, topics: &[&str], to: To) -> Vec<SegmentId> {
        self.staged += 1;
        let (id, staged) = (self.staged, StagedId(self.staged));
        let first = SegmentId::v7(id, 0);
        let member = |(m, topic): (usize, &&str)| {
            let topic = topic.parse().expect("a topic");
            (first.after(m as u64), Some(topic))
        };
        let content: Content = topics.iter().enumerate().map(member).collect();
        let topic = content.first().and_then(|(_, topic)| topic.clone());
        let put = Put {
            put: PutId(id),
            staged,
            shape: shape(&content),
            lane: "default".parse().expect("a lane"),
            to: Arc::new(To { topic, ..to }),
            ttl: None,
            key: None,
            spooled: None,
        };
        let ids = content.iter().map(|(id, _)| *id).collect();
        self.nodes[n].staged.insert(staged, content);
        self.hear(n, Input::Put(put));
        self.run();
        ids
    }

    /// How often each segment lies in the inbox of `n`.
    fn inbox(&self, n: usize) -> BTreeMap<SegmentId, usize> {
        let node = &self.nodes[n];
        let mut inbox = BTreeMap::new();
        for due in node.owed.keys().filter(|due| due.peer == NodeNo::LOCAL) {
            for (id, _) in &node.packs[&due.pack].1 {
                *inbox.entry(*id).or_default() += 1;
            }
        }
        inbox
    }

    fn all_acked(&self) -> bool {
        let rows = self.nodes.iter().flat_map(|node| node.owed.values());
        let mut onward = rows.filter(|row| row.due.peer != NodeNo::LOCAL);
        onward.all(|row| row.state == State::Acked)
    }
}

impl Node {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Node(no, name) => drop(self.nodes.insert(no, name)),
            Change::Lane(no, name) => drop(self.lanes.insert(no, name)),
            Change::Pack { no, staged, info } => {
                let content = self.staged.remove(&staged).expect("staged bytes");
                for (id, _) in &content {
                    let twice = self.known.insert((info.origin, *id), digest(*id));
                    assert!(twice.is_none(), "{} stores {id} twice", self.name);
                }
                self.packs.insert(no, (info, content));
            }
            Change::Owed(row) => drop(self.owed.insert(row.due, row)),
            Change::Gone(due) => drop(self.owed.remove(&due)),
            Change::Book { entry, by, .. } => *self.books.entry(entry).or_default() += by,
            _ => {}
        }
    }
}

fn node(n: usize, routes: Vec<Route>, peers: &[usize], forward: &[Whom]) -> Node {
    let peers = peers.iter().map(|peer| name(*peer));
    let settings = Settings {
        routing: Routing {
            routes,
            forward_for: BTreeMap::new(),
            forward_for_others: forward.to_vec(),
        },
        ..settings(name(n), peers, false)
    };
    let snapshot = Snapshot {
        ledger: LedgerId(n as u64 + 1),
        epoch: BootEpoch(1),
        nodes: vec![(NodeNo::LOCAL, name(n))],
        ..Snapshot::default()
    };
    Node {
        name: name(n),
        scheduler: Scheduler::new(settings, snapshot, 1, NOW),
        staged: BTreeMap::new(),
        packs: BTreeMap::new(),
        known: BTreeMap::new(),
        owed: BTreeMap::new(),
        nodes: BTreeMap::from([(NodeNo::LOCAL, name(n))]),
        lanes: BTreeMap::new(),
        books: BTreeMap::new(),
        refused: Vec::new(),
    }
}

#[test]
fn a_chain_hands_segments_on_and_keeps_none() {
    let to_c = vec![route(None, &[2])];
    let mut world = World::new(
        vec![vec![route(None, &[1])], to_c, vec![]],
        &[(0, 1), (1, 2)],
    );

    let ids = world.put(0, &["x", "y", "z"], To::default());

    assert_eq!(world.inbox(2).keys().copied().collect::<Vec<_>>(), ids);
    assert!(world.inbox(1).is_empty() && world.inbox(0).is_empty());
    assert!(world.all_acked());
    let at_b = &world.nodes[1];
    assert_eq!(
        at_b.books[&Book::Put],
        3,
        "forwarded deliveries are put here"
    );
    let (info, _) = world.nodes[2].packs.values().next().expect("a pack");
    assert_eq!(
        world.nodes[2].nodes[&info.origin],
        name(0),
        "its origin is kept"
    );
    assert_eq!(info.hops, 2);
}

#[test]
fn a_diamond_delivers_once() {
    let both = vec![route(None, &[1, 2])];
    let to_d = || vec![route(None, &[3])];
    let links = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)];
    let mut world = World::new(vec![both, to_d(), to_d(), vec![]], &links);

    let mut ids = world.put(0, &["x", "y"], To::default());
    // And straight there, whose number alone would say that it is new.
    ids.extend(world.put(0, &["z"], To::peers(vec![name(3), name(1)])));

    let inbox = world.inbox(3);
    assert_eq!(inbox.len(), ids.len());
    assert!(inbox.values().all(|times| *times == 1));
    assert!(world.all_acked());
}

#[test]
fn a_ring_ends_where_it_began() {
    let next = |n: usize| vec![route(None, &[(n + 1) % 4])];
    let links = [(0, 1), (1, 2), (2, 3), (3, 0)];
    let mut world = World::new((0..4).map(next).collect(), &links);

    let ids = world.put(0, &["x"], To::default());

    assert!(world.all_acked());
    assert!(world.arrivals <= 4);
    // The next hop of the last node is the origin: it ends in that node's inbox.
    assert_eq!(world.inbox(3).keys().copied().collect::<Vec<_>>(), ids);
}

#[test]
fn members_of_one_pack_go_different_ways() {
    let mut split = vec![route(Some("alarm/**"), &[2]), route(Some("meter/*"), &[3])];
    split[1].local = true;
    let routes = vec![vec![], split, vec![], vec![]];
    let mut world = World::new(routes, &[(0, 1), (1, 2), (1, 3)]);

    let topics = ["alarm/x", "meter/1", "alarm", "other"];
    let ids = world.put(0, &topics, To::peers(vec![name(1)]));

    let inbox = |n| world.inbox(n).keys().copied().collect::<Vec<_>>();
    assert_eq!(inbox(2), [ids[0], ids[2]]);
    assert_eq!(inbox(3), [ids[1]]);
    assert_eq!(inbox(1), [ids[1], ids[3]], "local, and what no route takes");
    assert!(world.all_acked());
}

#[test]
fn one_of_two_next_hops_is_enough_if_the_route_says_so() {
    let mut one = route(None, &[2, 3]);
    one.success = Success::OnePeer;
    let routes = vec![vec![], vec![one], vec![], vec![]];
    let mut world = World::new(routes, &[(0, 1), (1, 2), (1, 3)]);

    world.put(0, &["x", "y"], To::peers(vec![name(1)]));

    assert_eq!((world.inbox(2).len(), world.inbox(3).len()), (2, 0));
    let books = &world.nodes[1].books;
    assert_eq!((books[&Book::Acked], books[&Book::NotNeeded]), (2, 2));
}

#[test]
fn who_may_not_forward_is_refused_for_good() {
    let routes = vec![vec![], vec![route(None, &[2])], vec![]];
    let mut world = World::with(routes, &[(0, 1), (1, 2)], &[]);

    world.put(0, &["x"], To::peers(vec![name(1)]));

    assert!(world.inbox(2).is_empty());
    let parked = |row: &&OwedRow| matches!(row.state, State::Deadletter { .. });
    assert_eq!(world.nodes[1].owed.values().filter(parked).count(), 1);
}

#[test]
fn the_ninth_relay_is_one_too_many() {
    let next = |n: usize| {
        if n < 9 {
            vec![route(None, &[n + 1])]
        } else {
            vec![]
        }
    };
    let links: Vec<(usize, usize)> = (0..9).map(|n| (n, n + 1)).collect();
    let mut world = World::new((0..10).map(next).collect(), &links);

    world.put(0, &["x"], To::default());

    assert!(world.inbox(9).is_empty());
    let parked = |row: &&OwedRow| matches!(row.state, State::Deadletter { .. });
    assert_eq!(world.nodes[8].owed.values().filter(parked).count(), 1);
}

#[test]
fn a_put_that_no_route_takes_is_refused() {
    let mut world = World::new(vec![vec![route(Some("alarm/**"), &[1])], vec![]], &[(0, 1)]);
    let by_name = |text: &str| To {
        route: Some(text.into()),
        ..To::default()
    };

    world.put(0, &["meter/1"], To::default());
    world.put(0, &["meter/1"], by_name("nowhere"));
    let ids = world.put(0, &["meter/1"], by_name("to-[1]"));

    let why = &world.nodes[0].refused;
    assert!(matches!(why[0], Refusal::NoRoute { .. }), "{why:?}");
    assert!(
        matches!(&why[1], Refusal::UnknownRoute(name) if name == "nowhere"),
        "{why:?}"
    );
    assert_eq!(world.inbox(1).keys().copied().collect::<Vec<_>>(), ids);
}

#[test]
fn rows_of_one_member_are_what_a_condition_needs() {
    let mut one = route(None, &[1, 2]);
    one.success = Success::OnePeer;
    let mut world = World::new(vec![vec![one], vec![], vec![]], &[(0, 1), (0, 2)]);

    world.put(0, &["x", "y", "z"], To::default());

    let placed = |row: &&OwedRow| row.place.is_some() && row.due.part == Part::Rest;
    assert_eq!(world.nodes[0].owed.values().filter(placed).count(), 3);
    assert_eq!((world.inbox(1).len(), world.inbox(2).len()), (3, 0));
}
