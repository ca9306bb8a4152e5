//! The pages of a database that SQLite will not open, newest first of each.
//!
//! A page is the last frame of the write-ahead log that was committed, or what lies in
//! the database. Nothing is checked here: rows tell by their own sums what they are
//! worth. A page the disk does not give is passed over and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::schema::PAGE;
use super::super::wal::{FRAME_HEADER, HEADER, word};

/// Where pages are read from.
pub(super) struct Pages {
    database: Option<File>,
    wal: Option<File>,
    /// How many the database file holds.
    count: u32,
    /// Offsets in the log of pages committed there.
    newer: BTreeMap<u32, u64>,
    /// Those the database says are free.
    free: BTreeSet<u32>,
    /// Pages the disk did not give.
    pub(super) unreadable: u64,
}

impl Pages {
    /// Opens what there is of the two files.
    pub(super) fn open(database: &Path, wal: &Path) -> io::Result<Self> {
        let database = existing(database)?;
        let wal = existing(wal)?;
        let length = database.as_ref().map_or(Ok(0), length)?;
        let mut pages = Self {
            count: u32::try_from(length.div_ceil(PAGE)).unwrap_or(u32::MAX),
            database,
            newer: BTreeMap::new(),
            free: BTreeSet::new(),
            wal,
            unreadable: 0,
        };
        pages.index_wal()?;
        pages.find_free();
        Ok(pages)
    }

    /// Finds the last committed frame of each page.
    fn index_wal(&mut self) -> io::Result<()> {
        let Some(wal) = &self.wal else {
            return Ok(());
        };
        let mut salts = salts(wal)?;
        let mut uncommitted = BTreeMap::new();
        let frame = FRAME_HEADER + PAGE;
        for no in 0..length(wal)?.saturating_sub(HEADER) / frame {
            let at = HEADER + no * frame;
            let mut head = [0u8; FRAME_HEADER as usize];
            if wal.read_exact_at(&mut head, at).is_err() {
                continue;
            }
            let own = (word(&head, 2), word(&head, 3));
            if own != *salts.get_or_insert(own) {
                continue;
            }
            uncommitted.insert(word(&head, 0), at + FRAME_HEADER);
            if word(&head, 1) > 0 {
                self.newer.append(&mut uncommitted);
            }
        }
        Ok(())
    }

    /// Follows the list of free pages, as far as it can be read: rows there are gone.
    fn find_free(&mut self) {
        let mut page = vec![0u8; PAGE as usize];
        if !self.read(1, &mut page) {
            return;
        }
        let mut trunk = word(&page, 32 / 4);
        while trunk > 1 && self.free.insert(trunk) && self.read(trunk, &mut page) {
            let leaves = (word(&page, 1) as usize).min(PAGE as usize / 4 - 2);
            let leaves = (0..leaves).map(|n| word(&page, 2 + n));
            self.free.extend(leaves.filter(|leaf| *leaf > 1));
            trunk = word(&page, 0);
        }
    }

    /// Every page number there is.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        // Beyond the file only what the log names: such a number may be the damage.
        let beyond = self.newer.range(self.count.saturating_add(1)..);
        let beyond: Vec<u32> = beyond.map(|(no, _)| *no).collect();
        let free = self.free.clone();
        (1..=self.count)
            .chain(beyond)
            .filter(move |no| !free.contains(no))
    }

    /// Reads page `no`; `false` if there is none, or the disk does not give it.
    pub(super) fn read(&mut self, no: u32, page: &mut [u8]) -> bool {
        let (file, at) = match self.newer.get(&no) {
            Some(at) => (&self.wal, *at),
            None => (&self.database, u64::from(no).saturating_sub(1) * PAGE),
        };
        let Some(file) = file else {
            return false;
        };
        match read_part(file, page, at) {
            Ok(found) => found,
            Err(_) => {
                self.unreadable += 1;
                false
            }
        }
    }
}

/// Fills `page`, with zeros behind the end of the file; `false` if nothing is there.
/// The salts of the frames that hold: those of the header, if a frame has them; otherwise
/// those of the first two frames that agree, since either may be the damage.
fn salts(wal: &File) -> io::Result<Option<(u32, u32)>> {
    let mut header = [0u8; HEADER as usize];
    if !read_part(wal, &mut header, 0)? {
        return Ok(None);
    }
    let said = (word(&header, 4), word(&header, 5));
    let (mut agreed, mut before) = (None, None);
    for no in 0..length(wal)?.saturating_sub(HEADER) / (FRAME_HEADER + PAGE) {
        let mut head = [0u8; FRAME_HEADER as usize];
        let at = HEADER + no * (FRAME_HEADER + PAGE);
        if !read_part(wal, &mut head, at).unwrap_or(false) {
            continue;
        }
        let own = (word(&head, 2), word(&head, 3));
        if own == said {
            return Ok(Some(said));
        }
        if agreed.is_none() && before == Some(own) {
            agreed = Some(own);
        }
        before = Some(own);
    }
    Ok(agreed.or(before))
}

fn read_part(file: &File, page: &mut [u8], at: u64) -> io::Result<bool> {
    let mut filled = 0;
    while filled < page.len() {
        match file.read_at(&mut page[filled..], at + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    page[filled..].fill(0);
    Ok(filled > 0)
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn length(file: &File) -> io::Result<u64> {
    file.metadata().map(|found| found.len())
}
