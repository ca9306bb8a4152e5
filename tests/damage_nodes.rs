//! Damage under real daemons: a killed sender's state folder loses a byte, it starts,
//! what the byte did not touch arrives whole, and the books count the rest.
//!
//! Positions are drawn from seeds (`tests/damage.rs` takes thousands of them in
//! process). Every third folder is checked and repaired by `edged fsck` first, and that
//! repair is killed half-way once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::daemon::{PATIENCE, Pair, Witness, to_beta};
use harness::files::Body;
use harness::seeds::Dice;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const POSITIONS: u64 = 20;
/// Log files of 4 MiB, so that a segment of 5 MiB is a file of its own.
const SMALLER: &str = "[storage]\nmax_bytes = \"128MiB\"\n";

#[test]
fn a_daemon_starts_over_any_byte_and_delivers_the_rest() {
    let mut lost = 0;
    for seed in 0..POSITIONS {
        lost += one(seed);
    }
    writeln!(
        std::io::stdout(),
        "{POSITIONS} positions, {lost} segments lost and counted"
    )
    .expect("somebody reads");
}

fn one(seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new(NODE, seed);
    pair.configure(SMALLER);
    pair.start_alpha();
    let puts = put(&pair, seed);
    pair.alpha.end().kill9();
    let harmed = harm(pair.alpha.home.state(), &mut dice);
    if seed % 3 == 0 {
        repair(pair.alpha.home.config());
    }

    pair.start_beta();
    pair.start_alpha();
    let books = pair.alpha.wait_at_rest(PATIENCE);

    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    let arrived = Witness::of(&pair.beta.home).inbox();
    for item in &arrived {
        assert_eq!(
            puts.get(&item.id),
            Some(&item.found),
            "seed {seed}: {harmed}: wrong bytes"
        );
    }
    let missing = (puts.len() - arrived.len()) as u64;
    let counted = books.quarantined + books.deadletter;
    assert!(
        counted >= missing,
        "seed {seed}: {harmed}: {missing} missing, {counted} counted: {books:?}"
    );
    missing
}

/// Segments of all sizes, small ones in packs; answers their digests.
fn put(pair: &Pair, seed: u64) -> BTreeMap<[u8; 16], [u8; 32]> {
    let length = |n: u64| match n {
        0..24 => 100 + 37 * n,
        24..30 => 20_000 + n,
        _ => 5 << 20,
    };
    let body = |n| Body {
        seed: seed << 32 | n,
        length: length(n),
    };
    let many = (0..30).map(|n| body(n).bytes());
    let put = pair
        .alpha
        .client()
        .put_many(&to_beta(), many)
        .expect("it answers");
    assert_eq!(put.refused, vec![]);
    let large = pair
        .alpha
        .client()
        .put_reader(&to_beta(), body(30).reader());
    let large = large.expect("there is room").segment_id;
    let ids = put.ids.into_iter().chain([large]);
    (0..)
        .zip(ids)
        .map(|(n, id)| (id.0, body(n).digest()))
        .collect()
}

/// Changes one byte of the rows, the log or a payload file; says which.
fn harm(state: &Path, dice: &mut Dice) -> String {
    let mut files: Vec<PathBuf> = ["ledger.db", "ledger.db-wal", "ledger.db-wal"]
        .map(|name| state.join(name))
        .into();
    for folder in ["log", "payload"] {
        let entries = fs::read_dir(state.join(folder)).expect("a folder");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    files.sort();
    files.retain(|path| used(path) > 0);
    let path = dice.pick(&files).expect("some files");
    let (at, mask) = (dice.between(0, used(path) - 1), dice.between(1, 255) as u8);
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is there");
    file.write_all_at(&[byte[0] ^ mask], at)
        .expect("it is there");
    format!("{} byte {at} ^ {mask:#04x}", path.display())
}

/// How long a file is up to the last byte that is not zero.
fn used(path: &Path) -> u64 {
    let all = fs::read(path).unwrap_or_default();
    all.iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at as u64 + 1)
}

fn fsck(config: &Path, repair: bool) -> Output {
    let mut command = Command::new(NODE);
    command
        .args(["fsck", "--output", "json", "--config"])
        .arg(config);
    if repair {
        command.arg("--repair");
    }
    command.output().expect("it runs")
}

/// Looks, has a repair killed, repairs, and looks again.
fn repair(config: &Path) {
    let looked = fsck(config, false);
    let code = looked.status.code();
    assert!(matches!(code, Some(0 | 4)), "{code:?}: {looked:?}");
    let mut killed = Command::new(NODE)
        .args(["fsck", "--repair", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    killed.kill().expect("it is killed, or done");
    killed.wait().expect("it has ended");
    let repaired = fsck(config, true);
    assert!(
        matches!(repaired.status.code(), Some(0 | 4)),
        "{repaired:?}"
    );
    let again = fsck(config, false);
    let said: serde_json::Value = serde_json::from_slice(&again.stdout).expect("a document");
    assert_eq!(said["schema"], "fsck/1");
    assert_eq!(
        said["salvaged"],
        serde_json::Value::Null,
        "nothing is left to do: {said}"
    );
    assert_eq!(
        said["quarantined"],
        serde_json::json!([]),
        "nothing is left to do: {said}"
    );
}
