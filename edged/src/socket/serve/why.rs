//! Why deliveries do not move: the ledger's row of each, explained by the core.

use edged_rpc::{
    AheadView, BlockedView, DeliveryWhy, ErrorKind, Id, Moment, Page, ReasonView, RelayWhy,
    RpcError, WhyReport,
};
use relay_core::delivery::WaitingOn;
use relay_core::id::NodeNo;
use relay_core::why::{Ahead, Reason, Standing};

use super::clerk::Clerk;
use super::{Answered, find};
use crate::socket::picture::Painter;
use crate::socket::refusal::draining;

/// The deliveries of one segment, each with why it stands where it stands.
pub(super) async fn segment(clerk: &Clerk<'_>, which: &RelayWhy) -> Answered<WhyReport> {
    let found = find::one(clerk, &which.segment).await?;
    let only = find::some(find::peer(clerk, which.peer.as_deref())?);
    let rows: Vec<_> = found
        .deliveries
        .into_iter()
        .map(|(row, _)| row)
        .filter(|row| row.due.peer != NodeNo::LOCAL)
        .filter(|row| only.flatten().is_none_or(|peer| row.due.peer == peer))
        .collect();
    if rows.is_empty() {
        let (id, peer) = (found.segment.id, which.peer.as_deref());
        let to = peer.map(|peer| format!(" to {peer:?}")).unwrap_or_default();
        let text = format!("{id} is owed{to} no more, or never was");
        return Err(RpcError::new(ErrorKind::NotFound, "no_such_delivery", text)
            .with_hint("edgectl segment inspect shows where it stands"));
    }
    let (whys, node, now) = clerk.why(rows.clone()).await.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let items = rows.iter().zip(whys).map(|(row, why)| {
        let (peer_id, lane, state) = painter.place(row, why.state);
        let (reasons, ahead) = match &why.standing {
            Standing::Waiting { reasons, ahead } => (reasons.as_slice(), Some(*ahead)),
            Standing::Inflight { .. } | Standing::Acked | Standing::Deadletter(_) => {
                (&[][..], None)
            }
        };
        let reason = |reason: &Reason| ReasonView {
            waiting_on: reason.on.as_str().to_owned(),
            until: reason.until.map(|at| Moment(at.0)),
            text: reason.clause(&peer_id, now.wall, ahead.unwrap_or_default()),
        };
        DeliveryWhy {
            sentence: why.sentence(&peer_id, now.wall),
            reasons: reasons.iter().map(reason).collect(),
            ahead: ahead.map(|ahead| AheadView {
                count: ahead.count,
                bytes: ahead.bytes,
                at_most: ahead.at_most,
            }),
            lane,
            state,
            since: Moment(why.since.0),
            error: why.error,
            peer_id,
        }
    });
    Ok(WhyReport {
        segment_id: Id(found.segment.id.0),
        items: items.collect(),
        queried_at: Moment(now.wall.0),
    })
}

/// What blocks how much of all that waits.
pub(super) async fn all(clerk: &Clerk<'_>) -> Answered<Page<BlockedView>> {
    let shelved = clerk.read(|reader| reader.shelved()).await?;
    let (blocked, now) = clerk.why_all(shelved).await.map_err(|_| draining())?;
    let items = blocked.iter().map(|row| {
        let ahead = Ahead {
            count: row.count,
            bytes: row.bytes,
            at_most: false,
        };
        BlockedView {
            waiting_on: row.reason.on.as_str().to_owned(),
            peer_id: row.peer.as_str().to_owned(),
            deliveries: row.count,
            bytes: row.bytes,
            until: row.reason.until.map(|at| Moment(at.0)),
            text: if row.reason.on == WaitingOn::Turn {
                "they go in their turn".to_owned()
            } else {
                row.reason.clause(row.peer.as_str(), now.wall, ahead)
            },
        }
    });
    let items: Vec<BlockedView> = items.collect();
    Ok(Page {
        total: items.len() as u64,
        items,
        next: None,
    })
}
