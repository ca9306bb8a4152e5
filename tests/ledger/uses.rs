//! What the ledger should hold of meters and of beginnings of large segments, in
//! plain maps. A beginning stands as long as a row and a file of that length do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use relay_core::change::{Change, Snapshot};
use relay_core::id::{LaneNo, NodeNo, PartialNo, SegmentId};
use relay_core::meter::{Meter, Metered};
use relay_core::partial::PartialRow;
use relay_core::segment::Digest;
use relay_core::spool::{FileMark, Spooled, SpooledRow};
use relay_core::time::Unix;

use super::disk::{Disk, NOW};

/// A day and an hour of the age clock, in minutes.
const SPANS: [u64; 2] = [24 * 60, 60];

/// Meters and beginnings.
#[derive(Default)]
pub(crate) struct Uses {
    meters: BTreeMap<(Meter, u64), u64>,
    partials: BTreeMap<PartialNo, PartialRow>,
    spooled: BTreeMap<SegmentId, Spooled>,
    /// How many of each fifth number are over: a number is never given twice.
    over: [u64; 5],
}

impl Uses {
    /// Sets what was used of a meter in a minute; older minutes go once they count
    /// no more.
    pub(crate) fn meter(&mut self, a: u8, b: u8, c: u8) -> Vec<Change> {
        let (no, lane) = (NodeNo(u32::from(b % 2)), LaneNo(u16::from(b % 2)));
        let (meter, span) = match a % 7 {
            0 => (Meter::Node, Some(SPANS[0])),
            1 => (Meter::Peer(no), Some(SPANS[0])),
            2 => (Meter::LaneBytes(lane), Some(SPANS[0])),
            3 => (Meter::LaneAttempts(lane), Some(SPANS[1])),
            4 => (Meter::Throttled(no), None),
            5 => (Meter::QuotaDrops(no), None),
            _ => (Meter::Since, None),
        };
        // Steps of about half an hour, so that either span is passed now and then.
        let minute = span.map_or(0, |_| 10_000 + 29 * u64::from(b));
        let amount = u64::from(c / 8);
        if amount == 0 {
            self.meters.remove(&(meter, minute));
        } else {
            self.meters.insert((meter, minute), amount);
        }
        if let Some(span) = span {
            self.meters
                .retain(|(other, at), _| *other != meter || at + span >= minute);
        }
        vec![Change::Metered(Metered {
            meter,
            minute,
            amount,
        })]
    }

    /// A beginning grows, or goes.
    pub(crate) fn partial(&mut self, a: u8, b: u8, c: u8, disk: &Disk) -> Vec<Change> {
        let over = &mut self.over[usize::from(a % 5)];
        let no = PartialNo(*over * 5 + u64::from(a % 5) + 1);
        if c.is_multiple_of(4) {
            *over += 1;
            self.partials.remove(&no);
            return vec![Change::PartialGone(no)];
        }
        let length = 400;
        let known = self.partials.get(&no).cloned();
        let row = PartialRow {
            bytes: u64::from(b),
            at: Unix(NOW.0 + u64::from(c)),
            ..known.unwrap_or(PartialRow {
                no,
                peer: NodeNo(u32::from(b % 3) + 1),
                origin: NodeNo(u32::from(c % 3)),
                id: SegmentId::v7(u64::from(a), u128::from(b)),
                digest: Digest::of(&[a, b, c]),
                length,
                bytes: 0,
                at: NOW,
            })
        };
        // The shell writes before a row says so.
        fs::write(file(disk, no), vec![a; usize::from(b)]).expect("a file");
        self.partials.insert(no, row.clone());
        vec![Change::Partial(row)]
    }

    /// A file is put, or gone.
    pub(crate) fn spool(&mut self, a: u8, b: u8, c: u8) -> Vec<Change> {
        let segment = SegmentId::v7(u64::from(a % 8), 1);
        if c.is_multiple_of(3) {
            self.spooled.remove(&segment);
            return vec![Change::Unspooled(segment)];
        }
        let file = FileMark {
            inode: u64::MAX - u64::from(b),
            length: u64::from(c),
            modified: -i64::from(b),
        };
        let folder = format!("/spool/{}", b % 2).into();
        let from = Spooled { folder, file };
        self.spooled.insert(segment, from.clone());
        vec![Change::Spooled(SpooledRow { segment, from })]
    }

    pub(crate) fn check_snapshot(&self, snapshot: &Snapshot) {
        let meters: Vec<Metered> = self
            .meters
            .iter()
            .map(|((meter, minute), amount)| Metered {
                meter: *meter,
                minute: *minute,
                amount: *amount,
            })
            .collect();
        assert_eq!(snapshot.meters, meters);
        let partials: Vec<PartialRow> = self.partials.values().cloned().collect();
        assert_eq!(snapshot.partials, partials);
        let spooled = snapshot.spooled.iter();
        let spooled: BTreeMap<_, _> = spooled.map(|row| (row.segment, row.from.clone())).collect();
        assert_eq!(spooled, self.spooled);
    }

    /// What is over has no file any more; what is not has all it says.
    pub(crate) fn check(&self, disk: &Disk) {
        let last = 5 * self.over.iter().max().map_or(1, |over| over + 1);
        for no in (1..=last).map(PartialNo) {
            let held = fs::metadata(file(disk, no)).ok().map(|file| file.len());
            let wanted = self.partials.get(&no).map(|row| row.bytes);
            assert_eq!(held, wanted, "the file of {no}");
        }
    }
}

fn file(disk: &Disk, no: PartialNo) -> PathBuf {
    disk.dir.path().join("payload").join(no.file_name())
}
