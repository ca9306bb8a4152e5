//! The spool folder of a node, and the shell that empties it: files are put, then
//! removed, then the folder is synced, then their rows go.
//!
//! A process that dies forgets what it had in hand; a power loss brings back files whose
//! removal was not synced.

use std::collections::BTreeMap;
use std::sync::Arc;

use relay_core::aim::To;
use relay_core::event::{Input, Put};
use relay_core::id::{PutId, SegmentId};
use relay_core::spool::{FileMark, Spooled};

use crate::scenario::SECOND;
use crate::world::{Event, World};

/// What the config calls the folder.
const FOLDER: &str = "/spool";

/// A folder, and what one run of a node knows of it.
#[derive(Debug, Default)]
pub struct Folder {
    /// Files by inode, and whether each is there; one that is not may come back.
    files: BTreeMap<u64, bool>,
    /// Files ever dropped.
    dropped: u64,
    /// Puts on their way, and the file each is made of.
    hand: BTreeMap<PutId, (u64, SegmentId)>,
    /// Files that are put.
    known: BTreeMap<u64, SegmentId>,
    /// Whether a look at it is due already.
    due: bool,
}

impl Folder {
    /// How many files were ever dropped.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether a file is there, or may be again.
    #[must_use]
    pub fn may_hold(&self, inode: u64) -> bool {
        self.files.contains_key(&inode)
    }

    /// The process is gone.
    pub fn forget(&mut self) {
        self.hand.clear();
        self.known.clear();
        self.due = false;
    }

    /// Power fails: names taken away and not synced are there again.
    pub fn lose_power(&mut self) {
        self.files.values_mut().for_each(|there| *there = true);
    }
}

fn mark(inode: u64) -> FileMark {
    FileMark {
        inode,
        length: 1,
        modified: 1,
    }
}

impl World {
    /// A producer drops a file into the folder of `n`.
    pub fn dropped(&mut self, n: usize) {
        self.tally.count("spool: dropped");
        let folder = &mut self.nodes[n].folder;
        folder.dropped += 1;
        folder.files.insert(folder.dropped, true);
        self.look_later(n);
    }

    /// A run of `n` begins: what rows say was put is not put again.
    pub fn resume_spool(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let rows = node.disk.spooled.iter();
        node.folder.known = rows
            .map(|(segment, from)| (from.file.inode, *segment))
            .collect();
        // A look that was due while it was down came to nothing.
        node.folder.due = false;
        self.look_later(n);
    }

    fn look_later(&mut self, n: usize) {
        if std::mem::replace(&mut self.nodes[n].folder.due, true) {
            return;
        }
        let run = self.nodes[n].run;
        let wait = self.beside.between(1_000, SECOND);
        self.after(wait, Event::Spool(n, run));
    }

    /// One pass over the folder of `n`.
    pub fn spool(&mut self, n: usize) {
        let folder = &mut self.nodes[n].folder;
        folder.due = false;
        let mut gone = Vec::new();
        for (inode, segment) in &folder.known {
            match folder.files.get_mut(inode) {
                Some(there) => *there = false,
                None => self.tally.count("spool: a row outlived its file"),
            }
            gone.push((*inode, *segment));
        }
        let in_hand = |inode: &u64| folder.hand.values().any(|(other, _)| other == inode);
        let fresh = |inode: &u64| !folder.known.contains_key(inode) && !in_hand(inode);
        let there = folder.files.iter().filter(|(_, there)| **there);
        let fresh = there.map(|(inode, _)| *inode).filter(fresh).take(3);
        let fresh: Vec<u64> = fresh.collect();
        if !gone.is_empty() {
            let (run, wait) = (self.nodes[n].run, self.beside.between(0, SECOND));
            self.after(wait, Event::Swept(n, run, gone));
        }
        for inode in fresh {
            let content = self.drawn_content(n, 1);
            let to = To::peers(self.drawn_peers(n));
            let put = Put {
                spooled: Some(Box::new(Spooled {
                    folder: FOLDER.into(),
                    file: mark(inode),
                })),
                ..self.staged_put(n, Arc::clone(&content), to, None)
            };
            let hand = &mut self.nodes[n].folder.hand;
            hand.insert(put.put, (inode, put.shape.first));
            self.oracle.put(n, &put);
            self.hear(n, Input::Put(put));
        }
    }

    /// The folder of `n` is synced: what was removed stays so, and its rows may go.
    pub fn swept(&mut self, n: usize, gone: &[(u64, SegmentId)]) {
        let folder = &mut self.nodes[n].folder;
        for (inode, _) in gone {
            folder.files.remove(inode);
            folder.known.remove(inode);
        }
        let segments = gone.iter().map(|(_, segment)| *segment).collect();
        self.hear(n, Input::Unspooled(segments));
    }

    /// A put of `n` was answered; if it was of a file, the folder is looked at again.
    pub fn spool_answered(&mut self, n: usize, put: PutId, accepted: bool) {
        let folder = &mut self.nodes[n].folder;
        let Some((inode, segment)) = folder.hand.remove(&put) else {
            return;
        };
        if accepted {
            folder.known.insert(inode, segment);
        } else {
            self.tally.count("spool: refused, tried again");
        }
        self.look_later(n);
    }
}
