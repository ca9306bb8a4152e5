//! A machine that moves: its address goes in mid transfer, and another takes its place.
//!
//! Two daemons in network namespaces of their own, without a proxy between them. What
//! is promised is held against a clock, so this belongs to the slow tests; without the
//! right to make namespaces it says so and passes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::daemon::{Lan, Node, PATIENCE, Rows, Site, Witness, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::say;
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const MIB: u64 = 1 << 20;
/// The kernel is asked once a second; a dial and an offer come after it. Far less than
/// the 60 s of an idle timeout, which is what nobody noticing would take.
const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_machine_that_moves_goes_on_within_seconds_wherever_it_is() {
    let Some(mut lan) = Lan::new() else { return };
    let mut site = Site::new();
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let mut beta = Node::new(NODE, site.home("beta", &[("alpha", nowhere)]));
    let anywhere = "[listen]\nquic = \"0.0.0.0:0\"\n[storage]\nmax_bytes = \"512MiB\"\n";
    beta.home.configure("10-test", anywhere);
    beta.start_under(&lan.far());
    let address = lan.far_at(beta.process().quic());
    let mut alpha = Node::new(NODE, site.home("alpha", &[("beta", address)]));
    let slowly = "[bandwidth]\nbytes_per_second = 2097152\n";
    alpha
        .home
        .configure("10-test", &format!("{anywhere}{slowly}"));
    alpha.start_under(&lan.near());
    let body = Body {
        seed: 1,
        length: 32 * MIB,
    };
    let put = alpha.client().put_reader(&to_beta(), body.reader());
    let put = put.expect("there is room for it");

    let there = |node: &Node| -> u64 { node.home.partials().iter().map(|(_, len)| len).sum() };
    for place in [4 * MIB, 12 * MIB, 20 * MIB] {
        wait_for("enough of it to be there", PATIENCE, || {
            (there(&beta) >= place).then_some(())
        });
        lan.move_over();
        let (moved, had) = (Instant::now(), there(&beta));
        wait_for("it to go on", PATIENCE, || {
            (there(&beta) >= had + MIB).then_some(())
        });
        let took = moved.elapsed();
        say(&format!("  moved at {had} B, a MiB more after {took:.1?}"));
        assert!(took < SOON, "{took:?}");
        let heard = beta.status().peers.remove(0).address;
        let heard = heard.and_then(|at| at.parse::<SocketAddr>().ok());
        assert_eq!(heard.map(|at| at.ip()), Some(lan.near_at().into()));
    }

    let books = alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (1, 0));
    let rows = Rows::of_running(&alpha.home);
    let cost = [Outcome::Failed, Outcome::Timeout].map(|outcome| rows.ended_as(outcome));
    assert_eq!((cost, rows.most_spent()), ([0, 0], 0));
    drop(rows);
    alpha.end().terminate();
    beta.end().terminate();
    let arrived = Witness::of(&beta.home).inbox();
    let found: Vec<_> = arrived.iter().map(|item| (item.id, item.found)).collect();
    assert_eq!(found, [(put.segment_id.0, body.digest())]);
}
