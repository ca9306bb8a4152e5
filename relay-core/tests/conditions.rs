//! Success conditions of one node, driven by hand: what the simulator cannot see,
//! since in the end every peer comes back.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out the one effect it is about"
)]

mod ground;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ground::{SPACE, settings};
use relay_core::aim::{Success, To};
use relay_core::change::{Change, Due, OwedRow, PagedRow, Part, Snapshot};
use relay_core::delivery::State;
use relay_core::event::{Ack, Effect, Greeting, Input, Put, Shape};
use relay_core::id::{
    BootEpoch, LedgerId, LinkId, NodeId, NodeNo, PackNo, PutId, ReceiptNo, SegmentId, StagedId,
    Ticket,
};
use relay_core::scheduler::{Scheduler, Settings};
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::{Mono, Now, Unix};

const SECOND: Duration = Duration::from_secs(1);

/// A node `alpha` with peers `beta` and `gamma`, and a disk that is always quick.
struct Node {
    scheduler: Scheduler,
    now: Now,
    owed: BTreeMap<Due, OwedRow>,
    gone: Vec<Due>,
    packs: BTreeMap<PackNo, PackInfo>,
}

fn name(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

impl Node {
    fn new() -> Self {
        let peers = [name("beta"), name("gamma")];
        let settings = Settings {
            success: Success::OnePeer,
            ..settings(name("alpha"), peers, false)
        };
        let snapshot = Snapshot {
            ledger: LedgerId(1),
            epoch: BootEpoch(1),
            nodes: vec![(NodeNo::LOCAL, name("alpha"))],
            ..Snapshot::default()
        };
        let now = Now {
            mono: Mono(1_000_000),
            unix: Unix(1_000_000),
            wall: Unix(1_000_000),
        };
        let mut node = Self {
            scheduler: Scheduler::new(settings, snapshot, 1, now),
            now,
            owed: BTreeMap::new(),
            gone: Vec::new(),
            packs: BTreeMap::new(),
        };
        node.hear(Input::Wake);
        node
    }

    /// Hears `input` and answers whatever the disk is asked; the rest is handed back.
    fn hear(&mut self, input: Input) -> Vec<Effect> {
        self.scheduler.handle(self.now, input);
        self.scheduler.check();
        let mut others = Vec::new();
        while let Some(effect) = self.scheduler.poll() {
            match effect {
                Effect::Persist(ticket, changes) => others.extend(self.persist(ticket, changes)),
                Effect::Walk { peer, standby, .. } => {
                    let open = |row: &&OwedRow| row.due.peer == peer && row.standby == standby;
                    let packs = self.owed.values().filter(open).map(|row| row.due.pack);
                    let packs = packs.collect();
                    others.extend(self.hear(Input::Walked {
                        peer,
                        standby,
                        packs,
                        upto: None,
                    }));
                }
                Effect::Group(pack) => {
                    let rows = self.owed.values().filter(|row| row.due.pack == pack);
                    let rows = rows.map(|row| self.paged(row)).collect();
                    others.extend(self.hear(Input::Grouped { pack, rows }));
                }
                other => others.push(other),
            }
        }
        others
    }

    fn paged(&self, row: &OwedRow) -> PagedRow {
        PagedRow {
            row: row.clone(),
            info: self.packs[&row.due.pack].clone(),
            except: Vec::new(),
            met: false,
        }
    }

    fn persist(&mut self, ticket: Ticket, changes: Vec<Change>) -> Vec<Effect> {
        for change in changes {
            match change {
                Change::Owed(row) => drop(self.owed.insert(row.due, row)),
                Change::Gone(due) => {
                    self.owed.remove(&due);
                    self.gone.push(due);
                }
                Change::Pack { no, info, .. } => drop(self.packs.insert(no, info)),
                _ => {}
            }
        }
        self.hear(Input::Persisted(ticket, SPACE))
    }

    fn put(&mut self) -> Vec<Effect> {
        let first = SegmentId::v7(1, 0);
        self.hear(Input::Put(Put {
            put: PutId(1),
            staged: StagedId(1),
            shape: Shape {
                count: 1,
                bytes: 256,
                table_len: 56,
                table: Digest::of(b"table"),
                first,
                last: first,
            },
            lane: "default".parse().expect("a lane"),
            to: Arc::new(To::peers(vec![name("beta"), name("gamma")])),
            ttl: None,
            key: None,
            spooled: None,
        }))
    }

    fn link_up(&mut self, peer: &str, link: u64) -> Vec<Effect> {
        let greeting = Greeting {
            ledger: LedgerId(link),
            epoch: BootEpoch(1),
            dialled: false,
            max_segment: 1 << 32,
        };
        self.hear(Input::LinkUp {
            peer: name(peer),
            link: LinkId(link),
            greeting,
        })
    }

    fn link_down(&mut self, peer: &str, link: u64) -> Vec<Effect> {
        self.hear(Input::LinkDown {
            peer: name(peer),
            link: Some(LinkId(link)),
            why: "cut".into(),
        })
    }

    fn ack(&mut self, link: u64) -> Vec<Effect> {
        let ack = Ack {
            receipt: ReceiptNo(1),
            pack: PackNo(1),
            part: Part::Rest,
            table: Digest::of(b"table"),
            count: 1,
            refused: Vec::new(),
        };
        self.hear(Input::Acked {
            link: LinkId(link),
            ack,
        })
    }

    fn wait(&mut self, time: Duration) -> Vec<Effect> {
        self.now.mono = self.now.mono + time;
        self.now.unix = self.now.unix + time;
        self.hear(Input::Wake)
    }

    /// The row of peer number `no`, 1 for beta and 2 for gamma.
    fn row(&self, no: u32) -> Option<&OwedRow> {
        self.owed.get(&Due {
            peer: NodeNo(no),
            pack: PackNo(1),
            part: Part::Rest,
        })
    }
}

fn sends(effects: &[Effect]) -> usize {
    let sends = effects.iter().filter(|e| matches!(e, Effect::Send { .. }));
    sends.count()
}

#[test]
fn the_next_peer_is_tried_when_the_first_has_been_away_for_thirty_seconds() {
    let mut node = Node::new();
    node.link_up("gamma", 2);
    node.put();

    let early = node.wait(29 * SECOND);
    assert_eq!(sends(&early), 0);
    assert!(node.row(2).is_some_and(|row| row.standby));
    let late = node.wait(2 * SECOND);

    assert!(node.row(2).is_some_and(|row| !row.standby));
    assert_eq!(sends(&late), 1);
    node.ack(2);
    assert!(node.row(1).is_none(), "beta is not needed any more");
    assert_eq!(node.gone.len(), 1);
}

#[test]
fn a_peer_long_away_does_not_hold_up_a_new_put() {
    let mut node = Node::new();
    node.link_up("gamma", 2);
    node.wait(31 * SECOND);

    let effects = node.put();

    assert_eq!(sends(&effects), 1);
    let both = [1, 2].map(|no| node.row(no).is_some_and(|row| !row.standby));
    assert_eq!(both, [true, true]);
}

#[test]
fn what_comes_back_once_the_condition_is_met_is_not_sent_again() {
    let mut node = Node::new();
    node.wait(31 * SECOND);
    node.put();
    node.link_up("beta", 1);
    node.link_up("gamma", 2);
    let inflight = |row: &OwedRow| row.state == State::Inflight;
    assert!(node.row(1).is_some_and(inflight) && node.row(2).is_some_and(inflight));

    node.ack(2);
    assert!(node.row(1).is_some_and(inflight), "it may finish");
    node.link_down("beta", 1);

    assert!(node.row(1).is_none());
    let again = node.link_up("beta", 3);
    assert_eq!(sends(&again), 0);
}

#[test]
fn both_acks_count_if_both_were_in_flight() {
    let mut node = Node::new();
    node.wait(31 * SECOND);
    node.put();
    node.link_up("beta", 1);
    node.link_up("gamma", 2);

    node.ack(2);
    node.ack(1);

    let acked = [1, 2].map(|no| node.row(no).is_some_and(|row| row.state == State::Acked));
    assert_eq!(acked, [true, true]);
    assert_eq!(node.gone, []);
}
