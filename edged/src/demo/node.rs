//! One node of the demo: a daemon in a process of its own.
//!
//! Owns the process, its folder and its log. Whatever happens to the demo, the
//! process ends: on drop, and by the kernel when the demo itself is killed. Only
//! [`Node::leave`] lets it live on.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use certs::UnixTime;
use edged_rpc::{Client, ClientError};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::watch::Watch;
use crate::init;

/// A daemon that opens no socket for so long will not.
const START: Duration = Duration::from_secs(30);
/// A daemon that drains for so long hangs.
const STOP: Duration = Duration::from_secs(60);
/// A call of which nothing moves for so long is over.
const CALL: Duration = Duration::from_secs(30);
/// Lines of a log that an error quotes.
const TAIL: usize = 12;

/// Whether a daemon outlives the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leash {
    /// It ends when the demo does, however that ends.
    Held,
    /// It is killed on drop alone, so that it can be left running.
    Loose,
}

/// A daemon of the demo, running or not.
#[derive(Debug)]
pub(super) struct Node {
    binary: PathBuf,
    places: init::Report,
    log: PathBuf,
    child: Option<Child>,
    peak_rss: u64,
}

impl Node {
    /// A node called `name` with a folder of that name in `dir`, its certificate
    /// signed by the CA in `ca` or by one of its own, listening on `port`.
    ///
    /// # Errors
    /// What `edged init` would say.
    pub(super) fn set_up(
        dir: &Path,
        name: &str,
        binary: &Path,
        ca: Option<&Path>,
        port: u16,
    ) -> Result<Self> {
        let folder = dir.join(name);
        let options = init::Options {
            node: name.parse().context("node id")?,
            dir: Some(folder.clone()),
            ca: ca.map(Path::to_owned),
            peers: Vec::new(),
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            now: UnixTime::now(),
        };
        let places = init::init(&options).with_context(|| format!("cannot set up {name}"))?;
        fs::create_dir(folder.join("conf.d")).context("folder conf.d")?;
        let log = folder.join("edged.log");
        Ok(Self {
            binary: binary.to_owned(),
            places,
            log,
            child: None,
            peak_rss: 0,
        })
    }

    /// Lays `text` over the config; it counts from the next start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn configure(&self, text: &str) -> Result<()> {
        let file = self
            .places
            .config
            .with_file_name("conf.d")
            .join("demo.toml");
        fs::write(&file, text).with_context(|| format!("file {}", file.display()))
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// It ends or stays silent; its last words are quoted.
    pub(super) fn start(&mut self, leash: Leash, watch: &Watch<'_>) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("file {}", self.log.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(&self.places.config);
        // What the caller set for daemons of its own is not meant for these.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"EDGED_") {
                command.env_remove(name);
            }
        }
        // A ctrl-C is for the demo: it stops its nodes in its own order.
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        if leash == Leash::Held {
            die_with_us(&mut command);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        self.child = Some(child);
        let name = self.name();
        watch
            .until(&format!("{name} to answer"), START, || {
                if let Some(status) = self.ended()? {
                    bail!("{name} ended with {status}");
                }
                match Client::connect(&self.places.socket, CALL) {
                    Ok(_) => Ok(Some(())),
                    Err(ClientError::NoDaemon { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            })
            .with_context(|| self.last_words())
    }

    /// A conversation with the daemon.
    ///
    /// # Errors
    /// Nobody answers; the log is quoted.
    pub(super) fn client(&self) -> Result<Client> {
        Client::connect(&self.places.socket, CALL).with_context(|| self.last_words())
    }

    /// SIGKILL: no word of farewell, nothing written any more.
    ///
    /// # Errors
    /// It does not run, or the system refuses.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.note_peak();
        let name = self.name();
        let mut child = self
            .child
            .take()
            .with_context(|| format!("{name} does not run"))?;
        child
            .kill()
            .with_context(|| format!("cannot kill {name}"))?;
        child
            .wait()
            .with_context(|| format!("cannot wait for {name}"))?;
        Ok(())
    }

    /// SIGTERM, and waits until it has drained and gone.
    ///
    /// # Errors
    /// It does not go, or not as it should; its last words are quoted.
    pub(super) fn stop(&mut self, watch: &Watch<'_>) -> Result<()> {
        self.note_peak();
        let name = self.name();
        let pid = self.pid().with_context(|| format!("{name} does not run"))?;
        kill(pid, Signal::SIGTERM).with_context(|| format!("cannot signal {name}"))?;
        let ended = watch
            .until(&format!("{name} to stop"), STOP, || self.ended())
            .with_context(|| self.last_words())?;
        self.child = None;
        if !ended.success() {
            return Err(anyhow::anyhow!("{name} stopped with {ended}").context(self.last_words()));
        }
        Ok(())
    }

    /// Lets the daemon live on when this value goes; its process id, if it runs.
    pub(super) fn leave(&mut self) -> Option<Pid> {
        let pid = self.pid();
        self.child = None;
        pid
    }

    /// The most memory it held in any of its lives, as far as noted.
    pub(super) fn peak_rss(&mut self) -> u64 {
        self.note_peak();
        self.peak_rss
    }

    /// Its socket.
    #[must_use]
    pub(super) fn socket(&self) -> &Path {
        &self.places.socket
    }

    /// The folder of the CA that signed its certificate.
    #[must_use]
    pub(super) fn ca(&self) -> &Path {
        &self.places.ca
    }

    /// What to say of its log beside an error.
    #[must_use]
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n  ");
        format!("{}, whose log ends\n  {tail}\n", self.name())
    }

    fn name(&self) -> String {
        self.places.node.to_string()
    }

    fn pid(&self) -> Option<Pid> {
        let id = self.child.as_ref()?.id();
        i32::try_from(id).ok().map(Pid::from_raw)
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        child.try_wait().context("cannot wait for a node")
    }

    /// `VmHWM` dies with the process, so it is read before each end.
    fn note_peak(&mut self) {
        let read = self
            .pid()
            .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let peak = read.as_deref().and_then(peak_of).unwrap_or(0);
        self.peak_rss = self.peak_rss.max(peak);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks the kernel to kill the child when this thread is gone, however it goes:
/// the demo starts its nodes from the thread that runs it to the end.
fn die_with_us(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call; it takes
    // no lock and allocates nothing.
    #[expect(unsafe_code, reason = "the one way to be heard between fork and exec")]
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
}

/// Bytes of `VmHWM` in the text of `/proc/PID/status`.
fn peak_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_what_the_kernel_says() {
        let status = "Name:\tedged\nVmPeak:\t  9 kB\nVmHWM:\t   12345 kB\nThreads:\t4\n";

        assert_eq!(peak_of(status), Some(12_345 * 1024));
        assert_eq!(peak_of("Name:\tedged\n"), None);
    }
}
