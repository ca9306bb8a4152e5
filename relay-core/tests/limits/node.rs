//! A node `alpha` with one peer `beta`, its clocks in the hand of the test, and
//! all it has asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use relay_core::aim::To;
use relay_core::audit::{AuditEvent, AuditRecord};
use relay_core::change::{Change, OwedRow, Part, Snapshot};
use relay_core::delivery::{StateName, WaitingOn};
use relay_core::event::{
    Ack, Caller, Done, Effect, Greeting, Input, Order, OrderId, OrderRefused, Put, Shape,
};
use relay_core::id::{
    BootEpoch, LedgerId, LinkId, NodeId, NodeNo, PackNo, PutId, ReceiptNo, SegmentId, StagedId,
    Ticket,
};
use relay_core::scheduler::{BandwidthPicture, LanePicture, Picture, Scheduler, Settings};
use relay_core::segment::Digest;
use relay_core::setting::{Setting, Value};
use relay_core::time::{Mono, Now, Unix};

use crate::ground::{SPACE, settings};

pub(crate) const LINK: LinkId = LinkId(7);

pub(crate) struct Node {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Now,
    pub(crate) asked: Vec<Effect>,
    settings: Settings,
    puts: u64,
    /// What earlier runs asked for.
    earlier: usize,
}

pub(crate) fn name(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

/// What `beta` says in the run `epoch`.
pub(crate) fn greeting(epoch: BootEpoch) -> Greeting {
    Greeting {
        ledger: LedgerId(2),
        epoch,
        dialled: true,
        max_segment: 1 << 32,
    }
}

impl Node {
    pub(crate) fn new(adjust: fn(&mut Settings)) -> Self {
        let mut settings = settings(name("alpha"), [name("beta")], true);
        adjust(&mut settings);
        // 2023-11-14 22:13:20 UTC.
        let now = Now {
            mono: Mono(1_000_000),
            unix: Unix(1_700_000_000_000),
            wall: Unix(1_700_000_000_000),
        };
        Self::started(settings, now, Vec::new())
    }

    fn started(settings: Settings, now: Now, asked: Vec<Effect>) -> Self {
        let mut node = Self {
            scheduler: Scheduler::new(settings.clone(), kept(&asked), 1, now),
            now,
            earlier: asked.len(),
            asked,
            settings,
            puts: 0,
        };
        node.hear(Input::Wake);
        node.persisted();
        node
    }

    /// The same node after a restart: what was asked for became durable.
    pub(crate) fn restarted(self) -> Self {
        Self::started(self.settings, self.now, self.asked)
    }

    pub(crate) fn link_up(&mut self) {
        self.hear(Input::LinkUp {
            peer: name("beta"),
            link: LINK,
            greeting: greeting(BootEpoch(1)),
        });
    }

    pub(crate) fn hear(&mut self, input: Input) -> Vec<Effect> {
        self.scheduler.handle(self.now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| self.scheduler.poll()).collect();
        self.scheduler.check();
        self.asked.extend(effects.iter().cloned());
        effects
    }

    pub(crate) fn put(&mut self, count: u32) -> Vec<Effect> {
        self.puts += 1;
        let first = SegmentId::v7(self.puts, 0);
        let put = Put {
            put: PutId(self.puts),
            staged: StagedId(self.puts),
            shape: Shape {
                count,
                bytes: 256 * u64::from(count),
                table_len: 56 * count,
                table: Digest::of(&self.puts.to_le_bytes()),
                first,
                last: first.after(u64::from(count - 1)),
            },
            lane: "default".parse().expect("a lane"),
            to: Arc::new(To::peers([name("beta")])),
            ttl: None,
            key: None,
            spooled: None,
        };
        self.hear(Input::Put(put))
    }

    pub(crate) fn persisted(&mut self) -> Vec<Effect> {
        let last = self.asked[self.earlier..]
            .iter()
            .filter_map(|effect| match effect {
                Effect::Persist(ticket, _) => Some(*ticket),
                _ => None,
            });
        let last = last.max().unwrap_or(Ticket(0));
        self.hear(Input::Persisted(last, SPACE))
    }

    /// Gives an order and answers what came of it.
    pub(crate) fn order(&mut self, order: Order) -> Result<Done, OrderRefused> {
        let id = OrderId(1);
        let caller = Caller::default();
        let mut effects = self.hear(Input::Ordered { id, caller, order });
        effects.extend(self.persisted());
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer(_, outcome) => Some(outcome),
            _ => None,
        });
        answer.expect("an order is answered once it is durable")
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.unix = self.now.unix + time;
        self.now.wall = self.now.wall + time;
    }

    /// Sleeps until the scheduler wants to be woken, if that is within `most`.
    pub(crate) fn wait_for_deadline(&mut self, most: Duration) -> bool {
        let deadline = self.scheduler.deadline();
        let wait = deadline.map(|deadline| deadline.at.since(self.now.mono));
        let Some(wait) = wait.filter(|wait| *wait <= most) else {
            return false;
        };
        self.wait(wait);
        self.hear(Input::Wake);
        true
    }

    /// Puts one pack of `count` members of 256 B, and lets all of it become
    /// durable that can; answers the bodies' bytes that went out.
    pub(crate) fn send(&mut self, count: u32) -> u64 {
        let before = self.sent();
        self.put(count);
        self.settle();
        self.sent() - before
    }

    /// Lets everything asked for become durable, until nothing more is asked for.
    pub(crate) fn settle(&mut self) {
        while self
            .persisted()
            .iter()
            .any(|effect| matches!(effect, Effect::Persist(..)))
        {}
    }

    /// The peer acks the pack with this number.
    pub(crate) fn ack(&mut self, pack: u64, count: u32) {
        self.ack_on(LINK, pack, count);
    }

    pub(crate) fn ack_on(&mut self, link: LinkId, pack: u64, count: u32) {
        let ack = Ack {
            receipt: ReceiptNo(pack),
            pack: PackNo(pack),
            part: Part::Rest,
            table: Digest::of(&pack.to_le_bytes()),
            count,
            refused: Vec::new(),
        };
        self.hear(Input::Acked { link, ack });
        self.settle();
    }

    /// The link reports bytes on the wire.
    pub(crate) fn report(&mut self, bytes: u64) {
        let peer = name("beta");
        self.hear(Input::SentOnWire { peer, bytes });
        self.settle();
    }

    /// Bytes of bodies given to the link so far.
    pub(crate) fn sent(&self) -> u64 {
        let sent = self.asked.iter().filter_map(|effect| match effect {
            Effect::Send { bytes, .. } => Some(*bytes),
            _ => None,
        });
        sent.sum()
    }

    /// The latest pack of which the last byte was given to the link; they go in order.
    pub(crate) fn packs_sent(&mut self) -> u64 {
        self.settle();
        let sent = self.asked.iter().filter_map(|effect| match effect {
            Effect::Send { parcel, last, .. } if *last => Some(parcel.due.pack.0),
            _ => None,
        });
        sent.max().unwrap_or(0)
    }

    /// How many deliveries stand in `state`.
    pub(crate) fn depth(&self, state: StateName) -> u64 {
        let picture = self.picture();
        let depths = picture.peers.iter().flat_map(|peer| peer.depths.clone());
        let depths = depths.filter(|(_, s, _)| *s == state);
        depths.map(|(_, _, depth)| depth.count).sum()
    }

    /// Every row of what is owed, as last asked to be kept.
    pub(crate) fn rows(&self) -> Vec<OwedRow> {
        let rows = self.changes().filter_map(|change| match change {
            Change::Owed(row) => Some((row.due, row.clone())),
            _ => None,
        });
        rows.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    pub(crate) fn lane(&self, name: &str) -> LanePicture {
        let mut lanes = self.picture().lanes.into_iter();
        lanes
            .find(|lane| lane.name.as_str() == name)
            .expect("the lane")
    }

    pub(crate) fn waiting_on(&self) -> Option<WaitingOn> {
        self.picture().peers[0].waiting_on
    }

    pub(crate) fn picture(&self) -> Picture {
        self.scheduler.picture(self.now)
    }

    pub(crate) fn bandwidth(&self) -> BandwidthPicture {
        self.picture().bandwidth
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        changes(&self.asked)
    }

    /// Every setting that was asked to be kept or forgotten, in order.
    pub(crate) fn settings_kept(&self) -> Vec<(Setting, Option<Value>)> {
        let sets = self.changes().filter_map(|change| match change {
            Change::Set(setting, value) => Some((*setting, *value)),
            _ => None,
        });
        sets.collect()
    }

    pub(crate) fn records(&self, event: AuditEvent) -> Vec<AuditRecord> {
        let records = self.changes().filter_map(|change| match change {
            Change::Audit(record) if record.event == event => Some(record.clone()),
            _ => None,
        });
        records.collect()
    }
}

fn changes(asked: &[Effect]) -> impl Iterator<Item = &Change> {
    let changes = asked.iter().filter_map(|effect| match effect {
        Effect::Persist(_, changes) => Some(changes),
        _ => None,
    });
    changes.flatten()
}

/// What a start reads back of what was asked for: names and settings.
fn kept(asked: &[Effect]) -> Snapshot {
    let mut nodes = BTreeMap::from([(NodeNo::LOCAL, name("alpha"))]);
    let (mut lanes, mut settings) = (BTreeMap::new(), BTreeMap::new());
    let mut meters = BTreeMap::new();
    for change in changes(asked) {
        match change {
            Change::Node(no, name) => drop(nodes.insert(*no, name.clone())),
            Change::Lane(no, name) => drop(lanes.insert(*no, name.clone())),
            Change::Set(setting, Some(value)) => drop(settings.insert(*setting, *value)),
            Change::Set(setting, None) => drop(settings.remove(setting)),
            Change::Metered(row) => drop(meters.insert((row.meter, row.minute), *row)),
            _ => {}
        }
    }
    Snapshot {
        ledger: LedgerId(1),
        epoch: BootEpoch(1),
        nodes: nodes.into_iter().collect(),
        lanes: lanes.into_iter().collect(),
        settings: settings.into_iter().collect(),
        meters: meters.into_values().collect(),
        ..Snapshot::default()
    }
}
