//! What benches share: two real `edged` processes on the config that
//! `edged init` writes, and what the system says of them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use edged::config::{Address, PeerName};
use edged_rpc::Client;

/// Two nodes that know each other: `alpha` sends, `beta` receives.
#[derive(Debug)]
pub struct Pair {
    /// The sender.
    pub alpha: Node,
    /// The receiver.
    pub beta: Node,
    _folder: tempfile::TempDir,
}

/// One running daemon.
#[derive(Debug)]
pub struct Node {
    child: Child,
    binary: String,
    dir: PathBuf,
    socket: PathBuf,
    state: PathBuf,
    rescued: u64,
}

impl Pair {
    /// Sets two nodes up and starts them; `binary` runs `edged`'s main.
    ///
    /// # Errors
    /// What init, the operating system or the daemons said.
    pub fn start(binary: &str) -> anyhow::Result<Self> {
        Self::start_with(binary, "")
    }

    /// The same, with `more` beside the sender's config.
    ///
    /// # Errors
    /// As [`Pair::start`].
    pub fn start_with(binary: &str, more: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = [free_port()?, free_port()?];
        let alpha = folder.path().join("alpha");
        let beta = folder.path().join("beta");
        init(&alpha, "alpha", ports[0], None, ("beta", ports[1]))?;
        init(
            &beta,
            "beta",
            ports[1],
            Some(alpha.join("ca")),
            ("alpha", ports[0]),
        )?;
        let beside = alpha.join("conf.d");
        std::fs::create_dir_all(&beside)?;
        std::fs::write(beside.join("50-bench.toml"), more)?;
        let beta = Node::start(binary, &beta)?;
        let alpha = Node::start(binary, &alpha)?;
        Ok(Self {
            alpha,
            beta,
            _folder: folder,
        })
    }
}

fn init(
    dir: &Path,
    node: &str,
    port: u16,
    ca: Option<PathBuf>,
    peer: (&str, u16),
) -> anyhow::Result<()> {
    let address = Address {
        host: "127.0.0.1".into(),
        port: peer.1,
    };
    let options = edged::init::Options {
        node: node.parse()?,
        dir: Some(dir.to_path_buf()),
        ca,
        peers: vec![(PeerName::Node(peer.0.parse()?), address)],
        listen: Some(([127, 0, 0, 1], port).into()),
        now: certs::UnixTime::now(),
    };
    edged::init::init(&options).map(drop)
}

/// A UDP port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Node {
    fn start(binary: &str, dir: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(binary)
            .args(["run", "--config"])
            .arg(dir.join("edged.toml"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("it was asked for")?;
        let mut log = BufReader::new(stderr);
        let mut said = String::new();
        while !said.contains("Started") {
            let from = said.len();
            anyhow::ensure!(
                log.read_line(&mut said)? > 0,
                "{binary} ended: {}",
                &said[..from]
            );
        }
        // The pipe is read to its end, or a full one would stop the daemon.
        std::thread::spawn(move || log.read_to_string(&mut String::new()));
        let rescued = said
            .split_whitespace()
            .find_map(|word| word.strip_prefix("rescued="));
        Ok(Self {
            child,
            binary: binary.to_owned(),
            dir: dir.to_path_buf(),
            socket: dir.join("rpc.sock"),
            state: dir.join("state"),
            rescued: rescued
                .and_then(|count| count.parse().ok())
                .context("it says so")?,
        })
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again; answers how long it took until it said that it has started.
    ///
    /// # Errors
    /// What the operating system or the daemon said.
    pub fn start_again(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let again = Self::start(&self.binary, &self.dir)?;
        let took = begun.elapsed();
        *self = again;
        Ok(took)
    }

    /// Deliveries it found in flight when it started.
    #[must_use]
    pub const fn rescued(&self) -> u64 {
        self.rescued
    }

    /// A conversation with the daemon.
    ///
    /// # Errors
    /// What the client said.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.socket, Duration::from_secs(30))?)
    }

    /// Deliveries settled so far, by the ledger's own books.
    ///
    /// # Errors
    /// What the client said.
    pub fn acked(client: &mut Client) -> anyhow::Result<u64> {
        Ok(client.counters()?.books.iter().map(|book| book.acked).sum())
    }

    /// CPU time used so far, of all threads.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat
            .rsplit_once(')')
            .context("a stat line names its command")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or(0))
            .sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The greatest resident set so far, in bytes.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn peak_rss(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    /// The resident set as it is, in bytes.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn rss(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, figure: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(figure));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024)
    }

    /// Where its state lies.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done` holds, asking again every millisecond.
///
/// # Errors
/// When it does not within `limit`, or `done` errs.
pub fn wait_until(
    limit: Duration,
    mut done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    while !done()? {
        anyhow::ensure!(start.elapsed() < limit, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
