//! From the core's types to the words of the socket, by exhaustive match: a new state of
//! the core fails to compile here until someone decides how to show it.
//!
//! A [`Painter`] holds one look at the node and the names behind its numbers; nothing
//! here asks anyone anything.

mod keeping;
mod setup;
mod words;

use std::collections::{BTreeMap, HashMap};

use edged_rpc::{
    AttemptView, BandwidthView, ByState, DeliveryDetail, DeliveryView, Digest, Id, InboxView,
    Moment, PeerStateView, PeerView, SegmentDetail, SegmentView, StatusView,
};
use relay_core::change::{AttemptRow, OwedRow};
use relay_core::delivery::{Attempt, Outcome, State, StateName};
use relay_core::event;
use relay_core::id::{LaneNo, NodeId, NodeNo};
use relay_core::ledger::{InboxItem, InboxState, Inspection};
use relay_core::scheduler::{PausePicture, PeerPicture, Picture};
use relay_core::segment::Topic;
use relay_core::time::{Now, Unix};
use relay_core::why::Reason;

use crate::desk::Desk;
use crate::transport::Source as _;

pub(super) use words::{age, core_state, durability, in_inbox, moment};
use words::{lease, link_state, outcome, state, success_condition};

/// Seconds the oldest waits, per peer with something waiting.
pub(super) type Oldest = BTreeMap<NodeId, u64>;

/// One look at the node.
pub(crate) struct Painter<'a> {
    desk: &'a Desk,
    node: &'a Picture,
    now: Now,
    peers: HashMap<&'a str, &'a PeerPicture>,
}

impl<'a> Painter<'a> {
    /// Shows things as they stood at `now`.
    pub(crate) fn new(desk: &'a Desk, node: &'a Picture, now: Now) -> Self {
        let peers = node.peers.iter().map(|peer| (peer.name.as_str(), peer));
        Self {
            desk,
            node,
            now,
            peers: peers.collect(),
        }
    }

    /// A moment of the age clock as the wall clock says it today.
    fn moment(&self, at: Unix) -> Moment {
        moment(self.now, at)
    }

    /// A peer by name; the inbox is one, too (semantics 1).
    fn peer_name(&self, no: NodeNo) -> String {
        if no == NodeNo::LOCAL {
            return "local".to_owned();
        }
        self.node_name(no)
    }

    fn node_name(&self, no: NodeNo) -> String {
        let name = self.desk.payloads.node(no);
        name.map_or_else(|| format!("node {no}"), |name| name.as_str().to_owned())
    }

    fn lane_name(&self, no: LaneNo) -> String {
        let name = self.desk.payloads.lane(no);
        name.map_or_else(|| format!("lane {no}"), |name| name.as_str().to_owned())
    }

    /// A segment and where its deliveries stand.
    pub(super) fn segment(&self, item: &InboxItem, rows: &[OwedRow]) -> SegmentView {
        let peers = rows.iter().map(|row| PeerStateView {
            peer_id: self.peer_name(row.due.peer),
            state: state(row.state.name()),
        });
        SegmentView {
            segment_id: Id(item.id.0),
            origin: self.node_name(item.origin),
            lane: self.lane_name(item.lane),
            topic: topic(item),
            labels: item.meta.labels.iter().cloned().collect(),
            len: item.length,
            digest: Digest(item.digest.0),
            queued_at: self.moment(item.received),
            expires_at: item.expires.map(|at| self.moment(at)),
            // A row goes no later than its bytes.
            payload_kept: true,
            success_condition: success_condition(rows),
            peers: peers.collect(),
        }
    }

    /// A segment, all that happened to it, and what each of its deliveries waits on.
    pub(super) fn detail(&self, found: &Inspection, waits: &[Vec<Reason>]) -> SegmentDetail {
        let rows: Vec<OwedRow> = found
            .deliveries
            .iter()
            .map(|(row, _)| row.clone())
            .collect();
        let deliveries = found
            .deliveries
            .iter()
            .zip(waits)
            .map(|((row, history), waits)| DeliveryDetail {
                delivery: self.delivery(&found.segment, row, waits),
                attempts: attempts(self.now, &found.segment, row, history),
            });
        SegmentDetail {
            segment: self.segment(&found.segment, &rows),
            deliveries: deliveries.collect(),
        }
    }

    /// One (segment, peer) pair, and what it waits on. It does not move before the
    /// latest moment that is known.
    pub(super) fn delivery(
        &self,
        item: &InboxItem,
        row: &OwedRow,
        waits: &[Reason],
    ) -> DeliveryView {
        let waiting_until = waits.iter().filter_map(|reason| reason.until).max();
        let cause = match row.state {
            State::Deadletter { cause } => Some(cause.as_str().to_owned()),
            State::Scheduled | State::Inflight | State::Failed { .. } | State::Acked => None,
        };
        DeliveryView {
            segment_id: Id(item.id.0),
            peer_id: self.peer_name(row.due.peer),
            origin: self.node_name(item.origin),
            lane: self.lane_name(row.lane),
            topic: topic(item),
            state: state(row.state.name()),
            cause,
            waiting_on: waits.iter().map(|on| on.on.as_str().to_owned()).collect(),
            waiting_until: waiting_until.map(|at| Moment(at.0)),
            attempt_count: row.spent,
            len: item.length,
            first_queued: self.moment(row.queued),
            last_updated: self.moment(row.updated),
            rescued: row.rescued,
        }
    }

    /// What names a delivery to people: peer, lane, state.
    pub(super) fn place(&self, row: &OwedRow, at: StateName) -> (String, String, edged_rpc::State) {
        (
            self.peer_name(row.due.peer),
            self.lane_name(row.lane),
            state(at),
        )
    }

    /// One arrival.
    pub(crate) fn inbox(&self, item: &InboxItem) -> InboxView {
        let (state, leased_until) = lease(item.state, self.now);
        let origin = self.node_name(item.origin);
        InboxView {
            segment_id: Id(item.id.0),
            via: self.node_name(item.via),
            origin,
            lane: self.lane_name(item.lane),
            lane_sequence: item.sequence.0,
            topic: topic(item),
            labels: item.meta.labels.iter().cloned().collect(),
            len: item.length,
            digest: Digest(item.digest.0),
            received_at: self.moment(item.received),
            state,
            leased_until,
            takes: u32::from(matches!(item.state, InboxState::Leased { .. })),
        }
    }

    /// Each peer, by id.
    pub(super) fn peers(&self, oldest: &Oldest) -> Vec<PeerView> {
        let mut views: Vec<PeerView> = self
            .node
            .peers
            .iter()
            .map(|peer| self.peer(peer, oldest))
            .collect();
        views.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
        views
    }

    fn peer(&self, peer: &PeerPicture, oldest: &Oldest) -> PeerView {
        let stats = peer.link.and_then(|link| self.desk.transport.stats(link));
        let address = match &stats {
            Some(stats) => Some(stats.address.to_string()),
            None => self.configured_address(&peer.name),
        };
        let depths = by_state([peer], |depth| depth.count);
        PeerView {
            peer_id: peer.name.as_str().to_owned(),
            state: link_state(peer.link_state, self.node.draining),
            address,
            rtt_ms: stats.map(|stats| stats.rtt.as_secs_f64() * 1e3),
            waiting: depths.scheduled + depths.failed,
            inflight: depths.inflight,
            acked: depths.acked,
            deadletter: depths.deadletter,
            oldest_age_seconds: oldest.get(&peer.name).copied(),
            last_error: peer.last_error.clone(),
            waiting_on: peer
                .waiting_on
                .iter()
                .map(|on| on.as_str().to_owned())
                .collect(),
        }
    }

    fn configured_address(&self, name: &NodeId) -> Option<String> {
        let peer = self.configured(name)?;
        peer.addresses.first().map(ToString::to_string)
    }

    /// The relay at one moment; counts run since `started`.
    pub(super) fn status(&self, oldest: &Oldest, started: Unix) -> StatusView {
        let (config, node) = (&self.desk.config, self.node);
        let band = &node.bandwidth;
        let whole = |pause: &PausePicture| pause.scope == event::Scope::default();
        StatusView {
            enabled: config.relay.enabled,
            node: node.node.as_str().to_owned(),
            boot_epoch: node.epoch.0,
            workers: config.relay.workers,
            success_condition: config.relay.success_condition.to_string(),
            durability: durability(config.storage.durability),
            queue_depth: by_state(&node.peers, |depth| depth.count),
            queue_bytes: by_state(&node.peers, |depth| depth.bytes),
            oldest_age_seconds: oldest.values().copied().max(),
            rescued_at_start: node.rescued,
            bandwidth: BandwidthView {
                since: Some(self.moment(band.since.unwrap_or(started))),
                ..self.bandwidth(band)
            },
            peers: self.peers(oldest),
            paused: node.pauses.iter().any(whole),
            pauses: self.pauses(),
            storage: self.storage(),
            queried_at: Moment(self.now.wall.0),
        }
    }
}

fn topic(item: &InboxItem) -> Option<String> {
    item.meta
        .topic
        .as_ref()
        .map(|topic: &Topic| topic.as_str().to_owned())
}

fn by_state<'a>(
    peers: impl IntoIterator<Item = &'a PeerPicture>,
    number: impl Fn(&relay_core::change::Depth) -> u64,
) -> ByState {
    let mut sum = ByState::default();
    for (_, name, depth) in peers.into_iter().flat_map(|peer| &peer.depths) {
        add(&mut sum, *name, number(depth));
    }
    sum
}

fn add(sum: &mut ByState, name: StateName, number: u64) {
    let column = match state(name) {
        edged_rpc::State::Scheduled => &mut sum.scheduled,
        edged_rpc::State::Inflight => &mut sum.inflight,
        edged_rpc::State::Failed => &mut sum.failed,
        edged_rpc::State::Acked => &mut sum.acked,
        edged_rpc::State::Deadletter => &mut sum.deadletter,
    };
    *column += number;
    sum.total += number;
}

/// The history, and the latest attempt where it stands in the row alone: while it is
/// open, and when it ended `ACKED`.
fn attempts(now: Now, item: &InboxItem, row: &OwedRow, history: &[AttemptRow]) -> Vec<AttemptView> {
    let mut views: Vec<AttemptView> = history
        .iter()
        .map(|kept| attempt(now, &kept.attempt, kept.sent, kept.error.clone()))
        .collect();
    if let Some(latest) = &row.attempt {
        let sent = match latest.ended {
            Some((_, Outcome::Acked)) => item.length,
            Some(_) | None => 0,
        };
        let told = views.iter().any(|view| view.number == latest.number);
        if !told {
            views.push(attempt(now, latest, sent, None));
        }
    }
    // What was parked between two attempts says why with the last of them.
    let parked = matches!(row.state, State::Deadletter { .. });
    if let Some(last) = views.last_mut().filter(|_| parked) {
        last.error = last.error.take().or_else(|| row.error.clone());
    }
    views
}

fn attempt(now: Now, attempt: &Attempt, sent: u64, error: Option<String>) -> AttemptView {
    AttemptView {
        number: attempt.number,
        boot_epoch: attempt.epoch.0,
        started_at: moment(now, attempt.started),
        completed_at: attempt.ended.map(|(at, _)| moment(now, at)),
        outcome: attempt.ended.map(|(_, ended)| outcome(ended)),
        error,
        bytes_sent: sent,
    }
}
