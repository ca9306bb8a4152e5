//! The shell's network side, outward: dials, and what is put on a link.

use std::sync::Arc;

use relay_core::change::{Due, Sent};
use relay_core::event::{Ack, CloseWhy, Effect, Greeting, Heading, Input, Parcel, SendTrouble};
use relay_core::id::{LinkId, NodeId, NodeNo};
use relay_core::limits;

use super::members_of;
use crate::scenario::{SECOND, node_index, node_name};
use crate::wire::{End, Health, Link, Message, Packed, Stream, stream_of};
use crate::world::{Event, World};

impl World {
    pub(super) fn dial(&mut self, n: usize, peer: &NodeId) {
        let run = self.nodes[n].run;
        let wait = 2 * self.latency();
        self.after(wait, Event::Dialled(n, run, node_index(peer)));
    }

    /// A dial of `n` comes to a link or to nothing.
    pub fn dialled(&mut self, n: usize, run: u32, peer: usize) {
        if !self.nodes[n].is_run(run) {
            return;
        }
        let deaf = !self.calm && self.dice.chance(self.plan.odds.deaf);
        let lost = deaf || self.wire.is_parted(n, peer, self.now);
        if lost || self.nodes[peer].scheduler.is_none() {
            self.tally.count("dial failed");
            let why = "no answer".to_owned();
            let wait = self.dice.spread(1_000, 5 * SECOND);
            return self.hear_later(
                n,
                wait,
                Input::LinkDown {
                    peer: node_name(peer),
                    link: None,
                    why,
                },
            );
        }
        self.tally.count("link made");
        let number = self.wire.links.len();
        let ends = [n, peer].map(|node| {
            let id = LinkId(self.nodes[node].give());
            End::new(node, self.nodes[node].run, id)
        });
        for (side, end) in ends.iter().enumerate() {
            self.nodes[end.node].links.insert(end.id, (number, side));
        }
        self.wire.links.push(Link {
            ends,
            health: Health::Lit,
        });
        for side in 0..2 {
            let other = &self.nodes[self.wire.links[number].ends[1 - side].node];
            let greeting = Greeting {
                ledger: other.disk.ledger,
                epoch: other.disk.epoch,
                dialled: side == 0,
                max_segment: limits::MAX_SEGMENT,
            };
            self.send(
                number,
                1 - side,
                Stream::Control,
                0,
                Message::Hello(greeting),
            );
        }
    }

    /// Puts what `n` says on a link.
    pub(super) fn speak(&mut self, n: usize, effect: Effect) {
        if let Effect::Offer { parcel, .. } | Effect::Send { parcel, .. } = &effect
            && self.plan.poison.is_any()
        {
            let packed = self.packed(n, parcel);
            if self.dies_sending(n, &effect, &packed.ids()) {
                return;
            }
        }
        match effect {
            Effect::Close { link, why } => self.close(n, link, why),
            Effect::Offer { link, parcel } => self.offer(n, link, &parcel),
            Effect::Send {
                link,
                parcel,
                from,
                bytes,
                last,
            } => {
                self.send_bytes(n, link, &parcel, from, bytes, last);
            }
            Effect::Reset { link, due } => self.reset(n, link, due),
            Effect::Want {
                link,
                sent,
                from,
                partial,
            } => self.want(n, link, sent, (from, partial)),
            Effect::Have { link, sent } => self.say(n, link, large(sent), Message::Have(sent)),
            Effect::Ack {
                link,
                receipt,
                sent,
                table,
                count,
                refused,
            } => {
                let mut ack = Ack {
                    receipt,
                    pack: sent.pack,
                    part: sent.part,
                    table,
                    count,
                    refused,
                };
                if !self.calm && self.dice.chance(self.plan.odds.lying_ack) {
                    self.tally.count("fault: lying ack");
                    ack.table.0[0] ^= 1;
                }
                if !self.calm && self.dice.chance(self.plan.odds.repeat_ack) {
                    self.tally.count("fault: repeated ack");
                    self.say(n, link, Stream::Control, Message::Answer(ack.clone()));
                }
                self.say(n, link, Stream::Control, Message::Answer(ack));
            }
            Effect::Busy {
                link,
                sent,
                why,
                retry_after,
            } => {
                self.tally.count("busy said");
                self.say(
                    n,
                    link,
                    Stream::Control,
                    Message::Busy(sent, why, retry_after),
                );
            }
            Effect::Settle { link, receipt } => {
                self.say(n, link, Stream::Control, Message::Settle(receipt));
            }
            Effect::Admit(_)
            | Effect::Accept(_)
            | Effect::AcceptAs(..)
            | Effect::Refuse(..)
            | Effect::Discard(_)
            | Effect::FindKey(..)
            | Effect::Persist(..)
            | Effect::Page { .. }
            | Effect::Owing { .. }
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
            | Effect::Forget(_)
            | Effect::Answer(..)
            | Effect::Shun(_)
            | Effect::Drained => unreachable!("nothing of this goes on a link"),
        }
    }

    fn close(&mut self, n: usize, link: LinkId, why: CloseWhy) {
        let Some((link, _)) = self.nodes[n].links.get(&link).copied() else {
            return;
        };
        let why = match why {
            CloseWhy::Duplicate => {
                self.tally.count("duplicate link closed");
                "duplicate"
            }
            CloseWhy::UnknownPeer => "unknown peer",
            CloseWhy::Protocol => "protocol",
            CloseWhy::Draining => "draining",
            CloseWhy::Kicked => "kicked",
            CloseWhy::IdentityCloned => "identity_cloned",
            CloseWhy::Idle => {
                self.tally.count("idle link let go");
                "idle"
            }
        };
        let within = self.latency() * 2;
        self.end_link(link, why, within);
    }

    pub(super) fn say(&mut self, n: usize, link: LinkId, stream: Stream, message: Message) {
        if let Some((link, side)) = self.nodes[n].links.get(&link).copied() {
            self.send(link, side, stream, 0, message);
        }
    }

    /// Puts a message on a stream of a link from `side`, once the connection
    /// has taken it (at `taken`, or now).
    fn send(&mut self, link: usize, side: usize, stream: Stream, taken: u64, message: Message) {
        if self.wire.links[link].health == Health::Dead {
            return;
        }
        self.on_wire(link, side, 0);
        let at = self.now.max(taken) + self.latency();
        let when = self.wire.links[link].arrives(side, stream, at);
        self.at(when, Event::Wire(link, 1 - side, Box::new(message)));
    }

    fn latency(&mut self) -> u64 {
        let path = &self.plan.path;
        path.latency
            + self
                .dice
                .between(0, if self.calm { path.latency } else { path.jitter })
    }

    fn packed(&self, n: usize, parcel: &Parcel) -> Packed {
        let stored = &self.nodes[n].disk.packs[&parcel.due.pack];
        let content = Arc::clone(&stored.content);
        let indexes = members_of(&content, parcel.due, &parcel.except);
        let bad = indexes
            .iter()
            .copied()
            .filter(|m| stored.bad.contains(m))
            .collect();
        let heading = Heading {
            sent: Sent {
                ledger: self.nodes[n].disk.ledger,
                pack: parcel.due.pack,
                part: parcel.due.part,
            },
            lane: self.nodes[n].disk.lanes[&parcel.info.lane].clone(),
            origin: (parcel.info.origin != NodeNo::LOCAL)
                .then(|| self.nodes[n].disk.nodes[&parcel.info.origin].clone()),
            sequence: parcel.info.sequence,
            hops: parcel.info.hops + 1,
            ttl: parcel.ttl,
        };
        Packed {
            heading,
            content,
            indexes,
            bad,
        }
    }

    fn offer(&mut self, n: usize, link: LinkId, parcel: &Parcel) {
        self.tally.count("offered");
        let stream = Stream::Large(parcel.due.pack, parcel.due.part);
        let packed = Box::new(self.packed(n, parcel));
        if let Some((link, side)) = self.nodes[n].links.get(&link).copied() {
            self.wire.links[link].ends[side]
                .given_up
                .remove(&parcel.due);
        }
        self.say(n, link, stream, Message::Offer(packed));
    }

    fn send_bytes(
        &mut self,
        n: usize,
        id: LinkId,
        parcel: &Parcel,
        from: u64,
        bytes: u64,
        last: bool,
    ) {
        let Some((link, side)) = self.nodes[n].links.get(&id).copied() else {
            return;
        };
        let due = parcel.due;
        let packed = self.packed(n, parcel);
        let stream = stream_of(parcel.info.is_large(), parcel.info.lane, due.pack, due.part);
        let stored = &self.nodes[n].disk.packs[&due.pack];
        let rotten = self.plan.disk.checks_reads && !packed.bad.is_empty();
        let missing = stored.missing;
        let trouble = match (missing, rotten) {
            _ if self.bytes_unreadable(n, due) => Some(SendTrouble::Unreadable),
            (true, _) => Some(SendTrouble::Missing),
            (false, true) => Some(SendTrouble::Corrupt),
            (false, false) => None,
        };
        let end = &mut self.wire.links[link].ends[side];
        if from == 0 && !parcel.info.is_large() {
            end.given_up.remove(&due);
        }
        if end.given_up.contains(&due) {
            // The rest of what was given up: nothing of it is sent.
            return;
        }
        if let Some(trouble) = trouble {
            end.given_up.insert(due);
            end.sending.remove(&due);
            self.tally.count("send failed");
            let wait = self.read_time();
            if parcel.info.is_large() {
                let found = self.now + wait;
                self.send(
                    link,
                    side,
                    stream,
                    found,
                    Message::Lost(packed.heading.sent),
                );
            }
            return self.hear_later(
                n,
                wait,
                Input::SendFailed {
                    link: id,
                    due,
                    trouble,
                },
            );
        }
        self.progress(link, side, &packed, parcel, from, bytes, last);
        self.on_wire(link, side, bytes);
        let rate = self.plan.path.takes;
        let taken = self.wire.links[link].takes(side, stream, self.now, bytes, rate);
        self.at(
            taken,
            Event::Wire(link, side, Box::new(Message::Took(due, bytes))),
        );
        let sent = packed.heading.sent;
        if parcel.info.is_large() {
            self.send(
                link,
                side,
                stream,
                taken,
                Message::Piece(sent, from + bytes),
            );
        }
        if last {
            self.tally.count("pack sent");
            self.send(link, side, stream, taken, Message::Pack(Box::new(packed)));
            let there = self.wire.links[link].arrives(side, stream, taken);
            self.send(link, 1 - side, Stream::Quic, there, Message::Delivered(due));
        }
    }

    /// Holds a sender to bytes in order, none twice, all of them at the last.
    #[expect(clippy::too_many_arguments, reason = "all that a chunk says")]
    fn progress(
        &mut self,
        link: usize,
        side: usize,
        packed: &Packed,
        parcel: &Parcel,
        from: u64,
        bytes: u64,
        last: bool,
    ) {
        let small = |due: &Due| {
            let ours = &self.nodes[self.wire.links[link].ends[side].node].disk.packs[&due.pack];
            !ours.info.is_large() && ours.info.lane == parcel.info.lane
        };
        let sending = &self.wire.links[link].ends[side].sending;
        let inside = sending.keys().find(|due| small(due));
        assert!(
            from > 0 || parcel.info.is_large() || inside.is_none(),
            "[step] {:?} begins inside {inside:?}",
            parcel.due
        );
        let sending = &mut self.wire.links[link].ends[side].sending;
        // One that came back half sent begins anew.
        let begun = sending
            .remove(&parcel.due)
            .filter(|(at, _)| from > 0 || *at == 0);
        let bodies = packed.content.bytes_of(&packed.indexes);
        let (due, large) = (parcel.due, parcel.info.is_large());
        let table = if large { 0 } else { parcel.info.table_len };
        let whole = u64::from(table) + bodies;
        match begun {
            Some((at, indexes)) => {
                assert_eq!(at, from, "[step] bytes of {due:?} leave out of order");
                assert_eq!(
                    indexes, packed.indexes,
                    "[step] the members of {due:?} change as it is sent"
                );
            }
            None => assert!(from == 0 || large, "[step] {due:?} begins at {from}"),
        }
        assert_eq!(
            last,
            from + bytes == whole,
            "[step] {due:?}: {from}+{bytes} of {whole}, last {last}"
        );
        if !last {
            sending.insert(due, (from + bytes, packed.indexes.clone()));
        }
    }

    fn reset(&mut self, n: usize, id: LinkId, due: Due) {
        let Some((link, side)) = self.nodes[n].links.get(&id).copied() else {
            return;
        };
        self.tally.count("stream reset");
        self.wire.links[link].ends[side].sending.remove(&due);
        if !self.nodes[n].disk.packs[&due.pack].info.is_large() {
            self.tally.count("pack taken back");
            return;
        }
        let ledger = self.nodes[n].disk.ledger;
        let sent = Sent {
            ledger,
            pack: due.pack,
            part: due.part,
        };
        self.say(n, id, large(sent), Message::Lost(sent));
    }
}

pub(super) const fn large(sent: Sent) -> Stream {
    Stream::Large(sent.pack, sent.part)
}
