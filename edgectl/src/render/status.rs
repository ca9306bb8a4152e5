//! `relay status` as text, in the layout of `surface.md`, section 3.

use edged_rpc::{
    BandwidthView, BookView, Ladder, LinkState, PauseView, Pausing, PeerView, StatusReport,
    StatusView,
};

use super::order::scope_words;
use super::table::table;
use super::{keeping, plain};
use crate::units::{age, bytes, grouped};

/// The whole page; one line when the relay is off.
pub(crate) fn status(report: &StatusReport) -> String {
    let StatusReport {
        status,
        books,
        keeping,
    } = report;
    if !status.enabled {
        return "relay: disabled\n".to_owned();
    }
    let mut out = String::new();
    relay(status, &mut out);
    if let Some(quarantined) = keeping::quarantined(keeping) {
        line(&mut out, "Quarantine:", quarantined);
    }
    queue(status, &mut out);
    bandwidth(&status.bandwidth, &mut out);
    out += "\nPeers\n";
    if status.peers.is_empty() {
        out += "  (none)\n";
    }
    for at in &status.peers {
        out += &peer(at);
    }
    out += &keeping::ways(keeping);
    if let Some(books) = books {
        out += "\nBooks\n";
        out += &ledger(books);
    }
    out
}

fn line(out: &mut String, label: &str, value: impl std::fmt::Display) {
    *out += &format!("  {label:<25}{value}\n");
}

fn relay(status: &StatusView, out: &mut String) {
    *out += "Relay Status\n";
    line(out, "Enabled:", status.enabled);
    if status.paused {
        line(out, "Paused:", true);
    }
    for pause in &status.pauses {
        line(out, "Paused Scope:", self::pause(pause));
    }
    line(
        out,
        "Node:",
        format!("{} (boot epoch {})", plain(&status.node), status.boot_epoch),
    );
    line(out, "Workers:", status.workers);
    line(out, "Success Condition:", plain(&status.success_condition));
    line(out, "Durability:", status.durability);
    let storage = &status.storage;
    if storage.ladder != Ladder::Open {
        let word = match storage.ladder {
            Ladder::Open => "open",
            Ladder::InboxFull => "inbox_full",
            Ladder::PutsRefused => "puts_refused",
            Ladder::Full => "full",
            Ladder::BulkRefused => "bulk_refused",
            Ladder::DiskFull => "disk_full",
        };
        let of = |used, ceiling| format!("{word} ({} of {})", bytes(used), bytes(ceiling));
        let value = match storage.ladder {
            Ladder::InboxFull => of(storage.inbox_bytes, storage.inbox_ceiling_bytes),
            Ladder::Open
            | Ladder::BulkRefused
            | Ladder::PutsRefused
            | Ladder::Full
            | Ladder::DiskFull => of(storage.used_bytes, storage.ceiling_bytes),
        };
        line(out, "Storage:", value);
    }
}

/// `peer beta (drain) since T until T`.
fn pause(pause: &PauseView) -> String {
    let how = match pause.how {
        Pausing::Drain => "drain",
        Pausing::Now => "now",
    };
    let until = pause.until.map(|until| format!(" until {until}"));
    let until = until.unwrap_or_default();
    format!(
        "{} ({how}) since {}{until}",
        scope_words(&pause.scope),
        pause.since
    )
}

fn queue(status: &StatusView, out: &mut String) {
    let depth = &status.queue_depth;
    *out += "\nQueue Depth\n";
    let scheduled = match (depth.scheduled, status.oldest_age_seconds) {
        (0, _) => "0".to_owned(),
        (count, oldest) => {
            let oldest = oldest.map_or(String::new(), |age_of| format!(", oldest {}", age(age_of)));
            format!(
                "{count:<10}({}{oldest})",
                bytes(status.queue_bytes.scheduled)
            )
        }
    };
    line(out, "Scheduled:", scheduled);
    line(out, "Inflight:", depth.inflight);
    line(out, "Acked:", depth.acked);
    line(out, "Failed:", depth.failed);
    line(out, "Deadletter:", depth.deadletter);
    line(out, "Total:", depth.total);
    line(out, "Rescued at start:", status.rescued_at_start);
}

fn bandwidth(bandwidth: &BandwidthView, out: &mut String) {
    *out += "\nBandwidth\n";
    let rate = bandwidth.bytes_per_second;
    if bandwidth.unlimited {
        line(out, "Rate Limit:", "unlimited");
    } else {
        line(
            out,
            "Rate Limit:",
            format!("{} bytes/sec ({}/s)", grouped(rate), bytes(rate)),
        );
    }
    let quota = bandwidth.daily_quota_bytes;
    if quota == 0 {
        line(out, "Daily Quota:", "unlimited");
    } else {
        line(
            out,
            "Daily Quota:",
            format!("{} bytes ({})", grouped(quota), bytes(quota)),
        );
    }
    if let (false, Some(tokens)) = (bandwidth.unlimited, bandwidth.available_tokens) {
        line(
            out,
            "Available Tokens:",
            available(tokens, bandwidth.burst_bytes),
        );
    }
    if quota > 0 {
        line(out, "Daily Used:", daily_used(bandwidth));
    }
    if let Some(opens) = bandwidth.quota_opens_at {
        line(out, "Quota Opens At:", opens);
    }
    if !bandwidth.unlimited || quota > 0 {
        line(out, "Throttle Count:", bandwidth.throttle_count);
        line(out, "Quota Drops:", bandwidth.quota_drops);
    }
}

/// `3,221,225,472 (3 GiB / 10 GiB, 30% consumed)`.
pub(super) fn daily_used(bandwidth: &BandwidthView) -> String {
    let (used, quota) = (bandwidth.daily_used_bytes, bandwidth.daily_quota_bytes);
    let percent = u128::from(used) * 100 / u128::from(quota.max(1));
    let of = format!("{} / {}, {percent}% consumed", bytes(used), bytes(quota));
    format!("{} ({of})", grouped(used))
}

/// `524,288 (50% of burst)`; a bucket in debt is below zero.
pub(super) fn available(tokens: i64, burst: u64) -> String {
    let sign = if tokens < 0 { "-" } else { "" };
    let count = tokens.unsigned_abs();
    let percent = u128::from(count) * 100 / u128::from(burst.max(1));
    format!("{sign}{} ({sign}{percent}% of burst)", grouped(count))
}

/// `  beta                     up        rtt 1.2 ms   12 waiting   2 inflight`.
fn peer(peer: &PeerView) -> String {
    let mut facts = Vec::new();
    facts.extend(peer.rtt_ms.map(|rtt| format!("rtt {rtt:.1} ms")));
    facts.push(format!("{} waiting", peer.waiting));
    facts.push(format!("{} inflight", peer.inflight));
    if peer.state != LinkState::Up {
        facts.extend(peer.last_error.as_deref().map(plain));
    }
    format!(
        "  {:<25}{:<10}{}\n",
        plain(&peer.peer_id),
        peer.state,
        facts.join("   ")
    )
}

fn ledger(books: &[BookView]) -> String {
    let headings = [
        "  PEER-ID",
        "LANE",
        ">PUT",
        ">ACKED",
        ">DEADLETTER",
        ">WAITING",
        ">NOT-NEEDED",
        ">PURGED",
        ">QUARANTINED",
        "HOLDS",
    ];
    let rows = books.iter().map(|book| {
        [
            format!("  {}", plain(&book.peer_id)),
            plain(&book.lane),
            book.put.to_string(),
            book.acked.to_string(),
            book.deadletter.to_string(),
            book.waiting.to_string(),
            book.not_needed.to_string(),
            book.purged.to_string(),
            book.quarantined.to_string(),
            if book.holds { "yes" } else { "NO" }.to_owned(),
        ]
    });
    table(headings, rows)
}
