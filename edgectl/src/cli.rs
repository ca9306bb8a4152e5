//! The command line, as `surface.md` lists it: what can be asked, nothing of how.

mod audit;
mod order;
mod setup;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};
use edged_rpc::{InboxFilter, MAX_PAGE, Paging, State, Success};

use crate::units;

pub(crate) use audit::*;
pub(crate) use order::*;
pub(crate) use setup::*;

/// Talk to the edged daemon of this machine.
#[derive(Debug, Parser)]
#[command(name = "edgectl", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// The daemon's socket
    #[arg(
        long,
        global = true,
        env = "EDGED_SOCKET",
        default_value = "/run/edged/rpc.sock"
    )]
    pub(crate) socket: PathBuf,
    /// How to print
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Format,
    /// Short for --output json
    #[arg(long, global = true)]
    json: bool,
    /// Give up after this long without progress (ms, s, m, h)
    #[arg(long, global = true, default_value = "10s", value_parser = units::duration)]
    pub(crate) timeout: Duration,
    /// Who asks, for the audit
    #[arg(
        long,
        global = true,
        env = "AUTONOMY_OPERATOR",
        value_name = "NAME",
        value_parser = StringValueParser::new().map(Operator::Asks)
    )]
    operator: Option<Operator>,
    /// Why, in your own words, for the audit
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Do not ask before what cannot be undone
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

impl Globals {
    pub(crate) fn json(&self) -> bool {
        self.json || self.output == Format::Json
    }

    /// Who asks, if they say so.
    pub(crate) fn operator(&self) -> Option<String> {
        match self.operator.clone()? {
            Operator::Asks(name) => Some(name),
            Operator::Did(_) => None,
        }
    }
}

/// Whom `--operator` names. Its value is seen by a command and by those above it alike,
/// so it says itself which of the two was meant.
#[derive(Debug, Clone)]
pub(crate) enum Operator {
    /// Who asks: of every command.
    Asks(String),
    /// Who did what is asked about: of `audit query` and `audit summary`.
    Did(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Bytes on their way to peers
    #[command(subcommand)]
    Segment(SegmentVerb),
    /// Bytes that arrived here
    #[command(subcommand)]
    Inbox(InboxVerb),
    /// The relay as a whole, and each delivery
    #[command(subcommand)]
    Relay(RelayVerb),
    /// The nodes this one talks to
    #[command(subcommand)]
    Peer(PeerVerb),
    /// Classes of traffic
    #[command(subcommand)]
    Lane(LaneVerb),
    /// How the daemon is set
    #[command(subcommand)]
    Config(ConfigVerb),
    /// What was done here, by whom and why
    Audit(AuditArgs),
    /// Words for your shell to complete, e.g. `edgectl completions bash`
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Versions of this command and of the daemon
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SegmentVerb {
    /// Store a segment for delivery and print its id
    Put(PutArgs),
    /// Segments kept here, newest first
    List(SegmentListArgs),
    /// One segment, its deliveries, their attempts
    Inspect(OneSegment),
    /// Write a segment's bytes
    Get(GetArgs),
    /// Call a segment back: to the deadletter as `cancelled`
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// An id, or a unique prefix of one
    pub(crate) segment: String,
    /// Only from this peer
    #[arg(long)]
    pub(crate) peer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// What to put; a folder: every file in it; `-` or nothing: standard input
    pub(crate) file: Option<PathBuf>,
    /// Deliver to this peer; may be repeated
    #[arg(
        long = "peer",
        required_unless_present = "route",
        conflicts_with = "route"
    )]
    pub(crate) peers: Vec<String>,
    /// Deliver to the peers of this route
    #[arg(long)]
    pub(crate) route: Option<String>,
    /// The lane to travel on
    #[arg(long, default_value = "default")]
    pub(crate) lane: String,
    /// What it is about, e.g. alarm/pump-3
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// A label; may be repeated
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// How long it is worth delivering, e.g. 1h
    #[arg(long, value_parser = units::ttl)]
    pub(crate) ttl: Option<u64>,
    /// Idempotency key: the same put again returns the first id
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// When it counts as delivered: all_peers, one_peer or a number of peers
    #[arg(long, value_parser = success)]
    pub(crate) success: Option<Success>,
}

#[derive(Debug, Args)]
pub(crate) struct SegmentListArgs {
    /// Only of this lane
    #[arg(long)]
    pub(crate) lane: Option<String>,
    /// Only to this peer
    #[arg(long)]
    pub(crate) peer: Option<String>,
    /// Only in this state
    #[arg(long, value_parser = state)]
    pub(crate) state: Option<State>,
    /// Only with this topic: `*` is any one level, `**` any number of them
    #[arg(long, value_name = "PATTERN")]
    pub(crate) topic: Option<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OneSegment {
    /// An id, or a unique prefix of one
    pub(crate) segment: String,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// An id, or a unique prefix of one
    pub(crate) segment: String,
    /// Write to this file, whole or not at all; `-` or nothing: standard output
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InboxVerb {
    /// What arrived, oldest first: the order in which it is taken
    List(InboxListArgs),
    /// Write an item's bytes; leases nothing
    Get(GetArgs),
    /// Lease the oldest ready items
    Take(TakeArgs),
    /// Say that items are processed
    Confirm(ConfirmArgs),
    /// Print items as they arrive, or hand each to a command
    Follow(FollowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InboxListArgs {
    #[command(flatten)]
    pub(crate) which: InboxWhich,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InboxWhich {
    /// Only from this node
    #[arg(long)]
    origin: Option<String>,
    /// Only with this topic: `*` is any one level, `**` any number of them
    #[arg(long, value_name = "PATTERN")]
    topic: Option<String>,
    /// Only of this lane
    #[arg(long)]
    lane: Option<String>,
}

impl InboxWhich {
    pub(crate) fn filter(&self) -> InboxFilter {
        let Self {
            origin,
            topic,
            lane,
        } = self;
        InboxFilter {
            origin: origin.clone(),
            topic: topic.clone(),
            lane: lane.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    pub(crate) which: InboxWhich,
    /// End after so many items; with --exec, after so many runs of the command
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
    /// Run this command for each item, without a shell; everything behind is its arguments.
    /// The payload is its standard input, what is known of it in EDGED_*. Exit 0 confirms;
    /// what fails is run again, after 1 s and then later each time, and is parked as
    /// `refused` after 8 tries. One run may take 60 s; 4 run at once
    #[arg(
        long,
        value_name = "CMD",
        num_args = 1..,
        allow_hyphen_values = true
    )]
    pub(crate) exec: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    pub(crate) which: InboxWhich,
    /// At most this many
    #[arg(long, default_value_t = 100)]
    pub(crate) max: u32,
    /// Write each item to this folder as seg-….bin and seg-….json, then confirm it
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// Ids, or unique prefixes of them
    #[arg(required = true)]
    pub(crate) segments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// At most this many rows
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_PAGE)))]
    limit: u32,
    /// Go on behind this row, as the page before said
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
}

impl From<PageArgs> for Paging {
    fn from(PageArgs { limit, after }: PageArgs) -> Self {
        Self { limit, after }
    }
}

/// Whether a command line that could not be read asks for errors in JSON.
pub(crate) fn asks_for_json(args: &[OsString]) -> bool {
    let pair = |pair: &[OsString]| pair[0] == "--output" && pair[1] == "json";
    args.iter()
        .any(|arg| arg == "--json" || arg == "--output=json")
        || args.windows(2).any(pair)
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("{text:?} is no label (try key=value)")),
    }
}

fn success(text: &str) -> Result<Success, String> {
    match text {
        "all_peers" => Ok(Success::AllPeers),
        "one_peer" => Ok(Success::OnePeer),
        _ => match text.parse() {
            Ok(count) if count > 0 => Ok(Success::Count(count)),
            Ok(_) | Err(_) => Err(format!(
                "{text:?} is not all_peers, one_peer or a number of peers"
            )),
        },
    }
}

pub(crate) fn state(text: &str) -> Result<State, String> {
    let all = [
        State::Scheduled,
        State::Inflight,
        State::Failed,
        State::Acked,
        State::Deadletter,
    ];
    let found = all.into_iter().find(|state| state.to_string() == text);
    found.ok_or_else(|| {
        format!("{text:?} is no state (scheduled, inflight, failed, acked, deadletter)")
    })
}
