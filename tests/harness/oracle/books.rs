//! The oracle's own books, from committed changes alone.

use std::collections::BTreeSet;

use relay_core::change::{Book, Change, Due, OwedRow, Part};
use relay_core::delivery::StateName;
use relay_core::id::{LaneNo, NodeNo, PackNo};

use super::Oracle;
use crate::node::Node;

/// Where one member stands with one peer, as far as the books care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    Waiting,
    Acked,
    Deadletter,
    Purged,
    NotNeeded,
}

/// What the books of one (peer, lane) should say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) put: i64,
    pub(super) waiting: i64,
    pub(super) acked: i64,
    pub(super) deadletter: i64,
    pub(super) purged: i64,
    pub(super) not_needed: i64,
}

impl Column {
    const fn of(&mut self, seat: Seat) -> &mut i64 {
        match seat {
            Seat::Waiting => &mut self.waiting,
            Seat::Acked => &mut self.acked,
            Seat::Deadletter => &mut self.deadletter,
            Seat::Purged => &mut self.purged,
            Seat::NotNeeded => &mut self.not_needed,
        }
    }
}

impl Oracle {
    /// Enters committed changes; then every row speaks for as many members as
    /// it says, and the ledger's books say what ours do.
    pub(super) fn enter<'a>(
        &mut self,
        n: usize,
        changes: impl Iterator<Item = &'a Change>,
        nodes: &[Node],
    ) {
        let mut packs: BTreeSet<(NodeNo, LaneNo, PackNo)> = BTreeSet::new();
        for change in changes {
            if let Change::Owed(row) = change
                && row.due.peer != NodeNo::LOCAL
            {
                packs.insert((row.due.peer, row.lane, row.due.pack));
            }
            if let Change::Gone(due) = change
                && due.peer != NodeNo::LOCAL
            {
                let lane = nodes[n].disk.packs[&due.pack].info.lane;
                packs.insert((due.peer, lane, due.pack));
            }
        }
        for (peer, lane, pack) in &packs {
            self.seat(n, *peer, *lane, *pack, nodes);
        }
        let lanes: BTreeSet<_> = packs.iter().map(|(peer, lane, _)| (*peer, *lane)).collect();
        for (peer, lane) in lanes {
            self.compare(n, peer, lane, nodes);
        }
    }

    /// Takes the seats of a pack anew from its committed rows.
    fn seat(&mut self, n: usize, peer: NodeNo, lane: LaneNo, pack: PackNo, nodes: &[Node]) {
        let disk = &nodes[n].disk;
        let split = disk.except(peer, pack);
        let row = |part: Part| disk.owed.get(&Due { peer, pack, part });
        let content = &disk.packs[&pack].content;
        let (mut left, mut bytes) = (0, 0);
        let mut seats = Vec::with_capacity(content.members.len());
        for (index, body) in (0u16..).zip(&content.members) {
            let own = split.contains(&index);
            let rest = !own;
            left += u32::from(rest);
            bytes += if rest { body.length } else { 0 };
            let part = if own { Part::Member(index) } else { Part::Rest };
            // What is acked and then purged stays counted as acked.
            let due = Due { peer, pack, part };
            let acked = self.watches[n].purged_acked.contains(&due);
            let spared = self.watches[n].spared.contains(&due);
            seats.push(match (row(part), seat_of(row(part))) {
                (None, _) if spared => Seat::NotNeeded,
                (_, Seat::Purged) if acked => Seat::Acked,
                (_, seat) => seat,
            });
        }
        if let Some(rest) = row(Part::Rest) {
            assert_eq!(
                (rest.count, rest.bytes),
                (left, bytes),
                "[step] n{n} {rest:?} speaks for others"
            );
        }
        let watch = &mut self.watches[n];
        let column = watch.columns.entry((peer, lane)).or_default();
        match watch.seats.insert((peer, pack), seats.clone()) {
            Some(old) => old.iter().for_each(|seat| *column.of(*seat) -= 1),
            None => column.put += seats.len() as i64,
        }
        seats.iter().for_each(|seat| *column.of(*seat) += 1);
    }

    fn compare(&self, n: usize, peer: NodeNo, lane: LaneNo, nodes: &[Node]) {
        let column = self.watches[n].columns[&(peer, lane)];
        let book = |entry| {
            nodes[n]
                .disk
                .books
                .get(&(peer, lane, entry))
                .copied()
                .unwrap_or(0)
        };
        let said = Column {
            put: book(Book::Put),
            acked: book(Book::Acked),
            deadletter: book(Book::Deadletter),
            purged: book(Book::Purged),
            not_needed: book(Book::NotNeeded),
            waiting: column.waiting,
        };
        assert_eq!(
            said, column,
            "[rest] n{n} peer {peer} lane {lane}: the ledger's books, and ours"
        );
        let sum = book(Book::Acked)
            + book(Book::Deadletter)
            + book(Book::Purged)
            + book(Book::NotNeeded)
            + book(Book::Quarantined)
            + column.waiting;
        assert_eq!(
            book(Book::Put),
            sum,
            "[rest] n{n} peer {peer} lane {lane}: the books add up"
        );
    }
}

fn seat_of(row: Option<&OwedRow>) -> Seat {
    match row.map(|row| row.state.name()) {
        None => Seat::Purged,
        Some(StateName::Scheduled | StateName::Inflight | StateName::Failed) => Seat::Waiting,
        Some(StateName::Acked) => Seat::Acked,
        Some(StateName::Deadletter) => Seat::Deadletter,
    }
}
