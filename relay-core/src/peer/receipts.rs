//! Receipts of one peer, both ways: theirs for our packs, ours for theirs.

use std::collections::{BTreeSet, VecDeque};

use crate::change::ReceiptRow;
use crate::id::{ReceiptNo, Ticket};

/// The receipts of a peer for our packs, in the order heard on this link.
#[derive(Clone, Debug, Default)]
pub struct SettleLine {
    /// Rising; what it settles becomes durable with the ticket, once that is known.
    heard: VecDeque<(ReceiptNo, Option<Ticket>)>,
    said: ReceiptNo,
}

impl SettleLine {
    /// An ack with this receipt was heard; what it settles is not yet known.
    pub fn hear(&mut self, receipt: ReceiptNo) {
        if receipt.0 != 0 && receipt > self.said {
            // Receipts rise, but for what is said again.
            if let Err(at) = self.place(receipt) {
                self.heard.insert(at, (receipt, None));
            }
        }
    }

    /// What the ack settles becomes durable with `ticket`.
    pub fn settle(&mut self, receipt: ReceiptNo, ticket: Ticket) {
        if let Ok(at) = self.place(receipt) {
            self.heard[at].1 = Some(ticket);
        }
    }

    /// Where `receipt` is, or would be.
    fn place(&self, receipt: ReceiptNo) -> Result<usize, usize> {
        match self.heard.back() {
            Some((last, _)) if *last < receipt => Err(self.heard.len()),
            Some(_) | None => self.heard.binary_search_by_key(&receipt, |(no, _)| *no),
        }
    }

    /// Whether nothing was heard that is not said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// The ticket the first receipt not yet said waits for, if that is known.
    #[must_use]
    pub fn waits_for(&self) -> Option<Ticket> {
        self.heard.front().and_then(|(_, ticket)| *ticket)
    }

    /// The greatest receipt below which everything heard is durable, if it has
    /// grown since the last call.
    pub fn say(&mut self, durable: Ticket) -> Option<ReceiptNo> {
        let mut last = None;
        while let Some((receipt, Some(ticket))) = self.heard.front() {
            if *ticket > durable {
                break;
            }
            last = Some(*receipt);
            self.heard.pop_front();
        }
        self.said = last.unwrap_or(self.said);
        last
    }
}

/// The receipts we gave to a peer and that it has not settled.
#[derive(Clone, Debug, Default)]
pub struct Unsettled {
    /// Those of this run and those read back.
    pub known: BTreeSet<ReceiptNo>,
    /// Those of earlier runs, counted at start and not yet read back.
    pub unread: u64,
    /// While receipts are repeated on a new link: the question that is open.
    pub recalling: Option<u64>,
    /// The last receipt said on this link.
    pub said: ReceiptNo,
    /// Receipts whose acks must wait for the repetition to end, rising.
    pub held: VecDeque<ReceiptRow>,
}

impl Unsettled {
    /// How many packs of the peer it has not settled.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.known.len() as u64 + self.unread
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Every receipt heard so far and what it settled with, and what was said: nothing
    /// is ever taken out.
    #[derive(Default)]
    struct Naive {
        heard: BTreeMap<u64, Option<u64>>,
        said: u64,
    }

    impl Naive {
        fn say(&mut self, durable: u64) -> Option<ReceiptNo> {
            let is_done = |ticket: &Option<u64>| ticket.is_some_and(|ticket| ticket <= durable);
            let open = self.heard.iter().find(|(_, ticket)| !is_done(ticket));
            let below = open.map_or(u64::MAX, |(receipt, _)| *receipt);
            let last = *self.heard.range(..below).next_back()?.0;
            (last > self.said).then(|| {
                self.said = last;
                ReceiptNo(last)
            })
        }
    }

    #[test]
    fn settled_is_said_only_below_the_first_gap() {
        let mut line = SettleLine::default();
        for receipt in [3, 5, 9] {
            line.hear(ReceiptNo(receipt));
        }
        line.settle(ReceiptNo(3), Ticket(10));
        line.settle(ReceiptNo(9), Ticket(10));

        assert_eq!(line.say(Ticket(9)), None);
        assert_eq!(line.say(Ticket(10)), Some(ReceiptNo(3)));
        assert_eq!(line.say(Ticket(99)), None, "5 is not settled");
        line.settle(ReceiptNo(5), Ticket(11));
        assert_eq!(line.say(Ticket(11)), Some(ReceiptNo(9)));
        line.hear(ReceiptNo(4));
        assert_eq!(
            line.say(Ticket(99)),
            None,
            "what was said is not said again"
        );
    }

    proptest! {
        #[test]
        fn the_mark_is_that_of_a_list_of_all_that_was_heard(
            steps in proptest::collection::vec((0u8..3, 0u64..24, 0u64..40), 1..200),
        ) {
            let (mut line, mut naive) = (SettleLine::default(), Naive::default());
            let mut durable = 0;
            for (kind, receipt, ticket) in steps {
                match kind {
                    // The same ack may be heard again; 0 says that nothing was stored.
                    0 => {
                        line.hear(ReceiptNo(receipt));
                        if receipt > naive.said {
                            naive.heard.entry(receipt).or_insert(None);
                        }
                    }
                    1 => {
                        line.settle(ReceiptNo(receipt), Ticket(ticket));
                        if receipt > naive.said && let Some(entry) = naive.heard.get_mut(&receipt) {
                            *entry = Some(ticket);
                        }
                    }
                    _ => {
                        durable = durable.max(ticket);
                        prop_assert_eq!(line.say(Ticket(durable)), naive.say(durable));
                    }
                }
            }
        }
    }
}
