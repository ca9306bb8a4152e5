//! The demo as typed: real processes, real faults, real input.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

#[test]
fn made_up_segments_survive_both_faults() {
    let demo = Demo::new(&["--segments", "300", "--size", "4KiB", "--output", "json"]).run();

    let report = demo.report();
    assert_eq!(report["schema"], "demo/1");
    assert_eq!(report["bytes"], 300 * 4096);
    demo.has_delivered(300);
    demo.has_met_deliveries_at_both_faults();
    for node in ["alpha", "beta"] {
        assert!(
            report["peak_rss_bytes"][node].as_u64() > Some(1 << 20),
            "{report}"
        );
    }
    for figure in ["elapsed_seconds", "acked_per_second", "mb_per_second"] {
        assert!(report[figure].as_f64() > Some(0.0), "{report}");
    }
}

#[test]
fn odd_files_survive_both_faults() {
    let input = tempfile::tempdir().expect("a folder");
    let write = |name: &str, len: usize| {
        let bytes: Vec<u8> = (0..len).map(|n| (n / 256 + n) as u8).collect();
        let path = input.path().join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        fs::write(path, bytes).expect("written");
    };
    write("empty", 0);
    write("a/one byte", 1);
    write("a/b/häßlich\n", 100 << 10);
    write("large", 5 << 20);

    let demo = Demo::new(&["--output", "json"]).on(input.path()).run();

    demo.has_delivered(4);
    demo.has_met_deliveries_at_both_faults();
}

#[test]
fn one_small_file_is_in_flight_at_both_faults() {
    let input = tempfile::tempdir().expect("a folder");
    fs::write(input.path().join("only"), b"hello").expect("written");

    let demo = Demo::new(&[]).on(&input.path().join("only")).run();

    demo.has_met_deliveries_at_both_faults();
    let lines: Vec<&str> = demo.out.lines().collect();
    assert_eq!(
        lines[0],
        "seeded 1  acked 1  deadletter 0  waiting 0  lost 0  duplicates 0"
    );
    let second = "bytes 5 B  digests verified 1/1  abandoned and rescued 1  elapsed ";
    assert!(lines[1].starts_with(second), "{}", demo.out);
    assert_eq!(lines.len(), 2);
}

#[test]
fn without_faults_nothing_is_cut_or_killed() {
    let demo = Demo::new(&[
        "--segments",
        "50",
        "--size",
        "100KiB",
        "--no-faults",
        "--output",
        "json",
    ])
    .run();

    demo.has_delivered(50);
    assert_eq!(demo.report()["rescued"], 0);
    assert!(!demo.err.contains("cut"), "{}", demo.err);
}

#[test]
fn a_rate_is_kept() {
    let demo = Demo::new(&["--segments", "60", "--size", "10KiB", "--no-faults"])
        .with(&["--rate", "200KiB/s", "--output", "json"])
        .run();

    demo.has_delivered(60);
    // 600 KiB, of which the burst lets one second's worth go at once.
    let elapsed = demo.report()["elapsed_seconds"].as_f64();
    assert!(elapsed > Some(1.5), "{elapsed:?} s");
}

#[test]
fn a_missing_path_is_named() {
    let output = Demo::new(&["/no/such/file"]).output();

    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert_eq!(
        err,
        "edged: path /no/such/file: No such file or directory (os error 2)\n"
    );
}

#[test]
fn an_empty_folder_is_nothing_to_relay() {
    let input = tempfile::tempdir().expect("a folder");

    let output = Demo::new(&[]).on(input.path()).output();

    assert!(!output.status.success());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.starts_with("edged: nothing to relay"), "{err}");
}

/// A demo to be run in a folder of its own.
struct Demo {
    command: Command,
    /// Where it makes its temporary folder; it must leave nothing there.
    tmp: TempDir,
}

impl Demo {
    fn new(words: &[&str]) -> Self {
        let tmp = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_edged"));
        command.arg("demo").args(words).env("TMPDIR", tmp.path());
        Self { command, tmp }
    }

    fn with(mut self, words: &[&str]) -> Self {
        self.command.args(words);
        self
    }

    fn on(mut self, path: &Path) -> Self {
        self.command.arg(path);
        self
    }

    fn output(mut self) -> Output {
        self.command.output().expect("it runs")
    }

    /// Runs it to its good end.
    fn run(mut self) -> Ran {
        let output = self.command.output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let ran = Ran {
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert!(
            output.status.success(),
            "{}\n{}{}",
            output.status,
            ran.out,
            ran.err
        );
        let left = fs::read_dir(self.tmp.path()).expect("a folder").count();
        assert_eq!(left, 0, "the folder of the demo is gone");
        ran
    }
}

/// What a demo said.
struct Ran {
    out: String,
    err: String,
}

impl Ran {
    fn report(&self) -> Value {
        serde_json::from_str(&self.out).expect("one document")
    }

    fn has_delivered(&self, count: u64) {
        let report = self.report();
        for field in ["seeded", "acked", "digests_verified"] {
            assert_eq!(report[field], count, "{field}: {report}");
        }
        for field in ["deadletter", "waiting", "lost", "duplicates"] {
            assert_eq!(report[field], 0, "{field}: {report}");
        }
    }

    fn has_met_deliveries_at_both_faults(&self) {
        for fault in ["Link cut with ", "Sender killed with "] {
            let said = self.err.lines().find_map(|line| line.strip_prefix(fault));
            let count = said.and_then(|rest| rest.split(' ').next());
            let count: u64 = count.expect(fault).parse().expect("a number");
            assert!(count > 0, "{}", self.err);
        }
    }
}
