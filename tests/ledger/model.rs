//! What the ledger should hold, in plain maps, and the steps that change both.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use relay_core::change::{
    AttemptRow, Book, Change, Depth, Due, KeyName, KeyRow, Nack, OwedRow, Part, ReceiptRow,
    Snapshot, close_attempt,
};
use relay_core::delivery::{Attempt, Outcome, State, StateName};
use relay_core::event::Known;
use relay_core::id::{BootEpoch, LaneNo, LedgerId, NodeNo, PackNo, ReceiptNo};
use relay_core::ledger::{Loaded, Reader};
use relay_core::segment::PackInfo;
use relay_core::time::Unix;

use super::disk::{Disk, LANE, NOW, ids_of, key, owed_as, receipt};
use super::uses::Uses;

/// One thing to do: what, and three numbers that say to which.
pub(crate) type Step = (u8, u8, u8, u8);

/// Groups of steps; an empty one is a reopen.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0u8..12, any::<u8>(), any::<u8>(), any::<u8>());
    proptest::collection::vec(proptest::collection::vec(step, 0..8), 1..12)
}

/// What the ledger should hold, in plain maps.
#[derive(Default)]
pub(crate) struct Model {
    packs: BTreeMap<PackNo, (PackInfo, Bytes)>,
    owed: BTreeMap<Due, OwedRow>,
    /// Members whose rows were removed.
    gone: BTreeSet<Due>,
    receipts: BTreeMap<ReceiptNo, ReceiptRow>,
    keys: BTreeMap<KeyName, KeyRow>,
    heard: BTreeMap<(LedgerId, LaneNo), PackNo>,
    books: BTreeMap<(NodeNo, LaneNo, Book), i64>,
    last_receipt: u64,
    rescued: u64,
    uses: Uses,
}

impl Model {
    pub(crate) fn apply(&mut self, (what, a, b, c): Step, disk: &mut Disk) -> Vec<Change> {
        let peer = NodeNo(u32::from(a % 3) + 1);
        match what {
            0..3 => self.put(a, b, c, disk),
            3 | 4 => self.move_one(a, b, c),
            5 => {
                let Some(due) = nth(&self.owed, a) else {
                    return vec![];
                };
                self.owed.remove(&due);
                if due.part != Part::Rest {
                    self.gone.insert(due);
                }
                vec![Change::Gone(due)]
            }
            6 => {
                let (lane, by) = (LaneNo(u16::from(b % 2)), i64::from(c) - 100);
                let entry = [Book::Put, Book::Acked, Book::Purged][usize::from(c % 3)];
                *self.books.entry((peer, lane, entry)).or_default() += by;
                vec![Change::Book {
                    peer,
                    lane,
                    entry,
                    by,
                }]
            }
            7 => self.receive(peer, b, c),
            8 => self.uses.meter(a, b, c),
            9 => self.uses.partial(a, b, c, disk),
            10 => self.uses.spool(a, b, c),
            _ => {
                let row = key(&format!("k{}", a % 4), u128::from(b));
                self.keys.insert(row.name.clone(), row.clone());
                let (ledger, lane) = (LedgerId(u64::from(b % 2)), LaneNo(u16::from(c % 2)));
                let pack = PackNo(u64::from(c));
                self.heard.insert((ledger, lane), pack);
                vec![Change::Key(row), Change::Heard(ledger, lane, pack)]
            }
        }
    }

    pub(crate) fn put(&mut self, a: u8, b: u8, c: u8, disk: &mut Disk) -> Vec<Change> {
        let bodies: Vec<Vec<u8>> = (0..=a % 4).map(|n| vec![n; usize::from(b)]).collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let (pack, bytes) = disk.pack(&bodies, NodeNo(u32::from(c % 2)));
        let Change::Pack { no, info, .. } = &pack else {
            unreachable!("it is a pack")
        };
        self.packs.insert(*no, (info.clone(), bytes));
        let mut changes = vec![pack.clone()];
        for peer in 1..=u32::from(b % 3) {
            let due = Due {
                peer: NodeNo(peer),
                pack: *no,
                part: Part::Rest,
            };
            let row = OwedRow {
                count: info.count,
                bytes: info.bytes,
                ..owed_as(due, c)
            };
            self.owed.insert(due, row.clone());
            changes.push(Change::Owed(row));
        }
        changes
    }

    /// Moves a row on, or one of its members to a row of its own.
    pub(crate) fn move_one(&mut self, a: u8, b: u8, c: u8) -> Vec<Change> {
        let Some(due) = nth(&self.owed, a) else {
            return vec![];
        };
        let part = if b.is_multiple_of(3) {
            Part::Member(u16::from(c % 4))
        } else {
            due.part
        };
        let due = Due { part, ..due };
        let mut row = OwedRow {
            spent: u32::from(c),
            left: u32::from(c / 2),
            held: c.is_multiple_of(7),
            expires: c.is_multiple_of(2).then_some(Unix(NOW.0 + u64::from(a))),
            ..owed_as(due, b)
        };
        row.stuck = matches!(row.state, State::Failed { .. }) && c.is_multiple_of(3);
        let parked = row.state.name() == StateName::Deadletter;
        (row.acked_late, row.evicted) = (parked && c.is_multiple_of(3), parked && c > 99);
        self.owed.insert(due, row.clone());
        let attempt = Attempt {
            number: u32::from(b),
            epoch: BootEpoch(1),
            started: NOW,
            ended: Some((NOW, Outcome::Timeout)),
        };
        let history = AttemptRow {
            due,
            attempt,
            sent: 5,
            error: None,
        };
        vec![Change::Owed(row), Change::Attempt(history)]
    }

    pub(crate) fn receive(&mut self, peer: NodeNo, b: u8, c: u8) -> Vec<Change> {
        if b.is_multiple_of(3) {
            let upto = ReceiptNo(u64::from(c) % (self.last_receipt + 1));
            self.receipts
                .retain(|no, row| row.peer != peer || *no > upto);
            return vec![Change::Settled(peer, upto)];
        }
        self.last_receipt += 1;
        let refused = if c.is_multiple_of(2) {
            vec![]
        } else {
            vec![(u16::from(c), Nack::Malformed)]
        };
        let row = ReceiptRow {
            peer,
            refused,
            ..receipt(self.last_receipt, PackNo(u64::from(c)))
        };
        self.receipts.insert(row.no, row.clone());
        vec![Change::Receipt(row)]
    }

    pub(crate) fn reopen(&mut self) {
        self.rescued = 0;
        for row in self
            .owed
            .values_mut()
            .filter(|row| row.state == State::Inflight)
        {
            close_attempt(row, NOW, Outcome::Abandoned);
            (row.state, row.rescued, row.updated) = (State::Scheduled, true, NOW);
            self.rescued += u64::from(row.count);
        }
    }

    pub(crate) fn depths(&self) -> Vec<(NodeNo, LaneNo, StateName, Depth)> {
        let mut all: BTreeMap<(NodeNo, LaneNo, StateName), Depth> = BTreeMap::new();
        for row in self.owed.values() {
            let depth = all
                .entry((row.due.peer, row.lane, row.state.name()))
                .or_default();
            depth.parcels += 1;
            depth.count += u64::from(row.count);
            depth.bytes += row.bytes;
        }
        all.into_iter()
            .map(|((peer, lane, state), depth)| (peer, lane, state, depth))
            .collect()
    }

    pub(crate) fn unsettled(&self) -> Vec<(NodeNo, u64)> {
        let mut all: BTreeMap<NodeNo, u64> = BTreeMap::new();
        self.receipts
            .values()
            .for_each(|row| *all.entry(row.peer).or_default() += 1);
        all.into_iter().collect()
    }

    pub(crate) fn check_snapshot(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.depths, self.depths());
        assert_eq!(snapshot.unsettled, self.unsettled());
        assert_eq!(snapshot.rescued, self.rescued);
        assert_eq!(snapshot.last_receipt, ReceiptNo(self.last_receipt));
        let last = self.packs.keys().next_back().copied().unwrap_or_default();
        assert_eq!(snapshot.last_pack, last);
        let heard: Vec<_> = self.heard.iter().map(|((l, n), p)| (*l, *n, *p)).collect();
        assert_eq!(snapshot.heard, heard);
        self.uses.check_snapshot(snapshot);
    }

    pub(crate) fn check(&self, disk: &Disk) {
        let mut reader = disk.reader();
        assert_eq!(disk.ledger.depths(), self.depths());
        assert_eq!(reader.depths().expect("an answer"), self.depths());
        let held = self.books.iter().filter(|(_, by)| **by != 0);
        let books: Vec<_> = held
            .map(|((peer, lane, b), by)| (*peer, *lane, *b, *by))
            .collect();
        assert_eq!(disk.ledger.books(), books);
        for peer in (1..4).map(NodeNo) {
            self.check_pages(&mut reader, peer);
            let rows: Vec<ReceiptRow> = self
                .receipts
                .values()
                .filter(|row| row.peer == peer)
                .cloned()
                .collect();
            assert_eq!(reader.recall(peer, ReceiptNo(0), 99).expect("rows"), rows);
        }
        self.check_overdue(&mut reader);
        for (due, row) in &self.owed {
            let found = reader.fetch(*due).expect("an answer").expect("the row");
            assert_eq!((&found.row, &found.info), (row, &self.packs[&due.pack].0));
        }
        for (no, (info, bytes)) in &self.packs {
            let ids = ids_of(bytes, info.count);
            let known = reader.look_up(info.origin, &ids).expect("an answer");
            assert_eq!(known, vec![Known::Same; ids.len()]);
            let wanted = Loaded::Memory {
                bytes: bytes.clone(),
                table_len: info.table_len,
            };
            assert_eq!(reader.load(*no).expect("bytes"), wanted);
        }
        for (name, row) in &self.keys {
            assert_eq!(
                reader.find_key(name).expect("an answer").as_ref(),
                Some(row)
            );
        }
        assert_eq!(reader.damaged(), 0);
        self.uses.check(disk);
    }

    /// Members of the pack of `rest` that have or had a row of their own.
    fn left_of(&self, rest: Due) -> Vec<u16> {
        let all: BTreeSet<Due> = self.owed.keys().chain(&self.gone).copied().collect();
        let own = all.into_iter().filter_map(|due| match due.part {
            Part::Member(m) if (due.peer, due.pack) == (rest.peer, rest.pack) => Some(m),
            Part::Member(_) | Part::Rest => None,
        });
        own.collect()
    }

    /// What expires and what is stuck is found by name, a few at a time.
    fn check_overdue(&self, reader: &mut Reader) {
        let order = |due: &Due| (due.pack, due.part, due.peer);
        let waiting = || self.owed.values().filter(|row| is_waiting(row));
        let mut wanted: Vec<(Unix, Due)> = waiting()
            .filter_map(|row| row.expires.map(|at| (at, row.due)))
            .collect();
        wanted.sort_by_key(|(at, due)| (*at, order(due)));
        let by = Unix(NOW.0 + 100);
        let next = wanted.iter().map(|(at, _)| *at).find(|at| *at > by);
        wanted.retain(|(at, _)| *at <= by);
        let mut found = Vec::new();
        loop {
            let part = reader.expired(by, found.last().copied(), 2);
            let part = part.expect("names");
            assert_eq!(part.next, next);
            if part.dues.is_empty() {
                break;
            }
            found.extend(part.dues);
        }
        assert_eq!(found, wanted);
        let mut stuck: Vec<Due> = waiting().filter(|row| row.stuck).map(|r| r.due).collect();
        stuck.sort_by_key(order);
        let first = reader.stuck(None, 2).expect("names");
        let rest = reader.stuck(first.last().copied(), 99).expect("names");
        let found = if first.is_empty() {
            first
        } else {
            [first, rest].concat()
        };
        assert_eq!(found, stuck);
    }

    /// Pages of three, one after the other, are all the waiting rows in order.
    pub(crate) fn check_pages(&self, reader: &mut Reader, peer: NodeNo) {
        let waits = |row: &&OwedRow| row.due.peer == peer && is_waiting(row) && !row.is_shelved();
        let mut wanted: Vec<&OwedRow> = self.owed.values().filter(waits).collect();
        wanted.sort_by_key(|row| (row.due.pack, row.due.part));
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..=wanted.len() {
            let page = reader.page(peer, LANE, after, 3).expect("a page");
            let Some(last) = page.last() else { break };
            after = Some((last.row.due.pack, last.row.due.part));
            for paged in page {
                if paged.row.due.part == Part::Rest {
                    assert_eq!(paged.except, self.left_of(paged.row.due));
                }
                found.push(paged.row);
            }
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
    }
}

fn is_waiting(row: &OwedRow) -> bool {
    matches!(row.state, State::Scheduled | State::Failed { .. })
}

pub(crate) fn nth(owed: &BTreeMap<Due, OwedRow>, n: u8) -> Option<Due> {
    owed.keys().nth(usize::from(n) % owed.len().max(1)).copied()
}
