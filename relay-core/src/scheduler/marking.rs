//! From scheduled to in flight: the mark is durable before the first byte.

use super::{Pending, Scheduler};
use crate::change::Change;
use crate::delivery::{Attempt, Cause, Move, Outcome, State, StateName};
use crate::id::{LaneNo, NodeNo};
use crate::meter::Meter;
use crate::peer::{Peer, Phase};
use crate::queue::{Key, Lane};
use crate::segment::Class;
use crate::time::{Mono, Now};

impl Scheduler {
    /// Pages in, marks and sends for every peer something happened to.
    pub(super) fn pump(&mut self, now: Now) {
        // Who was denied by the rate of all is asked again with whoever comes now:
        // otherwise the peer that is heard from most would take it all.
        if !self.thirsty.is_empty() && self.bucket.ready(now.mono).is_ok() {
            self.dirty.append(&mut self.thirsty);
        }
        let mut dirty = self.take_dirty();
        for no in dirty.iter() {
            let busy_over = self.peers[no]
                .busy
                .is_some_and(|(until, _)| until <= now.mono);
            if busy_over {
                self.peer_mut(*no).busy = None;
            }
            self.page_more(*no);
            self.mark(now, *no);
        }
        self.send_round(now, &dirty);
        dirty.iter().for_each(|no| self.give_back_shut(now, *no));
        dirty.clear();
        self.spare.pumped = dirty;
    }

    /// Marks what the windows of `no` allow, most urgent lanes first.
    fn mark(&mut self, now: Now, no: NodeNo) {
        if !self.may_send(now, no) || self.is_starved(now, no) {
            return;
        }
        let link = self.peers[&no]
            .link
            .up()
            .expect("a peer that may be sent to has a link");
        let gates = self.has_lane_gates();
        for n in 0..self.peers[&no].by_class.len() {
            let (_, lane) = self.peers[&no].by_class[n];
            let waits = &self.peers[&no].lanes[&lane];
            let full = !waits.is_open(&self.settings.limits);
            // What a full window keeps from beginning may still be refused by a gate.
            if !waits.has_ready() || (full && !gates) {
                continue;
            }
            let mut open = true;
            self.lane_gates(now, &self.peers[&no], lane, &mut |_| open = false);
            self.refuse_shut(now, no, lane);
            let mut room = self.room(&self.peers[&no], lane);
            while let Some(key) = self.next_ready(no, lane).filter(|_| open) {
                if !room.is_open() {
                    self.tight = true;
                    break;
                }
                let parcel = &self.peers[&no].parcels[&key];
                room = room.less(parcel.weight(), parcel.row.count);
                if self.is_over(now, no, key) {
                    self.park(now, no, key, Cause::Expired, Outcome::Interrupted, None);
                } else {
                    self.mark_one(now, no, key);
                    let peer = no;
                    let marked = Pending::Marked { peer, link, key };
                    self.batch_pending.push(marked);
                }
            }
        }
    }

    /// The parcel of `lane` that begins next, if its windows have room for it.
    fn next_ready(&self, no: NodeNo, lane: LaneNo) -> Option<Key> {
        let (peer, limits) = (&self.peers[&no], &self.settings.limits);
        let lane = &peer.lanes[&lane];
        if !lane.is_open(limits) || !peer.may_take_off() {
            return None;
        }
        let class = lane.rule.class;
        let full = self.groups_are_full();
        lane.next(|key| {
            let parcel = &peer.parcels[key];
            let fits =
                !parcel.info.is_large() || peer.has_slots(class, parcel.info.slots(), limits.large);
            fits && !(full && parcel.row.place.is_some())
        })
    }

    fn mark_one(&mut self, now: Now, no: NodeNo, key: Key) {
        let (ticket, epoch) = (self.batch_ticket(), self.epoch);
        let peer = self.peer_mut(no);
        let parcel = peer
            .parcels
            .get_mut(&key)
            .expect("a ready parcel is in memory");
        let lane = peer.lanes.get_mut(&parcel.row.lane);
        lane.expect("a parcel's lane is there").begin(key);
        let number = parcel.row.attempt.map_or(0, |attempt| attempt.number) + 1;
        parcel.row.attempt = Some(Attempt {
            number,
            epoch,
            started: now.unix,
            ended: None,
        });
        parcel.row.state = State::Inflight;
        parcel.row.updated = now.unix;
        parcel.phase = Phase::Marking(ticket);
        let (row, weight, slots) = (parcel.row.clone(), parcel.weight(), parcel.info.slots());
        self.meters
            .add(Meter::LaneAttempts(row.lane), row.count.into());
        let peer = self.peer_mut(no);
        peer.shift(
            row.lane,
            Some(StateName::Scheduled),
            Move::Send,
            Peer::depth_of(&row),
        );
        peer.take_off(row.lane, weight, slots);
        self.batch.push(Change::Owed(row));
    }

    /// A parcel whose mark is durable waits to be cut into chunks.
    pub(super) fn enter_outbox(&mut self, now: Now, no: NodeNo, key: Key) {
        let peer = self.peer_mut(no);
        let parcel = peer
            .parcels
            .get_mut(&key)
            .expect("a marked parcel is in memory");
        parcel.phase = Phase::Outbox;
        let lane_no = parcel.row.lane;
        let class = peer.class(lane_no);
        let busy = peer
            .lanes
            .values()
            .filter(|l| l.rule.class == class && !l.outbox.is_empty());
        let idle = peer.lanes.values().all(|l| l.outbox.is_empty());
        let floor = busy.map(Lane::given).min();
        if floor.is_none() {
            peer.turns.begin(class, now.mono);
        }
        let lane = peer
            .lanes
            .get_mut(&lane_no)
            .expect("a parcel's lane is there");
        lane.enter(key, floor.unwrap_or(0));
        if idle {
            peer.admitted = now.mono;
        }
        self.dirty.insert(no);
    }

    /// Wakes what has rested long enough.
    pub(super) fn wake_resting(&mut self, now: Now, no: NodeNo) {
        while let Some((until, key)) = self.peers[&no].resting.first().copied() {
            if until > now.mono {
                break;
            }
            let peer = self.peer_mut(no);
            peer.unwait(key);
            let parcel = peer
                .parcels
                .get_mut(&key)
                .expect("a resting parcel is in memory");
            parcel.row.state = State::Scheduled;
            parcel.row.updated = now.unix;
            let row = parcel.row.clone();
            peer.shift(
                row.lane,
                Some(StateName::Failed),
                Move::Wake,
                Peer::depth_of(&row),
            );
            self.batch.push(Change::Owed(row));
            self.make_ready(no, key);
        }
    }

    /// When the buckets will admit what `peer` has in its outboxes; `None` if
    /// they do now or nothing is there.
    pub(super) fn tokens_at(&self, now: Now, peer: &Peer) -> Option<Mono> {
        let opens = self.bucket.opens().max(peer.bucket.opens())?;
        let may = |lane: &Lane| {
            Self::may_move(now, peer, lane) && !self.is_clogged(peer, lane.rule.class)
        };
        peer.lanes.values().any(may).then_some(opens)
    }

    /// Whether the connection has as much as it should hold of `class` and of what
    /// is more urgent: bulk it has not taken holds up no alarm, whose stream it
    /// serves first.
    pub(super) fn is_clogged(&self, peer: &Peer, class: Class) -> bool {
        let limits = &self.settings.limits;
        peer.unsent.against(class) >= limits.unsent_bytes
            || peer.unsent_chunks.against(class) >= u64::from(limits.unsent_chunks)
    }
}
