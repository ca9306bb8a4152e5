//! What one value says, apart from the key it belongs to.
//!
//! Small judgements that `read.rs` puts together: is it a text, a bare number, in
//! bounds; and the words of the refusal if it is not.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use relay_core::units::ByteCount;

use super::error::Fault;
use super::tree::Value;

/// The path meant by `text` in a file of folder `base`, or typed by hand.
pub(super) fn resolve(base: &Path, by_hand: bool, text: &str) -> PathBuf {
    let path = if by_hand {
        PathBuf::from(text)
    } else {
        base.join(text)
    };
    std::path::absolute(&path).unwrap_or(path)
}

/// Bytes as an exact number with the largest unit that divides it.
pub(super) fn exact_bytes(count: &ByteCount) -> String {
    let scales = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = scales
        .iter()
        .find(|(_, shift)| count.0 > 0 && count.0.trailing_zeros() >= *shift);
    whole.map_or_else(
        || count.0.to_string(),
        |(unit, shift)| format!("{}{unit}", count.0 >> shift),
    )
}

/// A bare number of bytes: 0 anywhere, others where the key says bytes.
pub(super) fn whole(key: &str, value: &Value, loose: bool) -> Result<Option<u64>, Fault> {
    let number = match (value, loose) {
        (Value::Integer(number), _) => *number,
        (Value::Text(text), true) => match text.replace('_', "").parse() {
            Ok(number) => number,
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    match u64::try_from(number) {
        Ok(count) if count == 0 || key.contains("bytes") => Ok(Some(count)),
        Ok(_) => Err(Fault::Value(format!(
            "{value} has no unit (try \"{number}MiB\")"
        ))),
        Err(_) => Err(Fault::Value(format!(
            "{value} is less than nothing, expected 0 or more"
        ))),
    }
}

/// The value that a text is, or why it is none.
pub(super) fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, Fault> {
    text.parse()
        .map_err(|why: T::Err| Fault::Value(why.to_string()))
}

/// The text that a value is.
pub(super) fn text<'v>(value: &'v Value, expected: &'static str) -> Result<&'v str, Fault> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Integer(_)
        | Value::Boolean(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Foreign(..) => Err(unexpected(value, expected)),
    }
}

/// The value is of the wrong type.
pub(super) fn unexpected(value: &Value, expected: &'static str) -> Fault {
    Fault::WrongType {
        found: value.to_string(),
        expected,
    }
}

/// The value is of the right type and out of bounds.
pub(super) fn outside(value: &Value, least: impl Display, most: impl Display) -> Fault {
    Fault::Value(format!(
        "{value} is out of range, expected {least} to {most}"
    ))
}
