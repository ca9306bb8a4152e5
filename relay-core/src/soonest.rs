//! The least of many keys, each changed often: a tournament.
//!
//! Each index holds at most one key. Setting one costs a climb over the height
//! of the table, asking for the least costs nothing, and neither allocates once
//! the table is as wide as its greatest index. Of equal keys the smaller index
//! wins, so the answer depends on what is held and on nothing else.

/// The key of each index, and who is least among them.
#[derive(Clone, Debug)]
pub struct Soonest<K> {
    keys: Vec<Option<K>>,
    /// A complete binary tree in an array: `winners[1]` is the root, the leaves
    /// are the indexes in order. Each node names the index that wins below it.
    winners: Vec<usize>,
}

impl<K: Copy + Ord> Soonest<K> {
    /// A table with no key.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            keys: Vec::new(),
            winners: Vec::new(),
        }
    }

    /// The key of `index`.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<K> {
        self.keys.get(index).copied().flatten()
    }

    /// Gives `index` this key, or none.
    pub fn set(&mut self, index: usize, key: Option<K>) {
        if self.at(index) == key {
            return;
        }
        if index >= self.keys.len() {
            self.widen(index + 1);
        }
        self.keys[index] = key;
        let mut node = (self.keys.len() + index) / 2;
        while node >= 1 {
            self.winners[node] = self.winner(node);
            node /= 2;
        }
    }

    /// The least key and its index.
    #[must_use]
    pub fn first(&self) -> Option<(K, usize)> {
        let index = *self.winners.get(1)?;
        self.at(index).map(|key| (key, index))
    }

    fn widen(&mut self, wanted: usize) {
        let width = wanted.next_power_of_two().max(2);
        self.keys.resize(width, None);
        self.winners = vec![0; width * 2];
        for (index, leaf) in self.winners[width..].iter_mut().enumerate() {
            *leaf = index;
        }
        for node in (1..width).rev() {
            self.winners[node] = self.winner(node);
        }
    }

    fn winner(&self, node: usize) -> usize {
        let (left, right) = (self.winners[node * 2], self.winners[node * 2 + 1]);
        match (self.keys[left], self.keys[right]) {
            (Some(ours), Some(theirs)) if theirs < ours => right,
            (None, Some(_)) => right,
            (Some(_) | None, Some(_) | None) => left,
        }
    }
}

impl<K: Copy + Ord> Default for Soonest<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_the_least_of_all_that_are_set(
            steps in proptest::collection::vec((0usize..70, proptest::option::of(0u64..20)), 1..200),
        ) {
            let mut table = Soonest::new();
            let mut model = BTreeMap::new();
            for (index, key) in steps {
                table.set(index, key);
                match key {
                    Some(key) => { model.insert(index, key); }
                    None => { model.remove(&index); }
                }
                let least = model.iter().map(|(index, key)| (*key, *index)).min();
                prop_assert_eq!(table.first(), least);
            }
        }
    }
}
