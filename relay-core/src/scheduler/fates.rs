//! What becomes of a parcel: acked, failed, parked, given back. Each is one
//! move along the table, one row, and the books.

use super::{Pending, Scheduler};
use crate::change::{Book, Change, Due, OwedRow, Part, close_attempt};
use crate::delivery::{Cause, Move, Outcome, State, StateName};
use crate::event::Effect;
use crate::id::{NodeNo, Ticket};
use crate::peer::{Parcel, Peer, Phase};
use crate::queue::Key;
use crate::time::{Now, Unix};

impl Scheduler {
    /// Settles a parcel as acked; answers the ticket that makes it true.
    pub(super) fn settle(&mut self, now: Now, no: NodeNo, key: Key) -> Ticket {
        let peer = self.peer_mut(no);
        let from = peer.parcels[&key].row.state.name();
        let wanted = if from == StateName::Inflight {
            Move::Ack
        } else {
            Move::AckLate
        };
        self.stop_sending(no, key);
        self.leave(no, key);
        self.clear_suspicion(no, key);
        let row = self.moved(
            now,
            no,
            key,
            wanted,
            State::Acked,
            Some(Outcome::Acked),
            None,
        );
        self.book(&row, Book::Acked, i64::from(row.count));
        self.regroup(&row);
        self.retire(no, key)
    }

    /// Returns a parcel in flight to its queue; nothing is spent.
    pub(super) fn give_back(&mut self, now: Now, no: NodeNo, key: Key, outcome: Outcome) {
        self.reset_stream(no, key);
        self.leave(no, key);
        self.moved(
            now,
            no,
            key,
            Move::Return,
            State::Scheduled,
            Some(outcome),
            None,
        );
        self.wait_again(now, no, key);
    }

    /// An attempt failed: the parcel rests, or is parked once its budget is spent.
    pub(super) fn fail(&mut self, now: Now, no: NodeNo, key: Key, outcome: Outcome, error: &str) {
        self.reset_stream(no, key);
        self.leave(no, key);
        let drawn = self.draw();
        let lane = self.peers[&no].parcels[&key].row.lane;
        let budget = self.lane_rule(lane).budget;
        let retry = self.settings.retry;
        let parcel = self
            .peer_mut(no)
            .parcels
            .get_mut(&key)
            .expect("a failing parcel is in memory");
        assert!(
            outcome.spends_budget(),
            "only what spends budget is a failure"
        );
        parcel.row.spent += 1;
        let spent = parcel.row.spent;
        let wait = retry.wait(spent, drawn);
        let state = State::Failed {
            until: now.unix + wait,
        };
        self.moved(now, no, key, Move::Fail, state, Some(outcome), Some(error));
        if self.peers[&no].parcels[&key].needless {
            return self.spare(no, key);
        }
        if outcome == Outcome::Failed && self.fails_alike(now, no, key, error) {
            return;
        }
        if spent >= budget {
            self.exhaust(now, no, key, outcome);
        } else {
            self.wait_again(now, no, key);
        }
    }

    /// Parks a parcel in the deadletter, from wherever it stands.
    pub(super) fn park(
        &mut self,
        now: Now,
        no: NodeNo,
        key: Key,
        cause: Cause,
        outcome: Outcome,
        error: Option<&str>,
    ) -> Ticket {
        self.reset_stream(no, key);
        self.leave(no, key);
        let wanted = match cause {
            Cause::RetriesExhausted => Move::Exhaust,
            Cause::SegmentMissing
            | Cause::Corrupt
            | Cause::Rejected
            | Cause::Expired
            | Cause::Forced
            | Cause::Cancelled => Move::Park,
        };
        let state = State::Deadletter { cause };
        let row = self.moved(now, no, key, wanted, state, Some(outcome), error);
        self.book(&row, Book::Deadletter, i64::from(row.count));
        self.regroup(&row);
        self.retire(no, key)
    }

    /// Members of a parcel go their own way: each becomes a parcel of its own,
    /// standing where the rest stands. Answers their keys.
    pub(super) fn split(&mut self, no: NodeNo, key: Key, members: &[(u16, u64)]) -> Vec<Key> {
        if let Part::Member(_) = key.1 {
            return vec![key];
        }
        let peer = self
            .peers
            .get_mut(&no)
            .expect("a numbered peer is in the table");
        let rest = peer
            .parcels
            .get_mut(&key)
            .expect("a parcel to split is in memory");
        let heavy = rest.weight();
        let mut except: Vec<u16> = rest.except.to_vec();
        let mut parts = Vec::with_capacity(members.len());
        for (member, length) in members {
            let left = rest.row.count;
            rest.row.count -= 1;
            rest.row.bytes -= length;
            except.push(*member);
            let due = Due {
                part: Part::Member(*member),
                ..rest.row.due
            };
            let row = OwedRow {
                due,
                count: 1,
                bytes: *length,
                left,
                ..rest.row.clone()
            };
            parts.push(Parcel::new(
                row,
                rest.info.clone(),
                std::sync::Arc::default(),
                rest.phase.clone(),
            ));
        }
        except.sort_unstable();
        rest.except = except.into();
        rest.said = Ticket(self.issued.0 + 1);
        let (lane, state) = (rest.row.lane, rest.row.state.name());
        let slots = rest.info.slots();
        let (flying, stuck) = (rest.is_flying(), rest.row.stuck);
        let lighter = heavy - rest.weight();
        self.batch.push(Change::Owed(rest.row.clone()));
        if flying {
            peer.lanes
                .get_mut(&lane)
                .expect("a parcel's lane is there")
                .flying_bytes -= lighter;
        }
        let depth = peer.depth.entry((lane, state)).or_default();
        depth.parcels += parts.len() as u64;
        self.stuck.rows += if stuck { parts.len() as u64 } else { 0 };
        let keys = parts.iter().map(Parcel::key).collect();
        for part in parts {
            let (weight, key, phase) = (part.weight(), part.key(), part.phase.clone());
            self.batch.push(Change::Owed(part.row.clone()));
            let peer = self.peer_mut(no);
            peer.parcels.insert(key, part);
            if flying {
                peer.take_off(lane, weight, slots);
            } else if phase == Phase::Ready {
                self.make_ready(no, key);
            } else if let Phase::Resting(until) = phase {
                peer.resting.insert((until, key));
                self.note_rest(no, key);
            }
        }
        keys
    }

    /// Takes a parcel out of whatever it is in: flight, ready set, rest.
    pub(super) fn leave(&mut self, no: NodeNo, key: Key) {
        let peer = self.peer_mut(no);
        if peer.parcels[&key].is_flying() {
            peer.land(key);
        } else {
            peer.unwait(key);
        }
    }

    /// The one place where a parcel's row changes state: table, depths, row.
    #[expect(clippy::too_many_arguments, reason = "a move is all of these at once")]
    pub(super) fn moved(
        &mut self,
        now: Now,
        no: NodeNo,
        key: Key,
        wanted: Move,
        to: State,
        outcome: Option<Outcome>,
        error: Option<&str>,
    ) -> OwedRow {
        let peer = self.peer_mut(no);
        let parcel = peer
            .parcels
            .get_mut(&key)
            .expect("a moving parcel is in memory");
        let from = parcel.row.state.name();
        if let Some(error) = error {
            parcel.row.error = Some(error.to_owned());
        }
        let given = parcel.given;
        let closed = outcome.and_then(|outcome| close(&mut parcel.row, now.unix, outcome, given));
        if outcome.is_some() {
            parcel.given = 0;
        }
        parcel.row.state = to;
        parcel.row.updated = now.unix;
        let unstuck = std::mem::take(&mut parcel.row.stuck);
        parcel.row.held &= !to.name().is_terminal();
        parcel.row.standby &= !to.name().is_terminal();
        let row = parcel.row.clone();
        let landed = peer.shift(row.lane, Some(from), wanted, Peer::depth_of(&row));
        assert_eq!(landed, Some(to.name()), "the row says what the table says");
        self.stuck.rows -= u64::from(unstuck);
        self.batch.extend(closed.map(Change::Attempt));
        self.batch.push(Change::Owed(row.clone()));
        row
    }

    pub(super) fn book(&mut self, row: &OwedRow, entry: Book, by: i64) {
        self.batch.push(Change::Book {
            peer: row.due.peer,
            lane: row.lane,
            entry,
            by,
        });
    }

    /// A parcel stays in memory until its last change is durable, so that no
    /// older row of it is read back.
    pub(super) fn retire(&mut self, no: NodeNo, key: Key) -> Ticket {
        let ticket = self.batch_ticket();
        let parcel = self
            .peer_mut(no)
            .parcels
            .get_mut(&key)
            .expect("a retiring parcel is in memory");
        parcel.phase = Phase::Settling(ticket);
        self.batch_pending.push(Pending::Settled { peer: no, key });
        self.dirty.insert(no);
        ticket
    }

    pub(super) fn on_settled(&mut self, now: Now, ticket: Ticket, no: NodeNo, key: Key) {
        let parcel = self.peers[&no].parcels.get(&key);
        let phase = parcel.map(|parcel| &parcel.phase);
        if phase == Some(&Phase::Woken(ticket)) {
            self.on_woken(now, no, key);
        } else if phase == Some(&Phase::Settling(ticket)) || phase == Some(&Phase::Spared(ticket)) {
            self.forget(no, key);
        }
    }

    /// Lets go of a parcel that is settled and durable, unless an answer is
    /// under way that may have been read before: it would bring back the row as
    /// it was.
    pub(super) fn forget(&mut self, no: NodeNo, key: Key) {
        let Some(parcel) = self.peers.get(&no).and_then(|peer| peer.parcels.get(&key)) else {
            return;
        };
        let (due, lane) = (parcel.row.due, parcel.row.lane);
        let wanted = self.is_looked_at(due);
        let peer = self.peer_mut(no);
        let lane = peer.lanes.get_mut(&lane).expect("a parcel's lane is there");
        if lane.paging.is_none() && !wanted {
            peer.parcels.discard(&key);
        } else {
            lane.lingering.push(key);
        }
    }

    /// Whether a row is being read by its name, or may be acted on by an order.
    pub(super) fn is_looked_at(&self, due: Due) -> bool {
        self.asks.contains_key(&due)
            || self.groups.is_open(due.pack)
            || self.is_being_dropped(due.peer)
            || self.orders.is_pinned(&due)
    }

    /// Lets go of what became idle while something was done to it.
    pub(super) fn forget_idle(&mut self) {
        for (no, key) in std::mem::take(&mut self.idle) {
            let parcel = self.peers.get(&no).and_then(|peer| peer.parcels.get(&key));
            if parcel.is_some_and(|parcel| parcel.is_done(self.durable)) {
                self.forget(no, key);
            }
        }
    }

    /// Takes back a parcel of which bytes are still to come, since it is decided or is to
    /// be: an answer to an earlier attempt may be heard while the next is under way.
    pub(super) fn stop_sending(&mut self, no: NodeNo, key: Key) {
        if self.peers[&no].parcels[&key].phase == Phase::Outbox {
            self.reset_stream(no, key);
        }
    }

    /// Takes back what a stream carries of a parcel: a large one has its own, and a pack
    /// that is partly sent must not leave the peer waiting for the rest of it.
    fn reset_stream(&mut self, no: NodeNo, key: Key) {
        let peer = self.peer_mut(no);
        let (link, parcel) = (peer.link.up(), &peer.parcels[&key]);
        let large = parcel.info.is_large();
        let streaming = match parcel.phase {
            Phase::Outbox => large || parcel.sent > 0,
            Phase::Offered | Phase::Leaving | Phase::Sent => large,
            Phase::Storing
            | Phase::Ready
            | Phase::Marking(_)
            | Phase::Judging(_)
            | Phase::Resting(_)
            | Phase::Settling(_)
            | Phase::Spared(_)
            | Phase::Woken(_) => false,
        };
        let (Some(link), true) = (link, streaming) else {
            return;
        };
        let due = parcel.row.due;
        self.effects.push_back(Effect::Reset { link, due });
    }
}

/// Closes the open attempt; one that was acked lives in its row alone.
fn close(
    row: &mut OwedRow,
    at: Unix,
    outcome: Outcome,
    sent: u64,
) -> Option<crate::change::AttemptRow> {
    let mut closed = close_attempt(row, at, outcome)?;
    closed.sent = sent;
    (outcome != Outcome::Acked).then_some(closed)
}
