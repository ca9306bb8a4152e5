//! What operators do to deliveries, carried out: rows in every state, whole packs
//! and members of them, several at once.

use std::time::Duration;

use relay_core::change::{Due, Part};
use relay_core::delivery::StateName;
use relay_core::event::{Order, Target};
use relay_core::id::{NodeNo, PackNo};

use super::World;
use crate::scenario::SECOND;
use crate::scenario::verbs::{Verb, VerbAct};
use crate::seeds::Dice;

impl World {
    pub(super) fn verb_act(&mut self, act: VerbAct) {
        if self.nodes[act.node].scheduler.is_none() {
            return;
        }
        let mut dice = Dice::new(act.seed);
        let targets = self.drawn_targets(act.node, act.verb, &mut dice);
        if targets.is_empty() {
            return;
        }
        let (name, order) = match act.verb {
            Verb::Hold => ("verb: hold", Order::Hold(targets)),
            Verb::Release => ("verb: release", Order::Release(targets)),
            Verb::Cancel => ("verb: cancel", Order::Cancel(targets)),
            Verb::Force => ("verb: force", Order::Force(targets)),
            Verb::Retry(mortal) => {
                let ttl = Duration::from_micros(dice.spread(SECOND / 10, 60 * SECOND));
                let ttl = mortal.then_some(ttl);
                ("verb: retry", Order::Retry { targets, ttl })
            }
            Verb::Purge => ("verb: purge", Order::Purge(targets)),
        };
        self.tally.count(name);
        self.order(act.node, order);
    }

    /// A few deliveries of `n`: mostly those the verb is for, and any other.
    fn drawn_targets(&self, n: usize, verb: Verb, dice: &mut Dice) -> Vec<Target> {
        let any = dice.chance(250);
        let rows = self.nodes[n].disk.owed.values();
        let rows: Vec<_> = rows
            .filter(|row| row.due.peer != NodeNo::LOCAL)
            .filter(|row| {
                let over = row.state.name() == StateName::Deadletter;
                any || match verb {
                    Verb::Hold | Verb::Cancel | Verb::Force => !row.state.name().is_terminal(),
                    Verb::Release => row.held,
                    Verb::Retry(_) | Verb::Purge => over,
                }
            })
            .map(|row| row.due)
            .collect();
        let mut targets = Vec::new();
        for _ in 0..dice.between(1, 6) {
            let Some(due) = dice.pick(&rows).copied() else {
                break;
            };
            targets.push(self.drawn_target(n, due, dice));
        }
        if let Some(first) = targets.first().filter(|_| dice.chance(50)) {
            let due = Due {
                pack: PackNo(1 << 40),
                ..first.due
            };
            targets.push(Target { due, length: 0 });
        }
        targets
    }

    /// A row as a whole, or one of the members it may speak for.
    fn drawn_target(&self, n: usize, due: Due, dice: &mut Dice) -> Target {
        let members = &self.nodes[n].disk.packs[&due.pack].content.members;
        let part = match due.part {
            Part::Rest if dice.chance(500) => {
                Part::Member(dice.between(0, members.len() as u64 - 1) as u16)
            }
            part @ (Part::Rest | Part::Member(_)) => part,
        };
        let length = match part {
            Part::Rest => 0,
            Part::Member(member) => members[usize::from(member)].length,
        };
        Target {
            due: Due { part, ..due },
            length,
        }
    }

    /// After the storm an operator lets go what is held, and makes room where
    /// something is stuck before a full deadletter.
    pub(super) fn verbs_calm(&mut self) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].scheduler.is_none() {
                continue;
            }
            let rows = || self.nodes[n].disk.owed.values();
            let open = |state: StateName| !state.is_terminal();
            let target = |due: Due| Target { due, length: 0 };
            let held = rows().filter(|row| row.held && open(row.state.name()));
            let held: Vec<Target> = held.take(100).map(|row| target(row.due)).collect();
            let stuck = rows().any(|row| row.stuck);
            let parked = rows().filter(|row| stuck && row.state.name() == StateName::Deadletter);
            let parked: Vec<Target> = parked.take(20).map(|row| target(row.due)).collect();
            if !held.is_empty() {
                self.order(n, Order::Release(held));
            }
            if !parked.is_empty() && self.nodes[n].scheduler.is_some() {
                self.order(n, Order::Purge(parked));
            }
        }
    }
}
