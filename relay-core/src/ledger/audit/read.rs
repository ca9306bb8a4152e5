//! Reading the chain: by filter, in sums, and whole, to see whether it holds.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row};

use super::head;
use crate::audit::{AuditEntry, Chain, Fault, Verdict};
use crate::ledger::ReadError;
use crate::ledger::reader::Reader;
use crate::segment::Digest;
use crate::time::Unix;

/// Which entries. Each filter narrows; `None` lets all through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only events of this name; `*` stands for any part of it.
    pub event: Option<String>,
    /// Only of this category.
    pub category: Option<String>,
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only by this operator.
    pub operator: Option<String>,
    /// Not before.
    pub since: Option<Unix>,
    /// Before.
    pub until: Option<Unix>,
}

/// Entries, newest first, and how many the filter lets through in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// All that the filter lets through.
    pub total: u64,
    /// Rows that cannot be read.
    pub unreadable: u64,
}

/// How many entries there are, by each of four words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditSummary {
    /// All.
    pub total: u64,
    /// When the first and the last were written.
    pub span: Option<(Unix, Unix)>,
    /// By event.
    pub events: Vec<(String, u64)>,
    /// By category.
    pub categories: Vec<(String, u64)>,
    /// By outcome.
    pub outcomes: Vec<(String, u64)>,
    /// By operator; without a label it is the uid.
    pub operators: Vec<(String, u64)>,
}

/// The oldest part of the chain, as pruning would remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first entry.
    pub first: u64,
    /// The last entry.
    pub upto: u64,
    /// How many.
    pub count: u64,
    /// The hash of the last.
    pub last_hash: Digest,
}

const COLUMNS: &str = "seq, at, event, category, action, outcome, source, actor, uid, \
     resource_type, resource, reason, fields, prev, hash";
/// Entries held in memory at once on a walk.
const WALK: i64 = 512;

impl Reader {
    /// Entries below `after`, newest first.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn audit(
        &mut self,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<AuditPage, ReadError> {
        let (clause, mut values) = clause(filter);
        let total: i64 = self.conn.query_row(
            &format!("SELECT count(*) FROM audit WHERE {clause}"),
            rusqlite::params_from_iter(&values),
            |row| row.get(0),
        )?;
        values.push(Sql::Integer(after.map_or(i64::MAX, |seq| seq as i64)));
        values.push(Sql::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let mut query = self.conn.prepare(&format!(
            "SELECT {COLUMNS} FROM audit WHERE {clause} AND seq < ? ORDER BY seq DESC LIMIT ?"
        ))?;
        let mut rows = query.query(rusqlite::params_from_iter(&values))?;
        let mut page = AuditPage {
            total: total as u64,
            ..AuditPage::default()
        };
        while let Some(row) = rows.next()? {
            match entry(row) {
                Ok(entry) => page.entries.push(entry),
                Err(_) => page.unreadable += 1,
            }
        }
        Ok(page)
    }

    /// At most `limit` entries above `after`, oldest first: for export and archive.
    ///
    /// # Errors
    /// [`ReadError::Sql`], also for a row that cannot be read.
    pub fn audit_from(&mut self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, ReadError> {
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map((after as i64, limit), entry)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Walks the whole chain.
    ///
    /// # Errors
    /// [`ReadError::Sql`] when SQLite cannot go on.
    pub fn audit_verify(&mut self) -> Result<Verdict, ReadError> {
        let look = self.conn.unchecked_transaction()?;
        let noted = head(&look)?;
        let mut chain = Chain::default();
        let mut after = i64::MIN;
        loop {
            let mut query = look.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq LIMIT {WALK}"
            ))?;
            let mut rows = query.query([after])?;
            let mut found = 0;
            while let Some(row) = rows.next()? {
                found += 1;
                after = row.get(0)?;
                let heard = entry(row).map_err(|_| Fault::Unreadable);
                if let Err(fault) = heard.and_then(|entry| chain.hear(&entry)) {
                    let seq = after as u64;
                    return Ok(Verdict::Broken { seq, fault });
                }
            }
            if found < WALK {
                return Ok(chain.end(noted));
            }
        }
    }

    /// Counts of the entries that `filter` lets through.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn audit_summary(&mut self, filter: &AuditFilter) -> Result<AuditSummary, ReadError> {
        let (clause, values) = clause(filter);
        let by = |word: &str| counts(&self.conn, word, &clause, &values);
        let ends = self.conn.query_row(
            &format!("SELECT count(*), min(at), max(at) FROM audit WHERE {clause}"),
            rusqlite::params_from_iter(&values),
            |row| {
                let ends = (row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?);
                Ok((row.get::<_, i64>(0)? as u64, ends))
            },
        )?;
        let span = match ends.1 {
            (Some(first), Some(last)) => Some((Unix(first as u64), Unix(last as u64))),
            _ => None,
        };
        Ok(AuditSummary {
            total: ends.0,
            span,
            events: by("event")?,
            categories: by("category")?,
            outcomes: by("outcome")?,
            operators: by("coalesce(actor, 'uid ' || uid, 'edged')")?,
        })
    }

    /// The entries written before `before`, if there are any; the last entry of
    /// the chain is never among them.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn audit_older(&mut self, before: Unix) -> Result<Option<Span>, ReadError> {
        // A wall clock that jumped may have left younger entries before older ones:
        // only what lies before the first younger one goes.
        let young: Option<i64> = self.conn.query_row(
            "SELECT min(seq) FROM audit WHERE at >= ?1",
            [before.0 as i64],
            |row| row.get(0),
        )?;
        let bound = young.unwrap_or(i64::MAX);
        let (first, upto, count): (Option<i64>, Option<i64>, i64) = self.conn.query_row(
            "SELECT min(seq), max(seq), count(*) FROM audit
             WHERE seq < ?1 AND seq < (SELECT max(seq) FROM audit)",
            [bound],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let (Some(first), Some(upto)) = (first, upto) else {
            return Ok(None);
        };
        let last_hash =
            self.conn
                .query_row("SELECT hash FROM audit WHERE seq = ?1", [upto], |row| {
                    row.get(0).map(Digest)
                })?;
        Ok(Some(Span {
            first: first as u64,
            upto: upto as u64,
            count: count as u64,
            last_hash,
        }))
    }
}

fn counts(
    conn: &Connection,
    word: &str,
    clause: &str,
    values: &[Sql],
) -> Result<Vec<(String, u64)>, ReadError> {
    let mut query = conn.prepare(&format!(
        "SELECT {word}, count(*) FROM audit WHERE {clause} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100"
    ))?;
    let rows = query.query_map(rusqlite::params_from_iter(values), |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A filter as SQL and its values.
fn clause(filter: &AuditFilter) -> (String, Vec<Sql>) {
    let (mut parts, mut values) = (vec!["1".to_owned()], Vec::new());
    let mut add = |part: &str, value: Sql| {
        parts.push(part.to_owned());
        values.push(value);
    };
    if let Some(event) = &filter.event {
        add("event GLOB ?", Sql::Text(event.clone()));
    }
    if let Some(category) = &filter.category {
        add("category = ?", Sql::Text(category.clone()));
    }
    if let Some(outcome) = &filter.outcome {
        add("outcome = ?", Sql::Text(outcome.clone()));
    }
    if let Some(operator) = &filter.operator {
        add("actor = ?", Sql::Text(operator.clone()));
    }
    if let Some(since) = filter.since {
        add("at >= ?", Sql::Integer(since.0 as i64));
    }
    if let Some(until) = filter.until {
        add("at < ?", Sql::Integer(until.0 as i64));
    }
    (parts.join(" AND "), values)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let fields: Vec<u8> = row.get(12)?;
    let fields = postcard::from_bytes(&fields).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(12, rusqlite::types::Type::Blob, Box::new(error))
    })?;
    Ok(AuditEntry {
        seq: row.get::<_, i64>(0)? as u64,
        at: Unix(row.get::<_, i64>(1)? as u64),
        event: row.get(2)?,
        category: row.get(3)?,
        action: row.get(4)?,
        outcome: row.get(5)?,
        source: row.get(6)?,
        actor: row.get(7)?,
        uid: row.get(8)?,
        resource_type: row.get(9)?,
        resource: row.get(10)?,
        reason: row.get(11)?,
        fields,
        prev: Digest(row.get(13)?),
        hash: Digest(row.get(14)?),
    })
}

/// Whether a row, all its columns in order, is as it was written.
pub(in crate::ledger) fn is_sound(row: &Row<'_>) -> bool {
    entry(row).is_ok_and(|entry| entry.digest() == entry.hash)
}
