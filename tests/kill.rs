//! Both nodes are killed again and again under load; nothing is lost, nothing doubled.
//!
//! Producers put in batches, one by one and under keys while sender and receiver are
//! SIGKILLed at seeded moments, in each of which something is in flight: the victim is
//! frozen first, the sender's ledger looked at, and only then it dies. What stood open
//! in a copy of that ledger must read ABANDONED after the restart. In the end the disk
//! of the receiver is held against what the producers were told.
//!
//! `EDGED_KILL_CYCLES` and `EDGED_KILL_SEED` change the run.

use std::time::Duration;

use harness::daemon::{OpenAttempt, PATIENCE, Pair, Producers, Rows, Shape, Witness, wait_for};
use harness::proxy::Weather;
use harness::seeds::{Dice, number_from_env, say};
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Kills in one run.
const CYCLES: u64 = 40;

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Sender,
    Receiver,
    Both,
}

/// What a run has seen.
#[derive(Debug, Default)]
struct Totals {
    sender: u64,
    receiver: u64,
    in_full_swing: u64,
    in_flight: u64,
    fewest: u64,
    abandoned: u64,
    rescued: u64,
}

#[test]
fn killed_at_any_moment_nothing_answered_is_lost_and_nothing_comes_twice() {
    let seed = number_from_env("EDGED_KILL_SEED", 1);
    let cycles = number_from_env("EDGED_KILL_CYCLES", CYCLES);
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new(NODE, seed);
    pair.configure("[storage]\nmax_bytes = \"2GiB\"\n");
    // Acks take their time, so that there is always something on its way.
    let (delay, spread) = (Duration::from_millis(4), Duration::from_millis(8));
    pair.weather(Weather {
        delay,
        spread,
        loss: 5,
        twice: 5,
        ..Weather::default()
    });
    pair.start_beta();
    pair.start_alpha();
    let shapes = [
        Shape::Batches,
        Shape::Batches,
        Shape::Single,
        Shape::Single,
        Shape::Keyed,
    ];
    let producers = Producers::start(pair.alpha.home.socket(), seed, &shapes);
    let mut totals = Totals {
        fewest: u64::MAX,
        ..Totals::default()
    };

    for _ in 0..cycles {
        cycle(&mut pair, &producers, &mut dice, &mut totals);
    }

    let journal = producers.finish();
    let books = pair.alpha.wait_at_rest(2 * PATIENCE);
    assert_eq!((books.put, books.deadletter), (books.acked, 0), "{books:?}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    let arrived = Witness::of(&pair.beta.home).inbox();
    say(&format!("  seed {seed}, {cycles} kills: {totals:?}"));
    journal.reconcile(&arrived);
    assert_eq!(
        arrived.len() as u64,
        books.acked,
        "the books know what arrived"
    );
}

/// One kill, and the way back.
fn cycle(pair: &mut Pair, producers: &Producers, dice: &mut Dice, totals: &mut Totals) {
    producers.allow(dice.between(256, 4096));
    let goal = producers.answered() + dice.between(1, 400);
    wait_for("producers to be answered", PATIENCE, || {
        producers.allow(16);
        (producers.answered() >= goal).then_some(())
    });
    // Most die in full swing, some while the link is still being made.
    if dice.chance(700) {
        let goal = acked(pair) + dice.between(1, 400);
        wait_for("deliveries to be acked", PATIENCE, || {
            producers.allow(16);
            (acked(pair) >= goal).then_some(())
        });
        totals.in_full_swing += 1;
    }
    let victim = match dice.between(0, 3) {
        0 | 1 => Victim::Sender,
        2 => Victim::Receiver,
        _ => Victim::Both,
    };
    let in_flight = freeze_in_flight(pair, victim, producers);
    totals.in_flight += in_flight;
    totals.fewest = totals.fewest.min(in_flight);
    if victim != Victim::Sender {
        pair.beta.end().kill9();
        totals.receiver += 1;
    }
    if victim == Victim::Receiver {
        return pair.start_beta();
    }
    pair.alpha.end().kill9();
    totals.sender += 1;
    let open = Rows::of_copy(&pair.alpha.home).open_attempts();
    assert!(
        !open.is_empty(),
        "something stood open when the sender died"
    );
    if victim == Victim::Both && dice.chance(500) {
        pair.start_beta();
        pair.start_alpha();
    } else {
        pair.start_alpha();
        if victim == Victim::Both {
            pair.start_beta();
        }
    }
    totals.abandoned += open.len() as u64;
    totals.rescued += pair.alpha.process().rescued();
    all_abandoned(pair, &open);
}

fn acked(pair: &Pair) -> u64 {
    let books = pair.alpha.client().counters().expect("it counts").books;
    books.iter().map(|book| book.acked).sum()
}

/// Freezes the victim at a moment when something is in flight; deliveries in flight.
fn freeze_in_flight(pair: &Pair, victim: Victim, producers: &Producers) -> u64 {
    wait_for("something in flight", PATIENCE, || {
        let frozen = match victim {
            Victim::Sender | Victim::Both => pair.alpha.process(),
            Victim::Receiver => pair.beta.process(),
        };
        frozen.freeze();
        let open = match victim {
            Victim::Sender | Victim::Both => Rows::of_copy(&pair.alpha.home).open_attempts(),
            Victim::Receiver => Rows::of_running(&pair.alpha.home).open_attempts(),
        };
        let count: i64 = open.iter().map(|attempt| attempt.count).sum();
        if count == 0 {
            frozen.thaw();
            producers.allow(256);
        }
        u64::try_from(count).ok().filter(|count| *count > 0)
    })
}

/// What stood open between kill and restart was closed as abandoned, by the row and
/// by the daemon's own word.
fn all_abandoned(pair: &Pair, open: &[OpenAttempt]) {
    let rows = Rows::of_running(&pair.alpha.home);
    for attempt in open {
        let outcome = rows.outcome(*attempt);
        assert_eq!(outcome, Some(Outcome::Abandoned as i64), "{attempt:?}");
    }
    let count: i64 = open.iter().map(|attempt| attempt.count).sum();
    assert_eq!(
        pair.alpha.process().rescued(),
        count as u64,
        "each is counted as rescued"
    );
    let whole = open
        .iter()
        .find_map(|attempt| Some((attempt, rows.lone_segment(*attempt)?)));
    if let Some((attempt, id)) = whole {
        let detail = pair
            .alpha
            .client()
            .inspect(&id)
            .expect("the segment is known");
        let delivery = detail.deliveries.first().expect("it is owed to beta");
        let told = delivery.attempts.iter().find(|told| {
            (i64::from(told.number), told.boot_epoch) == (attempt.number, attempt.epoch as u64)
        });
        let told = told.and_then(|told| told.outcome);
        assert_eq!(
            told,
            Some(edged_rpc::Outcome::Abandoned),
            "{id}: {detail:?}"
        );
    }
}
