//! The seeded simulator: thousands of small worlds, each judged at every step.
//!
//! `EDGED_SIM_SEEDS=N` plays more seeds, `EDGED_SIM_SEED=S` replays one with
//! every Input and Effect on stderr.

use harness::seeds::{number_from_env, run_all, say};
use harness::world::{play, play_aloud, play_hashed, play_on_sqlite};

/// Seeds played by the test command.
const SEEDS: u64 = 3_000;
/// Of these, played with a real ledger beside the model.
const SQLITE_SEEDS: u64 = 500;

/// What must have happened somewhere in the seeds: every fault, every row of the
/// table of moves, every outcome and cause, every bound that is meant to bind.
const MUST_HAPPEN: &[&str] = &[
    "move: Enqueue",
    "move: Send",
    "move: Ack",
    "move: AckLate",
    "move: Fail",
    "move: Return",
    "move: Wake",
    "move: Exhaust",
    "move: Park",
    "move: Retry",
    "move: Remove",
    "move: Spare",
    "outcome: Failed",
    "outcome: Timeout",
    "outcome: Rejected",
    "outcome: SegmentMissing",
    "outcome: Corrupt",
    "outcome: Abandoned",
    "outcome: Interrupted",
    "outcome: Deferred",
    "cause: RetriesExhausted",
    "cause: SegmentMissing",
    "cause: Corrupt",
    "cause: Rejected",
    "cause: Expired",
    "fault: link lost",
    "fault: link falls silent",
    "fault: partition",
    "fault: crash",
    "fault: durable but unheard",
    "fault: power loss",
    "fault: drain",
    "fault: slow disk",
    "fault: disk full",
    "fault: persist refused",
    "fault: reads fail",
    "fault: slow reads",
    "fault: bytes never read",
    "fault: a file fails",
    "unread: key",
    "unread: page",
    "unread: row",
    "unread: expired",
    "unread: look-up",
    "unread: receipts",
    "unread: group",
    "unread: walk",
    "unread: bytes",
    "refused: unreadable",
    "target unreadable",
    "given up unread",
    "why: storage",
    "fault: bytes missing",
    "fault: bytes rotten",
    "fault: lying ack",
    "fault: repeated ack",
    "fault: bad digest",
    "fault: refused for good",
    "fault: offer refused for good",
    "fault: busy peer",
    "fault: clock jumps",
    "clock: not believed",
    "clock: jumped while away",
    "verb: retry",
    "verb: purge",
    "verb: set rate",
    "verb: set bandwidth, stored",
    "verb: set bandwidth, ephemeral",
    "verb: set bandwidth, dry run",
    "verb: reset bandwidth",
    "verb: set lane budget",
    "verb: config reload",
    "ingest quota: busy",
    "lane changes its class",
    "quota shut",
    "parked for a quota",
    "window shut",
    "windows lifted",
    "lane budget spent",
    "verb: hold",
    "verb: release",
    "verb: cancel",
    "verb: force",
    "member ordered alone",
    "cause: Forced",
    "cause: Cancelled",
    "verb: key repeated",
    "verb: pause all",
    "verb: pause all, now",
    "verb: pause peer",
    "verb: pause peer, now",
    "verb: pause lane",
    "verb: pause lane, now",
    "verb: pause lane of peer",
    "verb: pause lane of peer, now",
    "verb: resume",
    "verb: kick",
    "verb: drop",
    "dropped",
    "drop carried on",
    "refused: drop",
    "cause: Forced",
    "peer removed",
    "fault: clone speaks",
    "clone seen",
    "fault: away for days",
    "fault: network changed",
    "idle link let go",
    "fault: panic",
    "spool: put",
    "spool: refused, tried again",
    "spool: a row outlived its file",
    "poison: it killed",
    "poison: two peers",
    "poison shunned",
    "probe",
    "slow start",
    "paused steps",
    "class that starved goes first",
    "accepted",
    "accepted as before",
    "refused: storage full",
    "refused: key conflict",
    "refused: too large",
    "refused: draining",
    "refused: names",
    "arrival trimmed",
    "pack divided",
    "standby woken",
    "standby spared",
    "found at start",
    "found behind a peer away",
    "refused: too few peers",
    "put by route",
    "put by topic",
    "refused: unknown route",
    "refused: no route",
    "filed here",
    "filed here and onward",
    "filed onward",
    "filed as several",
    "forwarded twice",
    "known by another way",
    "refused: hop limit",
    "refused: speaks for another",
    "busy said",
    "dial failed",
    "drained",
    "duplicate link closed",
    "have",
    "offer lost",
    "offset kept",
    "cut off",
    "spilled",
    "partial synced",
    "journal awaited",
    "resumed after a crash",
    "resumed in vain",
    "forgotten: bad",
    "forgotten: no place",
    "forgotten: old",
    "forgotten: full",
    "fault: no room for a file",
    "pack taken back",
    "paged",
    "rate binds",
    "send failed",
    "settled",
    "stream reset",
    "verified",
    "why asked",
];

#[test]
fn every_seed_keeps_every_promise() {
    if let Ok(seed) = std::env::var("EDGED_SIM_SEED") {
        let seed = seed.parse().expect("EDGED_SIM_SEED is a number");
        let tally = play_aloud(seed);
        say(&format!("seed {seed} holds: {tally:?}"));
        return;
    }
    let seeds = number_from_env("EDGED_SIM_SEEDS", SEEDS);
    let first = number_from_env("EDGED_SIM_FIRST", 0);

    let verdict = run_all(first, seeds, play);

    assert!(
        verdict.failed.is_empty(),
        "{} of {seeds} seeds failed",
        verdict.failed.len()
    );
    let never = |what: &&&str| verdict.tally.of(what) == 0;
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(never).collect();
    assert!(
        seeds < SEEDS || missing.is_empty(),
        "never happened: {missing:?}"
    );
}

#[test]
fn the_real_ledger_agrees_with_the_model_in_every_seed() {
    if let Ok(seed) = std::env::var("EDGED_SIM_SEED") {
        let seed = seed.parse().expect("EDGED_SIM_SEED is a number");
        say(&format!(
            "seed {seed} holds on SQLite: {:?}",
            play_on_sqlite(seed)
        ));
        return;
    }
    let seeds = number_from_env("EDGED_SIM_SQLITE_SEEDS", SQLITE_SEEDS);
    let first = number_from_env("EDGED_SIM_FIRST", 0);

    let verdict = run_all(first, seeds, play_on_sqlite);

    assert!(
        verdict.failed.is_empty(),
        "{} of {seeds} seeds failed on SQLite",
        verdict.failed.len()
    );
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in [3, 77, 1_234] {
        assert_eq!(play_hashed(seed), play_hashed(seed), "seed {seed}");
    }
}
