//! One deadlettered delivery in full; that it was looked at is audited.

use edged_rpc::{DeadletterInspect, DeadletterView, RpcError};
use relay_core::audit::{AuditEvent, AuditRecord};
use relay_core::delivery::StateName;
use relay_core::event::{Order, OrderRefused};

use super::order::Orders;
use super::{Answered, find};
use crate::clock;
use crate::socket::picture::Painter;
use crate::socket::refusal::{self, draining};

/// `relay deadletter inspect`.
pub(super) async fn inspect(
    orders: &Orders<'_>,
    which: &DeadletterInspect,
) -> Answered<DeadletterView> {
    let clerk = orders.clerk;
    let wanted = match find::peer(clerk, Some(&which.peer))? {
        find::Named::One(no) => Some(no),
        find::Named::Any | find::Named::Unused => None,
    };
    let found = find::one(clerk, &which.segment).await?;
    let row = found
        .deliveries
        .iter()
        .map(|(row, _)| row)
        .find(|row| Some(row.due.peer) == wanted);
    let row = row.ok_or_else(|| refusal::order(&OrderRefused::NotFound))?;
    let state = row.state.name();
    if state != StateName::Deadletter {
        return Err(not_parked(&which.segment, &which.peer, state));
    }
    let resource = format!("{} {}", found.segment.id, which.peer);
    let record = AuditRecord::by(
        orders.voice,
        clock::now().wall,
        AuditEvent::DeadletterInspected,
        "delivery",
        resource,
    );
    orders.give(Order::Note(record)).await?;
    let rows = found.deliveries.iter().map(|(row, _)| row.clone());
    let waits = clerk.waits(rows.collect()).await;
    let (waits, node, now) = waits.map_err(|_| draining())?;
    let detail = Painter::new(clerk, &node, now).detail(&found, &waits);
    let entry = detail
        .deliveries
        .into_iter()
        .find(|entry| entry.delivery.peer_id == which.peer);
    let entry = entry.ok_or_else(|| refusal::order(&OrderRefused::NotFound))?;
    Ok(DeadletterView {
        segment: detail.segment,
        entry,
    })
}

fn not_parked(segment: &str, peer: &str, state: StateName) -> RpcError {
    let segment: String = segment.chars().take(80).collect();
    RpcError::new(
        edged_rpc::ErrorKind::NotFound,
        "not_deadlettered",
        format!("segment {segment:?} to {peer:?} is not deadlettered: it is {state}"),
    )
    .with_hint("edgectl segment inspect shows it in any state")
}
