//! What the disk answers, always from committed rows.

use relay_core::change::{Due, KeyName, KeyRow, OwedRow, PagedRow, Part, ReceiptRow};
use relay_core::delivery::State;
use relay_core::event::{Ids, Known};
use relay_core::id::{LaneNo, NodeNo, PackNo, ReceiptNo, SegmentId};
use relay_core::segment::Digest;
use relay_core::time::Unix;

use super::Disk;

impl Disk {
    /// Scheduled and failed rows of (peer, lane) above `after`.
    #[must_use]
    pub fn page(
        &self,
        peer: NodeNo,
        lane: LaneNo,
        after: Option<(PackNo, Part)>,
        limit: usize,
    ) -> Vec<PagedRow> {
        let lowest = Due {
            peer,
            pack: PackNo(0),
            part: Part::Rest,
        };
        let rows: Vec<PagedRow> = self
            .owed
            .range(lowest..)
            .take_while(|(due, _)| due.peer == peer)
            .filter(|(due, row)| {
                let ready = matches!(row.state, State::Scheduled | State::Failed { .. });
                ready
                    && !row.is_shelved()
                    && row.lane == lane
                    && after.is_none_or(|at| (due.pack, due.part) > at)
            })
            .filter_map(|(due, _)| self.paged(*due))
            .take(limit)
            .collect();
        if let Some(real) = &self.real {
            real.borrow_mut()
                .same_page((peer, lane), after, limit, &rows);
        }
        rows
    }

    /// Scheduled and failed rows of `peer` above `after`, shelved ones included.
    #[must_use]
    pub fn owing(
        &self,
        peer: NodeNo,
        after: Option<(PackNo, Part)>,
        limit: usize,
    ) -> Vec<PagedRow> {
        let rows = self.owed.iter().filter(|(due, row)| {
            let waits = matches!(row.state, State::Scheduled | State::Failed { .. });
            due.peer == peer && waits && after.is_none_or(|at| (due.pack, due.part) > at)
        });
        let rows: Vec<PagedRow> = rows
            .filter_map(|(due, _)| self.paged(*due))
            .take(limit)
            .collect();
        if let Some(real) = &self.real {
            real.borrow_mut().same_owing(peer, after, limit, &rows);
        }
        rows
    }

    /// One row by name, as a question for it is answered.
    #[must_use]
    pub fn fetch(&self, due: Due) -> Option<PagedRow> {
        let row = self.paged(due);
        if let Some(real) = &self.real {
            real.borrow_mut().same_row(due, row.as_ref());
        }
        row
    }

    /// One row with its pack, as a page holds it.
    #[must_use]
    pub fn paged(&self, due: Due) -> Option<PagedRow> {
        let row = self.owed.get(&due)?.clone();
        let info = self.packs.get(&due.pack)?.info.clone();
        let except = match due.part {
            Part::Rest => self.except(due.peer, due.pack),
            Part::Member(_) => Vec::new(),
        };
        let met = row.place.is_some_and(|place| {
            let of_pack = self
                .owed
                .values()
                .filter(|other| other.due.pack == due.pack);
            let acked =
                of_pack.filter(|other| other.place.is_some() && other.state == State::Acked);
            acked.count() >= usize::from(place.need)
        });
        Some(PagedRow {
            row,
            info,
            except,
            met,
        })
    }

    /// All rows of a pack that have a place.
    #[must_use]
    pub fn group(&self, pack: PackNo) -> Vec<PagedRow> {
        let rows = self.owed.values();
        let of_pack = rows.filter(|row| row.due.pack == pack && row.place.is_some());
        let mut rows: Vec<PagedRow> = of_pack.filter_map(|row| self.paged(row.due)).collect();
        // Whoever asks for all rows sees for himself.
        rows.iter_mut().for_each(|row| row.met = false);
        if let Some(real) = &self.real {
            real.borrow_mut().same_group(pack, &rows);
        }
        rows
    }

    /// Rows of a peer that have a place, as [`relay_core::event::Effect::Walk`] wants.
    #[must_use]
    pub fn walk(
        &self,
        peer: NodeNo,
        standby: bool,
        after: PackNo,
        limit: usize,
    ) -> (Vec<PackNo>, Option<PackNo>) {
        let open = |row: &&OwedRow| {
            let wanted = row.due.peer == peer && row.due.pack > after && row.standby == standby;
            wanted && row.place.is_some() && !row.state.name().is_terminal()
        };
        let page: Vec<&OwedRow> = self.owed.values().filter(open).take(limit).collect();
        let wanted = |row: &&&OwedRow| {
            let need = row.place.map_or(0, |place| usize::from(place.need));
            let group = self.group(row.due.pack);
            let of = |wanted: fn(&OwedRow) -> bool| group.iter().filter(|r| wanted(&r.row)).count();
            let acked = of(|row| row.state == State::Acked);
            let live = of(|row| !row.state.name().is_terminal() && !row.standby);
            let standing = of(|row| !row.state.name().is_terminal() && row.standby);
            match standby {
                true => acked >= need || acked + live < need,
                false => standing > 0,
            }
        };
        let packs = page.iter().filter(wanted).map(|row| row.due.pack).collect();
        let last = page.last().map(|row| row.due.pack);
        let found = (packs, last.filter(|_| page.len() == limit));
        if let Some(real) = &self.real {
            real.borrow_mut()
                .same_walk((peer, standby), after, limit, &found);
        }
        found
    }

    /// What a question for a row that is not there answers beside it.
    #[must_use]
    pub fn left_of(&self, due: Due) -> Vec<u16> {
        if self.owed.contains_key(&due) || due.part != Part::Rest {
            return Vec::new();
        }
        let except = self.except(due.peer, due.pack);
        if let Some(real) = &self.real {
            real.borrow_mut().same_except(due.peer, due.pack, &except);
        }
        except
    }

    /// Waiting rows that are not worth sending at `by`, above `after`, and when the
    /// next will not be, as a question for them is answered.
    #[must_use]
    pub fn find_expired(
        &self,
        by: Unix,
        after: Option<(Unix, Due)>,
        limit: usize,
    ) -> (Vec<(Unix, Due)>, Option<Unix>) {
        let found = self.expired(by, after, limit);
        if let Some(real) = &self.real {
            real.borrow_mut().same_expired(by, after, limit, &found);
        }
        found
    }

    /// Stuck rows above `after`, as a question for them is answered.
    #[must_use]
    pub fn find_stuck(&self, after: Option<Due>, limit: usize) -> Vec<Due> {
        let found = self.stuck(after, limit);
        if let Some(real) = &self.real {
            real.borrow_mut().same_stuck(after, limit, &found);
        }
        found
    }

    pub(super) fn expired(
        &self,
        by: Unix,
        after: Option<(Unix, Due)>,
        limit: usize,
    ) -> (Vec<(Unix, Due)>, Option<Unix>) {
        let order = |(at, due): &(Unix, Due)| (*at, due.pack, due.part, due.peer);
        let waits = |row: &&OwedRow| {
            row.due.peer != NodeNo::LOCAL
                && matches!(row.state, State::Scheduled | State::Failed { .. })
        };
        let waiting = self.owed.values().filter(waits);
        let mut all: Vec<(Unix, Due)> = waiting
            .filter_map(|row| row.expires.map(|at| (at, row.due)))
            .collect();
        all.sort_unstable_by_key(order);
        let next = all.iter().map(|(at, _)| *at).find(|at| *at > by);
        all.retain(|named| named.0 <= by && after.is_none_or(|after| order(named) > order(&after)));
        all.truncate(limit);
        (all, next)
    }

    pub(super) fn stuck(&self, after: Option<Due>, limit: usize) -> Vec<Due> {
        let order = |due: &Due| (due.pack, due.part, due.peer);
        let mut all: Vec<Due> = self
            .owed
            .values()
            .filter(|row| row.stuck && matches!(row.state, State::Failed { .. }))
            .map(|row| row.due)
            .filter(|due| after.is_none_or(|after| order(due) > order(&after)))
            .collect();
        all.sort_unstable_by_key(order);
        all.truncate(limit);
        all
    }

    /// Members of a pack that have or had a row of their own for `peer`.
    #[must_use]
    pub fn except(&self, peer: NodeNo, pack: PackNo) -> Vec<u16> {
        self.split
            .get(&(peer, pack))
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// Which of these ids are known.
    #[must_use]
    pub fn look_up(&self, origin: NodeNo, ids: &Ids, now: u64) -> Vec<Known> {
        let known = |id: &SegmentId, digest: &Digest| match self.marks.get(&(origin, *id)) {
            Some(mark) if mark.forget.is_some_and(|at| at <= now) => Known::No,
            Some(mark) if mark.digest == *digest => Known::Same,
            Some(_) => Known::Other,
            None => Known::No,
        };
        let known: Vec<Known> = ids.iter().map(|(id, digest)| known(id, digest)).collect();
        if let Some(real) = &self.real {
            let forgotten = |id: &SegmentId| {
                let mark = self.marks.get(&(origin, *id));
                mark.is_some_and(|mark| mark.forget.is_some_and(|at| at <= now))
            };
            let told = ids.iter().zip(&known);
            let told: Vec<_> = told
                .map(|((id, _), known)| (*known, forgotten(id)))
                .collect();
            real.borrow_mut().same_known(origin, ids, &told);
        }
        known
    }

    /// Whether this segment was ever stored here, forgotten or not.
    #[must_use]
    pub fn has(&self, origin: NodeNo, id: SegmentId, digest: Digest) -> bool {
        self.marks
            .get(&(origin, id))
            .is_some_and(|mark| mark.digest == digest)
    }

    /// Unsettled receipts of `peer` above `after`.
    #[must_use]
    pub fn recall(&self, peer: NodeNo, after: ReceiptNo, limit: usize) -> Vec<ReceiptRow> {
        let rows = self
            .receipts
            .values()
            .filter(|row| row.peer == peer && row.no > after);
        let rows: Vec<ReceiptRow> = rows.take(limit).cloned().collect();
        if let Some(real) = &self.real {
            real.borrow_mut().same_receipts(peer, after, limit, &rows);
        }
        rows
    }

    /// The row of a key.
    #[must_use]
    pub fn key(&self, name: &KeyName) -> Option<&KeyRow> {
        let row = self.keys.get(name);
        if let Some(real) = &self.real {
            real.borrow_mut().same_key(name, row);
        }
        row
    }
}
