//! What a rate promises, by two real daemons: an alarm overtakes bulk (P8), the
//! rate is what it says, and a change of it acts at once (P9).
//!
//! Two `edged` processes on the config that `edged init` writes, a rate beside it,
//! fsynced at both ends, over loopback. Bytes are counted by the sender's books:
//! what is acked, tables and the words before a pack included, so a window is
//! known to within one pack.
//!
//! `cargo bench -p relay-benches --bench shaping`

use std::time::{Duration, Instant};

use bench_support::{Node, Pair, wait_until};
use edged_rpc::{Client, PutOptions, RelayBandwidth, Standing};

const LIMIT: Duration = Duration::from_secs(120);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The rates under which an alarm has to overtake.
const CAPS: [u64; 3] = [64 * KIB, MIB, 16 * MIB];
/// Bulk that moves meanwhile.
const BULK: u64 = 1 << 30;
/// Alarms sent one after another under each rate.
const ALARMS: usize = 12;
/// The rate whose truth is measured, and in segments of this length.
const TRUE_CAP: u64 = 2 * MIB;
const LENGTH: u64 = 16 * KIB;
/// How often the rate is changed, to one byte a second and back.
const CHANGES: usize = 8;
/// A change of the rate acts within this.
const AT_ONCE: Duration = Duration::from_millis(100);
/// What a segment costs beside its body: its line in the table, and its share of
/// the words before the pack (3 segments of 16 KiB fit into one).
const BESIDE: u64 = 56 + 64 / 3;

fn say(line: &str) {
    #[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
    {
        println!("{line}");
    }
}

fn main() {
    for cap in CAPS {
        overtaking(cap);
    }
    truth();
    change();
}

fn pair(cap: u64) -> Pair {
    let rate = format!("[bandwidth]\nbytes_per_second = {cap}\n");
    Pair::start_with(env!("CARGO_BIN_EXE_bench-node"), &rate).expect("two daemons start")
}

fn options(lane: &str) -> PutOptions {
    PutOptions {
        lane: lane.to_owned(),
        ..PutOptions::to_peer("beta")
    }
}

const fn chunk(cap: u64) -> u64 {
    let tenth = cap / 10;
    if tenth > 64 * KIB {
        64 * KIB
    } else if tenth < KIB {
        KIB
    } else {
        tenth
    }
}

fn acked(client: &mut Client, lane: &str) -> u64 {
    let counters = client.counters().expect("alpha counts");
    let books = counters.books.iter().filter(|book| book.lane == lane);
    books.map(|book| book.acked).sum()
}

/// P8: how long a 2 KiB alarm takes from put to acked while bulk moves under `cap`.
fn overtaking(cap: u64) {
    let pair = pair(cap);
    let mut client = pair.alpha.client().expect("alpha listens");
    let mut watch = pair.alpha.client().expect("alpha listens");
    warm(&mut client, &mut watch);
    // In pieces of a quarter, so that putting them takes no longer than it must.
    let piece = vec![7u8; (BULK / 4) as usize];
    for _ in 0..4 {
        client
            .put(&options("bulk"), &piece)
            .expect("alpha takes bulk");
    }
    drop(piece);
    // The burst is used up, and bulk is under way.
    let begun = Instant::now();
    wait_until(LIMIT, || Ok(begun.elapsed() > Duration::from_millis(1_500))).expect("time passes");
    let rtt = rtt(&mut watch);
    let mut times = Vec::with_capacity(ALARMS);
    for n in 0..ALARMS {
        let before = acked(&mut watch, "alarm");
        let start = Instant::now();
        client
            .put(&options("alarm"), &[n as u8; 2 << 10])
            .expect("alpha takes an alarm");
        wait_until(LIMIT, || Ok(acked(&mut watch, "alarm") > before)).expect("beta acks it");
        times.push(start.elapsed());
        let rest = start.elapsed() + Duration::from_millis(137);
        wait_until(LIMIT, || Ok(start.elapsed() > rest)).expect("time passes");
    }
    let moved = acked(&mut watch, "bulk");
    assert!(moved < 4 || cap > MIB, "bulk was still moving");
    times.sort_unstable();
    let own = chunk(cap) + 2 * KIB + 56 + 64;
    let at_the_cap = Duration::from_secs_f64(own as f64 / cap as f64);
    let bound = rtt * 2 + Duration::from_millis(50) + at_the_cap;
    let (middle, most) = (times[times.len() / 2], times[times.len() - 1]);
    say(&format!(
        "P8 cap {:>5} KiB/s: 2 KiB alarm put to acked, 1 GiB of bulk moving: p50 {:>6.1} ms  max {:>6.1} ms  bound {:>6.1} ms",
        cap / KIB,
        middle.as_secs_f64() * 1e3,
        most.as_secs_f64() * 1e3,
        bound.as_secs_f64() * 1e3,
    ));
    // Other builds may run on the machine: the floor is wide.
    assert!(
        middle < bound * 3,
        "an alarm took {middle:?}, bound {bound:?}"
    );
}

/// P9: over 10 s the cap, in no second more than cap, burst and chunk.
fn truth() {
    let pair = pair(TRUE_CAP);
    let mut client = pair.alpha.client().expect("alpha listens");
    let mut watch = pair.alpha.client().expect("alpha listens");
    warm(&mut client, &mut watch);
    let body = vec![9u8; LENGTH as usize];
    let count = 20 * TRUE_CAP / LENGTH;
    let all = std::iter::repeat_n(&body, count as usize);
    let put = client
        .put_many(&options("default"), all)
        .expect("alpha takes them");
    assert!(
        put.refused.is_empty() && put.stopped.is_none(),
        "nothing is refused"
    );
    let first = acked(&mut watch, "default");
    let start = Instant::now();
    let mut seen: Vec<(Duration, u64)> = Vec::new();
    wait_until(LIMIT, || {
        let done = acked(&mut watch, "default") - first;
        seen.push((start.elapsed(), done * (LENGTH + BESIDE)));
        Ok(start.elapsed() > Duration::from_secs(13))
    })
    .expect("time passes");
    // Behind the burst: ten seconds from the third on.
    let at = |when: f64| {
        let when = Duration::from_secs_f64(when);
        seen.iter()
            .find(|(at, _)| *at >= when)
            .expect("it was seen")
    };
    let ((t0, b0), (t1, b1)) = (*at(2.5), *at(12.5));
    let rate = (b1 - b0) as f64 / (t1 - t0).as_secs_f64();
    let off = (rate / TRUE_CAP as f64 - 1.0) * 100.0;
    let mut worst = 0;
    let mut from = 0;
    for (at, bytes) in &seen {
        while *at - seen[from].0 > Duration::from_secs(1) {
            from += 1;
        }
        worst = worst.max(bytes - seen[from].1);
    }
    // One pack beside: acks come for whole packs.
    let most = TRUE_CAP + TRUE_CAP + chunk(TRUE_CAP) + 64 * KIB;
    say(&format!(
        "P9 cap {} KiB/s: over 10 s {:.0} KiB/s ({off:+.2}%)  worst 1 s {} KiB of at most {} KiB",
        TRUE_CAP / KIB,
        rate / KIB as f64,
        worst / KIB,
        most / KIB,
    ));
    assert!(off.abs() < 4.0, "the rate is {off:+.2}% off");
    assert!(worst <= most, "{worst} bytes in one second");
}

/// P9: how long after it was ordered a change of the rate is seen at the far end: the
/// last ack once it is one byte a second, the first once it is [`TRUE_CAP`] again.
fn change() {
    let pair = pair(TRUE_CAP);
    let mut client = pair.alpha.client().expect("alpha listens");
    let mut watch = pair.alpha.client().expect("alpha listens");
    warm(&mut client, &mut watch);
    let body = vec![9u8; LENGTH as usize];
    let all = std::iter::repeat_n(&body, (30 * TRUE_CAP / LENGTH) as usize);
    let put = client
        .put_many(&options("default"), all)
        .expect("alpha takes them");
    assert!(put.refused.is_empty(), "nothing is refused");
    // Behind the burst.
    let begun = Instant::now();
    wait_until(LIMIT, || Ok(begun.elapsed() > Duration::from_secs(2))).expect("time passes");
    let (mut stops, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        let (start, mut last) = (Instant::now(), Duration::ZERO);
        set_rate(&mut client, 1);
        let mut count = acked(&mut watch, "default");
        wait_until(LIMIT, || {
            let now = acked(&mut watch, "default");
            if now > count {
                (count, last) = (now, start.elapsed());
            }
            Ok(start.elapsed() > Duration::from_secs(1))
        })
        .expect("time passes");
        stops.push(last);
        let start = Instant::now();
        set_rate(&mut client, TRUE_CAP);
        wait_until(LIMIT, || Ok(acked(&mut watch, "default") > count)).expect("it goes on");
        starts.push(start.elapsed());
        let rest = Duration::from_millis(500);
        wait_until(LIMIT, || Ok(start.elapsed() > rest)).expect("time passes");
    }
    for (what, times) in [("to 1 B/s: last", &mut stops), ("back: first", &mut starts)] {
        times.sort_unstable();
        let (middle, most) = (times[times.len() / 2], times[times.len() - 1]);
        say(&format!(
            "P9 change of {} KiB/s {what} ack after: p50 {:>5.1} ms  max {:>5.1} ms  bound {} ms",
            TRUE_CAP / KIB,
            middle.as_secs_f64() * 1e3,
            most.as_secs_f64() * 1e3,
            AT_ONCE.as_millis(),
        ));
        // Other builds may run on the machine: the floor is wide.
        assert!(middle < AT_ONCE * 3, "a change acted after {middle:?}");
    }
}

fn set_rate(client: &mut Client, bytes_per_second: u64) {
    let changed = client.set_bandwidth(RelayBandwidth {
        peer: None,
        bytes_per_second: Some(bytes_per_second),
        daily_quota_bytes: None,
        standing: Standing::Ephemeral,
        dry_run: false,
    });
    assert!(changed.expect("an operator may").applied);
}

/// The link comes up and the first log file is made.
fn warm(client: &mut Client, watch: &mut Client) {
    client
        .put(&options("alarm"), b"warm")
        .expect("alpha takes it");
    wait_until(LIMIT, || Ok(Node::acked(watch)? >= 1)).expect("beta acks it");
}

fn rtt(client: &mut Client) -> Duration {
    let peers = client.peers(&edged_rpc::PeerList::default());
    let peers = peers.expect("alpha knows its peers");
    let ms = peers.items.iter().find_map(|peer| peer.rtt_ms);
    Duration::from_secs_f64(ms.unwrap_or(1.0) / 1e3)
}
