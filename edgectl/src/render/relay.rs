//! Deliveries, peers and versions as text.

use edged_rpc::{DeliveryView, Page, PeerView, VersionView};

use super::table::{footer, table};
use super::{or_dash, plain};
use crate::units;

/// `relay list`.
pub(crate) fn deliveries(page: &Page<DeliveryView>) -> String {
    let headings = [
        "SEGMENT-ID",
        "PEER-ID",
        "LANE",
        "STATE",
        "CAUSE",
        ">ATTEMPTS",
        ">SIZE",
        "WAITING-ON",
        "FIRST-QUEUED",
        "LAST-UPDATED",
    ];
    let rows = page.items.iter().map(|delivery| {
        [
            delivery.segment_id.to_string(),
            plain(&delivery.peer_id),
            plain(&delivery.lane),
            delivery.state.to_string(),
            or_dash(delivery.cause.as_deref()),
            delivery.attempt_count.to_string(),
            units::bytes(delivery.len),
            or_dash(delivery.waiting_on.first().map(String::as_str)),
            delivery.first_queued.to_string(),
            delivery.last_updated.to_string(),
        ]
    });
    table(headings, rows) + &footer(page, "delivery", "deliveries")
}

/// `relay deadletter list`.
pub(crate) fn deadletters(page: &Page<DeliveryView>) -> String {
    deadletter_rows(&page.items) + &footer(page, "deadletter entry", "deadletter entries")
}

/// Deadletter entries, without a footer.
pub(super) fn deadletter_rows(rows: &[DeliveryView]) -> String {
    let headings = [
        "SEGMENT-ID",
        "PEER-ID",
        "LANE",
        "CAUSE",
        ">ATTEMPTS",
        ">SIZE",
        "FIRST-QUEUED",
        "LAST-UPDATED",
    ];
    let rows = rows.iter().map(|delivery| {
        [
            delivery.segment_id.to_string(),
            plain(&delivery.peer_id),
            plain(&delivery.lane),
            or_dash(delivery.cause.as_deref()),
            delivery.attempt_count.to_string(),
            units::bytes(delivery.len),
            delivery.first_queued.to_string(),
            delivery.last_updated.to_string(),
        ]
    });
    table(headings, rows)
}

/// `peer list`.
pub(crate) fn peers(page: &Page<PeerView>) -> String {
    let headings = [
        "PEER-ID",
        "STATE",
        "ADDRESS",
        ">RTT",
        ">WAITING",
        ">INFLIGHT",
        ">ACKED",
        ">DEADLETTER",
        "LAST-ERROR",
    ];
    let rows = page.items.iter().map(|peer| {
        [
            plain(&peer.peer_id),
            peer.state.to_string(),
            or_dash(peer.address.as_deref()),
            peer.rtt_ms
                .map_or("-".to_owned(), |rtt| format!("{rtt:.1} ms")),
            peer.waiting.to_string(),
            peer.inflight.to_string(),
            peer.acked.to_string(),
            peer.deadletter.to_string(),
            or_dash(peer.last_error.as_deref()),
        ]
    });
    table(headings, rows) + &footer(page, "peer", "peers")
}

/// `version`.
pub(crate) fn version(ours: &str, rpc: u16, daemon: Option<&VersionView>) -> String {
    let daemon = match daemon {
        None => "not running".to_owned(),
        Some(VersionView {
            version,
            rpc_version,
            node,
            boot_epoch,
            started_at,
        }) => format!(
            "{} (rpc {rpc_version}, node {}, boot epoch {boot_epoch}, since {started_at})",
            plain(version),
            plain(node),
        ),
    };
    format!("edgectl {ours} (rpc {rpc})\nedged   {daemon}\n")
}
