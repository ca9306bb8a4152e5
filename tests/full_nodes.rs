//! Two real daemons whose disks are really full.
//!
//! Each has a small file system under its state folder. One whose disk is full refuses
//! puts by name and lives; what it has is acked, what arrived is taken and confirmed; its
//! peer hears `busy` and spends nothing. Within a second of room coming back a put is
//! taken. The log says one line of it.

use std::time::{Duration, Instant};

use edged_rpc::{ClientError, Id, InboxTake, Ladder, RelayWhy};
use harness::daemon::{Node, PATIENCE, Pair, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::say;
use harness::small_disk::SmallDisk;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Each disk: less than the ceiling, so that it is the disk that is full.
const DISK: u64 = 48 << 20;
const CONFIG: &str = "[storage]\nmax_bytes = \"64MiB\"\nreserve = \"4MiB\"\n";

#[test]
fn two_nodes_on_full_disks_live_lose_nothing_and_go_on_within_a_second() {
    let mut pair = Pair::new(NODE, 17);
    pair.configure(CONFIG);
    let Some(of_alpha) = SmallDisk::over(pair.alpha.home.state(), DISK) else {
        return;
    };
    let of_beta = SmallDisk::over(pair.beta.home.state(), DISK).expect("a second one");
    pair.start_alpha();
    let mut put = 0;

    // Alpha holds some for a peer that is away, and its disk is full.
    while put < 60 {
        put += u64::from(try_put(&pair, put).is_ok());
    }
    let begun = Instant::now();
    fill(&of_alpha, &pair.alpha, || drop(try_put(&pair, 1_000)));
    let refused = match try_put(&pair, 1_001) {
        Err(ClientError::Refused(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.code, "storage_full");
    let waiting = pair.alpha.books().waiting;

    // All of it is acked all the same.
    pair.start_beta();
    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert!(books.acked >= put && books.acked >= waiting, "{books:?}");
    assert_eq!(books.deadletter, 0);
    let first = back_within_a_second(&pair, &of_alpha);
    let while_full = begun.elapsed();
    check_log(&pair.alpha, while_full);

    // Beta's disk is full: arrivals wait, what arrived is taken and confirmed.
    fill(&of_beta, &pair.beta, || drop(try_put(&pair, 2_000)));
    let mut later = 0;
    for seed in 3_000..3_020 {
        later += u64::from(try_put(&pair, seed).is_ok());
    }
    let confirmed = confirm_all(&pair.beta);
    assert!(confirmed >= 60, "{confirmed} were confirmed on a full disk");
    assert_eq!(pair.beta.status().storage.ladder, Ladder::DiskFull);
    let peer = pair.alpha.status().peers.remove(0);
    assert!(peer.waiting + peer.inflight > 0, "{peer:?}");
    of_beta.free();
    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!(books.deadletter, 0, "{books:?}");
    assert_eq!(pair.beta.status().storage.ladder, Ladder::Open);

    let all = confirmed + confirm_all(&pair.beta);
    assert_eq!(all, books.acked, "each arrived once");
    say(&format!(
        "  {all} arrived, {later} put while the peer was full; back in {first:?}"
    ));
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

/// Longer than what is free, shorter than the ceiling: it waits at its sender, who asks
/// again each second and sends nothing of it in vain.
#[test]
fn a_large_segment_that_finds_no_room_on_the_disk_costs_a_line_and_no_bytes() {
    let mut pair = Pair::new(NODE, 18);
    pair.configure(CONFIG);
    let Some(of_beta) = SmallDisk::over(pair.beta.home.state(), DISK) else {
        return;
    };
    pair.start_alpha();
    pair.start_beta();
    pair.wait_for_link();
    of_beta.leave(2_048);
    let body = Body {
        seed: 7,
        length: 12 << 20,
    };

    let put = pair.alpha.client().put(&to_beta(), &body.bytes());
    let id = put.expect("it is taken").segment_id.to_string();
    let tries = wait_for("a third try", PATIENCE, || {
        let mut detail = pair.alpha.client().inspect(&id).expect("it waits");
        let tries = detail.deliveries.remove(0).attempts;
        (tries.len() >= 3).then_some(tries)
    });
    assert!(tries.iter().all(|t| t.bytes_sent == 0), "{tries:#?}");
    wait_for("the reason", PATIENCE, || {
        let (segment, peer) = (id.clone(), None);
        let why = pair.alpha.client().why(&RelayWhy { segment, peer });
        format!("{why:?}").contains("storage_full").then_some(())
    });
    let passed = pair.to_beta.passed();
    assert!(passed < 1 << 20, "{passed} B were sent in vain");
    let words = pair.beta.process().words();
    let loud = words
        .lines()
        .filter(|line| line.contains("cannot be staged"));
    assert_eq!(loud.count(), 1, "{words}");

    of_beta.free();
    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (1, 0), "{books:?}");
    assert_eq!(confirm_all(&pair.beta), 1);
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

fn try_put(pair: &Pair, seed: u64) -> Result<(), ClientError> {
    let body = Body {
        seed,
        length: 20_000,
    };
    pair.alpha.client().put(&to_beta(), &body.bytes()).map(drop)
}

/// Something else takes every page, until the node notices by what it is asked meanwhile.
fn fill(disk: &SmallDisk, node: &Node, ask: impl Fn()) {
    wait_for("the disk to be full", PATIENCE, || {
        disk.leave(0);
        ask();
        (node.status().storage.ladder == Ladder::DiskFull).then_some(())
    });
    // What the reserve gave is wanted by others, too, but for a little.
    disk.leave(64);
}

/// There is room: a put is taken within a second.
fn back_within_a_second(pair: &Pair, disk: &SmallDisk) -> Duration {
    disk.free();
    let begun = Instant::now();
    wait_for("a put to be taken", PATIENCE, || try_put(pair, 1_002).ok());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    took
}

fn confirm_all(node: &Node) -> u64 {
    let mut client = node.client();
    let which = InboxTake {
        max: 50,
        ..InboxTake::default()
    };
    let mut all = 0;
    loop {
        let taken = client.take(&which).expect("a lease");
        if taken.is_empty() {
            return all;
        }
        let ids: Vec<Id> = taken.iter().map(|(item, _)| item.segment_id).collect();
        client.confirm(&ids).expect("they are ours");
        all += ids.len() as u64;
    }
}

/// A line a minute, begun or not.
fn check_log(node: &Node, while_full: Duration) {
    let words = node.process().words();
    let full = words
        .lines()
        .skip_while(|line| !line.contains("The disk is full"));
    let loud = full.take_while(|line| !line.contains("The disk has room"));
    let loud: Vec<&str> = loud
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    let most = 1 + while_full.as_secs() / 60;
    assert!(!loud.is_empty(), "nothing was said: {words}");
    assert!(loud.len() as u64 <= most, "{loud:#?}");
}
