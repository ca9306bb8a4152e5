//! The inbox as text.

use edged_rpc::{InboxView, Page};

use super::table::{footer, table};
use super::{or_dash, plain};
use crate::units;

/// `inbox list`.
pub(crate) fn inbox(page: &Page<InboxView>) -> String {
    items(&page.items) + &footer(page, "item", "items")
}

/// `inbox take`.
pub(crate) fn taken(taken: &[InboxView]) -> String {
    match taken {
        [] => "0 items taken\n".to_owned(),
        [_] => items(taken) + "1 item taken\n",
        [..] => items(taken) + &format!("{} items taken\n", taken.len()),
    }
}

/// One line of `inbox follow`.
pub(crate) fn arrival(item: &InboxView) -> String {
    format!(
        "{} {}  {}  {}  {}  {}  {}\n",
        item.received_at,
        item.segment_id,
        plain(&item.origin),
        plain(&item.lane),
        or_dash(item.topic.as_deref()),
        units::bytes(item.len),
        item.state,
    )
}

fn items(items: &[InboxView]) -> String {
    let headings = [
        "SEGMENT-ID",
        "ORIGIN",
        "LANE",
        ">SEQUENCE",
        "STATE",
        ">SIZE",
        "TOPIC",
        "RECEIVED-AT",
    ];
    let rows = items.iter().map(|item| {
        [
            item.segment_id.to_string(),
            plain(&item.origin),
            plain(&item.lane),
            item.lane_sequence.to_string(),
            item.state.to_string(),
            units::bytes(item.len),
            or_dash(item.topic.as_deref()),
            item.received_at.to_string(),
        ]
    });
    table(headings, rows)
}
