//! `exec:` — a program is run for each arrival: its bytes on standard input, its words in
//! `EDGED_*`.
//!
//! No shell is between, so that nothing a peer wrote is ever a word of a command. Exit 0
//! confirms. The program leads a process group of its own, which is ended with it,
//! however it ends: after its time, with the daemon, or by itself with children left.
//! Its standard output goes nowhere; the beginning of its standard error is in the log
//! when it fails.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use edged_rpc::InboxView;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use relay_core::sink::Tried;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, Command};

use super::pieces::Pieces;
use super::{Arrival, Ended, shown};
use crate::desk::Desk;

/// Programs that run at once.
pub(super) const AT_ONCE: usize = 4;
/// How long one may run.
const LONGEST: Duration = Duration::from_secs(60);
/// How much of its standard error is kept.
const SAID: usize = 512;
/// How long its last words may take once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What of our environment is passed on: nothing in it is meant for the program.
const PASSED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// A program for arrivals.
pub(super) struct Exec {
    program: PathBuf,
    longest: Duration,
}

impl Exec {
    pub(super) fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            longest: LONGEST,
        }
    }

    /// Runs it on each of `arrivals` in turn.
    pub(super) async fn run(&self, desk: &Desk, arrivals: Vec<Arrival>) -> Vec<Ended> {
        let mut ended = Vec::with_capacity(arrivals.len());
        for (item, view) in arrivals {
            let (tried, found) = match Pieces::of(desk, &item).await {
                Ok(pieces) => self.run_on(desk, &view, pieces).await,
                Err(found) => (Tried::Failed, found),
            };
            ended.push((item.id, tried, found));
        }
        ended
    }

    async fn run_on(&self, desk: &Desk, view: &InboxView, pieces: Pieces) -> (Tried, String) {
        let mut command = self.command(words(view));
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return (
                    Tried::Unable,
                    format!("cannot run {}: {error}", shown(&self.program)),
                );
            }
        };
        let group = Group(child.id());
        let stdin = child.stdin.take();
        let said = tokio::spawn(listen(child.stderr.take()));
        let work = async {
            let (fed, status) = tokio::join!(feed(desk, stdin, pieces, &group), child.wait());
            fed.and(status.map_err(|error| error.to_string()))
        };
        let ended = tokio::time::timeout(self.longest, work).await;
        // Whatever it has left running, too.
        drop(group);
        let said = tokio::time::timeout(LAST_WORDS, said).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        match ended {
            Ok(Ok(status)) if status.success() => (Tried::Done, String::new()),
            Ok(Ok(status)) => (Tried::Failed, with_words(&ending(status), &said)),
            Ok(Err(found)) => (Tried::Failed, found),
            Err(_) => {
                // It has been killed with its group, and is only to be fetched.
                let _ = child.wait().await;
                let found = format!("ended after {} s", self.longest.as_secs_f32());
                (Tried::Failed, with_words(&found, &said))
            }
        }
    }

    fn command(&self, words: [(&'static str, String); 11]) -> Command {
        let passed = PASSED.iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((name, value))
        });
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(passed)
            .envs(words)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// A process group that is ended when this is dropped.
struct Group(Option<u32>);

impl Group {
    fn end(&self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            // One without members is what is wanted.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes the bytes; a program that wants no more of them is left in peace.
async fn feed(
    desk: &Desk,
    stdin: Option<ChildStdin>,
    mut pieces: Pieces,
    group: &Group,
) -> Result<(), String> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    loop {
        match pieces.next(desk).await {
            Ok(Some(piece)) => {
                if stdin.write_all(&piece).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(found) => {
                // It must not take what it has for all there is.
                group.end();
                return Err(found);
            }
        }
    }
}

/// The beginning of what it says; the rest is read and thrown away.
async fn listen(stderr: Option<ChildStderr>) -> String {
    let Some(mut stderr) = stderr else {
        return String::new();
    };
    let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let room = SAID.saturating_sub(said.len()).min(read);
        said.extend_from_slice(&chunk[..room]);
    }
    String::from_utf8_lossy(&said).trim_end().to_owned()
}

fn ending(status: ExitStatus) -> String {
    status.to_string()
}

fn with_words(found: &str, said: &str) -> String {
    if said.is_empty() {
        return found.to_owned();
    }
    format!("{found}, and it said \"{}\"", said.escape_debug())
}

/// What the program may know; the same words as of `edgectl inbox follow --exec`.
fn words(item: &InboxView) -> [(&'static str, String); 11] {
    let labels = serde_json::to_string(&item.labels).expect("labels are texts");
    [
        ("EDGED_SEGMENT_ID", item.segment_id.to_string()),
        ("EDGED_ORIGIN", item.origin.clone()),
        ("EDGED_VIA", item.via.clone()),
        ("EDGED_LANE", item.lane.clone()),
        ("EDGED_LANE_SEQUENCE", item.lane_sequence.to_string()),
        ("EDGED_TOPIC", item.topic.clone().unwrap_or_default()),
        ("EDGED_LABELS", labels),
        ("EDGED_LEN", item.len.to_string()),
        ("EDGED_DIGEST", item.digest.to_string()),
        ("EDGED_RECEIVED_AT", item.received_at.to_string()),
        ("EDGED_TAKES", item.takes.to_string()),
    ]
}
