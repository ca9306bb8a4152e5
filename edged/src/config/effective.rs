//! Each key's effective value, as text, and who decided it.
//!
//! What `edgectl config show --origin` prints. Keys are written as in the
//! messages: `relay.retry.first`, `peers[0].id`, `lanes.bulk.weight`.

use std::collections::BTreeMap;

use super::error::{ConfigError, Fault};
use super::tree::Origin;

/// All keys in name order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective(BTreeMap<String, Shown>);

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The value, with its unit; empty where nothing is set.
    pub value: String,
    /// The uppermost layer that wrote it.
    pub origin: Origin,
}

impl Effective {
    /// The value of `key`, if there is such a key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Shown> {
        self.0.get(key)
    }

    /// All keys and their values, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Shown)> {
        self.0.iter().map(|(key, shown)| (key.as_str(), shown))
    }

    /// Makes `key` what `other` says of it.
    pub(crate) fn take_from(&mut self, other: &Self, key: &str) {
        match other.find(key) {
            Some(shown) => self.0.insert(key.to_owned(), shown.clone()),
            None => self.0.remove(key),
        };
    }

    pub(super) fn note(&mut self, key: String, shown: Shown) {
        self.0.insert(key, shown);
    }

    /// The error that refuses `key` for what other sections say.
    pub(super) fn refused(&self, key: &str, why: String) -> ConfigError {
        let origin = self
            .find(key)
            .map_or(Origin::BuiltIn, |shown| shown.origin.clone());
        ConfigError::Key {
            origin,
            key: key.to_owned(),
            fault: Fault::Value(why),
        }
    }
}
