//! `edgectl segment put` of a whole folder, against a real daemon: each file once, though
//! the daemon is killed half way and the command is given again.

use std::fs::{self, File};
use std::path::Path;

use edgectl::Exit;
use harness::daemon::{Ctl, PATIENCE, Pair, Witness, wait_for};
use harness::files::Body;
use harness::seeds::Dice;

/// The binaries under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const EDGECTL: Ctl = Ctl(env!("CARGO_BIN_EXE_relay-ctl"));

/// Fills `folder` with files in folders, and says what they are.
fn fill(folder: &Path, count: u64) -> Vec<Body> {
    let mut dice = Dice::new(count);
    let mut bodies = Vec::new();
    for n in 0..count {
        let below = folder.join(format!("day-{}", n % 7));
        fs::create_dir_all(&below).expect("a folder");
        let body = Body {
            seed: dice.draw(),
            length: dice.spread(16, 64 << 10),
        };
        fs::write(below.join(format!("file-{n}")), body.bytes()).expect("a file");
        bodies.push(body);
    }
    bodies
}

fn summary(out: &str) -> serde_json::Value {
    let summary: serde_json::Value = serde_json::from_str(out).expect("one document");
    assert_eq!(summary["schema"], "segment.put_folder/1");
    summary
}

#[test]
fn a_folder_is_put_once_though_the_daemon_is_killed_and_the_command_given_again() {
    let mut pair = Pair::new(NODE, 91);
    pair.configure("[storage]\nmax_bytes = \"64MiB\"\n");
    let folder = pair.site.path().join("data");
    let bodies = fill(&folder, 400);
    pair.start_beta();
    pair.start_alpha();
    let socket = pair.alpha.home.socket().to_owned();
    let put = format!("segment put {} --peer beta --timeout 60s", folder.display());

    let said = std::thread::scope(|scope| {
        let command = scope.spawn(|| EDGECTL.ask(&socket, &put));
        wait_for("half of them to be put", PATIENCE, || {
            (pair.alpha.books().put >= 100).then_some(())
        });
        pair.alpha.end().kill9();
        pair.start_alpha();
        command.join().expect("it ends")
    });
    assert_eq!(said.exit, Exit::Done, "{}", said.err);
    assert_eq!(said.out.lines().count(), 400);
    assert!(said.out.contains("  day-3/file-3\n"), "{}", said.out);
    assert!(said.err.contains("put 400 of 400 files"), "{}", said.err);

    let again = EDGECTL.ask(&socket, &format!("{put} --json"));
    assert_eq!(again.exit, Exit::Done, "{}", again.err);
    let again = summary(&again.out);
    assert_eq!(
        (&again["stored"], &again["known"]),
        (&0.into(), &400.into())
    );

    let long = File::create(folder.join("long")).expect("a file");
    long.set_len(17 << 20).expect("a length");
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).expect("a link");
    fs::write(folder.join("new"), "new").expect("a file");
    let third = EDGECTL.ask(&socket, &format!("{put} --json"));
    assert_eq!(
        (third.exit, third.err.contains("some_refused")),
        (Exit::Refused, true)
    );
    let third = summary(&third.out);
    assert_eq!(
        (&third["stored"], &third["known"]),
        (&1.into(), &400.into())
    );
    assert_eq!(
        (&third["refused"], &third["skipped"]),
        (&1.into(), &1.into())
    );
    let passed = third["passed_over"].to_string();
    assert!(
        passed.contains("17825792 B") && passed.contains("link"),
        "{passed}"
    );

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.put, books.acked), (401, 401));
    pair.alpha.end().terminate();
    let gone = EDGECTL.ask(&socket, &put.replace("60s", "1s"));
    assert_eq!(gone.exit, Exit::NoDaemon, "{}", gone.err);
    pair.beta.end().terminate();
    let mut found: Vec<[u8; 32]> = Witness::of(&pair.beta.home)
        .inbox()
        .iter()
        .map(|item| item.found)
        .collect();
    let mut put: Vec<[u8; 32]> = bodies.iter().map(|body| body.digest()).collect();
    put.push(*blake3::hash(b"new").as_bytes());
    found.sort_unstable();
    put.sort_unstable();
    assert_eq!(found, put);
}
