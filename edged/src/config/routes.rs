//! Where segments go that name no peer: `[[routes]]`, and folders whose files
//! are put: `[[spool]]`.
//!
//! Both are checked in shape here; matching and reading belong to others.

use std::path::PathBuf;

use relay_core::id::{LaneName, NodeId};
use relay_core::route::TopicPattern;
use relay_core::segment::Topic;

use super::effective::Effective;
use super::error::{Fault, Result};
use super::peers::PeerName;
use super::read::Section;
use super::relay::Success;
use super::relay::success as read_success;
use super::tree::Value;

/// One `[[routes]]`: the first that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its only name.
    pub name: String,
    /// What it applies to.
    pub matches: Match,
    /// To whom it sends.
    pub peers: Vec<NodeId>,
    /// When such a segment is done.
    pub success: Success,
    /// Whether this node's inbox gets it, too.
    pub local: bool,
}

/// `match = { … }`: all that is written must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The topic.
    pub topic: Option<TopicPattern>,
    /// The lane.
    pub lane: Option<LaneName>,
    /// The node where the segment entered.
    pub origin: Option<PeerName>,
}

impl Route {
    /// All routes in order, each name once.
    pub(super) fn read_all(
        sections: Vec<Section<'_>>,
        success: Success,
        seen: &mut Effective,
    ) -> Result<Vec<Self>> {
        let mut routes: Vec<Self> = Vec::new();
        for mut s in sections {
            let matches = Match::read(s.section("match")?, seen)?;
            let route = Self {
                name: s.required("name", "a name for messages, such as \"alarms\"")?,
                matches,
                peers: s.list("peers")?,
                success: read_success(&mut s, "success", success)?,
                local: s.boolean("local", false)?,
            };
            if let Some(first) = routes.iter().position(|other| other.name == route.name) {
                let first = seen
                    .find(&format!("routes[{first}].name"))
                    .map(|shown| shown.origin.clone());
                let first = first.expect("the name of a route read before is noted");
                return Err(s.refused(
                    "name",
                    Fault::Duplicate {
                        name: route.name,
                        first,
                    },
                ));
            }
            if let Some((key, why)) = route.contradiction() {
                return Err(s.refused(key, Fault::Value(why)));
            }
            s.done(seen)?;
            routes.push(route);
        }
        Ok(routes)
    }

    fn contradiction(&self) -> Option<(&'static str, String)> {
        if self.peers.is_empty() && !self.local {
            return Some((
                "peers",
                "an empty list and not local, so nobody would get the segment".to_owned(),
            ));
        }
        match self.success {
            Success::Count(count) if usize::from(count.get()) > self.peers.len() => Some((
                "success",
                format!("{count} is more than its {} peers", self.peers.len()),
            )),
            Success::Count(_) | Success::AllPeers | Success::OnePeer => None,
        }
    }
}

impl Match {
    fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let matches = Self {
            topic: s.optional("topic")?,
            lane: s.optional("lane")?,
            origin: s.optional("origin")?,
        };
        s.done(seen)?;
        Ok(matches)
    }
}

/// One `[[spool]]`: files dropped into `dir` are put, then removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// The folder, outside the state folder.
    pub dir: PathBuf,
    /// To whom its files go.
    pub target: Target,
    /// On which lane.
    pub lane: LaneName,
    /// With which topic.
    pub topic: Option<Topic>,
}

/// Whom a put is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One peer.
    Peer(NodeId),
    /// Whoever the route of this name says.
    Route(String),
}

impl Spool {
    /// All spools.
    pub(super) fn read_all(sections: Vec<Section<'_>>, seen: &mut Effective) -> Result<Vec<Self>> {
        sections
            .into_iter()
            .map(|section| Self::read(section, seen))
            .collect()
    }

    fn read(mut s: Section<'_>, seen: &mut Effective) -> Result<Self> {
        let dir = s.path("dir", None)?;
        let dir = dir.ok_or_else(|| {
            s.refused(
                "dir",
                Fault::Missing {
                    expected: "a folder",
                },
            )
        })?;
        let target = match (s.optional("peer")?, s.optional("route")?) {
            (Some(peer), None) => Target::Peer(peer),
            (None, Some(route)) => Target::Route(route),
            (Some(_), Some(_)) => {
                return Err(s.refused(
                    "route",
                    Fault::Value("peer is set as well, expected one of the two".to_owned()),
                ));
            }
            (None, None) => {
                return Err(s.refused(
                    "peer",
                    Fault::Missing {
                        expected: "peer or route",
                    },
                ));
            }
        };
        let topic = |value: &Value, _| match value {
            Value::Text(text) if text.is_empty() => Ok(None),
            Value::Text(text) => text
                .parse()
                .map(Some)
                .map_err(|why: relay_core::segment::MetaError| Fault::Value(why.to_string())),
            Value::Integer(_)
            | Value::Boolean(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Foreign(..) => Err(Fault::WrongType {
                found: value.to_string(),
                expected: "a topic such as \"meter/daily\"",
            }),
        };
        let show = |topic: &Option<Topic>| {
            topic
                .as_ref()
                .map_or_else(String::new, |t| t.as_str().to_owned())
        };
        let spool = Self {
            dir,
            target,
            lane: s.parsed(
                "lane",
                super::lanes::DEFAULT
                    .parse()
                    .expect("a built-in lane has a sound name"),
            )?,
            topic: s.read("topic", None, show, topic)?,
        };
        s.done(seen)?;
        Ok(spool)
    }
}
