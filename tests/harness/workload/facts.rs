//! What was promised of a ledger, and whether it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use relay_core::change::{Book, Change, Snapshot};
use relay_core::delivery::{Outcome, State, StateName};
use relay_core::id::{NodeNo, PackNo, PartialNo, StagedId, Ticket};
use relay_core::ledger::{InboxFilter, InboxItem, Ledger, Loaded, Reader, Staged};
use relay_core::time::Unix;

use super::again;
use super::packs::{self, Kind, LANE, NOW, PEER};

/// Where a pack stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Durable,
    Settling,
    Settled,
    Refused,
}

/// All that was said.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    packs: BTreeMap<PackNo, Word>,
    /// Members of arrivals that are being confirmed, and whether they are.
    items: BTreeMap<(PackNo, u16), bool>,
    partials: BTreeMap<PartialNo, u64>,
}

impl Facts {
    /// Hears a line; what is none of ours says nothing.
    pub fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let Some(first) = number() else { return };
        let (no, partial) = (PackNo(first), PartialNo(first));
        let stands = match word {
            "durable" => Word::Durable,
            "settling" => Word::Settling,
            "settled" => Word::Settled,
            "refused" => Word::Refused,
            "begins" => {
                // Numbers above it are given again.
                let kept = |pack: &PackNo, word: &Word| *word != Word::Refused || *pack <= no;
                return self.packs.retain(|pack, word| kept(pack, word));
            }
            "partial" => {
                let synced = number().map(|bytes| (partial, bytes));
                return self.partials.extend(synced);
            }
            "dropping" => {
                self.partials.remove(&partial);
                return;
            }
            "confirming" | "confirmed" => {
                let member = number().and_then(|n| u16::try_from(n).ok());
                let done = word == "confirmed";
                return self.items.extend(member.map(|n| ((no, n), done)));
            }
            _ => return,
        };
        self.packs.insert(no, stands);
    }

    /// How many packs were called durable and may not be gone.
    #[must_use]
    pub fn durable(&self) -> usize {
        let durable = |word: &&Word| **word == Word::Durable;
        self.packs.values().filter(durable).count()
    }

    /// Opens the ledger in `folder` and holds it to all that was said; then it takes one
    /// group more.
    ///
    /// # Panics
    /// If it does not: `what` names the case.
    pub fn hold(&self, folder: &Path, what: &str) {
        let opened = Ledger::open(folder, super::options(), NOW);
        let (mut ledger, snapshot) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        // What was cut off is torn, and not damaged; of a ledger in the making nothing was said.
        let care = ledger.care();
        let salvaged = care.salvaged.is_some() && !self.packs.is_empty();
        let damage = salvaged || !care.quarantined.is_empty();
        assert!(!damage, "{what}: {care:?}");
        self.hold_open(&mut ledger, &snapshot, folder, what);
    }

    fn hold_open(&self, ledger: &mut Ledger, snapshot: &Snapshot, folder: &Path, what: &str) {
        self.hold_partials(snapshot, folder, what);
        self.hold_running(ledger, true, what);
        go_on(ledger, snapshot.last_pack, what);
    }

    /// Holds a ledger to all that was said of packs and arrivals; `rescued` if it was
    /// opened since, so that nothing is in flight. Arrivals are taken meanwhile.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn hold_running(&self, ledger: &mut Ledger, rescued: bool, what: &str) {
        let mut reader = ledger.reader().expect("a reader");
        for (no, word) in &self.packs {
            match (word, Kind::of(*no)) {
                (Word::Durable, Kind::Arrival) => {}
                (Word::Durable, _) => check_there(&mut reader, *no, rescued, what),
                (Word::Settled, _) => {
                    let row = reader.fetch(packs::due(*no)).expect("an answer");
                    let back = row.filter(|row| row.row.state != State::Acked);
                    assert_eq!(back, None, "{what}: {no} was settled");
                }
                (Word::Refused, _) => {
                    let found = reader.fetch(packs::due(*no)).expect("an answer");
                    assert_eq!(found, None, "{what}: {no} was refused");
                }
                (Word::Settling, _) => {}
            }
        }
        check_books(ledger, &mut reader, what);
        self.hold_inbox(ledger, &mut reader, what);
        assert_eq!((ledger.damaged(), reader.damaged()), (0, 0), "{what}");
    }

    /// Everything that arrived and was not confirmed is there, and nothing that was.
    fn hold_inbox(&self, ledger: &mut Ledger, reader: &mut Reader, what: &str) {
        // Whatever the workload has leased is free again.
        let items = take_all(ledger, Unix(NOW.0 + 1_000_000));
        let there: BTreeSet<(PackNo, u16)> =
            items.iter().map(|item| (item.pack, item.member)).collect();
        assert_eq!(
            items.len(),
            there.len(),
            "{what}: an arrival is there twice"
        );
        for (item, confirmed) in &self.items {
            let back = *confirmed && there.contains(item);
            assert!(!back, "{what}: {item:?} was confirmed and is back");
        }
        let arrived = self
            .packs
            .iter()
            .filter(|(no, word)| **word == Word::Durable && Kind::of(**no) == Kind::Arrival);
        for (no, _) in arrived {
            let wanted = packs::built(*no);
            let mut any = false;
            for member in (0..wanted.count as u16).filter(|n| !self.items.contains_key(&(*no, *n)))
            {
                assert!(
                    there.contains(&(*no, member)),
                    "{what}: {no} {member} is gone"
                );
                any = true;
            }
            if any {
                check_bytes(reader, *no, what);
            }
        }
    }

    fn hold_partials(&self, snapshot: &Snapshot, folder: &Path, what: &str) {
        for (no, bytes) in &self.partials {
            let row = snapshot.partials.iter().find(|row| row.no == *no);
            let kept = row.map_or(0, |row| row.bytes);
            assert!(
                kept >= *bytes,
                "{what}: {kept} of {bytes} B of partial {no:?} are there"
            );
            let file = fs::read(folder.join("payload").join(no.file_name())).expect("its file");
            let wanted = packs::partial_body(*no).bytes();
            let kept = kept as usize;
            assert!(
                file[..kept] == wanted[..kept],
                "{what}: partial {no:?} has other bytes"
            );
        }
    }
}

fn check_there(reader: &mut Reader, no: PackNo, rescued: bool, what: &str) {
    let row = reader.fetch(packs::due(no)).expect("an answer");
    let row = row
        .unwrap_or_else(|| panic!("{what}: the row of {no} is gone"))
        .row;
    let outcome = row
        .attempt
        .and_then(|attempt| attempt.ended)
        .map(|(_, how)| how);
    let flew = no.0.is_multiple_of(2);
    let (wanted, ended) = match (flew, rescued) {
        (true, true) => (State::Scheduled, Some(Outcome::Abandoned)),
        (true, false) => (State::Inflight, None),
        (false, _) => (State::Scheduled, None),
    };
    // One that waited through an earlier start keeps what that start said of it.
    let waited = row.state == State::Scheduled && outcome == Some(Outcome::Abandoned) && flew;
    let sound = (row.state, outcome) == (wanted, ended) || waited;
    assert!(sound, "{what}: {no} stands as {:?}, {outcome:?}", row.state);
    check_bytes(reader, no, what);
}

fn check_bytes(reader: &mut Reader, no: PackNo, what: &str) {
    match reader.load(no) {
        Ok(Loaded::Memory { bytes, .. }) => {
            assert!(
                bytes == packs::built(no).bytes,
                "{what}: {no} has other bytes"
            );
        }
        Ok(Loaded::File { table, path, .. }) => {
            let body = fs::read(path).unwrap_or_else(|error| panic!("{what}: {no}: {error}"));
            assert!(
                body == packs::body(no),
                "{what}: the file of {no} has other bytes"
            );
            assert_eq!(table, packs::table(no), "{what}: {no} has another table");
        }
        Err(error) => panic!("{what}: {no}: {error}"),
    }
}

/// put = acked + deadletter + not needed + purged + quarantined + waiting, and what waits
/// is what rows say.
fn check_books(ledger: &Ledger, reader: &mut Reader, what: &str) {
    for peer in [NodeNo::LOCAL, PEER] {
        let (mut put, mut gone) = (0, 0);
        let ours = |(of, lane, entry, by)| (of == peer && lane == LANE).then_some((entry, by));
        for (entry, by) in ledger.books().into_iter().filter_map(ours) {
            match entry {
                Book::Put => put += by,
                Book::Acked
                | Book::Deadletter
                | Book::NotNeeded
                | Book::Purged
                | Book::Quarantined => gone += by,
            }
        }
        let depths = ledger.depths();
        let waits = depths.iter().filter(|(of, _, state, _)| {
            *of == peer && !matches!(state, StateName::Acked | StateName::Deadletter)
        });
        let waiting: u64 = waits.map(|(.., depth)| depth.count).sum();
        assert_eq!(put - gone, waiting as i64, "{what}: the books of {peer:?}");
    }
    let page = reader
        .page(PEER, LANE, None, usize::MAX >> 8)
        .expect("a page");
    let rows: u64 = page.iter().map(|paged| u64::from(paged.row.count)).sum();
    let depths = ledger.depths().into_iter();
    let counted = depths.filter(|(of, _, state, _)| *of == PEER && *state == StateName::Scheduled);
    let counted: u64 = counted.map(|(.., depth)| depth.count).sum();
    assert_eq!(rows, counted, "{what}: rows that wait");
}

/// All arrivals that no lease of before `later` holds; they are given back at once.
fn take_all(ledger: &mut Ledger, later: Unix) -> Vec<InboxItem> {
    let (filter, most) = (InboxFilter::default(), 4096);
    let until = Unix(later.0 + 1000);
    let all = again(|| ledger.take(&filter, most, until, later)).expect("the inbox answers");
    assert!(all.len() < most, "there may be more");
    let ids: Vec<_> = all.iter().map(|item| item.id).collect();
    again(|| ledger.lease(&ids, later, later)).expect("leases end");
    all
}

/// What waits is settled and confirmed, and the next group is durable.
fn go_on(ledger: &mut Ledger, last: PackNo, what: &str) {
    let mut reader = ledger.reader().expect("a reader");
    let page = reader
        .page(PEER, LANE, None, usize::MAX >> 8)
        .expect("a page");
    let waiting = page.iter().map(|paged| paged.row.due.pack);
    let settled: Vec<Change> = waiting.flat_map(packs::settle).collect();
    let next = (last.0 + 1..)
        .map(PackNo)
        .find(|no| Kind::of(*no) == Kind::Small);
    let next = next.expect("numbers do not run out");
    let items = take_all(ledger, Unix(NOW.0 + 2_000_000));
    let ids: Vec<_> = items.iter().map(|item| item.id).collect();
    let outcomes = ledger.confirm(&ids, NOW).expect("it confirms");
    assert_eq!(outcomes.len(), ids.len(), "{what}: an answer for each");
    let mut staged = |_: StagedId| Some(Staged::Memory(packs::built(next).bytes));
    let mut commit = |changes| {
        let report = ledger.commit(&[(Ticket(1), changes)], &mut staged, NOW);
        report.unwrap_or_else(|error| panic!("{what}: the next group: {error}"))
    };
    commit(settled);
    let report = commit(packs::put(next));
    let space = ledger.space();
    assert_eq!(report.refused, [], "{what}: no room: {space:?}");
    check_there(&mut reader, next, false, what);
}
