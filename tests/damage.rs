//! Damage to a state folder: whatever byte is other than it was written, the ledger
//! starts, delivers whole what the byte did not touch, and counts by name what it did.
//!
//! A small ledger is made from a seed and copied twice: as a clean stop leaves it, and
//! as a kill does, most of it in the write-ahead log. One byte of one file of a copy is
//! changed, the copy opened, read out, written to and opened once more. Which bytes is
//! drawn from seeds; `EDGED_DAMAGE_POSITIONS` says how many, `all` takes every one.

#[path = "damage/state.rs"]
mod state;
#[path = "damage/verdict.rs"]
mod verdict;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use harness::seeds::Dice;
use tempfile::TempDir;

use state::Truth;
use verdict::{Seen, judge, judge_in_part, judge_roughly};

/// Positions of one file after which a long run says how it stands.
const CHUNK: u64 = 20_000;

/// A folder to damage copies of.
struct Master {
    dir: TempDir,
    truth: Truth,
    /// Its files, and how much of each is worth damaging.
    files: Vec<(PathBuf, u64)>,
}

impl Master {
    /// As `seed` makes it; closed in order, or as it lies while it is in use.
    fn new(seed: u64, is_closed: bool) -> Self {
        Self::of_groups(24, seed, is_closed)
    }

    fn of_groups(groups: u64, seed: u64, is_closed: bool) -> Self {
        let source = state::folder();
        let (ledger, mut truth) = state::make(source.path(), seed, groups);
        if is_closed {
            drop(ledger);
            let dir = Self::copied(source.path());
            truth.snapshot = Some(Self::undamaged(dir.path()));
            return Self::of(dir, truth);
        }
        let dir = Self::copied(source.path());
        truth.snapshot = Some(Self::undamaged(dir.path()));
        drop(ledger);
        Self::of(dir, truth)
    }

    fn of(dir: TempDir, truth: Truth) -> Self {
        let mut files = Vec::new();
        list(dir.path(), Path::new(""), &mut files);
        Self { dir, truth, files }
    }

    fn copied(from: &Path) -> TempDir {
        let dir = state::folder();
        harness::files::copy_all(from, dir.path());
        dir
    }

    /// How it reads without damage.
    fn undamaged(dir: &Path) -> relay_core::change::Snapshot {
        let copied = Self::copied(dir);
        let (ledger, snapshot) = state::open(copied.path(), 99).expect("it opens");
        assert!(ledger.care().is_clean(), "{:?}", ledger.care());
        relay_core::change::Snapshot {
            epoch: relay_core::id::BootEpoch(snapshot.epoch.0 - 1),
            ..snapshot
        }
    }
}

/// Files below `dir`, with the length up to the last byte that is not zero; the index
/// of the write-ahead log, which SQLite makes anew, aside.
fn list(dir: &Path, below: &Path, files: &mut Vec<(PathBuf, u64)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir.join(below))
        .expect("a folder")
        .map(|entry| below.join(entry.expect("an entry").file_name()))
        .collect();
    entries.sort();
    for name in entries {
        let path = dir.join(&name);
        if path.is_dir() {
            list(dir, &name, files);
            continue;
        }
        let all = fs::read(&path).expect("a file");
        let used = all
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        if used > 0 && name.extension().is_none_or(|kind| kind != "db-shm") {
            files.push((name, used as u64));
        }
    }
}

fn flip(dir: &Path, name: &Path, at: u64, mask: u8) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(dir.join(name))
        .expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is there");
    file.write_all_at(&[byte[0] ^ mask], at)
        .expect("it is there");
}

/// Damages copies of `masters` at each of `positions` (master, file, offset, mask) on
/// every core; answers what was seen, and panics with the first few that failed.
fn run(
    masters: &[Master],
    positions: u64,
    draw: impl Fn(u64) -> (usize, usize, u64, u8) + Sync,
    judge: impl Fn(&Path, &Truth) -> Seen + Sync,
) {
    let next = AtomicU64::new(0);
    let shared = Mutex::new((Seen::default(), 0u64, Vec::new()));
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= positions {
                        break;
                    }
                    let (master, file, at, mask) = draw(n);
                    let master = &masters[master];
                    let (name, _) = &master.files[file];
                    let outcome = catch_unwind(AssertUnwindSafe(|| {
                        let copied = Master::copied(master.dir.path());
                        flip(copied.path(), name, at, mask);
                        judge(copied.path(), &master.truth)
                    }));
                    let mut shared = shared.lock().expect("no holder panics");
                    match outcome {
                        Ok(seen) => {
                            add(&mut shared.0, seen);
                            shared.1 = shared.1.max(seen.lost + seen.unreadable);
                        }
                        Err(panic) => {
                            let words = words(&*panic);
                            shared.2.push(format!(
                                "position {n}: {} byte {at} ^ {mask:#04x}: {words}",
                                name.display()
                            ));
                        }
                    }
                }
            });
        }
    });
    drop(std::panic::take_hook());
    let (seen, worst, failed) = shared.into_inner().expect("no holder panics");
    let said = format!("{positions} positions, at most {worst} deliveries or packs for one byte");
    writeln!(std::io::stdout(), "{said}: {seen:?}").expect("somebody reads");
    let shown: Vec<&String> = failed.iter().take(40).collect();
    assert!(failed.is_empty(), "{} failed: {shown:#?}", failed.len());
    assert!(worst <= 60, "one byte cost {worst}");
}

fn add(sum: &mut Seen, seen: Seen) {
    sum.lost += seen.lost;
    sum.unreadable += seen.unreadable;
    sum.mended += seen.mended;
    sum.reindexed += seen.reindexed;
    sum.quarantined += seen.quarantined;
    sum.salvaged += seen.salvaged;
    sum.clean += seen.clean;
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            panic
                .downcast_ref::<&str>()
                .map(|words| (*words).to_owned())
        })
        .unwrap_or_default()
}

#[test]
fn no_byte_of_a_state_folder_loses_more_than_it_touches() {
    let wanted = env::var("EDGED_DAMAGE_POSITIONS").unwrap_or_else(|_| "400".into());
    if wanted == "all" {
        // A small part of what is drawn from otherwise: there is a byte after the other to do.
        let masters = [true, false].map(|is_closed| Master::of_groups(2, 1, is_closed));
        // Those before `EDGED_DAMAGE_FROM` were done by an earlier run.
        let mut done = first();
        for (of, master) in masters.iter().enumerate() {
            for (file, (name, used)) in master.files.iter().enumerate() {
                let from = done.min(*used);
                done -= from;
                writeln!(std::io::stdout(), "{}: {used} B", name.display())
                    .expect("somebody reads");
                for from in (from..*used).step_by(CHUNK as usize) {
                    let draw = |n| (of, file, from + n, 1 << (Dice::new(from + n).draw() % 8));
                    run(&masters, CHUNK.min(*used - from), draw, judge);
                }
            }
        }
        return;
    }
    let masters: Vec<Master> = (0..8).map(|n| Master::new(n / 2, n % 2 == 0)).collect();
    run(
        &masters,
        wanted.parse().expect("a number, or `all`"),
        drawn(&masters),
        judge,
    );
}

/// A large database is looked at in part: what is not seen at start is met as it is used.
#[test]
fn what_a_start_did_not_look_at_is_met_later_and_ends_no_start() {
    let wanted = env::var("EDGED_DAMAGE_POSITIONS").unwrap_or_default();
    let masters: Vec<Master> = (0..4).map(|n| Master::new(n / 2, n % 2 == 0)).collect();
    run(
        &masters,
        wanted.parse().unwrap_or(1_500) / 5,
        drawn(&masters),
        judge_in_part,
    );
}

fn first() -> u64 {
    env::var("EDGED_DAMAGE_FROM").map_or(0, |from| from.parse().expect("a number"))
}

/// Where each position is. Half of all damage is to the rows: there is most to know
/// about it.
fn drawn(masters: &[Master]) -> impl Fn(u64) -> (usize, usize, u64, u8) + Sync + '_ {
    let first = first();
    move |n| {
        let mut dice = Dice::new(first + n);
        let master = dice.between(0, masters.len() as u64 - 1) as usize;
        let files = &masters[master].files;
        let file = dice.between(0, files.len() as u64 - 1) as usize;
        let rows = |name: &Path| name.starts_with("ledger.db") || name.starts_with("ledger.db-wal");
        let file = match files.iter().position(|(name, _)| rows(name)) {
            Some(first) if dice.chance(500) => {
                let last = files
                    .iter()
                    .rposition(|(name, _)| rows(name))
                    .unwrap_or(first);
                dice.between(first as u64, last as u64) as usize
            }
            _ => file,
        };
        let at = dice.between(0, files[file].1 - 1);
        let mask = if dice.chance(500) {
            1 << dice.between(0, 7)
        } else {
            dice.between(1, 255) as u8
        };
        (master, file, at, mask)
    }
}

/// A copy of a ledger that was stopped in order, with `harm` done to its files.
fn harmed(is_closed: bool, harm: impl Fn(&Path)) -> (TempDir, relay_core::ledger::Care) {
    let master = Master::new(1, is_closed);
    let copied = Master::copied(master.dir.path());
    harm(copied.path());
    let care = judge_roughly(copied.path(), &master.truth);
    (copied, care)
}

fn cut(path: &Path, length: u64) {
    let file = fs::File::options()
        .write(true)
        .open(path)
        .expect("the file");
    file.set_len(length).expect("it is cut");
}

#[test]
fn a_database_that_is_cut_short_is_rebuilt_from_what_is_left() {
    for length in [1, 99, 100, 4096, 5000, 40_960, 100_001] {
        let (dir, care) = harmed(true, |dir| cut(&dir.join("ledger.db"), length));

        let salvaged = care.salvaged.expect("it was rebuilt");
        let kept = &salvaged.set_aside[0];
        assert!(
            kept.starts_with(dir.path().join("set-aside"))
                && kept.to_string_lossy().ends_with("-ledger.db"),
            "{length} B: the old one is kept, {kept:?}"
        );
    }
}

#[test]
fn a_database_that_is_gone_is_no_new_beginning() {
    for is_closed in [true, false] {
        let (dir, care) = harmed(is_closed, |dir| {
            fs::remove_file(dir.join("ledger.db")).expect("it was there");
        });

        let salvaged = care.salvaged.expect("it was rebuilt");
        let kept = |path: &PathBuf| path.starts_with(dir.path().join("set-aside"));
        assert!(salvaged.set_aside.iter().all(kept), "{salvaged:?}");
        assert!(!salvaged.set_aside.is_empty(), "nothing is thrown away");
    }
}

#[test]
fn a_database_older_than_its_log_says_so() {
    let (_dir, care) = harmed(false, |dir| {
        fs::remove_file(dir.join("ledger.db-wal")).expect("it was there");
    });

    assert!(care.unnamed > 0 || care.salvaged.is_some(), "{care:?}");
}

#[test]
fn a_verb_without_a_daemon_writes_over_nothing_that_lies_behind_a_bad_byte() {
    // Of the log's header, of its first frame's, of pages.
    for at in [9, 20, 40, 32 + 24 + 100, 32 + 3 * (24 + 4096) + 24 + 5] {
        let (_dir, care) = harmed(false, |dir| {
            flip(dir, Path::new("ledger.db-wal"), at, 4);
            let record = relay_core::audit::AuditRecord::own(
                state::NOW,
                relay_core::audit::AuditEvent::AuditPruned,
                "audit",
                "test".into(),
            );
            relay_core::ledger::append_offline(dir, None, &record).expect("it appends");
        });

        assert!(care.is_clean() && care.unnamed == 0, "byte {at}: {care:?}");
    }
}

#[test]
fn a_row_that_is_damaged_costs_itself_alone_where_all_is_counted_too() {
    let (_dir, care) = harmed(true, |dir| {
        let rows = rusqlite::Connection::open(dir.join("ledger.db")).expect("a database");
        let hurt = "UPDATE owed SET state = -126 WHERE state = 0 AND pack =
                    (SELECT max(pack) FROM owed WHERE state = 0)";
        assert!(rows.execute(hurt, []).expect("rows") > 0);
        fs::write(dir.join("check-due"), "").expect("word of it is left");
    });

    assert_eq!(care.salvaged, None, "{care:?}");
    assert!(!care.quarantined.is_empty(), "{care:?}");
}

#[test]
fn log_files_that_are_gone_cut_or_exchanged_cost_their_own_bytes_only() {
    let name = |no: u32| format!("log/{no:04}.log");
    let harms: [&dyn Fn(&Path); 3] = [
        &|dir| fs::remove_file(dir.join(name(1))).expect("it was there"),
        &|dir| cut(&dir.join(name(1)), 9_000),
        &|dir| {
            let (one, two) = (dir.join(name(1)), dir.join(name(2)));
            if !two.exists() {
                fs::copy(&one, &two).expect("a second");
            }
            fs::rename(&one, dir.join("between")).expect("it was there");
            fs::rename(&two, &one).expect("it was there");
            fs::rename(dir.join("between"), &two).expect("it was there");
        },
    ];
    for harm in harms {
        let (_dir, care) = harmed(true, harm);

        assert!(care.is_clean(), "rows are as they were: {care:?}");
    }
}

#[test]
fn a_large_segment_whose_row_is_damaged_is_set_aside_and_not_thrown_away() {
    let bodies = std::cell::RefCell::new(BTreeSet::new());
    let hurt = |dir: &Path| {
        let files = contents(&dir.join("payload"));
        let of_packs = files
            .into_iter()
            .filter(|(name, _)| name.extension() != Some("part".as_ref()));
        *bodies.borrow_mut() = of_packs.map(|(_, bytes)| bytes).collect();
        let rows = rusqlite::Connection::open(dir.join("ledger.db")).expect("a database");
        let hurt = "UPDATE pack SET hops = hops + 1 WHERE name IS NOT NULL";
        assert!(rows.execute(hurt, []).expect("rows") > 0);
    };
    let (dir, care) = harmed(true, hurt);

    let kept = contents(&dir.path().join("set-aside"));
    let kept: BTreeSet<_> = kept.into_iter().map(|(_, bytes)| bytes).collect();
    assert!(kept == bodies.into_inner(), "{:?}", care.set_aside);
    assert_eq!(care.set_aside.len(), kept.len(), "{:?}", care.set_aside);
}

#[test]
fn a_log_file_of_another_ledger_gives_out_nothing_of_its_own() {
    let other = Master::new(2, true);
    let (_dir, _) = harmed(true, |dir| {
        fs::copy(
            other.dir.path().join("log/0001.log"),
            dir.join("log/0001.log"),
        )
        .expect("a copy");
    });
}

#[test]
fn a_sqlite_file_that_is_not_ours_is_set_aside() {
    let (dir, care) = harmed(true, |dir| {
        fs::remove_file(dir.join("ledger.db")).expect("it was there");
        rusqlite::Connection::open(dir.join("ledger.db"))
            .and_then(|conn| conn.execute_batch("CREATE TABLE visitors (name TEXT)"))
            .expect("another program's");
    });

    let salvaged = care.salvaged.expect("a ledger of its own");
    assert!(
        salvaged.set_aside[0]
            .to_string_lossy()
            .ends_with("-ledger.db"),
        "{salvaged:?}"
    );
    assert!(salvaged.set_aside[0].starts_with(dir.path()));
}

#[test]
fn what_is_no_file_at_all_holds_no_start_up() {
    let fifo = |path: &Path| {
        let _ = fs::remove_file(path);
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    };
    let folder = |path: &Path| {
        let _ = fs::remove_file(path);
        fs::create_dir(path).expect("a folder");
    };
    for name in [
        "ledger.db",
        "ledger.db-wal",
        "ledger.db-shm",
        "log/0001.log",
        "payload/8.seg",
    ] {
        for make in [&fifo as &dyn Fn(&Path), &folder] {
            let (_dir, care) = harmed(true, |dir| make(&dir.join(name)));

            assert_eq!(care.set_aside.len(), 1, "{name}: {care:?}");
        }
    }
}

#[test]
fn looking_changes_nothing_and_says_what_a_repair_then_does() {
    use relay_core::ledger::{fsck_look, fsck_repair};
    let master = Master::new(1, true);
    let copied = Master::copied(master.dir.path());
    let dir = copied.path();
    flip(dir, Path::new("payload/8.seg"), 100, 1);
    flip(dir, Path::new("ledger.db"), 0, 1);
    fs::write(dir.join("payload/nobody.seg"), b"left by a crash").expect("it is written");
    let before = contents(dir);

    let looked = fsck_look(dir, &state::options(5)).expect("a look");
    assert_eq!(contents(dir), before, "a look changes nothing");
    let repaired = fsck_repair(dir, &state::options(5), state::NOW).expect("a repair");
    let after = fsck_look(dir, &state::options(6)).expect("a look");

    assert_eq!(looked.owed, repaired.owed);
    assert_eq!(looked.bad, repaired.bad);
    assert_eq!(looked.bad.len(), 1, "{:?}", looked.bad);
    assert!(looked.care.salvaged.is_some() && repaired.care.salvaged.is_some());
    assert!(
        after.care.is_clean() && after.orphans.is_empty(),
        "{after:?}"
    );
    assert_eq!(after.bad, looked.bad, "bytes that are gone stay gone");
}

/// Every file and its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    list(dir, Path::new(""), &mut files);
    files
        .into_iter()
        .map(|(name, _)| (name.clone(), fs::read(dir.join(name)).expect("a file")))
        .collect()
}

#[test]
fn an_undamaged_folder_is_sound_in_either_form() {
    for is_closed in [true, false] {
        let master = Master::new(3, is_closed);
        let looked = relay_core::ledger::fsck_look(master.dir.path(), &state::options(5));

        let looked = looked.expect("a look");
        assert!(looked.is_sound(), "{looked:?}");
        assert!(looked.packs > 40, "every payload was read");
    }
}

#[test]
fn a_kill_while_a_database_is_rebuilt_costs_nothing() {
    use relay_core::ledger::fsck_repair;
    let master = Master::new(1, false);
    let damaged = Master::copied(master.dir.path());
    flip(damaged.path(), Path::new("ledger.db"), 3, 1);
    let repaired = Master::copied(damaged.path());
    let whole = fsck_repair(repaired.path(), &state::options(5), state::NOW).expect("a repair");
    assert!(whole.care.salvaged.is_some());
    let rebuilt = fs::read(repaired.path().join("ledger.db")).expect("the new one");

    // What lies there when the kill comes: half a new database; a whole one; the old
    // one set aside; its log too.
    for killed_after in 0..4 {
        let copied = Master::copied(damaged.path());
        let dir = copied.path();
        if killed_after == 0 {
            fs::write(dir.join("ledger.new"), &rebuilt[..rebuilt.len() / 2]).expect("half");
        } else {
            fs::write(dir.join("ledger.rebuilt"), &rebuilt).expect("all of it");
            fs::create_dir(dir.join("set-aside")).expect("a folder");
        }
        for name in ["ledger.db", "ledger.db-wal"]
            .iter()
            .take(killed_after.max(1) - 1)
        {
            let aside = dir.join("set-aside").join(format!("0001-{name}"));
            fs::rename(dir.join(name), aside).expect("it moves");
        }
        let care = judge_roughly(dir, &master.truth);

        assert_eq!(
            care.salvaged.is_some(),
            killed_after == 0,
            "{killed_after}: {care:?}"
        );
        assert_eq!(care.segments(), 0, "{killed_after}: nothing is lost");
    }
}
