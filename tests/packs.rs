//! Packs are real: a member refused is parked alone, and what is settled gives its
//! room back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use edged_rpc::{Client, ClientError, Id, InboxTake, Paging, PutOptions, RelayList, State, Target};
use harness::daemon::{Node, PATIENCE, Pair, Refuser, Site, Witness, wait_for};
use harness::files::{Body, allocated};
use harness::proxy::Proxy;
use harness::seeds::{Dice, say};
use relay_core::change::Nack;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const MIB: u64 = 1 << 20;

#[test]
fn every_seventh_refused_by_one_peer_is_parked_there_and_nowhere_else() {
    const COUNT: u64 = 10_000;
    let mut site = Site::new();
    let (to_alpha, to_beta) = (Proxy::new(9), Proxy::new(10));
    let mut beta = Node::new(NODE, site.home("beta", &[("alpha", to_alpha.address())]));
    let gamma = site.home("gamma", &[("alpha", to_alpha.address())]);
    let gamma = Refuser::start(&gamma, every_seventh);
    let peers = [("beta", to_beta.address()), ("gamma", gamma.address())];
    let mut alpha = Node::new(NODE, site.home("alpha", &peers));
    to_beta.aim(beta.start().process().quic());
    to_alpha.aim(alpha.start().process().quic());

    let both = Target::Peers(vec!["beta".to_owned(), "gamma".to_owned()]);
    let mut dice = Dice::new(9);
    let body = |seed| {
        Body {
            seed,
            length: dice.between(16, 600),
        }
        .bytes()
    };
    let bodies: Vec<Vec<u8>> = (0..COUNT).map(body).collect();
    let put = alpha
        .client()
        .put_many(&PutOptions::to(both), &bodies)
        .expect("it answers");
    assert_eq!(put.refused, vec![]);

    let books = alpha.wait_at_rest(PATIENCE);
    let sevenths = COUNT.div_ceil(7);
    assert_eq!((books.put, books.deadletter), (2 * COUNT, sevenths));
    assert_eq!(books.acked, 2 * COUNT - sevenths);
    let parked = parked(&mut alpha.client(), "gamma");
    let expected = put
        .ids
        .iter()
        .zip(&bodies)
        .filter(|(_, body)| every_seventh(body).is_some());
    assert_eq!(parked, expected.map(|(id, _)| *id).collect::<BTreeSet<_>>());
    assert_eq!(self::parked(&mut alpha.client(), "beta"), BTreeSet::new());
    alpha.end().terminate();
    beta.end().terminate();
    let seen = gamma.finish();
    assert_eq!(seen.len() as u64, COUNT, "all were offered there");
    let arrived = Witness::of(&beta.home).inbox();
    let ids: BTreeSet<Id> = arrived.iter().map(|item| Id(item.id)).collect();
    assert_eq!(arrived.len() as u64, COUNT, "nothing is at beta twice");
    assert_eq!(ids, put.ids.iter().copied().collect());
}

/// Refuses a body whose seed, its first eight bytes, is a multiple of seven.
fn every_seventh(body: &[u8]) -> Option<Nack> {
    let seed = body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    seed.is_some_and(|seed| seed % 7 == 0)
        .then_some(Nack::NotAllowed)
}

/// What is deadlettered for `peer`, all of it for the refusal.
fn parked(client: &mut Client, peer: &str) -> BTreeSet<Id> {
    let mut which = RelayList {
        state: Some(State::Deadletter),
        peer: Some(peer.to_owned()),
        page: Paging {
            limit: 1000,
            after: None,
        },
        ..RelayList::default()
    };
    let mut found = BTreeSet::new();
    loop {
        let page = client.deliveries(&which).expect("a page of deliveries");
        for item in page.items {
            assert_eq!(item.cause.as_deref(), Some("rejected"));
            assert!(found.insert(item.segment_id), "a delivery is listed once");
        }
        which.page.after = page.next;
        if which.page.after.is_none() {
            return found;
        }
    }
}

#[test]
fn a_gibibyte_passes_through_nodes_of_a_quarter_of_that() {
    const CEILING: u64 = 256 * MIB;
    const TOTAL: u64 = 1024 * MIB;
    let mut pair = Pair::new(NODE, 11);
    pair.configure("[storage]\nmax_bytes = \"256MiB\"\n");
    pair.start_beta();
    pair.start_alpha();
    let done = AtomicBool::new(false);

    let (peaks, put, taken) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&pair, &done));
        let consumer = scope.spawn(|| consume(&pair.beta, &done));
        // The other two end, whatever becomes of this one.
        let ended = Ended(&done);
        let put = produce(&pair.alpha, "beta", TOTAL, 32 * MIB);
        let books = pair.alpha.wait_at_rest(4 * PATIENCE);
        assert_eq!((books.acked, books.deadletter), (put.len() as u64, 0));
        drop(ended);
        let taken = consumer.join().expect("the consumer takes to the end");
        (sampler.join().expect("folders can be read"), put, taken)
    });

    say(&format!(
        "  {} segments, most space: {peaks:?} of {CEILING} B",
        put.len()
    ));
    assert_eq!(taken, put, "each was taken once, byte for byte");
    assert!(
        peaks.iter().all(|peak| *peak <= CEILING),
        "{peaks:?} of {CEILING}"
    );
}

#[test]
fn two_full_nodes_that_owe_each_other_dig_themselves_out() {
    const CEILING: u64 = 64 * MIB;
    const TOTAL: u64 = 3 * CEILING;
    let mut pair = Pair::new(NODE, 12);
    pair.configure("[storage]\nmax_bytes = \"64MiB\"\n");
    // Nobody is reached yet: what is put stays where it is.
    let (alpha, beta) = (
        pair.alpha.start().process().quic(),
        pair.beta.start().process().quic(),
    );
    let done = AtomicBool::new(false);

    let (peaks, put, taken) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&pair, &done));
        let ended = Ended(&done);
        let producers = [(&pair.alpha, "beta"), (&pair.beta, "alpha")]
            .map(|(from, to)| scope.spawn(move || produce(from, to, TOTAL, 2 * MIB)));
        for node in [&pair.alpha, &pair.beta] {
            wait_for("both to be full", PATIENCE, || {
                let storage = node.status().storage;
                // A put that would pass nine tenths is refused, and each is up to 2 MiB.
                (storage.used_bytes >= storage.ceiling_bytes / 100 * 86).then_some(())
            });
        }
        let consumers = [&pair.beta, &pair.alpha].map(|node| scope.spawn(|| consume(node, &done)));
        pair.to_beta.aim(beta);
        pair.to_alpha.aim(alpha);
        let put = producers.map(|producer| producer.join().expect("it puts to the end"));
        for (node, put) in [&pair.alpha, &pair.beta].into_iter().zip(&put) {
            let books = node.wait_at_rest(4 * PATIENCE);
            // Beside what came in, all of which is confirmed or waits to be.
            assert_eq!(books.deadletter, 0, "{books:?}");
            assert!(books.acked >= put.len() as u64, "{books:?}");
        }
        drop(ended);
        let taken = consumers.map(|consumer| consumer.join().expect("it takes to the end"));
        (sampler.join().expect("folders can be read"), put, taken)
    });

    say(&format!(
        "  {} and {} segments, most space: {peaks:?} of {CEILING} B",
        put[0].len(),
        put[1].len()
    ));
    assert_eq!(taken, put, "each was taken once, byte for byte");
    assert!(
        peaks.iter().all(|peak| *peak <= CEILING),
        "{peaks:?} of {CEILING}"
    );
}

#[test]
fn two_full_nodes_that_owe_each_other_long_segments_dig_themselves_out() {
    const CEILING: u64 = 64 * MIB;
    let mut pair = Pair::new(NODE, 13);
    pair.configure("[storage]\nmax_bytes = \"64MiB\"\n");
    let (alpha, beta) = (
        pair.alpha.start().process().quic(),
        pair.beta.start().process().quic(),
    );
    let done = AtomicBool::new(false);

    let (peaks, put, taken) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&pair, &done));
        let ended = Ended(&done);
        // Nobody is reached yet: each is as full of its own as it lets itself become.
        let put = [(&pair.alpha, "beta"), (&pair.beta, "alpha")].map(|(from, to)| fill(from, to));
        let consumers = [&pair.beta, &pair.alpha].map(|node| scope.spawn(|| consume(node, &done)));
        pair.to_beta.aim(beta);
        pair.to_alpha.aim(alpha);
        for (node, put) in [&pair.alpha, &pair.beta].into_iter().zip(&put) {
            let books = node.wait_at_rest(2 * PATIENCE);
            assert_eq!(books.deadletter, 0, "{books:?}");
            assert!(books.acked >= put.len() as u64, "{books:?}");
        }
        drop(ended);
        let taken = consumers.map(|consumer| consumer.join().expect("it takes to the end"));
        (sampler.join().expect("folders can be read"), put, taken)
    });

    let count = put.each_ref().map(Vec::len);
    say(&format!(
        "  {count:?} segments, most space: {peaks:?} of {CEILING} B"
    ));
    assert_eq!(taken, put, "each was taken once, byte for byte");
    assert!(peaks.iter().all(|peak| *peak <= CEILING), "{peaks:?}");
}

/// Puts the longest segments there may be, then ever shorter ones, until none is taken.
fn fill(from: &Node, to: &str) -> Digests {
    let mut client = from.client();
    let options = PutOptions::to_peer(to);
    let mut put = Vec::new();
    let mut seed = u64::from(to.as_bytes()[0]) << 32;
    for length in [16 * MIB, 12 * MIB, 8 * MIB, 5 * MIB, 2 * MIB, MIB / 16] {
        loop {
            seed += 1;
            let body = Body { seed, length };
            match client.put(&options, &body.bytes()) {
                Ok(_) => put.push(body.digest()),
                Err(ClientError::Refused(why)) => {
                    assert_eq!(why.code, "storage_full", "{why}");
                    assert!(why.hint.contains("acks"), "what would free it: {why:?}");
                    break;
                }
                Err(error) => panic!("{body:?}: {error}"),
            }
        }
    }
    assert!(!put.is_empty(), "{:?}", from.status().storage);
    put.sort_unstable();
    put
}

/// Says that it is done when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Segments as digests, sorted: what is compared in the end.
type Digests = Vec<[u8; 32]>;

/// Puts `total` bytes in segments of any length up to `longest`; waits while the node is
/// full.
fn produce(from: &Node, to: &str, total: u64, longest: u64) -> Digests {
    let mut client = from.client();
    let options = PutOptions::to_peer(to);
    let mut dice = Dice::new(12);
    // No two producers put the same.
    let seeds = u64::from(to.as_bytes()[0]) << 32;
    let (mut put, mut bytes, mut seed) = (Vec::new(), 0, seeds);
    while bytes < total {
        seed += 1;
        let body = Body {
            seed,
            length: dice.spread(MIB / 16, longest),
        };
        let begun = Instant::now();
        loop {
            match client.put_reader(&options, body.reader()) {
                Ok(_) => break,
                Err(ClientError::Refused(why)) if why.code == "storage_full" => {
                    let state = || (from.books(), from.status().storage);
                    let waited = begun.elapsed();
                    assert!(
                        waited < PATIENCE,
                        "no room for {body:?}: {why}; {:?}",
                        state()
                    );
                }
                Err(error) => panic!("{body:?}: {error}"),
            }
            // What is on its way makes room; a look now and then.
            std::thread::sleep(Duration::from_millis(5));
        }
        put.push(body.digest());
        bytes += body.length;
    }
    put.sort_unstable();
    put
}

/// Takes and confirms until all is done and nothing is left.
fn consume(node: &Node, done: &AtomicBool) -> Digests {
    let mut client = node.client();
    let mut taken = Vec::new();
    loop {
        let last = done.load(Ordering::Relaxed);
        let mut ids = Vec::new();
        let which = InboxTake {
            max: 4,
            ..InboxTake::default()
        };
        let each = client.take_with(&which, |item, body| {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(body)?;
            taken.push(*hasher.finalize().as_bytes());
            ids.push(item.segment_id);
            Ok(())
        });
        if each.expect("it gives what it has") == 0 {
            if last {
                break;
            }
            // Nothing there yet; a look now and then.
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let confirmed = client.confirm(&ids).expect("it takes confirmations");
        assert_eq!(confirmed.confirmed as usize, ids.len());
    }
    taken.sort_unstable();
    taken
}

/// The most that either state folder took, looked at throughout.
fn sample(pair: &Pair, done: &AtomicBool) -> [u64; 2] {
    let mut peaks = [0, 0];
    while !done.load(Ordering::Relaxed) {
        for (peak, node) in peaks.iter_mut().zip([&pair.alpha, &pair.beta]) {
            *peak = allocated(node.home.state()).max(*peak);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    peaks
}
