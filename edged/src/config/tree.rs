//! What was written, before anyone asks whether it makes sense.
//!
//! A [`Tree`] holds keys and values from all layers, and beside each value its
//! [`Origin`]: the line, variable or flag that wrote it. Laying one tree over
//! another is [`lay_over`]; lists of tables (`[[peers]]`) of two layers follow
//! each other, everything else is replaced. Meaning is left to `read.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::ConfigError;

/// Keys of one table, in name order.
pub(super) type Tree = BTreeMap<String, Entry>;

/// Where a value came from, as messages and `config show --origin` name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody wrote it: the default of this build.
    BuiltIn,
    /// A line, from 1, of a config file.
    File {
        /// The file, as it was asked for.
        path: PathBuf,
        /// The line of the key.
        line: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A flag of the command line, such as `--log-level`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File { path, line } => write!(f, "config {}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value and the place that wrote it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value as the file has it. Variables and flags can only write `Text`.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Entry>),
    Table(Tree),
    /// A TOML type no key of ours has: its name, and how it was written.
    Foreign(&'static str, String),
}

impl fmt::Display for Value {
    /// As a message quotes what was found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(answer) => write!(f, "{answer}"),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
            Self::Foreign(kind, text) => write!(f, "the {kind} {text}"),
        }
    }
}

/// The tree of one TOML document, its origins naming `path`.
///
/// # Errors
/// [`ConfigError::Syntax`] when the text is not TOML 1.0, or writes one key
/// twice.
pub(super) fn parse(text: &str, path: &Path) -> Result<Tree, ConfigError> {
    let page = Page { text, path };
    match DeTable::parse(text) {
        Ok(table) => Ok(page.tree(table.get_ref())),
        Err(error) => Err(ConfigError::Syntax {
            path: path.to_owned(),
            line: page.line(error.span().map_or(0, |span| span.start)),
            why: error.message().replace('\n', ", "),
        }),
    }
}

/// Puts `upper` over `lower`, key by key.
pub(super) fn lay_over(lower: &mut Tree, upper: Tree) {
    for (key, entry) in upper {
        match (lower.get_mut(&key).map(|e| &mut e.value), entry.value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (Some(Value::List(below)), Value::List(above))
                if of_tables(below) && of_tables(&above) =>
            {
                below.extend(above);
            }
            (_, value) => {
                lower.insert(
                    key,
                    Entry {
                        value,
                        origin: entry.origin,
                    },
                );
            }
        }
    }
}

fn of_tables(list: &[Entry]) -> bool {
    list.iter().all(|e| matches!(e.value, Value::Table(_)))
}

/// One document while its spans are turned into lines.
struct Page<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Page<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self
            .text
            .as_bytes()
            .get(..offset)
            .unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|b| **b == b'\n').count()
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: self.line(offset),
        }
    }

    fn tree(&self, table: &DeTable<'_>) -> Tree {
        let entry = |key: &Spanned<_>, value: &Spanned<DeValue<'_>>| Entry {
            origin: self.origin(key.span().start),
            value: self.value(value.get_ref()),
        };
        table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), entry(key, value)))
            .collect()
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => integer(number),
            DeValue::Boolean(answer) => Value::Boolean(*answer),
            DeValue::Float(number) => Value::Foreign("number", number.as_str().to_owned()),
            DeValue::Datetime(moment) => Value::Foreign("date", moment.to_string()),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Entry {
                        origin: self.origin(item.span().start),
                        value: self.value(item.get_ref()),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.tree(table)),
        }
    }
}

fn integer(number: &DeInteger<'_>) -> Value {
    i64::from_str_radix(number.as_str(), number.radix()).map_or_else(
        |_| Value::Foreign("number", number.to_string()),
        Value::Integer,
    )
}
