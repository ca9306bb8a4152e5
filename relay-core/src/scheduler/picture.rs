//! Where the scheduler stands, for `relay status` and metrics: plain data, taken
//! at one moment.

use super::pausing::PausePicture;
use super::{BandwidthPicture, Gate, LanePicture, Scheduler};
use crate::change::Depth;
use crate::delivery::{StateName, WaitingOn};
use crate::event::{BusyWhy, Space};
use crate::id::{BootEpoch, LaneName, LedgerId, LinkId, NodeId};
use crate::peer::Peer;
use crate::time::{Mono, Now, Unix};

/// The whole node at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    /// This node.
    pub node: NodeId,
    /// This ledger.
    pub ledger: LedgerId,
    /// This run.
    pub epoch: BootEpoch,
    /// Deliveries found with an open attempt at start.
    pub rescued: u64,
    /// Whether the daemon is going down.
    pub draining: bool,
    /// Rate and quota of the node.
    pub bandwidth: BandwidthPicture,
    /// Every lane of the config, most urgent first.
    pub lanes: Vec<LanePicture>,
    /// How full the node is.
    pub space: Space,
    /// What operators have paused.
    pub pauses: Vec<PausePicture>,
    /// How full the deadletter is.
    pub deadletter: DeadletterPicture,
    /// Every peer with a place in the config or with work.
    pub peers: Vec<PeerPicture>,
}

/// The deadletter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadletterPicture {
    /// What it holds, each delivery counted with its length.
    pub bytes: u64,
    /// What it may hold.
    pub ceiling: u64,
    /// Rows that are stuck before it: their budget is spent, and nothing is tried.
    pub stuck: u64,
}

impl DeadletterPicture {
    /// Whether someone should look: four fifths of it are taken.
    #[must_use]
    pub const fn is_alarming(&self) -> bool {
        self.stuck > 0 || self.bytes >= self.ceiling / 5 * 4
    }
}

/// One peer at one moment.
#[derive(Clone, Debug)]
pub struct PeerPicture {
    /// Its name.
    pub name: NodeId,
    /// Whether it is in the config.
    pub configured: bool,
    /// `down`, `dialing`, `up`; under a pause `draining`, then `paused`;
    /// `untrusted` while two machines are heard under its name.
    pub link_state: &'static str,
    /// The connection, while it is up.
    pub link: Option<LinkId>,
    /// When it is dialled next, if it is down.
    pub redial: Option<Mono>,
    /// Why the last link ended or dial failed.
    pub last_error: Option<String>,
    /// It asked to be left alone, until then.
    pub busy: Option<(Mono, BusyWhy)>,
    /// What stands where, by lane and state.
    pub depths: Vec<(LaneName, StateName, Depth)>,
    /// What its waiting deliveries wait on, if any wait.
    pub waiting_on: Option<WaitingOn>,
    /// Packs of it that it has not settled.
    pub unsettled: u64,
    /// Its rate and quota.
    pub bandwidth: BandwidthPicture,
    /// Whether one of its contact windows is open, and until when that is so by
    /// the wall clock; `None` without windows.
    pub window: Option<(bool, Option<Unix>)>,
}

impl Scheduler {
    /// The node as it stands.
    #[must_use]
    pub fn picture(&self, now: Now) -> Picture {
        Picture {
            node: self.settings.node.clone(),
            ledger: self.ledger,
            epoch: self.epoch,
            rescued: self.rescued,
            draining: self.draining.is_some(),
            bandwidth: self.bandwidth_picture(now, None, &self.bucket),
            lanes: self.lane_pictures(now),
            space: self.space,
            pauses: self.pauses_picture(),
            deadletter: DeadletterPicture {
                bytes: self.deadletter_bytes(),
                ceiling: self.settings.limits.deadletter_bytes,
                stuck: self.stuck.rows,
            },
            peers: self
                .peers
                .values()
                .map(|peer| self.peer_picture(now, peer))
                .collect(),
        }
    }

    fn peer_picture(&self, now: Now, peer: &Peer) -> PeerPicture {
        let unnamed = || "default".parse().expect("a lane name");
        let depths = peer.depth.iter().filter(|(_, depth)| depth.count > 0);
        let depths = depths.map(|((lane, state), depth)| {
            (
                self.lanes.name(*lane).cloned().unwrap_or_else(unnamed),
                *state,
                *depth,
            )
        });
        PeerPicture {
            name: peer.name.clone(),
            configured: peer.configured,
            link_state: self.link_word(peer),
            link: peer.link.up(),
            redial: self.redial_at(peer),
            last_error: peer.last_error.clone(),
            busy: peer.busy,
            depths: depths.collect(),
            waiting_on: self.waiting_on(now, peer),
            unsettled: peer.unsettled.count(),
            bandwidth: self.bandwidth_picture(now, Some(peer.no), &peer.bucket),
            window: self.window_picture(peer.no),
        }
    }

    /// What the state of a link is called; a pause shows while it is up.
    fn link_word(&self, peer: &Peer) -> &'static str {
        if peer.runs.is_cloned() {
            return "untrusted";
        }
        let paused = peer.link.up().and_then(|_| self.pause_word(peer));
        paused.unwrap_or(peer.link.as_str())
    }

    /// What a peer's waiting deliveries wait on: the first that holds.
    fn waiting_on(&self, now: Now, peer: &Peer) -> Option<WaitingOn> {
        let in_state = |wanted: StateName| {
            peer.depth
                .iter()
                .any(|((_, state), depth)| *state == wanted && depth.count > 0)
        };
        let (scheduled, failed) = (in_state(StateName::Scheduled), in_state(StateName::Failed));
        if !scheduled && !failed {
            return None;
        }
        let mut first: Option<WaitingOn> = None;
        let mut note = |gate: Gate| first = Some(first.map_or(gate.on, |on| on.min(gate.on)));
        self.peer_gates(now, peer, &mut note);
        for (lane, _) in peer
            .lanes
            .iter()
            .filter(|(_, lane)| lane.loaded() + lane.outbox.len() > 0 || lane.unloaded > 0)
        {
            self.lane_gates(now, peer, *lane, &mut note);
        }
        let tokens = self.bucket.ready(now.mono).is_err() || peer.bucket.ready(now.mono).is_err();
        let otherwise = if !scheduled {
            WaitingOn::Backoff
        } else if tokens {
            WaitingOn::Tokens
        } else {
            WaitingOn::Turn
        };
        Some(first.unwrap_or(otherwise))
    }
}
