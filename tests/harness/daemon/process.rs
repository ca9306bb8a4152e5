//! One running daemon: it is ready when it says so, its words are kept, and it ends.
//!
//! Standard error is read by a thread from start to end: the line `Started` is
//! readiness and tells the port, the end of the stream is the end of the process.
//! A process that is dropped is killed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Home, PATIENCE};

/// Lines kept for a failure's message.
const LINES: usize = 60;
/// A line is kept up to here: at level trace they are long.
const LINE: usize = 400;

/// A running daemon.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    heard: Arc<Heard>,
    listener: Option<JoinHandle<()>>,
    started: Started,
}

/// What a daemon says of itself when it has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Started {
    pid: u32,
    quic: SocketAddr,
    rescued: u64,
}

#[derive(Debug, Default)]
struct Heard {
    words: Mutex<Words>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Words {
    lines: VecDeque<String>,
    started: Option<Started>,
    ended: bool,
}

impl Process {
    /// Starts `program` on `home`, under `tracer` if it is not empty, and waits
    /// until it has started.
    ///
    /// # Panics
    /// If it does not start, with what it said.
    #[must_use]
    pub fn start(program: &str, home: &Home, tracer: &[&str]) -> Self {
        let words: Vec<&str> = tracer.iter().copied().chain([program, "run"]).collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg("--config")
            .arg(home.config())
            .env("RELAY_TEST_CLOCK", home.clock())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", words[0]));
        let heard = Arc::new(Heard::default());
        let stderr = child.stderr.take().expect("it is piped");
        let (inside, pid) = (Arc::clone(&heard), child.id());
        let listener = std::thread::spawn(move || listen(stderr, pid, &inside));
        let name = home.name().to_owned();
        let started = heard
            .wait(|words| words.started.is_some() || words.ended)
            .started;
        let Some(started) = started else {
            // It has ended, or it hangs: either way it is of no more use.
            let _ = child.kill();
            let status = child.wait();
            panic!("{name} did not start ({status:?}); {}", heard.told(&name))
        };
        Self {
            child,
            name,
            heard,
            listener: Some(listener),
            started,
        }
    }

    /// Where it listens for other nodes.
    #[must_use]
    pub const fn quic(&self) -> SocketAddr {
        self.started.quic
    }

    /// Deliveries it found open when it started.
    #[must_use]
    pub const fn rescued(&self) -> u64 {
        self.started.rescued
    }

    /// Its process id; a tracer's, if it runs under one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last it said, for a failure's message.
    #[must_use]
    pub fn words(&self) -> String {
        self.heard.told(&self.name)
    }

    /// Stops it in the middle of whatever it does; it neither ends nor answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Ends it as a power cut would.
    ///
    /// # Panics
    /// If it had ended before by itself, with what it said.
    pub fn kill9(mut self) {
        assert!(
            !self.heard.lock().ended,
            "it ended by itself; {}",
            self.words()
        );
        self.child.kill().expect("a process of ours can be killed");
        let status = self.reap();
        assert_eq!(
            status.signal(),
            Some(9),
            "it ended by itself; {}",
            self.words()
        );
    }

    /// Whether it has not ended by itself.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.heard.lock().ended
    }

    /// Waits until it has died of a panic of its own.
    ///
    /// # Panics
    /// If it goes on, or ends in another way, with what it said.
    pub fn wait_for_panic(mut self) {
        let ended = self.heard.wait(|words| words.ended).ended;
        assert!(ended, "it does not die; {}", self.words());
        let status = self.reap();
        assert_eq!(status.signal(), Some(6), "{status}; {}", self.words());
    }

    /// Waits until it has ended by itself with an error; what it said last.
    ///
    /// # Panics
    /// If it goes on, or ends in another way, with what it said.
    #[must_use]
    pub fn wait_for_failure(mut self) -> String {
        let ended = self.heard.wait(|words| words.ended).ended;
        assert!(ended, "it does not end; {}", self.words());
        let status = self.reap();
        let is_error = status.code().is_some_and(|code| code != 0);
        assert!(is_error, "{status}; {}", self.words());
        self.words()
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// If it does not, or says that something was wrong.
    pub fn terminate(mut self) {
        self.ask_to_end();
        assert!(
            self.heard.wait(|words| words.ended).ended,
            "it does not end; {}",
            self.words()
        );
        let status = self.reap();
        assert!(status.success(), "{status}; {}", self.words());
    }

    /// A figure of `/proc/PID/status` that is given in kB, such as `VmRSS`, in bytes.
    ///
    /// # Panics
    /// If there is no such line.
    #[must_use]
    pub fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.started.pid));
        let status = status.expect("a running process has a status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.expect("a figure in kB") << 10
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.started.pid).expect("a process id is an i32");
        kill(Pid::from_raw(pid), signal).expect("a process of ours can be signalled");
    }

    fn reap(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("a child can be waited for");
        if let Some(listener) = self.listener.take() {
            // What it panicked about has been printed.
            let _ = listener.join();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.listener.is_some() {
            // It may have ended by itself.
            let _ = self.child.kill();
            if self.started.pid != self.child.id() {
                self.signal(Signal::SIGKILL);
            }
            self.reap();
        }
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, enough: impl Fn(&Words) -> bool) -> MutexGuard<'_, Words> {
        let waiting = |words: &mut Words| !enough(words);
        let waited = self.more.wait_timeout_while(self.lock(), PATIENCE, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn told(&self, name: &str) -> String {
        // The last words may still be under way.
        let words = self
            .more
            .wait_timeout(self.lock(), Duration::from_millis(100));
        let words = words.unwrap_or_else(PoisonError::into_inner).0;
        let lines: Vec<&str> = words.lines.iter().map(String::as_str).collect();
        format!("{name} said:\n{}", lines.join("\n"))
    }
}

fn listen(stderr: ChildStderr, pid: u32, heard: &Heard) {
    for line in BufReader::new(stderr).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line[..line.len().min(LINE)]).into_owned();
        let mut words = heard.lock();
        if words.started.is_none() {
            words.started = started(&line, pid);
        }
        if words.lines.len() == LINES {
            words.lines.pop_front();
        }
        words.lines.push_back(line);
        heard.more.notify_all();
    }
    heard.lock().ended = true;
    heard.more.notify_all();
}

/// Reads the line by which a daemon says that it has started.
fn started(line: &str, pid: u32) -> Option<Started> {
    let (_, fields) = line.split_once(" Started ")?;
    let field = |name: &str| fields.split(' ').find_map(|word| word.strip_prefix(name));
    Some(Started {
        pid: daemon_of(pid),
        quic: field("quic=")?.parse().ok()?,
        rescued: field("rescued=")?.parse().ok()?,
    })
}

/// The process itself, or the one child of a tracer.
fn daemon_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let child = children
        .ok()
        .and_then(|all| all.split_whitespace().next()?.parse().ok());
    child.unwrap_or(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_started_tells_the_port() {
        let line = "2026-01-01T00:00:00Z  INFO edged::daemon: Started node=alpha epoch=1 \
                    rescued=7 quic=127.0.0.1:40123 socket=/tmp/rpc.sock";

        let found = started(line, std::process::id()).expect("it says so");

        assert_eq!(found.quic, "127.0.0.1:40123".parse().expect("an address"));
        assert_eq!(found.rescued, 7);
        assert_eq!(started("2026 INFO edged: Draining", 1), None);
    }
}
