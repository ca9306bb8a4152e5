//! The ledger against power loss: whatever the disk had not been told to keep may be gone.
//!
//! The test runs itself as a child under strace, working on a ledger and its payload
//! files ([`harness::workload`]). The recording is replayed up to a drawn point into a
//! model of the page cache, which gives a folder as a power cut at that point might leave
//! it ([`harness::power`]). The real ledger opens it and is held to every word the child
//! had said by then. Each recording but the first begins in a folder that a power cut has
//! left, so that start-up is recorded, and cut off, too.

use std::env;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use harness::daemon::Recording;
use harness::power::{Cache, Step, steps};
use harness::seeds::{Dice, say};
use harness::workload::{Facts, Workload, options};
use relay_core::ledger::Durability;
use tempfile::TempDir;

/// Power cuts in all, and in each recording.
const CUTS: u64 = 1_000;
const CUTS_EACH: u64 = 100;
/// Groups a child commits.
const GROUPS: u64 = 70;
/// Names folder, seed and durability to the child.
const FOLDER: &str = "EDGED_POWER_FOLDER";
const SEED: &str = "EDGED_POWER_SEED";
const DURABILITY: &str = "EDGED_POWER_DURABILITY";
/// Says that its disk fails.
const FAULTY: &str = "EDGED_POWER_FAULTY";
/// Processes whose disk fails.
const FAULTS: u64 = 12;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_was_called_durable_survives_a_power_cut() {
    let cuts = number("EDGED_POWER_CUTS").unwrap_or(CUTS);

    let (failed, durable) = cut_off(cuts, number(SEED).unwrap_or(41), "synced");

    failed.iter().take(20).for_each(|line| say(line));
    let lost = failed.len();
    assert!(durable > 20, "only {durable} packs were durable");
    assert_eq!(lost, 0, "{lost} of {cuts} power cuts lost something");
}

#[test]
fn a_ledger_that_does_not_sync_its_commits_is_found_out() {
    let (failed, _) = cut_off(CUTS_EACH, 42, "written");

    assert!(failed.len() > 10, "{} of {CUTS_EACH}", failed.len());
}

/// Plays so many power cuts; what did not hold, and how many packs were durable at the last
/// of each recording.
fn cut_off(cuts: u64, seed: u64, durability: &str) -> (Vec<String>, usize) {
    let mut dice = Dice::new(seed);
    let root = memory();
    let mut start = root.path().join("start-0");
    std::fs::create_dir(&start).expect("room for a folder");
    let (mut heard, mut failed, mut durable) = (Facts::default(), Vec::new(), 0);
    for no in 0..cuts.div_ceil(CUTS_EACH) {
        let recorded = record(&start, dice.draw(), durability);
        let round = Round {
            no,
            start: &start,
            heard: &heard,
            steps: &recorded,
        };
        let points = round.points(&mut dice);
        failed.extend(round.judge(&points, root.path()));
        // The next one goes on from another cut.
        let (at, seed) = (dice.between(0, recorded.len() as u64), dice.draw());
        let next = root.path().join(format!("start-{}", no + 1));
        let (cache, facts) = round.at(at as usize);
        std::fs::create_dir(&next).expect("room for a folder");
        cache.lose(&mut Dice::new(seed), &next);
        if let Some(keep) = env::var_os("EDGED_POWER_KEEP") {
            let keep = Path::new(&keep).join(format!("start-{}", no + 1));
            std::fs::create_dir_all(&keep).expect("room for a folder");
            cache.lose(&mut Dice::new(seed), &keep);
        }
        durable += facts.durable();
        let (steps, lost) = (recorded.len(), failed.len());
        say(&format!(
            "  {durability} {no}: {steps} steps, {durable} packs durable, {lost} lost"
        ));
        (heard, start) = (facts, next);
    }
    (failed, durable)
}

/// A disk fails to sync, once or for as long as the process runs, or the process is killed
/// as it syncs; the next one finds in memory what the disk does not have, and goes by it.
/// Then the power goes.
#[test]
fn a_sync_that_failed_or_never_was_is_not_trusted_by_the_next_start() {
    let faults = number("EDGED_POWER_FAULTS").unwrap_or(FAULTS);
    let mut dice = Dice::new(number(SEED).unwrap_or(51));
    let root = memory();
    let mut start = root.path().join("start-0");
    std::fs::create_dir(&start).expect("room for a folder");
    let (mut heard, mut failed, mut met) = (Facts::default(), Vec::new(), 0);

    for no in 0..faults {
        let which = dice.between(1, 150);
        let fault = match no % 3 {
            0 => format!("error=EIO:when={which}"),
            1 => format!("error=EIO:when={which}+"),
            _ => format!("signal=SIGKILL:when={which}"),
        };
        let fault = format!("inject=fsync,fdatasync:{fault}");
        let [first, then] = [dice.draw(), dice.draw()];
        let (mut recorded, second) = record_in_turn(&start, (first, &fault), then);
        let at = recorded
            .iter()
            .position(|step| matches!(step, Step::FailedSync { .. }));
        let at = at.unwrap_or(recorded.len());
        met += u64::from(!recorded.contains(&Step::Said("ended".to_owned())));
        let begins = recorded.len() as u64;
        recorded.extend(second);
        let round = Round {
            no,
            start: &start,
            heard: &heard,
            steps: &recorded,
        };
        let mut points = round.points(&mut dice);
        points.retain(|(cut, _)| *cut > at);
        // What a start does with what it finds is short, and counts most.
        let early = || (dice.between(begins, begins + 120) as usize, dice.draw());
        points.extend(std::iter::repeat_with(early).take(CUTS_EACH as usize / 2));
        points.sort_unstable();
        failed.extend(round.judge(&points, root.path()));
        // The next one goes on from what a cut has left.
        let (cut, seed) = points[points.len() / 2];
        let (cache, facts) = round.at(cut);
        let next = root.path().join(format!("start-{}", no + 1));
        std::fs::create_dir(&next).expect("room for a folder");
        cache.lose(&mut Dice::new(seed), &next);
        (heard, start) = (facts, next);
    }

    failed.iter().take(20).for_each(|line| say(line));
    say(&format!("  {met} of {faults} faults met"));
    assert!(met > faults / 2, "{met} of {faults} faults met");
    assert_eq!(failed.len(), 0, "{} cuts lost something", failed.len());
}

/// Not a test of its own: what the other one runs as a process to be recorded.
#[test]
fn child_that_works_on_a_ledger() {
    let (Some(folder), Ok(seed)) = (env::var_os(FOLDER), env::var(SEED)) else {
        return;
    };
    let mut options = options();
    if env::var(DURABILITY).is_ok_and(|word| word == "written") {
        options.durability = Durability::Written;
    }
    let seed = seed.parse().expect("a number");
    let mut out = |line: String| writeln!(std::io::stdout(), "{line}").expect("it is recorded");
    let worked = Workload::open(Path::new(&folder), options, seed, &mut out)
        .and_then(|mut work| (0..GROUPS).try_for_each(|_| work.step(&mut out)));
    match worked {
        Err(error) if env::var_os(FAULTY).is_some() => out(format!("failed {error}")),
        other => {
            other.expect("it works");
            out("ended".to_owned());
        }
    }
}

/// One recording and where it began.
struct Round<'a> {
    no: u64,
    start: &'a Path,
    /// What had been said before it.
    heard: &'a Facts,
    steps: &'a [Step],
}

/// A step to be cut off after so many, and what decides what is left.
type Point = (usize, u64);

impl Round<'_> {
    /// Where the power goes: anywhere, or at once after something was said.
    fn points(&self, dice: &mut Dice) -> Vec<Point> {
        let said = |(at, step): (usize, &Step)| matches!(step, Step::Said(_)).then_some(at + 1);
        let said: Vec<usize> = self.steps.iter().enumerate().filter_map(said).collect();
        let mut points: Vec<Point> = (0..CUTS_EACH)
            .map(|n| {
                let anywhere = dice.between(0, self.steps.len() as u64) as usize;
                let after = dice.pick(&said).copied().unwrap_or(anywhere);
                (if n % 3 == 0 { after } else { anywhere }, dice.draw())
            })
            .collect();
        points.sort_unstable();
        points
    }

    /// Files and words after so many steps.
    fn at(&self, steps: usize) -> (Cache, Facts) {
        let (mut cache, mut facts) = (Cache::of(self.start), self.heard.clone());
        self.steps[..steps]
            .iter()
            .for_each(|step| take(step, &mut cache, &mut facts));
        (cache, facts)
    }

    /// What does not hold, at each of the points.
    fn judge(&self, points: &[Point], root: &Path) -> Vec<String> {
        let half = |which: usize| {
            let mut failed = Vec::new();
            let (mut cache, mut facts) = self.at(0);
            let mut done = 0;
            for (n, (at, seed)) in points.iter().enumerate().filter(|(n, _)| n % 2 == which) {
                self.steps[done..*at]
                    .iter()
                    .for_each(|step| take(step, &mut cache, &mut facts));
                done = *at;
                let what = format!("recording {} cut after step {at} (seed {seed})", self.no);
                let left = root.join(format!("cut-{}-{n}", self.no));
                std::fs::create_dir(&left).expect("room for a folder");
                cache.lose(&mut Dice::new(*seed), &left);
                let held = catch_unwind(AssertUnwindSafe(|| facts.hold(&left, &what)));
                if held.is_err() {
                    // As it was before the ledger opened it, for whoever wants to look.
                    if let Some(keep) = env::var_os("EDGED_POWER_KEEP") {
                        let keep = Path::new(&keep).join(format!("cut-{}-{n}", self.no));
                        std::fs::create_dir_all(&keep).expect("room for a folder");
                        cache.lose(&mut Dice::new(*seed), &keep);
                    }
                    failed.push(
                        format!("{what}: last {:?}", self.steps[..*at].last())
                            .chars()
                            .take(400)
                            .collect(),
                    );
                }
                std::fs::remove_dir_all(&left).expect("it goes");
            }
            failed
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| half(1));
            let mut failed = half(0);
            failed.extend(other.join().expect("it does not panic"));
            failed
        })
    }
}

fn take(step: &Step, cache: &mut Cache, facts: &mut Facts) {
    cache.take(step);
    if let Step::Said(line) = step {
        facts.hear(line);
    }
}

/// Runs the child in `folder` under strace: what it did and said. The folder itself stays
/// as it was.
fn record(folder: &Path, seed: u64, durability: &str) -> Vec<Step> {
    let work = memory();
    let state = work.path().join("state");
    harness::files::copy_all(folder, &state);
    let mut child = traced(&work, &state, &[]);
    child
        .env(SEED, seed.to_string())
        .env(DURABILITY, durability);
    run(&work, &state, &mut child)
}

/// Runs two children in a copy of `folder`, one after the other; the first meets a fault.
fn record_in_turn(folder: &Path, first: (u64, &str), then: u64) -> (Vec<Step>, Vec<Step>) {
    let work = memory();
    let state = work.path().join("state");
    harness::files::copy_all(folder, &state);
    let mut faulty = traced(&work, &state, &["-e", first.1]);
    faulty
        .env(SEED, first.0.to_string())
        .env(FAULTY, "it may fail");
    let faulty = run(&work, &state, &mut faulty);
    let mut sound = traced(&work, &state, &[]);
    (
        faulty,
        run(&work, &state, sound.env(SEED, then.to_string())),
    )
}

/// The child under strace.
fn traced(work: &TempDir, state: &Path, options: &[&str]) -> Command {
    let trace = work.path().join("strace").display().to_string();
    let tracer = Recording::tracer_of_files(&trace);
    let mut child = Command::new(tracer[0]);
    child
        .args(&tracer[1..])
        .args(options)
        .arg(env::current_exe().expect("this program"))
        .args([
            "--exact",
            "child_that_works_on_a_ledger",
            "--nocapture",
            "-q",
        ])
        .env(FOLDER, state);
    child
}

fn run(work: &TempDir, state: &Path, child: &mut Command) -> Vec<Step> {
    let done = child.output().expect("strace runs");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let is_faulty = child.get_envs().any(|(name, _)| name == FAULTY);
    assert!(done.status.success() || is_faulty, "the child: {said}");
    let trace = std::fs::read(work.path().join("strace")).expect("strace wrote it");
    steps(&Recording::read(&trace), state)
}

/// A folder in memory, if the machine has such: thousands of files are written and synced.
fn memory() -> TempDir {
    let shared = Path::new("/dev/shm");
    tempfile::tempdir_in(shared)
        .or_else(|_| TempDir::new())
        .expect("a folder")
}
