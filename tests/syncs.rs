//! The syncs are real: a recorder of system calls over both daemons shows that no
//! promise leaves before the syncs that cover it have returned.
//!
//! The recorder is strace; [`harness::daemon::judge`] reads what it wrote. That the
//! check can fail is part of it: the same recording without the syncs of the log, or
//! without those of the WAL, is found broken, and so is a daemon that was told
//! `durability = "written"`.

use edged_rpc::PutOptions;
use harness::daemon::{Call, PATIENCE, Pair, Recording, Verdict, judge, to_beta};
use harness::files::Body;
use harness::seeds::{Dice, say};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Segments put in batches, one by one, and in files of their own.
const BATCHED: u64 = 120;
const SINGLE: u64 = 30;
const LARGE: u64 = 2;

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

    put(&pair);

    let books = pair.alpha.wait_at_rest(2 * PATIENCE);
    assert_eq!(books.acked, BATCHED + SINGLE + LARGE, "{books:?}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    [of_alpha, of_beta].map(|path| Recording::read(&std::fs::read(path).expect("strace wrote it")))
}

fn put(pair: &Pair) {
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
        client
            .put(&options, &body(40_000).bytes())
            .expect("there is room for it");
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
