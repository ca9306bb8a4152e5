//! Work read back from the ledger: pages of what waits, single rows asked about.
//!
//! Memory holds a bounded part of what waits; the rest is counted. A row is
//! taken up from one place only: while it is fetched by name, a page passes it
//! over, so that no older sight of it is acted on.

use super::Scheduler;
use crate::change::{Due, PagedRow};
use crate::delivery::{State, StateName};
use crate::event::{Ack, Effect};
use crate::id::{LaneNo, NodeNo};
use crate::peer::{Parcel, Phase};
use crate::time::{Mono, Now, Unix};

/// Why a row is fetched.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// An ack of it was heard.
    Ack(Ack),
    /// An operator wants it back at work.
    Retry,
    /// An operator wants it gone.
    Purge,
}

impl Scheduler {
    /// Asks for more of what waits in the lanes of `no`, where memory runs low.
    pub(super) fn page_more(&mut self, no: NodeNo) {
        let limits = &self.settings.limits;
        let peer = self
            .peers
            .get_mut(&no)
            .expect("a numbered peer is in the table");
        if peer.link.up().is_none() || peer.resting.len() >= limits.resting {
            return;
        }
        for (lane_no, lane) in &mut peer.lanes {
            let low = lane.loaded() <= limits.active - limits.page.min(limits.active);
            if lane.unloaded == 0 || lane.paging.is_some() || !low {
                continue;
            }
            lane.paging = Some(lane.unloaded);
            self.effects.push_back(Effect::Page {
                peer: no,
                lane: *lane_no,
                after: lane.cursor,
                limit: limits.page,
            });
        }
    }

    pub(super) fn on_paged(&mut self, now: Now, no: NodeNo, lane_no: LaneNo, rows: Vec<PagedRow>) {
        self.dirty.insert(no);
        self.take_page(now, no, lane_no, rows);
        self.forget_settled(no, lane_no);
    }

    /// Forgets what was settled and durable while a page was under way: the
    /// page may have been read before, and show it as it was.
    pub(super) fn forget_settled(&mut self, no: NodeNo, lane_no: LaneNo) {
        let Some(lane) = self
            .peers
            .get_mut(&no)
            .and_then(|p| p.lanes.get_mut(&lane_no))
        else {
            return;
        };
        for key in std::mem::take(&mut lane.lingering) {
            // It may have been put back to work meanwhile.
            let phase = self.peers[&no].parcels.get(&key).map(|p| &p.phase);
            if matches!(phase, Some(Phase::Settling(ticket)) if *ticket <= self.durable) {
                self.forget(no, key);
            }
        }
    }

    fn take_page(&mut self, now: Now, no: NodeNo, lane_no: LaneNo, rows: Vec<PagedRow>) {
        let Some(peer) = self.peers.get_mut(&no) else {
            return;
        };
        let Some(lane) = peer.lanes.get_mut(&lane_no) else {
            return;
        };
        let asked = lane.paging.take().unwrap_or(0);
        if rows.is_empty() {
            if lane.cursor.take().is_none() {
                // Counted at start, and unreadable: quarantined rows.
                lane.unloaded = lane.unloaded.saturating_sub(asked);
            }
            return;
        }
        for paged in rows {
            let due = paged.row.due;
            let key = (due.pack, due.part);
            let lane = self
                .peers
                .get_mut(&no)
                .and_then(|p| p.lanes.get_mut(&lane_no));
            let lane = lane.expect("the lane was just there");
            if lane.storing.contains(&due.pack) {
                // Durable, but we have not been told yet.
                return;
            }
            lane.cursor = Some(key);
            let known = self.peers[&no].parcels.contains_key(&key) || self.asks.contains_key(&due);
            if !known {
                self.load(now, paged);
            }
        }
    }

    /// Takes up a waiting row that was in the ledger alone.
    fn load(&mut self, now: Now, paged: PagedRow) {
        let no = paged.row.due.peer;
        let lane_no = paged.row.lane;
        let rule = self.lane_rule(lane_no);
        let longest = self.settings.retry.longest;
        let peer = self.peer_entry(no, now);
        let lane = peer.lane(lane_no, rule, now.mono);
        lane.unloaded = lane.unloaded.saturating_sub(1);
        let parcel = Parcel::new(paged.row, paged.info, paged.except.into(), Phase::Ready);
        let key = parcel.key();
        let state = parcel.row.state;
        peer.parcels.insert(key, parcel);
        match state {
            State::Failed { until } => {
                let until = now.mono + left(until, now.unix).min(longest);
                self.rest(no, key, until);
            }
            State::Scheduled => self.peer_mut(no).make_ready(key),
            State::Inflight | State::Acked | State::Deadletter { .. } => {
                panic!("only waiting rows are paged in")
            }
        }
        self.dirty.insert(no);
    }

    fn rest(&mut self, no: NodeNo, key: crate::queue::Key, until: Mono) {
        let peer = self.peer_mut(no);
        peer.parcels
            .get_mut(&key)
            .expect("a resting parcel is in memory")
            .phase = Phase::Resting(until);
        peer.resting.insert((until, key));
    }

    /// Fetches `due` by name, for `ask`.
    pub(super) fn ask(&mut self, due: Due, ask: Ask) {
        let late = self.asks.len();
        let asks = self.asks.entry(due).or_default();
        if asks.is_empty() {
            if late >= self.settings.limits.late_acks {
                self.asks.remove(&due);
                // A peer has at most so many acks open: stored and not settled,
                // being stored, wanted. One that says more is not heard, and
                // repeats them after a reconnect.
                let limits = &self.settings.limits;
                let each = limits.unsettled + (limits.arrivals + limits.large) as u64;
                let most = each.saturating_mul(self.peers.len() as u64);
                if (self.overdue.len() as u64) < most {
                    self.overdue.push_back((due, ask));
                }
                return;
            }
            self.effects.push_back(Effect::Fetch(due));
        }
        asks.push(ask);
    }

    pub(super) fn on_fetched(&mut self, now: Now, due: Due, row: Option<PagedRow>) {
        let Some(asks) = self.asks.remove(&due) else {
            return;
        };
        let key = (due.pack, due.part);
        let known = self
            .peers
            .get(&due.peer)
            .is_some_and(|p| p.parcels.contains_key(&key));
        let waits = |row: &PagedRow| {
            matches!(
                row.row.state.name(),
                StateName::Scheduled | StateName::Failed
            )
        };
        let mut parked = row.filter(|_| !known);
        if let Some(row) = parked.take_if(|row| waits(row)) {
            self.load(now, row);
        }
        for ask in asks {
            let known = self
                .peers
                .get(&due.peer)
                .is_some_and(|p| p.parcels.contains_key(&key));
            let take = |parked: &mut Option<PagedRow>| {
                let dead = |r: &PagedRow| r.row.state.name() == StateName::Deadletter;
                parked.take_if(|row| !known && dead(row)).map(|row| {
                    let settling = Phase::Settling(self.durable);
                    Parcel::new(row.row, row.info, row.except.into(), settling)
                })
            };
            match ask {
                Ask::Ack(ack) if known => self.judge_ack(now, due.peer, ack),
                Ask::Ack(ack) => self.nothing_to_settle(due.peer, &ack),
                Ask::Retry => {
                    if let Some(parcel) = take(&mut parked) {
                        self.retry(now, parcel);
                    }
                }
                Ask::Purge => {
                    if let Some(parcel) = take(&mut parked) {
                        self.purge(now, parcel);
                    }
                }
            }
        }
        let peer = self.peers.get(&due.peer);
        if let Some(lane) = peer.and_then(|p| p.parcels.get(&key)).map(|p| p.row.lane) {
            self.forget_settled(due.peer, lane);
        }
        while let Some((due, ask)) = self.overdue.pop_front() {
            self.ask(due, ask);
            if self.asks.len() >= self.settings.limits.late_acks {
                break;
            }
        }
    }

    /// An ack of something that is settled, parked or gone: it is true already.
    fn nothing_to_settle(&mut self, no: NodeNo, ack: &Ack) {
        let durable = self.durable;
        if let Some(peer) = self.peers.get_mut(&no) {
            peer.line.settle(ack.receipt, durable);
        }
    }
}

/// How long until `until`, as the wall clock sees it.
pub(super) const fn left(until: Unix, now: Unix) -> std::time::Duration {
    std::time::Duration::from_millis(until.0.saturating_sub(now.0))
}
