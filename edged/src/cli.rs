//! The command line of `edged`: words to typed arguments, nothing else.
//!
//! `edged --config FILE` is `edged run --config FILE`. What the flags mean for
//! the config is said by [`RunArgs::sources`]; they are its uppermost layer.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use certs::UnixTime;
use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_core::id::NodeId;
use relay_core::units::{ByteCount, Rate};

use crate::config::{Address, LogFormat, LogLevel, PeerName, Sources, address};
use crate::init;

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "edged",
    version,
    about = "Relay daemon for the edge: stores segments, forwards them to peers, loses none",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

/// What `edged` can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (also what plain `edged --config FILE` does)
    Run(RunArgs),
    /// Write a working config and an identity, so that `run` starts at once
    Init(InitArgs),
    /// Relay files between two nodes on this machine, cut and kill them, count what arrived
    Demo(DemoArgs),
    /// Check the ledger and every payload of a node that does not run
    Fsck(FsckArgs),
    /// What `edgectl` runs when no daemon answers and the verb can work without one
    Offline(OfflineArgs),
}

impl Cli {
    /// The command; `run` if none was named.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

/// Arguments of `edged run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The config file; `conf.d/*.toml` beside it is laid over it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The local socket [config: rpc.socket]
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace [config: log.level]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// How it is logged: text, json or journald [config: log.format]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Where health and metrics are served [config: http.listen]
    #[arg(long, value_name = "ADDR")]
    pub http_addr: Option<SocketAddr>,
}

/// Where the config is when nobody says so.
const DEFAULT_CONFIG: &str = "/etc/edged/edged.toml";

impl RunArgs {
    /// All layers of the config: file, `environment`, these flags. `hostname`
    /// gives the node id when no layer says one.
    #[must_use]
    pub fn sources(
        &self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        hostname: Option<&str>,
    ) -> Sources {
        let socket = self
            .control_socket
            .as_ref()
            .map(|path| path.display().to_string());
        Sources::new()
            .file(&self.config)
            .environment(environment)
            .flag("--control-socket", "rpc.socket", socket)
            .flag(
                "--log-level",
                "log.level",
                self.log_level.map(|level| level.to_string()),
            )
            .flag(
                "--log-format",
                "log.format",
                self.log_format.map(|format| format.to_string()),
            )
            .flag(
                "--http-addr",
                "http.listen",
                self.http_addr.map(|address| address.to_string()),
            )
            .default_node(hostname.and_then(init::node_from_hostname))
    }
}

/// Arguments of `edged fsck`.
#[derive(Debug, Clone, Args)]
pub struct FsckArgs {
    /// The config of the node
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// Do what a start would do about damage, and remove what nothing names
    #[arg(long)]
    pub repair: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Arguments of `edged offline`.
#[derive(Debug, Clone, Args)]
pub struct OfflineArgs {
    /// What is asked; the question itself is read from standard input
    #[arg(value_enum)]
    pub verb: OfflineVerb,
    /// The config of the node
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
}

/// What can be asked without a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OfflineVerb {
    /// The audit chain
    Audit,
}

/// Arguments of `edged init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The node id, 1 to 63 of a-z, 0-9 and - [default: the host's name]
    #[arg(long, value_name = "ID")]
    pub node: Option<NodeId>,
    /// The folder for config, identity, state and socket [default: /etc/edged, /var/lib/edged, /run/edged]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The folder of the CA that signs, whose key is not copied [default: a new CA, DIR/ca]
    #[arg(long, value_name = "DIR")]
    pub ca: Option<PathBuf>,
    /// A peer and where to dial it; may be repeated
    #[arg(long = "peer", value_name = "ID=HOST:PORT", value_parser = peer)]
    pub peers: Vec<(PeerName, Address)>,
    /// Where peers reach this node, UDP [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}

impl InitArgs {
    /// The arguments, with the host's name and the present filled in.
    ///
    /// # Errors
    /// No node id was typed and the host's name gives none.
    pub fn into_options(self, hostname: Option<&str>, now: UnixTime) -> Result<init::Options> {
        let node = self
            .node
            .or_else(|| hostname.and_then(init::node_from_hostname));
        Ok(init::Options {
            node: node.context("the host's name gives no node id (say one: --node ID)")?,
            dir: self.dir,
            ca: self.ca,
            peers: self.peers,
            listen: self.listen,
            now,
        })
    }
}

fn peer(text: &str) -> Result<(PeerName, Address), String> {
    let (id, at) = text.split_once('=').ok_or("expected ID=HOST:PORT")?;
    let id = id
        .parse()
        .map(PeerName::Node)
        .map_err(|why: relay_core::id::IdError| why.to_string())?;
    Ok((id, address(at)?))
}

/// Arguments of `edged demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Files and folders to relay, one segment a file [default: this repository's tracked files]
    #[arg(value_name = "PATH", conflicts_with_all = ["segments", "size"])]
    pub paths: Vec<PathBuf>,
    /// Leave both nodes running and say how to look at them
    #[arg(long)]
    pub keep: bool,
    /// Limit the sender, such as 1MiB/s
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// Relay made-up segments, so many
    #[arg(long, value_name = "N", requires = "size", value_parser = clap::value_parser!(u32).range(1..))]
    pub segments: Option<u32>,
    /// The size of each made-up segment, such as 4KiB
    #[arg(long, value_name = "S", requires = "segments")]
    pub size: Option<ByteCount>,
    /// Cut no link and kill no node
    #[arg(long)]
    pub no_faults: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// The name of this host, as the kernel has it.
#[must_use]
pub fn hostname() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["edged"], words].concat()).map(Cli::into_command)
    }

    #[test]
    fn the_command_line_contradicts_nothing_in_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn plain_edged_runs_the_daemon() {
        for words in [&["--config", "x.toml"][..], &["run", "--config", "x.toml"]] {
            let command = parse(words).expect("both are run");

            assert!(
                matches!(command, Command::Run(run) if run.config.ends_with("x.toml")),
                "{words:?}"
            );
        }
    }

    #[test]
    fn init_reads_peers_by_id_and_address() {
        let words = [
            "init",
            "--node",
            "a",
            "--peer",
            "b=[::1]:1",
            "--peer",
            "c=host:2",
        ];

        let Ok(Command::Init(init)) = parse(&words) else {
            panic!("init is a command")
        };

        let peers: Vec<_> = init
            .peers
            .iter()
            .map(|(id, at)| format!("{id} {at}"))
            .collect();
        assert_eq!(peers, ["b [::1]:1", "c host:2"]);
        for bad in ["b", "b=host", "B=host:1", "*=host:1"] {
            assert!(parse(&["init", "--peer", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_demo_relays_files_or_made_up_segments_not_both() {
        assert!(parse(&["demo", "src", "--rate", "1MiB/s", "--no-faults"]).is_ok());
        assert!(
            parse(&[
                "demo",
                "--segments",
                "10",
                "--size",
                "4KiB",
                "--output",
                "json"
            ])
            .is_ok()
        );
        assert!(parse(&["demo", "--segments", "10"]).is_err());
        assert!(parse(&["demo", "src", "--segments", "10", "--size", "4KiB"]).is_err());
    }
}
