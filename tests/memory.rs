//! Memory does not grow with what waits.
//!
//! The peer is down, so everything put stays. What the daemon holds in memory with
//! 100,000 small segments waiting is held against what it held with 1,000, as the
//! kernel counts it (`VmRSS`); batched puts make few packs, single ones a pack each.

use std::time::Duration;

use edged_rpc::{Client, RelayStatus};
use harness::daemon::{Node, PATIENCE, Site, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::say;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const FEW: u64 = 1_000;
const MANY: u64 = 100_000;
/// The bytes of each: small, and no two alike.
const LENGTH: u64 = 256;
/// What the many may take beyond the few.
const ALLOWED: u64 = 4 << 20;

#[test]
fn memory_does_not_grow_with_batched_segments_that_wait() {
    let put = |node: &Node, from: u64, to: u64| {
        let bodies = (from..to).map(|seed| {
            Body {
                seed,
                length: LENGTH,
            }
            .bytes()
        });
        let done = node
            .client()
            .put_many(&to_beta(), bodies)
            .expect("the daemon answers");
        assert_eq!((done.ids.len() as u64, done.refused), (to - from, vec![]));
    };
    check("batched", put);
}

#[test]
fn memory_does_not_grow_with_single_segments_that_wait() {
    /// Producers at once, so that their puts share groups.
    const PRODUCERS: u64 = 16;
    let put = |node: &Node, from: u64, to: u64| {
        std::thread::scope(|scope| {
            for no in 0..PRODUCERS {
                let seeds = (from..to).filter(move |seed| seed % PRODUCERS == no);
                scope.spawn(move || put_each(&mut node.client(), seeds));
            }
        });
    };
    check("one by one", put);
}

fn put_each(client: &mut Client, seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let body = Body {
            seed,
            length: LENGTH,
        };
        client
            .put(&to_beta(), &body.bytes())
            .expect("there is room for it");
    }
}

/// Puts a few, then many, and compares.
fn check(how: &str, put: impl Fn(&Node, u64, u64)) {
    let mut site = Site::new();
    // A port that nobody listens at: the peer is down.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let peer = nobody.local_addr().expect("a bound socket has an address");
    let mut node = Node::new(NODE, site.home("alpha", &[("beta", peer)]));
    node.start();

    put(&node, 0, FEW);
    let few = settled(&node, FEW);
    put(&node, FEW, MANY);
    let many = settled(&node, MANY);

    let grown = many.saturating_sub(few);
    let build = if cfg!(debug_assertions) {
        "a debug build"
    } else {
        "a release build"
    };
    say(&format!(
        "  {how}, {build}: {} KiB with {FEW} waiting, {} KiB with {MANY}: {} KiB more",
        few >> 10,
        many >> 10,
        grown >> 10,
    ));
    assert!(
        grown <= ALLOWED,
        "{how}: grown by {grown} B, allowed {ALLOWED} B"
    );
    drop(node);
    drop(nobody);
}

/// Memory once `waiting` deliveries wait and the daemon has come to rest: the least
/// of several looks, since a thread that has just ended still counts.
fn settled(node: &Node, waiting: u64) -> u64 {
    let mut client = node.client();
    wait_for("all to wait", PATIENCE, || {
        let status = client
            .status(&RelayStatus::default())
            .expect("it says")
            .status;
        let queue = status.queue_depth;
        (queue.scheduled + queue.inflight + queue.failed == waiting).then_some(())
    });
    let look = || {
        std::thread::sleep(Duration::from_millis(20));
        node.process().memory("VmRSS")
    };
    let least = (0..10).map(|_| look()).min().expect("ten looks");
    let parts =
        ["RssAnon", "RssFile", "RssShmem"].map(|part| (part, node.process().memory(part) >> 10));
    say(&format!("    {waiting} waiting, KiB: {parts:?}"));
    least
}
