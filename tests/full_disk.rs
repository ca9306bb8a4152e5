//! A disk that is really full, at any write.
//!
//! The workload of [`harness::workload`] works on a ledger on a small file system of which
//! something else takes all but so many pages. Sweeping that number makes every write that
//! needs a page the first that finds none. Nothing of that ends the ledger or loses what
//! was answered; acks and deletes go on; and as soon as there is room, everything does.

use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::seeds::{Dice, say};
use harness::small_disk::{PAGE, SmallDisk};
use harness::workload::{Facts, Workload, options};
use relay_core::ledger::Options;

/// The file system: the ceiling of the ledger and a little more.
const DISK: u64 = 12 << 20;
/// Groups before the disk fills up, and after.
const EARLY: u64 = 4;
const LATE: u64 = 14;
/// How many of the sweep CI plays, beside the first ones.
const SAMPLE: u64 = 160;
const FIRST: u64 = 40;

#[test]
fn a_disk_that_is_full_at_any_write_loses_nothing_and_is_left_within_a_second() {
    let Some(disk) = SmallDisk::new(DISK) else {
        return;
    };
    let most = pages_of_a_whole_run(&disk);
    let every = env::var_os("EDGED_FULL_DISK_ALL").is_some();
    let mut dice = Dice::new(7);
    let mut seen = Seen::default();
    let sample = (0..SAMPLE).map(|_| dice.between(FIRST, most));
    let cases: Vec<u64> = match every {
        true => (0..=most).collect(),
        false => (0..FIRST).chain(sample).collect(),
    };

    for pages in &cases {
        seen.add(&fill_up(&disk, *pages));
    }

    say(&format!(
        "  {} of {most} numbers of free pages: {seen:?}",
        cases.len()
    ));
    assert!(
        seen.full * 2 > cases.len() as u64,
        "the disk was full: {seen:?}"
    );
    assert!(seen.settled_while_full > 0, "{seen:?}");
}

/// What happened.
#[derive(Debug, Default)]
struct Seen {
    full: u64,
    refused_while_full: u64,
    settled_while_full: u64,
    confirmed_while_full: u64,
    longest_ms: u128,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.full += other.full;
        self.refused_while_full += other.refused_while_full;
        self.settled_while_full += other.settled_while_full;
        self.confirmed_while_full += other.confirmed_while_full;
        self.longest_ms = self.longest_ms.max(other.longest_ms);
    }
}

fn kept() -> Options {
    let mut options = options();
    options.reserve = 512 << 10;
    options
}

/// How many pages the groups after the first take if nothing is in their way.
fn pages_of_a_whole_run(disk: &SmallDisk) -> u64 {
    let folder = disk.path().join("whole");
    let mut facts = Facts::default();
    let mut work = early(&folder, &mut facts);
    let before = harness::files::allocated(&folder);
    for _ in 0..LATE {
        work.step(&mut |line| facts.hear(&line))
            .expect("there is room");
    }
    let after = harness::files::allocated(&folder);
    drop(work);
    std::fs::remove_dir_all(&folder).expect("it goes");
    (after - before) / PAGE + 8
}

/// A ledger that has its reserve and has worked a little.
fn early(folder: &Path, facts: &mut Facts) -> Workload {
    let mut hear = |line: String| facts.hear(&line);
    let mut work = Workload::open(folder, kept(), 3, &mut hear).expect("it opens");
    while work.ledger.tend_reserve().expect("there is room for it") {}
    for _ in 0..EARLY {
        work.step(&mut hear).expect("there is room");
    }
    work
}

/// One run, in which something else leaves so many pages.
fn fill_up(disk: &SmallDisk, pages: u64) -> Seen {
    let (what, folder) = (format!("{pages} pages"), disk.path().join("state"));
    let (mut facts, mut seen) = (Facts::default(), Seen::default());
    let mut work = early(&folder, &mut facts);
    disk.leave(pages);

    for _ in 0..LATE {
        let was = work.ledger.disk_is_full();
        let mut hear = |line: String| {
            facts.hear(&line);
            seen.refused_while_full += u64::from(was && line.starts_with("refused"));
            seen.settled_while_full += u64::from(was && line.starts_with("settled"));
            seen.confirmed_while_full += u64::from(was && line.starts_with("confirmed"));
        };
        if let Err(error) = work.step(&mut hear) {
            panic!("{what}: the ledger does not go on: {error}");
        }
        if work.ledger.disk_is_full() {
            // What else wants the room takes what there is.
            let _ = work.ledger.tend_reserve().expect("it answers");
        }
    }
    seen.full = u64::from(work.ledger.disk_is_full());
    if pages % 2 == 1 {
        drop(work);
        work = Workload::open(&folder, kept(), pages, &mut |line| facts.hear(&line))
            .unwrap_or_else(|error| panic!("{what}: it does not start: {error}"));
    }
    facts.hold_running(&mut work.ledger, pages % 2 == 1, &what);

    let begun = Instant::now();
    disk.free();
    recover(&mut work, &mut facts, &what);
    seen.longest_ms = begun.elapsed().as_millis();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{what}: {:?}",
        begun.elapsed()
    );

    drop(work);
    facts.hold(&folder, &what);
    std::fs::remove_dir_all(&folder).expect("it goes");
    seen
}

/// Something else has given its room back: puts go again.
fn recover(work: &mut Workload, facts: &mut Facts, what: &str) {
    while work.ledger.disk_is_full() {
        let _ = work.ledger.tend_reserve().expect("it answers");
    }
    let mut durable = false;
    // The ceiling may be near, too: the first of them may be refused for that.
    for _ in 0..20 {
        let mut hear = |line: String| {
            facts.hear(&line);
            durable |= line.starts_with("durable");
        };
        work.step(&mut hear)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        if durable {
            return;
        }
    }
    panic!("{what}: there is room again and nothing is taken");
}
