//! Where nodes live: one folder, one CA, a config for each as `edged init` writes it.
//!
//! A node listens on a port the system chooses and says which when it starts;
//! tests that know no fixed port cannot collide.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::{DefaultTimeProvider, TimeProvider};
use edged::config::PeerName;
use edged::init::{self, Options, Report};
use tempfile::TempDir;

/// A folder in which nodes of one trust domain are set up; gone when dropped.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    ca: Option<PathBuf>,
    /// Time that passed beyond what did.
    passed: Duration,
}

/// What tells the nodes that live in `site` how much time has passed.
fn clock_in(site: &Path) -> PathBuf {
    site.join("clock")
}

impl Site {
    /// An empty one.
    ///
    /// # Panics
    /// If the system gives no folder.
    #[must_use]
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            ca: None,
            passed: Duration::ZERO,
        }
    }

    /// Sets `name` up with these peers; the first node makes the CA.
    ///
    /// # Panics
    /// If `init` refuses.
    pub fn home(&mut self, name: &str, peers: &[(&str, SocketAddr)]) -> Home {
        let peer = |(id, at): &(&str, SocketAddr)| {
            let id = PeerName::Node(id.parse().expect("a node id"));
            (
                id,
                edged::config::address(&at.to_string()).expect("an address"),
            )
        };
        let now = DefaultTimeProvider
            .current_time()
            .expect("this machine has a clock");
        let options = Options {
            node: name.parse().expect("a node id"),
            dir: Some(self.folder.path().join(name)),
            ca: self.ca.clone(),
            peers: peers.iter().map(peer).collect(),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            now,
        };
        let report = init::init(&options).expect("init sets the node up");
        self.ca.get_or_insert_with(|| report.ca.clone());
        let clock = clock_in(self.path());
        Home { report, clock }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// So much time passes for every node here, whether it runs or not: one that runs
    /// takes its machine to have slept. A wall clock goes on from what it said.
    ///
    /// # Panics
    /// If the file that tells them cannot be written.
    pub fn pass(&mut self, time: Duration) {
        self.passed += time;
        let text = format!("{}\n", self.passed.as_secs());
        fs::write(clock_in(self.path()), text).expect("a file for the time");
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// One node's folders.
#[derive(Debug, Clone)]
pub struct Home {
    report: Report,
    clock: PathBuf,
}

impl Home {
    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.report.node.as_str()
    }

    /// Its config file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.report.config
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.report.socket
    }

    /// Its state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.report.state_dir
    }

    /// The file that says how much time has passed beyond what did ([`Site::pass`]).
    #[must_use]
    pub fn clock(&self) -> &Path {
        &self.clock
    }

    /// The folder of its CA.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.report.ca
    }

    /// Lays `toml` over the config, as `conf.d/NAME.toml`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, name: &str, toml: &str) {
        let folder = self.config().with_file_name("conf.d");
        fs::create_dir_all(&folder).expect("a folder for layers");
        fs::write(folder.join(format!("{name}.toml")), toml).expect("a layer");
    }

    /// Where `first` stands as a peer's only address, adds `second` after it.
    ///
    /// # Panics
    /// If it does not stand there, or the config cannot be read or written.
    pub fn add_address(&self, first: SocketAddr, second: SocketAddr) {
        let text = fs::read_to_string(self.config()).expect("init has written it");
        let one = format!("addresses = [\"{first}\"]");
        assert!(text.contains(&one), "{one} is not in {text}");
        let both = format!("addresses = [\"{first}\", \"{second}\"]");
        fs::write(self.config(), text.replace(&one, &both)).expect("it can be written");
    }

    /// Adds keys to every `[[peers]]` of the config.
    ///
    /// # Panics
    /// If the config cannot be read or written.
    pub fn configure_peers(&self, toml: &str) {
        let text = fs::read_to_string(self.config()).expect("init has written it");
        let text = text.replace("\naddresses = ", &format!("\n{toml}\naddresses = "));
        fs::write(self.config(), text).expect("it can be written");
    }
}
