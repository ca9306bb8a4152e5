//! A set of keys that nearly always arrive in order and leave from the front.
//!
//! A sorted ring: what is added above all others and what is taken from either end
//! cost a step, anything else a search and a move of the shorter side. It answers as
//! a `BTreeSet` does, lies in one piece, and keeps its room: a set that has been as
//! large before allocates nothing. What is large and changes at random belongs into
//! [`crate::peer`]'s table of parcels or into a tree.

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;

/// The set, least key first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<K>(VecDeque<K>);

impl<K: Copy + Ord> Ordered<K> {
    /// A set of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds `key`; `false` if it was there.
    pub fn insert(&mut self, key: K) -> bool {
        if self.0.back().is_none_or(|last| *last < key) {
            self.0.push_back(key);
            return true;
        }
        match self.0.binary_search(&key) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, key);
                true
            }
        }
    }

    /// Takes `key` out; `false` if it was not there.
    pub fn remove(&mut self, key: &K) -> bool {
        if self.0.front() == Some(key) {
            self.0.pop_front();
            return true;
        }
        match self.0.binary_search(key) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.0.binary_search(key).is_ok()
    }

    /// The least key.
    #[must_use]
    pub fn first(&self) -> Option<&K> {
        self.0.front()
    }

    /// Takes out the least key.
    pub fn pop_first(&mut self) -> Option<K> {
        self.0.pop_front()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, rising.
    pub fn iter(&self) -> Iter<'_, K> {
        self.0.iter()
    }

    /// Those from `key` on, rising, and then those below it.
    pub fn around(&self, key: &K) -> impl Iterator<Item = &K> {
        let at = self.0.partition_point(|other| other < key);
        self.0.range(at..).chain(self.0.range(..at))
    }

    /// Those below `key`, rising.
    pub fn below(&self, key: &K) -> impl Iterator<Item = &K> {
        let at = self.0.partition_point(|other| other < key);
        self.0.range(..at)
    }

    /// Moves all of `other` here.
    pub fn append(&mut self, other: &mut Self) {
        while let Some(key) = other.pop_first() {
            self.insert(key);
        }
    }

    /// Takes all out; the room for them stays.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K: Copy + Ord> Default for Ordered<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, K: Copy + Ord> IntoIterator for &'a Ordered<K> {
    type Item = &'a K;
    type IntoIter = Iter<'a, K>;

    fn into_iter(self) -> Iter<'a, K> {
        self.iter()
    }
}

impl<K: Copy + Ord> Extend<K> for Ordered<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        for key in keys {
            self.insert(key);
        }
    }
}

impl<'a, K: Copy + Ord + 'a> Extend<&'a K> for Ordered<K> {
    fn extend<I: IntoIterator<Item = &'a K>>(&mut self, keys: I) {
        self.extend(keys.into_iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_tree_does(
            steps in proptest::collection::vec((0u8..8, 0u32..40), 1..300),
        ) {
            let (mut set, mut tree) = (Ordered::new(), BTreeSet::new());
            let mut above = 100;
            for (what, key) in steps {
                match what {
                    0..2 => prop_assert_eq!(set.insert(key), tree.insert(key)),
                    2 => {
                        above += 1;
                        prop_assert_eq!(set.insert(above), tree.insert(above));
                    }
                    3 => prop_assert_eq!(set.remove(&key), tree.remove(&key)),
                    4 => prop_assert_eq!(set.pop_first(), tree.pop_first()),
                    5 => {
                        let mut more: Ordered<u32> = Ordered::new();
                        more.extend([key + 7, key, key + 3]);
                        tree.extend(more.iter());
                        set.append(&mut more);
                        prop_assert!(more.is_empty());
                    }
                    6 => {
                        let around: Vec<u32> = set.around(&key).copied().collect();
                        let all: Vec<u32> = tree.range(key..).chain(tree.range(..key)).copied().collect();
                        prop_assert_eq!(around, all);
                        prop_assert!(set.below(&key).eq(tree.range(..key)));
                    }
                    _ => prop_assert_eq!(set.contains(&key), tree.contains(&key)),
                }
                prop_assert_eq!(set.first(), tree.first());
                prop_assert_eq!(set.len(), tree.len());
                prop_assert_eq!(set.is_empty(), tree.is_empty());
                prop_assert!(set.iter().eq(tree.iter()));
            }
            set.clear();
            prop_assert!(set.is_empty());
        }
    }
}
