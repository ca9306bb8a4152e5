//! The chores of a ledger against SIGKILL: retention and repair, cut off at any moment, and
//! copies of a folder in use.
//!
//! The test runs itself again as a child and kills it. A child that sweeps says what it
//! was answered, and the parent holds a copy of its folder to that; the folder goes on.
//! A repair that was killed and done again must come to what an undisturbed one came to.
//! `EDGED_CRASH_KILLS` says how often each is killed.

#[path = "crash/copies.rs"]
mod copies;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use harness::kills;
use harness::seeds::{Dice, say};
use harness::workload::packs::NOW;
use harness::workload::{Facts, Workload, options};
use relay_core::change::Book;
use relay_core::delivery::StateName;
use relay_core::id::{LaneNo, NodeNo};
use relay_core::ledger::{Ledger, Options, fsck_look, fsck_repair};
use rusqlite::Connection;
use tempfile::TempDir;

/// Kills of each kind, unless the environment says otherwise.
const KILLS: u64 = 16;
/// Groups of a child that nobody kills.
const GROUPS: u64 = 20_000;
/// Groups of the ledger that is damaged.
const EARLIER: u64 = 120;

fn kills_wanted() -> u64 {
    env::var("EDGED_CRASH_KILLS").map_or(KILLS, |n| n.parse().expect("a number"))
}

/// Hardly anything is kept once it is settled: every sweep has something to let go.
fn forgetful() -> Options {
    Options {
        keep_acked_rows: 4,
        keep_known_packs: 3,
        ..options()
    }
}

#[test]
fn retention_killed_at_any_moment_loses_nothing_that_was_promised() {
    let root = TempDir::new().expect("a folder");
    let folder = root.path().join("state");
    fs::create_dir(&folder).expect("a folder");
    let (mut dice, mut facts, mut swept) = (Dice::new(31), Facts::default(), 0);

    for round in 0..kills_wanted() {
        let lines = dice.between(1, 600);
        let later = Duration::from_micros(dice.between(0, 10_000));
        swept += run_and_kill(&folder, lines, later, &mut facts);
        // Looking takes arrivals and begins an epoch: the folder goes on without that.
        let copy = root.path().join("copy");
        harness::files::copy_all(&folder, &copy);
        let what = format!("kill {round}");
        facts.hold(&copy, &what);
        counters_say_what_rows_do(&copy, &what);
        fs::remove_dir_all(&copy).expect("it goes");
    }

    say(&format!(
        "  {swept} packs and marks were swept, {} are owed",
        facts.durable()
    ));
    assert!(swept > 100, "only {swept} were swept");
}

/// Not a test of its own: what the other one kills.
#[test]
fn child_that_sweeps() {
    let Some(folder) = kills::folder() else {
        return;
    };
    let mut out = |line: String| writeln!(std::io::stdout(), "{line}").expect("somebody reads");
    let seed = u64::from(std::process::id());
    let mut work = Workload::open(&folder, forgetful(), seed, &mut out).expect("it opens");
    for _ in 0..GROUPS {
        work.step(&mut out).expect("it commits");
        let swept = work.ledger.sweep(NOW).expect("it sweeps");
        out(format!("swept {}", swept.packs + swept.marks));
    }
}

/// What the numbers in rows stand for.
const STATES: [StateName; 5] = [
    StateName::Scheduled,
    StateName::Inflight,
    StateName::Failed,
    StateName::Acked,
    StateName::Deadletter,
];

/// Depths are counted as groups come and go; rows are what is there.
fn counters_say_what_rows_do(folder: &Path, what: &str) {
    let (ledger, _) = Ledger::open(folder, forgetful(), NOW).expect("it opens");
    let depths = ledger.depths().into_iter();
    let counted: BTreeMap<Stream, [u64; 3]> = depths
        .map(|(peer, lane, state, depth)| {
            (
                (peer, lane, state),
                [depth.parcels, depth.count, depth.bytes],
            )
        })
        .filter(|(_, depth)| *depth != [0; 3])
        .collect();
    let conn = Connection::open(folder.join("ledger.db")).expect("the database");
    let mut query = conn
        .prepare(
            "SELECT peer, lane, state, count(*), sum(count), sum(bytes) FROM owed GROUP BY 1, 2, 3",
        )
        .expect("a question");
    let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(|n| n as u64);
    let rows = query.query_map([], |row| {
        let state = STATES[usize::from(row.get::<_, u8>(2)?)];
        let depth = [number(row, 3)?, number(row, 4)?, number(row, 5)?];
        Ok(((NodeNo(row.get(0)?), LaneNo(row.get(1)?), state), depth))
    });
    let there: BTreeMap<Stream, [u64; 3]> = rows
        .expect("an answer")
        .collect::<Result<_, _>>()
        .expect("rows");
    assert_eq!(counted, there, "{what}");
}

/// How much was swept.
fn run_and_kill(folder: &Path, lines: u64, later: Duration, facts: &mut Facts) -> u64 {
    let mut child = kills::child("child_that_sweeps", folder);
    let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut swept = 0;
    let mut hear = |line: &str| {
        facts.hear(line);
        let count = line
            .strip_prefix("swept ")
            .and_then(|n| n.parse::<u64>().ok());
        swept += count.unwrap_or_default();
    };
    for _ in 0..lines {
        let Some(Ok(line)) = said.next() else {
            panic!("the child ended by itself")
        };
        hear(&line);
    }
    // Not at once: it would always die just after it had said something.
    kills::kill_after(child, later);
    // What it said before it died counts as well; a cut last line does not.
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    rest.iter().for_each(|line| hear(line));
    swept
}

/// Whose, in which lane, in which state.
type Stream = (NodeNo, LaneNo, StateName);
/// What is done to a database, by name.
type Harm = (&'static str, fn(&Path));

const HARMS: [Harm; 3] = [
    ("rows that are other than they were written", |path| {
        edit(
            path,
            "UPDATE owed SET updated = updated + 1 WHERE pack % 5 = 0;
            UPDATE pack SET hops = hops + 1 WHERE no % 11 = 0;
            DELETE FROM node WHERE no > 0",
        );
    }),
    ("counters that are gone", |path| {
        edit(
            path,
            "DELETE FROM counter; UPDATE owed SET spent = 3 WHERE pack % 7 = 0",
        );
    }),
    ("a header that is none", |path| {
        let mut bytes = fs::read(path).expect("the database");
        bytes[..7].copy_from_slice(b"damaged");
        fs::write(path, bytes).expect("it is written");
    }),
];

fn edit(path: &Path, sql: &str) {
    let conn = Connection::open(path).expect("the database");
    conn.execute_batch(sql).expect("it is written");
}

#[test]
fn a_repair_killed_at_any_moment_is_finished_by_the_next_one() {
    let root = TempDir::new().expect("a folder");
    let sound = root.path().join("sound");
    fs::create_dir(&sound).expect("a folder");
    let mut work = Workload::open(&sound, options(), 5, &mut |_| ()).expect("it opens");
    (0..EARLIER).for_each(|_| work.step(&mut |_| ()).expect("it commits"));
    drop(work);
    let mut dice = Dice::new(32);

    for (name, harm) in HARMS {
        let damaged = root.path().join("damaged");
        harness::files::copy_all(&sound, &damaged);
        harm(&damaged.join("ledger.db"));
        let begun = Instant::now();
        let undisturbed = root.path().join("undisturbed");
        harness::files::copy_all(&damaged, &undisturbed);
        let mut child = kills::child("child_that_repairs", &undisturbed);
        assert!(child.wait().expect("it ends").success(), "{name}");
        let (length, wanted) = (begun.elapsed(), Left::behind(&undisturbed, name));
        assert_eq!(wanted.bad, 0, "{name}");
        let mut cut_off = 0;
        for kill in 0..kills_wanted() {
            let what = format!("{name}, kill {kill}");
            let state = root.path().join("state");
            harness::files::copy_all(&damaged, &state);
            // Now and then the second one is killed, too.
            for _ in 0..dice.between(1, 2) {
                let micros = length.as_micros() as u64 * dice.between(1, 100) / 100;
                let child = kills::child("child_that_repairs", &state);
                cut_off += u64::from(kills::kill_after(child, Duration::from_micros(micros)));
            }

            fsck_repair(&state, &options(), NOW).unwrap_or_else(|error| panic!("{what}: {error}"));

            assert_eq!(Left::behind(&state, &what), wanted, "{what}");
            fs::remove_dir_all(&state).expect("it goes");
        }
        say(&format!(
            "  {name}: {cut_off} repairs of {length:?} cut off; {wanted:?}"
        ));
        assert!(cut_off > 0, "{name}: each kill came too late");
        fs::remove_dir_all(&damaged).expect("it goes");
        fs::remove_dir_all(&undisturbed).expect("it goes");
    }
}

/// Not a test of its own: what the other one kills.
#[test]
fn child_that_repairs() {
    if let Some(folder) = kills::folder() {
        fsck_repair(&folder, &options(), NOW).expect("it repairs");
    }
}

/// What a repair has left: as much of everything, whatever its number is now.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    /// Entries in quarantine, and deliveries in them.
    quarantined: (u64, u64),
    /// Deliveries and bytes, by peer, lane and state.
    depths: BTreeMap<Stream, (u64, u64)>,
    books: BTreeMap<(NodeNo, LaneNo, Book), i64>,
    /// Packs whose bytes were looked for, and those whose are not as they were put.
    packs: u64,
    bad: usize,
}

impl Left {
    /// What lies in `folder`: sound rows, and books that add up.
    fn behind(folder: &Path, what: &str) -> Self {
        let looked = fsck_look(folder, &options()).expect("it looks");
        assert!(looked.care.is_clean(), "{what}: {:?}", looked.care);
        assert_eq!(looked.orphans.len(), 0, "{what}");
        let (ledger, _) = Ledger::open(folder, options(), NOW).expect("it opens");
        let mut reader = ledger.reader().expect("a reader");
        let page = reader.quarantine_page(None, 0).expect("it is read");
        let depths = ledger.depths().into_iter();
        let books = ledger.books().into_iter();
        let left = Self {
            quarantined: (page.total, page.segments),
            depths: depths
                .map(|(peer, lane, state, depth)| ((peer, lane, state), (depth.count, depth.bytes)))
                .collect(),
            books: books
                .map(|(peer, lane, book, value)| ((peer, lane, book), value))
                .filter(|(_, value)| *value != 0)
                .collect(),
            packs: looked.packs,
            bad: looked.bad.len(),
        };
        left.adds_up(what);
        left
    }

    fn adds_up(&self, what: &str) {
        let mut missing: BTreeMap<(NodeNo, LaneNo), i64> = BTreeMap::new();
        for ((peer, lane, book), value) in &self.books {
            let sign = if *book == Book::Put { 1 } else { -1 };
            *missing.entry((*peer, *lane)).or_default() += sign * value;
        }
        for ((peer, lane, state), (count, _)) in &self.depths {
            if !state.is_terminal() {
                *missing.entry((*peer, *lane)).or_default() -= *count as i64;
            }
        }
        missing.retain(|_, missing| *missing != 0);
        assert!(
            missing.is_empty(),
            "{what}: books miss {missing:?} of {self:?}"
        );
    }
}
