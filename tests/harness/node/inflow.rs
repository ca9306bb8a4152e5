//! The shell's side of large segments on their way in: in memory, in a file, synced
//! in steps, kept when they are cut off.
//!
//! It keeps to the core's [`Pace`](relay_core::partial::Pace), as the real shell does.
//! Bytes that may not be taken in yet wait, as they would in the connection's window.

use std::collections::VecDeque;
use std::time::Duration;

use relay_core::change::Sent;
use relay_core::event::{BusyWhy, Input};
use relay_core::id::{LinkId, PartialNo};

use crate::disk::partials::{File, Whole};
use crate::scenario::reads::kind;
use crate::wire::{Message, Packed};
use crate::world::{Event, World};

/// One large segment that was wanted and is not all here.
#[derive(Debug)]
pub struct Inflow {
    partial: Option<PartialNo>,
    of: Whole,
    filed: bool,
    resumed: bool,
    held: u64,
    /// Bytes whose sync has begun, and when that was.
    begun: (u64, u64),
    journaled: u64,
    waiting: VecDeque<Message>,
}

impl Inflow {
    /// What it is of.
    #[must_use]
    pub const fn of(&self) -> Whole {
        self.of
    }

    /// Under which number it is kept.
    #[must_use]
    pub const fn partial(&self) -> Option<PartialNo> {
        self.partial
    }
}

impl World {
    /// An offer is wanted: its bytes go to memory or to a file.
    pub(super) fn want(
        &mut self,
        n: usize,
        id: LinkId,
        sent: Sent,
        (from, partial): (u64, Option<PartialNo>),
    ) {
        let Some((link, side)) = self.nodes[n].links.get(&id).copied() else {
            return;
        };
        self.tally.count("wanted");
        let offer = self.wire.links[link].ends[side].offered.remove(&sent);
        let Some((of, stands)) = offer else { return };
        self.oracle
            .wanted(n, of, (from, partial), &self.nodes, self.now);
        let pace = self.plan.limits.pace;
        let filed = from > 0 || pace.files(of.3);
        let kept = partial.and_then(|no| self.nodes[n].disk.partials.files.get(&no));
        let journaled = kept.map_or(0, |file| file.journaled);
        let mut inflow = Inflow {
            partial,
            of,
            filed,
            resumed: from > 0,
            held: from,
            begun: (journaled, self.now),
            journaled,
            waiting: VecDeque::new(),
        };
        if from > 0 {
            self.tally.count("offset kept");
            inflow.held = from;
        }
        self.wire.links[link].ends[side]
            .inflows
            .insert(sent, inflow);
        let room = !filed || from > 0 || self.create(n, link, side, sent);
        if !room {
            self.tally.count("fault: no room for a file");
        }
        if !room || !stands {
            return self.after(0, Event::Wire(link, side, Box::new(Message::Lost(sent))));
        }
        self.write(n, link, side, sent);
        if filed && self.read_fails(n, kind::FILES) {
            // It may not even be opened: the offer is let go of.
            let run = self.nodes[n].run;
            return self.after(0, Event::FileFails(n, run, link, side, sent));
        }
        self.say(n, id, super::links::large(sent), Message::Want(sent, from));
        let run = self.nodes[n].run;
        let wait = pace.every.as_micros() as u64;
        self.after(wait, Event::Pace(n, run, link, side, sent));
    }

    /// A file with room for the whole; one that is not kept has no number.
    fn create(&mut self, n: usize, link: usize, side: usize, sent: Sent) -> bool {
        let inflow = &self.wire.links[link].ends[side].inflows[&sent];
        let (of, held, Some(no)) = (inflow.of, inflow.held, inflow.partial) else {
            return true;
        };
        let disk = &mut self.nodes[n].disk;
        if !disk.has_room_for_file(of.3) {
            return false;
        }
        let file = File {
            of,
            held,
            synced: 0,
            journaled: 0,
            bad: false,
            at: self.now,
        };
        let fresh = disk.partials.files.insert(no, file).is_none();
        assert!(fresh, "[step] n{n}: {no} is begun twice");
        true
    }

    /// Bytes of a large segment, or its last: taken in as the journal allows.
    pub(super) fn flow_in(
        &mut self,
        n: usize,
        (link, side): (usize, usize),
        sent: Sent,
        message: Message,
    ) {
        if let Some(inflow) = self.wire.links[link].ends[side].inflows.get_mut(&sent) {
            inflow.waiting.push_back(message);
            let filed = inflow.filed;
            if filed && self.read_fails(n, kind::FILES) {
                return self.file_fails(n, link, side, sent);
            }
            self.flow(n, link, side, sent, false);
        }
    }

    /// Takes in what waits; `over`: no more comes, and the end of it does not count.
    pub(super) fn flow(&mut self, n: usize, link: usize, side: usize, sent: Sent, over: bool) {
        let pace = self.plan.limits.pace;
        while let Some(inflow) = self.wire.links[link].ends[side].inflows.get_mut(&sent) {
            let bounded = inflow.filed && inflow.partial.is_some();
            match inflow.waiting.pop_front() {
                Some(Message::Piece(_, upto)) => {
                    let room = match bounded {
                        true => pace.room(inflow.held, inflow.journaled),
                        false => u64::MAX,
                    };
                    let wanted = upto.saturating_sub(inflow.held);
                    inflow.held += wanted.min(room);
                    let (of, held) = (inflow.of, inflow.held);
                    if wanted > room {
                        inflow.waiting.push_front(Message::Piece(sent, upto));
                        self.tally.count("journal awaited");
                    }
                    self.write(n, link, side, sent);
                    self.oracle.took(n, of, held);
                    if wanted > room {
                        return;
                    }
                }
                Some(Message::Pack(packed)) if !over => {
                    return self.complete(n, link, side, &packed);
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    /// What is held goes to the file, and a sync begins if one is due.
    fn write(&mut self, n: usize, link: usize, side: usize, sent: Sent) {
        let (now, pace) = (self.now, self.plan.limits.pace);
        let Some(inflow) = self.wire.links[link].ends[side].inflows.get_mut(&sent) else {
            return;
        };
        let Some(no) = inflow.partial.filter(|_| inflow.filed) else {
            return;
        };
        if let Some(file) = self.nodes[n].disk.partials.files.get_mut(&no) {
            if inflow.held > file.held {
                file.at = now;
            }
            file.held = inflow.held;
        }
        let since = Duration::from_micros(now - inflow.begun.1);
        if pace.sync_is_due(inflow.held, inflow.begun.0, since) {
            inflow.begun = (inflow.held, now);
            let (held, run) = (inflow.held, self.nodes[n].run);
            let wait = self.read_time();
            self.after(wait, Event::Synced(n, run, no, held));
        }
    }

    /// A sync has ended.
    pub fn synced(&mut self, n: usize, no: PartialNo, bytes: u64) {
        if let Some(file) = self.nodes[n].disk.partials.files.get_mut(&no) {
            file.synced = file.synced.max(bytes);
            self.tally.count("partial synced");
            let partial = no;
            self.hear(n, Input::Progressed { partial, bytes });
        }
    }

    /// A while has passed: what is slow goes to a file, what is written is synced.
    pub fn pace(&mut self, n: usize, link: usize, side: usize, sent: Sent) {
        let Some(inflow) = self.wire.links[link].ends[side].inflows.get_mut(&sent) else {
            return;
        };
        if !inflow.filed && inflow.partial.is_some() && inflow.held > 0 {
            inflow.filed = true;
            inflow.begun.0 = 0;
            self.tally.count("spilled");
            if !self.create(n, link, side, sent) {
                // It stays in memory, as it is short.
                if let Some(inflow) = self.wire.links[link].ends[side].inflows.get_mut(&sent) {
                    inflow.filed = false;
                }
            }
        }
        self.write(n, link, side, sent);
        let run = self.nodes[n].run;
        let wait = self.plan.limits.pace.every.as_micros() as u64;
        self.after(wait, Event::Pace(n, run, link, side, sent));
    }

    /// More may be taken in.
    pub(super) fn journaled(&mut self, n: usize, no: PartialNo, bytes: u64) {
        if let Some(file) = self.nodes[n].disk.partials.files.get_mut(&no) {
            file.journaled = file.journaled.max(bytes);
        }
        let mut flows = Vec::new();
        for (link, side) in self.nodes[n].links.values().copied() {
            for (sent, inflow) in &mut self.wire.links[link].ends[side].inflows {
                if inflow.partial == Some(no) {
                    inflow.journaled = inflow.journaled.max(bytes);
                    flows.push((link, side, *sent));
                }
            }
        }
        for (link, side, sent) in flows {
            self.after(0, Event::Wire(link, side, Box::new(Message::More(sent))));
        }
    }

    /// No more of it comes: what is held is kept. `heard`: the link still stands.
    pub(super) fn cut_off(&mut self, link: usize, side: usize, sent: Sent, heard: bool) {
        let end = &self.wire.links[link].ends[side];
        let (n, id) = (end.node, end.id);
        self.flow(n, link, side, sent, true);
        let Some(inflow) = self.wire.links[link].ends[side].inflows.get(&sent) else {
            return;
        };
        if let Some(partial) = inflow.partial {
            let on_disk = |world: &Self| world.nodes[n].disk.partials.files.contains_key(&partial);
            let stays = on_disk(self) || inflow.held > 0 && self.create(n, link, side, sent);
            let inflow = &self.wire.links[link].ends[side].inflows[&sent];
            let bytes = if stays { inflow.held } else { 0 };
            if !stays {
                let of = inflow.of;
                self.oracle.spoiled(n, of);
            }
            self.tally.count("cut off");
            self.wire.links[link].ends[side].inflows.remove(&sent);
            self.hear(n, Input::Kept { partial, bytes });
        }
        self.wire.links[link].ends[side].inflows.remove(&sent);
        if heard {
            self.tally.count("offer lost");
            let why = None;
            self.hear(
                n,
                Input::OfferLost {
                    link: id,
                    sent,
                    why,
                },
            );
        }
    }

    /// The link is gone: everything that came on it is cut off.
    pub(super) fn cut_all(&mut self, link: usize, side: usize) {
        let inflows = &self.wire.links[link].ends[side].inflows;
        for sent in inflows.keys().copied().collect::<Vec<_>>() {
            self.cut_off(link, side, sent, false);
        }
    }

    /// The whole of it is here: is it what was offered?
    fn complete(&mut self, n: usize, link: usize, side: usize, packed: &Packed) {
        let sent = packed.heading.sent;
        let inflow = &self.wire.links[link].ends[side].inflows[&sent];
        let (partial, resumed, of) = (inflow.partial, inflow.resumed, inflow.of);
        let file = partial.and_then(|no| self.nodes[n].disk.partials.files.get_mut(&no));
        let rotten = file.is_some_and(|file| file.bad);
        if resumed && (rotten || !packed.bad.is_empty()) {
            // Whose bytes are bad cannot be told: once more, from the first.
            self.tally.count("resumed in vain");
            let end = &mut self.wire.links[link].ends[side];
            end.inflows.remove(&sent);
            let id = end.id;
            self.oracle.spoiled(n, of);
            if let Some(partial) = partial {
                self.hear(n, Input::Kept { partial, bytes: 0 });
            }
            let why = Some(BusyWhy::Io);
            return self.hear(
                n,
                Input::OfferLost {
                    link: id,
                    sent,
                    why,
                },
            );
        }
        self.wire.links[link].ends[side].inflows.remove(&sent);
        self.oracle.completed(n, of);
        let disk = &mut self.nodes[n].disk;
        if let Some(no) = partial.filter(|no| !disk.names_partial(*no)) {
            disk.partials.files.remove(&no);
        }
        self.pack_in(n, link, side, packed);
    }
}
