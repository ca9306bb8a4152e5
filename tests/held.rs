//! Somebody else holds a snapshot of the database open: the daemon works on and says so.

use std::fs;
use std::time::Instant;

use harness::daemon::{Node, PATIENCE, Site, to_beta, wait_for};
use harness::files::Body;
use rusqlite::{Connection, OpenFlags};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Twice the length of a log file.
const BOUND: u64 = 8 << 20;

#[test]
fn a_snapshot_another_process_holds_is_named_and_its_end_is_noticed() {
    let begun = Instant::now();
    let mut site = Site::new();
    // A port that nobody listens at: what is put stays.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let peer = nobody.local_addr().expect("a bound socket has an address");
    let home = site.home("alpha", &[("beta", peer)]);
    home.configure("10-test", "[storage]\nmax_bytes = \"64MiB\"\n");
    let mut node = Node::new(NODE, home);
    node.start();
    let outsider = snapshot(&node);

    // It takes what is put, far beyond what the log was to hold, and says why that grows.
    let mut put = 0;
    let words = wait_for("the log to be named", PATIENCE, || {
        put += put_some(&node, put);
        told(&node, "SQLite's log cannot be cut")
    });
    put += put_some(&node, put);

    let own = format!("{} (", std::process::id());
    assert!(words[0].contains(&own), "{own} is not named: {words:?}");
    assert!(words[0].contains("ledger.db-wal"), "{words:?}");
    assert!(log_of(&node) > BOUND);
    assert_eq!(node.books().waiting, put);

    // Nobody asks for anything: it is noticed all the same.
    drop(outsider);
    wait_for("the log to be cut", PATIENCE, || {
        (log_of(&node) <= BOUND).then_some(())
    });
    wait_for("its end to be told", PATIENCE, || {
        told(&node, "SQLite's log is within its bound again")
    });
    let said = told(&node, "SQLite's log cannot be cut").expect("it was said");
    let most = 1 + begun.elapsed().as_secs() / 60;
    assert!(said.len() as u64 <= most, "{said:#?}");
    node.end().terminate();
    drop(nobody);
}

fn snapshot(node: &Node) -> Connection {
    let path = node.home.state().join("ledger.db");
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let conn = conn.expect("the database opens");
    conn.execute_batch("BEGIN; SELECT count(*) FROM pack")
        .expect("it can be read");
    conn
}

/// Puts segments one by one, a group each; answers how many.
fn put_some(node: &Node, from: u64) -> u64 {
    const SOME: u64 = 50;
    let mut client = node.client();
    for seed in from..from + SOME {
        let body = Body { seed, length: 256 };
        client
            .put(&to_beta(), &body.bytes())
            .expect("there is room");
    }
    SOME
}

fn log_of(node: &Node) -> u64 {
    let log = node.home.state().join("ledger.db-wal");
    fs::metadata(log).map_or(0, |file| file.len())
}

/// Lines that say so, once there is one.
fn told(node: &Node, what: &str) -> Option<Vec<String>> {
    let words = node.process().words();
    let lines: Vec<String> = words
        .lines()
        .filter(|line| line.contains(what))
        .map(str::to_owned)
        .collect();
    (!lines.is_empty()).then_some(lines)
}
