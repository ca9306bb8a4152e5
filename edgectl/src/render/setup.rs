//! How the daemon is set, as text: the relay, config keys, lanes, one peer.

use edged_rpc::{
    BandwidthView, KeyChange, KeyView, LaneView, Page, PeerDetail, RelayConfigView, ReloadView,
};

use super::status::{available, daily_used};
use super::table::{footer, table};
use super::{or_dash, plain};
use crate::units::{bytes, grouped};

/// `relay config get`.
pub(crate) fn relay_config(view: &RelayConfigView) -> String {
    let mut out = String::from("Relay Config\n");
    let mut line = |label: &str, value: String| out += &format!("  {label}: {value}\n");
    line("Enabled", view.enabled.to_string());
    line("Workers", view.workers.to_string());
    line("Success Condition", plain(&view.success_condition));
    line("Dial Timeout", span(view.dial_timeout_ms));
    line("Ack Timeout", span(view.ack_timeout_ms));
    out += "\nBandwidth\n";
    bandwidth(&view.bandwidth, &mut out);
    if !view.overrides.is_empty() {
        out += "\nStored by operators, over the config\n";
        for KeyView { key, value, .. } in &view.overrides {
            out += &format!("  {} = {}\n", plain(key), plain(value));
        }
    }
    out
}

fn bandwidth(view: &BandwidthView, out: &mut String) {
    let mut line = |label: &str, value: String| *out += &format!("  {label}: {value}\n");
    let rate = view.bytes_per_second;
    line(
        "Rate Limit",
        match view.unlimited {
            true => "unlimited".to_owned(),
            false => format!("{} bytes/sec ({}/s)", grouped(rate), bytes(rate)),
        },
    );
    let quota = view.daily_quota_bytes;
    line(
        "Daily Quota",
        match quota {
            0 => "unlimited".to_owned(),
            _ => format!("{} bytes ({})", grouped(quota), bytes(quota)),
        },
    );
    line(
        "Available Tokens",
        match (view.unlimited, view.available_tokens) {
            (false, Some(tokens)) => available(tokens, view.burst_bytes),
            (true, _) | (false, None) => "(n/a — unlimited)".to_owned(),
        },
    );
    line(
        "Daily Used",
        match quota {
            0 => format!(
                "{} ({})",
                grouped(view.daily_used_bytes),
                bytes(view.daily_used_bytes)
            ),
            _ => daily_used(view),
        },
    );
    if let Some(opens) = view.quota_opens_at {
        line("Quota Opens At", opens.to_string());
    }
    line("Throttle Count", view.throttle_count.to_string());
    line("Quota Drops", view.quota_drops.to_string());
}

/// `10s`, `500ms`.
fn span(ms: u64) -> String {
    match ms % 1_000 {
        0 => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// `config show`.
pub(crate) fn config(page: &Page<KeyView>, origin: bool) -> String {
    if !origin {
        let line = |view: &KeyView| format!("{} = {}\n", plain(&view.key), plain(&view.value));
        return page.items.iter().map(line).collect();
    }
    let rows = page.items.iter().map(|view| {
        [
            plain(&view.key),
            or_dash(Some(&view.value)),
            plain(&view.origin),
        ]
    });
    table(["KEY", "VALUE", "ORIGIN"], rows)
}

/// `config check` and `config reload`.
pub(crate) fn reload(view: &ReloadView) -> String {
    let (holds, waits) = match view.applied {
        true => ("holds now", "holds from the next start"),
        false => ("would hold at once", "would hold from the next start"),
    };
    let mut out = match view.applied {
        true => "reloaded\n".to_owned(),
        false => "valid; nothing was changed\n".to_owned(),
    };
    if view.changed.is_empty() && view.restart.is_empty() {
        out += "  no key differs\n";
    }
    let line = |KeyChange { key, before, after }: &KeyChange, when: &str| {
        let (key, before, after) = (plain(key), or_dash(Some(before)), or_dash(Some(after)));
        format!("  {key}: {before} -> {after} ({when})\n")
    };
    for change in &view.changed {
        out += &line(change, holds);
    }
    for change in &view.restart {
        out += &line(change, waits);
    }
    for key in &view.shadowed {
        let key = plain(key);
        out +=
            &format!("  {key} is shadowed: an operator stored another value (reset it to undo)\n");
    }
    out
}

/// `lane list`.
pub(crate) fn lanes(page: &Page<LaneView>) -> String {
    let headings = [
        "LANE",
        ">CLASS",
        ">WEIGHT",
        "TTL",
        ">BUDGET",
        ">WAITING",
        ">BYTES",
        "BYTES-PER-DAY",
        "ATTEMPTS-PER-HOUR",
        "PAUSED",
    ];
    let of = |limit: u64, used: u64, show: fn(u64) -> String| match limit {
        0 => "unlimited".to_owned(),
        _ => format!("{} of {}", show(used), show(limit)),
    };
    let rows = page.items.iter().map(|lane| {
        [
            plain(&lane.lane),
            lane.class.to_string(),
            lane.weight.to_string(),
            lane.ttl_seconds.map_or("-".to_owned(), crate::units::age),
            lane.budget.to_string(),
            (lane.depth.scheduled + lane.depth.failed).to_string(),
            bytes(lane.bytes.scheduled + lane.bytes.failed),
            of(lane.bytes_per_day, lane.bytes_used, bytes),
            of(lane.attempts_per_hour, lane.attempts_used, grouped),
            if lane.paused { "yes" } else { "no" }.to_owned(),
        ]
    });
    table(headings, rows) + &footer(page, "lane", "lanes")
}

/// `peer inspect`.
pub(crate) fn peer(detail: &PeerDetail) -> String {
    let peer = &detail.peer;
    let mut out = String::from("Peer\n");
    let mut line = |label: &str, value: String| out += &format!("  {label:<25}{value}\n");
    line("Peer ID:", plain(&peer.peer_id));
    line("State:", peer.state.to_string());
    line("In Config:", detail.configured.to_string());
    line("Address:", or_dash(peer.address.as_deref()));
    let configured = detail.addresses.iter().map(|at| plain(at));
    line(
        "Addresses:",
        or_dash(Some(&configured.collect::<Vec<_>>().join(", "))),
    );
    line(
        "RTT:",
        peer.rtt_ms
            .map_or("-".to_owned(), |rtt| format!("{rtt:.1} ms")),
    );
    line("Last Error:", or_dash(peer.last_error.as_deref()));
    line("Waiting On:", or_dash(Some(&peer.waiting_on.join(", "))));
    if let Some(at) = detail.redial_at {
        line("Dialled Next:", at.to_string());
    }
    if let Some(until) = detail.busy_until {
        let why = or_dash(detail.busy_why.as_deref());
        line("Busy:", format!("{why} until {until}"));
    }
    let band = &detail.bandwidth;
    let rate = band.bytes_per_second;
    line(
        "Rate Limit:",
        match rate {
            0 => "unlimited".to_owned(),
            _ => format!("{} bytes/sec ({}/s)", grouped(rate), bytes(rate)),
        },
    );
    let quota = band.daily_quota_bytes;
    line(
        "Daily Quota:",
        match quota {
            0 => "unlimited".to_owned(),
            _ => format!("{} of {} used", bytes(band.daily_used_bytes), bytes(quota)),
        },
    );
    if let Some(opens) = band.quota_opens_at {
        line("Quota Opens At:", opens.to_string());
    }
    line("Throttle Count:", band.throttle_count.to_string());
    line("Quota Drops:", band.quota_drops.to_string());
    line(
        "Windows:",
        match detail.windows.as_slice() {
            [] => "always".to_owned(),
            windows => plain(&windows.join(", ")),
        },
    );
    line("Unsettled:", detail.unsettled.to_string());
    out += "\nLanes\n";
    let rows = detail.lanes.iter().map(|at| {
        [
            format!("  {}", plain(&at.lane)),
            at.depth.scheduled.to_string(),
            at.depth.inflight.to_string(),
            at.depth.failed.to_string(),
            at.depth.acked.to_string(),
            at.depth.deadletter.to_string(),
            bytes(at.bytes.total),
        ]
    });
    out += &table(
        [
            "  LANE",
            ">SCHEDULED",
            ">INFLIGHT",
            ">FAILED",
            ">ACKED",
            ">DEADLETTER",
            ">BYTES",
        ],
        rows,
    );
    out
}
