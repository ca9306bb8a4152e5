//! Puts of local clients: refused before their bytes where possible, durable
//! before accepted, and at most once per idempotency key.

use std::collections::{BTreeMap, VecDeque};

use smallvec::SmallVec;

use super::binding::{Bound, Owing};
use super::{Pending, Scheduler};
use crate::aim::To;
use crate::change::{Change, KeyName, KeyRow};
use crate::event::{Effect, Put, Refusal, Shape};
use crate::id::{LaneName, PutId, StagedId};
use crate::segment::Came;
use crate::spool::SpooledRow;
use crate::time::Now;

/// How long a key is remembered, 24 h (semantics 2.7).
const KEY_LIFE_MS: u64 = 24 * 60 * 60 * 1000;

/// Keyed puts on their way.
#[derive(Debug, Default)]
pub(super) struct Puts {
    /// Puts whose key is being looked up.
    asked: BTreeMap<PutId, Put>,
    /// Keys in use, each with the puts that wait for it.
    busy: BTreeMap<KeyName, VecDeque<Put>>,
    /// Puts being divided into packs, by question.
    divided: BTreeMap<u64, Put>,
    /// Bytes of puts whose rows are on their way to disk.
    under_way: u64,
}

impl Puts {
    /// Bytes that are being written, and that no word of how full the node is counts yet.
    pub(super) const fn under_way(&self) -> u64 {
        self.under_way
    }
}

/// A put whose rows are on their way to disk.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    put: PutId,
    staged: SmallVec<[StagedId; 1]>,
    bytes: u64,
    key: Option<KeyName>,
    owing: SmallVec<[Owing; 1]>,
}

impl Scheduler {
    pub(super) fn on_announced(&mut self, put: PutId, length: u64, lane: &LaneName, to: &To) {
        let answer = match self.bind_announced(length, lane, to) {
            Ok(_) => Effect::Admit(put),
            Err(why) => Effect::Refuse(put, why),
        };
        self.effects.push_back(answer);
    }

    pub(super) fn on_put(&mut self, now: Now, put: Put) {
        let bound = match self.bind_put(put.shape.bytes, &put.lane, &put.to) {
            Ok(bound) => bound,
            Err(why) => return self.refuse(put.put, &[put.staged], why),
        };
        let Some((name, _)) = put.key.clone() else {
            if bound.is_partial() && put.shape.count > 1 {
                return self.divide_put(put);
            }
            return self.store_put(now, &put, &[(put.staged, put.shape)], &bound, None);
        };
        if let Some(waiting) = self.puts.busy.get_mut(&name) {
            waiting.push_back(put);
            return;
        }
        self.puts.busy.insert(name.clone(), VecDeque::new());
        self.effects.push_back(Effect::FindKey(put.put, name));
        self.puts.asked.insert(put.put, put);
    }

    pub(super) fn on_key_found(&mut self, now: Now, id: PutId, row: Option<KeyRow>) {
        let Some(put) = self.puts.asked.remove(&id) else {
            return;
        };
        let (name, digest) = put.key.clone().expect("only keyed puts are asked about");
        let row = row.filter(|row| now.unix.0.saturating_sub(row.at.0) < KEY_LIFE_MS);
        let bound = match self.bind_put(put.shape.bytes, &put.lane, &put.to) {
            Ok(bound) => bound,
            Err(why) => {
                self.refuse(put.put, &[put.staged], why);
                return self.release_key(&name);
            }
        };
        let targets = bound.targets();
        match row {
            None => {
                let row = KeyRow {
                    name,
                    id: put.shape.first,
                    digest,
                    targets,
                    at: now.unix,
                };
                let parts = [(put.staged, put.shape)];
                return self.store_put(now, &put, &parts, &bound, Some(row));
            }
            Some(row) if row.digest == digest && row.targets == targets => {
                self.effects.push_back(Effect::Discard(put.staged));
                self.effects
                    .push_back(Effect::AcceptAs(put.put, row.id, row.digest));
            }
            Some(row) => {
                let why = Refusal::KeyConflict { first: row.id };
                self.refuse(put.put, &[put.staged], why);
            }
        }
        self.release_key(&name);
    }

    /// Takes back a put whose key is being looked up.
    pub(super) fn take_asked(&mut self, id: PutId) -> Option<Put> {
        self.puts.asked.remove(&id)
    }

    /// The packs of a put could not be made; `false`: the question was another's.
    pub(super) fn on_put_undivided(&mut self, question: u64) -> bool {
        let Some(put) = self.puts.divided.remove(&question) else {
            return false;
        };
        self.refuse(put.put, &[put.staged], Refusal::Unreadable);
        true
    }

    pub(super) fn on_put_stored(&mut self, now: Now, stored: Stored) {
        self.puts.under_way -= stored.bytes;
        self.effects.push_back(Effect::Accept(stored.put));
        self.owing_stored(now, &stored.owing);
        if let Some(name) = &stored.key {
            self.release_key(name);
        }
    }

    pub(super) fn on_put_refused(&mut self, stored: Stored) {
        self.puts.under_way -= stored.bytes;
        self.owing_refused(&stored.owing);
        let why = Refusal::StorageFull(self.space);
        self.refuse(stored.put, &stored.staged, why);
        if let Some(name) = &stored.key {
            self.release_key(name);
        }
    }

    /// Has a put of many segments made into packs of one each.
    fn divide_put(&mut self, put: Put) {
        self.questions += 1;
        let question = self.questions;
        let (staged, shape) = (put.staged, put.shape);
        let parts = (0..shape.count as u16).map(|member| vec![member]).collect();
        self.effects.push_back(Effect::Divide {
            question,
            staged,
            shape,
            parts,
        });
        self.puts.divided.insert(question, put);
    }

    /// The packs of a put that was to be divided are here; `false`: the question
    /// was another's.
    pub(super) fn on_put_divided(
        &mut self,
        now: Now,
        question: u64,
        parts: &[(StagedId, Shape)],
    ) -> bool {
        let Some(put) = self.puts.divided.remove(&question) else {
            return false;
        };
        match self.bind_put(put.shape.bytes, &put.lane, &put.to) {
            Ok(bound) => self.store_put(now, &put, parts, &bound, None),
            Err(why) => {
                let staged: Vec<StagedId> = parts.iter().map(|(staged, _)| *staged).collect();
                self.refuse(put.put, &staged, why);
            }
        }
        true
    }

    /// Asks for a put that may come in to be made durable, as the packs `parts`.
    fn store_put(
        &mut self,
        now: Now,
        put: &Put,
        parts: &[(StagedId, Shape)],
        bound: &Bound,
        key: Option<KeyRow>,
    ) {
        let (mut changes, mut owing) = (self.empty_batch(), SmallVec::new());
        for (staged, shape) in parts {
            self.last_pack.0 += 1;
            let no = self.last_pack;
            let info = shape.info(bound.lane, Came::here(no), now.unix, put.ttl);
            changes.push(Change::Pack {
                no,
                staged: *staged,
                info: info.clone(),
            });
            self.owe_to(now, no, &info, bound, (&mut changes, &mut owing));
        }
        let name = key.as_ref().map(|row| row.name.clone());
        changes.extend(key.map(Change::Key));
        changes.extend(put.spooled.clone().map(|from| {
            let segment = put.shape.first;
            let from = *from;
            Change::Spooled(SpooledRow { segment, from })
        }));
        // Room for a long one has been taken before its bytes came.
        let bytes = if self.space.has_own_file(put.shape.bytes) {
            0
        } else {
            put.shape.bytes
        };
        self.puts.under_way += bytes;
        let stored = Stored {
            put: put.put,
            bytes,
            staged: parts.iter().map(|(staged, _)| *staged).collect(),
            key: name,
            owing,
        };
        self.persist_alone(changes, Pending::Put(stored));
    }

    pub(super) fn refuse(&mut self, put: PutId, staged: &[StagedId], why: Refusal) {
        let discards = staged.iter().map(|staged| Effect::Discard(*staged));
        self.effects.extend(discards);
        self.effects.push_back(Effect::Refuse(put, why));
    }

    /// Lets the next put with this key ask.
    pub(super) fn release_key(&mut self, name: &KeyName) {
        let Some(waiting) = self.puts.busy.get_mut(name) else {
            return;
        };
        match waiting.pop_front() {
            Some(next) => {
                self.effects
                    .push_back(Effect::FindKey(next.put, name.clone()));
                self.puts.asked.insert(next.put, next);
            }
            None => {
                self.puts.busy.remove(name);
            }
        }
    }
}
