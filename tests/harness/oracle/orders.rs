//! Each step: an order is answered once, and not before what it says is durable.

use relay_core::audit::AuditEvent;
use relay_core::event::{Done, Order, OrderId, OrderRefused};

use super::Oracle;
use crate::node::Node;

impl Oracle {
    /// An operator of `n` gives an order.
    pub fn ordered(&mut self, n: usize, id: OrderId, order: &Order, now: u64) {
        self.now = now;
        self.pause_given(n, order);
        self.limit_given(n, order);
        self.reload_given(n, order);
        self.peer_order_given(n, order);
        self.poison_ordered(n, order);
        self.verb_given(n, id, order);
        self.watches[n].orders.insert(id, order.clone());
    }

    /// Node `n` answers an order.
    pub fn answered(
        &mut self,
        n: usize,
        id: OrderId,
        outcome: &Result<Done, OrderRefused>,
        nodes: &[Node],
    ) {
        let order = self.watches[n].orders.remove(&id);
        assert!(
            order.is_some(),
            "[step] n{n} answers {id:?}, which is not open: {outcome:?}"
        );
        self.judge_record(n, order.as_ref(), outcome, nodes);
        if let (Some(order), Ok(done)) = (&order, outcome) {
            self.verb_answered(n, id, (order, done), nodes);
        }
        self.pause_answered(n, order.as_ref(), outcome);
        self.limit_answered(n, order.as_ref(), outcome);
        self.judge_drop(n, order.as_ref(), outcome, nodes);
    }

    /// An order that changed something has a record of its own in the audit, durable
    /// with what it says (INV-AUDIT-01).
    fn judge_record(
        &mut self,
        n: usize,
        order: Option<&Order>,
        outcome: &Result<Done, OrderRefused>,
        nodes: &[Node],
    ) {
        let changed = outcome.as_ref().is_ok_and(|done| done.changed > 0);
        let Some(event) = order.filter(|_| changed).and_then(event_of) else {
            return;
        };
        let claimed = self.watches[n].recorded.entry(event).or_default();
        *claimed += 1;
        let records = nodes[n].disk.audit.iter();
        let found = records.filter(|record| record.event == event).count();
        assert!(
            found >= *claimed,
            "[step] n{n} answers its {claimed}th {event:?}, the audit has {found}"
        );
    }

    /// Whether an order of `n` has no answer yet.
    #[must_use]
    pub fn has_open_order(&self, n: usize) -> bool {
        !self.watches[n].orders.is_empty()
    }

    /// At rest every order of `n` has been answered.
    pub(super) fn no_order_open(&self, n: usize) {
        let open = &self.watches[n].orders;
        assert!(open.is_empty(), "[rest] n{n} never answered {open:?}");
    }
}

/// What the audit calls an order; a dry run is not one.
const fn event_of(order: &Order) -> Option<AuditEvent> {
    match order {
        Order::Bandwidth { dry_run: true, .. } | Order::LaneBudget { dry_run: true, .. } => None,
        Order::Bandwidth { .. } => Some(AuditEvent::BandwidthConfigured),
        Order::LaneBudget { .. } => Some(AuditEvent::LaneBudgetConfigured),
        Order::Pause { .. } => Some(AuditEvent::Paused),
        Order::Resume(_) => Some(AuditEvent::Resumed),
        Order::Hold(_) => Some(AuditEvent::Held),
        Order::Release(_) => Some(AuditEvent::Released),
        Order::Cancel(_) => Some(AuditEvent::SegmentCancelled),
        Order::Force(_) => Some(AuditEvent::DeadletterForced),
        Order::Retry { .. } => Some(AuditEvent::DeadletterRetried),
        Order::Purge(_) => Some(AuditEvent::DeadletterPurged),
        Order::Kick(_) => Some(AuditEvent::PeerKicked),
        Order::Drop(_) => Some(AuditEvent::PeerDropped),
        Order::PruneAudit { .. } => Some(AuditEvent::AuditPruned),
        Order::Configure { .. } => Some(AuditEvent::ConfigReloaded),
        Order::Note(_) => None,
    }
}
