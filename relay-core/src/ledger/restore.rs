//! What can be put right where rows are missing: names, the audit's head, members gone.

use rusqlite::{Connection, OptionalExtension};

use super::LedgerResult;
use super::quarantine::Quarantined;
use super::sums::{self, Summed, int, text};
use crate::id::NodeId;

/// Gives every number that is in use its name: the other copy's, or one that says that
/// it is lost. Nothing goes to a name nobody gave.
pub(super) fn names(conn: &Connection, own: &NodeId) -> rusqlite::Result<Vec<Quarantined>> {
    for (kind, table) in [(0, sums::NODE), (1, sums::LANE)] {
        copy(conn, kind, table)?;
    }
    let mut lost = Vec::new();
    let nodes = "SELECT 0 AS no UNION SELECT peer FROM owed UNION SELECT origin FROM pack
        UNION SELECT peer FROM receipt";
    let lanes = "SELECT lane AS no FROM owed UNION SELECT lane FROM pack";
    for (kind, table, used) in [(0, sums::NODE, nodes), (1, sums::LANE, lanes)] {
        let sql = format!(
            "SELECT no FROM ({used}) WHERE no NOT IN (SELECT no FROM {})",
            table.name
        );
        for no in numbers(conn, &sql)? {
            let name = if kind == 0 && no == 0 {
                own.to_string()
            } else {
                lost.push(Quarantined::new(
                    table.name,
                    format!("row no {no}"),
                    "its name is lost",
                ));
                format!("lost-{no}")
            };
            sums::set(conn, table, &[int(no), text(&name)])?;
        }
        copy(conn, kind, table)?;
    }
    Ok(lost)
}

/// Fills the gaps of either copy of names from the other.
fn copy(conn: &Connection, kind: i64, table: Summed) -> rusqlite::Result<()> {
    let missing = |sql: String| -> rusqlite::Result<Vec<(i64, String)>> {
        let mut query = conn.prepare(&sql)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let name = table.name;
    for (no, word) in missing(format!(
        "SELECT no, name FROM named WHERE kind = {kind} AND no NOT IN (SELECT no FROM {name})"
    ))? {
        sums::set(conn, table, &[int(no), text(&word)])?;
    }
    for (no, word) in missing(format!(
        "SELECT no, name FROM {name} WHERE no NOT IN (SELECT no FROM named WHERE kind = {kind})"
    ))? {
        sums::set(conn, sums::NAMED, &[int(kind), int(no), text(&word)])?;
    }
    Ok(())
}

fn numbers(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<i64>> {
    let mut query = conn.prepare(sql)?;
    let rows = query.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// An audit head with which no entry could follow says what the last entry does. One
/// that only disagrees with the chain is left for whoever verifies it.
pub(super) fn audit_head(conn: &Connection) -> LedgerResult<Option<Quarantined>> {
    /// No chain grows by so many entries between two starts.
    const FAR: i64 = 1 << 32;
    let last: Option<(i64, Vec<u8>)> = conn
        .query_row(
            "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let noted = conn
        .query_row("SELECT seq, hash FROM audit_head WHERE no = 0", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?))
        })
        .optional();
    let seq = last.as_ref().map_or(0, |(seq, _)| *seq);
    let usable = match &noted {
        Ok(None) => last.is_none(),
        Ok(Some((noted, _))) => (seq..seq.saturating_add(FAR)).contains(noted),
        Err(_) => false,
    };
    if usable {
        return Ok(None);
    }
    conn.execute("DELETE FROM audit_head", [])?;
    if let Some((seq, hash)) = last {
        conn.execute("INSERT INTO audit_head VALUES (0, ?1, ?2)", (seq, hash))?;
    }
    Ok(Some(Quarantined::new(
        "audit_head",
        "the head of the audit chain".into(),
        "no entry could follow it",
    )))
}

/// A member's own row is gone: the rest of its pack must not speak for it. Only if the
/// rest counts one fewer than its pack would have otherwise, so that a number that
/// reads wrong here takes nothing from another pack.
pub(super) fn member_gone(conn: &Connection, entry: &Quarantined) -> rusqlite::Result<()> {
    let (Some(pack), Some(part), Some(peer)) = (entry.pack, entry.part, entry.peer) else {
        return Ok(());
    };
    if part < 0 {
        return Ok(());
    }
    let key = [int(pack.0 as i64), int(peer.0.into()), int(part)];
    let speaks = "SELECT r.count < p.count - (SELECT count(*) FROM
          (SELECT o.part FROM owed o WHERE o.pack = ?1 AND o.peer = ?2 AND o.part >= 0
           UNION SELECT g.part FROM gone g WHERE g.pack = ?1 AND g.peer = ?2))
        FROM owed r JOIN pack p ON p.no = r.pack
        WHERE r.pack = ?1 AND r.peer = ?2 AND r.part = -1 AND ?3 < p.count";
    let short: Option<bool> = conn
        .query_row(speaks, (pack.0 as i64, peer.0, part), |row| row.get(0))
        .optional()?;
    if short == Some(true) {
        sums::set(conn, sums::GONE, &key)?;
    }
    Ok(())
}
