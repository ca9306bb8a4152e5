//! What a put says about its segments, checked once and turned into the core's words.
//!
//! Whether lane and peers exist is for the core to say; shape, metadata and what this
//! daemon cannot do yet are said here.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use edged_rpc::{PutOptions, RpcError, Success, Target};
use relay_core::aim::{self, To};
use relay_core::id::{LaneName, NodeId};
use relay_core::pack;
use relay_core::segment::{Meta, Topic};

use super::refusal::invalid;
use crate::config::Config;
use crate::single::Order;

/// The longest life a put may ask for, as in the config.
const LONGEST: u64 = 3650 * 86_400;
/// Peers one put may name: it makes a row for each.
const PEERS: usize = 1024;

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
    let (peers, route) = match target {
        Target::Peers(names) => (peers(&names)?, None),
        Target::Route(name) => (Arc::default(), Some(name.chars().take(80).collect())),
    };
    let success = condition(success)?;
    let topic = topic.map(|topic| topic.parse()).transpose();
    let topic: Option<Topic> = topic.map_err(|why| bad("bad_topic", &why))?;
    let to = To {
        peers,
        route: route.map(|name: String| name.into()),
        topic: topic.clone(),
        success,
    };
    let meta = Meta { topic, labels };
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
        to: Arc::new(to),
        meta,
        ttl,
    })
}

fn bad(code: &str, why: &dyn std::error::Error) -> RpcError {
    invalid(code, why.to_string())
}

fn peers(names: &[String]) -> Result<Arc<[NodeId]>, RpcError> {
    if names.len() > PEERS {
        let found = format!("{} peers, a put names at most {PEERS}", names.len());
        return Err(invalid("too_many_peers", found));
    }
    let ids = names.iter().map(|name| name.parse());
    let ids = ids.collect::<Result<Vec<NodeId>, _>>();
    Ok(ids.map_err(|why| bad("bad_peer", &why))?.into())
}

/// The success condition asked for; whether so many peers are named is for the core to
/// say, which knows the peers of a route.
fn condition(asked: Option<Success>) -> Result<Option<aim::Success>, RpcError> {
    Ok(match asked {
        None => None,
        Some(Success::AllPeers) => Some(aim::Success::AllPeers),
        Some(Success::OnePeer) => Some(aim::Success::OnePeer),
        Some(Success::Count(count)) => match NonZeroU16::new(count) {
            Some(count) => Some(aim::Success::Count(count)),
            None => {
                let found = "success when 0 peers have it, at least 1 must";
                return Err(invalid("bad_success", found));
            }
        },
    })
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
            o.target = Target::Peers(vec!["gamma".into(), "beta".into()]);
        });

        let order = order.expect("sound");
        let named: Vec<&str> = order.to.peers.iter().map(NodeId::as_str).collect();
        assert_eq!(
            named,
            ["gamma", "beta"],
            "their order is that of a condition"
        );
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
        let order = checked(|o| o.target = Target::Route("alarms".into())).expect("sound");
        assert_eq!(order.to.route.as_deref(), Some("alarms"));
        assert_eq!(
            code(|o| o.target = Target::Peers(vec!["NO".into()])),
            "bad_peer"
        );
    }

    #[test]
    fn the_success_condition_is_passed_on() {
        let asked = |success| checked(|o| o.success = success).expect("sound").to.success;

        assert_eq!(asked(None), None);
        assert_eq!(asked(Some(Success::OnePeer)), Some(aim::Success::OnePeer));
        let two = NonZeroU16::new(2).expect("two");
        assert_eq!(
            asked(Some(Success::Count(2))),
            Some(aim::Success::Count(two))
        );
        assert_eq!(code(|o| o.success = Some(Success::Count(0))), "bad_success");
    }
}
