//! A segment of 1 GiB that is cut off again and again goes on where it was.
//!
//! The link is cut, either node is killed, at seeded places. What the receiver had is
//! the length of its partial file, looked at when nobody writes to it; where it goes on
//! is the word of the next run or link. What lies between is sent twice: at most 64 KiB
//! after a lost link, at most 1 MiB after a kill. In the end the bytes are hashed anew.
//!
//! `EDGED_RESUME_BYTES` and `EDGED_RESUME_SEED` change the run.

use std::time::Instant;

use harness::daemon::{Cut, PATIENCE, Pair, Rows, Witness, resumed_at, to_beta};
use harness::files::Body;
use harness::seeds::{Dice, number_from_env, say};
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// How long the segment is.
const BYTES: u64 = 1 << 30;
/// What happens to it, in order.
const CUTS: [Cut; 6] = [
    Cut::Link,
    Cut::Sender,
    Cut::Receiver,
    Cut::Link,
    Cut::Receiver,
    Cut::Sender,
];

#[test]
fn a_gibibyte_cut_and_killed_repeats_64_kib_a_link_and_1_mib_a_kill() {
    let seed = number_from_env("EDGED_RESUME_SEED", 1);
    let length = number_from_env("EDGED_RESUME_BYTES", BYTES);
    let (mut dice, begun) = (Dice::new(seed), Instant::now());
    let mut pair = Pair::new(NODE, seed);
    pair.configure("[storage]\nmax_bytes = \"8GiB\"\n");
    // A cut shows as a link that is down within seconds, not a minute.
    pair.notice_cuts_soon();
    pair.start_alpha();
    let body = Body { seed, length };
    let put = pair.alpha.client().put_reader(&to_beta(), body.reader());
    let put = put.expect("there is room for it");
    say(&format!("  put after {:.1?}", begun.elapsed()));
    pair.start_beta();

    let share = length / (CUTS.len() as u64 + 1);
    let mut repeated = [0, 0];
    for (n, cut) in (0..).zip(CUTS) {
        let place = n * share + dice.between(share / 2, share);
        let (had, from) = pair.cut_off(cut, place);
        let twice = had.saturating_sub(from);
        say(&format!(
            "  {cut:?} at {had:>10}: goes on at {from:>10}, {twice} B twice, after {:.1?}",
            begun.elapsed()
        ));
        assert!(twice <= cut.may_repeat(), "{cut:?} repeats {twice} B");
        repeated[usize::from(cut != Cut::Link)] += twice;
    }

    let books = pair.alpha.wait_at_rest(2 * PATIENCE);
    assert_eq!((books.put, books.acked, books.deadletter), (1, 1, 0));
    let rows = Rows::of_running(&pair.alpha.home);
    let interrupted = rows.sent_in(Outcome::Interrupted);
    say(&format!(
        "  seed {seed}: {length} B in {:.1?}, {} cuts, twice after lost links {} B, after kills {} B; \
         {} B given to lost links, {} B passed the network",
        begun.elapsed(),
        CUTS.len(),
        repeated[0],
        repeated[1],
        interrupted,
        pair.to_beta.passed() + pair.to_alpha.passed(),
    ));
    assert!(interrupted > 0, "attempts say what was sent in them");
    assert_eq!(rows.most_spent(), 0, "nothing of it costs an attempt");
    drop(rows);
    assert!(
        !resumed_at(pair.beta.process()).is_empty(),
        "since its last start"
    );
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    assert_eq!(
        Rows::of_copy(&pair.beta.home).partials(),
        0,
        "all of it is here"
    );
    let arrived = Witness::of(&pair.beta.home).inbox();
    let found: Vec<_> = arrived.iter().map(|item| (item.id, item.found)).collect();
    assert_eq!(found, [(put.segment_id.0, body.digest())]);
}
