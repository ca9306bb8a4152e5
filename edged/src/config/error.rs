//! What can be wrong with a config, and how it is said.
//!
//! Every message names the place (file and line, variable or flag), the key,
//! what was found and what was expected, so that nobody has to open the file
//! to understand it.

use std::io;
use std::path::PathBuf;

use super::tree::Origin;

/// What reading one key gives.
pub(super) type Result<T> = std::result::Result<T, ConfigError>;

/// Why a config was refused. The daemon exits 1 for each of them.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or its `conf.d` cannot be read.
    #[error("config {} cannot be read", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("config {}:{line}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where reading stopped.
        line: usize,
        /// What stands there, in words of the TOML reader.
        why: String,
    },
    /// One key is refused.
    #[error("{origin}: {key}: {fault}")]
    Key {
        /// Who wrote the value.
        origin: Origin,
        /// The full key, such as `relay.retry.first` or `peers[0].id`.
        key: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No key of this name exists here.
    #[error("unknown key{}", nearest_or_all(nearest.as_deref(), known))]
    Unknown {
        /// The known name that it resembles most, if any does.
        nearest: Option<String>,
        /// All names known here.
        known: Vec<String>,
    },
    /// The value is of another type, say a list where a text belongs.
    #[error("found {found}, expected {expected}")]
    WrongType {
        /// The value as written.
        found: String,
        /// The type, with an example.
        expected: &'static str,
    },
    /// The type is right, the value is not; the text names value and remedy.
    #[error("{0}")]
    Value(String),
    /// A key without a default was left out.
    #[error("missing, expected {expected}")]
    Missing {
        /// What to write, with an example.
        expected: &'static str,
    },
    /// A name that must be the only one of its kind was written before.
    #[error("{name:?} is a duplicate, first written at {first}")]
    Duplicate {
        /// The name.
        name: String,
        /// Where it was written first.
        first: Origin,
    },
}

impl Fault {
    /// The fault of a key that is not among `known`.
    #[must_use]
    pub(super) fn unknown(name: &str, known: &[&str]) -> Self {
        let near = known
            .iter()
            .map(|k| (strsim::damerau_levenshtein(name, k), *k))
            .filter(|(distance, k)| *distance <= (k.len() / 3).max(1))
            .min();
        Self::Unknown {
            nearest: near.map(|(_, k)| k.to_owned()),
            known: known.iter().map(|k| (*k).to_owned()).collect(),
        }
    }
}

fn nearest_or_all(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(name) => format!(" (did you mean {name:?}?)"),
        None => format!(" (known here: {})", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_name_or_with_all() {
        let known = ["ack_timeout", "dial_timeout", "workers"];

        let near = Fault::unknown("ack_timout", &known);
        let far = Fault::unknown("colour", &known);

        assert_eq!(
            near.to_string(),
            "unknown key (did you mean \"ack_timeout\"?)"
        );
        assert_eq!(
            far.to_string(),
            "unknown key (known here: ack_timeout, dial_timeout, workers)"
        );
    }
}
