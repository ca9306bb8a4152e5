//! Two real nodes do the main job, and go on doing it when either is away.
//!
//! What was put at alpha is looked for on beta's disk, after beta has stopped, and
//! every byte found there is hashed anew.

use std::collections::BTreeMap;

use edged_rpc::{Client, Durability, LinkState, Put};
use harness::daemon::{Item, PATIENCE, Pair, Rows, Witness, to_beta, wait_for};
use harness::files::Body;
use harness::proxy::Weather;
use harness::seeds::Dice;
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Log files of 32 MiB, not 64: less to fill ahead.
const SMALLER: &str = "[storage]\nmax_bytes = \"1GiB\"\n";

/// What was answered: id and what must be found under it.
type Put200 = BTreeMap<[u8; 16], Body>;

#[test]
fn two_hundred_segments_of_any_length_arrive_byte_identical() {
    let mut pair = Pair::new(NODE, 2);
    pair.configure(SMALLER);
    pair.start_beta();
    pair.start_alpha();

    let put = put_all(&mut pair.alpha.client(), &bodies(200, 2));

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.put, books.acked, books.deadletter), (200, 200, 0));
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    check_inbox(&Witness::of(&pair.beta.home).inbox(), &put);
}

#[test]
fn a_receiver_away_a_cut_link_and_a_restarted_sender_cost_no_attempt() {
    let mut pair = Pair::new(NODE, 3);
    pair.configure(SMALLER);
    // A cut shows as a link that is down within seconds, not a minute.
    let patience = "keep_alive = \"500ms\"\nidle_timeout = \"2s\"";
    pair.alpha.home.configure_peers(patience);
    pair.beta.home.configure_peers(patience);
    let mut put = Put200::new();

    pair.start_alpha();
    put.extend(put_all(&mut pair.alpha.client(), &bodies(40, 31)));
    wait_for("alpha to have dialled in vain", PATIENCE, || {
        peer(&pair).last_error
    });
    pair.alpha.end().terminate();
    pair.start_alpha();
    put.extend(put_all(&mut pair.alpha.client(), &bodies(20, 32)));
    pair.alpha.end().kill9();
    pair.start_alpha();

    pair.start_beta();
    mid_transfer(&pair, 2 * MIB);
    pair.weather(Weather {
        cut: true,
        ..Weather::default()
    });
    wait_for("the link to be down", PATIENCE, || {
        (peer(&pair).state != LinkState::Up).then_some(())
    });
    pair.weather(Weather::default());

    put.extend(put_large(&pair, 33));
    mid_transfer(&pair, 2 * MIB);
    pair.alpha.end().terminate();
    pair.start_alpha();
    put.extend(put_large(&pair, 34));
    mid_transfer(&pair, 2 * MIB);
    pair.alpha.end().kill9();
    pair.start_alpha();
    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (put.len() as u64, 0));

    let rows = Rows::of_running(&pair.alpha.home);
    let cost = [Outcome::Failed, Outcome::Timeout].map(|outcome| rows.ended_as(outcome));
    assert_eq!(
        (cost, rows.most_spent()),
        ([0, 0], 0),
        "a peer that is away costs no attempt"
    );
    drop(rows);
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    check_inbox(&Witness::of(&pair.beta.home).inbox(), &put);
}

#[test]
fn two_nodes_asked_to_end_at_once_with_clients_connected_both_end() {
    let mut pair = Pair::new(NODE, 4);
    pair.configure(SMALLER);
    pair.start_beta();
    pair.start_alpha();
    let (mut producer, consumer) = (pair.alpha.client(), pair.beta.client());
    put_all(&mut producer, &bodies(20, 41));
    pair.wait_for_link();

    pair.alpha.process().ask_to_end();
    pair.beta.process().ask_to_end();

    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    drop((producer, consumer));
}

/// `count` bodies, every border among them once.
fn bodies(count: u64, seed: u64) -> Vec<Body> {
    let borders = [
        0,
        0,
        1,
        16,
        16 * KIB - 1,
        16 * KIB,
        16 * KIB + 1,
        64 * KIB,
        MIB - 1,
        MIB,
    ]
    .into_iter()
    .chain([MIB + 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1])
    .chain((count >= 100).then_some(64 * MIB));
    let mut dice = Dice::new(seed);
    let mut drawn = Dice::new(seed ^ 1);
    let lengths = borders.chain(std::iter::repeat_with(move || drawn.spread(1, 2 * MIB)));
    let lengths = lengths.take(usize::try_from(count).expect("a few hundred"));
    lengths
        .map(|length| Body {
            seed: dice.draw(),
            length,
        })
        .collect()
}

/// Puts each, by turns whole, streamed, and streamed with the length announced.
fn put_all(client: &mut Client, bodies: &[Body]) -> Put200 {
    let mut put = Put200::new();
    for (n, body) in bodies.iter().enumerate() {
        let (options, len) = (to_beta(), Some(body.length));
        let accepted = match n % 3 {
            0 if body.length <= MIB => client.put(&options, &body.bytes()),
            0 | 1 => client.put_reader(&options, body.reader()),
            _ => client.put_with(
                Put {
                    options,
                    key: None,
                    len,
                },
                body.reader(),
            ),
        };
        let accepted = accepted.expect("there is room for it");
        assert_eq!(accepted.durability, Durability::Synced);
        assert_eq!(accepted.digest.0, body.digest());
        assert_eq!(
            put.insert(accepted.segment_id.0, *body),
            None,
            "an id is given once"
        );
    }
    put
}

/// Enough that there is a middle to interrupt.
fn put_large(pair: &Pair, seed: u64) -> Put200 {
    let large = |n| Body {
        seed: seed << 8 | n,
        length: 8 * MIB,
    };
    put_all(
        &mut pair.alpha.client(),
        &(0..3).map(large).collect::<Vec<_>>(),
    )
}

/// Waits until `bytes` more have passed, with more to come.
fn mid_transfer(pair: &Pair, bytes: u64) {
    let passed = || pair.to_beta.passed() + pair.to_alpha.passed();
    let before = passed();
    wait_for("a transfer under way", PATIENCE, || {
        (passed() >= before + bytes).then_some(())
    });
    assert!(pair.alpha.books().waiting > 0, "it is not over yet");
}

fn peer(pair: &Pair) -> edged_rpc::PeerView {
    pair.alpha
        .status()
        .peers
        .into_iter()
        .next()
        .expect("alpha knows beta")
}

/// Everything that was answered is there once, byte for byte, and nothing else is.
fn check_inbox(found: &[Item], put: &Put200) {
    let ids: BTreeMap<[u8; 16], &Item> = found.iter().map(|item| (item.id, item)).collect();
    assert_eq!(ids.len(), found.len(), "nothing is in the inbox twice");
    for (id, body) in put {
        let item = ids
            .get(id)
            .unwrap_or_else(|| panic!("{body:?} is not in the inbox"));
        assert_eq!(
            (item.length, item.found),
            (body.length, body.digest()),
            "{body:?}"
        );
        assert_eq!(item.promised, item.found);
    }
    assert_eq!(found.len(), put.len(), "nothing arrives that nobody put");
}
