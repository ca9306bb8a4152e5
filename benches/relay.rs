//! Put → acked end to end: two `edged` processes on the config that
//! `edged init` writes, fsynced at both ends, over loopback.
//!
//! One iteration puts a number of segments through `edged-rpc` and ends when the
//! sender's books say that all are settled. After each group the CPU time per
//! million segments and the peak memory of both daemons are printed.
//!
//! `cargo bench -p relay-benches --bench relay`

use std::time::{Duration, Instant};

use bench_support::{Node, Pair, wait_until};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edged_rpc::{Client, PutOptions};

const LIMIT: Duration = Duration::from_secs(120);

/// Lengths of the segments of one shape, and how many an iteration puts.
struct Shape {
    name: &'static str,
    lengths: fn(u64) -> usize,
    count: u64,
    /// Fewer acked a second than this and the shape is wrong.
    floor: Option<f64>,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "256B",
        lengths: |_| 256,
        count: 400_000,
        floor: Some(200_000.0),
    },
    Shape {
        name: "64-512B",
        lengths: drawn,
        count: 300_000,
        floor: Some(150_000.0),
    },
    Shape {
        name: "1KiB",
        lengths: |_| 1 << 10,
        count: 150_000,
        floor: None,
    },
    Shape {
        name: "64KiB",
        lengths: |_| 64 << 10,
        count: 3_000,
        floor: None,
    },
    Shape {
        name: "1MiB",
        lengths: |_| 1 << 20,
        count: 200,
        floor: None,
    },
];

/// 64 to 512, spread evenly and the same in every run.
fn drawn(n: u64) -> usize {
    64 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % 449
}

fn end_to_end(c: &mut Criterion) {
    for shape in &SHAPES {
        let pair = Pair::start(env!("CARGO_BIN_EXE_bench-node")).expect("two daemons start");
        let mut client = pair.alpha.client().expect("alpha listens");
        let mut watch = pair.alpha.client().expect("alpha listens");
        let bodies: Vec<Vec<u8>> = (0..1000)
            .map(|n| vec![n as u8; (shape.lengths)(n)])
            .collect();
        let bytes: u64 = bodies.iter().map(|body| body.len() as u64).sum::<u64>() / 1000;
        let (mut done, mut spent) = (0u64, Duration::ZERO);
        // Taken out of the figures: the link comes up, the first log file is made.
        done += relay(
            &mut client,
            &mut watch,
            &bodies,
            done,
            1_000.min(shape.count),
        );

        let cpu = (
            pair.alpha.cpu().expect("proc"),
            pair.beta.cpu().expect("proc"),
        );
        let before = done;
        let mut group = c.benchmark_group("relay");
        group.sample_size(10).warm_up_time(Duration::from_millis(1));
        group.measurement_time(Duration::from_secs(1));
        group.throughput(Throughput::Elements(shape.count));
        group.bench_function(shape.name, |b| {
            b.iter_custom(|rounds| {
                let mut time = Duration::ZERO;
                for _ in 0..rounds {
                    let start = Instant::now();
                    done += relay(&mut client, &mut watch, &bodies, done, shape.count);
                    time += start.elapsed();
                }
                spent += time;
                time
            });
        });
        group.finish();
        if spent.is_zero() {
            // Passed over by a filter.
            continue;
        }
        report(shape, &pair, done - before, bytes, spent, cpu);
    }
}

/// Puts `count` segments and waits until all are acked; answers `count`.
fn relay(
    client: &mut Client,
    watch: &mut Client,
    bodies: &[Vec<u8>],
    done: u64,
    count: u64,
) -> u64 {
    let options = PutOptions::to_peer("beta");
    let all = bodies.iter().cycle().take(count as usize);
    let put = client.put_many(&options, all).expect("alpha takes them");
    assert!(
        put.refused.is_empty() && put.stopped.is_none(),
        "nothing is refused"
    );
    wait_until(LIMIT, || Ok(Node::acked(watch)? >= done + count)).expect("beta acks them");
    count
}

fn report(
    shape: &Shape,
    pair: &Pair,
    done: u64,
    bytes: u64,
    spent: Duration,
    cpu: (Duration, Duration),
) {
    let rate = done as f64 / spent.as_secs_f64();
    let per_million =
        |now: Duration, then: Duration| (now - then).as_secs_f64() * 1e6 / done as f64;
    let alpha = per_million(pair.alpha.cpu().expect("proc"), cpu.0);
    let beta = per_million(pair.beta.cpu().expect("proc"), cpu.1);
    let rss = |node: &Node| node.peak_rss().expect("proc") as f64 / f64::from(1 << 20);
    let line = format!(
        "{:<8} {rate:>9.0} acked/s {:>7.1} MB/s  CPU s/million: alpha {alpha:.2} beta {beta:.2}  \
         peak RSS MiB: alpha {:.1} beta {:.1}",
        shape.name,
        rate * bytes as f64 / 1e6,
        rss(&pair.alpha),
        rss(&pair.beta),
    );
    #[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
    {
        println!("{line}");
    }
    if let Some(floor) = shape.floor {
        assert!(
            rate >= floor,
            "{}: {rate:.0} acked/s is below {floor:.0}",
            shape.name
        );
    }
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
