//! Cutting parcels into chunks, as fast as rates and the connection allow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use crate::event::{Effect, Parcel as Named};
use crate::id::{LaneNo, LinkId, NodeNo};
use crate::peer::Phase;
use crate::queue::{Key, next_lane};
use crate::time::Now;

/// What a frame header costs on the wire, charged to the rate.
const HEADER: u64 = 64;

impl Scheduler {
    /// One chunk for each peer in turn, until none can take more.
    pub(super) fn send_round(&mut self, now: Now, dirty: &BTreeSet<NodeNo>) {
        let mut open: Vec<NodeNo> = dirty.range(self.turn..).copied().collect();
        open.extend(dirty.range(..self.turn));
        while !open.is_empty() {
            open.retain(|no| {
                let sent = self.send_one(now, *no);
                if sent {
                    self.turn = NodeNo(no.0 + 1);
                }
                sent
            });
        }
    }

    /// Sends one chunk or offer to `no`; `false` when nothing may go.
    fn send_one(&mut self, now: Now, no: NodeNo) -> bool {
        if !self.may_go_on(now, no) || self.is_clogged(&self.peers[&no]) {
            return false;
        }
        let max_starvation = self.settings.limits.max_starvation;
        let peer = &self.peers[&no];
        let lanes = peer.lanes.iter().map(|(lane, l)| (*lane, l));
        let Some(lane) = next_lane(lanes, max_starvation, now.mono) else {
            return false;
        };
        let key = *peer.lanes[&lane]
            .outbox
            .front()
            .expect("the chosen lane has something");
        if self.bucket.ready(now.mono).is_err() || peer.bucket.ready(now.mono).is_err() {
            let parcel = self
                .peer_mut(no)
                .parcels
                .get_mut(&key)
                .expect("an outbox parcel is in memory");
            // One delayed admission counts once, however often it is asked for.
            if !std::mem::replace(&mut parcel.throttled, true) {
                self.throttled += 1;
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
        let bytes = (parcel.row.bytes - from).min(chunk);
        parcel.sent += bytes;
        parcel.chunks += 1;
        let last = parcel.sent == parcel.row.bytes;
        if last {
            parcel.phase = Phase::Leaving;
        }
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
        peer.unsent.0 += bytes;
        peer.unsent.1 += 1;
        let first = from == 0 && !named.info.is_large();
        let head = if first {
            HEADER + u64::from(named.info.table_len)
        } else {
            0
        };
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
        self.bucket.take(now.mono, bytes);
        let peer = self.peer_mut(no);
        peer.bucket.take(now.mono, bytes);
        peer.lanes
            .get_mut(&lane)
            .expect("a served lane is there")
            .serve(bytes, now.mono);
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
            class: self.lane_rule(parcel.row.lane).class,
            ttl: parcel.info.expires.map(left),
        }
    }
}
