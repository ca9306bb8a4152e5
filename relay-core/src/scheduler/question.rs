//! Something that arrived and needs an answer.

use super::binding::Bound;
use crate::change::{Nack, ReceiptRow, Refused};
use crate::event::{Arrival, Heading, Ids, Offer, Shape};
use crate::id::{LaneNo, LinkId, NodeNo, PackNo, ReceiptNo, Ticket};
use crate::segment::Digest;

/// Something that arrived and needs an answer.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) peer: NodeNo,
    pub(super) link: LinkId,
    pub(super) origin: NodeNo,
    pub(super) lane: LaneNo,
    pub(super) item: Item,
    /// May be asked once this ticket is durable.
    pub(super) after: Ticket,
    /// Members refused, by index in the pack as sent.
    pub(super) refused: Vec<Refused>,
    /// It was offered again since: only the latest offer is answered.
    pub(super) let_go: bool,
    /// Where the packs it is being divided into go.
    pub(super) ways: Vec<Bound>,
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Pack(Box<Arrival>),
    Offer(Box<Offer>),
}

impl Question {
    pub(super) fn heading(&self) -> &Heading {
        match &self.item {
            Item::Pack(arrival) => &arrival.heading,
            Item::Offer(offer) => &offer.heading,
        }
    }

    pub(super) const fn ids(&self) -> &Ids {
        match &self.item {
            Item::Pack(arrival) => &arrival.ids,
            Item::Offer(offer) => &offer.ids,
        }
    }

    pub(super) const fn shape(&self) -> &Shape {
        match &self.item {
            Item::Pack(arrival) => &arrival.shape,
            Item::Offer(offer) => &offer.shape,
        }
    }

    pub(super) fn table(&self) -> Digest {
        match &self.item {
            Item::Pack(arrival) => arrival.table,
            Item::Offer(offer) => offer.shape.table,
        }
    }

    /// The index a member had in the pack as sent.
    pub(super) fn index(&self, member: usize) -> u16 {
        match &self.item {
            Item::Pack(arrival) => match &arrival.indexes {
                Some(indexes) => indexes[member],
                None => member as u16,
            },
            Item::Offer(_) => member as u16,
        }
    }

    pub(super) fn refuse_all(&mut self, why: Nack) {
        let all: Vec<Refused> = (0..self.ids().len())
            .map(|m| (self.index(m), why))
            .collect();
        self.refused.extend(all);
    }

    /// The receipt, numbered 0 until something is stored.
    pub(super) fn receipt(&self) -> ReceiptRow {
        ReceiptRow {
            no: ReceiptNo(0),
            peer: self.peer,
            sent: self.heading().sent,
            table: self.table(),
            count: self.ids().len() as u32 + self.early_refusals(),
            refused: self.refused.clone(),
            pack: PackNo(0),
        }
    }

    pub(super) fn early_refusals(&self) -> u32 {
        match &self.item {
            Item::Pack(arrival) => arrival.refused.len() as u32,
            Item::Offer(_) => 0,
        }
    }
}
