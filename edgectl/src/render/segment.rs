//! Segments as text.

use edged_rpc::{AttemptView, DeadletterView, DeliveryDetail, Page, SegmentDetail, SegmentView};

use super::table::{footer, table};
use super::{or_dash, plain};
use crate::units;

/// `segment list`.
pub(crate) fn segments(page: &Page<SegmentView>) -> String {
    let headings = ["SEGMENT-ID", "LANE", ">SIZE", "PEERS", "TOPIC", "QUEUED-AT"];
    let rows = page.items.iter().map(|segment| {
        let peers = segment
            .peers
            .iter()
            .map(|at| format!("{}:{}", plain(&at.peer_id), at.state));
        [
            segment.segment_id.to_string(),
            plain(&segment.lane),
            units::bytes(segment.len),
            or_dash(Some(&peers.collect::<Vec<_>>().join(","))),
            or_dash(segment.topic.as_deref()),
            segment.queued_at.to_string(),
        ]
    });
    table(headings, rows) + &footer(page, "segment", "segments")
}

/// `segment inspect`.
pub(crate) fn segment(detail: &SegmentDetail) -> String {
    let segment = &detail.segment;
    let mut out = String::from("Segment\n");
    let mut line = |label: &str, value: String| out += &format!("  {label:<25}{value}\n");
    line("Segment ID:", segment.segment_id.to_string());
    line("Origin:", plain(&segment.origin));
    line("Lane:", plain(&segment.lane));
    line("Topic:", or_dash(segment.topic.as_deref()));
    for (key, value) in &segment.labels {
        line("Label:", format!("{}={}", plain(key), plain(value)));
    }
    line(
        "Size:",
        format!(
            "{} bytes ({})",
            units::grouped(segment.len),
            units::bytes(segment.len)
        ),
    );
    line("Digest:", segment.digest.to_string());
    line("Queued At:", segment.queued_at.to_string());
    if let Some(expires) = segment.expires_at {
        line("Expires At:", expires.to_string());
    }
    line("Success Condition:", plain(&segment.success_condition));
    line(
        "Payload:",
        if segment.payload_kept { "kept" } else { "gone" }.to_owned(),
    );
    for detail in &detail.deliveries {
        delivery(detail, &mut out);
    }
    out
}

fn delivery(detail: &DeliveryDetail, out: &mut String) {
    let DeliveryDetail { delivery, attempts } = detail;
    *out += &format!("\nDelivery to {}\n", plain(&delivery.peer_id));
    let mut line = |label: &str, value: String| *out += &format!("  {label:<25}{value}\n");
    line("State:", delivery.state.to_string());
    if let Some(cause) = &delivery.cause {
        line("Cause:", plain(cause));
    }
    if !delivery.waiting_on.is_empty() {
        let until = delivery
            .waiting_until
            .map_or(String::new(), |at| format!(" until {at}"));
        line(
            "Waiting On:",
            plain(&delivery.waiting_on.join(", ")) + &until,
        );
    }
    line("Attempt Count:", delivery.attempt_count.to_string());
    if delivery.rescued {
        line("Rescued:", "true".to_owned());
    }
    line("First Queued:", delivery.first_queued.to_string());
    line("Last Updated:", delivery.last_updated.to_string());
    if !attempts.is_empty() {
        *out += "  Attempt History\n";
    }
    for attempt in attempts {
        *out += &format!("    {}\n", history(attempt));
    }
}

/// `relay deadletter inspect`.
pub(crate) fn deadletter(view: &DeadletterView) -> String {
    let DeadletterView { segment, entry } = view;
    let at = &entry.delivery;
    let mut out = String::from("Deadletter Entry\n");
    let mut line = |label: &str, value: String| out += &format!("  {label}: {value}\n");
    line("Segment ID", at.segment_id.to_string());
    line("Peer ID", plain(&at.peer_id));
    line("State", at.state.to_string());
    line("Cause", or_dash(at.cause.as_deref()));
    line("Lane", plain(&at.lane));
    line("Topic", or_dash(at.topic.as_deref()));
    line(
        "Size",
        format!(
            "{} bytes ({})",
            units::grouped(at.len),
            units::bytes(at.len)
        ),
    );
    line(
        "Payload",
        if segment.payload_kept { "kept" } else { "gone" }.to_owned(),
    );
    line("Attempt Count", at.attempt_count.to_string());
    line("First Queued", at.first_queued.to_string());
    line("Last Updated", at.last_updated.to_string());
    out += "  Attempt History\n";
    if entry.attempts.is_empty() {
        out += "    (none)\n";
    }
    for attempt in &entry.attempts {
        out += &format!("    {}\n", history(attempt));
    }
    out
}

/// `#1 started: T completed: T outcome: FAILED error: connection refused`.
fn history(attempt: &AttemptView) -> String {
    let completed = attempt
        .completed_at
        .map_or("-".to_owned(), |at| at.to_string());
    let outcome = attempt
        .outcome
        .map_or("-".to_owned(), |outcome| outcome.to_string());
    let (number, started) = (attempt.number, attempt.started_at);
    let mut out = format!("#{number} started: {started} completed: {completed} outcome: {outcome}");
    if let Some(error) = &attempt.error {
        out += &format!(" error: {}", plain(error));
    }
    out
}
