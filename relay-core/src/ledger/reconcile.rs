//! What is left after damage is made to agree with itself.
//!
//! Rows are the truth of what is waiting; counters of what is over. Numbers that can be
//! counted are counted anew; what the books miss then is what the damage cost, and is
//! entered as quarantined, by peer and lane (semantics 2.4). All in one transaction.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::LedgerResult;
use super::counters::{BOOKS, Counters, Home};
use super::held::{self, Held, OPEN_END};
use super::quarantine::{self, Quarantined};
use super::sums::{self, int};
use crate::change::Book;
use crate::delivery::StateName;
use crate::id::{LaneNo, NodeNo, PackNo};

type Stream = (NodeNo, LaneNo);

/// Whether rows, what was counted of them, and the books say the same. Each can be sound,
/// and of another moment than the others: a copy made while it was written to.
pub(super) fn agree(conn: &Connection) -> LedgerResult<bool> {
    let counters = Counters::load(conn)?;
    let mut query = conn.prepare(
        "SELECT peer, lane, state, count(*), sum(count), sum(bytes) FROM owed
         GROUP BY peer, lane, state",
    )?;
    let rows = query.query_map([], |row| {
        let stream = (NodeNo(row.get(0)?), LaneNo(row.get(1)?), row.get(2)?);
        Ok((stream, [row.get(3)?, row.get(4)?, row.get(5)?]))
    })?;
    let there = rows.collect::<rusqlite::Result<BTreeMap<(NodeNo, LaneNo, u8), [i64; 3]>>>()?;
    let counted = counters
        .depths()
        .into_iter()
        .filter_map(|(peer, lane, state, depth)| {
            let depth = [depth.parcels, depth.count, depth.bytes].map(|n| n as i64);
            (depth != [0; 3]).then_some(((peer, lane, state as u8), depth))
        });
    let add_up = |sums: &Sums| sums.missing() == 0 && sums.of(Book::Deadletter) == sums.parked;
    Ok(counted.eq(there) && streams(&counters).values().all(add_up))
}

/// Makes the tables agree after `found` was taken out of them; answers all that is in
/// quarantine for it. `lost_counters` says that books may have gone too.
pub(super) fn reconcile(
    conn: &Connection,
    mut found: Vec<Quarantined>,
    lost_counters: bool,
) -> LedgerResult<Vec<Quarantined>> {
    let mut lost = orphans(conn)?;
    lost.extend(uncounted(conn)?);
    hear_all(conn)?;
    files(conn)?;
    counted(conn)?;
    found.extend(balance(conn, lost, lost_counters)?);
    quarantine::write(conn, &found)?;
    Ok(found)
}

/// Rows of what is owed of packs that are not here leave, with all else about them.
fn orphans(conn: &Connection) -> rusqlite::Result<Vec<Quarantined>> {
    const ORPHANS: &str = "pack NOT IN (SELECT no FROM pack)";
    let lost = taken(conn, ORPHANS, "the row of its pack is gone")?;
    conn.execute_batch(&format!(
        "DELETE FROM owed WHERE {ORPHANS};
         DELETE FROM attempt WHERE {ORPHANS};
         DELETE FROM gone WHERE {ORPHANS};"
    ))?;
    Ok(lost)
}

/// The rest of a pack that counts other members than it speaks for leaves: some
/// member's own row is gone, and nobody knows which.
fn uncounted(conn: &Connection) -> rusqlite::Result<Vec<Quarantined>> {
    const ASTRAY: &str = "part = -1 AND state <> 3 AND count <>
        (SELECT p.count FROM pack p WHERE p.no = owed.pack) - (SELECT count(*) FROM
          (SELECT o.part FROM owed o WHERE o.pack = owed.pack AND o.peer = owed.peer AND o.part >= 0
           UNION SELECT g.part FROM gone g WHERE g.pack = owed.pack AND g.peer = owed.peer))";
    let lost = taken(conn, ASTRAY, "members of its pack are gone")?;
    conn.execute_batch(&format!("DELETE FROM owed WHERE {ASTRAY}"))?;
    Ok(lost)
}

fn taken(conn: &Connection, which: &str, why: &str) -> rusqlite::Result<Vec<Quarantined>> {
    let mut query = conn.prepare(&format!(
        "SELECT pack, part, peer, lane, count, bytes FROM owed WHERE state <> 3 AND {which}"
    ))?;
    let rows = query.query_map([], |row| {
        let pack: i64 = row.get(0)?;
        Ok(Quarantined {
            pack: Some(PackNo(pack as u64)),
            part: Some(row.get(1)?),
            peer: Some(NodeNo(row.get(2)?)),
            lane: Some(LaneNo(row.get(3)?)),
            segments: row.get::<_, u32>(4)?.into(),
            bytes: row.get::<_, i64>(5)? as u64,
            ..Quarantined::new("delivery", format!("pack {pack}"), why)
        })
    })?;
    rows.collect()
}

/// What a sender may still repeat is looked up: nothing below its highest receipt is
/// taken for new, in whatever lane.
fn hear_all(conn: &Connection) -> rusqlite::Result<()> {
    let missing: Vec<[i64; 3]> = {
        let mut query = conn.prepare(
            "SELECT r.ledger, l.no, r.sent FROM lane l JOIN
               (SELECT ledger, max(sent_pack) AS sent FROM receipt GROUP BY ledger) r
             LEFT JOIN heard h ON h.ledger = r.ledger AND h.lane = l.no
             WHERE h.pack IS NULL OR h.pack < r.sent",
        )?;
        let rows = query.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
        rows.collect::<Result<_, _>>()?
    };
    for row in missing {
        sums::set(conn, sums::HEARD, &row.map(int))?;
    }
    Ok(())
}

/// Which packs a log file holds is what their rows say.
fn files(conn: &Connection) -> rusqlite::Result<()> {
    let mut all: Vec<(u32, Held)> = {
        let mut query = conn.prepare(
            "SELECT file, max(generation), min(CASE WHEN moved IS NULL THEN no END),
               max(CASE WHEN moved IS NULL THEN no END), max(no)
             FROM pack WHERE file IS NOT NULL GROUP BY file ORDER BY 2",
        )?;
        let rows = query.query_map([], |row| {
            let number = |at| row.get::<_, Option<i64>>(at);
            let any = number(4)?.unwrap_or(0);
            let held = Held {
                generation: number(1)?.unwrap_or(0) as u64,
                first: PackNo(number(2)?.unwrap_or(any) as u64),
                last: PackNo(number(3)?.unwrap_or(any) as u64),
            };
            Ok((row.get(0)?, held))
        })?;
        rows.collect::<Result<_, _>>()?
    };
    if let Some((_, newest)) = all.last_mut() {
        newest.last = PackNo(OPEN_END);
    }
    conn.execute_batch("DELETE FROM log_file")?;
    for (no, held) in all {
        held::write(conn, no, held)?;
    }
    Ok(())
}

/// Everything that can be counted from rows is.
fn counted(conn: &Connection) -> LedgerResult<()> {
    let mut counts = super::counters::Recount::begin(conn)?;
    let mut depths = conn.prepare(
        "SELECT peer, lane, state, count(*), sum(count), sum(bytes) FROM owed
         GROUP BY peer, lane, state",
    )?;
    let mut rows = depths.query([])?;
    while let Some(row) = rows.next()? {
        let stream = (NodeNo(row.get(0)?), LaneNo(row.get(1)?), row.get(2)?);
        counts.depth(stream, [row.get(3)?, row.get(4)?, row.get(5)?]);
    }
    let mut pins = conn.prepare(
        "SELECT p.no, p.file, count(*) FROM pack p JOIN owed o ON o.pack = p.no
         WHERE o.state <> 3 GROUP BY p.file, CASE WHEN p.file IS NULL THEN p.no END",
    )?;
    let mut rows = pins.query([])?;
    while let Some(row) = rows.next()? {
        let pack = PackNo(row.get::<_, i64>(0)? as u64);
        let home = row.get::<_, Option<u32>>(1)?;
        counts.pins(home.map_or(Home::Payload(pack), Home::Log), row.get(2)?);
    }
    let mut receipts = conn.prepare("SELECT peer, count(*) FROM receipt GROUP BY peer")?;
    let mut rows = receipts.query([])?;
    while let Some(row) = rows.next()? {
        counts.unsettled(NodeNo(row.get(0)?), row.get(1)?);
    }
    let totals = "SELECT (SELECT count(*) FROM put_key), count(*), coalesce(sum(length(ids)), 0),
        (SELECT count(*) FROM pack) FROM mark";
    let totals = conn.query_row(totals, [], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
    })?;
    counts.totals(totals);
    counts.end(conn)?;
    let mut payloads = conn.prepare("SELECT no FROM pack WHERE name IS NOT NULL")?;
    let mut rows = payloads.query([])?;
    while let Some(row) = rows.next()? {
        super::counters::note_pins(conn, PackNo(row.get::<_, i64>(0)? as u64))?;
    }
    Ok(())
}

/// The books of a stream.
#[derive(Default)]
struct Sums {
    books: BTreeMap<Book, i64>,
    waiting: i64,
    parked: i64,
}

impl Sums {
    fn of(&self, book: Book) -> i64 {
        self.books.get(&book).copied().unwrap_or(0)
    }

    /// What is put and stands nowhere.
    fn missing(&self) -> i64 {
        let over = BOOKS
            .iter()
            .filter(|book| !matches!(book, Book::Put | Book::Deadletter));
        let known = over.map(|book| self.of(*book)).sum::<i64>() + self.waiting + self.parked;
        self.of(Book::Put) - known
    }
}

/// Enters as quarantined what the books miss, and says what of it is known.
fn balance(
    conn: &Connection,
    lost: Vec<Quarantined>,
    lost_counters: bool,
) -> LedgerResult<Vec<Quarantined>> {
    let mut found = Vec::new();
    let mut lost = lost;
    for (stream, sums) in streams(&Counters::load(conn)?) {
        let missing = settle(conn, stream, &sums, lost_counters)?;
        name_lost(stream, missing, &mut lost, &mut found);
    }
    Ok(found)
}

/// What is counted of each stream.
fn streams(counters: &Counters) -> BTreeMap<Stream, Sums> {
    let mut streams: BTreeMap<Stream, Sums> = BTreeMap::new();
    for (peer, lane, book, value) in counters.books() {
        let sums = streams.entry((peer, lane)).or_default();
        sums.books.insert(book, value);
    }
    for (peer, lane, state, depth) in counters.depths() {
        let sums = streams.entry((peer, lane)).or_default();
        match state {
            StateName::Scheduled | StateName::Inflight | StateName::Failed => {
                sums.waiting += depth.count as i64;
            }
            StateName::Deadletter => sums.parked += depth.count as i64,
            StateName::Acked => {}
        }
    }
    streams
}

/// Writes the books of a stream so that they add up; answers what is quarantined for it.
fn settle(
    conn: &Connection,
    stream: Stream,
    sums: &Sums,
    lost_counters: bool,
) -> rusqlite::Result<u64> {
    let of = |book| sums.of(book);
    let set = |book, value| super::counters::set_book(conn, stream, book, value);
    set(Book::Deadletter, sums.parked)?;
    let missing = sums.missing();
    let has_acked = sums.books.contains_key(&Book::Acked);
    if lost_counters && !sums.books.contains_key(&Book::Put) {
        set(Book::Put, -missing)?;
        return Ok(0);
    }
    if missing >= 0 {
        let into = if lost_counters && !has_acked {
            Book::Acked
        } else {
            Book::Quarantined
        };
        set(into, of(into) + missing)?;
        return Ok(if into == Book::Quarantined {
            missing as u64
        } else {
            0
        });
    }
    // Rows of what was over came back: they are offered again.
    let back = of(Book::Acked).min(-missing);
    set(Book::Acked, of(Book::Acked) - back)?;
    set(Book::Put, of(Book::Put) - missing - back)?;
    Ok(0)
}

/// Which deliveries they were, as far as rows say; the others in one entry.
fn name_lost(
    (peer, lane): Stream,
    missing: u64,
    lost: &mut Vec<Quarantined>,
    found: &mut Vec<Quarantined>,
) {
    let mut left = missing;
    lost.retain(|entry| {
        if (entry.peer, entry.lane) != (Some(peer), Some(lane)) {
            return true;
        }
        let segments = entry.segments.min(left);
        left -= segments;
        if segments > 0 {
            found.push(Quarantined {
                segments,
                ..entry.clone()
            });
        }
        false
    });
    if left > 0 {
        found.push(Quarantined {
            peer: Some(peer),
            lane: Some(lane),
            segments: left,
            ..Quarantined::new(
                "delivery",
                format!("owed to node {} in lane {}", peer.0, lane.0),
                "its row is damaged",
            )
        });
    }
}
