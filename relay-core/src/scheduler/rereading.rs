//! Questions that the ledger or a file did not answer: what waits for them meanwhile,
//! and when they are asked again.
//!
//! A read that fails is trouble of this node alone. It costs no attempt, no peer hears
//! a nack of it, and nothing stands still but what needs that very answer: such
//! deliveries wait as `storage`. Whoever can be told at once is told (a put under a key,
//! an order, a peer that wants its arrival looked up); everything else is asked again
//! after [`READ_AGAIN`], doubled each time up to [`READ_AGAIN_LONGEST`], for as long as
//! it matters. Bytes that could not be read for `unreadable` are given up as corrupt.

use std::collections::{BTreeMap, BTreeSet};

use super::Scheduler;
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};
use crate::change::{Change, Due, Part};
use crate::event::{Effect, Input};
use crate::id::{LaneNo, NodeNo, PackNo};
use crate::limits::{NOTE_UNREADABLE, READ_AGAIN, READ_AGAIN_LONGEST};
use crate::time::{Mono, Now};

/// What is asked, by what it is about: of each there is one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reading {
    Page(NodeNo, LaneNo),
    Owing(NodeNo),
    Fetch(Due),
    Expired,
    Stuck,
    Recall(NodeNo),
    Group(PackNo),
    Walk,
    Verify(Due),
}

impl Reading {
    /// What `input` answers, if it answers what may have been asked before.
    const fn answered(input: &Input) -> Option<Self> {
        match input {
            Input::Paged { peer, lane, .. } => Some(Self::Page(*peer, *lane)),
            Input::Owing { peer, .. } => Some(Self::Owing(*peer)),
            Input::Fetched { due, .. } => Some(Self::Fetch(*due)),
            Input::Expired { .. } => Some(Self::Expired),
            Input::Stuck { .. } => Some(Self::Stuck),
            Input::Recalled { peer, .. } => Some(Self::Recall(*peer)),
            Input::Grouped { pack, .. } => Some(Self::Group(*pack)),
            Input::Walked { .. } => Some(Self::Walk),
            Input::Verified { due, .. } => Some(Self::Verify(*due)),
            Input::Announced { .. }
            | Input::Put(_)
            | Input::KeyFound { .. }
            | Input::Persisted(..)
            | Input::PersistRefused(..)
            | Input::LookedUp { .. }
            | Input::Unread { .. }
            | Input::LinkUp { .. }
            | Input::LinkDown { .. }
            | Input::NetworkChanged
            | Input::Arrived { .. }
            | Input::Offered { .. }
            | Input::OfferLost { .. }
            | Input::Progressed { .. }
            | Input::Kept { .. }
            | Input::Wanted { .. }
            | Input::Acked { .. }
            | Input::PeerBusy { .. }
            | Input::PeerSettled { .. }
            | Input::Taken { .. }
            | Input::Delivered { .. }
            | Input::SendFailed { .. }
            | Input::Divided { .. }
            | Input::Ordered { .. }
            | Input::SentOnWire { .. }
            | Input::Unspooled(_)
            | Input::Panicked(_)
            | Input::Drain
            | Input::Wake => None,
        }
    }
}

/// One question without an answer.
#[derive(Clone, Debug)]
pub(super) struct Unread {
    question: Effect,
    /// When it is asked again; `None` while it is.
    pub(super) again: Option<Mono>,
    /// Since when it has had no answer.
    pub(super) since: Mono,
    tries: u32,
    /// What the disk said.
    pub(super) said: String,
}

/// All questions without an answer. They are bounded where they begin.
#[derive(Debug, Default)]
pub(super) struct Rereading {
    all: BTreeMap<Reading, Unread>,
    moments: BTreeSet<(Mono, Reading)>,
    /// When the audit last said that something cannot be read.
    noted: Option<Mono>,
}

impl Rereading {
    /// Whether the last answer to this was that it cannot be read.
    pub(super) fn has(&self, reading: Reading) -> bool {
        self.all.contains_key(&reading)
    }

    /// Whether everything could be read.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What is known of this, if it could not be read.
    pub(super) fn unread(&self, reading: Reading) -> Option<&Unread> {
        self.all.get(&reading)
    }

    /// Whether bytes of anything owed to `peer` could not be read.
    pub(super) fn has_bytes_of(&self, peer: NodeNo) -> bool {
        let lowest = Due {
            peer,
            pack: PackNo(0),
            part: Part::Rest,
        };
        let first = self.all.range(Reading::Verify(lowest)..).next();
        first.is_some_and(|(reading, _)| match reading {
            Reading::Verify(due) => due.peer == peer,
            Reading::Page(..)
            | Reading::Owing(_)
            | Reading::Fetch(_)
            | Reading::Expired
            | Reading::Stuck
            | Reading::Recall(_)
            | Reading::Group(_)
            | Reading::Walk => false,
        })
    }

    /// When something is asked again.
    pub(super) fn first(&self) -> Option<Mono> {
        self.moments.first().map(|(at, _)| *at)
    }

    /// Forgets it; `true`: it waited to be asked again.
    fn remove(&mut self, reading: Reading) -> bool {
        let again = self.all.remove(&reading).and_then(|gone| gone.again);
        again.is_some_and(|at| self.moments.remove(&(at, reading)))
    }

    pub(super) fn put_off(
        &mut self,
        reading: Reading,
        question: Effect,
        at: Mono,
        (now, said): (Mono, &str),
    ) {
        let unread = self.all.entry(reading).or_insert_with(|| Unread {
            question: question.clone(),
            again: None,
            since: now,
            tries: 0,
            said: String::new(),
        });
        if let Some(earlier) = unread.again.replace(at) {
            self.moments.remove(&(earlier, reading));
        }
        unread.tries = unread.tries.saturating_add(1);
        unread.question = question;
        said.clone_into(&mut unread.said);
        self.moments.insert((at, reading));
    }
}

impl Scheduler {
    /// An answer ends what was asked again.
    pub(super) fn note_read(&mut self, input: &Input) {
        if self.rereading.all.is_empty() {
            return;
        }
        // Of an earlier link, while the question of this one is still open.
        let stale = matches!(input, Input::Recalled { question, peer, .. }
            if self.peers.get(peer).is_none_or(|p| p.unsettled.recalling != Some(*question)));
        if let Some(reading) = Reading::answered(input).filter(|_| !stale) {
            self.forget_unread(reading);
        }
    }

    /// A question could not be read: whoever waits is told, or it is asked again.
    pub(super) fn on_unread(&mut self, now: Now, question: Effect, said: &str) {
        self.note_unreadable(now, &question, said);
        match question {
            Effect::FindKey(put, _) => self.on_key_unread(put),
            Effect::LookUp { question, .. } => self.on_look_up_unread(question),
            Effect::Divide { question, .. } => {
                if !self.on_put_undivided(question) {
                    self.on_look_up_unread(question);
                }
            }
            Effect::Recall { peer, .. } => {
                if self.reask(now, Reading::Recall(peer), question, said) {
                    self.put_off_acks(peer);
                }
            }
            Effect::Fetch(due) => self.on_fetch_unread(now, due, said),
            Effect::Verify(due) => self.on_verify_unread(now, due, said),
            Effect::Page { peer, lane, .. } => {
                self.reask(now, Reading::Page(peer, lane), question, said);
            }
            Effect::Owing { peer, .. } => {
                self.reask(now, Reading::Owing(peer), question, said);
            }
            Effect::FindExpired { .. } => {
                self.reask(now, Reading::Expired, question, said);
            }
            Effect::FindStuck { .. } => {
                self.reask(now, Reading::Stuck, question, said);
            }
            Effect::Group(pack) => {
                self.reask(now, Reading::Group(pack), question, said);
            }
            Effect::Walk { .. } => {
                self.reask(now, Reading::Walk, question, said);
            }
            Effect::Admit(_)
            | Effect::Accept(_)
            | Effect::AcceptAs(..)
            | Effect::Refuse(..)
            | Effect::Answer(..)
            | Effect::Discard(_)
            | Effect::Persist(..)
            | Effect::Dial(_)
            | Effect::Close { .. }
            | Effect::Offer { .. }
            | Effect::Send { .. }
            | Effect::Reset { .. }
            | Effect::Want { .. }
            | Effect::Journaled { .. }
            | Effect::Forget(_)
            | Effect::Have { .. }
            | Effect::Ack { .. }
            | Effect::Busy { .. }
            | Effect::Settle { .. }
            | Effect::Shun(_)
            | Effect::Drained => unreachable!("what is not a question is not read"),
        }
    }

    /// Asks again after a while, if it still matters; `false`: it does not.
    pub(super) fn reask(
        &mut self,
        now: Now,
        reading: Reading,
        question: Effect,
        said: &str,
    ) -> bool {
        if !self.still_wanted(reading, &question) {
            self.forget_unread(reading);
            return false;
        }
        let tries = self.rereading.all.get(&reading).map_or(0, |u| u.tries);
        let wait = READ_AGAIN
            .saturating_mul(1 << tries.min(16))
            .min(READ_AGAIN_LONGEST);
        let at = now.mono + wait;
        self.rereading
            .put_off(reading, question, at, (now.mono, said));
        true
    }

    /// Asks again what has waited long enough.
    pub(super) fn reread(&mut self, now: Now) {
        while let Some((at, reading)) = self.rereading.moments.first().copied() {
            if at > now.mono || self.draining.is_some() {
                break;
            }
            self.rereading.moments.remove(&(at, reading));
            let Some(unread) = self.rereading.all.get_mut(&reading) else {
                continue;
            };
            unread.again = None;
            let question = unread.question.clone();
            if self.still_wanted(reading, &question) {
                self.effects.push_back(question);
            } else {
                self.rereading.all.remove(&reading);
                self.read_ended(reading);
            }
        }
    }

    /// Nothing waits for it to be asked again: what does not wait is being asked.
    pub(super) fn forget_unread(&mut self, reading: Reading) {
        if self.rereading.remove(reading) {
            self.read_ended(reading);
        }
    }

    /// A read of our own bytes will have no answer.
    pub(super) fn read_ended(&mut self, reading: Reading) {
        if let Reading::Verify(due) = reading
            && let Some(peer) = self.peers.get_mut(&due.peer)
        {
            peer.judging = peer.judging.saturating_sub(1);
            self.dirty.insert(due.peer);
        }
    }

    /// Whether anything still waits for the answer.
    fn still_wanted(&self, reading: Reading, question: &Effect) -> bool {
        match reading {
            Reading::Recall(no) => self.peers.get(&no).is_some_and(|peer| {
                let open = peer.unsettled.recalling;
                peer.link.up().is_some()
                    && matches!(question, Effect::Recall { question, .. } if open == Some(*question))
            }),
            Reading::Fetch(due) => self.asks.contains_key(&due),
            Reading::Owing(no) => self.is_being_dropped(no),
            Reading::Group(pack) => self.groups.is_open(pack),
            Reading::Verify(due) => self.judged(due).is_some(),
            // Whoever asked waits for it, whatever happens meanwhile.
            Reading::Page(..) | Reading::Expired | Reading::Stuck | Reading::Walk => true,
        }
    }

    /// The audit says it once in a while.
    fn note_unreadable(&mut self, now: Now, question: &Effect, said: &str) {
        let recent = |at: Mono| now.mono.since(at) < NOTE_UNREADABLE;
        if self.draining.is_some() || self.rereading.noted.is_some_and(recent) {
            return;
        }
        self.rereading.noted = Some(now.mono);
        let event = AuditEvent::StorageUnreadable;
        let what = match matches!(question, Effect::Verify(_)) {
            true => "payload",
            false => "ledger",
        };
        let mut record =
            AuditRecord::own(now.wall, event, "storage", what.to_owned()).with("error", said);
        record.outcome = AuditOutcome::Failure;
        self.batch.push(Change::Audit(record));
    }
}
