//! `relay why`, for one segment and for all that waits.

use std::fmt::Write as _;

use edged_rpc::{BlockedView, Page, WhyReport};

use super::plain;
use super::table::{footer, table};
use crate::units;

/// `relay why SEG`: a sentence for each delivery, and what else holds it.
pub(crate) fn why(report: &WhyReport) -> String {
    let mut out = String::new();
    for delivery in &report.items {
        let peer = plain(&delivery.peer_id);
        let (state, since) = (delivery.state, delivery.since);
        // Writing to a string never fails.
        let _ = writeln!(
            out,
            "{} to {peer}: {state} since {since}",
            report.segment_id
        );
        let _ = writeln!(out, "  {}", plain(&delivery.sentence));
        for reason in delivery.reasons.iter().skip(1) {
            let _ = writeln!(out, "  also: {}", plain(&reason.text));
        }
        if let Some(error) = &delivery.error {
            let _ = writeln!(out, "  last failed attempt: {}", plain(error));
        }
    }
    out
}

/// `relay why --all`: what blocks how much.
pub(crate) fn blocked(page: &Page<BlockedView>) -> String {
    let headings = ["WAITING-ON", "PEER-ID", ">DELIVERIES", ">BYTES", "WHY"];
    let rows = page.items.iter().map(|row| {
        [
            plain(&row.waiting_on),
            plain(&row.peer_id),
            row.deliveries.to_string(),
            units::bytes(row.bytes),
            plain(&row.text),
        ]
    });
    table(headings, rows) + &footer(page, "reason", "reasons")
}
