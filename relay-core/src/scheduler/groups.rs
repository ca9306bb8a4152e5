//! Success conditions at work: who stands by is woken, who is not needed goes.
//!
//! The rows of one segment lie with several peers, most of them in the ledger alone.
//! Whenever one of them is acked or parked, all are read back and
//! [`crate::success`] decides; rows in memory override what was read, and stay in
//! memory while the answer is under way. When a peer has been away too long, what is
//! active there and has others standing by is looked through, page by page. At start
//! what stands by is looked through once, for a crash may have come between an ack
//! and what follows from it. What was in flight when the condition was met may
//! finish; if it comes back instead, it goes.

use std::collections::{BTreeSet, VecDeque};

use super::{Pending, Scheduler};
use crate::change::{Book, Change, Due, OwedRow, PagedRow};
use crate::delivery::{Move, State, StateName};
use crate::event::Effect;
use crate::id::{NodeNo, PackNo, Ticket};
use crate::peer::{Parcel, Peer, Phase};
use crate::queue::Key;
use crate::success::{Runner, Verdict, decide};
use crate::time::{Mono, Now};

/// A look through the rows of one peer.
#[derive(Clone, Copy, Debug)]
struct Walk {
    peer: NodeNo,
    standby: bool,
    after: PackNo,
}

/// Groups being looked at.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Packs whose rows are being read back.
    open: BTreeSet<PackNo>,
    /// Packs to be read back once fewer are open.
    queued: BTreeSet<PackNo>,
    /// Looks to be taken, the first of them under way if `walking`.
    walks: VecDeque<Walk>,
    walking: bool,
}

impl Groups {
    /// Whether the rows of `pack` are being read back.
    pub(super) fn is_open(&self, pack: PackNo) -> bool {
        self.open.contains(&pack)
    }
}

impl Scheduler {
    /// Whether so many groups are to be looked at that no more is sent of any: each
    /// answer to what is sent asks for one look.
    pub(super) fn groups_are_full(&self) -> bool {
        !self.groups.queued.is_empty()
    }

    /// Something became of a delivery that has others beside it.
    pub(super) fn regroup(&mut self, row: &OwedRow) {
        if row.place.is_some() {
            self.look_at_group(row.due.pack);
        }
    }

    fn look_at_group(&mut self, pack: PackNo) {
        if self.groups.open.contains(&pack) {
            return;
        }
        if self.groups.open.len() >= self.settings.limits.late_acks {
            self.groups.queued.insert(pack);
            return;
        }
        self.groups.open.insert(pack);
        self.effects.push_back(Effect::Group(pack));
    }

    pub(super) fn on_grouped(&mut self, now: Now, pack: PackNo, rows: Vec<PagedRow>) {
        if !self.groups.open.remove(&pack) {
            return;
        }
        let was_full = self.groups_are_full();
        if rows.iter().any(|row| self.is_storing(row.row.due)) {
            // Durable, but we have not been told yet.
            self.look_at_group(pack);
        } else {
            let peers: Vec<NodeNo> = rows.iter().map(|row| row.row.due.peer).collect();
            self.judge_group(now, rows);
            for no in peers {
                self.forget_grouped(no, pack);
            }
        }
        let room = self.settings.limits.late_acks - self.groups.open.len();
        for _ in 0..room {
            let Some(next) = self.groups.queued.pop_first() else {
                break;
            };
            self.look_at_group(next);
        }
        if was_full && !self.groups_are_full() {
            self.dirty.extend(self.peers.keys());
        }
        self.walk_on();
    }

    /// Acts on what all rows of a segment say, those in memory first.
    fn judge_group(&mut self, now: Now, rows: Vec<PagedRow>) {
        let mut rows: Vec<PagedRow> = rows
            .into_iter()
            .filter_map(|row| self.as_in_memory(row))
            .collect();
        rows.sort_unstable_by_key(|row| row.row.place);
        let Some(place) = rows.first().and_then(|row| row.row.place) else {
            return;
        };
        let long = self.settings.limits.standby_after;
        let runner = |row: &PagedRow| Runner {
            state: row.row.state.name(),
            standby: row.row.standby,
            away: row.row.stuck
                || self
                    .peers
                    .get(&row.row.due.peer)
                    .is_some_and(|peer| peer.is_long_away(now.mono, long)),
        };
        let runners: Vec<Runner> = rows.iter().map(runner).collect();
        match decide(usize::from(place.need), &runners) {
            Verdict::Met => {
                for row in rows {
                    self.spare_paged(now, row);
                }
            }
            Verdict::Wake(woken) => {
                for rank in woken {
                    self.wake_standby(now, rows[rank].clone());
                }
            }
        }
    }

    /// What was read, as it stands in memory; `None`: not of a group, or gone.
    fn as_in_memory(&self, mut read: PagedRow) -> Option<PagedRow> {
        read.row.place?;
        let due = read.row.due;
        let parcel = self
            .peers
            .get(&due.peer)?
            .parcels
            .get(&(due.pack, due.part));
        if let Some(parcel) = parcel {
            if parcel.gone || matches!(parcel.phase, Phase::Spared(_)) {
                return None;
            }
            read.row = parcel.row.clone();
        }
        Some(read)
    }

    fn is_storing(&self, due: Due) -> bool {
        let Some(peer) = self.peers.get(&due.peer) else {
            return false;
        };
        let held = peer.parcels.get(&(due.pack, due.part));
        held.is_some_and(|parcel| parcel.phase == Phase::Storing)
            || peer
                .lanes
                .values()
                .any(|lane| lane.storing.contains(&due.pack))
    }

    /// A delivery stands by no longer: ready once its row says so.
    fn wake_standby(&mut self, now: Now, paged: PagedRow) {
        let (due, lane) = (paged.row.due, paged.row.lane);
        let rule = self.lane_rule(lane);
        let ticket = self.batch_ticket();
        let peer = self.peer_entry(due.peer, now);
        peer.lane(lane, rule, now.mono);
        let key = (due.pack, due.part);
        let parcel = peer.parcels.entry(key).or_insert_with(|| {
            let (row, info, except) =
                (paged.row, paged.info, crate::peer::exceptions(paged.except));
            Parcel::new(row, info, except, Phase::Settling(Ticket(0)))
        });
        if !parcel.row.standby {
            return;
        }
        // In memory what stands by is shelved, whatever else holds it.
        parcel.phase = Phase::Woken(ticket);
        parcel.row.standby = false;
        parcel.row.updated = now.unix;
        let row = parcel.row.clone();
        self.batch.push(Change::Owed(row));
        let peer = due.peer;
        self.batch_pending.push(Pending::Settled { peer, key });
    }

    /// The row that woke a delivery is durable.
    pub(super) fn on_woken(&mut self, now: Now, no: NodeNo, key: Key) {
        let active = self.settings.limits.active;
        // An answer under way may have been read while it stood by.
        let looked_at = self.is_looked_at(Self::due_of(no, key));
        let parcel = &self.peers[&no].parcels[&key];
        let stays = parcel.needless || parcel.row.is_shelved() || looked_at;
        let lane = &self.peers[&no].lanes[&parcel.row.lane];
        let room = lane.is_caught_up() && lane.loaded() < active;
        if stays || room || self.is_over(now, no, key) {
            return self.wait_again(now, no, key);
        }
        self.unload(no, key);
    }

    /// A delivery is not needed: it goes, unless it is in flight or settled.
    pub(super) fn spare_paged(&mut self, now: Now, paged: PagedRow) {
        let (due, row) = (paged.row.due, &paged.row);
        let key = (due.pack, due.part);
        let rule = self.lane_rule(row.lane);
        let peer = self.peer_entry(due.peer, now);
        if let Some(parcel) = peer.parcels.get_mut(&key) {
            parcel.needless = true;
            // What flies or is judged goes when it comes back, what is woken when that is
            // durable.
            if parcel.waits() {
                self.leave(due.peer, key);
                self.spare(due.peer, key);
            }
            return;
        }
        match row.state {
            State::Scheduled | State::Failed { .. } => {}
            // What flies is in memory; the others are settled.
            State::Inflight | State::Acked | State::Deadletter { .. } => return,
        }
        let shelved = row.is_shelved();
        let lane = peer.lane(row.lane, rule, now.mono);
        lane.unloaded = lane.unloaded.saturating_sub(u64::from(!shelved));
        let phase = Phase::Spared(Ticket(0));
        let parcel = Parcel::new(
            paged.row,
            paged.info,
            crate::peer::exceptions(paged.except),
            phase,
        );
        peer.parcels.insert(key, parcel);
        self.spare(due.peer, key);
    }

    /// Removes the row of a parcel that waits in nothing: others have what it was for.
    pub(super) fn spare(&mut self, no: NodeNo, key: Key) {
        let ticket = self.batch_ticket();
        let peer = self.peer_mut(no);
        let parcel = peer
            .parcels
            .get_mut(&key)
            .expect("a spared parcel is in memory");
        parcel.phase = Phase::Spared(ticket);
        let row = parcel.row.clone();
        let stuck = row.stuck;
        let gone = peer.shift(
            row.lane,
            Some(row.state.name()),
            Move::Spare,
            Peer::depth_of(&row),
        );
        assert_eq!(gone, None, "what is spared is gone");
        self.stuck.rows -= u64::from(stuck);
        self.batch.push(Change::Gone(row.due));
        self.batch.push(Change::Book {
            peer: no,
            lane: row.lane,
            entry: Book::NotNeeded,
            by: i64::from(row.count),
        });
        self.batch_pending.push(Pending::Settled { peer: no, key });
        self.dirty.insert(no);
    }

    /// Forgets the parcel of `pack` if it is settled and durable.
    fn forget_grouped(&mut self, no: NodeNo, pack: PackNo) {
        let Some(peer) = self.peers.get(&no) else {
            return;
        };
        let durable = self.durable;
        let lowest = crate::peer::rest_of(pack);
        let of_pack = peer.parcels.range(lowest..).map(|(_, parcel)| parcel);
        let keys: Vec<Key> = of_pack
            .take_while(|parcel| parcel.row.due.pack == pack)
            .filter(|parcel| parcel.is_done(durable))
            .map(Parcel::key)
            .collect();
        for key in keys {
            let peer = self.peer_mut(no);
            let lane = peer.parcels[&key].row.lane;
            if let Some(lane) = peer.lanes.get_mut(&lane) {
                lane.lingering.retain(|other| *other != key);
            }
            self.forget(no, key);
        }
    }

    /// When what `peer` holds up is to be looked through, if it is.
    pub(super) fn look_past_at(&self, peer: &Peer) -> Option<Mono> {
        let waits = |state| {
            peer.depth
                .iter()
                .any(|((_, at), depth)| *at == state && depth.parcels > 0)
        };
        let since = peer
            .away
            .filter(|_| !peer.looked && self.draining.is_none())?;
        let any = waits(StateName::Scheduled) || waits(StateName::Failed);
        any.then_some(since + self.settings.limits.standby_after)
    }

    /// Looks through what `no` holds up, if it is time to.
    pub(super) fn look_past(&mut self, now: Now, no: NodeNo) {
        if self
            .look_past_at(&self.peers[&no])
            .is_some_and(|at| at <= now.mono)
        {
            self.peer_mut(no).looked = true;
            self.walk(no, false);
        }
    }

    /// Begins a look through rows of `peer`.
    pub(super) fn walk(&mut self, peer: NodeNo, standby: bool) {
        let after = PackNo(0);
        self.groups.walks.push_back(Walk {
            peer,
            standby,
            after,
        });
        self.walk_on();
    }

    fn walk_on(&mut self) {
        let limits = &self.settings.limits;
        let crowded = self.groups.open.len() >= limits.page.min(limits.late_acks);
        if self.groups.walking || crowded {
            return;
        }
        let Some(walk) = self.groups.walks.front() else {
            return;
        };
        self.groups.walking = true;
        self.effects.push_back(Effect::Walk {
            peer: walk.peer,
            standby: walk.standby,
            after: walk.after,
            limit: limits.page,
        });
    }

    pub(super) fn on_walked(&mut self, packs: Vec<PackNo>, upto: Option<PackNo>) {
        self.groups.walking = false;
        match (self.groups.walks.front_mut(), upto) {
            (Some(walk), Some(upto)) => walk.after = upto,
            (Some(_), None) => drop(self.groups.walks.pop_front()),
            (None, _) => {}
        }
        for pack in packs {
            self.look_at_group(pack);
        }
        self.walk_on();
    }
}
