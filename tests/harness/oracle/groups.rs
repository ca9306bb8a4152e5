//! Each step: who stands by, who is woken, who is spared. At rest: so many have it,
//! or nobody is left to try.

use std::collections::BTreeMap;

use relay_core::change::{Due, OwedRow};
use relay_core::delivery::{Move, State};
use relay_core::id::{LinkId, PackNo};

use super::{Oracle, Watch};
use crate::node::Node;

impl Watch {
    /// Rows of a pack that have a place, as last asked to be durable.
    fn group(&self, pack: PackNo) -> impl Iterator<Item = &OwedRow> {
        let rows = self.asked.values();
        rows.filter(move |row| row.due.pack == pack && row.place.is_some())
    }

    /// Whether a peer has a link beside this one that is not being closed.
    pub(super) fn keeps_link(&self, peer: usize, but: LinkId) -> bool {
        let stays = |other: &LinkId| *other != but && !self.closing.contains(other);
        let mut others = self.up.iter();
        others.any(|(other, up)| *up == peer && stays(other))
    }

    /// A link is to be closed: its peer is away from here on, unless it has another.
    pub(super) fn closed(&mut self, link: LinkId, now: u64) {
        let Some(peer) = self.up.get(&link).copied() else {
            return;
        };
        if !self.keeps_link(peer, link) {
            // One that is turned away at once is as if it had never come.
            let came = self.came.filter(|(came, _)| *came == link);
            let since = came.map_or(now, |(_, since)| since);
            self.away.entry(peer).or_insert(since);
        }
    }

    fn acked(&self, pack: PackNo) -> usize {
        let acked = |row: &&OwedRow| row.state == State::Acked;
        self.group(pack).filter(acked).count()
    }
}

impl Oracle {
    /// A delivery is active only as one of the first so many, or because too few of
    /// those before it still will do.
    pub(super) fn judge_standby(&mut self, n: usize, before: Option<&OwedRow>, row: &OwedRow) {
        let Some(place) = row.place else { return };
        let due = row.due;
        assert_eq!(
            row.count, 1,
            "[step] n{n} {due:?} has a place and many members"
        );
        if let Some(before) = before {
            assert_eq!(before.place, row.place, "[step] n{n} {due:?} moves");
            assert!(
                before.standby || !row.standby,
                "[step] n{n} {due:?} stands by again"
            );
        }
        if row.standby {
            let waits = matches!(row.state, State::Scheduled);
            return assert!(waits, "[step] n{n} {due:?} stands by in {:?}", row.state);
        }
        if row.state.name().is_terminal() || before.is_some_and(|before| !before.standby) {
            return;
        }
        let watch = &self.watches[n];
        let long = self.limits.standby_after.as_micros() as u64;
        let will_do = |other: &&OwedRow| {
            let peer = watch.peers[&other.due.peer];
            let away = watch
                .away
                .get(&peer)
                .is_some_and(|at| self.now - at >= long);
            let over = other.state.name().is_terminal() || other.stuck;
            other.due != due && !over && !other.standby && !away
        };
        let hope = watch.acked(due.pack) + watch.group(due.pack).filter(will_do).count();
        assert!(
            hope < usize::from(place.need),
            "[step] n{n} {due:?} is active beside {hope} of {}",
            place.need
        );
        if before.is_some() {
            self.tally.count("standby woken");
        }
    }

    /// A delivery goes as not needed only once enough other peers have it.
    pub(super) fn judge_spared(&mut self, n: usize, row: &OwedRow) {
        let due: Due = row.due;
        let place = row
            .place
            .unwrap_or_else(|| panic!("[step] n{n} {due:?} goes and every peer must have it"));
        let watch = &mut self.watches[n];
        let acked = watch.acked(due.pack);
        assert!(
            acked >= usize::from(place.need),
            "[step] n{n} {due:?} is not needed with {acked} of {}",
            place.need
        );
        assert!(
            !matches!(row.state, State::Inflight),
            "[step] n{n} {due:?} goes in flight"
        );
        watch.spared.insert(due);
        self.tally.count(super::moves::move_name(Move::Spare));
        if row.standby {
            self.tally.count("standby spared");
        }
    }

    /// At rest so many have it, or nobody is left to try.
    pub(super) fn conditions_are_met(&self, n: usize, node: &Node) {
        let mut packs: BTreeMap<PackNo, (usize, usize, usize)> = BTreeMap::new();
        for row in node.disk.owed.values() {
            let Some(place) = row.place else { continue };
            let pack = packs.entry(row.due.pack).or_default();
            pack.0 = usize::from(place.need);
            pack.1 += usize::from(row.state == State::Acked);
        }
        for due in &self.watches[n].purged_acked {
            packs.entry(due.pack).or_default().1 += 1;
        }
        for due in &self.watches[n].spared {
            packs.entry(due.pack).or_default().2 += 1;
        }
        for (pack, (need, acked, spared)) in packs {
            assert!(
                spared == 0 || acked >= need,
                "[rest] n{n} {pack}: {acked} of {need} have it and {spared} were spared"
            );
        }
    }
}
