//! Every table whose rows tell by themselves whether they are as they were written.
//!
//! One list for all who look for damage: the check at start, salvage, `fsck`.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::place::{Place, read_pack};
use super::rows::{column, read_owed};
use super::sums::{self, SUMMED, Summed};
use super::{audit, partial, reader, settings, spooled};
use crate::segment::Digest;

/// One table.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// What names a row of it.
    pub(super) key: &'static [&'static str],
    /// Whether the first column is the rowid, so that it is not stored as a column.
    pub(super) has_rowid: bool,
    /// Which columns say of what is owed: pack, part, peer, lane, count, bytes.
    pub(super) owed: [Option<usize>; 6],
    sound: Sound,
}

#[derive(Clone, Copy)]
enum Sound {
    /// By the sum of small rows.
    Summed(Summed),
    /// By the reader of its rows.
    Read(fn(&Row<'_>) -> bool),
}

impl Table {
    const fn of(name: &'static str, key: &'static [&'static str], sound: Sound) -> Self {
        Self {
            name,
            key,
            has_rowid: false,
            owed: [None; 6],
            sound,
        }
    }

    const fn with_rowid(mut self) -> Self {
        self.has_rowid = true;
        self
    }

    const fn about(mut self, owed: [Option<usize>; 6]) -> Self {
        self.owed = owed;
        self
    }

    /// Whether a row, all its columns in order, is as it was written.
    pub(super) fn is_sound(&self, row: &Row<'_>) -> bool {
        match self.sound {
            Sound::Summed(table) => sums::is_sound(table, row),
            Sound::Read(read) => read(row),
        }
    }

    /// What a column of this row says of what is owed.
    pub(super) fn about_owed(&self, row: &Row<'_>, which: usize) -> Option<i64> {
        match row.get_ref(self.owed[which]?) {
            Ok(ValueRef::Integer(value)) => Some(value),
            _ => None,
        }
    }
}

/// All of them; what is owed after its packs, and the names first.
pub(super) fn all() -> Vec<Table> {
    let small = summed();
    let read = [
        Table::of("pack", &["no"], Sound::Read(pack))
            .with_rowid()
            .about([Some(0), None, None, Some(1), Some(4), Some(5)]),
        Table::of("owed", &["pack", "part", "peer"], Sound::Read(owed)).about([
            Some(0),
            Some(1),
            Some(2),
            Some(3),
            Some(4),
            Some(5),
        ]),
        Table::of("receipt", &["no"], Sound::Read(reader::is_receipt)).with_rowid(),
        Table::of("put_key", &["uid", "key"], Sound::Read(reader::is_key)),
        Table::of("setting", &["name"], Sound::Read(settings::is_sound)),
        Table::of("spooled", &["segment"], Sound::Read(spooled::is_sound)),
        Table::of("partial", &["no"], Sound::Read(partial::is_sound)).with_rowid(),
    ];
    small.chain(read).collect()
}

/// Those whose rows carry sums of the same kind.
pub(super) fn summed() -> impl Iterator<Item = Table> {
    SUMMED.iter().map(|table| small(*table))
}

/// The audit chain: what is wrong with it is for whoever verifies it to say.
pub(super) fn audit_chain() -> Table {
    Table::of("audit", &["seq"], Sound::Read(audit::is_sound)).with_rowid()
}

fn small(table: Summed) -> Table {
    let (key, has_rowid): (&'static [&'static str], bool) = match table.name {
        "meta" => (&["name"], false),
        "named" => (&["kind", "no"], false),
        "counter" => (&["kind", "a", "b", "c"], false),
        "heard" => (&["ledger", "lane"], false),
        "gone" => (&["pack", "peer", "part"], false),
        "meter" => (&["kind", "who", "minute"], false),
        "attempt" => (&["pack", "part", "peer", "number"], false),
        "mark" => (&["pack"], true),
        _ => (&["no"], true),
    };
    Table {
        has_rowid,
        ..Table::of(table.name, key, Sound::Summed(table))
    }
}

fn owed(row: &Row<'_>) -> bool {
    read_owed(row, 0).is_ok()
}

/// A pack's row says where its bytes are; a table that lies in the row has its digest.
fn pack(row: &Row<'_>) -> bool {
    read_pack(row, 0).is_ok_and(|pack| match &pack.place {
        Place::Log { .. } => column::<Option<Vec<u8>>>(row, 16).is_ok(),
        Place::Payload { table, .. } | Place::GivenUp(table) => {
            Digest::of(table) == pack.info.table
        }
    })
}
