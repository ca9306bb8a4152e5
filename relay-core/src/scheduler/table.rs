//! The peers by number, and which of them were touched.
//!
//! Numbers are dense, so a peer is found without a search. Whoever takes a peer
//! to change it leaves its number here; what has to be brought up to date after
//! each `handle` (deadlines, receipts to settle) looks at these peers alone, and
//! so costs as much as happened, whatever the size of the fleet.

use std::ops::Index;

use crate::id::NodeNo;
use crate::peer::Peer;

/// All peers, by number.
#[derive(Debug, Default)]
pub(super) struct Peers {
    slots: Vec<Option<Box<Slot>>>,
    count: usize,
    touched: Vec<NodeNo>,
}

#[derive(Debug)]
struct Slot {
    peer: Peer,
    touched: bool,
}

impl Peers {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn contains_key(&self, no: &NodeNo) -> bool {
        self.get(no).is_some()
    }

    pub(super) fn get(&self, no: &NodeNo) -> Option<&Peer> {
        let slot = self.slots.get(no.0 as usize)?.as_deref()?;
        Some(&slot.peer)
    }

    /// The peer, to be changed: it counts as touched.
    pub(super) fn get_mut(&mut self, no: &NodeNo) -> Option<&mut Peer> {
        let slot = self.slots.get_mut(no.0 as usize)?.as_deref_mut()?;
        if !slot.touched {
            slot.touched = true;
            self.touched.push(*no);
        }
        Some(&mut slot.peer)
    }

    /// Puts a peer in its place, which is empty; it counts as touched.
    pub(super) fn insert(&mut self, no: NodeNo, peer: Peer) {
        let at = no.0 as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        assert!(self.slots[at].is_none(), "a number names one peer");
        let touched = true;
        self.slots[at] = Some(Box::new(Slot { peer, touched }));
        self.count += 1;
        self.touched.push(no);
    }

    /// All of them, by number.
    pub(super) fn values(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().flatten().map(|slot| &slot.peer)
    }

    /// Their numbers, rising.
    pub(super) fn keys(&self) -> impl Iterator<Item = &NodeNo> {
        self.values().map(|peer| &peer.no)
    }

    /// Counts `no` as touched, if it is there.
    pub(super) fn touch(&mut self, no: NodeNo) {
        self.get_mut(&no);
    }

    /// Puts those touched in order, and says how many they are.
    pub(super) fn sort_touched(&mut self) -> usize {
        self.touched.sort_unstable();
        self.touched.len()
    }

    /// The `n`-th of those touched.
    pub(super) fn touched(&self, n: usize) -> NodeNo {
        self.touched[n]
    }

    /// Everything about those touched is up to date: the next touch counts anew.
    pub(super) fn end_touched(&mut self) {
        for no in self.touched.drain(..) {
            if let Some(slot) = &mut self.slots[no.0 as usize] {
                slot.touched = false;
            }
        }
    }
}

impl Index<&NodeNo> for Peers {
    type Output = Peer;

    fn index(&self, no: &NodeNo) -> &Peer {
        self.get(no).expect("a numbered peer is in the table")
    }
}
