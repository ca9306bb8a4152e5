//! One daemon in this process, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use certs::{DefaultTimeProvider, TimeProvider as _};
use edged::config::{Config, PeerName, Sources, address};
use edged::init::{self, Options};
use edged::running::Running;
use edged_rpc::{Client, PutOptions, RpcError};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, shorter than anyone waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of `alpha`, whose peer `beta` is never there.
pub(crate) struct Home {
    dir: TempDir,
    file: PathBuf,
    pub(crate) config: Config,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with `toml` laid over its config.
    pub(crate) fn with(toml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let beta = PeerName::Node("beta".parse().expect("a node id"));
        // Nobody dials back from the discard port of this host.
        let options = Options {
            node: "alpha".parse().expect("a node id"),
            dir: Some(dir.path().join("alpha")),
            ca: None,
            peers: vec![(beta, address("127.0.0.1:9").expect("an address"))],
            listen: Some(([127, 0, 0, 1], 0).into()),
            now: DefaultTimeProvider.current_time().expect("a clock"),
        };
        let report = init::init(&options).expect("init sets the node up");
        let layers = report.config.with_file_name("conf.d");
        fs::create_dir_all(&layers).expect("a folder");
        let small = "[storage]\nmax_bytes = \"256MiB\"\n";
        fs::write(layers.join("10-small.toml"), small).expect("a layer");
        fs::write(layers.join("20-test.toml"), toml).expect("a layer");
        let file = report.config;
        let (config, _) = Config::load(&Sources::new().file(&file)).expect("sound");
        Self { dir, file, config }
    }

    /// Where its config comes from.
    fn sources(&self) -> Sources {
        Sources::new().file(&self.file)
    }

    /// Lays `toml` over its config in place of what [`Home::with`] was given.
    pub(crate) fn rewrite(&self, toml: &str) {
        let layer = self.file.with_file_name("conf.d").join("20-test.toml");
        fs::write(layer, toml).expect("a layer");
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.config.rpc.socket
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&self) -> Daemon {
        let stop = CancellationToken::new();
        let sources = self.sources();
        let (config, effective) = Config::load(&sources).expect("sound");
        let running = Running::new(effective, Some(sources));
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(edged::daemon::run_loaded(config, running, token))
        });
        let daemon = Daemon {
            socket: self.socket().to_owned(),
            stop,
            thread: Some(thread),
        };
        let found = wait_for("the daemon", || {
            let ended = daemon.thread.as_ref().is_none_or(JoinHandle::is_finished);
            let client = Client::connect(&daemon.socket, PATIENCE);
            (ended || client.is_ok()).then_some(ended)
        });
        if found {
            daemon.stop();
            panic!("the daemon ended before it answered");
        }
        daemon
    }
}

/// A running daemon.
pub(crate) struct Daemon {
    socket: PathBuf,
    stop: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Daemon {
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket, PATIENCE).expect("it answers")
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().expect("it does not panic");
            ended.expect("it ends well");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// Looks until `condition` gives something.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn to_beta() -> PutOptions {
    PutOptions::to_peer("beta")
}

/// `length` bytes that differ from place to place.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
}

/// The refusal in a result that must be one.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, edged_rpc::ClientError>) -> RpcError {
    match result {
        Err(edged_rpc::ClientError::Refused(error)) => error,
        other => panic!("{other:?} is no refusal"),
    }
}
