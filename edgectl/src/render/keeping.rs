//! Damage, spools and sink, as text.

use edged_rpc::{KeepingView, Page, QuarantineView, WayView};

use super::table::{footer, table};
use super::{or_dash, plain};
use crate::units::bytes;

/// `relay quarantine list`.
pub(crate) fn quarantine(page: &Page<QuarantineView>) -> String {
    let headings = [
        "FOUND-AT",
        "WHAT",
        "PLACE",
        "WHY",
        "PEER-ID",
        "LANE",
        ">DELIVERIES",
        ">BYTES",
    ];
    let rows = page.items.iter().map(|entry| {
        let found = entry.found_at.map(|at| at.to_string());
        [
            or_dash(found.as_deref()),
            plain(&entry.what),
            plain(&entry.place),
            plain(&entry.why),
            or_dash(entry.peer_id.as_deref()),
            or_dash(entry.lane.as_deref()),
            entry.deliveries.to_string(),
            bytes(entry.bytes),
        ]
    });
    table(headings, rows) + &footer(page, "quarantine entry", "quarantine entries")
}

/// What `relay status` says of quarantine, if there is any.
pub(super) fn quarantined(keeping: &KeepingView) -> Option<String> {
    let sums = &keeping.quarantine;
    let entries = match sums.entries {
        0 => return None,
        1 => "1 entry".to_owned(),
        more => format!("{more} entries"),
    };
    let lost = sums.deliveries;
    let deliveries = if lost == 1 { "delivery" } else { "deliveries" };
    Some(format!(
        "{entries}, {lost} {deliveries} lost (relay quarantine list)"
    ))
}

/// Spools and sink, a line each, and what is wrong with one below it.
pub(super) fn ways(keeping: &KeepingView) -> String {
    let mut out = String::new();
    for (heading, done, ways) in [
        ("Spools", "put", &keeping.spools),
        ("Sinks", "confirmed", &keeping.sinks),
    ] {
        if ways.is_empty() {
            continue;
        }
        out += &format!("\n{heading}\n");
        for at in ways {
            out += &way(at, done);
        }
    }
    out
}

fn way(way: &WayView, done: &str) -> String {
    let passed = match done {
        "put" => "passed over",
        _ => "refused",
    };
    let (state, since) = (way.state.as_str(), way.since);
    let mut out = format!(
        "  {:<25}{state:<10}{} {done}   {} {passed}   {} in hand   since {since}\n",
        plain(&way.place),
        way.done,
        way.passed_over,
        way.in_hand,
    );
    if let (Some(found), Some(at)) = (&way.last_error, way.last_error_at) {
        let tries = match way.tries {
            0 => String::new(),
            tries => format!(", {tries} in a row"),
        };
        out += &format!("    last error at {at}{tries}: {}\n", plain(found));
    }
    out
}
