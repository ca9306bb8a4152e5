//! The lanes of one peer, by their numbers.
//!
//! They are few ([`crate::limits::MAX_LANES`]) and looked at again and again: they lie
//! side by side in the order of their numbers, and those beside them.

use std::iter::Zip;
use std::ops::Index;
use std::slice::{Iter, IterMut};

use crate::id::LaneNo;
use crate::queue::Lane;

/// All lanes of a peer.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    /// Rising.
    numbers: Vec<LaneNo>,
    lanes: Vec<Lane>,
}

impl Lanes {
    /// The lane of this number.
    #[must_use]
    pub fn get(&self, no: &LaneNo) -> Option<&Lane> {
        self.place(*no).ok().map(|at| &self.lanes[at])
    }

    /// The lane of this number, to be changed.
    pub fn get_mut(&mut self, no: &LaneNo) -> Option<&mut Lane> {
        let at = self.place(*no).ok()?;
        Some(&mut self.lanes[at])
    }

    /// The lane of this number, made by `lane` if it is not there.
    pub fn or_insert_with(&mut self, no: LaneNo, lane: impl FnOnce() -> Lane) -> &mut Lane {
        let at = match self.place(no) {
            Ok(at) => at,
            Err(at) => {
                self.numbers.insert(at, no);
                self.lanes.insert(at, lane());
                at
            }
        };
        &mut self.lanes[at]
    }

    /// All of them, by rising numbers.
    pub fn iter(&self) -> Zip<Iter<'_, LaneNo>, Iter<'_, Lane>> {
        self.numbers.iter().zip(&self.lanes)
    }

    /// All of them, by rising numbers, to be changed.
    pub fn iter_mut(&mut self) -> Zip<Iter<'_, LaneNo>, IterMut<'_, Lane>> {
        self.numbers.iter().zip(&mut self.lanes)
    }

    /// Their numbers, rising.
    pub fn keys(&self) -> impl Iterator<Item = &LaneNo> {
        self.numbers.iter()
    }

    /// All of them, by rising numbers.
    pub fn values(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    /// Where the lane is, or would be.
    fn place(&self, no: LaneNo) -> Result<usize, usize> {
        // Numbers are given from 1 on: of a peer that uses all lanes each is in its place.
        let own = usize::from(no.0).wrapping_sub(1);
        if self.numbers.get(own) == Some(&no) {
            return Ok(own);
        }
        self.numbers.binary_search(&no)
    }
}

impl<'a> IntoIterator for &'a Lanes {
    type Item = (&'a LaneNo, &'a Lane);
    type IntoIter = Zip<Iter<'a, LaneNo>, Iter<'a, Lane>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Lanes {
    type Item = (&'a LaneNo, &'a mut Lane);
    type IntoIter = Zip<Iter<'a, LaneNo>, IterMut<'a, Lane>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl Index<&LaneNo> for Lanes {
    type Output = Lane;

    fn index(&self, no: &LaneNo) -> &Lane {
        self.get(no).expect("a parcel's lane is there")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::segment::{Class, LaneRule};

    proptest! {
        #[test]
        fn they_are_found_by_number_and_told_in_order(
            steps in proptest::collection::vec((1u16..65, 0u64..100), 1..120),
        ) {
            let rule = LaneRule {
                class: Class::new(4).expect("a class"),
                weight: 1,
                budget: 8,
            };
            let (mut lanes, mut model) = (Lanes::default(), BTreeMap::new());
            for (no, unloaded) in steps {
                let lane = lanes.or_insert_with(LaneNo(no), || Lane::new(rule, unloaded));
                prop_assert_eq!(lane.unloaded, *model.entry(LaneNo(no)).or_insert(unloaded));
                let other = LaneNo(65 - no);
                let found = lanes.get_mut(&other).map(|lane| lane.unloaded);
                prop_assert_eq!(found, model.get(&other).copied());
                prop_assert_eq!(found, lanes.get(&other).map(|lane| lane.unloaded));
                prop_assert!(lanes.keys().eq(model.keys()));
                prop_assert!(lanes.values().map(|lane| lane.unloaded).eq(model.values().copied()));
                prop_assert!(lanes.iter().map(|(no, lane)| (*no, lane.unloaded)).eq(model.clone()));
                prop_assert!(lanes.iter_mut().map(|(no, lane)| (*no, lane.unloaded)).eq(model.clone()));
            }
        }
    }
}
