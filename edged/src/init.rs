//! `edged init`: from an empty folder to a node that starts.
//!
//! Writes a config, a state folder and an identity signed by a CA: one of its
//! own, made beside the config, or another's that is at hand. Nothing that
//! exists is ever overwritten, and the config is written last: where it stands,
//! all it names stands too. It is tried by the config reader before anything is
//! written at all.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use certs::{Authority, IssueOptions, UnixTime};
use relay_core::id::NodeId;

use crate::config::{Address, Config, DEFAULT_QUIC_PORT, PeerName, Sources, default_trust_domain};
use crate::lock;

/// What to set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The new node.
    pub node: NodeId,
    /// The folder for everything; by default `/etc/edged`, with the state and
    /// the socket where the system keeps such things.
    pub dir: Option<PathBuf>,
    /// The folder of the CA that signs; by default a new one, `ca` in `dir`.
    pub ca: Option<PathBuf>,
    /// Peers and where to dial them.
    pub peers: Vec<(PeerName, Address)>,
    /// Where peers reach this node; by default UDP port 7443 on all addresses.
    pub listen: Option<SocketAddr>,
    /// The present: the leaf holds from here on.
    pub now: UnixTime,
}

/// What was set up. Prints as words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The node.
    pub node: NodeId,
    /// Its config file.
    pub config: PathBuf,
    /// Its key and chain.
    pub identity: PathBuf,
    /// Its state folder.
    pub state_dir: PathBuf,
    /// The socket it will serve.
    pub socket: PathBuf,
    /// The folder of the CA that signed; `--ca` for the next node.
    pub ca: PathBuf,
    /// Whether that CA was made just now.
    pub made_ca: bool,
    /// Whether it lies where the system's own daemon looks.
    pub for_system: bool,
}

/// Sets up a node.
///
/// # Errors
/// A config, an identity or a CA stands there already, the state folder is
/// somebody else's, the CA cannot sign, the config would be refused, or the
/// system refuses a write.
pub fn init(options: &Options) -> Result<Report> {
    let places = Places::of(options)?;
    places.refuse_to_overwrite()?;
    let (mut authority, made_ca) = match &options.ca {
        Some(dir) => (
            Authority::load(dir).with_context(|| format!("CA {}", dir.display()))?,
            false,
        ),
        None => (
            Authority::create(&default_trust_domain(), options.now).context("new CA")?,
            true,
        ),
    };
    let text = config_text(options, &places, authority.trust_domain().as_str());

    make_folder(&places.dir)?;
    try_out(&places, &text)?;
    lock::prepare(&places.state_dir)?;
    if made_ca {
        authority
            .save(&places.ca)
            .with_context(|| format!("CA {}", places.ca.display()))?;
    } else {
        write_new(&places.root, authority.certificate_pem())?;
    }
    let node = options.node.as_str().parse().context("node id")?;
    let bundle = authority
        .issue(&node, IssueOptions::at(options.now))
        .context("leaf of this node")?;
    bundle
        .save(&places.identity)
        .context("identity of this node")?;
    write_new(&places.config, &text)?;

    Ok(Report {
        node: options.node.clone(),
        config: places.config,
        identity: places.identity,
        state_dir: places.state_dir,
        socket: places.socket,
        ca: places.ca,
        made_ca,
        for_system: options.dir.is_none(),
    })
}

/// The node id that a host's name suggests: its first label in lower case, what
/// fits no node id turned into `-`. None if nothing is left.
#[must_use]
pub fn node_from_hostname(name: &str) -> Option<NodeId> {
    let label = name.trim().split('.').next()?.to_ascii_lowercase();
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let fitted: String = label.chars().map(fit).take(63).collect();
    fitted.trim_matches('-').parse().ok()
}

/// Where everything goes, in absolute paths.
struct Places {
    dir: PathBuf,
    config: PathBuf,
    identity: PathBuf,
    state_dir: PathBuf,
    socket: PathBuf,
    ca: PathBuf,
    root: PathBuf,
}

impl Places {
    fn of(options: &Options) -> Result<Self> {
        let absolute = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("path {}", path.display()))
        };
        let dir = absolute(options.dir.as_deref().unwrap_or(Path::new(SYSTEM_DIR)))?;
        let own = options.dir.is_some();
        let ca = match &options.ca {
            Some(ca) => absolute(ca)?,
            None => dir.join("ca"),
        };
        let root = if options.ca.is_some() {
            dir.join("ca.crt")
        } else {
            ca.join("ca.crt")
        };
        Ok(Self {
            config: dir.join("edged.toml"),
            identity: dir.join("identity.pem"),
            state_dir: if own {
                dir.join("state")
            } else {
                SYSTEM_STATE.into()
            },
            socket: if own {
                dir.join("rpc.sock")
            } else {
                SYSTEM_SOCKET.into()
            },
            ca,
            root,
            dir,
        })
    }

    fn refuse_to_overwrite(&self) -> Result<()> {
        for (what, path) in [("a config", &self.config), ("an identity", &self.identity)] {
            if path.symlink_metadata().is_ok() {
                bail!(
                    "{} is {what} already, and init never overwrites one (choose another --dir, or move it away)",
                    path.display()
                );
            }
        }
        // With --ca the root is a copy in our folder; without it, it is the CA.
        if self.root.symlink_metadata().is_ok() {
            bail!(
                "{} exists already, and init never overwrites one (sign with that CA: --ca {}, or move it away)",
                self.root.display(),
                self.ca.display()
            );
        }
        Ok(())
    }

    /// A path as the config writes it: short where it lies in our folder.
    fn written<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.dir).unwrap_or(path).display()
    }
}

const SYSTEM_DIR: &str = "/etc/edged";
const SYSTEM_STATE: &str = "/var/lib/edged";
const SYSTEM_SOCKET: &str = "/run/edged/rpc.sock";

/// The whole config file.
fn config_text(options: &Options, places: &Places, trust_domain: &str) -> String {
    let any = SocketAddr::from(([0, 0, 0, 0], DEFAULT_QUIC_PORT));
    let renew = match options.ca {
        None => "# The CA key lies on this node, beside ca.\nrenew = \"ca\"",
        Some(_) => "# The CA is elsewhere: bring a new bundle in time.\nrenew = \"off\"",
    };
    let mut text = format!(
        "# edged on {node}, written by `edged init`.\n\
         # configs/edged.toml shows every key with its default. Relative paths start\n\
         # at the folder of this file.\n\
         \n\
         [node]\n\
         id = {node:?}\n\
         # All state; one process at a time.\n\
         state_dir = {state:?}\n\
         trust_domain = {trust_domain:?}\n\
         \n\
         [rpc]\n\
         # For edgectl --socket PATH.\n\
         socket = {socket:?}\n\
         \n\
         [listen]\n\
         # Where peers reach this node, UDP.\n\
         quic = {listen:?}\n\
         \n\
         [tls]\n\
         # Whom we trust.\n\
         ca = {root:?}\n\
         # Who we are: key and chain.\n\
         bundle = {identity:?}\n\
         {renew}\n",
        node = options.node.as_str(),
        state = places.written(&places.state_dir).to_string(),
        socket = places.written(&places.socket).to_string(),
        listen = options.listen.unwrap_or(any).to_string(),
        root = places.written(&places.root).to_string(),
        identity = places.written(&places.identity).to_string(),
    );
    for (id, addresses) in by_peer(&options.peers) {
        text.push_str(&format!(
            "\n[[peers]]\nid = {:?}\naddresses = {addresses:?}\n",
            id.to_string()
        ));
    }
    if options.peers.is_empty() {
        text.push_str("\n# Nobody to talk to yet:\n#[[peers]]\n#id = \"depot-7\"\n#addresses = [\"depot-7.example:7443\"]\n");
    }
    text
}

/// Each peer once, with all addresses given for it, in the order given.
fn by_peer(peers: &[(PeerName, Address)]) -> Vec<(&PeerName, Vec<String>)> {
    let mut grouped: Vec<(&PeerName, Vec<String>)> = Vec::new();
    for (id, address) in peers {
        match grouped.iter_mut().find(|(known, _)| *known == id) {
            Some((_, addresses)) => addresses.push(address.to_string()),
            None => grouped.push((id, vec![address.to_string()])),
        }
    }
    grouped
}

/// Lets the config reader judge what is about to be written.
fn try_out(places: &Places, text: &str) -> Result<()> {
    let mut draft = tempfile::NamedTempFile::new_in(&places.dir)
        .with_context(|| format!("folder {}", places.dir.display()))?;
    draft
        .write_all(text.as_bytes())
        .context("draft of the config")?;
    Config::load(&Sources::new().file(draft.path())).context("the config to be written")?;
    Ok(())
}

/// Makes a folder that everyone may enter: secrets in it are files of mode 0600.
fn make_folder(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create folder {}", dir.display()))
}

/// Writes a file that must not exist, to stable storage.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = if self.made_ca { " (new)" } else { "" };
        writeln!(f, "Node {} is set up", self.node)?;
        writeln!(f, "  Config:    {}", self.config.display())?;
        writeln!(f, "  Identity:  {}", self.identity.display())?;
        writeln!(f, "  State:     {}", self.state_dir.display())?;
        writeln!(f, "  CA:        {}{made}", self.ca.display())?;
        if self.for_system {
            writeln!(f, "Hand it to the daemon's user:")?;
            writeln!(f, "  chown -R edged: {} {}", SYSTEM_DIR, SYSTEM_STATE)?;
        }
        writeln!(f, "Start it:")?;
        writeln!(f, "  edged run --config {}", self.config.display())?;
        writeln!(f, "Ask it:")?;
        writeln!(
            f,
            "  edgectl --socket {} relay status",
            self.socket.display()
        )?;
        writeln!(f, "Set up a peer that trusts it:")?;
        write!(
            f,
            "  edged init --node PEER --dir DIR --ca {} --peer {}=HOST:PORT",
            self.ca.display(),
            self.node
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_becomes_a_node_id() {
        let node = |name: &str| node_from_hostname(name).map(|id| id.to_string());

        assert_eq!(node("Depot_7.example.com\n"), Some("depot-7".to_owned()));
        assert_eq!(node("alpha"), Some("alpha".to_owned()));
        assert_eq!(node(&"x".repeat(80)), Some("x".repeat(63)));
        assert_eq!(node("---"), None);
        assert_eq!(node(""), None);
    }
}
