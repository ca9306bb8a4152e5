//! Two linked daemons with nothing to do: their disks rest.
//!
//! Against a clock, so in the slow part of `.ci/run`. `EDGED_IDLE_SECONDS` says for how long.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use edged_rpc::InboxTake;
use harness::daemon::{PATIENCE, Pair, to_beta, wait_for};
use harness::seeds::{number_from_env, say};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// What is under way when work ends has ended when nothing was written for so long: what
/// was counted is kept within 5 s (`limits::SAVE_METERS`).
const SETTLED: Duration = Duration::from_secs(8);

#[test]
fn a_node_that_has_nothing_to_do_writes_nothing() {
    let long = Duration::from_secs(number_from_env("EDGED_IDLE_SECONDS", 15));
    let mut pair = Pair::new(NODE, 3);
    pair.start_beta();
    pair.start_alpha();
    let bodies: Vec<Vec<u8>> = (0..200u8).map(|n| vec![n; 1_000]).collect();
    let put = pair.alpha.client().put_many(&to_beta(), &bodies);
    assert_eq!(put.expect("they are put").ids.len(), bodies.len());
    assert_eq!(pair.alpha.wait_at_rest(PATIENCE).acked, 200);
    let taken = pair.beta.client().take(&InboxTake {
        max: 200,
        ..InboxTake::default()
    });
    let ids: Vec<_> = taken
        .expect("it answers")
        .iter()
        .map(|(item, _)| item.segment_id)
        .collect();
    let confirmed = pair.beta.client().confirm(&ids).expect("they are ours");
    assert_eq!(confirmed.confirmed, 200);

    let homes = [
        pair.alpha.home.state().to_owned(),
        pair.beta.home.state().to_owned(),
    ];
    let rests = settled(&homes);
    let begun = Instant::now();
    let mut looks = 0;
    wait_for("the time to pass", long + PATIENCE, || {
        let found = written(&homes);
        assert_eq!(found, rests, "after {:?}", begun.elapsed());
        looks += 1;
        (begun.elapsed() >= long).then_some(())
    });

    say(&format!(
        "  {} files rested for {long:?}, in {looks} looks",
        rests.len()
    ));
    assert!(rests.len() > 4, "{rests:?}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

/// What was written when, once it stays so.
fn settled(homes: &[PathBuf]) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut last = (written(homes), Instant::now());
    wait_for("the disks to rest", PATIENCE, || {
        let found = written(homes);
        if found != last.0 {
            last = (found, Instant::now());
        }
        (last.1.elapsed() >= SETTLED).then_some(())
    });
    last.0
}

/// Length and last change of each file. SQLite's index lies in memory that readers share:
/// what a look changes in it is not work.
fn written(homes: &[PathBuf]) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut all = BTreeMap::new();
    homes.iter().for_each(|home| list(home, &mut all));
    all
}

fn list(folder: &Path, all: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        if found.is_dir() {
            list(&path, all);
        } else if !path.to_string_lossy().ends_with("-shm") {
            all.insert(path, (found.len(), found.modified().expect("a time")));
        }
    }
}
