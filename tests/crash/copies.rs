//! Copies of a state folder that is in use, file by file in any order, as a backup makes
//! that stops nothing: whatever mix of moments that is, it opens, gives out no wrong byte,
//! and once it is repaired its rows are sound and its books add up. Packs whose bytes the
//! copy has missed are named; the daemon would park them.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};

use harness::daemon::{PATIENCE, wait_for};
use harness::kills;
use harness::seeds::{Dice, say};
use harness::workload::options;
use harness::workload::packs::{self, NOW, PEER};
use relay_core::ledger::{Ledger, Loaded, fsck_repair};
use tempfile::TempDir;

use super::{Left, kills_wanted};

#[test]
fn a_copy_of_a_folder_in_use_opens_and_its_books_add_up() {
    let root = TempDir::new().expect("a folder");
    let folder = root.path().join("state");
    fs::create_dir(&folder).expect("a folder");
    let (mut dice, mut sound, mut packs, mut bad) = (Dice::new(33), 0, 0, 0);

    for round in 0..kills_wanted() {
        let what = format!("copy {round}");
        let copy = root.path().join("copy");
        let (groups, is_killed) = (dice.between(1, 200), dice.chance(300));
        while_it_works(&folder, groups, |child, done| {
            let mut groups = Dice::new(round);
            copy_of_now(&folder, &copy, &mut dice, |n| match n {
                // What was copied before is of a ledger that has since been cut off.
                2.. if is_killed => child.kill().expect("it can be killed"),
                // It goes on between one file and the next.
                _ => wait_groups(done, done.load(Ordering::Relaxed) + groups.between(0, 6)),
            });
        });

        let is_clean = gives_out_nothing_wrong(&copy, &what);
        let repaired = fsck_repair(&copy, &options(), NOW);
        let repaired = repaired.unwrap_or_else(|error| panic!("{what}: {error}"));
        let left = Left::behind(&copy, &what);

        assert_eq!(left.bad, repaired.bad.len(), "{what}");
        sound += u64::from(is_clean && left.bad == 0);
        packs += left.packs;
        bad += left.bad;
        fs::remove_dir_all(&copy).expect("it goes");
    }

    say(&format!(
        "  {sound} of {} copies were sound as they were; {bad} of {packs} packs in them miss bytes",
        kills_wanted()
    ));
    assert!(packs > kills_wanted() * 10, "only {packs} packs");
}

/// Runs a child on `folder`, does `work` once it has committed so many groups more, and
/// kills it.
fn while_it_works(folder: &Path, groups: u64, work: impl FnOnce(&mut Child, &AtomicU64)) {
    let mut child = kills::child("child_that_sweeps", folder);
    let said = BufReader::new(child.stdout.take().expect("a pipe"));
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swept = |line: &String| line.starts_with("swept ");
            let lines = said.lines().map_while(Result::ok);
            lines.filter(swept).for_each(|_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
        });
        wait_groups(&done, groups);
        work(&mut child, &done);
        let _ = child.kill();
        child.wait().expect("it has ended");
    });
}

fn wait_groups(done: &AtomicU64, groups: u64) {
    wait_for("groups to be committed", PATIENCE, || {
        (done.load(Ordering::Relaxed) >= groups).then_some(())
    });
}

/// Copies what lies in `from` just now, in an order of its own; `before` hears of each file.
fn copy_of_now(from: &Path, to: &Path, dice: &mut Dice, mut before: impl FnMut(usize)) {
    let mut files = Vec::new();
    list(from, Path::new(""), &mut files);
    for n in (1..files.len()).rev() {
        files.swap(n, dice.between(0, n as u64) as usize);
    }
    for folder in ["", "log", "payload"] {
        fs::create_dir_all(to.join(folder)).expect("a folder");
    }
    for (n, name) in files.iter().enumerate() {
        before(n);
        match fs::copy(from.join(name), to.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap_or_else(|error| panic!("{}: {error}", name.display()))),
        }
    }
}

fn list(root: &Path, below: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).expect("a folder") {
        let name = below.join(entry.expect("an entry").file_name());
        match root.join(&name).is_dir() {
            true => list(root, &name, files),
            false => files.push(name),
        }
    }
}

/// What it owes reads as it was put, or as damaged; what it has taken in is looked at by
/// the repair. Whether nothing had to be done to open it.
fn gives_out_nothing_wrong(copy: &Path, what: &str) -> bool {
    let (ledger, _) =
        Ledger::open(copy, options(), NOW).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut reader = ledger.reader().expect("a reader");
    let page = reader
        .page(PEER, packs::LANE, None, usize::MAX >> 8)
        .expect("a page");
    for no in page.iter().map(|paged| paged.row.due.pack) {
        let is_right = match reader.load(no) {
            Ok(Loaded::Memory { bytes, .. }) => bytes == packs::built(no).bytes,
            // Whoever sends it hashes it: the table it is held to must be the right one.
            Ok(Loaded::File { table, .. }) => table == packs::table(no),
            Err(_) => true,
        };
        assert!(is_right, "{what}: {no} reads as something else");
    }
    ledger.care().is_clean()
}
