//! Cutting parcels into chunks, as fast as rates and the connection allow.

use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use crate::bandwidth::Bucket;
use crate::event::{Effect, Parcel as Named};
use crate::id::{LaneNo, LinkId, NodeNo};
use crate::meter::Meter;
use crate::ordered::Ordered;
use crate::peer::{Peer, Phase};
use crate::queue::Key;
use crate::time::Now;

/// What a frame header costs on the wire, charged to the rate.
const HEADER: u64 = 64;

impl Scheduler {
    /// One chunk for each peer in turn, until none can take more.
    pub(super) fn send_round(&mut self, now: Now, dirty: &Ordered<NodeNo>) {
        let mut open = std::mem::take(&mut self.spare.round);
        open.extend(dirty.around(&self.turn));
        while !open.is_empty() {
            open.retain(|no| {
                let sent = self.send_one(now, *no);
                if sent {
                    self.turn = NodeNo(no.0 + 1);
                }
                sent
            });
        }
        self.spare.round = open;
    }

    /// Sends one chunk or offer to `no`; `false` when nothing may go.
    fn send_one(&mut self, now: Now, no: NodeNo) -> bool {
        let peer = &self.peers[&no];
        let idle = peer.lanes.values().all(|lane| lane.outbox.is_empty());
        if idle || !self.may_go_on(now, no) {
            return false;
        }
        self.begun_first(now, no);
        let peer = &self.peers[&no];
        let open = |class| !self.is_clogged(peer, class);
        let lanes = peer.lanes.iter().map(|(lane, l)| (*lane, l));
        let lanes = lanes
            .filter(|(lane, l)| Self::may_move(now, peer, l) && self.may_pass(now, peer, *lane, l));
        let longest = self.longest_wait(peer);
        let Some(lane) = peer.turns.next(lanes, open, longest, now.mono) else {
            return false;
        };
        let key = *peer.lanes[&lane]
            .outbox
            .front()
            .expect("the chosen lane has something");
        let dry = self.bucket.ready(now.mono).is_err();
        let exempt = peer.lanes[&lane].rule.is_exempt();
        if !exempt && (dry || peer.bucket.ready(now.mono).is_err()) {
            if dry {
                self.thirsty.insert(no);
            }
            let parcel = self
                .peer_mut(no)
                .parcels
                .get_mut(&key)
                .expect("an outbox parcel is in memory");
            // One delayed admission counts once, however often it is asked for.
            if !std::mem::replace(&mut parcel.throttled, true) {
                self.meters.add(Meter::Throttled(no), 1);
            }
            return false;
        }
        let parcel = &self.peers[&no].parcels[&key];
        if parcel.info.is_large() && !parcel.wanted {
            self.offer(now, no, lane, key);
        } else {
            self.send_chunk(now, no, lane, key);
        }
        true
    }

    /// How long a class of `peer` with work may be left without a turn: the bound of
    /// the settings, or 16 chunk times, the longer (semantics 5).
    fn longest_wait(&self, peer: &Peer) -> Duration {
        let chunk = |bucket: &Bucket| bucket.chunk_time().unwrap_or_default();
        let chunks = chunk(&self.bucket).max(chunk(&peer.bucket)) * 16;
        self.settings.limits.max_starvation.max(chunks)
    }

    fn offer(&mut self, now: Now, no: NodeNo, lane: LaneNo, key: Key) {
        let parcel = self.name_parcel(now, no, key);
        let cost = HEADER + u64::from(parcel.info.table_len);
        let link = self.charge(now, no, lane, cost);
        let peer = self.peer_mut(no);
        peer.lanes
            .get_mut(&lane)
            .expect("an offering lane is there")
            .outbox
            .pop_front();
        peer.parcels
            .get_mut(&key)
            .expect("an outbox parcel is in memory")
            .phase = Phase::Offered;
        peer.await_ack(key, now.mono);
        self.effects.push_back(Effect::Offer { link, parcel });
    }

    fn send_chunk(&mut self, now: Now, no: NodeNo, lane: LaneNo, key: Key) {
        let named = self.name_parcel(now, no, key);
        let whole = named.info.is_large().then_some(self.settings.limits.chunk);
        let chunk = [whole, self.bucket.chunk(), self.peers[&no].bucket.chunk()];
        let chunk = chunk.into_iter().flatten().min().unwrap_or(u64::MAX);
        let peer = self.peer_mut(no);
        let parcel = peer
            .parcels
            .get_mut(&key)
            .expect("an outbox parcel is in memory");
        parcel.throttled = false;
        let from = parcel.sent;
        let first = from == 0 && !named.info.is_large();
        // The words before a pack go with its first bytes, in the same chunk.
        let head = if first { HEADER } else { 0 };
        let bytes = (parcel.length() - from).min(chunk.saturating_sub(head).max(1));
        parcel.sent += bytes;
        parcel.given += bytes;
        parcel.chunks += 1;
        let last = parcel.sent == parcel.length();
        if last {
            parcel.phase = Phase::Leaving;
        }
        let class = peer.lanes[&lane].rule.class;
        let outbox = &mut peer
            .lanes
            .get_mut(&lane)
            .expect("a sending lane is there")
            .outbox;
        outbox.pop_front();
        if !last && named.info.is_large() {
            // Others of the lane go between the chunks of a large one.
            outbox.push_back(key);
        } else if !last {
            outbox.push_front(key);
        }
        peer.unsent.add(class, bytes);
        peer.unsent_chunks.add(class, 1);
        let link = self.charge(now, no, lane, head + bytes);
        self.effects.push_back(Effect::Send {
            link,
            parcel: named,
            from,
            bytes,
            last,
        });
    }

    /// Takes `bytes` from both buckets and from the lane's share.
    fn charge(&mut self, now: Now, no: NodeNo, lane: LaneNo, bytes: u64) -> LinkId {
        self.meters.add(Meter::LaneBytes(lane), bytes);
        self.meters.hand_over(no, bytes);
        if !self.peers[&no].lanes[&lane].rule.is_exempt() {
            self.bucket.take(now.mono, bytes);
            self.peer_mut(no).bucket.take(now.mono, bytes);
        }
        let peer = self.peer_mut(no);
        (peer.admitted, peer.starved) = (now.mono, None);
        let lane = peer.lanes.get_mut(&lane).expect("a served lane is there");
        lane.give(bytes);
        peer.turns.serve(lane.rule.class, now.mono);
        peer.link
            .up()
            .expect("a peer that may be sent to has a link")
    }

    fn name_parcel(&self, now: Now, no: NodeNo, key: Key) -> Named {
        let parcel = &self.peers[&no].parcels[&key];
        let left = |at: crate::time::Unix| Duration::from_millis(at.0.saturating_sub(now.unix.0));
        Named {
            due: parcel.row.due,
            except: Arc::clone(&parcel.except),
            info: parcel.info.clone(),
            class: self.peers[&no].class(parcel.row.lane),
            ttl: parcel.row.expires.or(parcel.info.expires).map(left),
        }
    }
}
