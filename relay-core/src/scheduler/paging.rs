//! Work read back from the ledger: pages of what waits, single rows asked about.
//!
//! Memory holds a bounded part of what waits; the rest is counted. A row is
//! taken up from one place only: while it is fetched by name, a page passes it
//! over, so that no older sight of it is acted on.

use std::collections::VecDeque;

use super::Scheduler;
use crate::change::{Due, PagedRow};
use crate::delivery::StateName;
use crate::event::{Ack, Effect, OrderId};
use crate::id::{LaneNo, NodeNo};
use crate::limits;
use crate::peer::{Parcel, Phase};
use crate::queue::Lane;
use crate::time::{Now, Unix};

/// Why a row is fetched.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// An ack of it was heard.
    Ack(Ack),
    /// The ack of its pack with this number may answer for it.
    Covered(u64),
    /// An order names it.
    Order(OrderId),
    /// Its time to live is over.
    Expired,
    /// It may be stuck before a deadletter that has room again.
    Look,
    /// A panic named it.
    Suspect,
}

impl Ask {
    /// Whether an ack of a peer asks; the others are bounded where they begin.
    const fn is_of_peers(&self) -> bool {
        match self {
            Self::Ack(_) | Self::Covered(_) => true,
            Self::Order(_) | Self::Expired | Self::Look | Self::Suspect => false,
        }
    }
}

/// What is to be fetched once fewer fetches are under way, in order.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    all: VecDeque<(Due, Ask)>,
    /// How many of them acks of peers ask for.
    acks: u64,
}

impl Overdue {
    fn push(&mut self, due: Due, ask: Ask) {
        self.acks += u64::from(ask.is_of_peers());
        self.all.push_back((due, ask));
    }

    fn pop(&mut self) -> Option<(Due, Ask)> {
        let next = self.all.pop_front()?;
        self.acks -= u64::from(next.1.is_of_peers());
        Some(next)
    }
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
        let mut lingering = std::mem::take(&mut lane.lingering);
        for key in lingering.drain(..) {
            // It may have been put back to work meanwhile.
            let parcel = self.peers[&no].parcels.get(&key);
            if parcel.is_some_and(|parcel| parcel.is_done(self.durable)) {
                self.forget(no, key);
            }
        }
        // The room is used again; what is looked at by name lingers on.
        let lane = self.lane_mut(no, lane_no);
        lingering.append(&mut lane.lingering);
        lane.lingering = lingering;
    }

    fn take_page(&mut self, now: Now, no: NodeNo, lane_no: LaneNo, rows: Vec<PagedRow>) {
        let Some(peer) = self.peers.get_mut(&no) else {
            return;
        };
        let Some(lane) = peer.lanes.get_mut(&lane_no) else {
            return;
        };
        let asked = lane.paging.take().unwrap_or(0);
        if std::mem::take(&mut lane.page_is_stale) {
            return;
        }
        if rows.is_empty() {
            let brought = std::mem::take(&mut lane.brought);
            if lane.cursor.take().is_none() || !brought {
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
            let here = self.peers[&no].parcels.contains_key(&key);
            self.lane_mut(no, lane_no).brought |= !here;
            if !here && !self.asks.contains_key(&due) {
                self.load(now, paged);
            }
        }
    }

    fn lane_mut(&mut self, no: NodeNo, lane: LaneNo) -> &mut Lane {
        let lane = self.peer_mut(no).lanes.get_mut(&lane);
        lane.expect("the lane of a page is there")
    }

    /// Takes up a waiting row that was in the ledger alone.
    fn load(&mut self, now: Now, paged: PagedRow) {
        if paged.met {
            return self.spare_paged(now, paged);
        }
        let no = paged.row.due.peer;
        let lane_no = paged.row.lane;
        let rule = self.lane_rule(lane_no);
        let settled = Phase::Settling(self.durable);
        let peer = self.peer_entry(no, now);
        let lane = peer.lane(lane_no, rule, now.mono);
        // Shelved rows are in no page and were not counted.
        let paged_in = u64::from(!paged.row.is_shelved());
        lane.unloaded = lane.unloaded.saturating_sub(paged_in);
        let parcel = Parcel::new(
            paged.row,
            paged.info,
            crate::peer::exceptions(paged.except),
            settled,
        );
        let key = parcel.key();
        peer.parcels.insert(key, parcel);
        self.wait_again(now, no, key);
    }

    /// Fetches `due` by name, for `ask`.
    pub(super) fn ask(&mut self, due: Due, ask: Ask) {
        self.try_ask(due, ask);
    }

    /// Fetches `due` by name, for `ask`; `false` if there are too many to remember.
    pub(super) fn try_ask(&mut self, due: Due, ask: Ask) -> bool {
        let late = self.asks.len();
        let asks = self.asks.entry(due).or_default();
        if asks.is_empty() {
            if late >= self.settings.limits.late_acks {
                self.asks.remove(&due);
                return self.ask_later(due, ask);
            }
            asks.push(ask);
            self.fetch(due);
            return true;
        }
        if ask.is_of_peers() && asks.len() >= limits::ACKS_OF_ONE {
            return false;
        }
        asks.push(ask);
        true
    }

    /// Remembers to ask; `false` if there is too much to remember.
    pub(super) fn ask_later(&mut self, due: Due, ask: Ask) -> bool {
        // A peer has at most so many acks open: stored and not settled, being stored,
        // wanted. One that says more is not heard, and repeats them after a reconnect.
        // Orders have a bound of their own. What we ask for ourselves takes no room
        // from them.
        let room = !ask.is_of_peers() || self.overdue.acks < self.most_overdue();
        if room {
            self.overdue.push(due, ask);
        }
        room
    }

    fn most_overdue(&self) -> u64 {
        let limits = &self.settings.limits;
        let each = limits.unsettled + (limits.arrivals + limits.large) as u64;
        each.saturating_mul(self.peers.len() as u64)
    }

    /// Asks for what was to be asked for later, as far as there is room.
    pub(super) fn ask_overdue(&mut self) {
        while self.asks.len() < self.settings.limits.late_acks {
            let Some((due, ask)) = self.overdue.pop() else {
                break;
            };
            self.ask(due, ask);
        }
    }

    pub(super) fn on_fetched(&mut self, now: Now, due: Due, row: Option<PagedRow>, except: &[u16]) {
        let Some(asks) = self.asks.remove(&due) else {
            return;
        };
        let key = (due.pack, due.part);
        let here = |node: &Self| {
            let peer = node.peers.get(&due.peer);
            peer.is_some_and(|peer| peer.parcels.contains_key(&key))
        };
        if let Some(row) = row.filter(|_| !here(self)) {
            self.take_up_fetched(now, row);
        }
        for ask in asks {
            match ask {
                Ask::Ack(ack) if here(self) => self.judge_ack(now, due.peer, ack),
                Ask::Ack(ack) => self.nothing_to_settle(now, due.peer, ack, except),
                Ask::Covered(name) => self.on_covered(now, due, name),
                Ask::Order(id) => self.on_order_read(now, id, due, here(self)),
                Ask::Expired => self.on_expired_read(now),
                Ask::Look => self.let_in(now, due.peer, key),
                Ask::Suspect => self.on_sought(due),
            }
        }
        self.idle.push((due.peer, key));
        self.ask_overdue();
    }

    /// Takes a row into memory that was read by name, whatever its state.
    fn take_up_fetched(&mut self, now: Now, paged: PagedRow) {
        let (no, lane, state) = (paged.row.due.peer, paged.row.lane, paged.row.state.name());
        match state {
            StateName::Scheduled | StateName::Failed => self.load(now, paged),
            StateName::Acked | StateName::Deadletter => {
                let rule = self.lane_rule(lane);
                let settled = Phase::Settling(self.durable);
                let peer = self.peer_entry(no, now);
                peer.lane(lane, rule, now.mono);
                let mut parcel = Parcel::new(
                    paged.row,
                    paged.info,
                    crate::peer::exceptions(paged.except),
                    settled,
                );
                // Put back to work it would not be needed.
                parcel.needless = paged.met;
                peer.parcels.insert(parcel.key(), parcel);
            }
            StateName::Inflight => panic!("what is in flight is in memory"),
        }
    }

    /// Asserts that no more rows are asked for than may be.
    ///
    /// # Panics
    /// If more are.
    pub(super) fn check_asks(&self) {
        let (found, most) = (self.asks.len(), self.settings.limits.late_acks);
        assert!(found <= most, "{found} rows are fetched, at most {most}");
        // Orders, and what we ask for ourselves: expiry, room in the deadletter, poison.
        let most = limits::ACKS_OF_ONE + self.settings.limits.orders + 3;
        let longest = self.asks.values().map(Vec::len).max().unwrap_or(0);
        assert!(longest <= most, "{longest} ask for one row, at most {most}");
        let (found, most) = (self.overdue.acks, self.most_overdue());
        assert!(
            found <= most,
            "{found} acks wait to be asked for, at most {most}"
        );
    }

    /// An ack of something that is gone: it may still mean members that left it.
    fn nothing_to_settle(&mut self, now: Now, no: NodeNo, ack: Ack, except: &[u16]) {
        if self.peers.contains_key(&no) {
            self.cover(now, no, ack, (except, 0), self.durable);
        }
    }
}

/// How long until `until`, as the wall clock sees it.
pub(super) const fn left(until: Unix, now: Unix) -> std::time::Duration {
    std::time::Duration::from_millis(until.0.saturating_sub(now.0))
}
