//! A ledger that an earlier release wrote: it is taken to our schema, a copy of what it
//! was is kept before, and there is a way back to it.
//!
//! Kills come at any moment of it, and disks that are full at any write: the next start
//! goes on, and no copy is ever less than whole.

#[path = "migration/first.rs"]
mod first;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::kills;
use harness::seeds::{Dice, say};
use harness::small_disk::SmallDisk;
use relay_core::ledger::{
    AuditFilter, Ledger, LedgerError, Migrated, Options, append_offline, fsck_look,
};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use first::{NOW, commit, first_release, holds, options};

/// How often the migration is killed, unless the environment says otherwise.
const KILLS: u64 = 25;
/// Rows that the migration has to give sums to, so that a kill finds it at work.
const ATTEMPTS: u64 = 20_000;

#[test]
fn a_ledger_of_an_earlier_release_is_migrated_and_a_copy_of_it_is_kept() {
    let dir = TempDir::new().expect("a folder");
    first_release(dir.path(), 9, 2_000);

    let looked = fsck_look(dir.path(), &options()).expect("it looks");
    assert!(copies(dir.path()).is_empty(), "a look keeps nothing");
    let (ledger, _) = open(dir.path()).expect("it opens");

    holds(&ledger, 9, "migrated");
    assert_eq!(
        looked
            .care
            .migrated
            .as_ref()
            .map(|done| (done.from, done.to)),
        Some((1, 2))
    );
    let copy = copies(dir.path()).pop().expect("a copy");
    let migrated = ledger.care().migrated.clone();
    assert_eq!(
        migrated,
        Some(Migrated {
            from: 1,
            to: 2,
            copy: Ok(copy.clone())
        })
    );
    assert!(
        copy.ends_with("set-aside/0001-ledger.db.schema-1-20231114T221320Z"),
        "{}",
        copy.display()
    );
    is_whole(&copy, 9, 2_000, "the copy");
    let filter = AuditFilter {
        event: Some("relay.storage.migrated".into()),
        ..AuditFilter::default()
    };
    let told = ledger
        .reader()
        .expect("a reader")
        .audit(&filter, None, 9)
        .expect("the audit");
    assert_eq!(told.total, 1);
    drop(ledger);
    let (again, _) = open(dir.path()).expect("it opens again");
    assert!(again.care().is_clean() && again.care().migrated.is_none());
}

#[test]
fn a_schema_too_new_is_refused_by_the_name_of_the_copy_and_the_copy_is_a_way_back() {
    let dir = TempDir::new().expect("a folder");
    first_release(dir.path(), 9, 0);
    let (mut ledger, was) = open(dir.path()).expect("it opens");
    commit(&mut ledger, 10..=12);
    drop(ledger);
    let copy = copies(dir.path()).pop().expect("a copy");
    harness::earlier::postdate(dir.path());

    let refused = open(dir.path()).err().expect("a refusal");
    let LedgerError::TooNew {
        found: 99,
        known: 2,
        copy: Some(named),
        ..
    } = &refused
    else {
        panic!("{refused}");
    };
    assert_eq!(*named, copy);
    assert!(
        refused.to_string().contains("or go back to the copy"),
        "{refused}"
    );
    // What the runbook says.
    fs::copy(&copy, dir.path().join("ledger.part")).expect("it is copied");
    fs::rename(
        dir.path().join("ledger.part"),
        dir.path().join("ledger.rebuilt"),
    )
    .expect("it is renamed");
    let other = Options {
        entropy: 99,
        ..options()
    };
    let (mut back, now) = Ledger::open(dir.path(), other.clone(), NOW).expect("it goes back");

    holds(&back, 9, "gone back");
    assert_ne!(
        now.ledger, was.ledger,
        "peers take it for a ledger of its own"
    );
    assert!(
        now.last_pack.0 > was.last_pack.0 + 1_000,
        "its numbers are new"
    );
    commit(&mut back, now.last_pack.0 + 1..=now.last_pack.0 + 3);
    drop(back);
    let (again, _) = Ledger::open(dir.path(), other, NOW).expect("it opens again");
    assert!(again.care().is_clean(), "{:?}", again.care());
    holds(&again, 9, "again");
    let newer = dir.path().join("set-aside");
    let all = fs::read_dir(newer).expect("a folder").count();
    assert!(all >= 2, "the newer database is set aside, too");
}

#[test]
fn one_copy_is_kept_for_each_schema_whoever_migrates() {
    let dir = TempDir::new().expect("a folder");
    first_release(dir.path(), 3, 0);
    drop(open(dir.path()).expect("it opens"));
    let first = copies(dir.path());
    fs::remove_dir_all(dir.path().join("log")).expect("it goes");
    fs::remove_file(dir.path().join("ledger.db")).expect("it goes");
    first_release(dir.path(), 6, 0);
    // A verb that works without a daemon.
    let record = relay_core::audit::AuditRecord::own(
        NOW + Duration::from_secs(3_600),
        relay_core::audit::AuditEvent::AuditPruned,
        "audit",
        "test".into(),
    );
    append_offline(dir.path(), None, &record).expect("it appends");

    let second = copies(dir.path());

    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(
        second[0].ends_with("0002-ledger.db.schema-1-20231114T231320Z"),
        "{second:?}"
    );
    is_whole(&second[0], 6, 0, "the newer copy");
}

#[test]
fn a_copy_that_the_ceiling_has_no_room_for_is_not_kept_and_the_start_says_so() {
    let dir = TempDir::new().expect("a folder");
    first_release(dir.path(), 9, 2_000);
    let aside = dir.path().join("set-aside");
    fs::create_dir_all(&aside).expect("a folder");
    fs::write(aside.join("0001-other"), vec![1; 2_600_000]).expect("it is written");
    let tight = Options {
        max_bytes: 6 << 20,
        ..options()
    };

    let (ledger, _) = Ledger::open(dir.path(), tight, NOW).expect("it opens");

    holds(&ledger, 9, "migrated");
    let migrated = ledger.care().migrated.clone().expect("it was migrated");
    let why = migrated.copy.expect_err("there is no room");
    assert!(why.contains("the ceiling leaves"), "{why}");
    assert_eq!(copies(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_disk_that_is_full_at_any_write_of_a_migration_costs_the_copy_or_the_start_and_nothing_else() {
    let Some(disk) = SmallDisk::new(8 << 20) else {
        return;
    };
    let kept = Options {
        reserve: 128 << 10,
        ..options()
    };
    // More in rows that a migration leaves as they are than in those it writes anew.
    const PACKS: u64 = 400;
    let (mut started, mut bare, mut refused) = (0, 0, 0);
    for pages in (0..256).step_by(6) {
        let what = format!("{pages} pages");
        let dir = disk.path().join("state");
        fs::create_dir(&dir).expect("a folder");
        first_release(&dir, PACKS, 200);
        fs::write(dir.join("reserve"), vec![0; kept.reserve as usize]).expect("there is room");
        disk.leave(pages);

        match Ledger::open(&dir, kept.clone(), NOW) {
            Ok((ledger, _)) => {
                started += 1;
                let copy = ledger
                    .care()
                    .migrated
                    .clone()
                    .expect("it was migrated")
                    .copy;
                bare += u64::from(copy.is_err());
                holds(&ledger, PACKS, &what);
            }
            Err(error) => {
                refused += 1;
                assert!(error.is_full(), "{what}: {error}");
            }
        }
        for copy in copies(&dir) {
            is_whole(&copy, PACKS, 200, &what);
        }
        disk.free();
        let (ledger, _) = open(&dir).unwrap_or_else(|error| panic!("{what}: with room: {error}"));
        holds(&ledger, PACKS, &what);
        drop(ledger);
        fs::remove_dir_all(&dir).expect("it goes");
    }
    say(&format!(
        "  full disk: {started} started, {bare} of them without a copy, {refused} refused"
    ));
    assert!(
        bare > 0 && started > bare && refused > 0,
        "{started} {bare} {refused}"
    );
}

#[test]
fn a_migration_killed_at_any_moment_is_gone_on_with_and_its_copy_is_whole() {
    let kills = env::var("EDGED_MIGRATION_KILLS").map_or(KILLS, |n| n.parse().expect("a number"));
    let dir = TempDir::new().expect("a folder");
    let pristine = dir.path().join("pristine");
    first_release(&pristine, 60, ATTEMPTS);
    let whole = dir.path().join("whole");
    harness::files::copy_all(&pristine, &whole);
    let begun = Instant::now();
    let mut running = kills::child("child_that_migrates", &whole);
    running.wait().expect("it ends");
    let length = begun.elapsed();
    let mut dice = Dice::new(11);
    let mut at = [0u64; 3];

    for round in 0..kills {
        let what = format!("kill {round}");
        let state = dir.path().join("state");
        harness::files::copy_all(&pristine, &state);
        let wait = length.as_micros() as u64 * dice.between(1, 100) / 100;
        let running = kills::child("child_that_migrates", &state);
        kills::kill_after(running, Duration::from_micros(wait));

        let found = copies(&state);
        for copy in &found {
            is_whole(copy, 60, ATTEMPTS, &what);
        }
        let schema = schema_of(&state);
        assert!(
            schema == 1 || !found.is_empty(),
            "{what}: changed, and no copy"
        );
        at[if schema == 2 { 2 } else { found.len().min(1) }] += 1;
        let (ledger, _) = open(&state).unwrap_or_else(|error| panic!("{what}: {error}"));
        holds(&ledger, 60, &what);
        drop(ledger);
        let left = copies(&state);
        assert_eq!(left.len(), 1, "{what}: {left:?}");
        is_whole(&left[0], 60, ATTEMPTS, &what);
        assert!(
            !state.join("ledger.copy").exists(),
            "{what}: a copy in the making stays"
        );
        fs::remove_dir_all(&state).expect("it goes");
    }
    say(&format!(
        "  {kills} kills in {length:?}: {} before the copy, {} after it, {} after the migration",
        at[0], at[1], at[2]
    ));
    assert!(at[0] + at[1] > 0, "each kill came too late");
}

/// Not a test of its own: what the other one runs as a process to be killed.
#[test]
fn child_that_migrates() {
    if let Some(dir) = kills::folder() {
        drop(open(&dir).expect("it opens"));
    }
}

fn open(dir: &Path) -> Result<(Ledger, relay_core::change::Snapshot), LedgerError> {
    Ledger::open(dir, options(), NOW)
}

/// The schema of the database in a folder that is left as it was found.
fn schema_of(dir: &Path) -> i64 {
    let look = TempDir::new().expect("a folder");
    harness::files::copy_all(dir, look.path());
    let conn = Connection::open(look.path().join("ledger.db")).expect("the database");
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a number")
}

/// The copies in the folder.
fn copies(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("set-aside")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let named = |path: &PathBuf| path.to_string_lossy().contains("ledger.db.schema-");
    paths.filter(named).collect()
}

/// Holds a copy to what was copied: every row of the first schema, in a sound file.
fn is_whole(copy: &Path, packs: u64, attempts: u64, what: &str) {
    // Looking leaves nothing beside it.
    let uri = format!("file:{}?immutable=1", copy.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri, flags).expect("a database");
    let said: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("an answer");
    assert_eq!(said, "ok", "{what}");
    let schema: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a number");
    let count = |table: &str| -> u64 {
        let sql = format!("SELECT count(*) FROM {table}");
        conn.query_row(&sql, [], |row| row.get::<_, i64>(0))
            .expect("a count") as u64
    };
    assert_eq!(
        (schema, count("pack"), count("owed")),
        (1, packs, packs),
        "{what}"
    );
    assert!(count("attempt") >= attempts.saturating_sub(1), "{what}");
}
