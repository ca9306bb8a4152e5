//! `edged init` as typed, and whether what it leaves behind works.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use certs::{Bundle, Identity, UnixTime};
use clap::Parser;
use edged::cli::{Cli, Command};
use edged::config::{Config, PeerName, Sources};
use edged::init::{self, Report};
use relay_core::id::NodeId;
use tempfile::TempDir;

#[test]
fn two_nodes_are_set_up_by_two_commands() {
    let world = World::new();
    let a = world.init(&[
        "--node",
        "alpha",
        "--dir",
        "a",
        "--listen",
        "127.0.0.1:0",
        "--peer",
        "beta=127.0.0.1:7444",
    ]);
    let b = world.init(&[
        "--node",
        "beta",
        "--dir",
        "b",
        "--ca",
        "a/ca",
        "--peer",
        "alpha=127.0.0.1:7443",
    ]);
    let (a, b) = (a.expect("alpha"), b.expect("beta"));

    for (report, name, peer) in [(&a, "alpha", "beta"), (&b, "beta", "alpha")] {
        let (config, _) = Config::load(&Sources::new().file(&report.config)).expect("it works");
        let bundle = Bundle::load(&config.tls.bundle).expect("it loads");
        let identity = Identity::load(&config.tls.bundle, &config.tls.ca).expect("it loads");

        assert_eq!(identity.check(now()), Ok(()));
        assert_eq!(bundle.leaf().name.node.as_str(), name);
        assert_eq!(bundle.leaf().name.trust_domain, config.node.trust_domain);
        assert_eq!(config.node.id, node(name));
        assert_eq!(config.peers[0].id, PeerName::Node(node(peer)));
        edged::lock::StateLock::take(&config.node.state_dir).expect("the state folder is ours");
    }
    let copied = fs::read(world.path("b/ca.crt")).expect("copied");
    assert_eq!(copied, fs::read(world.path("a/ca/ca.crt")).expect("made"));
    assert!(
        !world.path("b/ca").exists(),
        "the key of the CA stays where it is"
    );
    assert_eq!(a.socket, world.path("a/rpc.sock"));
}

#[test]
fn init_never_overwrites() {
    let world = World::new();
    let words = ["--node", "alpha", "--dir", "a"];
    world.init(&words).expect("the first time");
    let before = fs::read(world.path("a/identity.pem")).expect("written");

    let again = world.init(&words).expect_err("a config is there");
    fs::remove_file(world.path("a/edged.toml")).expect("removed");
    let half = world.init(&words).expect_err("an identity is there");
    fs::rename(world.path("a/identity.pem"), world.path("kept.pem")).expect("moved");
    let ca = world.init(&words).expect_err("a CA is there");

    assert!(
        again
            .to_string()
            .contains("a/edged.toml is a config already"),
        "{again}"
    );
    assert!(
        half.to_string()
            .contains("a/identity.pem is an identity already"),
        "{half}"
    );
    assert!(
        ca.to_string().contains("a/ca/ca.crt exists already"),
        "{ca}"
    );
    assert_eq!(fs::read(world.path("kept.pem")).expect("kept"), before);
}

#[test]
fn init_writes_nothing_when_the_config_would_be_refused() {
    let world = World::new();

    let error = world.init(&[
        "--node",
        "alpha",
        "--dir",
        "a",
        "--peer",
        "alpha=127.0.0.1:1",
    ]);

    let error = format!("{:#}", error.expect_err("its own peer"));
    assert!(error.contains("\"alpha\" is this node itself"), "{error}");
    assert_eq!(fs::read_dir(world.path("a")).expect("made").count(), 0);
}

#[test]
fn init_leaves_a_foreign_state_folder_alone() {
    let world = World::new();
    fs::create_dir_all(world.path("a/state")).expect("made");
    fs::write(world.path("a/state/thesis.tex"), "years of work").expect("written");

    let error = world
        .init(&["--node", "alpha", "--dir", "a"])
        .expect_err("not ours");

    assert!(
        error
            .to_string()
            .contains("is not ours: it holds \"thesis.tex\""),
        "{error}"
    );
    assert!(!world.path("a/edged.toml").exists());
}

/// An empty folder.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `edged init` with words as typed, folders being those of this world.
    fn init(&self, words: &[&str]) -> anyhow::Result<Report> {
        let words = ["edged", "init"].iter().chain(words);
        let Command::Init(mut arguments) = Cli::try_parse_from(words)?.into_command() else {
            panic!("init is a command");
        };
        arguments.dir = arguments.dir.map(|dir| self.dir.path().join(dir));
        arguments.ca = arguments.ca.map(|dir| self.dir.path().join(dir));
        init::init(&arguments.into_options(None, now())?)
    }
}

fn node(id: &str) -> NodeId {
    id.parse().expect("a node id")
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}
