//! What operators set, as rows: name and value in postcard, with a checksum.
//!
//! A row that cannot be read is skipped and counted: the config holds in its place.

use rusqlite::{Connection, Row};

use super::LedgerResult;
use super::rows::Sum;
use crate::setting::{Setting, Value};

/// Sets `setting` to `value`, or removes it.
pub(super) fn write(
    conn: &Connection,
    setting: Setting,
    value: Option<Value>,
) -> rusqlite::Result<()> {
    let name = postcard::to_stdvec(&setting).expect("a setting is plain words");
    match value {
        Some(value) => {
            let value = postcard::to_stdvec(&value).expect("a value is plain words");
            let sum = Sum::default().bytes(&name).bytes(&value).end();
            conn.prepare_cached("INSERT OR REPLACE INTO setting VALUES (?1, ?2, ?3)")?
                .execute((name, value, sum))?;
        }
        None => {
            conn.prepare_cached("DELETE FROM setting WHERE name = ?1")?
                .execute([name])?;
        }
    }
    Ok(())
}

/// Every setting that can be read, and how many cannot.
pub(super) fn read(conn: &Connection) -> LedgerResult<(Vec<(Setting, Value)>, u64)> {
    let mut query = conn.prepare("SELECT name, value, sum FROM setting ORDER BY name")?;
    let mut rows = query.query([])?;
    let (mut found, mut damaged) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (name, value): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let sum: i64 = row.get(2)?;
        let sound = sum == Sum::default().bytes(&name).bytes(&value).end();
        match (postcard::from_bytes(&name), postcard::from_bytes(&value)) {
            (Ok(name), Ok(value)) if sound => found.push((name, value)),
            _ => damaged += 1,
        }
    }
    Ok((found, damaged))
}

/// Whether a row of the table is as it was written.
pub(super) fn is_sound(row: &Row<'_>) -> bool {
    let read = || -> rusqlite::Result<bool> {
        let (name, value): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let is_known = postcard::from_bytes::<Setting>(&name).is_ok()
            && postcard::from_bytes::<Value>(&value).is_ok();
        let sum: i64 = row.get(2)?;
        Ok(is_known && sum == Sum::default().bytes(&name).bytes(&value).end())
    };
    read().unwrap_or(false)
}
