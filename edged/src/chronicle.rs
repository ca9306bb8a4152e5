//! The audit in the words of the socket: the same answers with the daemon and without.
//!
//! Reads a ledger through its [`Reader`] and puts what it finds into views. What may be
//! asked, and by whom, is for the caller to know.

use edged_rpc::{
    AuditAsk, AuditPrune, AuditPruned, AuditSums, AuditVerdict, AuditView, MAX_PAGE, Moment, Page,
    Response,
};
use relay_core::audit::{AuditEntry, Verdict};
use relay_core::ledger::{AuditFilter, AuditSummary, ReadError, Reader, Span};
use relay_core::time::Unix;

/// Entries of one page: with fields of ordinary length they fit a frame.
const PAGE: usize = 200;

/// Answers a question of the audit.
///
/// # Errors
/// [`ReadError`] when the ledger cannot be read.
pub fn answer(reader: &mut Reader, question: &AuditAsk) -> Result<Response, ReadError> {
    Ok(match question {
        AuditAsk::Query(query) => {
            let after = query.page.after.as_deref().and_then(|seq| seq.parse().ok());
            let limit = (query.page.limit.min(MAX_PAGE) as usize).min(PAGE);
            let found = reader.audit(&meant(&query.filter), after, limit)?;
            let more = found.entries.len() == limit && limit > 0;
            let last = found.entries.last().filter(|entry| more && entry.seq > 1);
            Response::Audit(Page {
                next: last.map(|entry| entry.seq.to_string()),
                total: found.total,
                items: found.entries.into_iter().map(view).collect(),
            })
        }
        AuditAsk::Export(from) => {
            let found = reader.audit_from(from.after, PAGE)?;
            let last = found.last().filter(|_| found.len() == PAGE);
            Response::Audit(Page {
                next: last.map(|entry| entry.seq.to_string()),
                total: found.len() as u64,
                items: found.into_iter().map(view).collect(),
            })
        }
        AuditAsk::Summary(filter) => {
            Response::AuditSums(sums(reader.audit_summary(&meant(filter))?))
        }
        AuditAsk::Verify => Response::AuditVerdict(verdict(reader.audit_verify()?)),
    })
}

/// Entries written before this go, if `seconds` is how long they are kept.
#[must_use]
pub const fn cut(now: Unix, seconds: u64) -> Unix {
    Unix(now.0.saturating_sub(seconds.saturating_mul(1_000)))
}

/// What is to be pruned.
///
/// # Errors
/// In words, when the entries are not those that were archived.
pub fn chosen(span: Option<Span>, what: &AuditPrune) -> Result<Option<Span>, String> {
    match (span, what.upto) {
        (Some(span), Some(upto)) if span.upto != upto => Err(format!(
            "the oldest entries now end at {}, not at {upto} as archived",
            span.upto
        )),
        (span, _) => Ok(span),
    }
}

/// What was pruned, or would be.
#[must_use]
pub const fn pruned(span: &Span, applied: bool) -> AuditPruned {
    AuditPruned {
        applied,
        count: span.count,
        first: span.first,
        upto: span.upto,
    }
}

fn meant(filter: &edged_rpc::AuditFilter) -> AuditFilter {
    AuditFilter {
        event: filter.event_type.clone(),
        category: filter.category.clone(),
        outcome: filter.outcome.clone(),
        operator: filter.operator.clone(),
        since: filter.since.map(|at| Unix(at.0)),
        until: filter.until.map(|at| Unix(at.0)),
    }
}

fn view(entry: AuditEntry) -> AuditView {
    AuditView {
        seq: entry.seq,
        timestamp: Moment(entry.at.0),
        event_name: entry.event,
        category: entry.category,
        action: entry.action,
        outcome: entry.outcome,
        source: entry.source,
        actor: entry.actor,
        uid: entry.uid,
        resource_type: entry.resource_type,
        resource: entry.resource,
        reason: entry.reason,
        fields: entry.fields,
        prev_hash: entry.prev.to_string(),
        hash: entry.hash.to_string(),
    }
}

fn verdict(verdict: Verdict) -> AuditVerdict {
    match verdict {
        Verdict::Sound {
            entries,
            pruned,
            last,
            head,
        } => AuditVerdict {
            holds: true,
            entries,
            pruned,
            seq: last,
            head: Some(head.to_string()),
            fault: None,
        },
        Verdict::Broken { seq, fault } => AuditVerdict {
            holds: false,
            entries: 0,
            pruned: 0,
            seq,
            head: None,
            fault: Some(fault.to_string()),
        },
    }
}

fn sums(summary: AuditSummary) -> AuditSums {
    let ends = |pick: fn((Unix, Unix)) -> Unix| summary.span.map(|span| Moment(pick(span).0));
    AuditSums {
        total: summary.total,
        first: ends(|(first, _)| first),
        last: ends(|(_, last)| last),
        events: summary.events,
        categories: summary.categories,
        outcomes: summary.outcomes,
        operators: summary.operators,
    }
}
