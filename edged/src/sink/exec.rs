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

use bytes::Bytes;
use edged_rpc::InboxView;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use relay_core::sink::Tried;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, Command};

use super::pieces::{Bad, Pieces};
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
                Ok(pieces) => self.run_on(words(&view), Feed { desk, pieces }).await,
                Err(bad) => bad,
            };
            ended.push((item.id, tried, found));
        }
        ended
    }

    async fn run_on(
        &self,
        words: impl IntoIterator<Item = (&'static str, String)>,
        source: impl Source,
    ) -> (Tried, String) {
        let mut command = self.command(words);
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
            let lost = |error: std::io::Error| (Tried::Failed, error.to_string());
            tokio::select! {
                biased;
                fed = feed(stdin, source, &group) => fed.and(child.wait().await.map_err(lost)),
                // It wants no more bytes, though something it left running may hold the pipe.
                status = child.wait() => status.map_err(lost),
            }
        };
        let ended = tokio::time::timeout(self.longest, work).await;
        // Whatever it has left running, too.
        drop(group);
        let said = tokio::time::timeout(LAST_WORDS, said).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        match ended {
            Ok(Ok(status)) if status.success() => (Tried::Done, String::new()),
            Ok(Ok(status)) => (Tried::Failed, with_words(&ending(status), &said)),
            Ok(Err(bad)) => bad,
            Err(_) => {
                // It has been killed with its group, and is only to be fetched.
                let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
                let found = format!("ended after {} s", self.longest.as_secs_f32());
                (Tried::Failed, with_words(&found, &said))
            }
        }
    }

    fn command(&self, words: impl IntoIterator<Item = (&'static str, String)>) -> Command {
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

/// Where the bytes for a program come from.
trait Source {
    /// The next of them; `None` at the end, and why where they are not what they should be.
    async fn next(&mut self) -> Result<Option<Bytes>, Bad>;
}

/// The bytes of one arrival.
struct Feed<'a> {
    desk: &'a Desk,
    pieces: Pieces,
}

impl Source for Feed<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Bad> {
        self.pieces.next(self.desk).await
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
    stdin: Option<ChildStdin>,
    mut source: impl Source,
    group: &Group,
) -> Result<(), Bad> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    loop {
        match source.next().await {
            Ok(Some(piece)) => {
                if stdin.write_all(&piece).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(bad) => {
                // It must not take what it has for all there is.
                group.end();
                return Err(bad);
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program cannot be run while another thread's new process still has it open.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// A word of so many bytes, and whether they go bad at their end.
    struct Sample(usize, bool);

    impl Source for Sample {
        async fn next(&mut self) -> Result<Option<Bytes>, Bad> {
            let more = self.0.min(1 << 20);
            self.0 -= more;
            match (more, self.1) {
                (0, true) => Err((Tried::Failed, "bad".to_owned())),
                (0, false) => Ok(None),
                _ => Ok(Some(Bytes::from(vec![b'x'; more]))),
            }
        }
    }

    struct Site(tempfile::TempDir);

    impl Site {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn said(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap_or_default()
        }

        /// Runs these lines of shell in the site's folder.
        async fn run(&self, lines: &str, source: Sample, longest: Duration) -> (Tried, String) {
            let _alone = ALONE.lock().await;
            let program = self.path("program");
            let text = format!("#!/bin/sh\ncd {}\n{lines}\n", self.0.path().display());
            fs::write(&program, text).expect("a file");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can run");
            let exec = Exec { program, longest };
            exec.run_on([("EDGED_TOPIC", "a b".to_owned())], source)
                .await
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn exit_0_is_done_whether_it_reads_or_not_and_all_else_is_not() {
        let site = Site::new();

        let read = site.run(
            "wc -c > n; echo $EDGED_TOPIC > t",
            Sample(5 << 20, false),
            LONG,
        );
        assert_eq!(read.await, (Tried::Done, String::new()));
        assert_eq!(
            (site.said("n").trim(), site.said("t").as_str()),
            ("5242880", "a b\n")
        );
        let deaf = site.run("exit 0", Sample(5 << 20, false), LONG).await;
        assert_eq!(deaf.0, Tried::Done);
        let failed = site
            .run("echo \"no\nroom\" >&2; exit 3", Sample(1, false), LONG)
            .await;
        let found = r#"exit status: 3, and it said "no\nroom""#;
        assert_eq!(failed, (Tried::Failed, found.to_owned()));
        let killed = site.run("kill -9 $$", Sample(1, false), LONG).await;
        assert_eq!(killed.0, Tried::Failed);
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended_with_its_children() {
        let site = Site::new();
        let lines = "sleep 86400 & echo $! > child; sleep 86400";

        let (tried, found) = site
            .run(lines, Sample(1, false), Duration::from_millis(300))
            .await;

        assert_eq!(
            (tried, found.as_str()),
            (Tried::Failed, "ended after 0.3 s")
        );
        let stat = format!("/proc/{}/stat", site.said("child").trim());
        let gone = async {
            while !is_gone(&stat) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let gone = tokio::time::timeout(LONG, gone).await;
        assert!(gone.is_ok(), "{:?}", fs::read_to_string(stat));
    }

    /// A process that was killed is there for a moment more, until it has been scheduled.
    fn is_gone(stat: &str) -> bool {
        let stat = fs::read_to_string(stat).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        matches!(state, None | Some('Z' | 'X'))
    }

    #[tokio::test]
    async fn a_child_left_behind_ends_and_holds_nothing_up() {
        let site = Site::new();

        let done = site
            .run("sleep 86400 3<&0 & exit 0", Sample(5 << 20, false), LONG)
            .await;

        assert_eq!(done.0, Tried::Done);
    }

    #[tokio::test]
    async fn bytes_that_are_bad_are_never_taken_for_whole() {
        let site = Site::new();

        let ended = site
            .run("cat > all && echo whole > done", Sample(100, true), LONG)
            .await;

        assert_eq!(ended, (Tried::Failed, "bad".to_owned()));
        assert_eq!(site.said("done"), "");
    }

    #[tokio::test]
    async fn what_it_says_is_cut_and_what_cannot_be_run_is_no_arrivals_fault() {
        let site = Site::new();

        let loud = site.run(
            "yes >&2 & yes | head -c 9999999 >&2; exit 1",
            Sample(1, false),
            LONG,
        );
        let (tried, found) = loud.await;
        assert_eq!(tried, Tried::Failed);
        assert!(found.len() < 4 * SAID, "{}", found.len());
        let exec = Exec::new(&site.path("nowhere"));
        let (tried, found) = exec.run_on([], Sample(1, false)).await;
        assert_eq!(tried, Tried::Unable);
        assert!(found.contains("nowhere"), "{found}");
    }
}
