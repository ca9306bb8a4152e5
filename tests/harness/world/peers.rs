//! What operators do about peers, carried out: pauses and their end.

use std::time::Duration;

use relay_core::event::{Greeting, Input, Order, Pausing, Scope};
use relay_core::id::{LedgerId, LinkId};
use relay_core::limits;

use super::{Event, World};
use crate::scenario::peers::{PeerAct, Where};
use crate::scenario::{Act, SECOND, node_name};
use crate::seeds::Dice;

/// Tells the dice of crashes in the middle of a drop from others.
const MID_DROP: u64 = 0x6472_6f70;

impl World {
    pub(super) fn peer_act(&mut self, act: PeerAct) {
        match act {
            PeerAct::Pause(place, at_once, lasts) => self.pause(place, at_once, lasts),
            PeerAct::Resume(place) => {
                if self.nodes[place.node].scheduler.is_some() {
                    self.tally.count("verb: resume");
                    self.order(place.node, Order::Resume(scope(place)));
                }
            }
            PeerAct::Kick(n, peer) => {
                if self.nodes[n].scheduler.is_some() {
                    self.tally.count("verb: kick");
                    self.order(n, Order::Kick(node_name(peer)));
                }
            }
            PeerAct::Remove(n, peer) => {
                self.tally.count("peer removed");
                self.nodes[n].removed.insert(peer);
                self.crash(n, true);
            }
            PeerAct::Restore(n, peer) => {
                self.nodes[n].removed.remove(&peer);
                self.crash(n, true);
            }
            PeerAct::Drop(n, peer) => {
                if self.nodes[n].scheduler.is_some() {
                    self.tally.count("verb: drop");
                    // Drawn from the clock, so that no other dice fall differently.
                    let mut dice = Dice::new(self.now ^ MID_DROP);
                    if dice.chance(300) {
                        let soon = dice.spread(1_000, 200_000);
                        self.after(soon, Event::Act(Act::Crash(n)));
                    }
                    self.order(n, Order::Drop(node_name(peer)));
                }
            }
            PeerAct::Clone(n, peer, times) => self.clone_speaks(n, peer, times),
            PeerAct::NetworkChange(n) => {
                if self.nodes[n].scheduler.is_some() {
                    self.tally.count("fault: network changed");
                    self.hear(n, Input::NetworkChanged);
                }
            }
            PeerAct::Vanish(n, away) => {
                self.tally.count("fault: away for days");
                self.crash_for(n, true, away);
            }
        }
    }

    fn pause(&mut self, place: Where, at_once: bool, lasts: Option<u64>) {
        let n = place.node;
        if self.nodes[n].scheduler.is_none() {
            return;
        }
        let how = if at_once {
            Pausing::Now
        } else {
            Pausing::Drain
        };
        self.tally.count(match (place.peer, place.lane, how) {
            (None, None, Pausing::Drain) => "verb: pause all",
            (None, None, Pausing::Now) => "verb: pause all, now",
            (Some(_), None, Pausing::Drain) => "verb: pause peer",
            (Some(_), None, Pausing::Now) => "verb: pause peer, now",
            (None, Some(_), Pausing::Drain) => "verb: pause lane",
            (None, Some(_), Pausing::Now) => "verb: pause lane, now",
            (Some(_), Some(_), Pausing::Drain) => "verb: pause lane of peer",
            (Some(_), Some(_), Pausing::Now) => "verb: pause lane of peer, now",
        });
        let unix = self.nodes[n].clock(self.now).unix;
        let until = lasts.map(|lasts| unix + Duration::from_micros(lasts));
        let scope = scope(place);
        self.order(n, Order::Pause { scope, how, until });
    }

    /// Another machine with the certificate of `peer` says Hello to `n`; what it is
    /// sent goes nowhere.
    fn clone_speaks(&mut self, n: usize, peer: usize, times: u64) {
        let again = self.dice.spread(SECOND / 10, 20 * SECOND);
        if times > 1 {
            let next = Act::Peers(PeerAct::Clone(n, peer, times - 1));
            self.after(again, Event::Act(next));
        }
        if self.nodes[n].scheduler.is_none() {
            return;
        }
        self.tally.count("fault: clone speaks");
        let link = LinkId(self.nodes[n].give());
        let real = &self.nodes[peer].disk;
        let greeting = Greeting {
            ledger: LedgerId(real.ledger.0 ^ 0x0C10),
            epoch: real.epoch,
            dialled: false,
            max_segment: limits::MAX_SEGMENT,
        };
        let name = node_name(peer);
        let up = Input::LinkUp {
            peer: name.clone(),
            link,
            greeting,
        };
        self.hear(n, up);
        let down = Input::LinkDown {
            peer: name,
            link: Some(link),
            why: "the clone is gone".to_owned(),
        };
        let wait = self.dice.spread(SECOND / 100, 30 * SECOND);
        let run = self.nodes[n].run;
        self.after(wait, Event::Hear(n, run, Box::new(down)));
    }

    /// Operators end every pause that does not end by itself, mend the configs, and
    /// now and then trust again whom they know.
    pub(super) fn peers_calm(&mut self, n: usize) {
        self.resume_all(n);
        for peer in self.plan.peers(n).collect::<Vec<_>>() {
            if self.nodes[n].scheduler.is_some() && self.dice.chance(100) {
                self.order(n, Order::Kick(node_name(peer)));
            }
        }
        for peer in self.nodes[n].removed.clone() {
            if self.nodes[n].scheduler.is_some() && self.dice.chance(500) {
                self.order(n, Order::Drop(node_name(peer)));
            }
        }
        if !self.nodes[n].removed.is_empty() {
            self.after(30 * SECOND, Event::Restore(n));
        }
    }

    /// The config of `n` is whole again.
    pub(super) fn restore(&mut self, n: usize) {
        self.nodes[n].removed.clear();
        self.crash(n, true);
    }

    /// What a node that starts in the calm still has paused is resumed.
    pub fn resume_all(&mut self, n: usize) {
        if !self.calm {
            return;
        }
        let paused: Vec<Scope> = match &self.nodes[n].scheduler {
            Some(scheduler) => {
                let now = self.nodes[n].clock(self.now);
                let pauses = scheduler.picture(now).pauses.into_iter();
                pauses
                    .filter(|p| p.until.is_none())
                    .map(|p| p.scope)
                    .collect()
            }
            None => return,
        };
        for scope in paused {
            self.order(n, Order::Resume(scope));
        }
    }
}

fn scope(place: Where) -> Scope {
    Scope {
        peer: place.peer.map(node_name),
        lane: place
            .lane
            .map(|lane| lane.parse().expect("a short name is a name")),
    }
}
