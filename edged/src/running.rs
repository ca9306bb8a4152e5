//! The config as it holds, and how a new one takes its place.
//!
//! A reload reads all layers again and checks them whole before anything changes. Keys
//! that differ are of two kinds: those that hold at once ([`is_live`]), and those that
//! hold from the next start and are named. What holds is kept by key, so that a reload
//! names the same key again for as long as it waits for a start.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::{Config, ConfigError, Effective, Sources};

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its full name.
    pub key: String,
    /// What holds; empty where nothing is set.
    pub before: String,
    /// What was read.
    pub after: String,
}

/// A config that was read and checked, and how it differs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was read.
    pub config: Config,
    /// Keys that hold at once.
    pub changed: Vec<Difference>,
    /// Keys that hold from the next start.
    pub restart: Vec<Difference>,
    effective: Effective,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// This daemon was not started from files.
    #[error("this daemon was not started from a config file")]
    NoFile,
    /// The new config is refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] ConfigError),
}

/// The config as it holds.
#[derive(Debug)]
pub struct Running {
    sources: Option<Sources>,
    holds: Mutex<Effective>,
}

impl Running {
    /// `effective` holds; `sources` are read again by a reload.
    #[must_use]
    pub const fn new(effective: Effective, sources: Option<Sources>) -> Self {
        Self {
            sources,
            holds: Mutex::new(effective),
        }
    }

    /// Each key as it holds.
    #[must_use]
    pub fn holds(&self) -> Effective {
        self.lock().clone()
    }

    /// What a reload would do; with `instead`, if that text stood in the config file.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn plan(&self, instead: Option<(PathBuf, String)>) -> Result<Plan, PlanError> {
        let sources = self.sources.clone().ok_or(PlanError::NoFile)?;
        let sources = match instead {
            Some((name, text)) => sources.file_reads(name, text),
            None => sources,
        };
        let (config, effective) = Config::load(&sources)?;
        let differs = differences(&self.lock(), &effective);
        let live: Vec<bool> = differs.iter().map(|at| is_live(at, &differs)).collect();
        let (changed, restart) = split(differs, &live);
        Ok(Plan {
            config,
            changed,
            restart,
            effective,
        })
    }

    /// The live keys of `plan` hold from here on; whoever acts on them has been told.
    pub fn take_up(&self, plan: &Plan) {
        let mut holds = self.lock();
        for Difference { key, .. } in &plan.changed {
            holds.take_from(&plan.effective, key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Effective> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys of tables without names that hold without a restart.
const LIVE: [&str; 8] = [
    "bandwidth.bytes_per_second",
    "bandwidth.daily_quota_bytes",
    "ingest.per_peer_bytes_per_second",
    "ingest.per_peer_segments_per_second",
    "log.level",
    "relay.retry.budget",
    "relay.retry.first",
    "relay.retry.longest",
];
/// Keys of a peer that do.
const LIVE_OF_PEERS: [&str; 2] = [".bytes_per_second", ".daily_quota_bytes"];
/// Keys of a lane that do.
const LIVE_OF_LANES: [&str; 4] = [".class", ".weight", ".budget", ".bytes_per_day"];

/// Whether `at` holds without a restart, given all that differs. A peer or lane that is
/// new or gone waits for a start with all its keys, and since peers are named by their
/// place, so do then all peers.
#[must_use]
pub fn is_live(at: &Difference, all: &[Difference]) -> bool {
    let ends = |of: &[&str]| of.iter().any(|end| at.key.ends_with(end));
    if at.key.starts_with("peers[") {
        let moved =
            |other: &Difference| other.key.starts_with("peers[") && other.key.ends_with(".id");
        return ends(&LIVE_OF_PEERS) && !all.iter().any(moved);
    }
    if let Some(rest) = at.key.strip_prefix("lanes.") {
        let lane = rest.split('.').next().unwrap_or_default();
        let class = format!("lanes.{lane}.class");
        let comes_or_goes = |other: &Difference| {
            other.key == class && (other.before.is_empty() || other.after.is_empty())
        };
        return ends(&LIVE_OF_LANES) && !all.iter().any(comes_or_goes);
    }
    LIVE.contains(&at.key.as_str())
}

fn split(differs: Vec<Difference>, live: &[bool]) -> (Vec<Difference>, Vec<Difference>) {
    let (mut changed, mut restart) = (Vec::new(), Vec::new());
    for (at, live) in differs.into_iter().zip(live) {
        if *live { &mut changed } else { &mut restart }.push(at);
    }
    (changed, restart)
}

/// Keys of either that differ in value, by name.
fn differences(before: &Effective, after: &Effective) -> Vec<Difference> {
    let value = |of: &Effective, key: &str| {
        let shown = of.find(key);
        shown.map_or_else(String::new, |shown| shown.value.clone())
    };
    let mut keys: Vec<&str> = before
        .iter()
        .chain(after.iter())
        .map(|(key, _)| key)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let differs = keys.into_iter().map(|key| Difference {
        key: key.to_owned(),
        before: value(before, key),
        after: value(after, key),
    });
    differs.filter(|at| at.before != at.after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        let node = "alpha".parse().expect("a node id");
        Sources::new()
            .default_node(Some(node))
            .file_reads("edged.toml".into(), text.to_owned())
    }

    fn running(text: &str) -> Running {
        let sources = sources(text);
        let (_, effective) = Config::load(&sources).expect("sound");
        Running::new(effective, Some(sources))
    }

    fn keys(differences: &[Difference]) -> Vec<&str> {
        differences.iter().map(|at| at.key.as_str()).collect()
    }

    #[test]
    fn a_key_that_needs_a_restart_is_named_until_there_is_one() {
        let running = running("");
        let text = "[log]\nlevel = \"debug\"\n[relay]\nworkers = 9\n";
        let instead = || Some(("new.toml".into(), text.to_owned()));

        let first = running.plan(instead()).expect("sound");
        running.take_up(&first);
        let second = running.plan(instead()).expect("sound");

        assert_eq!(keys(&first.changed), ["log.level"]);
        assert_eq!(keys(&first.restart), ["relay.workers"]);
        assert_eq!(keys(&second.changed), [] as [&str; 0]);
        assert_eq!(second.restart, first.restart);
        assert_eq!(
            (
                first.restart[0].before.as_str(),
                first.restart[0].after.as_str()
            ),
            ("4", "9")
        );
    }

    #[test]
    fn a_config_that_is_refused_changes_nothing_and_says_where() {
        let running = running("");
        let before = running.holds();

        let refused = running.plan(Some(("new.toml".into(), "[log]\nlevel = 7\n".into())));

        let why = refused.expect_err("no level").to_string();
        assert!(why.contains("new.toml:2"), "{why}");
        assert_eq!(running.holds(), before);
    }

    #[test]
    fn limits_of_what_stays_hold_at_once_and_what_comes_or_goes_waits() {
        let peer = |id: &str, rate: &str| {
            format!("[[peers]]\nid = \"{id}\"\nbytes_per_second = \"{rate}\"\n")
        };
        let old = format!("[lanes.slow]\nweight = 1\n{}", peer("beta", "1KiB/s"));
        let running = running(&old);
        let plan = |text: String| {
            running
                .plan(Some(("new.toml".into(), text)))
                .expect("sound")
        };

        let same = plan(format!(
            "[lanes.slow]\nweight = 2\n{}",
            peer("beta", "2KiB/s")
        ));
        let other = plan(format!(
            "[lanes.fast]\nweight = 2\n{}",
            peer("gamma", "2KiB/s")
        ));

        assert_eq!(
            keys(&same.changed),
            ["lanes.slow.weight", "peers[0].bytes_per_second"]
        );
        assert_eq!(keys(&same.restart), [] as [&str; 0]);
        assert_eq!(keys(&other.changed), [] as [&str; 0]);
        assert!(keys(&other.restart).contains(&"peers[0].bytes_per_second"));
        assert!(keys(&other.restart).contains(&"lanes.fast.weight"));
    }

    #[test]
    fn keys_that_are_gone_differ_too() {
        let running = running("[lanes.slow]\nclass = 5\n");

        let plan = running.plan(Some(("new.toml".into(), String::new())));

        let plan = plan.expect("sound");
        assert!(
            keys(&plan.restart).contains(&"lanes.slow.class"),
            "{plan:?}"
        );
    }
}
