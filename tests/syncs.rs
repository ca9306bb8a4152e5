//! The syncs are real: a recorder of system calls over both daemons shows that no
//! promise leaves before the syncs that cover it have returned.
//!
//! The recorder is strace; [`harness::daemon::judge`] reads what it wrote. That the
//! check can fail is part of it: the same recording without the syncs of the log, or
//! without those of the WAL, is found broken, and so is a daemon that was told
//! `durability = "written"`.

use std::collections::BTreeSet;
use std::path::Path;

use edged_rpc::{Durability, InboxList, InboxView, LeaseState, PutOptions};
use harness::daemon::{Call, PATIENCE, Pair, Recording, Verdict, judge, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::{Dice, say};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Segments put in batches, one by one, and in files of their own.
const BATCHED: u64 = 120;
const SINGLE: u64 = 30;
const LARGE: u64 = 2;
/// Files of a sink or a spool: one batch.
const FEW: u64 = 3;

#[test]
fn no_answer_and_no_ack_leaves_before_its_syncs_have_returned() {
    let [alpha, beta] = record("synced");

    for (who, recording) in [("alpha", &alpha), ("beta", &beta)] {
        let verdict = judge(recording);
        tell(who, &verdict);
        assert_eq!(verdict.broken, Vec::<String>::new(), "{who}");
        let without_log = judge(&recording.without(|call| sync_of(call, ".log")));
        tell("  without the syncs of the log", &without_log);
        let without_wal = judge(&recording.without(|call| sync_of(call, "ledger.db-wal")));
        tell("  without the syncs of the WAL", &without_wal);
        let all = verdict.answers + verdict.acks;
        // A segment with a file of its own owes nothing to the log.
        assert!(
            without_log.broken.len() >= all - 2 * LARGE as usize && all > 0,
            "{who}"
        );
        assert_eq!(without_wal.broken.len(), all, "{who}");
    }
    assert_eq!(judge(&alpha).answers as u64, BATCHED + SINGLE + LARGE);
    assert!(judge(&beta).acks as u64 > SINGLE + LARGE);
    let without_files = judge(&alpha.without(|call| sync_of(call, ".seg")));
    assert_eq!(
        without_files.broken.len() as u64,
        LARGE,
        "{without_files:?}"
    );
}

#[test]
fn a_daemon_that_does_not_sync_is_found_out() {
    let [alpha, beta] = record("written");

    for (who, recording) in [("alpha", &alpha), ("beta", &beta)] {
        let verdict = judge(recording);
        tell(&format!("{who}, durability written"), &verdict);
        assert!(
            verdict.broken.len() > (verdict.answers + verdict.acks) / 2,
            "{who}"
        );
    }
}

/// A sink's file is on disk before it has its name, and then so is the name.
#[test]
fn a_sink_syncs_what_it_names_and_then_the_names() {
    let mut pair = Pair::new(NODE, 6);
    let out = pair.site.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    pair.start_alpha();
    pair.start_beta();
    for seed in 0..FEW {
        let body = Body { seed, length: 900 };
        let put = pair.alpha.client().put(&to_beta(), &body.bytes());
        put.expect("there is room for it");
    }
    assert_eq!(pair.alpha.wait_at_rest(PATIENCE).acked, FEW);
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    let sink = format!("[inbox]\nsink = \"dir:{}\"\n", out.display());
    pair.beta.home.configure("20-sink", &sink);
    let trace = pair.site.path().join("beta.strace").display().to_string();
    pair.beta.start_under(&Recording::tracer_of_files(&trace));
    let confirmed = || {
        let mut list = InboxList::default();
        list.page.limit = 1 + FEW as u32;
        let items = pair.beta.client().inbox(&list).expect("a list").items;
        let confirmed = |item: &&InboxView| item.state == LeaseState::Confirmed;
        items.iter().filter(confirmed).count() as u64 == FEW
    };
    wait_for("all to be confirmed", PATIENCE, || {
        confirmed().then_some(())
    });
    pair.beta.end().terminate();

    let recording = Recording::read(&std::fs::read(trace).expect("strace wrote it"));
    assert_eq!(sunk(&recording, &out), Ok(2 * FEW));
    let no_file = recording.without(|call| sync_of(call, ".part"));
    assert!(sunk(&no_file, &out).is_err(), "files are not synced");
    let no_name = recording.without(|call| sync_of(call, "/out"));
    assert!(sunk(&no_name, &out).is_err(), "names are not synced");
}

/// How many files were named in order, or what was not.
fn sunk(recording: &Recording, out: &Path) -> Result<u64, String> {
    let (mut synced, mut named, mut open) = (BTreeSet::new(), 0, 0);
    let out = out.display().to_string();
    for call in &recording.calls {
        let is_rename = call.name.starts_with("rename") && call.file == out;
        if call.is_sync() && call.file == out {
            open = 0;
        } else if call.is_sync() && call.file.starts_with(&out) {
            synced.insert(call.file.clone());
        } else if is_rename && call.result == 0 {
            // Both names, end to end: `.NAME.part` and `NAME`.
            let names = String::from_utf8_lossy(&call.bytes).into_owned();
            let part = names.split_inclusive(".part").next().unwrap_or_default();
            if !synced.contains(&format!("{out}/{part}")) {
                return Err(format!("{part} is named before it is synced"));
            }
            (named, open) = (named + 1, open + 1);
        } else if call.is_write() && call.file.ends_with("ledger.db-wal") && open > 0 {
            return Err(format!(
                "{open} names are not synced before rows are written"
            ));
        }
    }
    match open {
        0 => Ok(named),
        _ => Err(format!("{open} names are never synced")),
    }
}

/// A file that a spool has put goes for good.
#[test]
fn a_spool_syncs_its_folder_after_it_removed_files() {
    let mut pair = Pair::new(NODE, 7);
    let folder = pair.site.path().join("spool");
    std::fs::create_dir(&folder).expect("a folder");
    for seed in 0..FEW {
        let body = Body { seed, length: 900 };
        std::fs::write(folder.join(format!("{seed}")), body.bytes()).expect("a file");
    }
    let spool = format!("[[spool]]\ndir = {folder:?}\npeer = \"beta\"\n");
    pair.alpha.home.configure("20-spool", &spool);
    let trace = pair.site.path().join("alpha.strace").display().to_string();
    pair.alpha.start_under(&Recording::tracer_of_files(&trace));
    wait_for("the spool to be empty", PATIENCE, || {
        let mut left = std::fs::read_dir(&folder).expect("the folder");
        left.next().is_none().then_some(())
    });
    pair.alpha.end().terminate();

    let recording = Recording::read(&std::fs::read(trace).expect("strace wrote it"));
    assert_eq!(spooled(&recording, &folder), Ok(FEW));
    let unsynced = recording.without(|call| sync_of(call, "/spool"));
    assert!(spooled(&unsynced, &folder).is_err());
}

/// How many files went in order, or what did not.
fn spooled(recording: &Recording, folder: &Path) -> Result<u64, String> {
    let folder = folder.display().to_string();
    let (mut gone, mut open) = (0, 0);
    for call in &recording.calls {
        if call.is_sync() && call.file == folder {
            open = 0;
        } else if call.name == "unlinkat" && call.file == folder && call.result == 0 {
            (gone, open) = (gone + 1, open + 1);
        }
    }
    match open {
        0 => Ok(gone),
        _ => Err(format!("{open} names never go for good")),
    }
}

/// Runs both nodes under strace while segments pass; what each did.
fn record(durability: &str) -> [Recording; 2] {
    let mut pair = Pair::new(NODE, 5);
    pair.configure(&format!(
        "[storage]\nmax_bytes = \"256MiB\"\ndurability = \"{durability}\"\n[log]\nlevel = \"trace\"\n"
    ));
    let path = |who: &str| {
        pair.site
            .path()
            .join(format!("{who}.strace"))
            .display()
            .to_string()
    };
    let (of_alpha, of_beta) = (path("alpha"), path("beta"));
    pair.beta.start_under(&Recording::tracer(&of_beta));
    pair.to_beta.aim(pair.beta.process().quic());
    pair.alpha.start_under(&Recording::tracer(&of_alpha));
    pair.to_alpha.aim(pair.alpha.process().quic());

    let promised = match durability {
        "written" => Durability::Written,
        _ => Durability::Synced,
    };
    put(&pair, promised);
    assert_eq!(pair.alpha.status().durability, promised);

    let books = pair.alpha.wait_at_rest(2 * PATIENCE);
    assert_eq!(books.acked, BATCHED + SINGLE + LARGE, "{books:?}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    [of_alpha, of_beta].map(|path| Recording::read(&std::fs::read(path).expect("strace wrote it")))
}

/// Each answer says what was promised.
fn put(pair: &Pair, promised: Durability) {
    let mut client = pair.alpha.client();
    let mut dice = Dice::new(5);
    let mut body = |most| Body {
        seed: dice.draw(),
        length: dice.between(16, most),
    };
    for _ in 0..4 {
        let bodies: Vec<_> = (0..BATCHED / 4).map(|_| body(700).bytes()).collect();
        let done = client.put_many(&to_beta(), bodies).expect("it answers");
        assert_eq!(done.refused, vec![]);
    }
    for n in 0..SINGLE {
        let lane = if n % 2 == 0 { "default" } else { "bulk" }.to_owned();
        let options = PutOptions { lane, ..to_beta() };
        let put = client.put(&options, &body(40_000).bytes());
        assert_eq!(put.expect("there is room for it").durability, promised);
    }
    for seed in 0..LARGE {
        let body = Body {
            seed,
            length: 5 << 20,
        };
        client
            .put_reader(&to_beta(), body.reader())
            .expect("there is room for it");
    }
}

fn sync_of(call: &Call, place: &str) -> bool {
    call.is_sync() && call.file.ends_with(place)
}

fn tell(who: &str, verdict: &Verdict) {
    let Verdict {
        answers,
        acks,
        broken,
    } = verdict;
    say(&format!(
        "  {who}: {answers} answers, {acks} acks, {} broken",
        broken.len()
    ));
    for line in broken.iter().take(2) {
        say(&format!("      {line}"));
    }
}
