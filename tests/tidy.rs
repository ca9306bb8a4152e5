//! The rules of the house that no compiler knows, as tests.
//!
//! Each rule reads the sources and names every line that breaks it. Exceptions stand
//! here with their reasons, and one that is no longer needed fails the test too: the
//! lists can only shrink. Words in comments and literals break nothing.

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, files, root};

#[path = "tidy/source.rs"]
mod source;

/// The longest a file may be before its tests (`docs/STYLE.md`).
const LONGEST: usize = 400;

/// Files that are longer, and how long they may be. Only ever lowered.
const TOO_LONG: &[(&str, usize)] = &[];

/// What no file of `relay-core` may name: who decides owns no clock, socket or thread.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "quinn",
    "tracing",
    "Instant",
    "SystemTime",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "getrandom",
    "thread_rng",
    "RandomState",
];

/// And what only its ledger may: files, SQLite. Hash maps have no order to rely on.
const LEDGER_ONLY: &[&str] = &["std::fs", "rusqlite", "ledger::", "HashMap", "HashSet"];

/// Who may not depend on whom (`docs/ARCHITECTURE.md`, floors).
const FORBIDDEN_ARROWS: &[(&str, &[&str])] = &[
    (
        "relay-core/Cargo.toml",
        &[
            "certs",
            "edged",
            "edged-rpc",
            "edgectl",
            "tokio",
            "quinn",
            "tracing",
            "rustls",
        ],
    ),
    (
        "certs/Cargo.toml",
        &[
            "relay-core",
            "edged",
            "edged-rpc",
            "edgectl",
            "tokio",
            "quinn",
            "rusqlite",
        ],
    ),
    (
        "edged/rpc/Cargo.toml",
        &[
            "relay-core",
            "certs",
            "edged",
            "edgectl",
            "quinn",
            "rusqlite",
        ],
    ),
    (
        "edgectl/Cargo.toml",
        &["relay-core", "edged", "tokio", "quinn", "rusqlite"],
    ),
    ("edged/Cargo.toml", &["edgectl", "rusqlite"]),
];

/// Ways to read a clock.
const CLOCKS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "UnixTime::now",
    "clock_gettime",
    "DefaultTimeProvider",
];

/// Who reads one in `edged` and `certs`, and why.
const MAY_READ_CLOCKS: &[(&str, &str)] = &[
    (
        "certs/src/lib.rs",
        "hands on rustls's own clock, and reads nothing",
    ),
    ("edged/src/clock.rs", "the one reader of the daemon"),
    (
        "edged/src/command.rs",
        "edged init is one moment, read before anything runs",
    ),
    (
        "edged/src/daemon.rs",
        "rustls asks for the time itself, in each handshake",
    ),
    (
        "edged/src/demo",
        "stands outside both daemons and measures them",
    ),
];

/// Tests that sleep, and why that is no guess at a duration.
const MAY_SLEEP: &[(&str, &str)] = &[
    (
        "benches/lib.rs",
        "asks for a condition again, up to a bound",
    ),
    (
        "tests/harness/daemon",
        "asks for a condition of another process again, up to a bound",
    ),
    (
        "tests/harness/proxy.rs",
        "a late datagram is what it is there to make",
    ),
    (
        "tests/limits.rs",
        "what passes within a time is what a rate is about",
    ),
    (
        "tests/node.rs",
        "asks a file for the time again; nothing waits for it",
    ),
    (
        "tests/memory.rs",
        "the least of several looks, a moment apart",
    ),
    (
        "tests/packs.rs",
        "asks for what has arrived again, and samples a folder's size until told to stop",
    ),
];

/// Words that are drafts.
const DRAFTS: &[&str] = &["todo!", "dbg!", "unimplemented!"];

#[test]
fn every_file_begins_with_its_doorway() {
    let sources = files("rs");
    let without = sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "));

    none(
        "a file begins with `//!` and says what it is",
        without.map(|s| s.path.clone()),
    );
}

#[test]
fn no_production_file_is_longer_than_a_sitting() {
    let bounds: BTreeMap<&str, usize> = TOO_LONG.iter().copied().collect();
    let mut wrong = Vec::new();

    for source in files("rs").iter().filter(|source| !source.is_test()) {
        let lines = source.production_lines();
        match bounds.get(source.path.as_str()) {
            None if lines > LONGEST => wrong.push(format!("{}: {lines} lines", source.path)),
            Some(_) if lines <= LONGEST => {
                wrong.push(format!("{}: fits, take it off TOO_LONG", source.path));
            }
            Some(bound) if lines > *bound => {
                wrong.push(format!(
                    "{}: grew to {lines} lines from {bound}",
                    source.path
                ));
            }
            Some(_) | None => {}
        }
    }

    none("a file holds one idea, in at most 400 lines", wrong);
}

#[test]
fn the_core_knows_no_clock_socket_thread_or_chance() {
    let mut wrong = Vec::new();
    for source in files("rs")
        .iter()
        .filter(|s| s.path.starts_with("relay-core/src/"))
    {
        wrong.extend(naming(source, NOT_IN_CORE));
        if !source.path.starts_with("relay-core/src/ledger") {
            wrong.extend(naming(source, LEDGER_ONLY));
        }
    }

    none(
        "relay-core takes what it needs as arguments, and only its ledger has a disk",
        wrong,
    );
}

#[test]
fn crates_name_only_what_lies_below_them() {
    let manifests = files("toml");
    let mut wrong = Vec::new();

    for (path, forbidden) in FORBIDDEN_ARROWS {
        let manifest = manifests.iter().find(|manifest| manifest.path == *path);
        let manifest = manifest.unwrap_or_else(|| panic!("{path} is there"));
        let named = dependencies(&manifest.text);
        let bad = forbidden.iter().filter(|name| named.contains(**name));
        wrong.extend(bad.map(|name| format!("{path} names {name}")));
    }

    let rpc = manifests.iter().find(|m| m.path == "edged/rpc/Cargo.toml");
    let optional = "\ntokio = { workspace = true, optional = true }\n";
    if !rpc.is_some_and(|manifest| manifest.text.contains(optional)) {
        wrong.push("edged/rpc/Cargo.toml has tokio other than behind a feature".to_owned());
    }

    none("arrows point down only", wrong);
}

#[test]
fn only_named_files_read_clocks() {
    let read = |source: &Source| {
        let ours = ["edged/src/", "certs/src/"]
            .iter()
            .any(|dir| source.path.starts_with(dir));
        ours && !source.is_test()
    };

    only(
        "clocks are read by edged/src/clock.rs",
        read,
        CLOCKS,
        MAY_READ_CLOCKS,
    );
}

#[test]
fn no_program_we_ship_can_be_told_that_time_has_passed() {
    let here = |source: &Source| source.path != "edged/src/clock.rs";

    only(
        "edged::clock::sleep_for is for tests",
        here,
        &["sleep_for"],
        &[(
            "tests/node.rs",
            "the binary of tests, which nobody installs",
        )],
    );
    let clock = files("rs");
    let clock = clock.iter().find(|s| s.path == "edged/src/clock.rs");
    let named = naming(clock.expect("it is there"), &["sleep_for"]);
    assert_eq!(
        named.len(),
        1,
        "it is defined there and not called: {named:?}"
    );
}

#[test]
fn no_test_guesses_how_long_something_takes() {
    let sleeps = ["thread::sleep", "time::sleep"];

    only(
        "a test waits for a condition",
        Source::is_test,
        &sleeps,
        MAY_SLEEP,
    );
}

#[test]
fn no_test_is_ignored_and_no_draft_is_left() {
    let mut wrong = Vec::new();
    for source in &files("rs") {
        wrong.extend(naming(source, &["#[ignore"]));
        wrong.extend(naming(source, DRAFTS));
    }

    none("what is there runs", wrong);
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in &files("md") {
        let folder = root().join(&document.path);
        let folder = folder.parent().expect("a document lies in a folder");
        for target in links(&document.text).filter(|target| !folder.join(target).exists()) {
            wrong.push(format!("{} links to {target}", document.path));
        }
    }

    none("a document names what is there", wrong);
}

#[test]
fn the_map_of_the_core_names_every_file() {
    let page = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("it is there");
    let table: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| *"))
        .collect();
    let named: Vec<&str> = table
        .iter()
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .collect();
    let mut wrong = Vec::new();
    for source in &files("rs") {
        let path = &source.path;
        let inside = path
            .strip_prefix("relay-core/src/")
            .map(|path| path.trim_end_matches(".rs"));
        let Some(name) = inside.filter(|name| *name != "lib") else {
            continue;
        };
        let name = match name.split_once('/') {
            None => name,
            Some(("scheduler" | "ledger", name)) if !name.contains('/') => name,
            Some(_) => continue,
        };
        if !named.contains(&name) {
            wrong.push(format!("{path} is in no layer of docs/ARCHITECTURE.md"));
        }
    }
    let layers: BTreeSet<&str> = table
        .iter()
        .filter_map(|row| row.split('*').nth(1))
        .collect();
    if layers.len() != table.len() {
        wrong.push("a layer stands there twice".to_owned());
    }

    none("the map is the territory", wrong);
}

/// Fails with one line for each breach.
fn none(rule: &str, wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

/// Of the sources chosen, only those allowed name any of `words`, and all those do.
fn only(rule: &str, chosen: impl Fn(&Source) -> bool, words: &[&str], allowed: &[(&str, &str)]) {
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for source in files("rs").iter().filter(|source| chosen(source)) {
        let found = naming(source, words);
        match allowed
            .iter()
            .find(|(path, _)| source.path.starts_with(path))
        {
            Some((path, _)) if !found.is_empty() => drop(used.insert(*path)),
            Some(_) => {}
            None => wrong.extend(found),
        }
    }
    let idle = allowed.iter().filter(|(path, _)| !used.contains(path));
    wrong.extend(idle.map(|(path, why)| format!("{path} needs no leave any more ({why})")));

    none(rule, wrong);
}

/// The lines of `source` whose code names one of `words`.
fn naming(source: &Source, words: &[&str]) -> Vec<String> {
    let code = source.code();
    let lines = code.lines().enumerate();
    let found = lines.flat_map(|(at, line)| {
        let here = words.iter().filter(move |word| names(line, word));
        here.map(move |word| format!("{}:{}: {word}", source.path, at + 1))
    });
    found.collect()
}

/// Whether `word` stands in `line` and not as a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = word.ends_with(part) && after.is_some_and(part);
        let shut = word.starts_with(part) && before.is_some_and(part);
        !open && !shut
    })
}

/// The dependencies of a manifest, those of its tests and build included.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let (mut inside, mut named) = (false, BTreeSet::new());
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            inside = header.trim_end_matches(']').ends_with("dependencies");
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            named.extend(line.split(['.', ' ', '=']).next());
        }
    }
    named
}

/// The targets of Markdown links that are paths, without anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let paths = targets.map(|target| target.split('#').next().unwrap_or_default());
    paths.filter(|path| !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:"))
}
