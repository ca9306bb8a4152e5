//! Consumers of an inbox, one after the other, each killed at any moment, and their daemon
//! now and then: what one had in hand comes again, what one had confirmed never does.
//!
//! A consumer is a process of its own. It writes down what it has taken before it goes on,
//! and what it has confirmed once the daemon says so.
//! `EDGED_CONSUMER_KILLS` and `EDGED_CONSUMER_SEED` change the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use edged_rpc::{Client, ClientError, Id, InboxTake};
use harness::daemon::{PATIENCE, Pair, to_beta, wait_for};
use harness::files::Body;
use harness::kills::{child, folder, kill_after};
use harness::seeds::{Dice, number_from_env, say};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Kills in one run.
const KILLS: u64 = 16;
/// Segments put for each kill.
const FOR_EACH: u64 = 200;
/// How long a consumer works on what it has taken.
const WORK: Duration = Duration::from_millis(5);
/// Taken at once.
const AT_ONCE: u32 = 20;

#[test]
fn what_a_killed_consumer_had_in_hand_comes_again_and_what_it_had_confirmed_never() {
    let seed = number_from_env("EDGED_CONSUMER_SEED", 1);
    let kills = number_from_env("EDGED_CONSUMER_KILLS", KILLS);
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new(NODE, seed);
    let at = pair.site.path().join("consumer");
    fs::create_dir(&at).expect("a folder");
    let socket = pair.beta.home.socket().to_str().expect("a path of text");
    fs::write(at.join("socket"), socket).expect("a file");
    fs::write(at.join("log"), "").expect("a file");
    pair.start_beta();
    pair.start_alpha();
    let bodies: Vec<Vec<u8>> = (0..kills * FOR_EACH).map(|n| body(n).bytes()).collect();
    let put = pair.alpha.client().put_many(&to_beta(), &bodies);
    let put: BTreeSet<Id> = put.expect("they are put").ids.into_iter().collect();

    let mut daemons = 0;
    for _ in 0..kills {
        let consumer = child("a_consumer_at_work", &at);
        let goal = Log::of(&at).taken.len() + dice.between(1, 60) as usize;
        wait_for("some to be taken", PATIENCE, || {
            (Log::of(&at).taken.len() >= goal).then_some(())
        });
        if dice.chance(300) {
            pair.beta.end().kill9();
            pair.start_beta();
            daemons += 1;
        }
        let time = Duration::from_micros(dice.between(0, 20_000));
        assert!(kill_after(consumer, time), "it goes on until it is killed");
    }
    let consumer = child("a_consumer_at_work", &at);
    let _ = pair.alpha.wait_at_rest(PATIENCE);
    wait_for("all to be confirmed", 2 * PATIENCE, || {
        (pair.beta.status().storage.inbox_bytes == 0).then_some(())
    });
    kill_after(consumer, Duration::ZERO);
    pair.alpha.end().terminate();
    pair.beta.end().terminate();

    let log = Log::of(&at);
    let again = log.taken.values().filter(|times| **times > 1).count();
    say(&format!(
        "  seed {seed}, {kills} kills of consumers, {daemons} of the daemon: {} taken, {again} more than once, {} known to be confirmed",
        log.taken.len(),
        log.confirmed.len()
    ));
    assert_eq!(
        log.came_again,
        Vec::<String>::new(),
        "after they were confirmed"
    );
    let put: BTreeSet<String> = put.iter().map(ToString::to_string).collect();
    assert_eq!(log.taken.into_keys().collect::<BTreeSet<_>>(), put);
    assert!(again > 0, "no kill met anything in hand");
}

const fn body(seed: u64) -> Body {
    Body { seed, length: 512 }
}

/// What consumers have written down.
#[derive(Debug, Default)]
struct Log {
    /// How often each was taken.
    taken: BTreeMap<String, u32>,
    confirmed: BTreeSet<String>,
    /// Taken after it was known to be confirmed.
    came_again: Vec<String>,
}

impl Log {
    fn of(at: &Path) -> Self {
        let text = fs::read_to_string(at.join("log")).expect("it can be read");
        let mut log = Self::default();
        // A line without its end is one that a kill cut off.
        for line in text.split_inclusive('\n') {
            let Some((what, id)) = line
                .strip_suffix('\n')
                .and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            if what == "confirmed" {
                log.confirmed.insert(id.to_owned());
                continue;
            }
            *log.taken.entry(id.to_owned()).or_default() += 1;
            if log.confirmed.contains(id) {
                log.came_again.push(id.to_owned());
            }
        }
        log
    }
}

/// The consumer: nobody runs this as a test of its own.
#[test]
fn a_consumer_at_work() {
    let Some(at) = folder() else { return };
    let socket = fs::read_to_string(at.join("socket")).expect("its socket");
    let mut log = OpenOptions::new()
        .append(true)
        .open(at.join("log"))
        .expect("its log");
    loop {
        // Its daemon may be killed, too; whoever began this ends it.
        if let Ok(mut client) = Client::connect(&socket, PATIENCE) {
            while consume(&mut client, &mut log).is_ok() {}
        }
        std::thread::yield_now();
    }
}

/// Takes some, and confirms them.
fn consume(client: &mut Client, log: &mut fs::File) -> Result<(), ClientError> {
    let which = InboxTake {
        max: AT_ONCE,
        lease_seconds: Some(1),
        ..InboxTake::default()
    };
    let taken = client.take(&which)?;
    let ids: Vec<Id> = taken.iter().map(|(item, _)| item.segment_id).collect();
    write_down(log, "taken", &ids);
    // Its work, which takes as long as the daemon's.
    let begun = Instant::now();
    while begun.elapsed() < WORK {
        for (item, bytes) in &taken {
            assert_eq!(bytes.len() as u64, item.len, "{}", item.segment_id);
        }
    }
    if !ids.is_empty() {
        client.confirm(&ids)?;
        write_down(log, "confirmed", &ids);
    }
    Ok(())
}

/// With one call, so that a kill cuts off no more than the end.
fn write_down(log: &mut fs::File, what: &str, ids: &[Id]) {
    let lines: String = ids.iter().map(|id| format!("{what} {id}\n")).collect();
    log.write_all(lines.as_bytes()).expect("it can be written");
}
