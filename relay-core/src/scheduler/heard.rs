//! What is remembered of those whose packs arrive: the highest number of each of their
//! ledgers in each lane, and who named which lane first. Both are rows for good, so both
//! are bounded: a peer may name another ledger at each visit.
//!
//! A number proves that a pack is new only while everything stored of its ledger was
//! remembered. So once the table is half full an unknown ledger proves nothing, and is
//! looked up by id; it is remembered all the same until the table is full. Half a table
//! is more than a crash or a full disk can take back.

use std::collections::BTreeMap;

use super::Scheduler;
use crate::change::Snapshot;
use crate::id::{LaneName, LaneNo, LedgerId, NodeNo, PackNo};
use crate::limits;

/// All of it.
#[derive(Debug)]
pub(super) struct Heard {
    highest: BTreeMap<(LedgerId, LaneNo), PackNo>,
    /// How many lanes each peer was the first to name in this run.
    named: BTreeMap<NodeNo, usize>,
}

impl Heard {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let all = snapshot.heard.iter();
        Self {
            highest: all
                .map(|(ledger, lane, pack)| ((*ledger, *lane), *pack))
                .collect(),
            named: BTreeMap::new(),
        }
    }

    /// Whether a pack's number alone says that it is new.
    pub(super) fn is_rising(&self, of: (LedgerId, LaneNo), pack: PackNo, most: usize) -> bool {
        match self.highest.get(&of) {
            Some(highest) => pack > *highest,
            None => self.highest.len() < most / 2,
        }
    }

    /// A pack is stored; the highest number that is remembered of its ledger in its lane,
    /// if any is.
    pub(super) fn remember(
        &mut self,
        of: (LedgerId, LaneNo),
        pack: PackNo,
        most: usize,
    ) -> Option<PackNo> {
        if self.highest.len() >= most && !self.highest.contains_key(&of) {
            return None;
        }
        let highest = self.highest.entry(of).or_default();
        *highest = pack.max(*highest);
        Some(*highest)
    }
}

impl Scheduler {
    /// The number of a lane that `peer` names; `None`: it has named too many that nobody
    /// knows, or the table is full.
    pub(super) fn lane_from(&mut self, peer: NodeNo, name: &LaneName) -> Option<LaneNo> {
        if self.lanes.number(name).is_none() {
            let named = self.arrivals.heard.named.entry(peer).or_default();
            if *named >= limits::LANES_OF_PEER {
                return None;
            }
            *named += 1;
        }
        self.lane_number(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneNo = LaneNo(2);

    fn heard() -> Heard {
        Heard {
            highest: BTreeMap::new(),
            named: BTreeMap::new(),
        }
    }

    #[test]
    fn a_number_above_all_heard_is_new() {
        let (mut heard, of) = (heard(), (LedgerId(5), LANE));

        assert!(heard.is_rising(of, PackNo(7), 64));
        assert_eq!(heard.remember(of, PackNo(7), 64), Some(PackNo(7)));
        assert_eq!(heard.remember(of, PackNo(3), 64), Some(PackNo(7)));

        assert!(!heard.is_rising(of, PackNo(7), 64));
        assert!(heard.is_rising(of, PackNo(8), 64));
    }

    #[test]
    fn ledgers_without_end_fill_the_table_and_prove_nothing() {
        let (mut heard, most) = (heard(), 64);
        let first = (LedgerId(0), LANE);
        for ledger in 0..10_000 {
            let of = (LedgerId(ledger), LANE);
            let proves = heard.is_rising(of, PackNo(1), most);
            assert_eq!(proves, ledger < 32, "ledger {ledger}");
            let kept = heard.remember(of, PackNo(1), most);
            assert_eq!(kept.is_some(), ledger < 64, "ledger {ledger}");
        }

        assert_eq!(heard.highest.len(), most);
        assert!(heard.is_rising(first, PackNo(2), most), "those known go on");
    }
}
