//! The shell's network side, inward: what comes off a link becomes an input.

use std::sync::Arc;

use relay_core::change::{Due, Nack, Sent};
use relay_core::event::{Ack, Arrival, BusyWhy, Input, Offer};
use relay_core::id::{LinkId, ReceiptNo, StagedId};

use crate::disk::content::Content;
use crate::scenario::node_name;
use crate::scenario::routes::topic_of;
use crate::wire::{Health, Message, Packed};
use crate::world::{Event, World};

impl World {
    /// An end of a link hears something, if it still can.
    pub fn deliver(&mut self, link: usize, side: usize, message: Message) {
        let end = &self.wire.links[link].ends[side];
        let (n, run, id) = (end.node, end.run, end.id);
        if end.told || !self.nodes[n].is_run(run) {
            return;
        }
        if let Message::Down(why) = message {
            return self.link_down(link, side, why);
        }
        match self.wire.links[link].health {
            Health::Lit => {}
            Health::Dark if matches!(message, Message::Took(..)) => {}
            Health::Dark | Health::Dead => return,
        }
        let end = &mut self.wire.links[link].ends[side];
        if let Message::Hello(greeting) = message {
            end.up = true;
            let early = std::mem::take(&mut end.early);
            let peer = self.peer_of(link, side);
            self.hear(
                n,
                Input::LinkUp {
                    peer: node_name(peer),
                    link: id,
                    greeting,
                },
            );
            for message in early {
                self.after(0, Event::Wire(link, side, Box::new(message)));
            }
        } else if end.up {
            self.take_in(n, link, side, message);
        } else {
            end.early.push(message);
        }
    }

    fn peer_of(&self, link: usize, side: usize) -> usize {
        self.wire.links[link].ends[1 - side].node
    }

    fn link_down(&mut self, link: usize, side: usize, why: &str) {
        if self.wire.links[link].ends[side].up {
            self.report(link, side);
        }
        let peer = node_name(self.peer_of(link, side));
        self.cut_all(link, side);
        let end = &mut self.wire.links[link].ends[side];
        end.told = true;
        let (n, id) = (end.node, end.id);
        self.nodes[n].links.remove(&id);
        // A dial of ours that never came to a Hello is a dial that failed.
        let named = end.up || side == 1;
        let known = named.then_some(id);
        if end.up || side == 0 {
            self.hear(
                n,
                Input::LinkDown {
                    peer,
                    link: known,
                    why: why.to_owned(),
                },
            );
        }
    }

    fn take_in(&mut self, n: usize, link: usize, side: usize, message: Message) {
        let id = self.wire.links[link].ends[side].id;
        match message {
            Message::Pack(packed) if packed.is_large() => {
                let sent = packed.heading.sent;
                self.flow_in(n, (link, side), sent, Message::Pack(packed));
            }
            Message::Pack(packed) => self.pack_in(n, link, side, &packed),
            Message::Offer(packed) => self.offer_in(n, link, side, &packed),
            Message::Piece(sent, upto) => {
                self.flow_in(n, (link, side), sent, Message::Piece(sent, upto));
            }
            Message::More(sent) => self.flow(n, link, side, sent, false),
            Message::Lost(sent) => {
                let end = &mut self.wire.links[link].ends[side];
                if let Some((_, stands)) = end.offered.get_mut(&sent) {
                    *stands = false;
                }
                if end.inflows.contains_key(&sent) {
                    self.cut_off(link, side, sent, true);
                }
            }
            Message::Want(sent, from) => {
                let due = self.due_of(n, link, side, sent);
                self.wire.links[link].ends[side].sending.remove(&due);
                self.hear(
                    n,
                    Input::Wanted {
                        link: id,
                        due,
                        from,
                    },
                );
            }
            // The ack that follows says all that matters.
            Message::Have(_) => self.tally.count("have"),
            Message::Answer(ack) => {
                if ack.receipt == ReceiptNo(0) {
                    self.tally.count("ack without receipt");
                }
                self.hear(n, Input::Acked { link: id, ack });
            }
            Message::Busy(sent, why, retry_after) => {
                let (pack, part) = (sent.pack, sent.part);
                self.hear(
                    n,
                    Input::PeerBusy {
                        link: id,
                        pack,
                        part,
                        why,
                        retry_after,
                    },
                );
            }
            Message::Settle(receipt) => self.hear(n, Input::PeerSettled { link: id, receipt }),
            Message::Took(due, bytes) => self.hear(
                n,
                Input::Taken {
                    link: id,
                    due,
                    bytes,
                },
            ),
            Message::Delivered(due) => {
                let dues = vec![due];
                self.hear(n, Input::Delivered { link: id, dues });
            }
            Message::Hello(_) | Message::Down(_) => {}
        }
    }

    fn due_of(&self, n: usize, link: usize, side: usize, sent: Sent) -> Due {
        let peer = node_name(self.peer_of(link, side));
        let peer = self.nodes[n]
            .number(&peer)
            .expect("a peer we offered to has a number");
        Due {
            peer,
            pack: sent.pack,
            part: sent.part,
        }
    }

    /// Members refused by this node, permanent or lied about, by index.
    fn refusals(&mut self, n: usize, packed: &Packed) -> Vec<(u16, Nack)> {
        let mut refused = Vec::new();
        for index in &packed.indexes {
            let id = packed.content.members[usize::from(*index)].id;
            let lied = !self.calm && self.dice.chance(self.plan.odds.bad_digest);
            if self.nodes[n].shunned.contains(&id) {
                refused.push((*index, Nack::Malformed));
            } else if self.plan.refuses(n, id) {
                self.tally.count("fault: refused for good");
                refused.push((*index, Nack::NotAllowed));
            } else if lied || packed.bad.contains(index) {
                self.tally.count("fault: bad digest");
                refused.push((*index, Nack::BadDigest));
            }
        }
        refused
    }

    pub(super) fn pack_in(&mut self, n: usize, link: usize, side: usize, packed: &Packed) {
        let id = self.wire.links[link].ends[side].id;
        let sent = packed.heading.sent;
        let sender = self.peer_of(link, side);
        if !packed.is_large() && self.answers_busy(n, id, sent) {
            return;
        }
        if self.dies_taking(n, &packed.ids()) {
            return;
        }
        let refused = self.refusals(n, packed);
        let is_refused = |index: &u16| refused.iter().any(|(bad, _)| bad == index);
        let kept: Vec<u16> = packed
            .indexes
            .iter()
            .copied()
            .filter(|i| !is_refused(i))
            .collect();
        let whole = kept.len() == packed.content.members.len();
        let content = Arc::new(packed.content.subset(&kept));
        let staged = StagedId(self.nodes[n].give());
        let mut heading = packed.heading.clone();
        let first = packed.content.shape().first;
        heading.sequence = heading.sequence.at(first, content.shape().first);
        let arrival = Arrival {
            heading,
            staged,
            shape: content.shape(),
            table: packed.content.table,
            ids: content.ids(),
            indexes: (!whole).then(|| kept.into()),
            refused,
            topics: match self.plan.routing.is_empty() {
                true => Arc::from([]),
                false => content.members.iter().map(|b| topic_of(b.id)).collect(),
            },
        };
        self.nodes[n].staged.insert(staged, content);
        self.tally.count("arrived");
        self.oracle
            .arrived(n, sender, &arrival, packed.indexes.len() as u32);
        self.hear(
            n,
            Input::Arrived {
                link: id,
                arrival: Box::new(arrival),
            },
        );
    }

    fn offer_in(&mut self, n: usize, link: usize, side: usize, packed: &Packed) {
        let id = self.wire.links[link].ends[side].id;
        let sent = packed.heading.sent;
        let sender = self.peer_of(link, side);
        if self.answers_busy(n, id, sent) {
            return;
        }
        let segment = packed.content.members[0].id;
        if self.dies_taking(n, &[segment]) {
            return;
        }
        if self.plan.refuses(n, segment) {
            self.tally.count("fault: offer refused for good");
            return self.refuse_offer(link, side, sent, &packed.content);
        }
        let (shape, ids) = (packed.content.shape(), packed.content.ids());
        let offer = Offer {
            heading: packed.heading.clone(),
            shape,
            ids,
        };
        let body = &packed.content.members[0];
        let whole = (sender, body.id, body.digest, body.length);
        let end = &mut self.wire.links[link].ends[side];
        end.offered.insert(sent, (whole, true));
        self.oracle.offered(n, sender, &offer);
        self.hear(
            n,
            Input::Offered {
                link: id,
                offer: Box::new(offer),
            },
        );
    }

    /// The shell itself puts a peer off: it sends faster than is admitted.
    fn answers_busy(&mut self, n: usize, link: LinkId, sent: Sent) -> bool {
        let busy = !self.calm && self.dice.chance(self.plan.odds.busy);
        if busy {
            self.tally.count("fault: busy peer");
            let wait = std::time::Duration::from_micros(self.dice.spread(1_000, 10_000_000));
            let why = BusyWhy::IngestQuota;
            let busy = relay_core::event::Effect::Busy {
                link,
                sent,
                why,
                retry_after: wait,
            };
            self.speak(n, busy);
        }
        busy
    }

    fn refuse_offer(&mut self, link: usize, side: usize, sent: Sent, content: &Content) {
        let ack = Ack {
            receipt: ReceiptNo(0),
            pack: sent.pack,
            part: sent.part,
            table: content.table,
            count: 1,
            refused: vec![(0, Nack::NotAllowed)],
        };
        let end = &self.wire.links[link].ends[side];
        let (n, id) = (end.node, end.id);
        let refused = ack.refused;
        let (receipt, table, count) = (ack.receipt, ack.table, ack.count);
        self.speak(
            n,
            relay_core::event::Effect::Ack {
                link: id,
                receipt,
                sent,
                table,
                count,
                refused,
            },
        );
    }
}
