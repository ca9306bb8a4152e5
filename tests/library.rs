//! `edged-rpc` as a library: its examples against real daemons, and a producer whose
//! daemon is killed under it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use edged_rpc::asynchronous::AsyncProducer;
use edged_rpc::{ClientError, Producer, PutOptions};
use harness::daemon::{PATIENCE, Pair, Witness, to_beta, wait_for};
use harness::seeds::{Dice, say};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const SMALLER: &str = "[storage]\nmax_bytes = \"1GiB\"\n";

fn pair(seed: u64) -> Pair {
    let mut pair = Pair::new(NODE, seed);
    pair.configure(SMALLER);
    pair.start_beta();
    pair.start_alpha();
    pair
}

/// What an example prints, fed with `stdin`.
fn example(program: &str, args: &[&Path], stdin: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut pipe = child.stdin.take().expect("it is piped");
    pipe.write_all(stdin.as_bytes()).expect("it reads");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_examples_do_what_they_say() {
    let mut pair = pair(81);
    let (alpha, beta) = (pair.alpha.home.socket(), pair.beta.home.socket());
    let file = pair.site.path().join("video");
    std::fs::write(&file, vec![7; 5 << 20]).expect("a file");
    let to = [alpha, Path::new("beta")];

    let put = example(env!("CARGO_BIN_EXE_example-put"), &to, "one\ntwo\n");
    let readings = example(env!("CARGO_BIN_EXE_example-readings"), &to, "three\nfour\n");
    let upload = [alpha, Path::new("beta"), &file];
    let first = example(env!("CARGO_BIN_EXE_example-upload"), &upload, "");
    let again = example(env!("CARGO_BIN_EXE_example-upload"), &upload, "");
    let books = pair.alpha.wait_at_rest(PATIENCE);
    let taken = example(env!("CARGO_BIN_EXE_example-inbox"), &[beta], "");
    let empty = example(env!("CARGO_BIN_EXE_example-inbox"), &[beta], "");

    assert_eq!(put.lines().count() + readings.lines().count(), 4);
    assert_eq!(
        again.trim_end(),
        format!("{} (as before)", first.trim_end())
    );
    assert_eq!((books.put, books.acked), (5, 5));
    for word in ["one", "two", "three", "four"] {
        assert!(taken.contains(&format!(": {word}\n")), "{taken}");
    }
    assert_eq!((taken.lines().count(), empty.as_str()), (5, ""));
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

#[test]
fn a_producer_puts_each_once_though_its_daemon_is_killed_under_it() {
    let mut pair = pair(82);
    let (mut dice, done) = (Dice::new(82), AtomicU64::new(0));
    let socket = pair.alpha.home.socket().to_owned();
    let total = 1_500;

    std::thread::scope(|scope| {
        let producers = [0, 1].map(|half| {
            let (socket, done) = (socket.clone(), &done);
            scope.spawn(move || {
                let mut producer = Producer::new(socket);
                for n in 0..total / 2 {
                    let body = format!("reading {half} {n}");
                    producer.put(&to_beta(), body.as_bytes()).expect("stored");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for _ in 0..5 {
            let goal = done.load(Ordering::Relaxed) + dice.between(1, 150);
            wait_for("puts to be answered", PATIENCE, || {
                (done.load(Ordering::Relaxed) >= goal).then_some(())
            });
            pair.alpha.end().kill9();
            pair.start_alpha();
        }
        for producer in producers {
            producer.join().expect("it ends");
        }
    });
    let books = pair.alpha.wait_at_rest(PATIENCE);
    pair.alpha.end().terminate();
    pair.beta.end().terminate();

    let mut found: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    for item in Witness::of(&pair.beta.home).inbox() {
        *found.entry(item.found).or_default() += 1;
    }
    say(&format!("  5 kills under two producers: {books:?}"));
    assert_eq!(found.len() as u64, total);
    assert!(found.values().all(|times| *times == 1));
    assert_eq!(books.acked, total);
}

#[test]
fn futures_of_one_producer_take_turns_and_a_dropped_one_leaves_it_whole() {
    let mut pair = pair(83);
    let edged = AsyncProducer::new(Producer::new(pair.alpha.home.socket()));
    let runtime = tokio::runtime::Builder::new_current_thread().build();

    runtime.expect("a runtime").block_on(async {
        let puts = (0..50u8).map(|n| edged.put(to_beta(), vec![n; 100]));
        let all: Vec<_> = futures_util::future::join_all(puts).await;
        assert!(all.iter().all(Result::is_ok));
        for n in 50..60u8 {
            let mut put = Box::pin(edged.put(to_beta(), vec![n; 100]));
            // It has begun, and is dropped.
            let _ = futures_util::poll!(&mut put);
        }
        let many = (60..80u8).map(|n| vec![n; 100]).collect();
        let many = edged.put_many(to_beta(), many).await.expect("stored");
        assert_eq!(many.ids.len(), 20);
        let refused = edged.put(PutOptions::to_peer("nobody"), vec![1]).await;
        assert!(
            matches!(refused, Err(ClientError::Refused(_))),
            "{refused:?}"
        );
        let version = edged.with(|client| client.version()).await;
        assert!(version.is_ok(), "{version:?}");
    });

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!(books.acked, 80);
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}
