//! Each window of what one peer sends to a node: nothing is taken in while the burst and
//! what the rate has earned are used up, nothing is put off while they are not, and what
//! is put off hears when that changes, to the microsecond.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relay_core::change::Sent;
use relay_core::event::{BusyWhy, Effect, Ingest, Input};
use relay_core::id::{LinkId, PartialNo};
use relay_core::units::Rate;

use super::Oracle;
use super::windows::Window;
use crate::node::Node;
use crate::scenario::node_name;

/// The longest a peer may be told to wait.
const LONGEST: Duration = Duration::from_secs(60);

/// What one node takes in.
#[derive(Debug, Default)]
pub(super) struct Intakes {
    limits: Ingest,
    of: BTreeMap<usize, Intake>,
    /// How long each segment is that was offered.
    offered: BTreeMap<(LinkId, Sent), u64>,
    /// Those that were wanted.
    wanted: BTreeSet<(LinkId, Sent)>,
    /// Of these, which beginning each is.
    parts: BTreeMap<PartialNo, Begun>,
    /// What comes with this step.
    came: Option<Came>,
}

/// A body that was wanted.
#[derive(Debug)]
struct Begun {
    name: (LinkId, Sent),
    peer: usize,
    from: u64,
    length: u64,
    /// What of the quota it took.
    charged: u64,
}

#[derive(Debug)]
struct Intake {
    segments: Window,
    bytes: Window,
    /// Something was put off for another reason, before or after it was counted.
    unsure: bool,
}

impl Intake {
    fn new(limits: Ingest, now: u64) -> Self {
        Self {
            segments: Window::new(Rate(limits.segments), now),
            bytes: Window::new(limits.bytes, now),
            unsure: false,
        }
    }

    fn opens(&mut self, now: u64) -> u64 {
        self.segments.opens(now).max(self.bytes.opens(now))
    }
}

/// A pack or an offer, before anything is said to it.
#[derive(Debug)]
struct Came {
    peer: usize,
    link: LinkId,
    sent: Sent,
    segments: u64,
    bytes: u64,
    /// When its windows open, as they stood before.
    opens: u64,
}

impl Oracle {
    /// Node `n` starts: nothing is remembered of what came before.
    pub(super) fn ingest_started(&mut self, n: usize, nodes: &[Node]) {
        self.watches[n].intakes = Intakes {
            limits: nodes[n].config_bounds().ingest,
            ..Intakes::default()
        };
    }

    /// The config of `n` says something else.
    pub(super) fn ingest_set(&mut self, n: usize, limits: Ingest) {
        let now = self.now;
        let intakes = &mut self.watches[n].intakes;
        intakes.limits = limits;
        for intake in intakes.of.values_mut() {
            let segments = Rate(limits.segments);
            intake.segments.set(segments, now);
            intake.bytes.set(limits.bytes, now);
        }
    }

    pub(super) fn ingest_heard(&mut self, n: usize, input: &Input) {
        let now = self.now;
        let watch = &mut self.watches[n];
        let intakes = &mut watch.intakes;
        intakes.came = None;
        let (link, heading, segments, bytes) = if let Input::Arrived { link, arrival } = input {
            let members = arrival.ids.len() + arrival.refused.len();
            let name = (*link, arrival.heading.sent);
            if intakes.wanted.remove(&name) {
                intakes.parts.retain(|_, part| part.name != name);
                return;
            }
            (link, &arrival.heading, members, arrival.shape.bytes)
        } else if let Input::Offered { link, offer } = input {
            let name = (*link, offer.heading.sent);
            intakes.offered.insert(name, offer.shape.bytes);
            (link, &offer.heading, 1, 0)
        } else {
            return self.cut_off(n, input);
        };
        let Some(peer) = watch.up.get(link).copied() else {
            return;
        };
        if heading.origin.as_ref() == Some(&node_name(n)) {
            return;
        }
        let limits = intakes.limits;
        let intake = intakes.of.entry(peer);
        let intake = intake.or_insert_with(|| Intake::new(limits, now));
        intakes.came = Some(Came {
            peer,
            link: *link,
            sent: heading.sent,
            segments: segments as u64,
            bytes,
            opens: intake.opens(now),
        });
    }

    /// What of a body did not come is given back: all beyond what the shell says it
    /// has, or without a word of that, all of it.
    fn cut_off(&mut self, n: usize, input: &Input) {
        let now = self.now;
        let intakes = &mut self.watches[n].intakes;
        let mut over = Vec::new();
        if let Input::Kept { partial, bytes } = input {
            let part = intakes.parts.remove(partial);
            over.extend(part.map(|part| {
                let missing = part.length.saturating_sub(part.from.max(*bytes));
                let known = if *bytes > 0 { missing } else { 0 };
                (part.peer, part.charged.min(known))
            }));
        } else if let Input::OfferLost { link, sent, .. } = input {
            let name = (*link, *sent);
            let ended = intakes.parts.extract_if(.., |_, part| part.name == name);
            over.extend(ended.map(|(_, part)| (part.peer, part.charged)));
        } else if let Input::LinkDown {
            link: Some(link), ..
        } = input
        {
            let ended = intakes.parts.extract_if(.., |_, part| part.name.0 == *link);
            over.extend(ended.map(|(_, part)| (part.peer, part.charged)));
        }
        for (peer, back) in over {
            let intake = intakes.of.get_mut(&peer).filter(|_| back > 0);
            if let Some(intake) = intake {
                intake.bytes.give_back(now, back);
                self.tally.count("ingest quota: given back");
            }
        }
    }

    pub(super) fn ingest_asked(&mut self, n: usize, effect: &Effect) {
        if let Effect::Busy {
            link,
            sent,
            why,
            retry_after,
        } = effect
        {
            self.put_off(n, (*link, *sent), *why, *retry_after);
        } else if let Effect::Want {
            link,
            sent,
            from,
            partial,
        } = effect
        {
            self.body_wanted(n, (*link, *sent), *from, *partial);
        }
    }

    fn put_off(&mut self, n: usize, name: (LinkId, Sent), why: BusyWhy, retry_after: Duration) {
        let now = self.now;
        let watch = &mut self.watches[n];
        let intakes = &mut watch.intakes;
        let came = intakes.came.take_if(|came| (came.link, came.sent) == name);
        if why != BusyWhy::IngestQuota {
            let intake = came.and_then(|came| intakes.of.get_mut(&came.peer));
            intake.into_iter().for_each(|intake| intake.unsure = true);
            return;
        }
        self.tally.count("ingest quota: busy");
        let opens = match came {
            Some(came) => came.opens,
            // An offer that was looked up, and comes to be wanted too late.
            None => {
                let intake = intakes.of.get_mut(&watch.up[&name.0]);
                intake.map_or(now, |intake| intake.bytes.opens(now))
            }
        };
        let intake = intakes.of.get(&watch.up[&name.0]);
        if intake.is_some_and(|intake| intake.unsure) {
            return;
        }
        assert!(opens > now, "[window] n{n} puts {name:?} off and has room");
        let wait = Duration::from_micros(opens - now).min(LONGEST);
        assert_eq!(retry_after, wait, "[window] n{n} {name:?}: when to come");
    }

    fn body_wanted(
        &mut self,
        n: usize,
        name: (LinkId, Sent),
        from: u64,
        partial: Option<PartialNo>,
    ) {
        let now = self.now;
        let watch = &mut self.watches[n];
        let intakes = &mut watch.intakes;
        intakes.wanted.insert(name);
        let length = intakes.offered.get(&name).copied().unwrap_or(0);
        let peer = watch.up[&name.0];
        let limited = intakes.limits.bytes != Rate::UNLIMITED;
        let rest = length.saturating_sub(from);
        let charged = if limited { rest } else { 0 };
        let begun = Begun {
            name,
            peer,
            from,
            length,
            charged,
        };
        intakes.parts.extend(partial.map(|no| (no, begun)));
        let Some(intake) = intakes.of.get_mut(&peer) else {
            return;
        };
        let opens = intake.bytes.opens(now);
        assert!(
            opens <= now,
            "[window] n{n} wants {name:?} beyond the quota"
        );
        intake.bytes.add(now, rest);
    }

    /// Whatever came with this step and was not put off was taken in.
    pub(super) fn judge_ingest(&mut self, n: usize) {
        let now = self.now;
        let intakes = &mut self.watches[n].intakes;
        let Some(came) = intakes.came.take() else {
            return;
        };
        assert!(
            came.opens <= now,
            "[window] n{n} takes {:?} of n{} beyond the quota",
            came.sent,
            came.peer
        );
        if let Some(intake) = intakes.of.get_mut(&came.peer) {
            intake.segments.add(now, came.segments);
            intake.bytes.add(now, came.bytes);
        }
    }
}
