//! What waits beyond the bounds leaves memory, and comes back in its turn.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out the one effect it is about"
)]

mod ground;

use std::collections::BTreeMap;
use std::sync::Arc;

use ground::{SPACE, settings};
use relay_core::aim::To;
use relay_core::change::{Change, OwedRow, PagedRow, Part, Snapshot};
use relay_core::delivery::StateName;
use relay_core::event::{Ack, Effect, Greeting, Input, Put, Shape};
use relay_core::id::{
    BootEpoch, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, PutId, ReceiptNo, SegmentId,
    StagedId, Ticket,
};
use relay_core::limits::Limits;
use relay_core::scheduler::Scheduler;
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::{Mono, Now, Unix};

/// A node with one peer, whose disk keeps rows and answers pages when told to.
struct Node {
    scheduler: Scheduler,
    now: Now,
    links: u64,
    rows: BTreeMap<(PackNo, Part), (OwedRow, PackInfo)>,
    infos: BTreeMap<PackNo, PackInfo>,
    last: Ticket,
    sent: Vec<u64>,
    pages: Vec<Option<(PackNo, Part)>>,
}

impl Node {
    /// Four may wait in a lane, one fresh beside them; three fly; pages are of two.
    fn new() -> Self {
        let limits = Limits {
            active: 4,
            page: 2,
            window_parcels: 3,
            ..Limits::default()
        };
        let settings = relay_core::scheduler::Settings {
            limits,
            ..settings(name("alpha"), [name("beta")], true)
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
            links: 0,
            rows: BTreeMap::new(),
            infos: BTreeMap::new(),
            last: Ticket(0),
            sent: Vec::new(),
            pages: Vec::new(),
        };
        node.hear(Input::Wake);
        node
    }

    /// Hears `input`, then that all it asked for is durable.
    fn hear(&mut self, input: Input) {
        self.scheduler.handle(self.now, input);
        while self.take_effects() {
            let durable = Input::Persisted(self.last, SPACE);
            self.scheduler.handle(self.now, durable);
        }
    }

    /// `true`: something is to be made durable.
    fn take_effects(&mut self) -> bool {
        let mut any = false;
        while let Some(effect) = self.scheduler.poll() {
            match effect {
                Effect::Persist(ticket, changes) => {
                    (any, self.last) = (true, ticket);
                    changes.into_iter().for_each(|change| self.keep(change));
                }
                Effect::Send { parcel, .. } => self.sent.push(parcel.due.pack.0),
                Effect::Page { after, .. } => self.pages.push(after),
                _ => {}
            }
        }
        self.scheduler.check();
        any
    }

    fn keep(&mut self, change: Change) {
        match change {
            Change::Pack { no, info, .. } => drop(self.infos.insert(no, info)),
            Change::Owed(row) => {
                let info = self.infos[&row.due.pack].clone();
                self.rows.insert((row.due.pack, row.due.part), (row, info));
            }
            _ => {}
        }
    }

    fn put(&mut self, n: u64) {
        let id = SegmentId::v7(n, 0);
        self.hear(Input::Put(Put {
            put: PutId(n),
            staged: StagedId(n),
            shape: Shape {
                count: 1,
                bytes: 256,
                table_len: 56,
                table: Digest::of(&n.to_le_bytes()),
                first: id,
                last: id,
            },
            lane: "default".parse().expect("a lane"),
            to: Arc::new(To::peers(vec![name("beta")])),
            ttl: None,
            key: None,
            spooled: None,
        }));
    }

    fn link_up(&mut self) {
        self.links += 1;
        self.hear(Input::LinkUp {
            peer: name("beta"),
            link: LinkId(self.links),
            greeting: Greeting {
                ledger: LedgerId(2),
                epoch: BootEpoch(1),
                dialled: true,
                max_segment: 1 << 32,
            },
        });
    }

    fn link_down(&mut self) {
        self.hear(Input::LinkDown {
            peer: name("beta"),
            link: Some(LinkId(self.links)),
            why: "gone".to_owned(),
        });
    }

    fn acked(&mut self, n: u64) {
        let ack = Ack {
            receipt: ReceiptNo(n),
            pack: PackNo(n),
            part: Part::Rest,
            table: Digest::of(&n.to_le_bytes()),
            count: 1,
            refused: Vec::new(),
        };
        let link = LinkId(self.links);
        self.hear(Input::Acked { link, ack });
    }

    /// What a page shows now.
    fn page(&self, after: Option<(PackNo, Part)>) -> Vec<PagedRow> {
        let waits = |row: &OwedRow| row.state.name() == StateName::Scheduled;
        let rows = self
            .rows
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| **key > after));
        let rows = rows.filter(|(_, (row, _))| waits(row)).take(2);
        rows.map(|(_, (row, info))| PagedRow {
            row: row.clone(),
            info: info.clone(),
            except: Vec::new(),
            met: false,
        })
        .collect()
    }

    fn paged(&mut self, rows: Vec<PagedRow>) {
        let (peer, lane) = (NodeNo(1), LaneNo(1));
        self.hear(Input::Paged { peer, lane, rows });
    }

    /// Eight wait, four of them in memory and a fresh one; the peer has been told
    /// nothing yet.
    fn with_a_backlog() -> Self {
        let mut node = Self::new();
        (1..=8).for_each(|n| node.put(n));
        node
    }
}

fn name(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

#[test]
fn what_a_lost_link_gives_back_leaves_memory_and_the_oldest_come_first() {
    let mut node = Node::with_a_backlog();
    node.link_up();
    // The first page shows what is in memory already, the next one two of the rest.
    let first = *node.pages.last().expect("a page is asked for");
    node.paged(node.page(first));
    let second = *node.pages.last().expect("a page is asked for");
    assert!(second > first, "pages go on: {:?}", node.pages);
    node.paged(node.page(second));

    node.link_down();

    node.sent.clear();
    node.link_up();
    node.acked(1);

    let again = *node.pages.last().expect("a page is asked for");
    let seen: Vec<u64> = node
        .page(again)
        .iter()
        .map(|row| row.row.due.pack.0)
        .collect();
    assert_eq!(
        node.sent,
        [1, 2, 3],
        "the probe, then two for its ack, the oldest"
    );
    assert_eq!(seen, [5, 6], "what left memory is read first");
}

#[test]
fn a_page_read_before_something_left_memory_is_passed_over() {
    let mut node = Node::with_a_backlog();
    node.link_up();
    let asked = node.pages.clone();
    let stale = node.page(*asked.last().expect("a page is asked for"));

    // What flew comes back, and the youngest leaves memory while the page is read.
    node.link_down();
    node.paged(stale);
    node.link_up();
    node.acked(1);

    assert_eq!(node.pages.len(), asked.len() + 1, "another is asked for");
    assert_eq!(node.pages.last(), asked.last(), "from the same place");
}

#[test]
fn a_row_that_no_page_shows_is_not_asked_for_without_end() {
    let mut node = Node::with_a_backlog();
    // The eighth rots in the ledger: it is counted, and no page shows it.
    node.rows.remove(&(PackNo(8), Part::Rest));
    node.link_up();

    let mut answered = 0;
    for round in 0..4 {
        while node.pages.len() > answered {
            answered = node.pages.len();
            assert!(answered < 20, "pages go round: {:?}", node.pages);
            let after = *node.pages.last().expect("one is asked for");
            node.paged(node.page(after));
        }
        // As one is acked the next begins, until few of those in memory wait.
        node.acked(node.sent[round]);
    }

    assert_eq!(node.sent.len(), 7, "all others go: {:?}", node.sent);
}
