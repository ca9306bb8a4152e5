//! The rules of lanes while they work: what a config that was read again changes.

use std::collections::BTreeMap;

use super::Peer;
use crate::id::LaneNo;
use crate::segment::LaneRule;
use crate::time::Mono;
use crate::turn::ByClass;

impl Peer {
    /// Gives lanes the rules that hold from here on. One that changes its class takes
    /// along what it holds of every bound, and its turn is that of the class it joins.
    pub fn renew(&mut self, rules: &BTreeMap<LaneNo, LaneRule>, now: Mono) {
        let mut joins = Vec::new();
        for (no, lane) in &mut self.lanes {
            let Some(rule) = rules.get(no) else { continue };
            if rule.class != lane.rule.class {
                joins.push(*no);
            }
            lane.rule = *rule;
        }
        for no in &joins {
            let class = self.lanes[no].rule.class;
            let others = self.lanes.iter().filter(|(other, lane)| {
                !joins.contains(other) && lane.rule.class == class && !lane.outbox.is_empty()
            });
            let floor = others.map(|(_, lane)| lane.given()).min();
            if floor.is_none() {
                self.turns.begin(class, now);
            }
            if let Some(lane) = self.lanes.get_mut(no) {
                lane.join(floor.unwrap_or(0));
            }
        }
        if !joins.is_empty() {
            self.sort_by_class();
        }
    }

    /// Orders lanes, and counts what is in flight or unsent, by the classes that hold.
    fn sort_by_class(&mut self) {
        self.by_class = self
            .lanes
            .iter()
            .map(|(no, l)| (l.rule.class, *no))
            .collect();
        self.by_class.sort_unstable();
        let (mut large, mut unsent, mut chunks) =
            (ByClass::default(), ByClass::default(), ByClass::default());
        for parcel in self.parcels.values().filter(|parcel| parcel.is_flying()) {
            let class = self.class(parcel.row.lane);
            large.add(class, parcel.info.slots() as u64);
            unsent.add(class, parcel.sent - parcel.taken);
            chunks.add(class, u64::from(parcel.chunks));
        }
        (self.large, self.unsent, self.unsent_chunks) = (large, unsent, chunks);
    }
}
