//! What operators do about peers, carried out: pauses and their end.

use std::time::Duration;

use relay_core::event::{Order, Pausing, Scope};

use super::World;
use crate::scenario::node_name;
use crate::scenario::peers::{PeerAct, Where};

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

    /// Operators end every pause that does not end by itself.
    pub(super) fn peers_calm(&mut self, n: usize) {
        self.resume_all(n);
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
