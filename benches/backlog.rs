//! What a million waiting segments cost: memory at both ends (P6), a start with all of
//! them waiting (P7).
//!
//! Two `edged` processes on the config that `edged init` writes. The receiver is away
//! while a million segments of 256 B are put; the sender is killed and starts, first with
//! all of it waiting, then with some in flight; at last all wait in the receiver's inbox.
//!
//! `cargo bench -p relay-benches --bench backlog`

use std::time::{Duration, Instant};

use bench_support::{Node, Pair, wait_until};
use edged_rpc::PutOptions;

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: u64 = 1_000_000;
const LENGTH: usize = 256;
const MIB: u64 = 1 << 20;
/// What P6 and P7 ask for.
const SENDER: u64 = 24 * MIB;
const RECEIVER: u64 = 32 * MIB;
const READY: Duration = Duration::from_millis(500);

fn main() {
    let mut pair = Pair::start(env!("CARGO_BIN_EXE_bench-node")).expect("two daemons start");
    pair.beta.kill().expect("it runs");
    put(&pair.alpha);
    memory("sender, as it was filled", &pair.alpha, SENDER);

    start("all waiting", &mut pair.alpha);
    memory("sender, started anew", &pair.alpha, SENDER);
    pair.beta.start_again().expect("it starts");
    let acked = |node: &Node| Node::acked(&mut node.client()?);
    wait_until(LIMIT, || Ok(acked(&pair.alpha)? > 0)).expect("some pass");
    let rescued = start("some in flight", &mut pair.alpha);
    assert!(rescued > 0, "nothing was in flight");

    wait_until(LIMIT, || Ok(acked(&pair.alpha)? == COUNT)).expect("all arrive");
    memory("sender, all acked", &pair.alpha, SENDER);
    memory("receiver, all in its inbox", &pair.beta, RECEIVER);
}

fn say(line: &str) {
    #[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
    {
        println!("{line}");
    }
}

fn put(node: &Node) {
    let mut client = node.client().expect("it listens");
    let bodies = (0..COUNT).map(|n| {
        let mut body = [0; LENGTH];
        body[..8].copy_from_slice(&n.to_le_bytes());
        body
    });
    let begun = Instant::now();
    let put = client.put_many(&PutOptions::to_peer("beta"), bodies);
    let put = put.expect("it takes them");
    assert!(
        put.refused.is_empty() && put.stopped.is_none(),
        "all are taken"
    );
    say(&format!(
        "   {COUNT} of {LENGTH} B put in {:?}",
        begun.elapsed()
    ));
}

fn memory(who: &str, node: &Node, most: u64) {
    let now = node.rss().expect("proc");
    let peak = node.peak_rss().expect("proc");
    say(&format!(
        "P6 {who}: {:.1} MiB (peak {:.1})",
        mib(now),
        mib(peak)
    ));
    assert!(now <= most, "{who}: {now} B, at most {most} B");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// Kills it and starts it three times; the best of them is what it can do. Answers the
/// most that was in flight.
fn start(what: &str, node: &mut Node) -> u64 {
    let mut best = Duration::MAX;
    let mut rescued = 0;
    for _ in 0..3 {
        node.kill().expect("it runs");
        best = best.min(node.start_again().expect("it starts"));
        rescued = rescued.max(node.rescued());
    }
    say(&format!(
        "P7 ready with {what}: {best:?}, {rescued} in flight at a kill"
    ));
    assert!(best <= READY, "{what}: {best:?}, at most {READY:?}");
    rescued
}
