//! Restart: what a crash leaves, and what start-up makes of it.

use std::collections::BTreeMap;

use relay_core::change::{Change, Depth, Due, OwedRow, Shelved, Snapshot, close_attempt};
use relay_core::delivery::{Outcome, State};
use relay_core::id::BootEpoch;
use relay_core::meter::Metered;
use relay_core::spool::SpooledRow;
use relay_core::time::Unix;

use super::real::same_snapshot;
use super::{Disk, Job};

impl Disk {
    /// The process dies: what was asked and not committed is lost. Answers the
    /// group that was being committed: it may yet turn out durable.
    pub fn crash(&mut self) -> Vec<Job> {
        self.waiting.clear();
        std::mem::take(&mut self.group)
    }

    /// The group caught by the crash had reached the platter after all.
    pub fn keep(&mut self, group: Vec<Job>, now: u64) -> Vec<Job> {
        self.group = group;
        self.commit(now)
            .map_or_else(Vec::new, |committed| committed.done)
    }

    /// Opens the ledger for a new run: open attempts are closed `ABANDONED`,
    /// their deliveries return. Answers the rows so returned as well.
    pub fn restart(&mut self, at: Unix) -> (Snapshot, Vec<Due>) {
        self.epoch = BootEpoch(self.epoch.0 + 1);
        self.partials.restart();
        let open: Vec<Due> = self
            .owed
            .iter()
            .filter(|(_, row)| matches!(row.state, State::Inflight))
            .map(|(due, _)| *due)
            .collect();
        let mut rescued = 0;
        for due in &open {
            let mut row = self.owed[due].clone();
            let closed = close_attempt(&mut row, at, Outcome::Abandoned);
            assert!(
                closed.is_some(),
                "[step] {due:?} is in flight without an open attempt"
            );
            row.state = State::Scheduled;
            row.rescued = true;
            row.updated = at;
            rescued += u64::from(row.count);
            self.apply(&Change::Owed(row), &BTreeMap::new(), 0);
        }
        let snapshot = self.snapshot(rescued);
        self.clock = at;
        if let Some(real) = &self.real {
            let stand: Vec<_> = self.partials.files.keys().copied().collect();
            let found = real.borrow_mut().restart(at, &stand, self.clocks);
            same_snapshot(&snapshot, &found);
        }
        self.clocks.commit();
        (snapshot, open)
    }

    fn snapshot(&self, rescued: u64) -> Snapshot {
        let mut depths: BTreeMap<_, Depth> = BTreeMap::new();
        for row in self.owed.values() {
            let depth = depths
                .entry((row.due.peer, row.lane, row.state.name()))
                .or_default();
            depth.parcels += 1;
            depth.count += u64::from(row.count);
            depth.bytes += row.bytes;
        }
        let mut unsettled: BTreeMap<_, u64> = BTreeMap::new();
        for row in self.receipts.values() {
            *unsettled.entry(row.peer).or_default() += 1;
        }
        Snapshot {
            ledger: self.ledger,
            epoch: self.epoch,
            nodes: self
                .nodes
                .iter()
                .map(|(no, name)| (*no, name.clone()))
                .collect(),
            lanes: self
                .lanes
                .iter()
                .map(|(no, name)| (*no, name.clone()))
                .collect(),
            last_pack: self.last_pack,
            last_receipt: self.last_receipt,
            heard: self
                .heard
                .iter()
                .map(|((l, lane), no)| (*l, *lane, *no))
                .collect(),
            unsettled: unsettled.into_iter().collect(),
            depths: depths
                .into_iter()
                .map(|((p, l, s), depth)| (p, l, s, depth))
                .collect(),
            rescued,
            meters: self
                .meters
                .iter()
                .map(|((meter, minute), amount)| Metered {
                    meter: *meter,
                    minute: *minute,
                    amount: *amount,
                })
                .collect(),
            settings: self
                .settings
                .iter()
                .map(|(name, value)| (*name, *value))
                .collect(),
            shelved: shelved(self.owed.values()),
            stuck: self.stuck(None, usize::MAX).len() as u64,
            expires: self.expired(Unix(0), None, 0).1,
            partials: self.partials.rows.values().cloned().collect(),
            spooled: self
                .spooled
                .iter()
                .map(|(segment, from)| SpooledRow {
                    segment: *segment,
                    from: from.clone(),
                })
                .collect(),
        }
    }
}

/// What of `rows` no page of work shows, summed.
pub(crate) fn shelved<'r>(rows: impl Iterator<Item = &'r OwedRow>) -> Vec<Shelved> {
    let mut sums: BTreeMap<_, Depth> = BTreeMap::new();
    for row in rows.filter(|row| matches!(row.state, State::Scheduled | State::Failed { .. })) {
        let Some(on) = row.shelved_on() else {
            continue;
        };
        let key = (row.due.peer, row.lane, row.state.name(), on);
        let depth = sums.entry(key).or_default();
        depth.parcels += 1;
        depth.count += u64::from(row.count);
        depth.bytes += row.bytes;
    }
    let told = |((peer, lane, state, on), depth)| Shelved {
        peer,
        lane,
        state,
        on,
        depth,
    };
    sums.into_iter().map(told).collect()
}
