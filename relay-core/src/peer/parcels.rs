//! The parcels of one peer that are in memory, by their keys.
//!
//! A parcel lies in a slot of its own and never moves; an index of keys in order says
//! in which. The index is a row of short sorted blocks, each of which holds the keys
//! from its least on. With tens of thousands in memory the search is what costs, since
//! little of it is in the cache: so a table of hints says, for each number a key is
//! spread to, which slot was put there last. A hint is a guess, held against the parcel
//! itself; whether it is right changes nothing but the time. What is looked for again
//! is found at once.
//!
//! Slots and blocks are used again, so that parcels may come and go without an
//! allocation; once none is left, room for more than a few is given back.
//!
//! It answers as a `BTreeMap` does, which the tests hold against it.

use std::ops::{Index, RangeFrom};

use super::Parcel;
use crate::change::Part;
use crate::queue::Key;

/// Keys in one block at most. Short, so that a key in the middle is put in its place
/// by moving little; long enough that the row of blocks stays short.
const BLOCK: usize = 32;
/// Two neighbours that hold so few keys together become one.
const FEW: usize = BLOCK / 2;
/// Slots kept though nothing is in them.
const KEPT: usize = 64;

/// All parcels of a peer.
#[derive(Clone, Debug, Default)]
pub struct Parcels {
    /// The least key of each block, rising, and which block it is.
    order: Vec<(Key, u32)>,
    blocks: Vec<Block>,
    /// Blocks that are in no order.
    free_blocks: Vec<u32>,
    slots: Vec<Option<Parcel>>,
    /// Slots with nothing in them.
    free_slots: Vec<u32>,
    /// Where a key may be, by [`spread`]; a power of two, at least twice the slots.
    hints: Vec<u32>,
    /// What was found or put last.
    last: Option<(Key, u32)>,
    len: usize,
}

/// Keys in order, and the slot of each.
#[derive(Clone, Debug, Default)]
struct Block {
    keys: Vec<Key>,
    slots: Vec<u32>,
}

/// A place for a parcel: see [`Parcels::entry`].
#[derive(Debug)]
pub struct Entry<'a> {
    parcels: &'a mut Parcels,
    key: Key,
}

/// Where a key is: the place of its block in the order, its place in the block.
type Place = (usize, usize);

impl Block {
    fn with_room() -> Self {
        Self {
            keys: Vec::with_capacity(BLOCK),
            slots: Vec::with_capacity(BLOCK),
        }
    }

    fn put(&mut self, at: usize, key: Key, slot: u32) {
        self.keys.insert(at, key);
        self.slots.insert(at, slot);
    }

    /// Moves all keys from `at` on to the end of `other`.
    fn pour(&mut self, at: usize, other: &mut Self) {
        other.keys.extend(self.keys.drain(at..));
        other.slots.extend(self.slots.drain(at..));
    }
}

impl Parcels {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parcel of `key`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Parcel> {
        self.slots[self.slot(key)?].as_ref()
    }

    /// The parcel of `key`, to be changed. Its key stays what it is.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Parcel> {
        let slot = self.slot(key)?;
        self.last = Some((*key, slot as u32));
        self.slots[slot].as_mut()
    }

    /// Whether a parcel of `key` is here.
    #[must_use]
    pub fn contains_key(&self, key: &Key) -> bool {
        self.slot(key).is_some()
    }

    /// Puts a parcel in its place; the one that was there is answered.
    pub fn insert(&mut self, key: Key, parcel: Parcel) -> Option<Parcel> {
        let place = match self.place(&key) {
            Ok((order, at)) => {
                let slot = self.blocks[self.order[order].1 as usize].slots[at];
                return self.slots[slot as usize].replace(parcel);
            }
            Err(place) => place,
        };
        let slot = self.free_slots.pop().unwrap_or_else(|| self.new_slot());
        self.slots[slot as usize] = Some(parcel);
        self.note(key, slot, place);
        self.hint(&key, slot);
        self.last = Some((key, slot));
        self.len += 1;
        None
    }

    /// Takes the parcel of `key` out.
    pub fn remove(&mut self, key: &Key) -> Option<Parcel> {
        let slot = self.forget(key)?;
        let parcel = self.slots[slot].take();
        self.give_back_room();
        parcel
    }

    /// Drops the parcel of `key` where it lies.
    pub fn discard(&mut self, key: &Key) {
        if let Some(slot) = self.forget(key) {
            self.slots[slot] = None;
            self.give_back_room();
        }
    }

    /// Takes `key` out of the index; its slot is free, once it is empty.
    fn forget(&mut self, key: &Key) -> Option<usize> {
        let (order, at) = self.place(key).ok()?;
        let block = &mut self.blocks[self.order[order].1 as usize];
        block.keys.remove(at);
        let slot = block.slots.remove(at);
        self.close_up(order);
        self.free_slots.push(slot);
        self.last = self.last.filter(|(last, _)| last != key);
        self.len -= 1;
        Some(slot as usize)
    }

    fn give_back_room(&mut self) {
        if self.len == 0 && self.slots.len() > KEPT {
            *self = Self::default();
        }
    }

    /// The place of `key`, to put a parcel in if none is there.
    pub const fn entry(&mut self, key: Key) -> Entry<'_> {
        Entry { parcels: self, key }
    }

    /// All from `from` on, rising.
    pub fn range(&self, from: RangeFrom<Key>) -> impl Iterator<Item = (&Key, &Parcel)> {
        let (order, at) = self.place(&from.start).unwrap_or_else(|place| place);
        let blocks = self.order[order.min(self.order.len())..].iter();
        let pairs = blocks.flat_map(|(_, block)| {
            let block = &self.blocks[*block as usize];
            block.keys.iter().zip(&block.slots)
        });
        pairs.skip(at).map(|(key, slot)| (key, self.at(*slot)))
    }

    /// All of them, rising.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Parcel)> {
        let blocks = self
            .order
            .iter()
            .map(|(_, block)| &self.blocks[*block as usize]);
        let pairs = blocks.flat_map(|block| block.keys.iter().zip(&block.slots));
        pairs.map(|(key, slot)| (key, self.at(*slot)))
    }

    /// Their keys, rising.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let blocks = self
            .order
            .iter()
            .map(|(_, block)| &self.blocks[*block as usize]);
        blocks.flat_map(|block| &block.keys)
    }

    /// All of them, by rising keys.
    pub fn values(&self) -> impl Iterator<Item = &Parcel> {
        self.iter().map(|(_, parcel)| parcel)
    }

    fn at(&self, slot: u32) -> &Parcel {
        let parcel = self.slots[slot as usize].as_ref();
        parcel.expect("a slot in the index holds a parcel")
    }

    fn new_slot(&mut self) -> u32 {
        self.slots.push(None);
        if self.hints.len() < self.slots.len() * 2 {
            let width = (self.slots.len() * 2).next_power_of_two().max(KEPT);
            self.hints = vec![0; width];
            for slot in 0..self.slots.len() {
                if let Some(key) = self.slots[slot].as_ref().map(Parcel::key) {
                    self.hint(&key, slot as u32);
                }
            }
        }
        (self.slots.len() - 1) as u32
    }

    fn hint(&mut self, key: &Key, slot: u32) {
        let at = spread(key, self.hints.len());
        self.hints[at] = slot;
    }

    fn slot(&self, key: &Key) -> Option<usize> {
        if let Some((_, slot)) = self.last.filter(|(last, _)| last == key) {
            return Some(slot as usize);
        }
        if self.len == 0 {
            return None;
        }
        let hint = self.hints[spread(key, self.hints.len())] as usize;
        let guess = self.slots[hint].as_ref();
        if guess.is_some_and(|parcel| parcel.key() == *key) {
            return Some(hint);
        }
        let (order, at) = self.place(key).ok()?;
        Some(self.blocks[self.order[order].1 as usize].slots[at] as usize)
    }

    /// Where `key` is, or would be.
    fn place(&self, key: &Key) -> Result<Place, Place> {
        let order = self.order.partition_point(|(least, _)| least <= key);
        let order = order.saturating_sub(1);
        let Some((_, block)) = self.order.get(order) else {
            return Err((0, 0));
        };
        match self.blocks[*block as usize].keys.binary_search(key) {
            Ok(at) => Ok((order, at)),
            Err(at) => Err((order, at)),
        }
    }

    /// Puts a key that is not there into the index, at its place.
    fn note(&mut self, key: Key, slot: u32, (mut order, mut at): Place) {
        if self.order.is_empty() {
            let block = self.empty_block();
            self.order.push((key, block));
        }
        let full = self.blocks[self.order[order].1 as usize].keys.len() == BLOCK;
        if full {
            // What comes in order fills each block; what comes between parts one in two.
            let is_last = order + 1 == self.order.len() && at == BLOCK;
            let half = if is_last { BLOCK } else { BLOCK / 2 };
            let new = self.empty_block();
            let mut tail = std::mem::take(&mut self.blocks[new as usize]);
            self.blocks[self.order[order].1 as usize].pour(half, &mut tail);
            let least = tail.keys.first().copied().unwrap_or(key);
            self.blocks[new as usize] = tail;
            self.order.insert(order + 1, (least, new));
            if at > half || is_last {
                (order, at) = (order + 1, at - half);
            }
        }
        let (least, block) = &mut self.order[order];
        *least = key.min(*least);
        self.blocks[*block as usize].put(at, key, slot);
    }

    /// Brings the block at `order`, out of which a key was taken, in line.
    fn close_up(&mut self, order: usize) {
        let block = self.order[order].1;
        let Some(least) = self.blocks[block as usize].keys.first().copied() else {
            self.order.remove(order);
            return self.free_blocks.push(block);
        };
        self.order[order].0 = least;
        let Some((_, next)) = self.order.get(order + 1).copied() else {
            return;
        };
        let together =
            self.blocks[block as usize].keys.len() + self.blocks[next as usize].keys.len();
        if together <= FEW {
            let mut tail = std::mem::take(&mut self.blocks[next as usize]);
            tail.pour(0, &mut self.blocks[block as usize]);
            self.blocks[next as usize] = tail;
            self.order.remove(order + 1);
            self.free_blocks.push(next);
        }
    }

    fn empty_block(&mut self) -> u32 {
        self.free_blocks.pop().unwrap_or_else(|| {
            self.blocks.push(Block::with_room());
            (self.blocks.len() - 1) as u32
        })
    }
}

/// Where of `width` numbers, a power of two from 2 on, the hint of `key` stands. Multiplied by the
/// golden ratio, numbers in even steps, as those of the packs of one peer and lane are,
/// lie evenly apart.
const fn spread((pack, part): &Key, width: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let part = match part {
        Part::Rest => 0,
        Part::Member(member) => *member as u64 + 1,
    };
    let mixed = pack.0.wrapping_add(part << 40).wrapping_mul(GOLDEN);
    (mixed >> (u64::BITS - width.trailing_zeros())) as usize
}

impl<'a> Entry<'a> {
    /// The parcel there; if none is, `parcel` makes one.
    pub fn or_insert_with(self, parcel: impl FnOnce() -> Parcel) -> &'a mut Parcel {
        if !self.parcels.contains_key(&self.key) {
            self.parcels.insert(self.key, parcel());
        }
        let parcel = self.parcels.get_mut(&self.key);
        parcel.expect("it was just put there")
    }
}

impl Index<&Key> for Parcels {
    type Output = Parcel;

    fn index(&self, key: &Key) -> &Parcel {
        self.get(key).expect("a parcel with a name is in memory")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::change::{Due, OwedRow};
    use crate::id::{LaneNo, NodeNo, PackNo, SegmentId, Sequence};
    use crate::peer::Phase;
    use crate::segment::{Digest, PackInfo};
    use crate::time::Unix;

    fn key(n: u64) -> Key {
        let part = match n % 3 {
            0 => Part::Rest,
            other => Part::Member(other as u16),
        };
        (PackNo(n / 3), part)
    }

    /// A parcel that is told apart by when it was queued.
    fn parcel(key: Key, queued: u64) -> Parcel {
        let info = PackInfo {
            lane: LaneNo(1),
            origin: NodeNo::LOCAL,
            via: NodeNo::LOCAL,
            hops: 0,
            sequence: Sequence::default(),
            count: 1,
            bytes: 1,
            table_len: 56,
            table: Digest::default(),
            first: SegmentId::v7(1, 1),
            last: SegmentId::v7(1, 1),
            created: Unix(0),
            expires: None,
        };
        let (pack, part) = key;
        let peer = NodeNo(1);
        let row = OwedRow::new(Due { peer, pack, part }, &info, Unix(queued));
        Parcel::new(row, info, Arc::default(), Phase::Ready)
    }

    fn tags<'a>(all: impl Iterator<Item = (&'a Key, &'a Parcel)>) -> Vec<(Key, u64)> {
        all.map(|(key, parcel)| (*key, parcel.row.queued.0))
            .collect()
    }

    fn compare(parcels: &Parcels, model: &BTreeMap<Key, u64>) {
        let all: Vec<(Key, u64)> = model.iter().map(|(key, tag)| (*key, *tag)).collect();
        assert_eq!(tags(parcels.iter()), all);
        assert!(parcels.keys().eq(model.keys()));
        assert_eq!(parcels.len(), model.len());
        assert_eq!(parcels.is_empty(), model.is_empty());
        let live = parcels.slots.iter().flatten().count();
        assert_eq!(live, model.len(), "no parcel is lost in a slot");
        assert_eq!(parcels.free_slots.len() + live, parcels.slots.len());
        assert_eq!(
            parcels.free_blocks.len() + parcels.order.len(),
            parcels.blocks.len()
        );
        for (least, block) in &parcels.order {
            assert_eq!(parcels.blocks[*block as usize].keys.first(), Some(least));
        }
    }

    proptest! {
        #[test]
        fn it_answers_as_a_tree_does(
            steps in proptest::collection::vec((0u8..10, 0u64..600), 1..900),
        ) {
            let (mut parcels, mut model) = (Parcels::default(), BTreeMap::new());
            let (mut above, mut tag) = (600, 0);
            for (what, n) in steps {
                tag += 1;
                match what {
                    // Mostly in order, as packs are put; pages come between.
                    0..3 => {
                        above += 1 + n % 5;
                        let put = parcels.insert(key(above), parcel(key(above), tag));
                        prop_assert!(put.is_none());
                        model.insert(key(above), tag);
                    }
                    3..5 => {
                        let old = parcels.insert(key(n), parcel(key(n), tag));
                        let old = old.map(|parcel| parcel.row.queued.0);
                        prop_assert_eq!(old, model.insert(key(n), tag));
                    }
                    5..7 => {
                        let first = model.keys().next().copied().unwrap_or(key(n));
                        let gone = parcels.remove(&first).map(|parcel| parcel.row.queued.0);
                        prop_assert_eq!(gone, model.remove(&first));
                    }
                    7 if tag % 2 == 0 => {
                        parcels.discard(&key(n));
                        model.remove(&key(n));
                    }
                    7 => {
                        let gone = parcels.remove(&key(n)).map(|parcel| parcel.row.queued.0);
                        prop_assert_eq!(gone, model.remove(&key(n)));
                    }
                    8 => {
                        let entry = parcels.entry(key(n));
                        let here = entry.or_insert_with(|| parcel(key(n), tag));
                        prop_assert_eq!(here.row.queued.0, *model.entry(key(n)).or_insert(tag));
                    }
                    _ => {
                        let from = tags(parcels.range(key(n)..));
                        let all: Vec<(Key, u64)> =
                            model.range(key(n)..).map(|(key, tag)| (*key, *tag)).collect();
                        prop_assert_eq!(from, all);
                    }
                }
                let here = parcels.get(&key(n)).map(|parcel| parcel.row.queued.0);
                prop_assert_eq!(here, model.get(&key(n)).copied());
                let here = parcels.get_mut(&key(n)).map(|parcel| parcel.row.queued.0);
                prop_assert_eq!(here, model.get(&key(n)).copied());
                prop_assert_eq!(parcels.contains_key(&key(n)), model.contains_key(&key(n)));
                compare(&parcels, &model);
            }
        }
    }

    #[test]
    fn room_is_used_again_and_given_back_at_the_end() {
        let mut parcels = Parcels::default();
        for n in 0..1_000 {
            parcels.insert(key(n), parcel(key(n), n));
        }
        let (slots, blocks) = (parcels.slots.len(), parcels.blocks.len());
        for n in 0..10_000 {
            parcels.remove(&key(n));
            parcels.insert(key(n + 1_000), parcel(key(n + 1_000), n));
        }

        assert_eq!(parcels.slots.len(), slots);
        assert!(parcels.blocks.len() <= blocks + 1);
        for n in 10_000..11_000 {
            parcels.remove(&key(n));
        }
        assert!(parcels.is_empty());
        assert_eq!(parcels.slots.capacity(), 0);
    }
}
