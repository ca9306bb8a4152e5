//! What the fuzzers found worth keeping, played again (`fuzz/corpus`, `fuzzed`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzzed::{TARGETS, Target};
use harness::seeds::say;

/// Files of one corpus at most, and their bytes: it is checked in.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 200 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The files of a folder, by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

fn play(name: &str) {
    let target: &Target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .expect("a target of that name");
    let corpus = files(&fuzz().join("corpus").join(name));
    assert!(!corpus.is_empty(), "nothing to play");
    let mut bytes = 0;
    for path in &corpus {
        let input = fs::read(path).expect("a file of the corpus");
        bytes += input.len() as u64;
        // Whatever breaks is named above its own panic.
        let played = std::panic::catch_unwind(|| (target.play)(&input));
        assert!(played.is_ok(), "{} breaks a promise", path.display());
    }
    say(&format!("  {name}: {} inputs, {bytes} B", corpus.len()));
    assert!(corpus.len() <= MOST_FILES, "{} files", corpus.len());
    assert!(bytes <= MOST_BYTES, "{bytes} B");
}

#[test]
fn frames_of_peers_are_refused_or_sound() {
    play("wire");
}

#[test]
fn frames_of_local_clients_are_refused_or_sound() {
    play("rpc");
}

#[test]
fn a_config_is_refused_or_means_something() {
    play("config");
}

#[test]
fn words_are_refused_or_read_back() {
    play("words");
}

#[test]
fn a_ledger_that_was_written_to_opens_or_says_why_not() {
    play("ledger");
}

#[test]
fn files_beside_the_ledger_are_passed_over_or_read() {
    play("files");
}

#[test]
fn every_target_has_a_fuzzer_and_a_corpus_and_none_else_has() {
    let named: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    let stems = |dir: &str| -> BTreeSet<String> {
        let found = files(&fuzz().join(dir));
        let stem = |path: &PathBuf| path.file_stem().map(|s| s.to_string_lossy().into_owned());
        found.iter().filter_map(stem).collect()
    };

    assert_eq!(stems("fuzz_targets"), named);
    assert_eq!(stems("corpus"), named);
}
