//! What a put says about its segments, checked once and turned into the core's words.
//!
//! Whether lane and peers exist is for the core to say; shape, metadata and what this
//! daemon cannot do yet are said here.

use std::sync::Arc;
use std::time::Duration;

use edged_rpc::{ErrorKind, PutOptions, RpcError, Success, Target};
use relay_core::id::{LaneName, NodeId};
use relay_core::pack;
use relay_core::segment::Meta;

use super::refusal::invalid;
use crate::config::{self, Config};

/// The longest life a put may ask for, as in the config.
const LONGEST: u64 = 3650 * 86_400;
/// Peers one put may name: it makes a row for each.
const PEERS: usize = 1024;

/// Where a put goes and what travels with it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The lane.
    pub(super) lane: LaneName,
    /// The peers, as given.
    pub(super) peers: Arc<[NodeId]>,
    /// The metadata, encoded as it lies in a table.
    pub(super) meta: Vec<u8>,
    /// How long it stays worth sending.
    pub(super) ttl: Option<Duration>,
}

/// Checks `options` against their own rules.
pub(super) fn check(config: &Config, options: PutOptions) -> Result<Order, RpcError> {
    let PutOptions {
        target,
        lane,
        topic,
        labels,
        ttl_seconds,
        success,
    } = options;
    let lane: LaneName = lane.parse().map_err(|why| bad("bad_lane", &why))?;
    let peers = peers(target)?;
    condition(config, success, &peers)?;
    let topic = topic.map(|topic| topic.parse()).transpose();
    let meta = Meta {
        topic: topic.map_err(|why| bad("bad_topic", &why))?,
        labels,
    };
    meta.check().map_err(|why| bad("bad_label", &why))?;
    let ttl = match ttl_seconds {
        Some(seconds @ 1..=LONGEST) => Some(Duration::from_secs(seconds)),
        Some(seconds) => {
            let found = format!("ttl of {seconds} s, it may be 1 s to {LONGEST} s");
            return Err(invalid("bad_ttl", found));
        }
        None => config.lanes.get(&lane).and_then(|lane| lane.ttl),
    };
    let meta = pack::encode_meta(&meta);
    Ok(Order {
        lane,
        peers,
        meta,
        ttl,
    })
}

fn bad(code: &str, why: &dyn std::error::Error) -> RpcError {
    invalid(code, why.to_string())
}

fn peers(target: Target) -> Result<Arc<[NodeId]>, RpcError> {
    let names = match target {
        Target::Peers(names) => names,
        Target::Route(name) => {
            let name: String = name.chars().take(80).collect();
            let found = format!("route {name:?}: this edged does not put to routes yet");
            let error = RpcError::new(ErrorKind::Unsupported, "routes_unsupported", found);
            return Err(error.with_hint("name the peers with --peer"));
        }
    };
    if names.len() > PEERS {
        let found = format!("{} peers, a put names at most {PEERS}", names.len());
        return Err(invalid("too_many_peers", found));
    }
    let ids = names.iter().map(|name| name.parse());
    let mut ids = ids
        .collect::<Result<Vec<NodeId>, _>>()
        .map_err(|why| bad("bad_peer", &why))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids.into())
}

/// Every peer must have it: the only condition there is so far, in whatever words.
fn condition(config: &Config, asked: Option<Success>, peers: &[NodeId]) -> Result<(), RpcError> {
    let (wanted, word) = match asked {
        Some(Success::AllPeers) => return Ok(()),
        Some(Success::OnePeer) => (1, "one_peer".to_owned()),
        Some(Success::Count(count)) => (usize::from(count), count.to_string()),
        None => match config.relay.success_condition {
            config::Success::AllPeers => return Ok(()),
            config::Success::OnePeer => (1, "one_peer".to_owned()),
            config::Success::Count(count) => (usize::from(count.get()), count.to_string()),
        },
    };
    let named = peers.len();
    if wanted == named || named == 0 {
        return Ok(());
    }
    if wanted == 0 || wanted > named {
        let found = format!("success when {wanted} peers have it, but {named} are named");
        return Err(invalid("bad_success", found));
    }
    let found =
        format!("success condition {word} for {named} peers: this edged knows all_peers only");
    let error = RpcError::new(ErrorKind::Unsupported, "success_unsupported", found);
    Err(error.with_hint("use all_peers, or put to one peer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut PutOptions)) -> Result<Order, RpcError> {
        let config = Config::built_in("alpha".parse().expect("a node"));
        let mut options = PutOptions::to_peer("beta");
        change(&mut options);
        check(&config, options)
    }

    fn code(change: impl FnOnce(&mut PutOptions)) -> String {
        checked(change).expect_err("not sound").code
    }

    #[test]
    fn sound_options_become_an_order() {
        let order = checked(|o| {
            o.topic = Some("meter/daily".into());
            o.ttl_seconds = Some(60);
            o.target = Target::Peers(vec!["gamma".into(), "beta".into(), "gamma".into()]);
        });

        let order = order.expect("sound");
        assert_eq!(order.peers.len(), 2);
        assert_eq!(order.ttl, Some(Duration::from_secs(60)));
        assert!(!order.meta.is_empty());
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        assert_eq!(code(|o| o.lane = "Not A Lane".into()), "bad_lane");
        assert_eq!(code(|o| o.topic = Some("a//b".into())), "bad_topic");
        assert_eq!(
            code(|o| o.labels = vec![("".into(), "v".into())]),
            "bad_label"
        );
        assert_eq!(code(|o| o.ttl_seconds = Some(0)), "bad_ttl");
        assert_eq!(
            code(|o| o.target = Target::Route("r".into())),
            "routes_unsupported"
        );
        assert_eq!(
            code(|o| o.target = Target::Peers(vec!["NO".into()])),
            "bad_peer"
        );
    }

    #[test]
    fn a_condition_that_means_all_peers_is_fine() {
        let two = || Target::Peers(vec!["beta".into(), "gamma".into()]);

        assert!(checked(|o| o.success = Some(Success::OnePeer)).is_ok());
        assert!(checked(|o| (o.target, o.success) = (two(), Some(Success::Count(2)))).is_ok());
        assert_eq!(
            code(|o| (o.target, o.success) = (two(), Some(Success::OnePeer))),
            "success_unsupported"
        );
        assert_eq!(
            code(|o| (o.target, o.success) = (two(), Some(Success::Count(3)))),
            "bad_success"
        );
    }
}
