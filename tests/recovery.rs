//! What two real nodes live through without anybody's help: networks that change, a
//! receiver that is full, a peer that is gone for a week, an ack that is late by one.
//!
//! A week passes when the test says so: the nodes take their machines to have slept
//! ([`harness::daemon::Site::pass`]).

use std::collections::BTreeMap;
use std::time::Duration;

use edged_rpc::{Id, InboxList, InboxTake, Paging, PutOptions, RelayAct, State, Verb, Which};
use harness::daemon::{Cut, PATIENCE, Pair, Rows, Witness, resumed_at, to_beta, wait_for};
use harness::files::Body;
use harness::proxy::Weather;
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const HOUR: Duration = Duration::from_secs(60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Log files of 4 MiB: less to fill ahead.
const SMALLER: &str = "[storage]\nmax_bytes = \"256MiB\"\n";

/// What was answered: id and what must be found under it.
type Puts = BTreeMap<[u8; 16], Body>;

/// Two nodes that run, with a link between them, and notice soon when it is cut;
/// `toml` is beside the config of both.
fn linked(seed: u64, toml: &str) -> Pair {
    let mut pair = Pair::new(NODE, seed);
    pair.configure(&format!("{SMALLER}{toml}"));
    pair.notice_cuts_soon();
    pair.start_beta();
    pair.start_alpha();
    pair.wait_for_link();
    pair
}

fn put(pair: &Pair, options: &PutOptions, body: Body, puts: &mut Puts) -> Id {
    let put = pair.alpha.client().put_reader(options, body.reader());
    let id = put.expect("there is room for it").segment_id;
    assert_eq!(puts.insert(id.0, body), None, "an id is given once");
    id
}

fn put_many(pair: &Pair, seed: u64, count: u64, length: u64, puts: &mut Puts) {
    let body = |n| Body {
        seed: seed << 32 | n,
        length,
    };
    let bodies = (0..count).map(|n| body(n).bytes());
    let put = pair.alpha.client().put_many(&to_beta(), bodies);
    let put = put.expect("the daemon answers");
    assert_eq!(put.refused, vec![]);
    let found = (0..count).map(body).zip(put.ids);
    puts.extend(found.map(|(body, id)| (id.0, body)));
}

/// Waits until `bytes` more have passed, with more to come.
fn mid_transfer(pair: &Pair, bytes: u64) {
    let before = pair.to_beta.passed();
    wait_for("a transfer under way", PATIENCE, || {
        (pair.to_beta.passed() >= before + bytes).then_some(())
    });
    assert!(pair.alpha.books().waiting > 0, "it is not over yet");
}

/// No attempt was spent on anything.
fn check_nothing_spent(pair: &Pair) {
    let rows = Rows::of_running(&pair.alpha.home);
    let cost = [Outcome::Failed, Outcome::Timeout].map(|outcome| rows.ended_as(outcome));
    assert_eq!((cost, rows.most_spent()), ([0, 0], 0));
}

/// Both end, and what was put is in beta's inbox once, byte for byte, and nothing else.
fn check_inbox(mut pair: Pair, puts: &Puts) {
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    let arrived = Witness::of(&pair.beta.home).inbox();
    let found: BTreeMap<_, _> = arrived.iter().map(|item| (item.id, item.found)).collect();
    assert_eq!(found.len(), arrived.len(), "nothing is there twice");
    let wanted: BTreeMap<_, _> = puts.iter().map(|(id, body)| (*id, body.digest())).collect();
    assert_eq!(found, wanted);
}

fn state(pair: &Pair, id: Id) -> State {
    let detail = pair.alpha.client().inspect(&id.to_string());
    detail.expect("it is known").deliveries[0].delivery.state
}

fn wait_until(pair: &Pair, id: Id, wanted: State) {
    wait_for("a delivery to get there", PATIENCE, || {
        (state(pair, id) == wanted).then_some(())
    });
}

fn act(pair: &Pair, id: Id, verb: Verb) {
    let which = Which::One {
        segment: id.to_string(),
        peer: None,
    };
    let act = RelayAct {
        verb,
        which,
        dry_run: false,
    };
    let acted = pair.alpha.client().act(&act, |_| ());
    assert_eq!(acted.expect("it is allowed").changed, 1);
}

/// Ids in beta's inbox.
fn inbox(pair: &Pair) -> Vec<Id> {
    let page = Paging {
        limit: 1_000,
        after: None,
    };
    let page = InboxList {
        page,
        ..InboxList::default()
    };
    let page = pair.beta.client().inbox(&page).expect("a page");
    page.items.iter().map(|item| item.segment_id).collect()
}

#[test]
fn a_sender_whose_address_changes_in_mid_transfer_goes_on() {
    let pair = linked(1, "[bandwidth]\nbytes_per_second = 4194304\n");
    let mut puts = Puts::new();
    put_many(&pair, 2, 200, 16 * KIB, &mut puts);
    let long = Body {
        seed: 1,
        length: 16 * MIB,
    };
    put(&pair, &to_beta(), long, &mut puts);

    for _ in 0..3 {
        mid_transfer(&pair, 2 * MIB);
        pair.to_beta.roam();
        pair.to_alpha.roam();
    }

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (201, 0));
    let rows = Rows::of_running(&pair.alpha.home);
    assert_eq!(
        rows.ended_as(Outcome::Interrupted),
        0,
        "on the link it began on"
    );
    drop(rows);
    check_nothing_spent(&pair);
    check_inbox(pair, &puts);
}

#[test]
fn a_segment_of_8_mib_cut_and_killed_goes_on_where_its_receiver_left_it() {
    let mut pair = linked(2, "[bandwidth]\nbytes_per_second = 2097152\n");
    let mut puts = Puts::new();
    let long = Body {
        seed: 1,
        length: 8 * MIB,
    };
    put(&pair, &to_beta(), long, &mut puts);

    for (cut, place) in [(Cut::Link, 1), (Cut::Sender, 3), (Cut::Receiver, 5)] {
        let (had, from) = pair.cut_off(cut, place * MIB);
        let twice = had.saturating_sub(from);
        assert!(twice <= cut.may_repeat(), "{cut:?} repeats {twice} B");
        assert!(from > 0, "{cut:?} at {had}: it begins anew");
    }

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (1, 0));
    check_nothing_spent(&pair);
    assert_eq!(
        resumed_at(pair.beta.process()).len(),
        1,
        "since it was killed"
    );
    check_inbox(pair, &puts);
}

#[test]
fn a_full_receiver_makes_the_sender_wait_and_nothing_fails() {
    const COUNT: u64 = 24;
    let pair = Pair::new(NODE, 3);
    pair.beta
        .home
        .configure("20-small", "[inbox]\nmax_bytes = \"4MiB\"\n");
    let pair = started(pair);
    let mut puts = Puts::new();
    put_many(&pair, 1, COUNT, 512 * KIB, &mut puts);

    // What was taken in and confirmed makes room for more, until nothing is left.
    let (mut got, mut waits) = (Puts::new(), 0);
    while (got.len() as u64) < COUNT {
        let full = wait_for(
            "the receiver to be full, or all to be there",
            PATIENCE,
            || {
                let peer = pair.alpha.status().peers.remove(0);
                let full = peer.waiting_on == ["peer_busy"] && peer.inflight == 0;
                let done = peer.waiting + peer.inflight == 0;
                (full || done).then_some(full)
            },
        );
        waits += u64::from(full);
        assert_eq!(pair.alpha.books().deadletter, 0);
        take_all(&pair, &mut got);
    }

    assert!(waits >= 2, "it was full {waits} times");
    assert_eq!(got.len(), puts.len());
    let all = got.iter().all(|(id, body)| puts.get(id) == Some(body));
    assert!(all, "what was taken is what was put");
    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (COUNT, 0));
    check_nothing_spent(&pair);
}

/// Both nodes run, and are linked.
fn started(mut pair: Pair) -> Pair {
    pair.configure(SMALLER);
    pair.notice_cuts_soon();
    pair.start_beta();
    pair.start_alpha();
    pair.wait_for_link();
    pair
}

/// Takes what is in beta's inbox, byte for byte what was put under its id, and confirms.
fn take_all(pair: &Pair, got: &mut Puts) {
    let mut client = pair.beta.client();
    loop {
        let taken = client.take(&InboxTake {
            max: 10,
            ..InboxTake::default()
        });
        let taken = taken.expect("a lease");
        if taken.is_empty() {
            return;
        }
        let mut ids = Vec::new();
        for (item, bytes) in taken {
            let digest = *blake3::hash(&bytes).as_bytes();
            assert_eq!(item.digest.0, digest);
            let seed = (0..64).map(|n| 1 << 32 | n);
            let body = |seed| Body {
                seed,
                length: item.len,
            };
            let body = seed.map(body).find(|body| body.digest() == digest);
            let body = body.expect("bytes that were put");
            assert_eq!(
                got.insert(item.segment_id.0, body),
                None,
                "nothing comes twice"
            );
            ids.push(item.segment_id);
        }
        client.confirm(&ids).expect("they are ours");
    }
}

#[test]
fn a_peer_gone_for_a_week_returns_and_all_drains_by_itself() {
    let mut pair = linked(4, "[bandwidth]\nbytes_per_second = 2097152\n");
    let mut puts = Puts::new();
    // One is cut off on its way.
    let long = Body {
        seed: 1,
        length: 6 * MIB,
    };
    put(&pair, &to_beta(), long, &mut puts);
    mid_transfer(&pair, 2 * MIB);
    pair.beta.end().kill9();
    put_many(&pair, 2, 150, 4 * KIB, &mut puts);

    // The week: awake, killed, away for two days, awake again, each day with more.
    for day in 0..7 {
        match day {
            2 => {
                pair.alpha.end().kill9();
                pair.start_alpha();
            }
            3 => {
                pair.alpha.end().terminate();
                pair.pass(WEEK / 7);
                pair.start_alpha();
            }
            _ => pair.pass(WEEK / 7),
        }
        put_many(&pair, 10 + day, 10, 4 * KIB, &mut puts);
    }
    pair.pass(WEEK / 7);
    let status = pair.alpha.status();
    assert_eq!(status.queue_depth.deadletter, 0);
    let oldest = status.oldest_age_seconds.expect("much waits");
    assert!(
        oldest >= WEEK.as_secs() && oldest < WEEK.as_secs() + 600,
        "{oldest} s"
    );

    pair.start_beta();

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.acked, books.deadletter), (puts.len() as u64, 0));
    check_nothing_spent(&pair);
    check_inbox(pair, &puts);
}

#[test]
fn what_was_parked_with_its_ack_lost_is_retried_a_week_later_and_not_doubled() {
    for early in [true, false] {
        let mut pair = linked(5, "");
        let mut puts = Puts::new();
        put_many(&pair, 1, 1, KIB, &mut puts);
        let _ = pair.alpha.wait_at_rest(PATIENCE);
        // Beta hears alpha; alpha hears nothing.
        let mute = Weather {
            mute: true,
            ..Weather::default()
        };
        let cut = Weather {
            cut: true,
            ..Weather::default()
        };
        pair.to_beta.set(mute);
        pair.to_alpha.set(cut);
        let options = PutOptions {
            ttl_seconds: Some(3600),
            ..to_beta()
        };
        let [parked, aged] = [(2, 4 * KIB), (3, 12 * KIB)]
            .map(|(seed, length)| put(&pair, &options, Body { seed, length }, &mut puts));
        wait_for("beta to have them", PATIENCE, || {
            let there = inbox(&pair);
            (there.contains(&parked) && there.contains(&aged)).then_some(())
        });
        // One is parked by hand, one is too old.
        pair.weather(cut);
        wait_until(&pair, parked, State::Scheduled);
        act(&pair, parked, Verb::Force);
        pair.pass(2 * HOUR);
        wait_until(&pair, aged, State::Deadletter);
        // The consumer is done with all of it, and the week goes by.
        take_all_of(&pair, &puts);
        pair.beta.end().kill9();
        pair.pass(WEEK);
        pair.start_beta();
        pair.alpha.end().terminate();
        pair.start_alpha();
        if !early {
            pair.weather(Weather::default());
            pair.wait_for_link();
        }
        for id in [parked, aged] {
            assert_eq!(state(&pair, id), State::Deadletter, "an ack only notes it");
            let ttl_seconds = Some(3600);
            act(&pair, id, Verb::Retry { ttl_seconds });
        }
        pair.weather(Weather::default());

        let books = pair.alpha.wait_at_rest(PATIENCE);

        assert_eq!((books.acked, books.deadletter), (3, 0), "{books:?}");
        take_all_of(&pair, &Puts::new());
        pair.alpha.end().terminate();
        pair.beta.end().terminate();
    }
}

/// Takes and confirms what was put, which is all there is to take.
fn take_all_of(pair: &Pair, puts: &Puts) {
    let mut client = pair.beta.client();
    let which = InboxTake {
        max: 100,
        ..InboxTake::default()
    };
    let taken = client.take(&which).expect("a lease");
    let found: BTreeMap<_, _> = taken
        .iter()
        .map(|(item, _)| (item.segment_id.0, item.len))
        .collect();
    let wanted: BTreeMap<_, _> = puts.iter().map(|(id, body)| (*id, body.length)).collect();
    assert_eq!(found, wanted);
    let ids: Vec<Id> = taken.iter().map(|(item, _)| item.segment_id).collect();
    client.confirm(&ids).expect("they are ours");
}
