//! Sinks of a real daemon: each arrival goes to a folder or a program once, whatever
//! kills the daemon, and nothing a peer wrote is ever a path or a word of a command.
//!
//! `EDGED_SINK_KILLS` and `EDGED_SINK_SEED` change the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edged_rpc::{Id, InboxList, LeaseState, PutOptions};
use harness::daemon::{PATIENCE, Pair, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::{Dice, number_from_env, say};
use harness::small_disk::SmallDisk;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Kills in one run.
const KILLS: u64 = 3;

/// A pair whose beta has this sink, `{}` being a folder of its own, which is answered.
fn pair(seed: u64, sink: &str) -> (Pair, PathBuf) {
    let pair = Pair::new(NODE, seed);
    let folder = pair.site.path().join("out");
    fs::create_dir(&folder).expect("a folder");
    pair.configure("[storage]\nmax_bytes = \"1GiB\"\n");
    let sink = sink.replace("{}", folder.to_str().expect("a path of text"));
    let toml = format!("[inbox]\nsink = {sink:?}\nlease = \"1s\"\n");
    pair.beta.home.configure("20-sink", &toml);
    (pair, folder)
}

/// A program at `path` that runs these lines of shell.
fn program(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it can run");
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok().map(|entry| entry.file_name());
    entries
        .filter_map(name)
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// How many arrivals beta has in this state.
fn in_state(pair: &Pair, state: LeaseState) -> usize {
    let (mut list, mut client, mut count) = (InboxList::default(), pair.beta.client(), 0);
    list.page.limit = 1000;
    loop {
        let page = client.inbox(&list).expect("a list");
        count += page.items.iter().filter(|item| item.state == state).count();
        list.page.after = page.next;
        if list.page.after.is_none() {
            return count;
        }
    }
}

fn wait_until_confirmed(pair: &Pair, count: usize) {
    wait_for("all to be confirmed", PATIENCE, || {
        (in_state(pair, LeaseState::Confirmed) == count).then_some(())
    });
}

#[test]
fn killed_at_any_moment_each_arrival_is_in_the_folder_whole_and_none_comes_after_it_went() {
    let seed = number_from_env("EDGED_SINK_SEED", 1);
    let kills = number_from_env("EDGED_SINK_KILLS", KILLS);
    let mut dice = Dice::new(seed);
    let (mut pair, folder) = pair(seed, "dir:{}");
    pair.start_beta();
    pair.start_alpha();
    let (over, count, took) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let socket = pair.alpha.home.socket().to_owned();

    let (put, gone) = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&socket, seed, &over, (&count, &took), &folder));
        let mut gone = BTreeMap::new();
        for _ in 0..kills {
            let goal = count.load(Ordering::Relaxed) + dice.between(1, 200);
            wait_for("segments to be put", PATIENCE, || {
                (count.load(Ordering::Relaxed) >= goal).then_some(())
            });
            pair.beta.end().kill9();
            // Whatever was confirmed has gone from the inbox for good: a consumer may
            // take it out of the folder, and it must not come again.
            for id in confirmed(&pair) {
                take_out(&folder, id, &mut gone);
            }
            took.store(gone.len() as u64, Ordering::Relaxed);
            pair.start_beta();
        }
        over.store(true, Ordering::Relaxed);
        (producer.join().expect("the producer ends"), gone)
    });
    let _ = pair.alpha.wait_at_rest(PATIENCE);
    wait_for("the inbox to be empty", 2 * PATIENCE, || {
        let open = in_state(&pair, LeaseState::Ready) + in_state(&pair, LeaseState::Leased);
        (open == 0).then_some(())
    });
    pair.alpha.end().terminate();
    pair.beta.end().terminate();

    say(&format!(
        "  seed {seed}, {kills} kills, {} arrivals, {} taken out on the way",
        put.len(),
        gone.len()
    ));
    let left = names(&folder);
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
    let again = gone.keys().filter(|id| left.contains(&format!("{id}.bin")));
    assert_eq!(again.count(), 0, "what was confirmed came again");
    for (id, body) in &put {
        let found = gone
            .get(id)
            .copied()
            .unwrap_or_else(|| digest(&folder, *id));
        assert_eq!(found, body.digest(), "{id}");
    }
    assert_eq!(left.len(), 2 * (put.len() - gone.len()));
}

/// Puts until it is over, never far beyond what has come out.
fn produce(
    socket: &Path,
    seed: u64,
    over: &AtomicBool,
    (count, took): (&AtomicU64, &AtomicU64),
    folder: &Path,
) -> BTreeMap<Id, Body> {
    let mut client = edged_rpc::Client::connect(socket, PATIENCE).expect("alpha answers");
    let mut dice = Dice::new(seed ^ 7);
    let mut put = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        let length = match dice.between(0, 99) {
            0 => dice.spread(5 << 20, 9 << 20),
            _ => dice.spread(16, 16 << 10),
        };
        let body = Body {
            seed: dice.draw(),
            length,
        };
        let accepted = client
            .put(&to_beta(), &body.bytes())
            .expect("there is room");
        put.insert(accepted.segment_id, body);
        count.fetch_add(1, Ordering::Relaxed);
        if put.len().is_multiple_of(128) {
            wait_for("arrivals to come out", PATIENCE, || {
                let took = took.load(Ordering::Relaxed) as usize;
                let out = names(folder).len() / 2 + took;
                (over.load(Ordering::Relaxed) || out + 256 >= put.len()).then_some(())
            });
        }
    }
    put
}

/// Ids that a stopped beta's ledger shows as confirmed.
fn confirmed(pair: &Pair) -> Vec<Id> {
    use relay_core::ledger::{InboxFilter, InboxState, Ledger, Options};
    let node = "beta".parse().expect("a node id");
    let (options, now) = (Options::new(node, 1 << 30, 0), relay_core::time::Unix(0));
    let (ledger, _) = Ledger::open(pair.beta.home.state(), options, now).expect("it opens");
    let mut reader = ledger.reader().expect("it can be read");
    let page = reader.inbox(&InboxFilter::default(), None, 100_000);
    let rows = page.expect("the inbox can be read").rows;
    let done = rows
        .into_iter()
        .filter(|item| item.state == InboxState::Confirmed);
    done.map(|item| Id(item.id.0)).collect()
}

fn digest(folder: &Path, id: Id) -> [u8; 32] {
    let json = fs::read(folder.join(format!("{id}.json"))).expect("its words are there");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("they are JSON");
    assert_eq!(json["segment_id"], id.to_string());
    let bytes = fs::read(folder.join(format!("{id}.bin"))).expect("its bytes are there");
    *blake3::hash(&bytes).as_bytes()
}

fn take_out(folder: &Path, id: Id, gone: &mut BTreeMap<Id, [u8; 32]>) {
    if gone.contains_key(&id) {
        return;
    }
    gone.insert(id, digest(folder, id));
    for end in ["bin", "json"] {
        fs::remove_file(folder.join(format!("{id}.{end}"))).expect("it can be taken");
    }
}

#[test]
fn a_folder_that_is_not_there_makes_arrivals_wait_and_costs_none_of_them() {
    let (mut pair, folder) = pair(2, "dir:{}");
    fs::remove_dir(&folder).expect("it is empty");
    pair.start_beta();
    pair.start_alpha();
    let bodies: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; 100]).collect();
    let put = pair.alpha.client().put_many(&to_beta(), &bodies);
    assert_eq!(put.expect("they are put").ids.len(), 20);

    wait_for("the sink to say so", PATIENCE, || {
        let words = pair.beta.process().words();
        words.contains("The sink cannot work").then_some(())
    });
    assert_eq!(in_state(&pair, LeaseState::Refused), 0);
    fs::create_dir(&folder).expect("a folder");
    wait_until_confirmed(&pair, 20);

    assert_eq!(names(&folder).len(), 40);
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

#[test]
fn an_arrival_that_finds_no_room_keeps_none_waiting_that_does() {
    let (mut pair, folder) = pair(5, "dir:{}");
    let Some(disk) = SmallDisk::over(&folder, 1 << 20) else {
        return;
    };
    pair.start_beta();
    pair.start_alpha();
    let large = vec![vec![1; 2 << 20]];
    let put = pair.alpha.client().put_many(&to_beta(), &large);
    let large = put.expect("it is put").ids;
    wait_for("the sink to say so", PATIENCE, || {
        let words = pair.beta.process().words();
        words.contains("no storage space").then_some(())
    });

    let small: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; 100]).collect();
    let put = pair.alpha.client().put_many(&to_beta(), &small);
    assert_eq!(put.expect("they are put").ids.len(), 20);

    wait_until_confirmed(&pair, 20);
    assert_eq!(in_state(&pair, LeaseState::Refused), 0);
    assert_eq!(names(&folder).len(), 40, "nothing of {large:?}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    drop(disk);
}

/// What a hostile producer might hope somebody takes for a path or a command.
fn hostile() -> PutOptions {
    PutOptions {
        topic: Some("a/../b".to_owned()),
        labels: vec![
            (
                "$(touch pwned)".to_owned(),
                "`touch pwned`; rm -rf /".to_owned(),
            ),
            ("file".to_owned(), "../../etc/passwd".to_owned()),
        ],
        ..to_beta()
    }
}

#[test]
fn a_program_is_given_bytes_and_words_and_its_exit_decides() {
    let (mut pair, folder) = pair(3, "exec:{}/../take");
    let out = folder.display();
    // The first time it fails, with a word; the second time it works.
    let lines = format!(
        "cd {out} || exit 9
env | grep ^EDGED_ > \"$EDGED_SEGMENT_ID.env\"
if [ ! -e \"$EDGED_SEGMENT_ID.seen\" ]; then : > \"$EDGED_SEGMENT_ID.seen\"; echo not yet >&2; exit 3; fi
cat > \"$EDGED_SEGMENT_ID.part\" && mv \"$EDGED_SEGMENT_ID.part\" \"$EDGED_SEGMENT_ID.bin\""
    );
    program(&folder.with_file_name("take"), &lines);
    pair.start_beta();
    pair.start_alpha();
    let mut dice = Dice::new(3);
    let bodies: Vec<Body> = [0, 5, 70_000, 6 << 20]
        .map(|length| Body {
            seed: dice.draw(),
            length,
        })
        .into();
    let mut client = pair.alpha.client();
    let mut put = Vec::new();
    for body in &bodies {
        let accepted = client
            .put(&hostile(), &body.bytes())
            .expect("there is room");
        put.push((accepted.segment_id, *body));
    }

    wait_until_confirmed(&pair, bodies.len());

    for (id, body) in &put {
        let bytes = fs::read(folder.join(format!("{id}.bin"))).expect("it was handed over");
        assert_eq!(*blake3::hash(&bytes).as_bytes(), body.digest());
        let words = fs::read_to_string(folder.join(format!("{id}.env"))).expect("its words");
        assert!(words.contains("EDGED_TOPIC=a/../b"), "{words}");
        assert!(words.contains("EDGED_ORIGIN=alpha"), "{words}");
        assert!(words.contains("`touch pwned`; rm -rf /"), "{words}");
    }
    assert!(!folder.join("pwned").exists());
    let words = pair.beta.process().words();
    assert!(words.contains("exit status: 3"), "{words}");
    assert!(words.contains("not yet"), "{words}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

#[test]
fn a_daemon_that_ends_takes_its_programs_along_and_gives_back_what_they_had() {
    let (mut pair, folder) = pair(4, "exec:{}/../take");
    let (out, take) = (folder.display(), folder.with_file_name("take"));
    // It would run for a day, and so would its child.
    program(
        &take,
        &format!("sleep 86400 & echo $$ $! > {out}/$EDGED_SEGMENT_ID; wait"),
    );
    pair.beta
        .home
        .configure("30-lease", "[inbox]\nlease = \"1h\"\n");
    pair.start_beta();
    pair.start_alpha();
    let put = pair
        .alpha
        .client()
        .put(&to_beta(), b"one")
        .expect("it is put");
    let pids = wait_for("it to run", PATIENCE, || {
        let said = fs::read_to_string(folder.join(put.segment_id.to_string())).ok()?;
        let pids: Vec<u32> = said
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
        (pids.len() == 2).then_some(pids)
    });

    pair.beta.end().terminate();
    wait_for("both to be gone", PATIENCE, || {
        let gone = |pid: &u32| !is_running(*pid);
        pids.iter().all(gone).then_some(())
    });
    program(&take, &format!("cat > {out}/taken"));
    pair.start_beta();
    wait_until_confirmed(&pair, 1);

    assert_eq!(
        fs::read(folder.join("taken")).expect("it was taken"),
        b"one"
    );
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

/// Whether a process is there and no zombie that nobody has fetched.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
