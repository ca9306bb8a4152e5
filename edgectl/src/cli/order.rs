//! `relay`: where deliveries stand, and what operators order.

use std::time::Duration;

use clap::{Args, Subcommand};
use edged_rpc::{Scope, Selection, State, Until};

use super::{PageArgs, state};
use crate::units;

#[derive(Debug, Subcommand)]
pub(crate) enum RelayVerb {
    /// The whole picture
    Status(StatusArgs),
    /// Deliveries, newest first
    List(RelayListArgs),
    /// Why a segment does not move, or what blocks how much
    Why(WhyArgs),
    /// How the relay is set
    #[command(subcommand)]
    Config(RelayConfigVerb),
    /// Begin nothing new: to a peer, in a lane, or at all
    Pause(PauseArgs),
    /// End a pause of exactly this scope
    Resume(ScopeArgs),
    /// Keep a segment from being sent until it is released
    Hold(Deliveries),
    /// Let a held segment go again
    Release(Deliveries),
    /// Deliveries that were parked, and what to do with them
    #[command(subcommand)]
    Deadletter(DeadletterVerb),
    /// What was damaged and taken out of the way of the rest
    #[command(subcommand)]
    Quarantine(QuarantineVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineVerb {
    /// Each entry, newest first: what it was, where it lay, what it costs
    List(PageArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Again every second, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// Between two looks of --watch
    #[arg(long, hide = true, default_value = "1s", value_parser = units::duration)]
    pub(crate) interval: Duration,
    /// Also the books of each peer and lane
    #[arg(long)]
    pub(crate) books: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct WhyArgs {
    /// An id, or a unique prefix of one
    #[arg(conflicts_with = "all")]
    pub(crate) segment: Option<String>,
    /// Only to this peer
    #[arg(requires = "segment")]
    pub(crate) peer: Option<String>,
    /// What blocks how many deliveries, the most first
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RelayListArgs {
    /// Only in this state
    #[arg(long, value_parser = state)]
    pub(crate) state: Option<State>,
    /// Only to this peer
    #[arg(long)]
    pub(crate) peer: Option<String>,
    /// Only of this lane
    #[arg(long)]
    pub(crate) lane: Option<String>,
    /// Only deadlettered for this cause
    #[arg(long)]
    pub(crate) cause: Option<String>,
    /// Only with this topic: `*` is any one level, `**` any number of them
    #[arg(long, value_name = "PATTERN")]
    pub(crate) topic: Option<String>,
    /// Only last changed longer ago, e.g. 2h
    #[arg(long, value_name = "AGE", value_parser = units::ttl)]
    pub(crate) older_than: Option<u64>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RelayConfigVerb {
    /// How the relay is set, and its limits
    Get,
    /// Set the rate or the daily quota, now and until it is reset
    SetBandwidth(BandwidthArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BandwidthArgs {
    /// Bytes a second; 0 is unlimited
    #[arg(
        long,
        value_name = "N",
        required_unless_present_any = ["daily_quota_bytes", "reset"]
    )]
    pub(crate) bytes_per_second: Option<u64>,
    /// Bytes of a rolling day; 0 is unlimited
    #[arg(long, value_name = "N")]
    pub(crate) daily_quota_bytes: Option<u64>,
    /// For this peer alone
    #[arg(long)]
    pub(crate) peer: Option<String>,
    /// Only until the daemon starts again
    #[arg(long, conflicts_with = "reset")]
    pub(crate) ephemeral: bool,
    /// Only say what it would do
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Forget what was stored: the config holds again
    #[arg(long, conflicts_with_all = ["bytes_per_second", "daily_quota_bytes"])]
    pub(crate) reset: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    /// This peer alone
    #[arg(long)]
    pub(crate) peer: Option<String>,
    /// This lane alone
    #[arg(long)]
    pub(crate) lane: Option<String>,
}

impl From<ScopeArgs> for Scope {
    fn from(ScopeArgs { peer, lane }: ScopeArgs) -> Self {
        Self { peer, lane }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// What is in flight runs on (the default)
    #[arg(long, conflicts_with = "now")]
    pub(crate) drain: bool,
    /// What is in flight returns to its queue; no attempt is spent
    #[arg(long)]
    pub(crate) now: bool,
    /// End by itself: after a duration (2h) or at a time (2026-01-31T06:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = units::until)]
    pub(crate) until: Option<Until>,
}

#[derive(Debug, Args)]
pub(crate) struct Deliveries {
    /// A segment: an id, or a unique prefix of one
    pub(crate) segment: String,
    /// To this peer; otherwise to every peer it goes to
    pub(crate) peer: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadletterVerb {
    /// What was parked, newest first
    List(DeadletterListArgs),
    /// One entry and its attempts
    Inspect(OneDelivery),
    /// Put one back to work, or all that match
    Retry(RetryArgs),
    /// Remove one for good, or all that match; without --force only say which
    Purge(PurgeArgs),
    /// Park a delivery by hand; needs --reason
    Force(OneDelivery),
}

#[derive(Debug, Args)]
pub(crate) struct OneDelivery {
    /// A segment: an id, or a unique prefix of one
    pub(crate) segment: String,
    /// Its peer
    pub(crate) peer: String,
}

/// Which deadletters; every filter narrows.
#[derive(Debug, Args)]
pub(crate) struct SelectionArgs {
    /// Only to this peer
    #[arg(long)]
    peer: Option<String>,
    /// Only of this lane
    #[arg(long)]
    lane: Option<String>,
    /// Only parked for this cause
    #[arg(long)]
    cause: Option<String>,
    /// Only parked longer ago, e.g. 2h
    #[arg(long, value_name = "AGE", value_parser = units::ttl)]
    older_than: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct DeadletterListArgs {
    #[command(flatten)]
    pub(crate) which: SelectionArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

impl SelectionArgs {
    /// The filters of a list.
    pub(crate) fn list(self, page: PageArgs) -> edged_rpc::RelayList {
        edged_rpc::RelayList {
            state: Some(State::Deadletter),
            peer: self.peer,
            lane: self.lane,
            cause: self.cause,
            topic: None,
            older_than_seconds: self.older_than,
            page: page.into(),
        }
    }
}

/// Filters of a bulk verb, by size too.
#[derive(Debug, Args)]
pub(crate) struct BulkArgs {
    /// All that match: without a filter, all there are
    #[arg(long)]
    pub(crate) all: bool,
    /// Only to this peer
    #[arg(long, requires = "all")]
    peer: Option<String>,
    /// Only of this lane
    #[arg(long, requires = "all")]
    lane: Option<String>,
    /// Only parked for this cause
    #[arg(long, requires = "all")]
    cause: Option<String>,
    /// Only parked longer ago, e.g. 2h
    #[arg(long, requires = "all", value_name = "AGE", value_parser = units::ttl)]
    older_than: Option<u64>,
    /// Only segments of at least so many bytes
    #[arg(long, requires = "all", value_name = "BYTES")]
    least_bytes: Option<u64>,
    /// Only segments of at most so many bytes
    #[arg(long, requires = "all", value_name = "BYTES")]
    most_bytes: Option<u64>,
}

impl From<BulkArgs> for Selection {
    fn from(args: BulkArgs) -> Self {
        Self {
            peer: args.peer,
            lane: args.lane,
            cause: args.cause,
            older_than_seconds: args.older_than,
            least_bytes: args.least_bytes,
            most_bytes: args.most_bytes,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// A segment: an id, or a unique prefix of one
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) segment: Option<String>,
    /// Its peer
    #[arg(
        value_name = "PEER",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) peer_id: Option<String>,
    #[command(flatten)]
    pub(crate) bulk: BulkArgs,
    /// A new time to live, e.g. 1h; an expired one needs it
    #[arg(long, value_parser = units::ttl)]
    pub(crate) ttl: Option<u64>,
    /// Only say which
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// A segment: an id, or a unique prefix of one
    #[arg(
        long,
        value_name = "SEG",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) segment_id: Option<String>,
    /// Its peer
    #[arg(
        long,
        value_name = "PEER",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) peer_id: Option<String>,
    #[command(flatten)]
    pub(crate) bulk: BulkArgs,
    /// Do it
    #[arg(long)]
    pub(crate) force: bool,
}
