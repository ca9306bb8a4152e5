//! A ledger whose rows and files somebody has written to.
//!
//! A small ledger with a row of every kind is copied, damaged as the bytes say (values
//! of columns, rows that go, bytes of its files, files cut short), opened, and read in
//! every way there is.
//!
//! Promised: it opens or says why not; every reader answers or says why not, and pages
//! end; what is put afterwards is stored or refused.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use relay_core::audit::{AuditEvent, AuditRecord};
use relay_core::change::{AttemptRow, Book, Change, Due, OwedRow, Part};
use relay_core::delivery::{Attempt, Outcome, State};
use relay_core::event::Caller;
use relay_core::id::SegmentId;
use relay_core::id::{BootEpoch, LaneNo, LedgerId, NodeNo, PackNo, PartialNo, ReceiptNo, Ticket};
use relay_core::ledger::{
    AuditFilter, DeliveryFilter, Durability, InboxFilter, Ledger, Listing, Options, Place, Reader,
};
use relay_core::meter::{Meter, Metered};
use relay_core::partial::PartialRow;
use relay_core::segment::Digest;
use relay_core::setting::{Setting, Value};
use relay_core::spool::{FileMark, Spooled, SpooledRow};
use relay_core::time::Unix;
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use tempfile::TempDir;

use super::Numbers;
use disk::{Disk, LANE, NOW, PEER, STRANGER, key, owed_as, receipt};

#[path = "../ledger/disk.rs"]
#[allow(dead_code, reason = "the tests of the ledger use the rest of it")]
mod disk;

/// Damage done to one ledger at most: each costs a statement.
const MOST: usize = 16;
/// Rows of a page.
const PAGE: usize = 3;
/// Pages of one list at most: there are some twenty rows.
const MOST_PAGES: usize = 200;

/// What is done to the ledger, seven numbers a step.
///
/// # Panics
/// When a promise is broken.
pub fn play(bytes: &[u8]) {
    let sample = sample();
    let dir = folder();
    for (name, bytes) in &sample.files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("a folder");
        fs::write(path, bytes).expect("a copy");
    }
    let mut numbers = Numbers(bytes);
    let mut steps = 0;
    while !numbers.is_over() && steps < MOST {
        damage(sample, dir.path(), &mut numbers);
        steps += 1;
    }
    let Ok((mut ledger, _)) = Ledger::open(dir.path(), sample.options.clone(), NOW) else {
        return;
    };
    if let Ok(mut reader) = ledger.reader() {
        read(&mut reader);
    }
    write(&mut ledger);
}

struct Sample {
    options: Options,
    files: Vec<(PathBuf, Vec<u8>)>,
    tables: Vec<Table>,
}

struct Table {
    name: String,
    columns: Vec<String>,
    keys: Vec<String>,
}

/// In memory where there is such a file system: there are thousands of these a minute.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    made.expect("a folder")
}

fn damage(sample: &Sample, dir: &Path, numbers: &mut Numbers<'_>) {
    let (what, which) = (numbers.byte(), usize::from(numbers.byte()));
    if what < 200 {
        let table = &sample.tables[which % sample.tables.len()];
        let (row, column) = (numbers.byte(), usize::from(numbers.byte()));
        let column = &table.columns[column % table.columns.len()];
        let value = match what % 8 {
            0 => None,
            1 | 2 => Some(Sql::Integer(numbers.long() as i64)),
            3 => Some(Sql::Integer(i64::from(numbers.byte() as i8))),
            4 => Some(Sql::Null),
            5 => Some(Sql::Text(text(numbers))),
            6 => Some(Sql::Real(f64::from_bits(numbers.long()))),
            _ => Some(Sql::Blob(blob(numbers).to_vec())),
        };
        // What breaks a rule of the schema is refused by SQLite, and that is well.
        let _ = change(dir, table, row, column, value);
        return;
    }
    let (name, _) = &sample.files[which % sample.files.len()];
    let file = fs::File::options().write(true).open(dir.join(name));
    let file = file.expect("a file of the copy");
    let at = numbers.long() % (64 << 10);
    if what < 250 {
        file.write_all_at(blob(numbers), at).expect("it is written");
    } else {
        file.set_len(at).expect("it is cut");
    }
}

fn blob<'a>(numbers: &mut Numbers<'a>) -> &'a [u8] {
    let length = usize::from(numbers.byte());
    numbers.take(length)
}

fn text(numbers: &mut Numbers<'_>) -> String {
    String::from_utf8_lossy(blob(numbers)).into_owned()
}

/// Sets one column of the `row`-th row, or removes that row.
fn change(
    dir: &Path,
    table: &Table,
    row: u8,
    column: &str,
    value: Option<Sql>,
) -> rusqlite::Result<usize> {
    let conn = Connection::open(dir.join("ledger.db"))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    let (name, keys) = (&table.name, table.keys.join(", "));
    let chosen = format!(
        "({keys}) = (SELECT {keys} FROM {name} ORDER BY {keys}
           LIMIT 1 OFFSET {row} % max(1, (SELECT count(*) FROM {name})))"
    );
    match value {
        None => conn.execute(&format!("DELETE FROM {name} WHERE {chosen}"), []),
        Some(value) => conn.execute(
            &format!("UPDATE {name} SET {column} = ?1 WHERE {chosen}"),
            [value],
        ),
    }
}

/// Every question there is; an error is an answer.
fn read(reader: &mut Reader) {
    let all = DeliveryFilter::default();
    let _ = reader.tally();
    pages(|after: Option<Place>| reader.deliveries(&all, after, PAGE).ok());
    pages(|after| reader.segments(&all, after, PAGE).ok());
    pages(|after: Option<Place>| reader.parked(&all, after, PAGE).ok());
    pages(|after: Option<Place>| reader.inbox(&InboxFilter::default(), after, PAGE).ok());
    for peer in [NodeNo::LOCAL, PEER, STRANGER] {
        let _ = reader.page(peer, LANE, None, PAGE);
        let _ = reader.owing(peer, None, PAGE);
        let _ = reader.recall(peer, ReceiptNo(0), PAGE);
        for standby in [false, true] {
            let _ = reader.look_through(peer, standby, PackNo(0), PAGE);
        }
    }
    let _ = reader.expired(Unix(u64::MAX >> 1), None, PAGE);
    let _ = reader.stuck(None, PAGE);
    let _ = reader.find_key(&key("k", 1).name);
    let _ = reader.any_ready(NOW);
    let prefix = format!("seg-{:08x}", NOW.0 >> 16)
        .parse()
        .expect("a prefix");
    let _ = reader.inspect(prefix, PAGE);
    let ids = [(SegmentId::v7(NOW.0, 1 << 20), Digest::of(b"one"))];
    let _ = reader.look_up(STRANGER, &ids);
    for no in 1..=8 {
        let _ = reader.load(PackNo(no));
        let _ = reader.table(PackNo(no));
        let _ = reader.group(PackNo(no));
        let _ = reader.need(PackNo(no));
    }
    let _ = reader.audit(&AuditFilter::default(), None, PAGE);
    let _ = reader.audit_summary(&AuditFilter::default());
    let _ = reader.audit_from(0, PAGE);
    let _ = reader.audit_older(Unix(u64::MAX >> 1));
    let _ = reader.audit_verify();
}

/// Asks for pages to the end.
fn pages<Row, At>(mut ask: impl FnMut(Option<At>) -> Option<Listing<Row, At>>) {
    let mut after = None;
    for _ in 0..MOST_PAGES {
        match ask(after).and_then(|page| page.next) {
            None => return,
            next => after = next,
        }
    }
    panic!("after {MOST_PAGES} pages of {PAGE} rows there is another one");
}

/// A put, and what the ledger does by itself.
fn write(ledger: &mut Ledger) {
    let changes = vec![
        Change::Book {
            peer: PEER,
            lane: LANE,
            entry: Book::Put,
            by: 1,
        },
        Change::Settled(STRANGER, ReceiptNo(1)),
        Change::Audit(record()),
    ];
    let _ = ledger.commit(&[(Ticket(9), changes)], &mut |_| None, NOW);
    let _ = ledger.sweep(NOW);
    let _ = ledger.relieve(NOW);
    let _ = ledger.take(&InboxFilter::default(), PAGE, NOW, NOW);
    let _ = (ledger.books(), ledger.depths(), ledger.space());
}

fn record() -> AuditRecord {
    let caller = Caller {
        uid: 0,
        operator: Some("ann".to_owned()),
        reason: None,
    };
    let event = AuditEvent::ALL[3];
    AuditRecord::by(&caller, NOW, event, "peer", "beta".to_owned()).with("count", 3)
}

/// The ledger before it is damaged, made once a process.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let mut disk = Disk::with(|options| {
            options.log_file_bytes = 64 << 10;
            options.durability = Durability::Written;
        });
        fill(&mut disk);
        disk.close();
        fs::remove_dir_all(disk.dir.path().join("other")).expect("it is there");
        let conn = Connection::open(disk.dir.path().join("ledger.db")).expect("the database");
        conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
            .expect("one file");
        let tables = tables(&conn).expect("its tables");
        drop(conn);
        let mut files = Vec::new();
        collect(disk.dir.path(), disk.dir.path(), &mut files);
        files.sort();
        Sample {
            options: disk.options.clone(),
            files,
            tables,
        }
    })
}

/// A row of every kind.
fn fill(disk: &mut Disk) {
    for code in 0..5 {
        let (pack, _) = disk.pack(&[b"one", b"two"], NodeNo::LOCAL);
        let due = disk::due_of(&pack);
        let owed = OwedRow {
            count: 2,
            bytes: 6,
            error: Some("no\nline".to_owned()),
            ..owed_as(due, code)
        };
        disk.commit(vec![pack, Change::Owed(owed)]);
    }
    disk.arrive(&[b"in", b"coming"]);
    let member = Due {
        peer: PEER,
        pack: PackNo(1),
        part: Part::Member(1),
    };
    let attempt = Attempt {
        number: 1,
        epoch: BootEpoch(1),
        started: NOW,
        ended: Some((NOW, Outcome::Timeout)),
    };
    let file = FileMark {
        inode: 7,
        length: 3,
        modified: -1,
    };
    let no = PartialNo(5);
    fs::write(
        disk.dir.path().join("payload").join(no.file_name()),
        b"begun",
    )
    .expect("a file");
    let segment = SegmentId::v7(NOW.0, 8);
    disk.commit(vec![
        Change::Node(PEER, "beta".parse().expect("a name")),
        Change::Node(STRANGER, "gamma".parse().expect("a name")),
        Change::Lane(LANE, "bulk".parse().expect("a name")),
        Change::Owed(owed_as(member, 2)),
        Change::Attempt(AttemptRow {
            due: member,
            attempt,
            sent: 3,
            error: Some("silent".to_owned()),
        }),
        Change::Gone(Due {
            part: Part::Member(0),
            ..member
        }),
        Change::Receipt(receipt(1, PackNo(6))),
        Change::Receipt(receipt(2, PackNo(6))),
        Change::Key(key("k", 1)),
        Change::Heard(LedgerId(5), LaneNo(2), PackNo(9)),
        Change::Metered(Metered {
            meter: Meter::Node,
            minute: 10_000,
            amount: 5,
        }),
        Change::Set(Setting::Rate(Some(PEER)), Some(Value::Number(7))),
        Change::Spooled(SpooledRow {
            segment,
            from: Spooled {
                folder: "/spool".into(),
                file,
            },
        }),
        Change::Partial(PartialRow {
            no,
            peer: STRANGER,
            origin: STRANGER,
            id: segment,
            digest: Digest::of(b"whole"),
            length: 400,
            bytes: 5,
            at: NOW,
        }),
        Change::Book {
            peer: PEER,
            lane: LANE,
            entry: Book::Put,
            by: 10,
        },
        Change::Audit(record()),
        Change::Audit(record()),
    ]);
    let state = State::Failed { until: NOW };
    let (pack, _) = disk.large(&[7; 300], "0000000000000063.seg");
    fs::write(
        disk.dir.path().join("payload/0000000000000063.seg"),
        [7; 300],
    )
    .expect("a file");
    let due = disk::due_of(&pack);
    disk.commit(vec![
        pack,
        Change::Owed(OwedRow {
            state,
            bytes: 300,
            expires: Some(NOW),
            ..owed_as(due, 2)
        }),
    ]);
}

fn tables(conn: &Connection) -> rusqlite::Result<Vec<Table>> {
    let mut query = conn.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'
         ORDER BY name",
    )?;
    let names = query.query_map([], |row| row.get(0))?;
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for name in names {
        let mut query = conn.prepare("SELECT name, pk FROM pragma_table_info(?1)")?;
        let rows = query.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns: Vec<(String, i64)> = rows.collect::<Result<_, _>>()?;
        let keys = columns.iter().filter(|(_, pk)| *pk > 0);
        found.push(Table {
            keys: keys.map(|(name, _)| name.clone()).collect(),
            columns: columns.into_iter().map(|(name, _)| name).collect(),
            name,
        });
    }
    Ok(found)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("below it").to_path_buf();
            files.push((name, fs::read(&path).expect("a file")));
        }
    }
}
