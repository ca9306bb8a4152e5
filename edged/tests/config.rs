//! The config as its readers meet it: files on disk, layers, refusals.

#[path = "config/refusals.rs"]
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edged::config::{
    Config, ConfigError, Effective, Fault, LogLevel, Origin, PeerName, Sink, Sources, Success,
    Target,
};
use relay_core::id::NodeId;
use relay_core::units::{ByteCount, Rate};
use tempfile::TempDir;

#[test]
fn the_example_shows_the_built_in_defaults() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/edged.toml");
    let text = fs::read_to_string(example).expect("the example is there");

    let (shown, _) = World::with(&text).load().expect("the example is sound");

    assert_eq!(shown, Config::built_in(node("host")));
}

#[test]
fn the_example_names_every_key_and_no_other() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/edged.toml");
    let text = fs::read_to_string(example).expect("the example is there");
    let shown = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with([' ', '"']) => key.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    let whole: String = text.lines().map(|line| shown(line) + "\n").collect();

    let (_, effective) = World::with(&whole)
        .load()
        .expect("the example is sound with all its keys");

    let unwritten = effective
        .iter()
        .filter(|(_, shown)| shown.origin == Origin::BuiltIn);
    // A spool takes one of the two, so the other cannot be shown as well.
    let unwritten: Vec<_> = unwritten
        .map(|(key, _)| key)
        .filter(|key| *key != "spool[0].route")
        .collect();
    assert!(
        unwritten.is_empty(),
        "missing in configs/edged.toml: {unwritten:?}"
    );
}

#[test]
fn a_duplicate_peer_is_refused_and_both_places_named() {
    let world = World::with("[[peers]]\nid = \"beta\"\n");
    world.write(
        "conf.d/more.toml",
        "[[peers]]\nid = \"gamma\"\n[[peers]]\nid = \"beta\"\n",
    );

    let error = world.refused();

    let ConfigError::Key {
        fault: Fault::Duplicate { name, first },
        origin,
        ..
    } = error
    else {
        panic!("a duplicate, not {error}");
    };
    assert_eq!(name, "beta");
    assert_eq!(
        first,
        Origin::File {
            path: world.path("edged.toml"),
            line: 2
        }
    );
    assert_eq!(
        origin,
        Origin::File {
            path: world.path("conf.d/more.toml"),
            line: 4
        }
    );
}

#[test]
fn each_layer_overrides_those_below_and_is_remembered() {
    let world =
        World::with("[relay]\nworkers = 1\ndial_timeout = \"1s\"\n[log]\nlevel = \"error\"\n");
    world.write("conf.d/20-late.toml", "[relay]\nworkers = 3\n");
    world.write(
        "conf.d/10-early.toml",
        "[relay]\nworkers = 2\nack_timeout = \"2s\"\n",
    );
    world.write("conf.d/ignored.txt", "no TOML at all");
    let environment = [
        ("EDGED_RELAY__RETRY__BUDGET", "5"),
        ("EDGED_LOG__LEVEL", "warn"),
        ("EDGED_SOCKET", "not ours"),
        ("PATH", "/bin"),
    ];
    let sources = world.sources().environment(environment).flag(
        "--log-level",
        "log.level",
        Some("debug".into()),
    );

    let (config, effective) = Config::load(&sources).expect("sound");

    let line = |file: &str, line| Origin::File {
        path: world.path(file),
        line,
    };
    let expected = [
        ("relay.workers", "3", line("conf.d/20-late.toml", 2)),
        ("relay.ack_timeout", "2s", line("conf.d/10-early.toml", 3)),
        ("relay.dial_timeout", "1s", line("edged.toml", 3)),
        (
            "relay.retry.budget",
            "5",
            Origin::Environment("EDGED_RELAY__RETRY__BUDGET".into()),
        ),
        ("log.level", "debug", Origin::Flag("--log-level".into())),
        ("storage.max_bytes", "8GiB", Origin::BuiltIn),
    ];
    for (key, value, origin) in expected {
        let shown = effective.find(key).expect(key);
        assert_eq!(
            (shown.value.as_str(), &shown.origin),
            (value, &origin),
            "{key}"
        );
    }
    assert_eq!(config.relay.workers, 3);
    assert_eq!(config.log.level, LogLevel::Debug);
}

#[test]
fn a_variable_is_checked_like_a_line() {
    let world = World::with("");
    let cases = [
        (
            "EDGED_RELAY__WORKERS",
            "many",
            "environment EDGED_RELAY__WORKERS: relay.workers: found \"many\", expected a whole number",
        ),
        (
            "EDGED_RELAY__WORKER",
            "4",
            "environment EDGED_RELAY__WORKER: relay.worker: unknown key (did you mean \"workers\"?)",
        ),
        (
            "EDGED_A__B__C__D",
            "4",
            "environment EDGED_A__B__C__D: a.b.c.d: not a key, expected EDGED_<SECTION>__<KEY>",
        ),
    ];
    for (name, value, expected) in cases {
        let error = Config::load(&world.sources().environment([(name, value)])).expect_err(name);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_missing_file_is_named() {
    let world = World::with("");
    let sources = Sources::new().file(world.path("absent.toml"));

    let error = Config::load(&sources).expect_err("absent");

    assert!(
        error.to_string().contains("absent.toml cannot be read"),
        "{error}"
    );
}

#[test]
fn a_full_config_becomes_typed_values() {
    let world = World::with(
        r#"
        [node]
        id = "alpha"
        state_dir = "state"
        [storage]
        max_bytes = "1GiB"
        [inbox]
        sink = "dir:arrivals"
        [bandwidth]
        bytes_per_second = 1_048_576
        [relay]
        success_condition = 2
        [relay.retry]
        budget = 3
        [lanes.bulk]
        weight = 7
        [lanes.meter]
        class = 5
        ttl = "1h30m"
        bytes_per_day = "1GB"
        [[peers]]
        id = "beta"
        addresses = ["beta.example:7443", "[::1]:7443"]
        windows = ["mon-fri 22:00-06:00"]
        forward_for = ["*"]
        [[peers]]
        id = "*"
        [[routes]]
        name = "alarms"
        match = { topic = "alarm/**", lane = "alarm" }
        peers = ["beta"]
        success = "one_peer"
        [[spool]]
        dir = "/var/spool/edged"
        route = "alarms"
        "#,
    );

    let (config, _) = world.load().expect("sound");

    assert_eq!(config.node.state_dir, world.path("state"));
    assert_eq!(config.inbox.sink, Sink::Dir(world.path("arrivals")));
    assert_eq!(config.inbox.max_bytes, ByteCount::mib(512));
    assert_eq!(config.storage.log_file(), ByteCount::mib(32));
    assert_eq!(config.bandwidth.bytes_per_second, Rate(1 << 20));
    assert_eq!(config.relay.success_condition.to_string(), "2");
    let lane = |name: &str| {
        config
            .lanes
            .get(&name.parse().expect("a lane name"))
            .expect("the lane")
    };
    assert_eq!(
        (
            lane("bulk").class.level(),
            lane("bulk").weight,
            lane("bulk").budget
        ),
        (6, 7, 3)
    );
    assert_eq!(lane("meter").ttl, Some(Duration::from_secs(5400)));
    assert_eq!(lane("control").class.level(), 0);
    assert_eq!(config.lanes.len(), 5);
    let addresses: Vec<_> = config.peers[0]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(addresses, ["beta.example:7443", "[::1]:7443"]);
    assert_eq!(config.peers[1].id, PeerName::Any);
    assert_eq!(config.routes[0].success, Success::OnePeer);
    assert_eq!(config.spools[0].target, Target::Route("alarms".into()));
}

#[test]
fn a_log_file_is_between_4_and_64_mib() {
    let mut storage = Config::built_in(node("a")).storage;

    for (ceiling, file) in [(64, 4), (1024, 32), (8192, 64)] {
        storage.max_bytes = ByteCount::mib(ceiling);
        assert_eq!(storage.log_file(), ByteCount::mib(file));
    }
}

/// A folder with a config in it.
struct World {
    dir: TempDir,
}

impl World {
    fn with(text: &str) -> Self {
        let world = Self {
            dir: tempfile::tempdir().expect("a folder"),
        };
        world.write("edged.toml", text);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn sources(&self) -> Sources {
        Sources::new()
            .file(self.path("edged.toml"))
            .default_node(Some(node("host")))
    }

    fn load(&self) -> Result<(Config, Effective), ConfigError> {
        Config::load(&self.sources())
    }

    fn refused(&self) -> ConfigError {
        self.load().expect_err("refused")
    }
}

fn node(id: &str) -> NodeId {
    id.parse().expect("a node id")
}
