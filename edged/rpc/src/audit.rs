//! The words of the audit: entries of the chain, sums of them, and whether it holds.
//!
//! Only root, the daemon's own user and operators may ask. The same words are spoken
//! without a daemon: `edged offline` answers them from the ledger's files.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Response;
use crate::{Moment, Paging};

/// Which entries. Each filter narrows; `None` lets all through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditFilter {
    /// Only events of this name; `*` stands for any part of it.
    pub event_type: Option<String>,
    /// Only of this category.
    pub category: Option<String>,
    /// Only with this outcome: `success`, `failure`, `denied` or `pending`.
    pub outcome: Option<String>,
    /// Only by this operator.
    pub operator: Option<String>,
    /// Not before.
    pub since: Option<Moment>,
    /// Before.
    pub until: Option<Moment>,
}

/// A question of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditAsk {
    /// Answered [`Response::Audit`].
    Query(AuditQuery),
    /// Answered [`Response::Audit`].
    Export(AuditExport),
    /// Answered [`Response::AuditSums`].
    Summary(AuditFilter),
    /// Answered [`Response::AuditVerdict`].
    Verify,
}

/// Entries, newest first. Answered [`Response::Audit`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Which.
    pub filter: AuditFilter,
    /// The portion.
    pub page: Paging,
}

/// Entries above a number, oldest first, at most [`crate::MAX_PAGE`]: for export.
/// Answered [`Response::Audit`]; `next` is absent at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditExport {
    /// Above this number; 0: from the first.
    pub after: u64,
}

/// Remove the oldest entries. Answered [`Response::AuditPruned`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditPrune {
    /// Those written longer ago than this.
    pub older_than_seconds: u64,
    /// Really; otherwise it is only said what would go.
    pub force: bool,
    /// Only if the last entry to go is this one: what was archived and no more.
    pub upto: Option<u64>,
}

/// One entry of the chain (surface 7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// From 1, without a gap.
    pub seq: u64,
    /// When, as the wall clock said.
    pub timestamp: Moment,
    /// `relay.paused`.
    pub event_name: String,
    /// `relay`.
    pub category: String,
    /// `paused`.
    pub action: String,
    /// `success`, `failure`, `denied` or `pending`.
    pub outcome: String,
    /// `orchestrator`, `edge` or `cli`.
    pub source: String,
    /// The operator's label.
    pub actor: Option<String>,
    /// The uid the kernel proved.
    pub uid: Option<u32>,
    /// What kind of thing it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource: String,
    /// The operator's own words.
    pub reason: Option<String>,
    /// Anything more, by name.
    pub fields: Vec<(String, String)>,
    /// The hash of the entry before it, in hex.
    pub prev_hash: String,
    /// BLAKE3 over the canonical record, in hex.
    pub hash: String,
}

/// Whether the chain holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// Whether every entry stands where it was written.
    pub holds: bool,
    /// Entries looked at, if it holds.
    pub entries: u64,
    /// Entries pruned before them, which a later entry covers.
    pub pruned: u64,
    /// The number of the last entry, or of the first that is wrong.
    pub seq: u64,
    /// The hash of the last entry, in hex, if it holds.
    pub head: Option<String>,
    /// What is wrong, if it does not.
    pub fault: Option<String>,
}

/// Counts of entries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditSums {
    /// All.
    pub total: u64,
    /// When the first was written.
    pub first: Option<Moment>,
    /// When the last was written.
    pub last: Option<Moment>,
    /// By event.
    pub events: Vec<(String, u64)>,
    /// By category.
    pub categories: Vec<(String, u64)>,
    /// By outcome.
    pub outcomes: Vec<(String, u64)>,
    /// By operator; without a label by uid.
    pub operators: Vec<(String, u64)>,
}

/// What pruning removed, or would.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditPruned {
    /// Whether it was done.
    pub applied: bool,
    /// Entries.
    pub count: u64,
    /// The first of them; 0 if there are none.
    pub first: u64,
    /// The last of them; 0 if there are none.
    pub upto: u64,
}
