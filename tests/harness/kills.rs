//! Processes to be killed: the running test program once more, with one of its tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the folder to the child.
const FOLDER: &str = "EDGED_CHILD_FOLDER";

/// This program again, running its test `name` on `folder`; what it prints is piped.
///
/// # Panics
/// If it cannot be run.
#[must_use]
pub fn child(name: &str, folder: &Path) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "-q"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// The folder a child works on; `None` in a test that nobody runs as one.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// Kills `child` when it has run for `time`, wherever it is then; whether it was still
/// running.
///
/// # Panics
/// If it failed by itself.
pub fn kill_after(mut child: Child, time: Duration) -> bool {
    // The moment is drawn: there is nothing to wait for.
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::yield_now();
    }
    child.kill().expect("it can be killed");
    let ended = child.wait().expect("it has ended");
    assert!(ended.success() || ended.code().is_none(), "it failed");
    ended.code().is_none()
}
