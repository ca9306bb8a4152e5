//! What goes wrong: each act of the plan, carried out.

use relay_core::change::Due;
use relay_core::delivery::StateName;
use relay_core::event::{Bandwidth, Caller, Input, Order, OrderId, Standing, Target};
use relay_core::id::NodeNo;
use relay_core::units::Rate;

use super::{Event, World};
use crate::scenario::{Act, SECOND, node_name};
use crate::wire::{Health, Message};

/// After faults end, this long is always granted.
const PATIENCE: u64 = 1_200 * SECOND;
/// And this long where what was used of a quota has to grow a day old.
const LIMITED: u64 = 3 * 86_400 * SECOND;

impl World {
    pub(super) fn act(&mut self, act: Act) {
        if self.calm {
            return;
        }
        self.note(&format!("{act:?}"));
        match act {
            Act::Put(n) => self.client_puts(n),
            Act::DropLink => self.drop_some_link(),
            Act::Part(time) => self.part_some(time),
            Act::Crash(n) => self.crash(n, true),
            Act::PowerLoss(n) => self.crash(n, false),
            Act::Drain(n) => self.begin_drain(n),
            Act::SlowDisk(n, by) => {
                self.tally.count("fault: slow disk");
                self.nodes[n].slow = by;
                let time = self.dice.spread(SECOND, 60 * SECOND);
                self.after(time, Event::Mend(n));
            }
            Act::Full(n, time) => {
                self.tally.count("fault: disk full");
                self.nodes[n].disk.full = true;
                self.after(time, Event::Mend(n));
            }
            Act::Retry(n) => self.operate(n, "verb: retry", |targets| Order::Retry {
                targets,
                ttl: None,
            }),
            Act::Purge(n) => self.operate(n, "verb: purge", Order::Purge),
            Act::SetRate(n) => self.set_rate(n),
            Act::Jump(n, by) => {
                self.tally.count("fault: clock jumps");
                self.nodes[n].clocks.ahead += by;
            }
            Act::Verb(act) => self.verb_act(act),
            Act::Peers(act) => self.peer_act(act),
            Act::Limits(act) => self.limit_act(act),
            Act::Reads(act) => self.read_act(act),
            Act::Reload(act) => self.reload_act(act),
        }
    }

    pub(super) fn mend(&mut self, n: usize) {
        self.nodes[n].slow = 0;
        self.nodes[n].disk.full = false;
        self.space_changed(n);
    }

    fn drop_some_link(&mut self) {
        let lit: Vec<usize> = self.wire.lit().collect();
        let Some(link) = self.dice.pick(&lit).copied() else {
            return;
        };
        if self.dice.chance(self.plan.odds.silent) {
            self.tally.count("fault: link falls silent");
            self.darken(link);
        } else {
            self.tally.count("fault: link lost");
            self.end_link(link, "lost", SECOND / 10);
        }
    }

    fn part_some(&mut self, time: u64) {
        self.tally.count("fault: partition");
        let a = self.dice.between(0, self.plan.nodes as u64 - 1) as usize;
        let b = (a + self.dice.between(1, self.plan.nodes as u64 - 1) as usize) % self.plan.nodes;
        self.wire
            .parted
            .insert((a.min(b), a.max(b)), self.now + time);
        for link in self.wire.lit().collect::<Vec<_>>() {
            let ends = &self.wire.links[link].ends;
            if ends.iter().all(|end| end.node == a || end.node == b) {
                self.darken(link);
            }
        }
    }

    /// A link carries nothing more; its ends learn of it when they tire.
    pub fn darken(&mut self, link: usize) {
        if self.wire.links[link].health == Health::Lit {
            self.wire.links[link].health = Health::Dark;
            self.tell_ends(link, "timed out", self.plan.path.idle);
        }
    }

    /// A link is gone; its ends are told within `within` microseconds.
    pub fn end_link(&mut self, link: usize, why: &'static str, within: u64) {
        if self.wire.links[link].health == Health::Dead {
            return;
        }
        self.wire.links[link].health = Health::Dead;
        self.tell_ends(link, why, within);
    }

    fn tell_ends(&mut self, link: usize, why: &'static str, within: u64) {
        for side in 0..2 {
            let wait = self.dice.between(0, within);
            self.after(wait, Event::Wire(link, side, Box::new(Message::Down(why))));
        }
    }

    /// The process dies. With `lucky`, the group being committed may yet be
    /// durable; a power loss takes it.
    pub fn crash(&mut self, n: usize, lucky: bool) {
        let time = self.dice.spread(1_000, 20 * SECOND);
        self.crash_for(n, lucky, time);
    }

    /// As [`World::crash`]; it starts again after `time`.
    pub(super) fn crash_for(&mut self, n: usize, lucky: bool, time: u64) {
        if self.nodes[n].scheduler.is_none() {
            return;
        }
        self.tally.count(if lucky {
            "fault: crash"
        } else {
            "fault: power loss"
        });
        let group = self.nodes[n].disk.crash();
        if !lucky {
            self.nodes[n].disk.partials.lose_power();
            self.nodes[n].folder.lose_power();
        }
        if self.plan.odds.rot > 0 {
            self.nodes[n].disk.partials.rot(self.now);
        }
        if lucky && !group.is_empty() && self.dice.chance(500) {
            self.tally.count("fault: durable but unheard");
            self.keep_time(n);
            let done = self.nodes[n].disk.keep(group, self.now);
            self.time_kept(n, &done);
            self.oracle.durable(n, &done, &self.nodes);
        }
        let idle = self.plan.path.idle;
        self.stop(n, idle);
        self.after(time, Event::Start(n));
    }

    /// Node `n` no longer runs; its peers notice within `within`.
    pub fn stop(&mut self, n: usize, within: u64) {
        self.oracle.stopped(n);
        self.nodes[n].stop();
        for link in 0..self.wire.links.len() {
            let run = self.nodes[n].run;
            let link_of_n = &self.wire.links[link];
            let mine = link_of_n
                .ends
                .iter()
                .any(|end| end.node == n && end.run < run);
            if mine && link_of_n.health == Health::Lit {
                self.wire.links[link].health = Health::Dark;
                self.tell_ends(link, "timed out", within);
            }
        }
    }

    fn begin_drain(&mut self, n: usize) {
        if self.nodes[n].scheduler.is_some() && !self.nodes[n].draining {
            self.tally.count("fault: drain");
            self.nodes[n].draining = true;
            let run = self.nodes[n].run;
            // systemd's patience, and long enough for the slowest disk.
            self.after(90 * SECOND, Event::Kill(n, run));
            self.hear(n, Input::Drain);
        }
    }

    /// The daemon ends, drained or killed, and is started again.
    pub fn end_drain(&mut self, n: usize) {
        let drained = self.nodes[n].drained;
        assert!(
            drained || self.nodes[n].slow > 0 || self.nodes[n].mood.slowness(0) > 0,
            "[step] n{n} does not drain in 90 s"
        );
        self.tally
            .count(if drained { "drained" } else { "drain killed" });
        if drained {
            self.oracle.drained(n, &self.nodes);
        }
        let _ = self.nodes[n].disk.crash();
        self.stop(n, SECOND / 10);
        let time = self.dice.spread(1_000, 5 * SECOND);
        self.after(time, Event::Start(n));
    }

    /// An operator names some delivery, mostly one that the verb is for.
    fn operate(&mut self, n: usize, name: &'static str, verb: fn(Vec<Target>) -> Order) {
        if self.nodes[n].scheduler.is_none() {
            return;
        }
        let any = self.dice.chance(100);
        let rows: Vec<Due> = self.nodes[n]
            .disk
            .owed
            .values()
            .filter(|row| row.due.peer != NodeNo::LOCAL)
            .filter(|row| any || row.state.name() == StateName::Deadletter)
            .map(|row| row.due)
            .collect();
        if let Some(due) = self.dice.pick(&rows).copied() {
            self.tally.count(name);
            self.oracle.operated(n, due);
            self.order(n, verb(vec![Target { due, length: 0 }]));
        }
    }

    fn set_rate(&mut self, n: usize) {
        if self.nodes[n].scheduler.is_none() {
            return;
        }
        self.tally.count("verb: set rate");
        let rate = match self.dice.between(0, 2) {
            0 if !self.plan.small_only => Rate::UNLIMITED,
            _ if self.plan.small_only => Rate(self.dice.spread(500, 100_000)),
            _ => Rate(self.dice.spread(20_000, 10_000_000)),
        };
        let peers: Vec<usize> = self.plan.peers(n).collect();
        let peer = self
            .dice
            .pick(&peers)
            .copied()
            .filter(|_| self.dice.chance(500));
        if peer.is_some_and(|peer| self.nodes[n].removed.contains(&peer)) {
            return;
        }
        match peer {
            Some(peer) => drop(self.nodes[n].peer_rates.insert(peer, rate)),
            None => self.nodes[n].rate = rate,
        }
        self.nodes[n].note_rates();
        let change = Bandwidth {
            peer: peer.map(node_name),
            rate: Some(rate),
            daily_quota: None,
            standing: Standing::Ephemeral,
        };
        self.order(
            n,
            Order::Bandwidth {
                change,
                dry_run: false,
            },
        );
    }

    /// An operator gives an order.
    pub(super) fn order(&mut self, n: usize, order: Order) {
        let id = OrderId(self.nodes[n].give());
        let caller = Caller::default();
        self.oracle.ordered(n, id, &order, self.now);
        self.hear(n, Input::Ordered { id, caller, order });
    }

    /// Faults end; answers until when all must have come to rest.
    pub(super) fn calm_down(&mut self) -> u64 {
        self.note("calm");
        self.calm = true;
        self.wire.parted.clear();
        for link in self.wire.lit().collect::<Vec<_>>() {
            if self.dice.chance(300) {
                self.end_link(link, "lost", SECOND / 10);
            }
        }
        let (mut owed, mut slowest) = (0, u64::MAX);
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            node.disk.ceiling = 1 << 40;
            owed += node
                .disk
                .owed
                .values()
                .map(|row| row.bytes + 1_000)
                .sum::<u64>();
            let rates = node.peer_rates.values().chain([&node.rate]);
            slowest = rates
                .filter(|r| !r.is_unlimited())
                .map(|r| r.0)
                .min()
                .unwrap_or(slowest)
                .min(slowest)
                .min(node.slowest);
            self.mend(n);
            self.reads_calm(n);
            self.peers_calm(n);
            self.limits_calm(n);
            self.lift_later(n);
        }
        self.after(SECOND, Event::Look);
        let flow = owed * SECOND / slowest.min(self.plan.path.takes) * 4;
        let slowest_retry = self.nodes.iter().map(|node| node.retry.longest).max();
        let waits = self
            .plan
            .retry
            .longest
            .max(slowest_retry.unwrap_or_default())
            .max(self.plan.redial.longest)
            .as_micros() as u64
            * 20;
        let limited = if self.plan.limiting.on { LIMITED } else { 0 };
        let unread = self.time_to_give_up();
        self.now + PATIENCE + limited + flow + waits + unread + 10 * self.plan.path.idle
    }
}
