//! Names and their numbers: nodes and lanes travel by name and are handled by
//! number.
//!
//! A number, once given, is kept by the ledger and never given to another name.
//! The tables are bounded: a peer that invents names is refused, not followed.

use std::collections::BTreeMap;

/// A two-way table of names and numbers.
#[derive(Clone, Debug)]
pub struct Names<Name, Number> {
    numbers: BTreeMap<Name, Number>,
    names: BTreeMap<Number, Name>,
    bound: usize,
}

impl<Name, Number> Names<Name, Number>
where
    Name: Ord + Clone,
    Number: Ord + Copy,
{
    /// The table `known`, to grow to at most `bound` names.
    pub fn new(known: impl IntoIterator<Item = (Number, Name)>, bound: usize) -> Self {
        let names: BTreeMap<Number, Name> = known.into_iter().collect();
        let numbers = names
            .iter()
            .map(|(number, name)| (name.clone(), *number))
            .collect();
        Self {
            numbers,
            names,
            bound,
        }
    }

    /// The number of `name`, if it has one.
    pub fn number(&self, name: &Name) -> Option<Number> {
        self.numbers.get(name).copied()
    }

    /// The name behind `number`, if it was given.
    pub fn name(&self, number: Number) -> Option<&Name> {
        self.names.get(&number)
    }

    /// Gives `name` the number `next` makes of how many were given so far;
    /// `None` if the table is full.
    pub fn add(&mut self, name: &Name, next: impl FnOnce(usize) -> Number) -> Option<Number> {
        if self.names.len() >= self.bound {
            return None;
        }
        let number = next(self.names.len());
        self.numbers.insert(name.clone(), number);
        self.names.insert(number, name.clone());
        Some(number)
    }

    /// All pairs, by number.
    pub fn iter(&self) -> impl Iterator<Item = (Number, &Name)> {
        self.names.iter().map(|(number, name)| (*number, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_gives_no_more_numbers() {
        let mut names = Names::new([(0u32, "self")], 2);

        assert_eq!(names.add(&"beta", |n| n as u32), Some(1));
        assert_eq!(names.add(&"gamma", |n| n as u32), None);
        assert_eq!(names.number(&"beta"), Some(1));
        assert_eq!(names.name(0), Some(&"self"));
    }
}
