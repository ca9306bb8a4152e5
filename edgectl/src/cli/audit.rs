//! `audit`: what was done here, by whom and why, in a chain that shows edits.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser as _};
use clap::{Args, Subcommand, ValueEnum};
use edged_rpc::{AuditFilter, Moment};

use super::{Operator, PageArgs};
use crate::units;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// The node's config, for when no daemon answers
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "EDGED_CONFIG",
        default_value = "/etc/edged/edged.toml"
    )]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: AuditVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Entries, newest first
    Query(QueryArgs),
    /// Whether every entry stands where it was written
    Verify,
    /// How many entries there are, by event, category, outcome and operator
    Summary(FilterArgs),
    /// All entries, oldest first
    Export(ExportArgs),
    /// Remove the oldest entries; without --force only say which
    Prune(PruneArgs),
    /// Write the oldest entries to a file, then remove them
    Archive(ArchiveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only events of this name; `*` stands for any part of it
    #[arg(long)]
    event_type: Option<String>,
    /// Only of this category: rollout, ha, relay, cert, auth, system or rollback
    #[arg(long)]
    category: Option<String>,
    /// Only with this outcome: success, failure, denied or pending
    #[arg(long)]
    outcome: Option<String>,
    /// Only by this operator; before the noun, --operator says who asks
    #[arg(
        long,
        visible_alias = "by",
        value_name = "NAME",
        value_parser = StringValueParser::new().map(Operator::Did)
    )]
    operator: Option<Operator>,
    /// Not before: 2h ago, or 2026-01-31T06:00:00Z
    #[arg(long, value_parser = units::past)]
    since: Option<Moment>,
    /// Before
    #[arg(long, value_parser = units::past)]
    until: Option<Moment>,
}

impl From<FilterArgs> for AuditFilter {
    fn from(args: FilterArgs) -> Self {
        Self {
            event_type: args.event_type,
            category: args.category,
            outcome: args.outcome,
            operator: match args.operator {
                Some(Operator::Did(name)) => Some(name),
                Some(Operator::Asks(_)) | None => None,
            },
            since: args.since,
            until: args.until,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    /// One document
    Json,
    /// One entry a line
    Jsonl,
    /// A table for spreadsheets; a cell that would be a formula gets a quote before it
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// How
    #[arg(long, value_enum, default_value = "jsonl")]
    pub(crate) format: AuditFormat,
    /// Write to this file, whole or not at all; `-` or nothing: standard output
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Those written longer ago than this, e.g. 90d
    #[arg(long, value_parser = units::duration)]
    pub(crate) older_than: Duration,
    /// Really
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// Those written longer ago than this
    #[arg(long, value_parser = units::duration, default_value = "90d")]
    pub(crate) older_than: Duration,
    /// Where to; it must not exist
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: PathBuf,
}
