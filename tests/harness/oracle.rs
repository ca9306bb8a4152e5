//! Who judges: what must hold at each step, in each window, and at rest.
//!
//! The oracle hears every Input and Effect and every commit, and keeps its own
//! books from them; it never asks the scheduler. It may look at all disks at
//! once, which no node can: whether an acked segment *is* at its peer, whether a
//! receipt may be forgotten. A violation is a panic whose first word names the
//! layer: `[step]`, `[window]` or `[rest]`.

mod answers;
mod books;
mod clocks;
mod groups;
mod ingest;
mod limits;
mod moves;
mod orders;
mod partials;
mod pauses;
mod peers;
mod poison;
mod reload;
mod rest;
mod routes;
mod sequences;
mod spools;
mod truth;
mod turns;
mod unread;
mod verbs;
mod why;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use relay_core::aim::Success;
use relay_core::audit::AuditEvent;
use relay_core::change::{Change, Due, KeyName, OwedRow, Sent, Snapshot};
use relay_core::delivery::State;
use relay_core::event::{Ack, Arrival, Effect, Input, Offer, Order, OrderId, Put, Space};
use relay_core::id::{
    LaneName, LaneNo, LinkId, NodeId, NodeNo, PackNo, PutId, ReceiptNo, SegmentId, StagedId,
};
use relay_core::limits::Limits;
use relay_core::route::Routing;
use relay_core::segment::Digest;
use relay_core::units::Rate;

use self::books::{Column, Seat};
use self::limits::Leaves;
use self::windows::Window;
use crate::disk::Job;
use crate::node::Node;
use crate::scenario::{Plan, node_index};
use crate::seeds::Tally;

/// What the words before a pack count for in the rate.
const HEADER: u64 = 64;

/// What one node was seen to do.
#[derive(Debug, Default)]
struct Watch {
    /// Every row as last asked to be made durable.
    asked: BTreeMap<Due, OwedRow>,
    /// Rows of these asked to be in flight.
    flying: BTreeSet<Due>,
    /// Live links, and to which node each leads.
    up: BTreeMap<LinkId, usize>,
    /// Orders without an answer, and what each wants.
    orders: BTreeMap<OrderId, Order>,
    /// Records that answered orders laid claim to, by event.
    recorded: BTreeMap<AuditEvent, usize>,
    /// Puts without an answer.
    puts: BTreeMap<PutId, Put>,
    /// Staged bytes that became a pack.
    pack_of: BTreeMap<StagedId, PackNo>,
    /// Staged bytes that were divided.
    parts: BTreeMap<StagedId, Vec<StagedId>>,
    /// Keys under which something was accepted.
    keys: BTreeSet<KeyName>,
    peers: BTreeMap<NodeNo, usize>,
    lanes: BTreeMap<LaneNo, LaneName>,
    /// Acks heard, by what they answer.
    acks: BTreeMap<(usize, PackNo), Vec<Ack>>,
    /// Packs a peer once acked with a digest that is not theirs: what such a
    /// peer forgets of them is its own trouble.
    lied: BTreeSet<(usize, PackNo)>,
    /// What came in, by sender and name.
    arrivals: BTreeMap<(usize, Sent), Vec<Seen>>,
    /// The highest receipt each peer said it settled.
    settled: BTreeMap<usize, ReceiptNo>,
    /// How far settled was said on each link.
    said: BTreeMap<LinkId, ReceiptNo>,
    /// Until when each peer asked us to hold back.
    busy: BTreeMap<usize, u64>,
    /// What it died of.
    deaths: poison::Deaths,
    /// What operators asked of deliveries.
    verbs: verbs::Verbs,
    /// Acked rows that an operator had removed.
    purged_acked: BTreeSet<Due>,
    /// Since when each peer has no link, if the node runs.
    away: BTreeMap<usize, u64>,
    /// The last link that came up, and since when its peer had none before.
    came: Option<(LinkId, u64)>,
    /// Deliveries that went as not needed.
    spared: BTreeSet<Due>,
    /// Deliveries an operator named.
    named: BTreeSet<Due>,
    /// Committed: where each member of each pack stands, per peer.
    seats: BTreeMap<(NodeNo, PackNo), Vec<Seat>>,
    /// Committed: the books as they should be.
    columns: BTreeMap<(NodeNo, LaneNo), Column>,
    /// How far large segments were taken in, by sender and id.
    tracks: BTreeMap<(usize, SegmentId), partials::Track>,
    whole: Window,
    each: BTreeMap<usize, Window>,
    /// What its peers may send it.
    intakes: ingest::Intakes,
    /// Whether an operator ever set a rate.
    rated: bool,
    /// What waits for a turn, and who had one.
    turns: turns::Turns,
    /// Limits, and what was used of them.
    truth: truth::Truth,
    /// Pauses that were answered and hold.
    pauses: BTreeMap<pauses::Span, pauses::Pause>,
    /// Peers that were away, and what has gone to each since.
    ramps: BTreeMap<usize, peers::Ramp>,
    /// The Hellos of each peer in this run, since an operator's word.
    hellos: BTreeMap<usize, Vec<peers::Hello>>,
    /// Peers that are two machines, and which of them was heard alone since when.
    untrusted: BTreeMap<usize, peers::Hello>,
    /// When each parcel was at its peer whole, and when each peer last answered.
    delivered: BTreeMap<Due, u64>,
    /// Parcels whose last byte has left in their latest attempt.
    gone_out: BTreeSet<Due>,
    answered: BTreeMap<usize, u64>,
    /// The room on disk as the scheduler last heard of it.
    space: Option<Space>,
    /// Links we asked to end.
    closing: BTreeSet<LinkId>,
    /// Peers an operator dropped.
    dropped: BTreeSet<usize>,
    /// Drops that an earlier run left, and whether this one has gone on with each.
    left_drops: BTreeMap<NodeNo, bool>,
    /// Peers whose drop has ended, and the rows written to them since.
    ended_drops: BTreeMap<NodeNo, BTreeSet<Due>>,
    /// Whether a link went or rows became durable in this step.
    look_at_flight: bool,
    /// What its config says of lanes and failures.
    rules: reload::Rules,
    /// What could not be read.
    unread: unread::Unread,
    /// What its disk kept of its clocks.
    kept: Option<clocks::Kept>,
}

/// An arrival as seen: its table, its count, its members by index.
#[derive(Debug)]
struct Seen {
    table: Digest,
    count: u32,
    /// Who put it, if not the sender, and the relays it has passed.
    origin: Option<NodeId>,
    hops: u8,
    members: Vec<(u16, SegmentId, Digest)>,
}

/// The judge of one world.
#[derive(Debug)]
pub struct Oracle {
    /// Moves, outcomes and causes seen.
    pub tally: Tally,
    watches: Vec<Watch>,
    routing: Vec<Routing>,
    success: Success,
    limits: Limits,
    refuse_every: u64,
    /// Whether this world has quotas, windows or budgets.
    limited: bool,
    /// Files that were put.
    files: spools::Files,
    /// Where each segment stands in its lane, by the node that put it.
    places: sequences::Places,
    now: u64,
}

impl Oracle {
    /// The judge of the world of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            tally: Tally::default(),
            watches: (0..plan.nodes).map(|_| Watch::default()).collect(),
            routing: plan.routing.clone(),
            success: plan.extra.success,
            limits: plan.limits.clone(),
            refuse_every: plan.odds.refuse_every,
            limited: plan.limiting.on,
            files: spools::Files::new(),
            places: sequences::Places::new(),
            now: 0,
        }
    }

    /// Node `n` starts with what its disk kept.
    pub fn started(
        &mut self,
        n: usize,
        snapshot: &Snapshot,
        open: &[Due],
        nodes: &[Node],
        now: u64,
    ) {
        let watch = &mut self.watches[n];
        let stood: u64 = open
            .iter()
            .map(|due| u64::from(nodes[n].disk.owed[due].count))
            .sum();
        assert_eq!(
            snapshot.rescued, stood,
            "[rest] rescued is what stood open at the crash"
        );
        watch.asked = nodes[n].disk.owed.clone();
        watch.turns = turns::Turns::new(&watch.asked);
        watch.flying.clear();
        watch
            .spared
            .retain(|due| !nodes[n].disk.owed.contains_key(due));
        watch.away = (0..nodes.len()).map(|peer| (peer, now)).collect();
        watch.peers = snapshot
            .nodes
            .iter()
            .map(|(no, name)| (*no, node_index(name)))
            .collect();
        watch.lanes = snapshot.lanes.iter().cloned().collect();
        self.drops_left(n, snapshot, nodes);
        self.now = now;
        self.limits_started(n, snapshot, nodes);
        self.rules_started(n, nodes);
        self.ingest_started(n, nodes);
        let (whole, each) = self.rates_held(n);
        let watch = &mut self.watches[n];
        watch.whole = Window::new(whole, now);
        let each = each.into_iter();
        watch.each = each
            .map(|(peer, rate)| (peer, Window::new(rate, now)))
            .collect();
    }

    /// Node `n` no longer runs: its clients and links are gone.
    pub fn stopped(&mut self, n: usize) {
        self.limits_stopped(n);
        let watch = &mut self.watches[n];
        watch.up.clear();
        watch.space = None;
        watch.puts.clear();
        watch.orders.clear();
        watch.pack_of.clear();
        watch.parts.clear();
        watch.settled.clear();
        watch.busy.clear();
        watch.ramps.clear();
        watch.delivered.clear();
        watch.gone_out.clear();
        watch.answered.clear();
        watch.hellos.clear();
        watch.untrusted.clear();
        watch.closing.clear();
        watch.unread = unread::Unread::default();
        self.forget_unwritten(n);
    }

    /// A client of `n` is about to put.
    pub fn put(&mut self, n: usize, put: &Put) {
        self.watches[n].puts.insert(put.put, put.clone());
    }

    /// Staged bytes of `n` were divided into these.
    pub fn divided(&mut self, n: usize, staged: StagedId, parts: Vec<StagedId>) {
        self.watches[n].parts.insert(staged, parts);
    }

    /// An operator of `n` named this delivery.
    pub fn operated(&mut self, n: usize, due: Due) {
        self.watches[n].named.insert(due);
    }

    /// A rate is set at `n`.
    pub fn rate_set(&mut self, n: usize, peer: Option<usize>, rate: Rate, now: u64) {
        let watch = &mut self.watches[n];
        watch.rated = true;
        match peer {
            Some(peer) => {
                let unlimited = || Window::new(Rate::UNLIMITED, now);
                let window = watch.each.entry(peer).or_insert_with(unlimited);
                window.set(rate, now);
            }
            None => watch.whole.set(rate, now),
        }
    }

    /// A pack of `sender` came to `n`, `count` members with the refused ones.
    pub fn arrived(&mut self, n: usize, sender: usize, arrival: &Arrival, count: u32) {
        let all: Vec<u16> = (0..arrival.ids.len() as u16).collect();
        let indexes = arrival.indexes.as_deref().unwrap_or(&all);
        let members = indexes
            .iter()
            .zip(arrival.ids.iter())
            .map(|(i, (id, d))| (*i, *id, *d));
        let seen = Seen {
            table: arrival.table,
            count,
            origin: arrival.heading.origin.clone(),
            hops: arrival.heading.hops,
            members: members.collect(),
        };
        self.watches[n]
            .arrivals
            .entry((sender, arrival.heading.sent))
            .or_default()
            .push(seen);
    }

    /// A large segment of `sender` is offered to `n`.
    pub fn offered(&mut self, n: usize, sender: usize, offer: &Offer) {
        let (id, digest) = offer.ids[0];
        let members = vec![(0, id, digest)];
        let seen = Seen {
            table: offer.shape.table,
            count: 1,
            origin: offer.heading.origin.clone(),
            hops: offer.heading.hops,
            members,
        };
        self.watches[n]
            .arrivals
            .entry((sender, offer.heading.sent))
            .or_default()
            .push(seen);
    }

    /// Node `n` is about to hear `input`.
    pub fn heard(&mut self, n: usize, input: &Input, nodes: &[Node], now: u64) {
        self.now = now;
        self.peers_heard(n, input, nodes);
        self.turn_heard(n, input);
        self.unread_heard(n, input);
        self.ingest_heard(n, input);
        let watch = &mut self.watches[n];
        watch.look_at_flight = matches!(input, Input::LinkDown { .. } | Input::Persisted(..));
        if let Input::Persisted(_, space) | Input::PersistRefused(_, space) = input {
            watch.space = Some(*space);
        }
        if let Input::LinkUp { peer, link, .. } = input {
            watch.up.insert(*link, node_index(peer));
            watch.busy.remove(&node_index(peer));
            let away = watch.away.remove(&node_index(peer));
            watch.came = away.map(|since| (*link, since));
        }
        if let Input::LinkDown {
            link: Some(link), ..
        } = input
            && let Some(peer) = watch.up.remove(link)
            && !watch.keeps_link(peer, *link)
        {
            watch.away.entry(peer).or_insert(now);
        }
        if let Input::SentOnWire { peer, bytes } = input {
            self.wire_reported(n, node_index(peer), *bytes, nodes);
        }
        let watch = &mut self.watches[n];
        if let Input::Acked { link, ack } = input {
            let peer = watch.up[link];
            let ours = nodes[n].disk.packs.get(&ack.pack);
            if ours.is_some_and(|stored| stored.info.table != ack.table) {
                watch.lied.insert((peer, ack.pack));
            }
            watch
                .acks
                .entry((peer, ack.pack))
                .or_default()
                .push(ack.clone());
        }
        if let Input::PeerBusy {
            link, retry_after, ..
        } = input
        {
            let until = now + retry_after.as_micros() as u64;
            watch.busy.insert(watch.up[link], until);
        }
        if let Input::PeerSettled { link, receipt } = input {
            let peer = watch.up[link];
            let settled = watch.settled.entry(peer).or_default();
            *settled = (*settled).max(*receipt);
        }
    }

    /// Node `n` asks for `effect`.
    pub fn asked(&mut self, n: usize, effect: &Effect, nodes: &[Node], now: u64) {
        self.now = now;
        self.turn_asked(n, effect);
        self.unread_asked(n, effect);
        self.ingest_asked(n, effect);
        match effect {
            Effect::Persist(_, changes) => self.persist_asked(n, changes, nodes),
            Effect::Accept(put) => self.accept_asked(n, *put, nodes),
            Effect::AcceptAs(put, id, digest) => self.same_asked(n, *put, *id, *digest, nodes),
            Effect::Refuse(put, _) => self.refuse_asked(n, *put, nodes),
            Effect::Offer { link, parcel } => {
                self.bytes_asked(n, parcel.due, false);
                self.judge_busy(n, parcel.due);
                let words = HEADER + u64::from(parcel.info.table_len);
                self.send_asked(n, *link, parcel.due, words, nodes);
                self.judge_stopped(n, parcel, 0, nodes);
                self.judge_allowed(n, parcel, Leaves::Offer, nodes);
                self.judge_ramp(n, parcel.due);
            }
            Effect::Send {
                link,
                parcel,
                bytes,
                from,
                last,
                ..
            } => {
                self.bytes_asked(n, parcel.due, *last);
                let begins = *from == 0 && !parcel.info.is_large();
                let words = if begins { HEADER } else { 0 };
                if begins {
                    self.judge_busy(n, parcel.due);
                }
                self.send_asked(n, *link, parcel.due, words + *bytes, nodes);
                self.judge_stopped(n, parcel, *from, nodes);
                self.judge_allowed(n, parcel, Leaves::Bytes(*from, *bytes), nodes);
                self.judge_ramp(n, parcel.due);
            }
            Effect::Ack {
                link,
                receipt,
                sent,
                table,
                count,
                refused,
            } => {
                let ack = Ack {
                    receipt: *receipt,
                    pack: sent.pack,
                    part: sent.part,
                    table: *table,
                    count: *count,
                    refused: refused.clone(),
                };
                self.ack_asked(n, *link, *sent, &ack, nodes);
            }
            Effect::Settle { link, receipt } => self.settle_asked(n, *link, *receipt, nodes),
            Effect::Forget(no) => self.forget_asked(n, *no, nodes),
            Effect::Want { link, .. }
            | Effect::Have { link, .. }
            | Effect::Busy { link, .. }
            | Effect::Reset { link, .. } => {
                assert!(
                    self.watches[n].up.contains_key(link),
                    "[step] n{n} speaks on {link}, which is down"
                );
            }
            Effect::Close { link, why } => {
                self.watches[n].closed(*link, now);
                self.close_asked(n, *link, *why);
            }
            Effect::Shun(id) => self.shun_asked(n, *id),
            Effect::Owing { peer, .. } => self.drop_read(n, *peer),
            Effect::Admit(_)
            | Effect::Discard(_)
            | Effect::FindKey(..)
            | Effect::Page { .. }
            | Effect::Fetch(_)
            | Effect::FindExpired { .. }
            | Effect::FindStuck { .. }
            | Effect::LookUp { .. }
            | Effect::Divide { .. }
            | Effect::Group(_)
            | Effect::Walk { .. }
            | Effect::Recall { .. }
            | Effect::Dial(_)
            | Effect::Verify(_)
            | Effect::Journaled { .. }
            | Effect::Answer(..)
            | Effect::Drained => {}
        }
    }

    /// Node `n` has asked for all that one input made it ask for.
    pub fn stepped(&mut self, n: usize, nodes: &[Node]) {
        self.judge_pauses(n, nodes);
        self.judge_limits(n, nodes);
        self.judge_clones(n, nodes);
        self.judge_left_drops(n);
        self.judge_turns(n);
        self.judge_unread_step(n);
        self.judge_ingest(n);
        self.judge_why(n, nodes);
        let watch = &self.watches[n];
        if !watch.look_at_flight {
            return;
        }
        for due in &watch.flying {
            let durable = nodes[n].disk.owed.contains_key(due);
            let up = watch
                .peers
                .get(&due.peer)
                .is_some_and(|peer| watch.is_up(*peer));
            assert!(
                up || !durable,
                "[step] n{n} {due:?} is in flight to a peer without a link"
            );
        }
    }

    /// Node `n` says that it is drained.
    pub fn drained(&mut self, n: usize, nodes: &[Node]) {
        let disk = &nodes[n].disk;
        assert!(!disk.is_busy(), "[step] n{n} is drained with tickets open");
        let flying = disk
            .owed
            .values()
            .find(|row| matches!(row.state, State::Inflight));
        assert!(flying.is_none(), "[step] n{n} is drained with {flying:?}");
    }

    /// What `n` asked for in these jobs is durable.
    pub fn durable(&mut self, n: usize, jobs: &[Job], nodes: &[Node]) {
        self.enter(n, jobs.iter().flat_map(|job| &job.changes), nodes);
        for (at, job) in jobs.iter().enumerate() {
            self.partials_durable(n, &job.changes, nodes);
            self.spools_durable(n, job);
            self.drops_durable(n, &jobs[at..], nodes);
        }
    }

    /// What `n` asked for in this job found no room: as if never asked.
    pub fn refused(&mut self, n: usize, job: &Job) {
        let watch = &mut self.watches[n];
        for change in &job.changes {
            if let Change::Pack { no, .. } = change {
                watch.asked.retain(|due, _| due.pack != *no);
                watch.flying.retain(|due| due.pack != *no);
            }
        }
    }

    /// All is at rest: do the books add up, is every segment where it should be?
    pub fn judge_rest(&self, nodes: &[Node], plan: &Plan) {
        rest::judge(self, nodes, plan);
    }

    fn refuses(&self, node: usize, id: SegmentId) -> bool {
        crate::scenario::refuses(self.refuse_every, node, id)
    }
}

impl Watch {
    /// Whether an operator named this row, or a member that is the last of it.
    fn is_named(&self, due: Due) -> bool {
        let of_pack = |named: &&Due| (named.peer, named.pack) == (due.peer, due.pack);
        self.named.contains(&due) || self.named.iter().any(|named| of_pack(&named))
    }

    fn is_up(&self, peer: usize) -> bool {
        self.up.values().any(|up| *up == peer)
    }
}
