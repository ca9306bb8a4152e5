//! Which way segments go in a world, drawn from dice of its own: who has routes and
//! whom each lets speak for others; and where something goes by them, told here a
//! second time and more plainly than the core does.

use std::collections::BTreeMap;

use relay_core::aim::Success;
use relay_core::id::{LaneName, NodeId, SegmentId};
use relay_core::route::{Route, Routing, Whom};
use relay_core::segment::Topic;

use super::{Plan, node_index, node_name};
use crate::seeds::Dice;

/// Tells these dice from those of the rest of a world.
const WAYS: u64 = 0x7761_7973;

const TOPICS: [&str; 7] = [
    "a",
    "a/b",
    "a/b/c",
    "b/c",
    "alarm/fire",
    "meter/7/day",
    "meter/7/hour",
];
const PATTERNS: [&str; 12] = [
    "**",
    "*",
    "a/**",
    "a/*",
    "*/b",
    "**/c",
    "a/**/c",
    "**/b/**",
    "meter/*/day",
    "meter/**",
    "alarm/**",
    "nothing/*",
];

/// The topic of a segment, told from its name: all members of a pack have the same,
/// or any.
#[must_use]
pub fn topic_of(id: SegmentId) -> Option<Topic> {
    let mixed = id.0[9] & 1 == 1;
    let drawn = usize::from(id.0[8]) + if mixed { usize::from(id.0[15]) } else { 0 };
    let topic = TOPICS.get(drawn % (TOPICS.len() + 1))?;
    Some(topic.parse().expect("a topic"))
}

/// Whether all members of a pack that begins with this name have the same topic.
#[must_use]
pub const fn is_of_one_topic(first: SegmentId) -> bool {
    first.0[9] & 1 == 0
}

/// Gives a world of three nodes or more routes, now and then.
pub fn add(seed: u64, plan: &mut Plan) {
    let mut dice = Dice::new(seed ^ WAYS);
    if plan.nodes < 3 || !dice.chance(400) {
        return;
    }
    // A limit that binds where ways are round.
    plan.limits.hops = if dice.chance(400) {
        dice.between(1, 3) as u8
    } else {
        8
    };
    plan.routing = (0..plan.nodes)
        .map(|n| routing(&mut dice, n, plan.nodes))
        .collect();
}

fn routing(dice: &mut Dice, n: usize, nodes: usize) -> Routing {
    let others: Vec<usize> = (0..nodes).filter(|other| *other != n).collect();
    let routes = (0..dice.between(0, 3)).map(|number| Route {
        name: format!("r{number}"),
        topic: dice.chance(700).then(|| pick(dice, &PATTERNS)),
        lane: dice
            .chance(200)
            .then(|| pick(dice, &["alarm", "default", "bulk"])),
        origin: dice.chance(300).then(|| match dice.chance(300) {
            true => Whom::Any,
            false => Whom::Node(node_name(dice.between(0, nodes as u64 - 1) as usize)),
        }),
        peers: (0..dice.between(1, 3))
            .filter_map(|_| dice.pick(&others).map(|peer| node_name(*peer)))
            .collect(),
        success: match dice.between(0, 3) {
            0 => Success::OnePeer,
            1 => Success::Count(2.try_into().expect("two")),
            _ => Success::AllPeers,
        },
        local: dice.chance(200),
    });
    let routes = routes.collect();
    let whom = |dice: &mut Dice| match dice.between(0, 9) {
        0 => Vec::new(),
        1..=6 => vec![Whom::Any],
        _ => vec![Whom::Node(node_name(
            dice.between(0, nodes as u64 - 1) as usize
        ))],
    };
    let mut forward_for = BTreeMap::new();
    for other in &others {
        if dice.chance(300) {
            forward_for.insert(node_name(*other), whom(dice));
        }
    }
    Routing {
        routes,
        forward_for,
        forward_for_others: whom(dice),
    }
}

fn pick<T: std::str::FromStr<Err: std::fmt::Debug>>(dice: &mut Dice, among: &[&str]) -> T {
    let text = dice.pick(among).copied().unwrap_or("**");
    text.parse().expect("it was written here")
}

/// Where something goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// To whom, in order.
    pub peers: Vec<usize>,
    /// How many of them must have it.
    pub need: usize,
    /// Whether into the inbox of the node itself, too.
    pub local: bool,
}

/// The way a route says, without those in `but`.
#[must_use]
pub fn way(route: &Route, but: &[usize]) -> Way {
    let mut peers: Vec<usize> = Vec::new();
    for peer in route.peers.iter().map(node_index) {
        if !peers.contains(&peer) && !but.contains(&peer) {
            peers.push(peer);
        }
    }
    let need = match route.success {
        Success::AllPeers => peers.len(),
        Success::OnePeer => peers.len().min(1),
        Success::Count(count) => peers.len().min(usize::from(count.get())),
    };
    Way {
        local: route.local,
        peers,
        need,
    }
}

/// Where something goes on that arrived from `from`; `gone` are peers that the config
/// does not name.
#[must_use]
pub fn onward(
    routing: &Routing,
    (topic, lane, origin): (Option<&Topic>, &LaneName, usize),
    from: usize,
    gone: &[usize],
) -> Way {
    let Some(route) = first(routing, topic, lane, &node_name(origin)) else {
        return Way {
            local: true,
            ..Way::default()
        };
    };
    let mut but = vec![from, origin];
    but.extend(gone);
    let mut way = way(route, &but);
    way.local |= way.peers.is_empty();
    way
}

/// The first route that takes it.
#[must_use]
pub fn first<'r>(
    routing: &'r Routing,
    topic: Option<&Topic>,
    lane: &LaneName,
    origin: &NodeId,
) -> Option<&'r Route> {
    for route in &routing.routes {
        let of_topic = match (&route.topic, topic) {
            (Some(pattern), Some(topic)) => {
                let pattern: Vec<&str> = pattern.as_str().split('/').collect();
                let topic: Vec<&str> = topic.as_str().split('/').collect();
                matches(&pattern, &topic)
            }
            (None, _) => true,
            (Some(_), None) => false,
        };
        let of_lane = route.lane.is_none() || route.lane.as_ref() == Some(lane);
        let of_origin = match &route.origin {
            None | Some(Whom::Any) => true,
            Some(Whom::Node(node)) => node == origin,
        };
        if of_topic && of_lane && of_origin {
            return Some(route);
        }
    }
    None
}

/// Whether a pattern takes a topic, level by level, by trying everything.
#[must_use]
pub fn matches(pattern: &[&str], topic: &[&str]) -> bool {
    match pattern.split_first() {
        None => topic.is_empty(),
        Some((&"**", rest)) => (0..=topic.len()).any(|n| matches(rest, &topic[n..])),
        Some((level, rest)) => match topic.split_first() {
            Some((own, left)) => (*level == "*" || level == own) && matches(rest, left),
            None => false,
        },
    }
}

/// Whether `from` may hand over what `origin` put.
#[must_use]
pub fn may_bring(routing: &Routing, from: usize, origin: usize) -> bool {
    let named = routing.forward_for.get(&node_name(from));
    let list = named.unwrap_or(&routing.forward_for_others);
    from == origin || list.contains(&Whom::Any) || list.contains(&Whom::Node(node_name(origin)))
}
