//! The config: from what was written to what is meant.
//!
//! [`Config::load`] reads all layers ([`Sources`]), refuses what it does not
//! know or cannot believe, and gives a [`Config`] in which every value is its
//! type: the rest of the daemon sees nothing else. Beside it comes
//! [`Effective`]: each key's value and who decided it. An error names place,
//! key, what was found and what was expected.
//!
//! The tables are described where they are read: `service.rs` (the daemon
//! itself), `relay.rs`, `storage.rs`, `peers.rs`, `lanes.rs`, `routes.rs`.
//! `configs/edged.toml` shows every key, and a test keeps the two equal.
//! Values are read from the spanned TOML tree and not by serde derives, which
//! know neither the key's full name nor the layer that wrote it.

mod choice;
mod effective;
mod error;
mod lanes;
mod peers;
mod read;
mod relay;
mod routes;
mod service;
mod sources;
mod storage;
mod tree;
mod value;
mod words;

use std::collections::BTreeMap;

use relay_core::id::{LaneName, NodeId};

pub use self::effective::{Effective, Shown};
pub use self::error::{ConfigError, Fault};
pub use self::lanes::{CONTROL, DEFAULT, Lane};
pub use self::peers::{Peer, PeerName};
pub use self::relay::{Bandwidth, Ingest, OnExhausted, Relay, Retry, Success};
pub use self::routes::{Match, Route, Spool, Target};
pub use self::service::{
    Audit, ControlPlane, DEFAULT_QUIC_PORT, Http, Listen, Log, LogFormat, LogLevel, Node, Renew,
    Rpc, Tls, default_trust_domain,
};
pub use self::sources::Sources;
pub use self::storage::{Durability, Inbox, LEAST_STORAGE, Sink, Storage};
pub use self::tree::Origin;
pub use self::words::{Address, address, duration, show_duration};

use self::read::Section;

/// A checked config. Two are equal when they mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who this is and where it keeps what it owes.
    pub node: Node,
    /// The local socket.
    pub rpc: Rpc,
    /// UDP ports for other nodes.
    pub listen: Listen,
    /// Health and metrics.
    pub http: Http,
    /// Identity and trust.
    pub tls: Tls,
    /// How segments move.
    pub relay: Relay,
    /// What this node may send.
    pub bandwidth: Bandwidth,
    /// What is kept, how safely and for how long.
    pub storage: Storage,
    /// Where arrivals go.
    pub inbox: Inbox,
    /// What one peer may send us.
    pub ingest: Ingest,
    /// Folders whose files are put.
    pub spools: Vec<Spool>,
    /// Whom this node talks to.
    pub peers: Vec<Peer>,
    /// Classes of traffic; the built-in ones are always there.
    pub lanes: BTreeMap<LaneName, Lane>,
    /// Where segments go that name no peer.
    pub routes: Vec<Route>,
    /// Where wishes come from.
    pub control_plane: ControlPlane,
    /// The record of what operators did.
    pub audit: Audit,
    /// What is logged.
    pub log: Log,
}

impl Config {
    /// Reads and checks all layers.
    ///
    /// # Errors
    /// [`ConfigError`] for the first file that cannot be read and the first
    /// key that is refused.
    pub fn load(sources: &Sources) -> Result<(Self, Effective), ConfigError> {
        let base = sources.base();
        let mut root = Section::root(sources.tree()?, &base);
        let mut effective = Effective::default();
        let config = Self::read(&mut root, sources.node().cloned(), &mut effective)?;
        root.done(&mut effective)?;
        config.check(&effective)?;
        Ok((config, effective))
    }

    /// What a node called `id` does when nobody configures it.
    ///
    /// # Panics
    /// Never: the built-in defaults are sound, and a test says so.
    #[must_use]
    pub fn built_in(id: NodeId) -> Self {
        let sources = Sources::new().default_node(Some(id));
        Self::load(&sources)
            .map(|(config, _)| config)
            .expect("the built-in defaults are sound")
    }

    fn read(
        root: &mut Section<'_>,
        id: Option<NodeId>,
        seen: &mut Effective,
    ) -> Result<Self, ConfigError> {
        let node = Node::read(root.section("node")?, id, seen)?;
        let relay = Relay::read(root.section("relay")?, seen)?;
        let storage = Storage::read(root.section("storage")?, seen)?;
        Ok(Self {
            rpc: Rpc::read(root.section("rpc")?, seen)?,
            listen: Listen::read(root.section("listen")?, seen)?,
            http: Http::read(root.section("http")?, seen)?,
            tls: Tls::read(root.section("tls")?, seen)?,
            bandwidth: Bandwidth::read(root.section("bandwidth")?, seen)?,
            inbox: Inbox::read(root.section("inbox")?, &storage, seen)?,
            ingest: Ingest::read(root.section("ingest")?, seen)?,
            spools: Spool::read_all(root.sections("spool")?, seen)?,
            peers: Peer::read_all(root.sections("peers")?, &node.id, seen)?,
            lanes: Lane::read_all(root.section("lanes")?, relay.retry.budget, seen)?,
            routes: Route::read_all(root.sections("routes")?, relay.success_condition, seen)?,
            control_plane: ControlPlane::read(root.section("control_plane")?, seen)?,
            audit: Audit::read(root.section("audit")?, seen)?,
            log: Log::read(root.section("log")?, seen)?,
            node,
            relay,
            storage,
        })
    }

    /// What one table says of another: every name used is a name given.
    fn check(&self, seen: &Effective) -> Result<(), ConfigError> {
        self.check_peers(seen)?;
        for (n, route) in self.routes.iter().enumerate() {
            let lane = route.matches.lane.as_ref();
            self.check_lane(lane, &format!("routes[{n}].match.lane"), seen)?;
        }
        for (n, spool) in self.spools.iter().enumerate() {
            self.check_lane(Some(&spool.lane), &format!("spool[{n}].lane"), seen)?;
            if let Target::Route(name) = &spool.target
                && !self.routes.iter().any(|route| route.name == *name)
            {
                return Err(seen.refused(
                    &format!("spool[{n}].route"),
                    format!("{name:?} is no route of this config"),
                ));
            }
            if spool.dir.starts_with(&self.node.state_dir) {
                let why = format!("\"{}\" lies inside node.state_dir", spool.dir.display());
                return Err(seen.refused(&format!("spool[{n}].dir"), why));
            }
            if self.inbox.sink == Sink::Dir(spool.dir.clone()) {
                let why = format!("\"{}\" is the folder of inbox.sink", spool.dir.display());
                return Err(seen.refused(&format!("spool[{n}].dir"), why));
            }
        }
        Ok(())
    }

    fn check_peers(&self, seen: &Effective) -> Result<(), ConfigError> {
        let mut named = Vec::new();
        named.extend(
            self.tls
                .renew_from
                .iter()
                .map(|id| ("tls.renew_from".to_owned(), id)),
        );
        named.extend(
            self.control_plane
                .upstream
                .iter()
                .map(|id| ("control_plane.upstream".to_owned(), id)),
        );
        for (n, route) in self.routes.iter().enumerate() {
            named.extend(
                route
                    .peers
                    .iter()
                    .map(|id| (format!("routes[{n}].peers"), id)),
            );
        }
        for (n, spool) in self.spools.iter().enumerate() {
            match &spool.target {
                Target::Peer(id) => named.push((format!("spool[{n}].peer"), id)),
                Target::Route(_) => {}
            }
        }
        let known = |id: &NodeId| {
            self.peers
                .iter()
                .any(|peer| peer.id == PeerName::Node(id.clone()))
        };
        if let Some((key, id)) = named.into_iter().find(|(_, id)| !known(id)) {
            return Err(seen.refused(&key, format!("{:?} is no peer of this config", id.as_str())));
        }
        if self.tls.renew == Renew::Upstream
            && self.tls.renew_from.is_none()
            && self.control_plane.upstream.is_none()
        {
            return Err(seen.refused(
                "tls.renew",
                "\"upstream\" needs tls.renew_from or control_plane.upstream".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_lane(
        &self,
        lane: Option<&LaneName>,
        key: &str,
        seen: &Effective,
    ) -> Result<(), ConfigError> {
        match lane.filter(|lane| !self.lanes.contains_key(*lane)) {
            Some(lane) => Err(seen.refused(
                key,
                format!("{:?} is no lane of this config", lane.as_str()),
            )),
            None => Ok(()),
        }
    }
}
