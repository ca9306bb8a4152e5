//! Files dropped into a spool folder of a real daemon: each is put once, whatever kills
//! the daemon and however full it is, and what is no file to be put stays and is named.
//!
//! What arrived is read from the receiver's disk, every byte hashed anew.
//! `EDGED_SPOOL_KILLS` and `EDGED_SPOOL_SEED` change the run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use harness::daemon::{PATIENCE, Pair, Site, Witness, wait_for};
use harness::files::Body;
use harness::seeds::{Dice, number_from_env, say};
use relay_core::ledger::{Ledger, Options};
use relay_core::time::Unix;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Kills in one run.
const KILLS: u64 = 6;

/// A pair whose alpha has a spool folder that goes to beta.
fn pair(seed: u64, max: &str) -> (Pair, PathBuf) {
    let pair = Pair::new(NODE, seed);
    let folder = spool_of(&pair.site);
    fs::create_dir(&folder).expect("a folder");
    pair.configure(&format!("[storage]\nmax_bytes = \"{max}\"\n"));
    let spool = format!("[[spool]]\ndir = {folder:?}\npeer = \"beta\"\ntopic = \"drops\"\n");
    pair.alpha.home.configure("20-spool", &spool);
    (pair, folder)
}

fn spool_of(site: &Site) -> PathBuf {
    site.path().join("spool")
}

/// Writes a file beside its name, then renames it into place, as a producer does.
fn drop_file(folder: &Path, name: &str, bytes: &[u8]) {
    let hidden = folder.join(format!(".{name}"));
    fs::write(&hidden, bytes).expect("a file can be written");
    fs::rename(&hidden, folder.join(name)).expect("it gets its name");
}

/// Names in the folder, hidden ones left out.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok().map(|entry| entry.file_name());
    let names = entries.filter_map(name);
    let mut names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

fn wait_until_empty(folder: &Path) {
    wait_for("the spool to be empty", PATIENCE, || {
        names(folder).is_empty().then_some(())
    });
}

/// Ends both, and how often each body lies in beta's inbox.
fn arrived(pair: &mut Pair) -> BTreeMap<[u8; 32], u32> {
    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!(books.deadletter, 0, "{books:?}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    let mut found = BTreeMap::new();
    for item in Witness::of(&pair.beta.home).inbox() {
        assert_eq!(item.promised, item.found);
        *found.entry(item.found).or_default() += 1;
    }
    found
}

#[test]
fn killed_at_any_moment_each_file_arrives_once_and_none_is_left() {
    let seed = number_from_env("EDGED_SPOOL_SEED", 1);
    let kills = number_from_env("EDGED_SPOOL_KILLS", KILLS);
    let mut dice = Dice::new(seed);
    let (mut pair, folder) = pair(seed, "4GiB");
    pair.start_beta();
    pair.start_alpha();
    let (over, dropped) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut rows = 0;

    let bodies = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&folder, seed, &over, &dropped));
        for _ in 0..kills {
            let goal = dropped.load(Ordering::Relaxed) + dice.between(1, 200);
            wait_for("files to be dropped", PATIENCE, || {
                (dropped.load(Ordering::Relaxed) >= goal).then_some(())
            });
            pair.alpha.end().kill9();
            rows += rows_left(&pair);
            pair.start_alpha();
        }
        over.store(true, Ordering::Relaxed);
        producer.join().expect("the producer ends")
    });
    wait_until_empty(&folder);
    let found = arrived(&mut pair);

    say(&format!(
        "  seed {seed}, {kills} kills, {} files, {rows} were put and still there",
        bodies.len()
    ));
    let doubled = found.values().filter(|times| **times > 1).count();
    let lost = bodies
        .iter()
        .filter(|body| !found.contains_key(&body.digest()));
    assert_eq!((lost.count(), doubled), (0, 0));
    assert_eq!(found.len(), bodies.len());
    assert!(fs::read_dir(&folder).expect("a list").next().is_none());
    assert_eq!(rows_left(&pair), 0, "no row outlives its file for long");
}

/// Drops files, never more than a few hundred beyond what is taken up, until it is over.
fn produce(folder: &Path, seed: u64, over: &AtomicBool, dropped: &AtomicU64) -> Vec<Body> {
    let mut dice = Dice::new(seed ^ 7);
    let mut bodies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let length = match dice.between(0, 99) {
            0 if bodies.len().is_multiple_of(4) => dice.spread(5 << 20, 9 << 20),
            0..=2 => dice.spread(64 << 10, 512 << 10),
            _ => dice.spread(16, 4 << 10),
        };
        let body = Body {
            seed: dice.draw(),
            length,
        };
        drop_file(folder, &format!("file-{}", bodies.len()), &body.bytes());
        bodies.push(body);
        dropped.fetch_add(1, Ordering::Relaxed);
        if bodies.len().is_multiple_of(256) {
            wait_for("files to be taken up", PATIENCE, || {
                (over.load(Ordering::Relaxed) || names(folder).len() < 256).then_some(())
            });
        }
    }
    bodies
}

/// Rows of files that are put and not known to be gone, on a stopped node's disk.
fn rows_left(pair: &Pair) -> usize {
    let node = "alpha".parse().expect("a node id");
    let options = Options::new(node, 4 << 30, 0);
    let (_, snapshot) = Ledger::open(pair.alpha.home.state(), options, Unix(0)).expect("it opens");
    snapshot.spooled.len()
}

#[test]
fn what_is_no_file_to_be_put_stays_and_is_named_and_the_others_go() {
    let (mut pair, folder) = pair(2, "64MiB");
    let path = |name: &str| folder.join(name);
    let secret = pair.site.path().join("secret");
    fs::write(&secret, "not for beta").expect("a file");
    std::os::unix::fs::symlink(&secret, path("link")).expect("a link");
    fs::hard_link(&secret, path("twice")).expect("a second name");
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let long = File::create(path("long")).expect("a file");
    long.set_len(17 << 20).expect("a length");
    fs::write(path(".half"), "being writ").expect("a file");
    fs::create_dir(path("folder")).expect("a folder");
    drop_file(&folder, "sound", b"sound");
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\n\x1b[31m");
    fs::rename(path("sound"), path("x").with_file_name(odd)).expect("a name");
    drop_file(&folder, "empty", b"");

    pair.start_beta();
    pair.start_alpha();
    wait_for("the sound ones to go", PATIENCE, || {
        (names(&folder) == ["folder", "link", "long", "pipe", "twice"]).then_some(())
    });
    let words = pair.alpha.process().words();
    drop_file(&folder, "later", b"later");
    fs::remove_file(&secret).expect("it goes");
    wait_for("what has one name by now to go", PATIENCE, || {
        (names(&folder) == ["folder", "link", "long", "pipe"]).then_some(())
    });

    let said: Vec<&str> = words
        .lines()
        .filter(|l| l.contains("passed over"))
        .collect();
    assert_eq!(said.len(), 4, "{said:?}");
    for (name, why) in [
        ("link", "symbolic link"),
        ("twice", "2 hard links"),
        ("pipe", "pipe, socket or device"),
        ("long", "17825792 B"),
    ] {
        let named = |line: &&&str| line.contains(&format!("{name:?}")) && line.contains(why);
        assert!(said.iter().find(named).is_some(), "{name}: {said:?}");
    }
    assert!(path(".half").exists());
    let found = arrived(&mut pair);
    let bodies: [&[u8]; 4] = [b"sound", b"", b"later", b"not for beta"];
    let expected = bodies.map(|body| (*blake3::hash(body).as_bytes(), 1));
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn a_full_node_keeps_files_waiting_and_loses_none() {
    let (mut pair, folder) = pair(3, "1GiB");
    let small = "[storage]\nmax_bytes = \"64MiB\"\n";
    pair.alpha.home.configure("30-small", small);
    let mut dice = Dice::new(3);
    let mut body = |length| Body {
        seed: dice.draw(),
        length,
    };
    let mut bodies: Vec<Body> = (0..10).map(|_| body(8 << 20)).collect();
    bodies.extend((0..50).map(|_| body(1 << 10)));
    for (n, body) in bodies.iter().enumerate() {
        drop_file(&folder, &format!("{n:02}"), &body.bytes());
    }

    pair.start_alpha();
    wait_for("the node to be full", PATIENCE, || {
        let words = pair.alpha.process().words();
        words.contains("A spool waits").then_some(())
    });
    assert!(!names(&folder).is_empty());
    pair.start_beta();
    wait_until_empty(&folder);

    let found = arrived(&mut pair);
    let expected = bodies.iter().map(|body| (body.digest(), 1));
    assert_eq!(found, expected.collect());
}

#[test]
fn a_folder_may_come_later_and_carries_the_name_of_its_files() {
    let (mut pair, folder) = pair(4, "64MiB");
    fs::remove_dir(&folder).expect("it is empty");
    pair.start_beta();
    pair.start_alpha();
    fs::create_dir(&folder).expect("a folder");
    drop_file(&folder, "report 7.txt", b"seven");
    wait_until_empty(&folder);
    let _ = pair.alpha.wait_at_rest(PATIENCE);

    let mut list = edged_rpc::InboxList::default();
    list.page.limit = 1;
    let item = pair.beta.client().inbox(&list);
    let item = item.expect("a list").items.remove(0);

    assert_eq!(item.topic.as_deref(), Some("drops"));
    assert_eq!(
        item.labels,
        [("file".to_owned(), "report 7.txt".to_owned())].into()
    );
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}
