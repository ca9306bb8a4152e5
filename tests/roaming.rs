//! A machine that moves: its address goes in mid transfer, and another takes its place.
//! A sender is heard from the new one; a receiver is dialled there.
//!
//! Two daemons in network namespaces of their own, without a proxy between them. What
//! is promised is held against a clock, so this belongs to the slow tests; without the
//! right to make namespaces it says so and passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use edged_rpc::{Id, PutOptions};
use harness::daemon::{Lan, Node, PATIENCE, Rows, Site, Witness, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::say;
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const MIB: u64 = 1 << 20;
/// The kernel is asked once a second; giving up a link, a dial and an offer come after
/// it. Half the 60 s that a link is idle for by default when nobody notices.
const SOON: Duration = Duration::from_secs(30);

/// Listens wherever it is.
const ANYWHERE: &str = "[listen]\nquic = \"0.0.0.0:0\"\n[storage]\nmax_bytes = \"512MiB\"\n";
const SLOWLY: &str = "[bandwidth]\nbytes_per_second = 2097152\n";
/// A link without a word is given up soon.
const IMPATIENT: &str = "keep_alive = \"1s\"\nidle_timeout = \"4s\"";

#[test]
fn a_sender_that_moves_goes_on_within_seconds_wherever_it_is() {
    let Some(mut lan) = Lan::new("sender") else {
        return;
    };
    let mut site = Site::new();
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let mut beta = Node::new(NODE, site.home("beta", &[("alpha", nowhere)]));
    beta.home.configure("10-test", ANYWHERE);
    beta.start_under(&lan.far());
    let address = lan.far_at(beta.process().quic());
    let mut alpha = Node::new(NODE, site.home("alpha", &[("beta", address)]));
    alpha
        .home
        .configure("10-test", &format!("{ANYWHERE}{SLOWLY}"));
    alpha.start_under(&lan.near());
    let body = Body {
        seed: 1,
        length: 32 * MIB,
    };
    let put = alpha.client().put_reader(&to_beta(), body.reader());
    let put = put.expect("there is room for it");

    go_on_after_moves(&mut lan, &beta, |at| {
        let heard = beta.status().peers.remove(0).address;
        let heard = heard.and_then(|heard| heard.parse::<SocketAddr>().ok());
        assert_eq!(heard.map(|heard| heard.ip()), Some(at.into()));
    });

    check_arrived((alpha, beta), put.segment_id, body);
}

#[test]
fn a_receiver_that_moves_is_found_at_its_other_address() {
    let Some(mut lan) = Lan::new("receiver") else {
        return;
    };
    let mut site = Site::new();
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let mut alpha = Node::new(NODE, site.home("alpha", &[("beta", nowhere)]));
    alpha.home.configure("10-test", ANYWHERE);
    alpha.home.configure_peers(IMPATIENT);
    alpha.start_under(&lan.near());
    let port = alpha.process().quic().port();
    let first = SocketAddr::from((lan.near_at(), port));
    let mut beta = Node::new(NODE, site.home("beta", &[("alpha", first)]));
    beta.home
        .configure("10-test", &format!("{ANYWHERE}{SLOWLY}"));
    beta.home.configure_peers(IMPATIENT);
    beta.home
        .add_address(first, SocketAddr::from(([10, 77, 1, 1], port)));
    beta.start_under(&lan.far());
    let body = Body {
        seed: 2,
        length: 32 * MIB,
    };
    let to_alpha = PutOptions::to_peer("alpha");
    let put = beta.client().put_reader(&to_alpha, body.reader());
    let put = put.expect("there is room for it");

    go_on_after_moves(&mut lan, &alpha, |_| ());

    check_arrived((beta, alpha), put.segment_id, body);
}

/// The near end moves three times, and each time the one segment on its way to
/// `receiver` goes on; `check` then knows where it is.
fn go_on_after_moves(lan: &mut Lan, receiver: &Node, check: impl Fn(Ipv4Addr)) {
    let there = || -> u64 { receiver.home.partials().iter().map(|(_, len)| len).sum() };
    for place in [4 * MIB, 12 * MIB, 20 * MIB] {
        wait_for("enough of it to be there", PATIENCE, || {
            (there() >= place).then_some(())
        });
        lan.move_over();
        let (moved, had) = (Instant::now(), there());
        wait_for("it to go on", PATIENCE, || {
            (there() >= had + MIB).then_some(())
        });
        let took = moved.elapsed();
        say(&format!("  moved at {had} B, a MiB more after {took:.1?}"));
        assert!(took < SOON, "{took:?}");
        check(lan.near_at());
    }
}

/// It was acked without an attempt spent, and is there once, byte for byte.
fn check_arrived((mut from, mut to): (Node, Node), id: Id, body: Body) {
    let books = from.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (1, 0));
    let rows = Rows::of_running(&from.home);
    let cost = [Outcome::Failed, Outcome::Timeout].map(|outcome| rows.ended_as(outcome));
    assert_eq!((cost, rows.most_spent()), ([0, 0], 0));
    drop(rows);
    from.end().terminate();
    to.end().terminate();
    let arrived = Witness::of(&to.home).inbox();
    let found: Vec<_> = arrived.iter().map(|item| (item.id, item.found)).collect();
    assert_eq!(found, [(id.0, body.digest())]);
}
