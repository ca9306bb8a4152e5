//! What rates and quotas promise, held against a clock, by two real daemons.
//!
//! Bytes are counted where they pass, at the proxy between the two; what was acked is
//! told by the sender's books and what arrived by the receiver's inbox, id by id.
//! Margins are as wide as a busy machine needs and as narrow as what is promised.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use edged_rpc::{
    BandwidthView, Id, InboxList, Paging, PeerView, PutOptions, RelayBandwidth, RelayList,
    Standing, State,
};
use harness::daemon::{PATIENCE, Pair, Rows, to_beta, wait_for};
use harness::files::Body;
use harness::proxy::Weather;
use harness::seeds::say;
use relay_core::delivery::Outcome;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Longer than any transfer here takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(240);

/// Two nodes with a link between them; alpha has `toml` beside its config.
fn linked(seed: u64, toml: &str) -> Pair {
    let mut pair = Pair::new(NODE, seed);
    pair.beta
        .home
        .configure("10-test", "[storage]\nmax_bytes = \"4GiB\"\n");
    let toml = format!("[storage]\nmax_bytes = \"4GiB\"\n{toml}");
    pair.alpha.home.configure("10-test", &toml);
    pair.start_beta();
    pair.start_alpha();
    pair.wait_for_link();
    pair
}

/// Puts `count` segments of `length` bytes; their ids.
fn put(pair: &Pair, options: &PutOptions, count: u64, length: u64) -> BTreeSet<Id> {
    let seed = |n| length << 32 | n;
    let bodies = (0..count).map(|n| {
        Body {
            seed: seed(n),
            length,
        }
        .bytes()
    });
    let put = pair.alpha.client().put_many(options, bodies);
    let put = put.expect("the daemon answers");
    assert_eq!(put.refused, vec![]);
    let ids: BTreeSet<Id> = put.ids.into_iter().collect();
    assert_eq!(ids.len() as u64, count);
    ids
}

fn acked(pair: &Pair) -> u64 {
    let books = pair.alpha.client().counters().expect("it counts").books;
    books.iter().map(|book| book.acked).sum()
}

fn wait_acked(pair: &Pair, count: u64) {
    wait_for("all to be acked", LONG, || {
        (acked(pair) >= count).then_some(())
    });
}

fn bandwidth(pair: &Pair) -> BandwidthView {
    pair.alpha.status().bandwidth
}

fn set_rate(pair: &Pair, bytes_per_second: u64) {
    set(pair, Some(bytes_per_second), None);
}

fn set(pair: &Pair, bytes_per_second: Option<u64>, daily_quota_bytes: Option<u64>) {
    let limits = pair.alpha.client().set_bandwidth(RelayBandwidth {
        peer: None,
        bytes_per_second,
        daily_quota_bytes,
        standing: Standing::Stored,
        dry_run: false,
    });
    assert!(limits.expect("an operator may").applied);
}

fn beta(pair: &Pair) -> PeerView {
    let peers = pair.alpha.status().peers;
    peers.into_iter().next().expect("alpha knows beta")
}

/// Bytes that pass to beta within `time`, and how long that really was.
fn passing(pair: &Pair, time: Duration) -> (u64, Duration) {
    let (begun, before) = (Instant::now(), pair.to_beta.passed());
    std::thread::sleep(time);
    (pair.to_beta.passed() - before, begun.elapsed())
}

/// Holds what passes within `time` against a rate: at most a twentieth less, and a
/// tenth more, which headers and acks take.
fn check_rate(pair: &Pair, rate: u64, time: Duration) {
    let (bytes, took) = passing(pair, time);
    let found = bytes as f64 / took.as_secs_f64();
    say(&format!(
        "  at {rate} B/s: {found:.0} B/s pass, headers and acks included"
    ));
    let share = found / rate as f64;
    assert!(
        (0.95..1.10).contains(&share),
        "{found:.0} B/s pass at {rate}"
    );
}

/// Nothing failed, was parked or cost an attempt.
fn check_cost_nothing(pair: &Pair) {
    let books = pair.alpha.books();
    assert_eq!(books.deadletter, 0, "{books:?}");
    let rows = Rows::of_running(&pair.alpha.home);
    let cost = [Outcome::Failed, Outcome::Timeout].map(|outcome| rows.ended_as(outcome));
    assert_eq!(
        (cost, rows.most_spent()),
        ([0, 0], 0),
        "no attempt is spent"
    );
}

/// Ids in beta's inbox; none is there twice.
fn inbox(pair: &Pair) -> BTreeSet<Id> {
    let (mut client, mut ids, mut after) = (pair.beta.client(), BTreeSet::new(), None);
    loop {
        let page = Paging {
            limit: 1_000,
            after,
        };
        let page = InboxList {
            page,
            ..InboxList::default()
        };
        let page = client.inbox(&page).expect("a page");
        for item in page.items {
            assert!(ids.insert(item.segment_id), "{item:?} is there twice");
        }
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

#[test]
fn at_64_kib_a_second_a_mebibyte_takes_15_to_17_seconds_whole_or_in_pieces() {
    for (count, length) in [(1, MIB), (64, 16 * KIB)] {
        let pair = linked(1, "[bandwidth]\nbytes_per_second = 65536\n");
        let begun = Instant::now();
        put(&pair, &to_beta(), count, length);

        wait_acked(&pair, count);

        let took = begun.elapsed();
        let band = bandwidth(&pair);
        say(&format!(
            "  {count} of {length} B at 64 KiB/s: {took:.2?}, throttled {}",
            band.throttle_count
        ));
        let (least, most) = (Duration::from_secs(15), Duration::from_secs(17));
        assert!((least..=most).contains(&took), "{took:?}");
        assert!(band.throttle_count > 0);
        assert_eq!(band.quota_drops, 0);
        check_cost_nothing(&pair);
    }
}

#[test]
fn a_quota_alone_makes_deliveries_wait_until_it_opens_and_loses_none() {
    const COUNT: u64 = 1_600;
    const QUOTA: u64 = 16 * MIB;
    const LENGTH: u64 = 16 * KIB;
    let pair = linked(2, "[bandwidth]\ndaily_quota_bytes = 16777216\n");
    let ids = put(&pair, &to_beta(), COUNT, LENGTH);

    // Deliveries stop at 98 parts of 100; a connection tells once a second what it sent.
    let waiting = wait_for("the quota to be used up", PATIENCE, || {
        let beta = beta(&pair);
        let shut = beta.inflight == 0 && beta.waiting_on == ["quota"];
        let told = bandwidth(&pair).daily_used_bytes >= QUOTA / 100 * 97;
        (shut && told).then_some(beta.waiting)
    });

    let band = bandwidth(&pair);
    say(&format!(
        "  quota of {QUOTA} B: {} B used, {} B passed to beta and back, {waiting} of {COUNT} wait, {} refused",
        band.daily_used_bytes,
        pair.to_beta.passed(),
        band.quota_drops
    ));
    assert!(band.quota_drops > 0);
    assert_eq!(band.throttle_count, 0);
    let opens = band.quota_opens_at.expect("it is known when it opens");
    let now = pair.alpha.status().queried_at;
    // Quotas are counted in minutes.
    let day = (24 * 60 + 1) * 60 * 1_000;
    assert!(
        opens.0 > now.0 && opens.0 <= now.0 + day,
        "{opens} after {now}"
    );
    let (mut there, mut waits) = (BTreeSet::new(), BTreeSet::new());
    for row in deliveries(&pair) {
        match row.state {
            State::Acked => there.insert(row.segment_id),
            State::Scheduled => {
                assert_eq!(row.waiting_on, ["quota"], "{row:?}");
                let until = row.waiting_until.expect("it is known until when");
                assert!(until.0 > now.0 && until.0 <= now.0 + day, "{row:?}");
                waits.insert(row.segment_id)
            }
            State::Inflight | State::Failed | State::Deadletter => panic!("{row:?}"),
        };
    }
    assert_eq!(waits.len() as u64, waiting);
    // What was lost on the way and went again counts twice: no more than this got there.
    assert!(there.len() as u64 * LENGTH <= QUOTA, "{band:?}");
    assert_eq!(
        inbox(&pair),
        there,
        "what is acked is there, and nothing else"
    );
    assert_eq!(&there | &waits, ids, "what is not there waits");
    check_cost_nothing(&pair);

    set(&pair, None, Some(0));
    wait_acked(&pair, COUNT);
    assert_eq!(inbox(&pair), ids);
    check_cost_nothing(&pair);
}

/// All of them.
fn deliveries(pair: &Pair) -> Vec<edged_rpc::DeliveryView> {
    let (mut client, mut all, mut after) = (pair.alpha.client(), Vec::new(), None);
    loop {
        let page = Paging { limit: 100, after };
        let page = RelayList {
            page,
            ..RelayList::default()
        };
        let page = client.deliveries(&page).expect("a page");
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[test]
fn a_limit_changed_in_mid_transfer_holds_from_then_on() {
    let pair = linked(3, "[bandwidth]\nbytes_per_second = 65536\n");
    put(&pair, &to_beta(), 640, 16 * KIB);
    put(&pair, &to_beta(), 1, 16 * MIB);
    // The burst of the first second is not the rate, and a chunk that was on its way at a
    // higher rate is debt for a while.
    let over = |rate: u64| {
        let none = -(rate as i64) / 8..=0;
        wait_for("burst and debt to be over", PATIENCE, || {
            let band = bandwidth(&pair);
            let tokens = band.available_tokens.unwrap_or(i64::MAX);
            (band.bytes_per_second == rate && none.contains(&tokens)).then_some(())
        })
    };

    for rate in [64 * KIB, 512 * KIB, 128 * KIB, 1024 * KIB] {
        set_rate(&pair, rate);
        over(rate);
        check_rate(&pair, rate, Duration::from_secs(5));
    }
    set_rate(&pair, 0);

    let books = pair.alpha.wait_at_rest(LONG);
    assert_eq!((books.put, books.acked), (641, 641));
    check_cost_nothing(&pair);
}

#[test]
fn one_byte_a_second_suspends_and_none_restores_within_a_moment() {
    let pair = linked(4, "[bandwidth]\nbytes_per_second = 1048576\n");
    put(&pair, &to_beta(), 512, 16 * KIB);
    put(&pair, &to_beta(), 1, 16 * MIB);
    wait_for("a transfer under way", PATIENCE, || {
        (acked(&pair) > 64).then_some(())
    });

    let (begun, before) = (Instant::now(), pair.to_beta.passed());
    set_rate(&pair, 1);
    let (answered, meanwhile) = (begun.elapsed(), pair.to_beta.passed() - before);
    // What was admitted before is on its way for a moment more.
    std::thread::sleep(Duration::from_millis(100));
    let (stops, (bytes, took)) = (acked(&pair), passing(&pair, Duration::from_secs(6)));

    say(&format!(
        "  1 B/s: answered after {answered:.1?} in which {meanwhile} B passed, then {bytes} B in {took:.1?}"
    ));
    assert!(bytes < 4 * KIB, "acks and keep-alives alone, not {bytes} B");
    assert_eq!(acked(&pair), stops);
    // What flies and gets no byte admitted for 30 s returns to its queue, unspent.
    wait_for("what flies to be back", PATIENCE, || {
        (beta(&pair).waiting_on == ["tokens"]).then_some(())
    });
    check_cost_nothing(&pair);

    let begun = Instant::now();
    set_rate(&pair, 0);
    let passed = pair.to_beta.passed();
    wait_for("bytes to pass again", PATIENCE, || {
        (pair.to_beta.passed() > passed + 64 * KIB).then_some(())
    });
    let restored = begun.elapsed();
    let books = pair.alpha.wait_at_rest(LONG);
    say(&format!(
        "  0: bytes pass after {restored:.1?}, all is there after {:.1?}",
        begun.elapsed()
    ));
    assert_eq!((books.put, books.acked), (513, 513));
    assert!(restored < Duration::from_secs(1), "{restored:?}");
    check_cost_nothing(&pair);
}

#[test]
fn an_alarm_overtakes_a_gibibyte_of_bulk_capped_or_not() {
    const ALARMS: u64 = 10;
    let pair = linked(5, "[bandwidth]\nbytes_per_second = 8388608\n");
    let bulk = PutOptions {
        lane: "bulk".into(),
        ..to_beta()
    };
    let mut client = pair.alpha.client();
    for seed in 0..4 {
        let body = Body {
            seed,
            length: 256 * MIB,
        };
        client
            .put_reader(&bulk, body.reader())
            .expect("there is room for it");
    }
    let mut sent = 0;
    // 1 GiB takes two minutes at 8 MiB/s, and hours at 64 KiB/s.
    for rate in [8 * MIB, 64 * KIB, 0] {
        set_rate(&pair, rate);
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..ALARMS {
            let before = pair.to_beta.passed();
            times.push(alarm(&pair, sent));
            sent += 1;
            wait_for("bulk to move between alarms", PATIENCE, || {
                (pair.to_beta.passed() >= before + 16 * KIB).then_some(())
            });
        }
        let left = 4 + sent - acked(&pair);
        times.sort_unstable();
        let (middle, worst) = (times[times.len() / 2], times[times.len() - 1]);
        say(&format!(
            "  at {rate} B/s, {left} of bulk left: an alarm takes {middle:.1?}, at most {worst:.1?}"
        ));
        assert!(left > 0, "bulk is under way");
        // P8 holds a quiet machine to a tenth of it; a segment of bulk takes 5 s at best.
        let held = middle < Duration::from_secs(1) && worst < Duration::from_secs(3);
        assert!(held, "{times:?}");
    }

    let books = pair.alpha.wait_at_rest(LONG);
    assert_eq!((books.put, books.acked), (4 + sent, 4 + sent));
    check_cost_nothing(&pair);
}

/// Puts an alarm of 2 KiB; how long it takes from put to acked.
fn alarm(pair: &Pair, seed: u64) -> Duration {
    let options = PutOptions {
        lane: "alarm".into(),
        ..to_beta()
    };
    let (mut client, begun) = (pair.alpha.client(), Instant::now());
    let count = |client: &mut edged_rpc::Client| -> u64 {
        let books = client.counters().expect("it counts").books;
        let alarms = books.iter().filter(|book| book.lane == "alarm");
        alarms.map(|book| book.acked).sum()
    };
    let before = count(&mut client);
    let body = Body {
        seed: 1 << 60 | seed,
        length: 2 * KIB,
    };
    client
        .put(&options, &body.bytes())
        .expect("there is room for it");
    wait_for("an alarm to be acked", LONG, || {
        (count(&mut client) > before).then_some(())
    });
    begun.elapsed()
}

#[test]
fn a_healthy_link_of_64_kbit_a_second_never_times_out() {
    let mut pair = Pair::new(NODE, 6);
    pair.weather(Weather {
        bytes_per_second: 8_000,
        delay: Duration::from_millis(150),
        spread: Duration::from_millis(50),
        loss: 2,
        ..Weather::default()
    });
    pair.start_beta();
    pair.start_alpha();
    pair.wait_for_link();
    let begun = Instant::now();
    // Each takes longer than the ack timeout of 30 s, packs of small ones beside them.
    put(&pair, &to_beta(), 2, 320 * KIB);
    put(&pair, &to_beta(), 40, 4 * KIB);

    wait_acked(&pair, 42);

    let took = begun.elapsed();
    say(&format!("  800 KiB over 64 kbit/s: {took:.1?}"));
    assert!(took > Duration::from_secs(90), "{took:?}: the link is slow");
    check_cost_nothing(&pair);
    let rows = Rows::of_running(&pair.alpha.home);
    assert_eq!(
        rows.ended_as(Outcome::Interrupted),
        0,
        "nor was its link lost"
    );
}
