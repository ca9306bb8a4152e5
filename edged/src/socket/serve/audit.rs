//! The audit: questions to the ledger's readers, and pruning, which is an order.

use edged_rpc::{AuditAsk, AuditPrune, AuditPruned, Response};
use relay_core::event::Order;
use relay_core::ledger::Span;

use super::Answered;
use super::order::Orders;
use crate::chronicle;
use crate::clock;
use crate::socket::refusal::invalid;

/// Answers one of the audit's questions.
pub(super) async fn ask(orders: &Orders<'_>, question: AuditAsk) -> Answered<Response> {
    let answer = move |reader: &mut _| chronicle::answer(reader, &question);
    orders.clerk.read(answer).await
}

/// `audit prune`: a dry run unless forced.
pub(super) async fn prune(orders: &Orders<'_>, what: AuditPrune) -> Answered<AuditPruned> {
    let before = chronicle::cut(clock::now().wall, what.older_than_seconds);
    let older = orders.clerk.read(move |reader| reader.audit_older(before));
    let chosen = chronicle::chosen(older.await?, &what);
    let Some(span) = chosen.map_err(|why| invalid("moved_on", why))? else {
        return Ok(AuditPruned::default());
    };
    if what.force {
        let Span {
            first: _,
            upto,
            count,
            last_hash,
        } = span;
        let order = Order::PruneAudit {
            upto,
            count,
            last_hash,
        };
        orders.give(order).await?;
    }
    Ok(chronicle::pruned(&span, what.force))
}
