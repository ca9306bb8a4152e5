//! Orders of operators: what they may want, each in a file of its own, and the
//! answer once it is durable.
//!
//! An order changes state, writes its audit record into the same batch, and is
//! answered when the ticket of that batch has come back; one that changes
//! nothing is answered when all asked for before it is durable. What has to read
//! a row first is answered when the last of its rows is decided.

use super::{Pending, Scheduler, paging};
use crate::audit::{AuditEvent, AuditRecord, LAST_HASH, UPTO};
use crate::change::{Change, Due};
use crate::event::{Caller, Done, Effect, Order, OrderId, OrderRefused, Target};
use crate::time::Now;

impl Scheduler {
    pub(super) fn on_ordered(&mut self, now: Now, id: OrderId, caller: &Caller, order: Order) {
        match order {
            Order::Bandwidth { change, dry_run } => {
                self.set_bandwidth(now, id, caller, &change, dry_run);
            }
            Order::LaneBudget { change, dry_run } => {
                self.set_lane_budget(now, id, caller, &change, dry_run);
            }
            Order::Retry { targets, ttl: _ } => self.ask_all(id, &targets, || paging::Ask::Retry),
            Order::Purge(targets) => self.ask_all(id, &targets, || paging::Ask::Purge),
            Order::PruneAudit {
                upto,
                count,
                last_hash,
            } => {
                let chain = "chain".to_owned();
                let record =
                    AuditRecord::by(caller, now.wall, AuditEvent::AuditPruned, "audit", chain)
                        .with("count", count)
                        .with(LAST_HASH, last_hash)
                        .with(UPTO, upto);
                self.batch.push(Change::PruneAudit(upto));
                self.batch.push(Change::Audit(record));
                let done = Done {
                    changed: count,
                    ..Done::default()
                };
                self.answer_order(id, Ok(done));
            }
            Order::Note(record) => {
                self.batch.push(Change::Audit(record));
                self.answer_order(id, Ok(Done::default()));
            }
            Order::Pause { scope, how, until } => {
                self.pause(now, id, caller, (&scope, how, until));
            }
            Order::Resume(scope) => self.resume(now, id, caller, &scope),
            Order::Kick(peer) => self.kick(now, id, caller, &peer),
            Order::Drop(peer) => self.drop_peer(now, id, caller, &peer),
            Order::Hold(_) | Order::Release(_) | Order::Cancel(_) | Order::Force(_) => {
                let why = "this order is not yet carried out".to_owned();
                self.answer_order(id, Err(OrderRefused::Malformed(why)));
            }
        }
    }

    fn ask_all(&mut self, id: OrderId, targets: &[Target], ask: impl Fn() -> paging::Ask) {
        let dues: Vec<Due> = targets.iter().map(|target| target.due).collect();
        for due in dues {
            self.ask(due, ask());
        }
        self.answer_order(id, Ok(Done::default()));
    }

    /// Answers an order once everything asked for so far, the batch included, is
    /// durable.
    pub(super) fn answer_order(&mut self, id: OrderId, outcome: Result<Done, OrderRefused>) {
        let nothing_new = self.batch.is_empty();
        if nothing_new && self.durable == self.issued {
            return self.effects.push_back(Effect::Answer(id, outcome));
        }
        let pending = Pending::Order(id, outcome);
        if nothing_new {
            match self.pending.back_mut().filter(|(at, _)| *at == self.issued) {
                Some((_, waiting)) => waiting.push(pending),
                None => self.pending.push_back((self.issued, vec![pending])),
            }
        } else {
            self.batch_pending.push(pending);
        }
    }
}
