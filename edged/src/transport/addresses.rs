//! Where peers are dialled, and how long their links live.
//!
//! The addresses of a peer are tried in the order of the config; one that fails goes to
//! the end, so that the next dial begins with one that may answer. Of two settings for
//! one link, each side keeps to its own: a dialled link has those of its peer, and one
//! that was accepted, before anybody knows whose it is, the longest patience and the
//! busiest keep-alive of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use relay_core::id::NodeId;

use super::endpoint::quic_config;
use super::error::TransportError;
use super::shared::locked;

/// How long the links of one peer live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How often a silent link is tried; zero is never.
    pub keep_alive: Duration,
    /// How long a silent link lives.
    pub idle: Duration,
}

/// QUIC's settings, for each peer.
pub(crate) struct LinkTimes {
    accepted: Arc<quinn::TransportConfig>,
    dialled: BTreeMap<NodeId, Arc<quinn::TransportConfig>>,
    idles: BTreeMap<NodeId, Duration>,
    longest: Duration,
}

impl LinkTimes {
    /// Of a node whose peers have `each`, and others `rest`.
    pub(crate) fn new(rest: Times, each: &BTreeMap<NodeId, Times>) -> Result<Self, TransportError> {
        let all = || each.values().chain([&rest]);
        let longest = all().map(|times| times.idle).max().unwrap_or(rest.idle);
        let kept = all()
            .map(|times| times.keep_alive)
            .filter(|kept| !kept.is_zero());
        let busiest = kept.min().unwrap_or_default();
        let mut dialled = BTreeMap::new();
        for (peer, times) in each {
            dialled.insert(peer.clone(), quic_config(times.keep_alive, times.idle)?);
        }
        Ok(Self {
            accepted: quic_config(busiest, longest)?,
            dialled,
            idles: each
                .iter()
                .map(|(peer, times)| (peer.clone(), times.idle))
                .collect(),
            longest,
        })
    }

    /// For a link that is accepted.
    pub(crate) const fn accepted(&self) -> &Arc<quinn::TransportConfig> {
        &self.accepted
    }

    /// For a link that is dialled.
    pub(crate) fn dialled(&self, peer: &NodeId) -> &Arc<quinn::TransportConfig> {
        self.dialled.get(peer).unwrap_or(&self.accepted)
    }

    /// How long a silent link of `peer` lives.
    pub(crate) fn idle(&self, peer: &NodeId) -> Duration {
        self.idles.get(peer).copied().unwrap_or(self.longest)
    }
}

/// The addresses of peers in the order they are tried next.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<BTreeMap<NodeId, Vec<String>>>);

impl Addresses {
    /// The addresses of the config, those that failed lately last.
    pub(crate) fn arranged(&self, peer: &NodeId, config: &[String]) -> Vec<String> {
        let mut all = locked(&self.0);
        let known = all.entry(peer.clone()).or_default();
        known.retain(|address| config.contains(address));
        let fresh = config.iter().filter(|address| !known.contains(address));
        let fresh: Vec<String> = fresh.cloned().collect();
        known.extend(fresh);
        known.clone()
    }

    /// This one failed: it is tried last.
    pub(crate) fn failed(&self, peer: &NodeId, address: &str) {
        let mut all = locked(&self.0);
        let Some(known) = all.get_mut(peer) else {
            return;
        };
        if let Some(at) = known.iter().position(|other| other == address) {
            let last = known.remove(at);
            known.push(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_that_fails_is_tried_last() {
        let peer: NodeId = "beta".parse().expect("a node id");
        let addresses = Addresses::default();
        let config = texts(&["a:1", "b:1", "c:1"]);

        assert_eq!(addresses.arranged(&peer, &config), config);
        addresses.failed(&peer, "a:1");
        assert_eq!(
            addresses.arranged(&peer, &config),
            texts(&["b:1", "c:1", "a:1"])
        );
        addresses.failed(&peer, "b:1");
        let changed = texts(&["a:1", "d:1", "b:1"]);
        assert_eq!(
            addresses.arranged(&peer, &changed),
            texts(&["a:1", "b:1", "d:1"])
        );
    }

    #[test]
    fn an_accepted_link_has_the_longest_patience_and_the_busiest_keep_alive() {
        let seconds = Duration::from_secs;
        let times = |keep_alive, idle| Times {
            keep_alive: seconds(keep_alive),
            idle: seconds(idle),
        };
        let each = BTreeMap::from([("beta".parse().expect("a node id"), times(0, 300))]);
        let all = LinkTimes::new(times(20, 60), &each).expect("sound times");

        assert_eq!(all.idle(&"beta".parse().expect("a node id")), seconds(300));
        assert_eq!(all.idle(&"gamma".parse().expect("a node id")), seconds(300));
        assert!(!Arc::ptr_eq(
            all.dialled(&"beta".parse().expect("a node id")),
            all.accepted()
        ));
    }
}
