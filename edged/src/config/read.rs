//! From what was written to typed values, key by key.
//!
//! A [`Section`] is one table while it is being read. Each call takes one key
//! away, checks it, and notes its value and origin; [`Section::done`] refuses
//! whatever is left, since only unknown keys are. Which keys exist, and their
//! defaults and bounds, is said by the sections' own files.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use relay_core::units::{ByteCount, Rate};

use super::effective::{Effective, Shown};
use super::error::{ConfigError, Fault, Result};
use super::tree::{Entry, Origin, Tree, Value};
use super::value::{exact_bytes, outside, parse, resolve, text, unexpected, whole};
use super::words;

/// One table being read.
pub(super) struct Section<'a> {
    path: String,
    origin: Origin,
    left: Tree,
    /// The folder that relative paths of a file start from.
    base: &'a Path,
    known: Vec<&'static str>,
    shown: Vec<(&'static str, Shown)>,
}

impl<'a> Section<'a> {
    /// The whole config.
    pub(super) fn root(tree: Tree, base: &'a Path) -> Self {
        Self::new(String::new(), Origin::BuiltIn, tree, base)
    }

    fn new(path: String, origin: Origin, left: Tree, base: &'a Path) -> Self {
        Self {
            path,
            origin,
            left,
            base,
            known: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// The table `[name]`; empty when nobody wrote it.
    pub(super) fn section(&mut self, name: &'static str) -> Result<Self> {
        match self.take(name) {
            None => Ok(Self::new(
                self.key(name),
                Origin::BuiltIn,
                Tree::new(),
                self.base,
            )),
            Some(entry) => self.table(self.key(name), entry),
        }
    }

    /// The tables `[[name]]`, in the order written.
    pub(super) fn sections(&mut self, name: &'static str) -> Result<Vec<Self>> {
        let Some(Entry { value, origin }) = self.take(name) else {
            return Ok(Vec::new());
        };
        let Value::List(items) = value else {
            return Err(wrong_type(
                origin,
                self.key(name),
                &value,
                "a list of tables ([[…]])",
            ));
        };
        let named = |(n, item)| self.table(format!("{}[{n}]", self.key(name)), item);
        items.into_iter().enumerate().map(named).collect()
    }

    /// All tables of this one, whatever they are called: `[lanes.NAME]`.
    pub(super) fn into_sections(mut self) -> Result<Vec<(String, Self)>> {
        let tables = std::mem::take(&mut self.left);
        let named = |(name, entry): (String, Entry)| {
            let key = self.key(&name);
            Ok((name, self.table(key, entry)?))
        };
        tables.into_iter().map(named).collect()
    }

    fn table(&self, path: String, Entry { value, origin }: Entry) -> Result<Self> {
        match value {
            Value::Table(tree) => Ok(Self::new(path, origin, tree, self.base)),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Boolean(_)
            | Value::List(_)
            | Value::Foreign(..) => Err(wrong_type(origin, path, &value, "a table")),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> Result<bool> {
        let read = |value: &Value, loose| match (value, loose) {
            (Value::Boolean(answer), _) => Ok(*answer),
            (Value::Text(text), true) if text == "true" => Ok(true),
            (Value::Text(text), true) if text == "false" => Ok(false),
            _ => Err(unexpected(value, "true or false")),
        };
        self.read(key, default, bool::to_string, read)
    }

    /// A count within `range`.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<u32> {
        let read = |value: &Value, loose| {
            let number = match (value, loose) {
                (Value::Integer(number), _) => Some(*number),
                (Value::Text(text), true) => text.replace('_', "").parse().ok(),
                _ => None,
            };
            let number = number.ok_or_else(|| unexpected(value, "a whole number"))?;
            let count = u32::try_from(number).ok().filter(|n| range.contains(n));
            count.ok_or_else(|| outside(value, range.start(), range.end()))
        };
        self.read(key, default, u32::to_string, read)
    }

    /// A duration within `range`, such as `"30s"`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration> {
        let read = |value: &Value, _| {
            let span = match value {
                Value::Integer(number) => words::duration(&number.to_string()),
                Value::Text(_)
                | Value::Boolean(_)
                | Value::List(_)
                | Value::Table(_)
                | Value::Foreign(..) => words::duration(text(value, "a duration such as \"30s\"")?),
            };
            let span = span.map_err(Fault::Value)?;
            let (least, most) = (
                words::show_duration(*range.start()),
                words::show_duration(*range.end()),
            );
            if range.contains(&span) {
                Ok(span)
            } else {
                Err(outside(value, &least, &most))
            }
        };
        self.read(key, default, |span| words::show_duration(*span), read)
    }

    /// Bytes within `range`, such as `"8MiB"`; a bare number where the key
    /// itself says bytes.
    pub(super) fn bytes(
        &mut self,
        key: &'static str,
        default: ByteCount,
        range: RangeInclusive<ByteCount>,
    ) -> Result<ByteCount> {
        let read = |value: &Value, loose| {
            let count = match whole(key, value, loose)? {
                Some(count) => ByteCount(count),
                None => {
                    words::bytes(text(value, "bytes such as \"8MiB\"")?).map_err(Fault::Value)?
                }
            };
            if range.contains(&count) {
                Ok(count)
            } else {
                Err(outside(value, range.start(), range.end()))
            }
        };
        self.read(key, default, exact_bytes, read)
    }

    /// A rate such as `"1MiB/s"`, or bytes a second as a bare number; 0 is
    /// unlimited.
    pub(super) fn rate(&mut self, key: &'static str) -> Result<Rate> {
        let read = |value: &Value, loose| match whole(key, value, loose)? {
            Some(count) => Ok(Rate(count)),
            None => words::rate(text(value, "a rate such as \"1MiB/s\"")?).map_err(Fault::Value),
        };
        self.read(key, Rate::UNLIMITED, |rate| rate.0.to_string(), read)
    }

    /// A text that is one value; `T`'s own error says what it expects.
    pub(super) fn parsed<T>(&mut self, key: &'static str, default: T) -> Result<T>
    where
        T: FromStr<Err: Display> + Display,
    {
        let read = |value: &Value, _| parse(text(value, "a text")?);
        self.read(key, default, T::to_string, read)
    }

    /// A text that is one value, or nothing: absent and `""` are the same.
    pub(super) fn optional<T>(&mut self, key: &'static str) -> Result<Option<T>>
    where
        T: FromStr<Err: Display> + Display,
    {
        self.optional_or(key, None)
    }

    /// A text that is one value, or `default` when absent; `""` is none.
    pub(super) fn optional_or<T>(
        &mut self,
        key: &'static str,
        default: Option<T>,
    ) -> Result<Option<T>>
    where
        T: FromStr<Err: Display> + Display,
    {
        let read = |value: &Value, _| match text(value, "a text")? {
            "" => Ok(None),
            text => parse(text).map(Some),
        };
        let show = |found: &Option<T>| found.as_ref().map_or_else(String::new, T::to_string);
        self.read(key, default, show, read)
    }

    /// A text that must be there.
    pub(super) fn required<T>(&mut self, key: &'static str, expected: &'static str) -> Result<T>
    where
        T: FromStr<Err: Display> + Display,
    {
        match self.optional(key)? {
            Some(value) => Ok(value),
            None => Err(self.refused(key, Fault::Missing { expected })),
        }
    }

    /// A list of texts, each one value; in a variable they are split at commas.
    pub(super) fn list<T>(&mut self, key: &'static str) -> Result<Vec<T>>
    where
        T: FromStr<Err: Display> + Display,
    {
        let read = |value: &Value, loose| match (value, loose) {
            (Value::List(items), _) => items
                .iter()
                .map(|item| parse(text(&item.value, "a text")?))
                .collect(),
            (Value::Text(text), true) => text
                .split(',')
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .map(parse)
                .collect(),
            _ => Err(unexpected(value, "a list of texts")),
        };
        let show = |items: &Vec<T>| {
            items
                .iter()
                .map(T::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.read(key, Vec::new(), show, read)
    }

    /// A path. A relative one starts at the config file's folder when a file
    /// wrote it, else at the working directory. `""` is none.
    pub(super) fn path(
        &mut self,
        key: &'static str,
        default: Option<PathBuf>,
    ) -> Result<Option<PathBuf>> {
        let base = self.base;
        let read = |value: &Value, loose| {
            let text = text(value, "a path")?;
            Ok((!text.is_empty()).then(|| resolve(base, loose, text)))
        };
        self.read(
            key,
            default,
            |p| {
                p.as_deref()
                    .map_or_else(String::new, |p| p.display().to_string())
            },
            read,
        )
    }

    /// Any value of one key: `read` hears the value and whether it is loose,
    /// that is, a mere text from a variable or a flag.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        show: impl FnOnce(&T) -> String,
        read: impl FnOnce(&Value, bool) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let (value, origin) = match self.take(key) {
            None => (default, Origin::BuiltIn),
            Some(Entry { value, origin }) => {
                let loose = matches!(origin, Origin::Environment(_) | Origin::Flag(_));
                let read = read(&value, loose);
                let refused = |fault| ConfigError::Key {
                    origin: origin.clone(),
                    key: self.key(key),
                    fault,
                };
                (read.map_err(refused)?, origin)
            }
        };
        self.shown.push((
            key,
            Shown {
                value: show(&value),
                origin,
            },
        ));
        Ok(value)
    }

    /// The folder that relative paths of this section's file start from.
    pub(super) fn base(&self) -> &'a Path {
        self.base
    }

    /// The error that refuses `key`, naming whoever wrote it.
    pub(super) fn refused(&self, key: &'static str, fault: Fault) -> ConfigError {
        let written = self
            .shown
            .iter()
            .find(|(name, shown)| *name == key && shown.origin != Origin::BuiltIn);
        let origin = written
            .map_or(&self.origin, |(_, shown)| &shown.origin)
            .clone();
        ConfigError::Key {
            origin,
            key: self.key(key),
            fault,
        }
    }

    /// Hands over what was noted; refuses keys that nobody asked for.
    pub(super) fn done(self, effective: &mut Effective) -> Result<()> {
        if let Some((name, entry)) = self.left.first_key_value() {
            let fault = Fault::unknown(name, &self.known);
            return Err(ConfigError::Key {
                origin: entry.origin.clone(),
                key: self.key(name),
                fault,
            });
        }
        for (name, shown) in &self.shown {
            effective.note(self.key(name), shown.clone());
        }
        Ok(())
    }

    fn take(&mut self, key: &'static str) -> Option<Entry> {
        self.known.push(key);
        self.left.remove(key)
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

fn wrong_type(origin: Origin, key: String, value: &Value, expected: &'static str) -> ConfigError {
    ConfigError::Key {
        origin,
        key,
        fault: unexpected(value, expected),
    }
}
