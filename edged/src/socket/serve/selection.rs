//! Which deadletters a bulk order is about: as the ledger asks for them, and as the audit
//! keeps it.

use edged_rpc::Selection;
use relay_core::delivery::StateName;
use relay_core::ledger::DeliveryFilter;
use relay_core::time::Unix;

use super::clerk::Clerk;
use super::list::parse_cause;
use super::{Answered, find};

/// The ledger's filter for a selection; `None` when nothing can match.
pub(super) fn filter(
    clerk: &Clerk<'_>,
    selection: &Selection,
    now: Unix,
) -> Answered<Option<DeliveryFilter>> {
    let peer = find::some(find::peer(clerk, selection.peer.as_deref())?);
    let lane = find::some(find::lane(clerk, selection.lane.as_deref())?);
    let (Some(peer), Some(lane)) = (peer, lane) else {
        return Ok(None);
    };
    let cause = selection.cause.as_deref().map(parse_cause).transpose()?;
    Ok(Some(DeliveryFilter {
        peer,
        lane,
        cause,
        remote: true,
        state: Some(StateName::Deadletter),
        updated_before: selection.older_than_seconds.map(|age| find::ago(now, age)),
        least: selection.least_bytes,
        most: selection.most_bytes,
        ..DeliveryFilter::default()
    }))
}

/// A selection as fields of an audit record.
pub(super) fn describe(selection: &Selection) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let mut field = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    field("cause", selection.cause.clone());
    field("lane", selection.lane.clone());
    field(
        "least_bytes",
        selection.least_bytes.map(|bytes| bytes.to_string()),
    );
    field(
        "most_bytes",
        selection.most_bytes.map(|bytes| bytes.to_string()),
    );
    field(
        "older_than_seconds",
        selection.older_than_seconds.map(|age| age.to_string()),
    );
    field("peer", selection.peer.clone());
    fields
}
