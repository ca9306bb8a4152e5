//! What was used so far: meters in memory, and what of them the ledger keeps.
//!
//! The quota counts UDP bytes, which the transport reports some time after it was
//! given the bytes to send. Until then those bytes are *pending*: they count
//! against a quota at once, so that it does not depend on how often anybody
//! looks at a connection. What never leaves (a stream that was reset) is pending
//! until a report comes while nothing flies, or until the last link has ended: a
//! link makes its last report before it does. Amounts are written down with other work, at most once
//! in [`limits::SAVE_METERS`]; on their own only once [`limits::UNSAVED_BYTES`]
//! have gathered, so that an idle link writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Scheduler;
use crate::change::{Change, Snapshot};
use crate::id::{LinkId, NodeId, NodeNo};
use crate::limits;
use crate::meter::{Meter, Metered, minute_of};
use crate::quota::Rolling;
use crate::time::{Mono, Now, Unix};

/// All meters of this node.
#[derive(Debug, Default)]
pub(super) struct Meters {
    minute: u64,
    rolling: BTreeMap<Meter, Rolling>,
    counts: BTreeMap<Meter, u64>,
    /// Rows that are not as the ledger has them.
    unsaved: BTreeSet<(Meter, u64)>,
    unsaved_bytes: u64,
    saved_at: Mono,
    /// Bytes given to the links of a peer that they have not reported as sent.
    pending: BTreeMap<NodeNo, u64>,
    pending_all: u64,
    /// Links that were let go of and may still report.
    ending: BTreeMap<LinkId, NodeNo>,
    /// Since when nothing flies to a peer for which bytes are pending.
    landed: BTreeMap<NodeNo, Mono>,
}

impl Meters {
    pub(super) fn new(snapshot: &Snapshot, now: Now) -> Self {
        let mut meters = Self {
            minute: minute_of(now.unix),
            saved_at: now.mono,
            ..Self::default()
        };
        for row in &snapshot.meters {
            meters.take_up(*row);
        }
        if let std::collections::btree_map::Entry::Vacant(since) = meters.counts.entry(Meter::Since)
        {
            since.insert(now.wall.0);
            meters.unsaved.insert((Meter::Since, 0));
        }
        meters
    }

    fn take_up(&mut self, row: Metered) {
        let Some(span) = row.meter.span() else {
            self.counts.insert(row.meter, row.amount);
            return;
        };
        let minute = self.minute;
        let rolling = self.rolling.entry(row.meter);
        let rolling = rolling.or_insert_with(|| Rolling::new(span, minute));
        rolling.take_up(row.minute, row.amount);
        if row.minute > minute {
            // Of a clock that was put back: it counts as of now.
            self.unsaved.insert((row.meter, row.minute));
            self.unsaved.insert((row.meter, minute));
        }
    }

    /// Forgets what is too old by now.
    pub(super) fn roll(&mut self, now: Now) {
        let minute = minute_of(now.unix);
        if minute > self.minute {
            self.minute = minute;
            let rolling = self.rolling.values_mut();
            rolling.for_each(|rolling| rolling.roll(minute));
        }
    }

    /// So much more of `meter`.
    pub(super) fn add(&mut self, meter: Meter, amount: u64) {
        let minute = self.minute;
        match meter.span() {
            Some(span) => {
                let rolling = self.rolling.entry(meter);
                let rolling = rolling.or_insert_with(|| Rolling::new(span, minute));
                rolling.add(amount);
                self.unsaved.insert((meter, minute));
                self.unsaved_bytes = self.unsaved_bytes.saturating_add(amount);
            }
            None => {
                *self.counts.entry(meter).or_default() += amount;
                self.unsaved.insert((meter, 0));
            }
        }
    }

    /// Used of `meter` in its span.
    pub(super) fn used(&self, meter: Meter) -> u64 {
        self.rolling.get(&meter).map_or(0, Rolling::used)
    }

    /// The minute from which less than `below` of `meter` is used, if `more` is about to be.
    pub(super) fn opens(&self, meter: Meter, below: u64, more: u64) -> Option<u64> {
        match self.rolling.get(&meter) {
            Some(rolling) => rolling.opens(below, more),
            None => Rolling::new(meter.span()?, self.minute).opens(below, more),
        }
    }

    /// How often `meter` was counted.
    pub(super) fn counted(&self, meter: Meter) -> u64 {
        self.counts.get(&meter).copied().unwrap_or(0)
    }

    /// How often a meter of every peer was counted, over all of them.
    pub(super) fn counted_all(&self, of: fn(NodeNo) -> Meter) -> u64 {
        let range = of(NodeNo(0))..=of(NodeNo(u32::MAX));
        self.counts.range(range).map(|(_, count)| count).sum()
    }

    /// Since when counts run, by the wall clock.
    pub(super) fn since(&self) -> Option<Unix> {
        self.counts.get(&Meter::Since).map(|at| Unix(*at))
    }

    /// Bytes that the links of `whose`, or all links, have yet to report.
    pub(super) fn pending(&self, whose: Option<NodeNo>) -> u64 {
        match whose {
            None => self.pending_all,
            Some(no) => self.pending.get(&no).copied().unwrap_or(0),
        }
    }

    /// `bytes` are with the link of `no`.
    pub(super) fn hand_over(&mut self, no: NodeNo, bytes: u64) {
        *self.pending.entry(no).or_default() += bytes;
        self.pending_all += bytes;
        self.landed.remove(&no);
    }

    /// A link has sent `bytes`; `None`: to nobody we number.
    fn report(&mut self, no: Option<NodeNo>, bytes: u64) {
        self.add(Meter::Node, bytes);
        let Some(no) = no else { return };
        self.add(Meter::Peer(no), bytes);
        if let Some(pending) = self.pending.get_mut(&no) {
            let sent = bytes.min(*pending);
            *pending -= sent;
            self.pending_all -= sent;
        }
    }

    /// What is pending for `no` and was not reported never will be.
    fn nothing_pending(&mut self, no: NodeNo) {
        if !self.ending.values().any(|ending| *ending == no) {
            self.pending_all -= self.pending.remove(&no).unwrap_or(0);
            self.landed.remove(&no);
        }
    }

    /// Nothing flies to `no`: what was handed over was sent and is told soon, or, where an
    /// upload was cut short, never will be.
    fn landed(&mut self, no: NodeNo, now: Mono) {
        if !self.pending.contains_key(&no) {
            return;
        }
        let since = *self.landed.entry(no).or_insert(now);
        if now.since(since) >= limits::TOLD_WITHIN {
            self.nothing_pending(no);
        }
    }

    /// A link of `no` is let go of; it may still report.
    pub(super) fn link_ending(&mut self, no: NodeNo, link: LinkId) {
        self.ending.insert(link, no);
    }

    /// A link of `no` has made its last report; whether another is `up`.
    pub(super) fn link_ended(&mut self, no: NodeNo, link: LinkId, up: bool) {
        self.ending.remove(&link);
        if !up {
            self.nothing_pending(no);
        }
    }

    /// When what has gathered is to be written down, though nothing else is.
    pub(super) fn save_at(&self) -> Option<Mono> {
        let enough = self.unsaved_bytes >= limits::UNSAVED_BYTES;
        enough.then(|| self.saved_at + limits::SAVE_METERS)
    }

    fn row(&self, (meter, minute): (Meter, u64)) -> Metered {
        let amount = match meter.span() {
            Some(_) => self
                .rolling
                .get(&meter)
                .map_or(0, |rolling| rolling.at(minute)),
            None => self.counted(meter),
        };
        Metered {
            meter,
            minute,
            amount,
        }
    }
}

impl Scheduler {
    pub(super) fn on_sent_on_wire(&mut self, now: Now, peer: &NodeId, bytes: u64) {
        let no = self.nodes.number(peer);
        let no = no.filter(|no| self.peers.contains_key(no));
        self.meters.report(no, bytes);
        if let Some(no) = no.filter(|no| self.peers[no].flying() == 0) {
            self.meters.landed(no, now.mono);
        }
        self.dirty.extend(no);
    }

    /// Writes down what was used, if it is time to.
    pub(super) fn save_meters(&mut self, now: Now, beside_others: bool) {
        let rested = now.mono >= self.meters.saved_at + limits::SAVE_METERS;
        let alone = self.meters.unsaved_bytes >= limits::UNSAVED_BYTES;
        if rested && (beside_others || alone || !self.batch.is_empty()) {
            self.save_all_meters(now);
        }
    }

    /// Writes down whatever the ledger does not have.
    pub(super) fn save_all_meters(&mut self, now: Now) {
        let unsaved = std::mem::take(&mut self.meters.unsaved);
        self.meters.unsaved_bytes = 0;
        self.meters.saved_at = now.mono;
        let rows = unsaved.into_iter().map(|key| self.meters.row(key));
        self.batch.extend(rows.map(Change::Metered));
    }
}
