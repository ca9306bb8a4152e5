//! Rows in a page of a SQLite file, read without the tree around it.
//!
//! The format is SQLite's (<https://www.sqlite.org/fileformat2.html>, sections 1.6 and
//! 2.1): leaves of tables, leaves and inner pages of indexes, of which a table without
//! rowids is one. Every length is checked; a cell that makes no sense is no row.

use rusqlite::types::Value;

use super::super::schema::PAGE;
use super::pages::Pages;

/// A row as it lies in a cell.
pub(super) struct Cell {
    /// Its rowid, in a table that has them.
    pub(super) rowid: Option<i64>,
    /// Its columns; of an integer primary key NULL lies here.
    pub(super) columns: Vec<Value>,
}

const INDEX_INNER: u8 = 2;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;
/// No row of ours is longer: a table of the largest pack.
const LONGEST: u64 = 4 << 20;

/// The rows of page `no`, whose bytes are `page`.
pub(super) fn rows(pages: &mut Pages, no: u32, page: &[u8]) -> Vec<Cell> {
    let header = if no == 1 { 100 } else { 0 };
    let kind = page[header];
    let pointers = match kind {
        INDEX_INNER => header + 12,
        INDEX_LEAF | TABLE_LEAF => header + 8,
        _ => return Vec::new(),
    };
    let count = usize::from(short(page, header + 3)).min(PAGE as usize / 4);
    let cells = (0..count).filter_map(|n| {
        let at = pointers + 2 * n;
        (at + 2 <= page.len()).then(|| usize::from(short(page, at)))
    });
    cells
        .filter_map(|at| cell(pages, page.get(at..)?, kind))
        .collect()
}

fn cell(pages: &mut Pages, mut rest: &[u8], kind: u8) -> Option<Cell> {
    if kind == INDEX_INNER {
        rest = rest.get(4..)?;
    }
    let length = u64::from_ne_bytes(varint(&mut rest)?.to_ne_bytes());
    let rowid = match kind {
        TABLE_LEAF => Some(varint(&mut rest)?),
        _ => None,
    };
    if length > LONGEST {
        return None;
    }
    let local = local_part(length, kind == TABLE_LEAF) as usize;
    let mut payload = rest.get(..local)?.to_vec();
    if (local as u64) < length {
        let next = rest.get(local..local + 4)?;
        let next = u32::from_be_bytes(next.try_into().ok()?);
        overflow(pages, next, length as usize, &mut payload)?;
    }
    Some(Cell {
        rowid,
        columns: record(&payload)?,
    })
}

/// How much of a payload lies in the cell itself.
const fn local_part(length: u64, is_table: bool) -> u64 {
    let usable = PAGE;
    let most = if is_table {
        usable - 35
    } else {
        (usable - 12) * 64 / 255 - 23
    };
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (usable - 4);
    if fitting <= most { fitting } else { least }
}

/// Gathers the rest of a payload from the chain of pages it goes on in.
fn overflow(pages: &mut Pages, mut next: u32, length: usize, payload: &mut Vec<u8>) -> Option<()> {
    let mut page = vec![0u8; PAGE as usize];
    while payload.len() < length {
        if next == 0 || !pages.read(next, &mut page) {
            return None;
        }
        next = u32::from_be_bytes(page[..4].try_into().ok()?);
        let more = (length - payload.len()).min(page.len() - 4);
        payload.extend_from_slice(&page[4..4 + more]);
    }
    Some(())
}

/// The columns of a record: a header of types, then the values.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let mut types = payload;
    let header = usize::try_from(varint(&mut types)?).ok()?;
    let begun = payload.len() - types.len();
    types = payload.get(begun..header)?;
    let mut body = payload.get(header..)?;
    let mut columns = Vec::new();
    while !types.is_empty() {
        columns.push(value(varint(&mut types)?, &mut body)?);
    }
    Some(columns)
}

fn value(kind: i64, body: &mut &[u8]) -> Option<Value> {
    let mut take = |length: usize| {
        let (taken, rest) = body.split_at_checked(length)?;
        *body = rest;
        Some(taken)
    };
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind as usize,
        5 => 6,
        6 => 8,
        12.. => usize::try_from((kind - 12) / 2).ok()?,
        _ => return None,
    };
    let bytes = take(length)?;
    Some(match kind {
        0 => Value::Null,
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        1..=6 => {
            let negative = bytes[0] & 0x80 != 0;
            let start = if negative { -1i64 } else { 0 };
            let all = bytes.iter();
            Value::Integer(all.fold(start, |sum, byte| (sum << 8) | i64::from(*byte)))
        }
        _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
        _ => Value::Text(String::from_utf8(bytes.to_vec()).ok()?),
    })
}

/// SQLite's number of one to nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for n in 0..9 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        if n == 8 {
            value = (value << 8) | u64::from(*first);
            break;
        }
        value = (value << 7) | u64::from(first & 0x7f);
        if first & 0x80 == 0 {
            break;
        }
    }
    Some(value as i64)
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
