//! Orders of operators: what they may want, each in a file of its own, and the
//! answer once it is durable.
//!
//! An order changes state, writes its audit record into the same batch, and is
//! answered when the ticket of that batch has come back; one that changes
//! nothing is answered when all asked for before it is durable. What has to read
//! a row first is answered when the last of its rows is decided.

use super::verbs::Verb;
use super::{Pending, Scheduler};
use crate::audit::AuditRecord;
use crate::change::Change;
use crate::event::{Caller, Done, Effect, Order, OrderId, OrderRefused};
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
            Order::Hold(targets) => self.begin_order(now, id, caller, Verb::Hold, targets),
            Order::Release(targets) => self.begin_order(now, id, caller, Verb::Release, targets),
            Order::Cancel(targets) => self.begin_order(now, id, caller, Verb::Cancel, targets),
            Order::Force(targets) => self.begin_order(now, id, caller, Verb::Force, targets),
            Order::Retry { targets, ttl } => {
                self.begin_order(now, id, caller, Verb::Retry { ttl }, targets);
            }
            Order::Purge(targets) => self.begin_order(now, id, caller, Verb::Purge, targets),
            Order::PruneAudit {
                upto,
                count,
                last_hash,
            } => {
                let record = AuditRecord::pruned(caller, now.wall, upto, count, last_hash);
                self.batch.push(Change::PruneAudit(upto));
                self.batch.push(Change::Audit(record));
                let done = Done {
                    changed: count,
                    ..Done::default()
                };
                self.answer_order(id, Ok(done));
            }
            Order::Configure { new, audit } => self.configure(now, id, *new, *audit),
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
        }
    }

    /// Answers an order once everything asked for so far, the batch included, is
    /// durable.
    pub(super) fn answer_order(&mut self, id: OrderId, outcome: Result<Done, OrderRefused>) {
        let nothing_new = self.batch.is_empty();
        if nothing_new && self.durable == self.issued {
            return self.effects.push_back(Effect::Answer(id, outcome));
        }
        let pending = Pending::Order(id, Box::new(outcome));
        if nothing_new {
            self.after_all(pending);
        } else {
            self.batch_pending.push(pending);
        }
    }
}
