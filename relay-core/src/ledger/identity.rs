//! What a ledger says of itself: whose it is, its id, the greatest numbers given.

use rusqlite::{Connection, OptionalExtension};

use super::error::LedgerError;
use super::{LedgerResult, Options, apply, sums};
use crate::id::{LedgerId, NodeNo};

/// The id in the file, or a new one.
pub(super) fn identity(conn: &Connection, options: &Options) -> LedgerResult<LedgerId> {
    if let Some(id) = meta(conn, "ledger")? {
        let found: Option<String> = conn
            .query_row("SELECT name FROM node WHERE no = 0", [], |row| row.get(0))
            .optional()?;
        let found = found.ok_or(LedgerError::Unreadable("the name of its node"))?;
        if found != options.node.as_str() {
            let found = found
                .parse()
                .map_err(|_| LedgerError::Unreadable("the name of its node"))?;
            return Err(LedgerError::OtherNode {
                found,
                given: options.node.clone(),
            });
        }
        return Ok(LedgerId(id as u64));
    }
    let change = conn.unchecked_transaction()?;
    set_meta(&change, "ledger", options.entropy as i64)?;
    apply::write_node(&change, NodeNo::LOCAL, &options.node)?;
    change
        .commit()
        .map_err(LedgerError::commit("make ledger"))?;
    Ok(LedgerId(options.entropy))
}

/// A number the ledger keeps under a name.
pub(super) fn meta(conn: &Connection, name: &str) -> LedgerResult<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(query.query_row([name], |row| row.get(0)).optional()?)
}

/// Keeps a number under a name.
pub(super) fn set_meta(conn: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    sums::set(conn, sums::META, &[sums::text(name), sums::int(value)])
}

/// The greatest number ever given: of the rows, or what was noted when rows went.
pub(super) fn greatest(conn: &Connection, noted: &str, of_rows: &str) -> LedgerResult<u64> {
    let rows: Option<i64> = conn.query_row(of_rows, [], |row| row.get(0))?;
    Ok(rows.unwrap_or(0).max(meta(conn, noted)?.unwrap_or(0)) as u64)
}

/// Numbers of packs that rows still tell of, their own or others'.
pub(super) const PACKS: &str = "SELECT max(no) FROM (SELECT no FROM pack UNION SELECT pack FROM owed UNION SELECT pack FROM mark)";
/// Numbers of receipts.
pub(super) const RECEIPTS: &str = "SELECT max(no) FROM receipt";
/// How far above every old one new numbers begin: more than any group that was lost.
const GAP: i64 = 1 << 20;

/// Rows are gone whose numbers nobody knows: the next are clear of them, since who has
/// heard of one takes another of its number for the same.
pub(super) fn stand_clear(conn: &Connection, noted: &str, of_rows: &str) -> LedgerResult<()> {
    let known = greatest(conn, noted, of_rows)? as i64;
    Ok(set_meta(conn, noted, known.saturating_add(GAP))?)
}
