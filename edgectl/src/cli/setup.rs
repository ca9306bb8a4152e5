//! `peer`, `lane` and `config`: who is there and how the daemon is set.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::PageArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum PeerVerb {
    /// Each peer, its link and what waits for it
    List(PageArgs),
    /// One peer: its link, its limits, what waits for it in each lane
    Inspect(OnePeer),
    /// End a peer's link; it is dialled anew
    Kick(OnePeer),
    /// Deadletter all that is owed to a peer which the config no longer names
    Drop(OnePeer),
}

#[derive(Debug, Args)]
pub(crate) struct OnePeer {
    /// Which
    pub(crate) peer: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LaneVerb {
    /// Each lane, most urgent first
    List(PageArgs),
    /// Bound what a lane may use, now and until it is set again
    SetBudget(BudgetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    /// Which
    pub(crate) lane: String,
    /// Bytes of a rolling day; 0 is unlimited
    #[arg(long, value_name = "N", required_unless_present = "attempts_per_hour")]
    pub(crate) bytes_per_day: Option<u64>,
    /// Attempts of a rolling hour; 0 is unlimited
    #[arg(long, value_name = "N")]
    pub(crate) attempts_per_hour: Option<u64>,
    /// Only say what it would do
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Each key and its value
    Show {
        /// Also where each value came from
        #[arg(long)]
        origin: bool,
    },
    /// Whether a file would do in place of the daemon's own, and what it would change
    Check {
        /// Which; `-`: standard input
        file: PathBuf,
    },
    /// Read the config again: all of it, or nothing
    Reload,
}
