//! The local clients of a node: what they put, and how.

use std::sync::Arc;
use std::time::Duration;

use relay_core::aim::To;
use relay_core::change::KeyName;
use relay_core::event::{Input, Put};
use relay_core::id::{LaneName, NodeId, PutId, SegmentId, StagedId};

use crate::disk::content::{Body, Content, digest_of};
use crate::scenario::routes::{is_of_one_topic, topic_of};
use crate::scenario::{SECOND, node_name};
use crate::world::World;

impl World {
    /// A client of `n` puts a pack, a large segment, or something refusable.
    pub fn client_puts(&mut self, n: usize) {
        if self.nodes[n].scheduler.is_none() {
            return;
        }
        for _ in 0..self.dice.between(1, 4) {
            let put = self.drawn_put(n);
            self.oracle.put(n, &put);
            let large = put.shape.bytes > 16 << 10 && put.shape.count == 1;
            if large && put.key.is_none() {
                let (id, length) = (put.put, put.shape.bytes);
                let (lane, to) = (put.lane.clone(), Arc::clone(&put.to));
                self.nodes[n].announced.insert(id, put);
                self.hear(
                    n,
                    Input::Announced {
                        put: id,
                        length,
                        lane,
                        to,
                    },
                );
            } else {
                self.hear(n, Input::Put(put));
            }
        }
    }

    /// The client was told that its bytes are welcome, and sends them.
    pub(super) fn admitted(&mut self, n: usize, put: PutId) {
        self.tally.count("admitted");
        let put = self.nodes[n]
            .announced
            .remove(&put)
            .expect("[step] what is admitted was announced");
        let wait = self.dice.between(0, 100_000);
        self.hear_later(n, wait, Input::Put(put));
    }

    fn drawn_put(&mut self, n: usize) -> Put {
        let repeats = self.plan.odds.repeat_key;
        if self.dice.chance(repeats) {
            let keys = std::mem::take(&mut self.nodes[n].keys);
            let known = self.dice.pick(&keys).cloned();
            self.nodes[n].keys = keys;
            if let Some((name, digest, to, content)) = known {
                self.tally.count("verb: key repeated");
                // Now and then the same key for another segment.
                let content = if self.dice.chance(200) {
                    self.drawn_content(n, 1)
                } else {
                    content
                };
                let same = content.members[0].digest;
                debug_assert!(same == digest || content.members.len() == 1);
                return self.staged_put(n, content, to, Some((name, same)));
            }
        }
        let members = [1, 1, 1, 2, 3, 4, 8, 20][self.dice.between(0, 7) as usize];
        let content = self.drawn_content(n, members);
        let to = self.drawn_aim(n, &content);
        let keyed = repeats > 0 && members == 1 && self.dice.chance(500);
        let key = keyed.then(|| {
            let number = self.nodes[n].give();
            let name = KeyName {
                uid: 1000,
                key: format!("k{number}"),
            };
            let digest = content.members[0].digest;
            self.nodes[n]
                .keys
                .push((name.clone(), digest, to.clone(), Arc::clone(&content)));
            (name, digest)
        });
        self.staged_put(n, content, to, key)
    }

    pub(super) fn staged_put(
        &mut self,
        n: usize,
        content: Arc<Content>,
        to: To,
        key: Option<(KeyName, relay_core::segment::Digest)>,
    ) -> Put {
        let lanes = ["alarm", "default", "default", "extra", "bulk"];
        let odd = ["control", "nowhere"];
        let among: &[&str] = if key.is_none() && self.dice.chance(20) {
            &odd
        } else {
            &lanes
        };
        let lane = self.dice.pick(among).copied().unwrap_or("default");
        let lane: LaneName = lane.parse().expect("a short name is a name");
        let node = &mut self.nodes[n];
        let (put, staged) = (PutId(node.give()), StagedId(node.give()));
        let shape = content.shape();
        node.staged.insert(staged, content);
        let to = Arc::new(To {
            success: self.plan.extra.condition(&mut self.beside),
            ..to
        });
        let mortal = self.dice.chance(self.plan.odds.ttl);
        let ttl = mortal.then(|| Duration::from_micros(self.dice.spread(SECOND / 10, 60 * SECOND)));
        Put {
            put,
            staged,
            shape,
            lane,
            to,
            ttl,
            key,
            spooled: None,
        }
    }

    pub(super) fn drawn_content(&mut self, n: usize, members: u64) -> Arc<Content> {
        let first = SegmentId::v7(self.nodes[n].clock(self.now).unix.0, self.wide());
        let large = members == 1 && !self.plan.small_only && self.dice.chance(400);
        let most = if self.plan.small_only {
            2_000
        } else {
            16 << 10
        };
        let bodies = (0..members).map(|m| {
            let id = first.after(m);
            let length = if large {
                self.dice.spread((16 << 10) + 1, 200 << 10)
            } else {
                self.dice.spread(1, most / members.min(8)) - 1
            };
            Body {
                id,
                digest: digest_of(id, 0),
                length,
            }
        });
        Arc::new(Content::new(bodies.collect()))
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.dice.draw()) << 64 | u128::from(self.dice.draw())
    }

    /// To peers by name, or the way a route says.
    fn drawn_aim(&mut self, n: usize, content: &Content) -> To {
        let peers = self.drawn_peers(n);
        let first = content.members[0].id;
        let routes = self.plan.routing.get(n).map_or(0, |own| own.routes.len());
        let routed = routes > 0 && is_of_one_topic(first) && self.beside.chance(700);
        if !routed {
            return To::peers(peers);
        }
        // One more than there are, now and then.
        let named = self.beside.chance(500);
        let number = self.beside.between(0, routes as u64 * 20) % (routes as u64 + 1);
        self.tally.count(if named {
            "put by route"
        } else {
            "put by topic"
        });
        To {
            route: named.then(|| format!("r{number}").into()),
            topic: topic_of(first),
            ..To::default()
        }
    }

    pub(super) fn drawn_peers(&mut self, n: usize) -> Vec<NodeId> {
        if self.dice.chance(10) {
            return vec!["stranger".parse().expect("a short name is a name")];
        }
        let all: Vec<usize> = self.plan.peers(n).collect();
        let wanted = self.dice.between(1, all.len().min(3) as u64);
        let mut peers = Vec::new();
        for _ in 0..wanted {
            peers.extend(self.dice.pick(&all).map(|peer| node_name(*peer)));
        }
        peers
    }
}
