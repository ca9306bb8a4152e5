//! Each step: nothing is told to anybody before it is durable.

use std::collections::BTreeSet;

use relay_core::change::{Due, Nack, Part, Sent};
use relay_core::delivery::{Cause, State};
use relay_core::event::Ack;
use relay_core::id::{LinkId, NodeNo, PackNo, PutId, ReceiptNo, SegmentId};
use relay_core::segment::Digest;

use super::Oracle;
use super::books::Seat;
use crate::node::Node;
use crate::scenario::node_index;

impl Oracle {
    pub(super) fn accept_asked(&mut self, n: usize, id: PutId, nodes: &[Node]) {
        let put = self.watches[n]
            .puts
            .remove(&id)
            .unwrap_or_else(|| panic!("[step] n{n} answers {id} twice"));
        let way = self.way_of(n, &put);
        let watch = &mut self.watches[n];
        let whole = vec![put.staged];
        for part in watch.parts.get(&put.staged).unwrap_or(&whole) {
            let pack = watch.pack_of.get(part).copied();
            let pack =
                pack.unwrap_or_else(|| panic!("[step] n{n} accepts {id}, which it never stored"));
            assert!(
                nodes[n].disk.packs.contains_key(&pack),
                "[step] n{n} accepts {id} before it is durable"
            );
            let owed = |(no, of): &(NodeNo, PackNo)| (*of == pack).then_some(watch.peers[no]);
            let owed: BTreeSet<usize> = watch.seats.keys().filter_map(owed).collect();
            let wanted: BTreeSet<usize> = way.peers.iter().copied().collect();
            assert_eq!(owed, wanted, "[step] n{n} accepts {id}: owed to whom");
            let places = watch.asked.values().filter(|row| row.due.pack == pack);
            let mut needs = places.filter_map(|row| row.place.map(|place| place.need));
            assert!(
                needs.all(|need| usize::from(need) == way.need),
                "[step] n{n} accepts {id}, which {} must have",
                way.need
            );
            let here = Due {
                peer: NodeNo::LOCAL,
                pack,
                part: Part::Rest,
            };
            assert_eq!(
                nodes[n].disk.owed.contains_key(&here),
                way.local,
                "[step] n{n} accepts {id}: in its own inbox"
            );
        }
        if let Some((name, _)) = put.key {
            let fresh = watch.keys.insert(name.clone());
            assert!(fresh, "[step] n{n} accepts {name:?} twice");
        }
    }

    pub(super) fn same_asked(
        &mut self,
        n: usize,
        id: PutId,
        first: SegmentId,
        digest: Digest,
        nodes: &[Node],
    ) {
        let watch = &mut self.watches[n];
        let put = watch
            .puts
            .remove(&id)
            .unwrap_or_else(|| panic!("[step] n{n} answers {id} twice"));
        let (name, wanted) = put
            .key
            .expect("[step] only a keyed put is accepted as another");
        let row = nodes[n].disk.key(&name);
        let same =
            row.is_some_and(|row| row.id == first && row.digest == digest && digest == wanted);
        assert!(
            same,
            "[step] n{n} takes {name:?} for {first}, the ledger has {row:?}"
        );
    }

    pub(super) fn refuse_asked(&mut self, n: usize, id: PutId, nodes: &[Node]) {
        let watch = &mut self.watches[n];
        let put = watch
            .puts
            .remove(&id)
            .unwrap_or_else(|| panic!("[step] n{n} answers {id} twice"));
        let pack = watch.pack_of.get(&put.staged);
        let kept = pack.is_some_and(|pack| nodes[n].disk.packs.contains_key(pack));
        assert!(!kept, "[step] n{n} refuses {id} and keeps it");
    }

    /// Nothing begins to go to a peer that said `busy`, until that is over.
    pub(super) fn judge_busy(&self, n: usize, due: Due) {
        let watch = &self.watches[n];
        let peer = watch.peers[&due.peer];
        let until = watch.busy.get(&peer).copied().unwrap_or_default();
        assert!(
            until <= self.now,
            "[step] n{n} sends {due:?} to n{peer}, busy until {until}"
        );
    }

    /// Bytes leave only on a live link to the right peer, only once the mark is
    /// durable, and only as fast as the rates allow.
    pub(super) fn send_asked(
        &mut self,
        n: usize,
        link: LinkId,
        due: Due,
        bytes: u64,
        nodes: &[Node],
    ) {
        self.verb_send(n, due, nodes);
        let watch = &mut self.watches[n];
        let peer = watch.peers[&due.peer];
        assert_eq!(
            watch.up.get(&link),
            Some(&peer),
            "[step] n{n} sends {due:?} on {link}"
        );
        let row = nodes[n].disk.owed.get(&due);
        let marked = row.is_some_and(|row| {
            let open = row.attempt.is_some_and(|attempt| attempt.ended.is_none());
            let same = watch
                .asked
                .get(&due)
                .is_some_and(|asked| asked.attempt == row.attempt);
            row.state == State::Inflight && open && same
        });
        assert!(
            marked,
            "[step] n{n} sends {due:?} and the mark is not durable: {row:?}"
        );
        let own = watch
            .each
            .get_mut(&peer)
            .map(|window| window.send(self.now, bytes));
        for seen in [Some(watch.whole.send(self.now, bytes)), own]
            .into_iter()
            .flatten()
        {
            match seen {
                Ok(true) => self.tally.count("rate binds"),
                Ok(false) => {}
                Err(over) => panic!("[window] n{n} to n{peer}: {over} bytes too many"),
            }
        }
    }

    /// An ack says what is durable here, of what did come in.
    pub(super) fn ack_asked(
        &mut self,
        n: usize,
        link: LinkId,
        sent: Sent,
        ack: &Ack,
        nodes: &[Node],
    ) {
        let watch = &self.watches[n];
        let sender = *watch
            .up
            .get(&link)
            .unwrap_or_else(|| panic!("[step] n{n} acks on {link}, which is down"));
        let seen = watch.arrivals.get(&(sender, sent)).into_iter().flatten();
        let arrival = seen
            .rev()
            .find(|seen| seen.table == ack.table && seen.count == ack.count);
        let arrival =
            arrival.unwrap_or_else(|| panic!("[step] n{n} acks {sent:?} and saw no such pack"));
        let origin = arrival.origin.as_ref().unwrap_or(&nodes[sender].name);
        let number = nodes[n].number(origin);
        let is_refused = |index: u16| ack.refused.iter().any(|(other, _)| *other == index);
        for (index, id, digest) in arrival
            .members
            .iter()
            .filter(|(index, _, _)| !is_refused(*index))
        {
            let here = number.is_some_and(|no| nodes[n].disk.has(no, *id, *digest));
            assert!(
                here,
                "[step] n{n} acks {sent:?} member {index} before it is durable"
            );
        }
        for (index, nack) in &ack.refused {
            let id = |at: u16| {
                let ours = nodes[sender].disk.packs.get(&sent.pack)?;
                Some(ours.content.members.get(usize::from(at))?.id)
            };
            let known = match nack {
                Nack::NotAllowed | Nack::BadDigest => true,
                Nack::Malformed => id(*index).is_some_and(|id| self.shuns(n, id)),
                Nack::HopLimit => arrival.hops > self.limits.hops,
                Nack::TooLarge | Nack::IdConflict => false,
            };
            assert!(
                known,
                "[step] n{n} refuses {sent:?} member {index} as {nack:?}"
            );
        }
        let origin = node_index(origin);
        let settled = watch.settled.get(&sender).copied().unwrap_or_default();
        let row = nodes[n].disk.receipts.get(&ack.receipt);
        let kept = row.is_some_and(|row| row.sent == sent) || ack.receipt <= settled;
        assert!(
            kept,
            "[step] n{n} gives the receipt {} for {sent:?}, which is {row:?}",
            ack.receipt
        );
        self.count_ack(n, sender, origin, ack);
    }

    /// Settled is said only of what is terminal on our disk, for every receipt
    /// that the peer will then forget.
    pub(super) fn settle_asked(&mut self, n: usize, link: LinkId, upto: ReceiptNo, nodes: &[Node]) {
        self.tally.count("settled");
        let watch = &mut self.watches[n];
        let peer = *watch
            .up
            .get(&link)
            .unwrap_or_else(|| panic!("[step] n{n} settles on {link}, which is down"));
        let no = nodes[n]
            .number(&nodes[peer].name)
            .expect("[step] a peer settled has a number");
        let said = watch.said.insert(link, upto).unwrap_or_default();
        for row in nodes[peer].disk.receipts.range(..=upto).map(|(_, row)| row) {
            if row.no <= said {
                continue;
            }
            let ours = nodes[peer]
                .disk
                .nodes
                .get(&row.peer)
                .is_some_and(|name| node_index(name) == n);
            if !ours || watch.lied.contains(&(peer, row.sent.pack)) {
                continue;
            }
            let seats = watch.seats.get(&(no, row.sent.pack));
            let theirs = &nodes[peer].disk;
            let filed = theirs.filed.get(&row.no).into_iter().flatten();
            let filed = filed.filter_map(|pack| theirs.packs.get(pack));
            let seen = filed.flat_map(|stored| &stored.content.members);
            let stored = &nodes[n].disk.packs[&row.sent.pack];
            let mut told = Vec::new();
            for body in seen {
                let index = stored
                    .content
                    .members
                    .iter()
                    .position(|own| own.id == body.id);
                let seat = index.and_then(|index| seats.and_then(|seats| seats.get(index)));
                let over = seat.is_none_or(|seat| *seat != Seat::Waiting);
                if let (Some(Seat::Deadletter), Some(member)) = (seat, index) {
                    told.push(member as u16);
                }
                assert!(
                    over,
                    "[step] n{n} settles {upto} while {:?} waits under receipt {}",
                    row.sent, row.no
                );
            }
            // What cannot be read is never sent, whatever is retried. What could not be
            // read for so long that it was given up, is (ARCHITECTURE, "Not here yet").
            let unread = |member: &u16| {
                let of = |part| Due {
                    peer: no,
                    pack: row.sent.pack,
                    part,
                };
                let own = watch.asked.get(&of(Part::Member(*member)));
                let row = own.or_else(|| watch.asked.get(&of(Part::Rest)));
                row.is_some_and(|row| {
                    row.state
                        == (State::Deadletter {
                            cause: Cause::Corrupt,
                        })
                })
            };
            told.retain(|member| !stored.missing && !unread(member));
            for member in told {
                watch.verbs.tell(no, row.sent.pack, member);
            }
        }
    }
}
