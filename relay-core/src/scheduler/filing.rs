//! Arrivals that are new: filed under a pack and a receipt of ours, durable
//! before acknowledged.

use smallvec::SmallVec;

use super::Scheduler;
use super::binding::{Bound, Owing};
use super::question::{Item, Question};
use super::tickets::Pending;
use crate::change::{Change, ReceiptRow};
use crate::event::{BusyWhy, Effect, Ids, Shape};
use crate::id::{LinkId, NodeNo, PackNo, PartialNo, StagedId};
use crate::segment::Came;
use crate::time::Now;

/// An arrival whose rows are on their way to disk.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    link: LinkId,
    staged: Vec<StagedId>,
    receipt: ReceiptRow,
    origin: NodeNo,
    /// Ids held in `asked`; empty if it was new without a look-up.
    ids: Option<Ids>,
    /// Under which number the ledger has its beginning.
    partial: Option<PartialNo>,
    /// Rows for the next hops.
    owing: SmallVec<[Owing; 1]>,
}

impl Scheduler {
    /// Files what has arrived as the packs `parts`, with the ids held for it and the
    /// number under which the ledger has its beginning.
    pub(super) fn store_arrival(
        &mut self,
        now: Now,
        question: Question,
        (ids, partial): (Option<Ids>, Option<PartialNo>),
        parts: &[(StagedId, Shape, Bound)],
    ) {
        let receipt = self.number_receipt(&question);
        let Item::Pack(arrival) = &question.item else {
            unreachable!("only what is here is stored")
        };
        let heading = &arrival.heading;
        let (mut changes, mut owing) = (self.empty_batch(), SmallVec::new());
        for (n, (staged, shape, bound)) in parts.iter().enumerate() {
            let no = PackNo(receipt.pack.0 + n as u64);
            self.last_pack = no;
            let came = Came {
                origin: question.origin,
                via: question.peer,
                hops: heading.hops,
                sequence: heading.sequence.at(arrival.shape.first, shape.first),
            };
            let info = shape.info(question.lane, came, now.unix, heading.ttl);
            changes.push(Change::Pack {
                no,
                staged: *staged,
                info: info.clone(),
            });
            self.owe_to(now, no, &info, bound, (&mut changes, &mut owing));
        }
        changes.push(Change::Receipt(receipt.clone()));
        let sent = receipt.sent;
        let (of, most) = ((sent.ledger, question.lane), self.settings.limits.heard);
        let heard = self.arrivals.heard.remember(of, sent.pack, most);
        // Written each time: what raised it in memory may have found no room.
        changes.extend(heard.map(|heard| Change::Heard(sent.ledger, question.lane, heard)));
        changes.extend(partial.map(Change::PartialGone));
        let stored = Stored {
            link: question.link,
            staged: parts.iter().map(|(staged, _, _)| *staged).collect(),
            receipt,
            origin: question.origin,
            ids,
            partial,
            owing,
        };
        let ticket = self.persist_alone(changes, Pending::Arrival(Box::new(stored)));
        self.arrivals.latest.insert(question.peer, ticket);
    }

    pub(super) fn number_receipt(&mut self, question: &Question) -> ReceiptRow {
        self.last_pack.0 += 1;
        self.last_receipt.0 += 1;
        let (no, pack) = (self.last_receipt, self.last_pack);
        self.peer_mut(question.peer).unsettled.known.insert(no);
        ReceiptRow {
            no,
            pack,
            ..question.receipt()
        }
    }

    pub(super) fn on_arrival_stored(&mut self, now: Now, stored: Stored) {
        self.owing_stored(now, &stored.owing);
        if let Some(ids) = &stored.ids {
            self.arrivals.release(stored.origin, ids);
        }
        self.acknowledge(stored.receipt.peer, stored.link, stored.receipt);
    }

    pub(super) fn on_arrival_refused(&mut self, stored: Stored) {
        self.owing_refused(&stored.owing);
        if let Some(ids) = &stored.ids {
            self.arrivals.release(stored.origin, ids);
        }
        let (peer, sent) = (stored.receipt.peer, stored.receipt.sent);
        self.peer_mut(peer)
            .unsettled
            .known
            .remove(&stored.receipt.no);
        let discards = stored.staged.iter().map(|staged| Effect::Discard(*staged));
        self.effects.extend(discards);
        self.partial_gone(stored.partial);
        if self.peer_on(stored.link) == Some(peer) {
            let retry_after = self.settings.limits.busy_retry;
            let (link, why) = (stored.link, BusyWhy::StorageFull);
            self.effects.push_back(Effect::Busy {
                link,
                sent,
                why,
                retry_after,
            });
        }
    }
}
