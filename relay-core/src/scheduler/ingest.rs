//! What one peer may send us: segments a second and bytes a second.
//!
//! Each peer has a bucket for either, full at first. What arrives while both are above
//! zero is taken, whatever becomes of it, and may leave them in debt by itself: a pack by
//! its members and bodies, a large segment by what of it is still to come, less what then
//! did not come. Everything
//! else is answered `busy(ingest_quota)` with the time at which they rise above zero, and
//! nothing of it is kept. So in any stretch of time no more of a peer is stored than the
//! burst (one second), the rate times that time, and one pack or large segment (semantics
//! 10). Buckets live in memory: a restart begins with full ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Scheduler;
use super::question::{Item, Question};
use crate::bandwidth::Bucket;
use crate::event::Ingest;
use crate::id::NodeNo;
use crate::time::{Mono, Now};
use crate::units::Rate;

/// The longest a peer is told to wait: a limit that was lifted meanwhile is felt soon.
const LONGEST: Duration = Duration::from_secs(60);

/// What of each peer was taken in.
#[derive(Debug, Default)]
pub(super) struct Intakes(BTreeMap<NodeNo, Intake>);

/// What one peer may still send.
#[derive(Debug)]
struct Intake {
    segments: Bucket,
    bytes: Bucket,
}

impl Intake {
    fn new(limits: Ingest, now: Mono) -> Self {
        Self {
            segments: Bucket::new(Rate(limits.segments), now),
            bytes: Bucket::new(limits.bytes, now),
        }
    }

    /// Whether more may come now; if not, when.
    fn ready(&self, now: Mono) -> Result<(), Mono> {
        match (self.segments.ready(now), self.bytes.ready(now)) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(at), Ok(())) | (Ok(()), Err(at)) => Err(at),
            (Err(one), Err(other)) => Err(one.max(other)),
        }
    }

    fn take(&mut self, now: Mono, segments: u64, bytes: u64) {
        self.segments.take(now, segments);
        self.bytes.take(now, bytes);
    }

    fn set(&mut self, limits: Ingest, now: Mono) {
        self.segments.set_rate(now, Rate(limits.segments));
        self.bytes.set_rate(now, limits.bytes);
    }
}

impl Scheduler {
    /// Whether the quota of `peer` admits more; if not, how long it is to wait.
    pub(super) fn may_take_in(&mut self, now: Now, peer: NodeNo) -> Result<(), Duration> {
        let Some(intake) = self.intake_of(now, peer) else {
            return Ok(());
        };
        let ready = intake.ready(now.mono);
        ready.map_err(|at| at.since(now.mono).min(LONGEST))
    }

    /// Whether it admits the body of what it was offered already.
    pub(super) fn may_take_in_body(&mut self, now: Now, peer: NodeNo) -> Result<(), Duration> {
        let Some(intake) = self.intake_of(now, peer) else {
            return Ok(());
        };
        let ready = intake.bytes.ready(now.mono);
        ready.map_err(|at| at.since(now.mono).min(LONGEST))
    }

    /// Something was admitted: a pack counts whole, an offer that it was made.
    pub(super) fn note_taken_in(&mut self, now: Now, question: &Question) {
        let members = question.ids().len() as u64 + u64::from(question.early_refusals());
        let bytes = match question.item {
            Item::Pack(_) => question.shape().bytes,
            Item::Offer(_) => 0,
        };
        if let Some(intake) = self.intake_of(now, question.peer) {
            intake.take(now.mono, members, bytes);
        }
    }

    /// The rest of a large segment, so many bytes, is wanted; what of the quota that took.
    pub(super) fn take_in_body(&mut self, now: Now, peer: NodeNo, bytes: u64) -> u64 {
        let limited = !self.settings.bounds.ingest.bytes.is_unlimited();
        if let Some(intake) = self.intake_of(now, peer).filter(|_| limited) {
            intake.take(now.mono, 0, bytes);
            return bytes;
        }
        0
    }

    /// So many of those bytes do not come: it was cut off, and what is kept of it is
    /// not sent again.
    pub(super) fn give_back_body(&mut self, now: Now, peer: NodeNo, bytes: u64) {
        if let Some(intake) = self.intake_of(now, peer) {
            intake.bytes.give_back(now.mono, bytes);
        }
    }

    /// The config says something else of all peers: debts are carried.
    pub(super) fn set_ingest(&mut self, now: Now, limits: Ingest) {
        self.settings.bounds.ingest = limits;
        let intakes = self.intakes.0.values_mut();
        intakes.for_each(|intake| intake.set(limits, now.mono));
    }

    /// The buckets of a peer; `None` while nothing is limited.
    fn intake_of(&mut self, now: Now, peer: NodeNo) -> Option<&mut Intake> {
        let limits = self.settings.bounds.ingest;
        if limits == Ingest::default() {
            return None;
        }
        let made = || Intake::new(limits, now.mono);
        Some(self.intakes.0.entry(peer).or_insert_with(made))
    }
}
