//! Checksums of the small rows: names, counters, marks and what else has no reader
//! that knows its columns by heart.
//!
//! The last column of such a row is a CRC-32 over the name of its table and every
//! other column, so that a row tells by itself whether it is as it was written, and of
//! which table it is: what is found in a page nobody can place any longer is placed by
//! its sum ([`super::salvage`]). Rows of packs, of what is owed and the like carry sums
//! of their own kind.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, Rows, params_from_iter};

use super::tables::{self, Table};

/// A table whose rows carry such a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summed {
    /// Its name.
    pub(super) name: &'static str,
    /// Sets a row; the sum is its last value.
    set: &'static str,
}

macro_rules! summed {
    ($($table:ident = $name:literal, $values:literal;)*) => {
        $(
            pub(super) const $table: Summed = Summed {
                name: $name,
                set: concat!("INSERT OR REPLACE INTO ", $name, " VALUES (", $values, ")"),
            };
        )*
        /// All of them.
        pub(super) const SUMMED: &[Summed] = &[$($table),*];
    };
}

summed! {
    META = "meta", "?1, ?2, ?3";
    NODE = "node", "?1, ?2, ?3";
    LANE = "lane", "?1, ?2, ?3";
    NAMED = "named", "?1, ?2, ?3, ?4";
    COUNTER = "counter", "?1, ?2, ?3, ?4, ?5, ?6";
    LOG_FILE = "log_file", "?1, ?2, ?3, ?4, ?5";
    HEARD = "heard", "?1, ?2, ?3, ?4";
    MARK = "mark", "?1, ?2, ?3, ?4, ?5, ?6, ?7";
    GONE = "gone", "?1, ?2, ?3, ?4";
    METER = "meter", "?1, ?2, ?3, ?4, ?5";
    ATTEMPT = "attempt", "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11";
    QUARANTINE = "quarantine", "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12";
}

/// An integer as a column.
pub(super) const fn int(value: i64) -> ValueRef<'static> {
    ValueRef::Integer(value)
}

/// An integer that may be absent.
pub(super) fn maybe(value: Option<i64>) -> ValueRef<'static> {
    value.map_or(ValueRef::Null, ValueRef::Integer)
}

/// A text as a column.
pub(super) const fn text(value: &str) -> ValueRef<'_> {
    ValueRef::Text(value.as_bytes())
}

/// The sum of a row of `table`.
pub(super) fn sum(table: Summed, values: &[ValueRef<'_>]) -> i64 {
    let mut all = crc32fast::Hasher::new();
    all.update(table.name.as_bytes());
    for value in values {
        match value {
            ValueRef::Null => all.update(&[0]),
            ValueRef::Integer(number) => {
                all.update(&[1]);
                all.update(&number.to_le_bytes());
            }
            ValueRef::Real(number) => {
                all.update(&[2]);
                all.update(&number.to_bits().to_le_bytes());
            }
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                all.update(&[if matches!(value, ValueRef::Text(_)) {
                    3
                } else {
                    4
                }]);
                all.update(&(bytes.len() as u64).to_le_bytes());
                all.update(bytes);
            }
        }
    }
    i64::from(all.finalize())
}

/// Sets a row of `table`, with its sum.
pub(super) fn set(
    conn: &Connection,
    table: Summed,
    values: &[ValueRef<'_>],
) -> rusqlite::Result<()> {
    let sum = ToSqlOutput::Owned(Value::Integer(sum(table, values)));
    let columns = values.iter().map(|value| ToSqlOutput::Borrowed(*value));
    conn.prepare_cached(table.set)?
        .execute(params_from_iter(columns.chain([sum])))
        .map(drop)
}

/// Whether a row, all its columns in order, is as it was written.
pub(super) fn is_sound(table: Summed, row: &Row<'_>) -> bool {
    let last = row.as_ref().column_count() - 1;
    let columns: rusqlite::Result<Vec<_>> = (0..last).map(|at| row.get_ref(at)).collect();
    columns.is_ok_and(|columns| {
        row.get_ref(last)
            .is_ok_and(|found| found == int(sum(table, &columns)))
    })
}

/// Gives every row that was written before there were sums its own.
pub(super) fn fill(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "INSERT INTO named SELECT 0, no, name, NULL FROM node;
         INSERT INTO named SELECT 1, no, name, NULL FROM lane;",
    )?;
    for table in tables::summed() {
        fill_table(conn, &table)?;
    }
    Ok(())
}

/// Rows in memory at once.
const BATCH: usize = 512;

fn fill_table(conn: &Connection, table: &Table) -> rusqlite::Result<()> {
    let Some(summed) = SUMMED.iter().find(|summed| summed.name == table.name) else {
        return Ok(());
    };
    let (name, key) = (table.name, table.key.join(", "));
    let marks: Vec<String> = (1..=table.key.len()).map(|n| format!("?{n}")).collect();
    let marks = marks.join(", ");
    let from = format!("SELECT *, {key} FROM {name}");
    let to = format!("ORDER BY {key} LIMIT {BATCH}");
    let mut first = conn.prepare(&format!("{from} {to}"))?;
    let mut next = conn.prepare(&format!("{from} WHERE ({key}) > ({marks}) {to}"))?;
    // Behind the columns, the last of which is the sum, stands the key once more.
    let width = first.column_count() - table.key.len();
    let mut after: Option<Vec<Value>> = None;
    loop {
        let rows = match &after {
            None => rows_of(first.query([])?)?,
            Some(after) => rows_of(next.query(params_from_iter(after))?)?,
        };
        for row in &rows {
            let values: Vec<ValueRef<'_>> = row[..width - 1].iter().map(ValueRef::from).collect();
            set(conn, *summed, &values)?;
        }
        match rows.last() {
            Some(last) if rows.len() == BATCH => after = Some(last[width..].to_vec()),
            Some(_) | None => return Ok(()),
        }
    }
}

fn rows_of(mut rows: Rows<'_>) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let width = row.as_ref().column_count();
        all.push((0..width).map(|at| row.get(at)).collect::<Result<_, _>>()?);
    }
    Ok(all)
}
