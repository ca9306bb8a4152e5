//! Which route a segment takes: by topic pattern, lane and origin; the first that
//! matches decides.
//!
//! Also who may hand us whose segments. Routes bind when a segment is put or arrives
//! (semantics 6): what they say later changes nothing about what is owed already.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::aim::Success;
use crate::id::{LaneName, NodeId};
use crate::segment::Topic;

/// A topic of which any level may be `*` (one level, whichever) or `**` (any number of
/// levels, none included).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern(String);

impl TopicPattern {
    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `topic` is one of those meant.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let (mut wanted, mut levels) = (self.0.split('/'), topic.as_str().split('/'));
        // After the last `**`: what is wanted then, and where it was last tried.
        let mut retry = None;
        loop {
            let (next, left) = (wanted.clone().next(), levels.clone().next());
            match (next, left) {
                (None, None) => return true,
                (Some("**"), _) => {
                    wanted.next();
                    retry = Some((wanted.clone(), levels.clone()));
                }
                (Some(pattern), Some(level)) if pattern == "*" || pattern == level => {
                    wanted.next();
                    levels.next();
                }
                (None | Some(_), _) => {
                    // The `**` takes one level more, if it can.
                    let Some((after, mut tried)) = retry.take() else {
                        return false;
                    };
                    if tried.next().is_none() {
                        return false;
                    }
                    (wanted, levels) = (after.clone(), tried.clone());
                    retry = Some((after, tried));
                }
            }
        }
    }
}

impl FromStr for TopicPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A pattern is sound when the topic is that has a level for each star.
        let level = |level| match level {
            "*" | "**" => "x",
            named => named,
        };
        let plain: Vec<&str> = text.split('/').map(level).collect();
        match plain.join("/").parse::<Topic>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(format!(
                "{text:?} is not a topic pattern (try \"alarm/**\" or \"meter/*/daily\")"
            )),
        }
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One node, or any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// Any node.
    Any,
    /// This one.
    Node(NodeId),
}

impl Whom {
    /// Whether `node` is meant.
    #[must_use]
    pub fn is(&self, node: &NodeId) -> bool {
        match self {
            Self::Any => true,
            Self::Node(own) => own == node,
        }
    }
}

/// One route. What it does not say matches everything; one that names a topic matches
/// no segment without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its only name.
    pub name: String,
    /// Of which topics.
    pub topic: Option<TopicPattern>,
    /// In which lane.
    pub lane: Option<LaneName>,
    /// Put where.
    pub origin: Option<Whom>,
    /// To whom, in order.
    pub peers: Vec<NodeId>,
    /// How many of them must have it.
    pub success: Success,
    /// Whether it goes to this node's inbox, too.
    pub local: bool,
}

/// What this node knows about the way of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// The routes, in order.
    pub routes: Vec<Route>,
    /// Whose segments each peer may hand us beside its own.
    pub forward_for: BTreeMap<NodeId, Vec<Whom>>,
    /// And every peer that is not named there.
    pub forward_for_others: Vec<Whom>,
}

impl Routing {
    /// The first route that matches.
    #[must_use]
    pub fn first(&self, topic: Option<&Topic>, lane: &LaneName, origin: &NodeId) -> Option<&Route> {
        self.routes.iter().find(|route| {
            let of_topic = match (&route.topic, topic) {
                (None, _) => true,
                (Some(pattern), Some(topic)) => pattern.matches(topic),
                (Some(_), None) => false,
            };
            of_topic
                && route.lane.as_ref().is_none_or(|wanted| wanted == lane)
                && route.origin.as_ref().is_none_or(|whom| whom.is(origin))
        })
    }

    /// The route of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.name == name)
    }

    /// Whether `peer` may hand us segments of `origin`.
    #[must_use]
    pub fn may_forward(&self, peer: &NodeId, origin: &NodeId) -> bool {
        let own = self.forward_for.get(peer);
        let list = own.unwrap_or(&self.forward_for_others);
        list.iter().any(|whom| whom.is(origin))
    }

    /// Whether segments of `origin` may come by others than itself: then one way
    /// cannot know by a number alone what came by another.
    #[must_use]
    pub fn has_ways_round(&self, origin: &NodeId) -> bool {
        let by = |list: &Vec<Whom>| list.iter().any(|whom| whom.is(origin));
        let mut named = self.forward_for.iter();
        by(&self.forward_for_others) || named.any(|(peer, list)| peer != origin && by(list))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        let pattern: TopicPattern = pattern.parse().expect("a pattern");
        pattern.matches(&topic.parse().expect("a topic"))
    }

    fn route(name: &str, topic: Option<&str>, lane: Option<&str>, origin: Option<&str>) -> Route {
        Route {
            name: name.to_owned(),
            topic: topic.map(|text| text.parse().expect("a pattern")),
            lane: lane.map(|text| text.parse().expect("a lane")),
            origin: origin.map(|text| Whom::Node(text.parse().expect("a node"))),
            peers: Vec::new(),
            success: Success::AllPeers,
            local: false,
        }
    }

    #[test]
    fn stars_stand_for_levels_in_a_pattern() {
        for good in [
            "alarm/**",
            "**",
            "*",
            "meter/*/daily",
            "a/b",
            "a/**/b",
            "**/b",
        ] {
            assert!(good.parse::<TopicPattern>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a/",
            "/a",
            "a**",
            "a*",
            "a/***",
            "a b",
            "1/2/3/4/5/6/7/8/**",
        ] {
            assert!(bad.parse::<TopicPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_star_is_one_level_and_two_are_any_number() {
        assert!(matches("alarm/*", "alarm/pump"));
        assert!(!matches("alarm/*", "alarm/pump/7") && !matches("alarm/*", "alarm"));
        for topic in ["alarm", "alarm/pump", "alarm/pump/7"] {
            assert!(matches("alarm/**", topic), "{topic}");
        }
        assert!(!matches("alarm/**", "alarms/pump"));
        assert!(matches("meter/*/daily", "meter/7/daily"));
        assert!(!matches("meter/*/daily", "meter/7/hourly"));
        assert!(matches("**", "anything/at/all") && !matches("a/b", "a/b/c"));
        assert!(matches("**/day", "meter/7/day") && matches("**/day", "day"));
        assert!(matches("a/**/c", "a/c") && matches("a/**/c", "a/b/c/b/c"));
        assert!(!matches("a/**/c", "a/b/c/b") && !matches("**/b/*", "a/b"));
    }

    /// Whether a pattern takes a topic, by trying everything.
    fn naively(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern.split_first(), topic.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => (0..=topic.len()).any(|n| naively(rest, &topic[n..])),
            (Some((level, rest)), Some((own, left))) => {
                (*level == "*" || level == own) && naively(rest, left)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_pattern_takes_what_trying_everything_finds(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..=8),
            topic in prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..=8),
        ) {
            let wanted = naively(&pattern, &topic);

            prop_assert_eq!(matches(&pattern.join("/"), &topic.join("/")), wanted);
        }
    }

    #[test]
    fn the_first_route_that_matches_decides() {
        let routing = Routing {
            routes: vec![
                route("far", Some("alarm/**"), None, Some("gamma")),
                route("alarms", Some("alarm/**"), None, None),
                route("bulk", None, Some("bulk"), None),
            ],
            ..Routing::default()
        };
        let first = |topic: Option<&str>, lane: &str, origin: &str| {
            let topic = topic.map(|text| text.parse().expect("a topic"));
            let (lane, origin) = (
                lane.parse().expect("a lane"),
                origin.parse().expect("a node"),
            );
            let found = routing.first(topic.as_ref(), &lane, &origin);
            found.map(|route| route.name.clone())
        };

        assert_eq!(
            first(Some("alarm/x"), "default", "gamma").as_deref(),
            Some("far")
        );
        assert_eq!(
            first(Some("alarm/x"), "bulk", "beta").as_deref(),
            Some("alarms")
        );
        assert_eq!(first(None, "bulk", "beta").as_deref(), Some("bulk"));
        assert_eq!(
            first(None, "default", "gamma"),
            None,
            "a pattern wants a topic"
        );
    }

    #[test]
    fn a_peer_forwards_for_those_it_may_alone() {
        let node = |text: &str| -> NodeId { text.parse().expect("a node") };
        let routing = Routing {
            forward_for: [(node("beta"), vec![Whom::Node(node("alpha"))])].into(),
            ..Routing::default()
        };

        assert!(routing.may_forward(&node("beta"), &node("alpha")));
        assert!(!routing.may_forward(&node("beta"), &node("gamma")));
        assert!(!routing.may_forward(&node("gamma"), &node("alpha")));
        assert!(routing.has_ways_round(&node("alpha")) && !routing.has_ways_round(&node("beta")));
    }
}
