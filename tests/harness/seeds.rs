//! From one number to a whole run, and from many numbers to a verdict.
//!
//! [`Dice`] turns a seed into draws by a named generator, so that a seed means
//! the same run on every machine. [`run_all`] plays a range of seeds on every
//! core, prints how often each fault and each row of the table of moves was
//! met, and ends with the seeds that failed and one line to replay each. What a
//! seed draws is [`crate::scenario`]'s; what a run may do is [`crate::oracle`]'s.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

/// Everything drawn in one run comes from here, in the order of the run.
#[derive(Debug)]
pub struct Dice(Pcg64);

impl Dice {
    /// The dice of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed))
    }

    /// 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high.max(low) - low + 1)
    }

    /// From `low` to `high`, each order of magnitude as likely as the next.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        let doublings = (high.max(1) / low.max(1)).ilog2();
        let scale = 1 << self.between(0, u64::from(doublings));
        self.between(low, low.saturating_mul(scale).max(low))
            .clamp(low, high)
    }

    /// True in `per_mille` of 1,000 draws.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.draw() % 1_000 < per_mille
    }

    /// One of them; `None` of nothing.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            return None;
        }
        from.get(self.between(0, from.len() as u64 - 1) as usize)
    }
}

/// How often each thing happened, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// It happened once more.
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// It happened `times` more.
    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }

    fn print(&self) {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|(what, n)| format!("{what} {n}"))
            .collect();
        for line in lines.chunks(4) {
            say(&format!("    {}", line.join(" · ")));
        }
    }
}

/// What all seeds together showed.
#[derive(Debug)]
pub struct Verdict {
    /// Seeds played.
    pub seeds: u64,
    /// The seeds that failed and what was seen, ascending.
    pub failed: Vec<(u64, String)>,
    /// What happened in the others.
    pub tally: Tally,
    /// How long it took.
    pub took: Duration,
}

/// Plays `seeds` seeds from `first` on every core by `run`.
///
/// Prints figures and failures to stderr; the caller decides what they mean.
pub fn run_all(first: u64, seeds: u64, run: fn(u64) -> Tally) -> Verdict {
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let shared = Mutex::new((Tally::default(), Vec::new()));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::panic::set_hook(Box::new(keep_where));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let seen = catch_unwind(AssertUnwindSafe(|| run(seed)));
                    let mut shared = shared.lock().expect("no holder panics");
                    match seen {
                        Ok(tally) => shared.0.merge(&tally),
                        Err(panic) => shared.1.push((seed, words(&*panic))),
                    }
                }
            });
        }
    });
    drop(std::panic::take_hook());
    let (tally, mut failed) = shared.into_inner().expect("no holder panics");
    failed.sort();
    let verdict = Verdict {
        seeds,
        failed,
        tally,
        took: begun.elapsed(),
    };
    report(&verdict);
    verdict
}

std::thread_local! {
    static PLACE: std::cell::Cell<String> = const { std::cell::Cell::new(String::new()) };
}

fn keep_where(panic: &std::panic::PanicHookInfo<'_>) {
    PLACE.set(
        panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default(),
    );
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    format!("{text}  ({})", PLACE.take())
}

fn report(verdict: &Verdict) {
    say(&format!(
        "  {} seeds in {:.1?}",
        verdict.seeds, verdict.took
    ));
    verdict.tally.print();
    for (seed, what) in verdict.failed.iter().take(10) {
        say(&format!("  FAILED seed {seed}: {what}"));
        say(&format!("    {}", replay_line(*seed)));
    }
    if verdict.failed.len() > 10 {
        say(&format!(
            "  … and {} more seeds failed",
            verdict.failed.len() - 10
        ));
    }
}

/// The command that plays one seed again and shows every Input and Effect.
#[must_use]
pub fn replay_line(seed: u64) -> String {
    format!("EDGED_SIM_SEED={seed} cargo test -p relay-tests --test sim -- --nocapture")
}

/// A line on stderr, even where the test runner captures output.
pub fn say(line: &str) {
    // Nobody to tell if stderr itself is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A number from the environment, or `otherwise`.
///
/// # Panics
/// If the variable is set to something that is no number.
#[must_use]
pub fn number_from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is not a number"))
    })
}
