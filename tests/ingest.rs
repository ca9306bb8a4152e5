//! What one peer may send, held by real daemons: one floods at a limit, another is none
//! the slower for it, and a config that is read again sets it free.

use std::time::{Duration, Instant};

use edged_rpc::{Client, ConfigShow, Id, KeyView, RelayWhy};
use harness::daemon::{Node, PATIENCE, Rows, Site, Witness, to_beta, wait_for};
use harness::files::Body;
use harness::proxy::Proxy;
use harness::seeds::say;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// What each peer may send a second.
const RATE: u64 = 128 << 10;
/// What the one that floods puts: two seconds' worth beyond its burst.
const FLOOD: u64 = 384;
const LENGTH: u64 = 1 << 10;
/// What one pack may bring in beyond the quota.
const PACK: u64 = 64 << 10;

/// Two that send to a third, which holds each to so much.
struct World {
    beta: Node,
    alpha: Node,
    gamma: Node,
    _to_beta: Proxy,
    _site: Site,
}

impl World {
    fn new(ingest: &str) -> Self {
        let mut site = Site::new();
        let to_beta = Proxy::new(3);
        let nobody = [("alpha", to_beta.address()), ("gamma", to_beta.address())];
        let home = site.home("beta", &nobody);
        // Who only answers dials nobody.
        let text = std::fs::read_to_string(home.config()).expect("init has written it");
        let address = format!("addresses = [\"{}\"]", to_beta.address());
        let text = text.replace(&address, "addresses = []");
        std::fs::write(home.config(), text).expect("it can be written");
        home.configure("10-test", ingest);
        let mut beta = Node::new(NODE, home);
        to_beta.aim(beta.start().process().quic());
        let mut sender = |name| {
            let home = site.home(name, &[("beta", to_beta.address())]);
            let mut node = Node::new(NODE, home);
            node.start();
            node
        };
        let (alpha, gamma) = (sender("alpha"), sender("gamma"));
        Self {
            beta,
            alpha,
            gamma,
            _to_beta: to_beta,
            _site: site,
        }
    }
}

fn put(node: &Node, seed: u64, count: u64) -> Vec<Id> {
    let body = |n| Body {
        seed: seed + n,
        length: LENGTH,
    };
    let bodies = (0..count).map(|n| body(n).bytes());
    let put = node.client().put_many(&to_beta(), bodies);
    let put = put.expect("the daemon answers");
    assert_eq!(put.refused, vec![]);
    put.ids
}

fn acked(client: &mut Client) -> u64 {
    let books = client.counters().expect("it counts").books;
    books.iter().map(|book| book.acked).sum()
}

/// Puts one and waits for its ack; how long that took.
fn one(node: &Node, client: &mut Client, seed: u64, count: u64) -> Duration {
    let begun = Instant::now();
    put(node, seed, 1);
    wait_for("one to be acked", PATIENCE, || {
        (acked(client) >= count).then_some(())
    });
    begun.elapsed()
}

#[test]
fn a_peer_that_floods_is_held_to_its_quota_and_another_is_not() {
    let ingest = format!("[ingest]\nper_peer_bytes_per_second = {RATE}\n");
    let world = World::new(&ingest);
    let World { alpha, gamma, .. } = &world;
    let mut client = gamma.client();
    let calm = (1..=5).map(|n| one(gamma, &mut client, n, n)).max();

    let begun = Instant::now();
    let flood = put(alpha, 1_000, FLOOD);
    let last = flood.last().expect("it put some").to_string();
    let why = wait_for("the quota to bind", PATIENCE, || {
        let why = alpha.client().why(&RelayWhy {
            segment: last.clone(),
            peer: None,
        });
        let mut reasons = why.ok()?.items.into_iter().flat_map(|item| item.reasons);
        reasons.find(|reason| reason.text.contains("ingest_quota"))
    });
    let detail = wait_for("the peer to be shown as busy", PATIENCE, || {
        let detail = alpha.client().peer("beta").expect("alpha knows beta");
        detail.busy_why.is_some().then_some(detail)
    });
    let beside = (6..=10).map(|n| one(gamma, &mut client, n, n)).max();
    let meanwhile = acked(&mut alpha.client());
    let books = alpha.wait_at_rest(PATIENCE);
    let took = begun.elapsed();

    assert_eq!(why.waiting_on, "peer_busy");
    assert_eq!(detail.busy_why.as_deref(), Some("ingest_quota"));
    assert!(
        meanwhile < FLOOD,
        "gamma's were acked before the flood was over"
    );
    assert_eq!((books.acked, books.deadletter), (FLOOD, 0));
    let least = (FLOOD * LENGTH).saturating_sub(RATE + PACK) as f64 / RATE as f64;
    assert!(
        took.as_secs_f64() >= least,
        "{took:?} for at least {least} s"
    );
    let rows = Rows::of_running(&alpha.home);
    assert_eq!(rows.most_spent(), 0, "waiting costs nothing");
    assert!(rows.ended_as(Outcome::Deferred) > 0);
    say(&format!(
        "  {} KiB at {} KiB/s took {took:.1?}, at least {least:.1} s; of another peer one took at most {:.0?} before, {:.0?} beside",
        (FLOOD * LENGTH) >> 10,
        RATE >> 10,
        calm.unwrap_or_default(),
        beside.unwrap_or_default(),
    ));
    let World { mut beta, .. } = world;
    beta.end().terminate();
    let arrived = Witness::of(&beta.home).inbox();
    assert_eq!(arrived.len() as u64, FLOOD + 10, "each once");
}

#[test]
fn a_config_that_is_read_again_sets_a_peer_free() {
    let world = World::new("[ingest]\nper_peer_segments_per_second = 1\n");
    let World { alpha, beta, .. } = &world;
    put(alpha, 1, 1);
    wait_for("the first to be acked", PATIENCE, || {
        (acked(&mut alpha.client()) == 1).then_some(())
    });
    // Each pack that is taken in puts the quota into debt for some seconds.
    for n in 1..=4 {
        put(alpha, 1_000 * n, 6);
    }

    beta.home.configure("10-test", "");
    let changed = beta.client().reload().expect("an operator may").changed;

    assert!(
        changed
            .iter()
            .any(|key| key.key == "ingest.per_peer_segments_per_second"),
        "{changed:?}"
    );
    let books = alpha.wait_at_rest(2 * PATIENCE);
    assert_eq!((books.acked, books.deadletter), (25, 0));
}

#[test]
fn a_hangup_has_the_config_read_again() {
    let world = World::new("[ingest]\nper_peer_segments_per_second = 1\n");
    let beta = &world.beta;
    let quota = || {
        let mut show = ConfigShow::default();
        show.page.limit = 500;
        let keys = beta.client().config(&show).expect("the config").items;
        let key = |key: &&KeyView| key.key == "ingest.per_peer_segments_per_second";
        keys.iter().find(key).map(|key| key.value.clone())
    };
    assert_eq!(quota().as_deref(), Some("1"));
    beta.home.configure("10-test", "");

    let pid = i32::try_from(beta.process().pid()).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGHUP).expect("it runs");

    wait_for("the quota to be gone", PATIENCE, || {
        (quota().as_deref() == Some("0")).then_some(())
    });
}
