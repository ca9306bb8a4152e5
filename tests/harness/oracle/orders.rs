//! Each step: an order is answered once, and not before what it says is durable.

use relay_core::event::{Done, Order, OrderId, OrderRefused};

use super::Oracle;
use crate::node::Node;

impl Oracle {
    /// An operator of `n` gives an order.
    pub fn ordered(&mut self, n: usize, id: OrderId, order: &Order) {
        self.pause_given(n, order);
        self.peer_order_given(n, order);
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
        self.pause_answered(n, order.as_ref(), outcome);
        self.judge_drop(n, order.as_ref(), outcome, nodes);
    }

    /// At rest every order of `n` has been answered.
    pub(super) fn no_order_open(&self, n: usize) {
        let open = &self.watches[n].orders;
        assert!(open.is_empty(), "[rest] n{n} never answered {open:?}");
    }
}
