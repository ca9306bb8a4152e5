//! The shell's disk side: commits in groups, reads that take their time.

use std::sync::Arc;

use relay_core::change::{Change, Due, KeyName, PagedRow};
use relay_core::event::{Effect, Input};
use relay_core::id::{PutId, StagedId, Ticket};

use crate::disk::Job;
use crate::scenario::SECOND;
use crate::world::{Event, World};

impl World {
    pub(super) fn persist(&mut self, n: usize, ticket: Ticket, changes: Vec<Change>) {
        let node = &mut self.nodes[n];
        node.issued = ticket;
        let mut contents = Vec::new();
        for change in &changes {
            if let Change::Pack { staged, .. } = change {
                let content = node
                    .staged
                    .get(staged)
                    .expect("[step] a pack is made of staged bytes");
                contents.push((*staged, Arc::clone(content)));
            }
            if let Change::Node(no, name) = change {
                node.numbers.insert(name.clone(), *no);
            }
        }
        node.disk.ask(Job {
            ticket,
            changes,
            contents,
        });
    }

    /// Begins the next commit, with all that was asked up to here, unless one
    /// is under way or there is nothing.
    pub fn begin_commit(&mut self, n: usize) {
        if !self.nodes[n].disk.wants_commit() {
            return;
        }
        let (low, high) = self.plan.disk.commit;
        let slow = self.nodes[n].slow + self.nodes[n].mood.slowness(self.now);
        let time = self.dice.between(low, high) + slow;
        let run = self.nodes[n].run;
        self.after(time, Event::Commit(n, run));
        self.nodes[n].disk.begin();
    }

    /// The group of `n` is durable: the answers go out.
    pub fn commit(&mut self, n: usize) {
        let now = self.now;
        self.keep_time(n);
        let Some(committed) = self.nodes[n].disk.commit(now) else {
            return;
        };
        self.time_kept(n, &committed.done);
        for job in &committed.done {
            for (staged, _) in &job.contents {
                self.nodes[n].staged.remove(staged);
            }
            self.rot(n, job);
        }
        self.oracle.durable(n, &committed.done, &self.nodes);
        let space = self.nodes[n].disk.space();
        for job in &committed.refused {
            self.tally.count("fault: persist refused");
            self.oracle.refused(n, job);
            self.hear(n, Input::PersistRefused(job.ticket, space));
        }
        self.hear(n, Input::Persisted(committed.upto, space));
        self.begin_commit(n);
    }

    /// The jobs of a group are durable, and with them what its clocks said.
    pub fn time_kept(&mut self, n: usize, done: &[Job]) {
        if !done.is_empty() {
            self.oracle.time_kept(n, &self.nodes, self.now);
        }
    }

    /// What is committed next keeps what the clocks of `n` say.
    pub fn keep_time(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let stamp = node.clocks.stamp(self.now);
        node.disk.keep_time(stamp);
    }

    /// In some worlds bytes rot or vanish once they are durable.
    fn rot(&mut self, n: usize, job: &Job) {
        let odds = self.plan.odds.rot;
        for change in &job.changes {
            let Change::Pack { no, info, .. } = change else {
                continue;
            };
            let dead = self.plan.reads.dead_every;
            if dead > 0 && !self.calm && self.reads.between(1, dead) == 1 {
                self.tally.count("fault: bytes never read");
                self.nodes[n].disk.kill(*no);
            }
            if info.origin.0 != 0 || self.calm || !self.dice.chance(odds) {
                continue;
            }
            let vanish = self.dice.chance(400);
            let member = self.dice.between(0, u64::from(info.count) - 1) as u16;
            let stored = self.nodes[n]
                .disk
                .packs
                .get_mut(no)
                .expect("it was just stored");
            if vanish {
                stored.missing = true;
                self.tally.count("fault: bytes missing");
            } else {
                stored.bad.insert(member);
                self.tally.count("fault: bytes rotten");
            }
        }
    }

    /// A consumer takes from the inbox of `n`, now and then.
    pub fn consume(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.scheduler.is_some() && !node.draining {
            self.oracle.judge_expiry(n, node, self.now);
        }
        let most = self.dice.between(1, 30) as usize;
        if self.nodes[n].disk.consume(most) {
            self.space_changed(n);
        }
        let wait =
            self.dice.between(SECOND / 2, 10 * SECOND) * if self.calm { 1 } else { self.plan.pace };
        self.after(wait, Event::Consume(n));
    }

    /// The journal says again how full it is.
    pub fn space_changed(&mut self, n: usize) {
        if self.nodes[n].scheduler.is_some() && !self.nodes[n].disk.is_busy() {
            let (upto, space) = (self.nodes[n].issued, self.nodes[n].disk.space());
            self.hear(n, Input::Persisted(upto, space));
        }
    }

    /// Reads what a question asks for; the answer is under way a while, and may
    /// be old when it is heard.
    pub fn read(&mut self, n: usize, effect: Effect) {
        let answer = match self.unanswered(n, &effect) {
            Some(unread) => unread,
            None => self.answer(n, effect),
        };
        let wait = self.read_time() / 2 + self.slow_read(n);
        self.hear_later(n, wait, answer);
    }

    fn answer(&mut self, n: usize, effect: Effect) -> Input {
        let (now, disk) = (self.now, &self.nodes[n].disk);
        match effect {
            Effect::Page {
                peer,
                lane,
                after,
                limit,
            } => {
                let rows: Vec<PagedRow> = disk.page(peer, lane, after, limit);
                self.tally.add("paged", rows.len() as u64);
                Input::Paged { peer, lane, rows }
            }
            Effect::Owing { peer, after, limit } => {
                let rows = disk.owing(peer, after, limit);
                Input::Owing { peer, rows }
            }
            Effect::Fetch(due) => Input::Fetched {
                due,
                row: disk.fetch(due).map(Box::new),
                except: disk.left_of(due),
            },
            Effect::FindExpired { by, after, limit } => {
                let (dues, next) = disk.find_expired(by, after, limit);
                Input::Expired { dues, next }
            }
            Effect::FindStuck { after, limit } => Input::Stuck {
                dues: disk.find_stuck(after, limit),
            },
            Effect::FindKey(put, name) => self.find_key(n, put, &name),
            Effect::LookUp {
                question,
                origin,
                ids,
            } => {
                let known = disk.look_up(origin, &ids, now);
                Input::LookedUp { question, known }
            }
            Effect::Recall {
                question,
                peer,
                after,
                limit,
            } => {
                let rows = disk.recall(peer, after, limit);
                Input::Recalled {
                    question,
                    peer,
                    rows,
                }
            }
            Effect::Divide {
                question,
                staged,
                parts,
                ..
            } => self.divide(n, question, staged, &parts),
            Effect::Group(pack) => Input::Grouped {
                pack,
                rows: disk.group(pack),
            },
            Effect::Walk {
                peer,
                standby,
                after,
                limit,
            } => {
                let (packs, upto) = disk.walk(peer, standby, after, limit);
                let found = packs.len() as u64;
                self.tally.add(
                    match standby {
                        true => "found at start",
                        false => "found behind a peer away",
                    },
                    found,
                );
                Input::Walked {
                    peer,
                    standby,
                    packs,
                    upto,
                }
            }
            Effect::Verify(due) => self.verify(n, due),
            Effect::Admit(_)
            | Effect::Accept(_)
            | Effect::AcceptAs(..)
            | Effect::Refuse(..)
            | Effect::Discard(_)
            | Effect::Persist(..)
            | Effect::Dial(_)
            | Effect::Close { .. }
            | Effect::Offer { .. }
            | Effect::Send { .. }
            | Effect::Reset { .. }
            | Effect::Want { .. }
            | Effect::Have { .. }
            | Effect::Ack { .. }
            | Effect::Busy { .. }
            | Effect::Settle { .. }
            | Effect::Journaled { .. }
            | Effect::Forget(_)
            | Effect::Answer(..)
            | Effect::Shun(_)
            | Effect::Drained => unreachable!("nothing of this is a question"),
        }
    }

    fn find_key(&self, n: usize, put: PutId, name: &KeyName) -> Input {
        Input::KeyFound {
            put,
            row: self.nodes[n].disk.key(name).cloned(),
        }
    }

    fn divide(&mut self, n: usize, question: u64, staged: StagedId, parts: &[Vec<u16>]) -> Input {
        self.tally.count(match parts.len() {
            1 => "arrival trimmed",
            _ => "pack divided",
        });
        let node = &mut self.nodes[n];
        let whole = node
            .staged
            .remove(&staged)
            .expect("[step] what is divided is staged");
        let mut divided = Vec::with_capacity(parts.len());
        for keep in parts {
            let content = Arc::new(whole.subset(keep));
            let (id, shape) = (StagedId(node.give()), content.shape());
            node.staged.insert(id, content);
            divided.push((id, shape));
        }
        let ids = divided.iter().map(|(id, _)| *id).collect();
        self.oracle.divided(n, staged, ids);
        let parts = divided;
        Input::Divided { question, parts }
    }

    fn verify(&mut self, n: usize, due: Due) -> Input {
        self.tally.count("verified");
        let stored = self.nodes[n].disk.packs.get(&due.pack);
        let sound = stored.filter(|stored| !stored.missing);
        let bad = sound
            .map(|stored| stored.bad.iter().copied().collect())
            .unwrap_or_default();
        let lengths = sound.map(|s| s.content.members.iter().map(|b| b.length).collect());
        Input::Verified {
            due,
            bad,
            lengths: lengths.unwrap_or_default(),
        }
    }
}
