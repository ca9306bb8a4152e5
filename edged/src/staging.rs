//! Bytes on their way in: in memory while they are few, in a file of their own
//! when they are many.
//!
//! Whoever takes bytes in (the socket, a link) stages them here and sends the
//! name along with the words; the driver gives the name to the core, and when
//! the core asks for a place, the journal finds the bytes by that name. A staged
//! file is written and fsynced on a blocking thread before its words are heard;
//! one that is never named by a row is removed at the next start. Its bytes count
//! against the ceiling before they are written: room for them is taken of the
//! ledger, and given back with the file or by the commit that names it.

mod partial;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use relay_core::id::StagedId;

use crate::journal::{Journal, Purpose};

pub use partial::{Moved, PartialFile};
pub use relay_core::ledger::Staged;

/// Hands out names for staged bytes and opens staged files.
#[derive(Clone, Debug)]
pub struct Staging {
    folder: Arc<Path>,
    next: Arc<AtomicU64>,
    run: u64,
    journal: Option<Journal>,
    partials: partial::Shared,
}

/// Room taken at once for a file of which nobody has said how long it gets: few
/// questions, and little held that is not used.
const STEP: u64 = 4 << 20;

impl Staging {
    /// Files go to `folder`, which exists; `run` (the boot epoch) keeps names
    /// apart from those of earlier runs.
    #[must_use]
    pub fn new(folder: &Path, run: u64) -> Self {
        Self {
            folder: folder.into(),
            next: Arc::new(AtomicU64::new(1)),
            run,
            journal: None,
            partials: partial::Shared::default(),
        }
    }

    /// The same under the ceiling that `journal` keeps; otherwise files take what
    /// they need.
    #[must_use]
    pub fn bounded_by(self, journal: Journal) -> Self {
        Self {
            journal: Some(journal),
            ..self
        }
    }

    /// Where staged files lie; it is where they stay.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name never used in this run.
    #[must_use]
    pub fn fresh(&self) -> StagedId {
        StagedId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// An empty file for a put of `length` bytes, to be filled by [`StagedFile::write`];
    /// more room is taken as it grows.
    ///
    /// # Errors
    /// [`QuotaExceeded`](std::io::ErrorKind::QuotaExceeded) when the ceiling leaves puts
    /// no room, and what the file system said.
    pub async fn create(&self, length: u64) -> std::io::Result<StagedFile> {
        self.create_in(Room::of(self.journal.clone(), Purpose::Put), length)
            .await
    }

    /// The same for something that arrives: it may use all of the ceiling.
    ///
    /// # Errors
    /// As for [`Staging::create`].
    pub async fn receive(&self, length: u64) -> std::io::Result<StagedFile> {
        self.create_in(Room::of(self.journal.clone(), Purpose::Arrival), length)
            .await
    }

    async fn create_in(&self, mut room: Room, length: u64) -> std::io::Result<StagedFile> {
        room.cover(length).await?;
        let name = format!("{:08x}-{:012x}.seg", self.run, self.fresh().0);
        let path = self.folder.join(&name);
        let mut staged = StagedFile {
            file: None,
            folder: Arc::clone(&self.folder),
            name,
            hasher: Box::new(blake3::Hasher::new()),
            length: 0,
            kept: false,
            room,
        };
        let file = blocking(move || {
            let file = File::options().write(true).create_new(true).open(path)?;
            allocate(&file, length)?;
            Ok(file)
        });
        staged.file = Some(file.await?);
        Ok(staged)
    }

    /// Removes a finished file that no row will name, and gives its room back; waits
    /// for the disk.
    pub fn discard(&self, name: &str) {
        let path = self.folder.join(name);
        let length = std::fs::metadata(&path).map_or(0, |file| file.len());
        let own = !self.is_journaled(name);
        // A leftover is removed at the next start all the same.
        if std::fs::remove_file(path).is_ok() && own {
            let mut room = Room::of(self.journal.clone(), Purpose::Arrival);
            room.taken = length;
            drop(room);
        }
    }
}

/// A file being filled; removed when dropped before [`StagedFile::finish`].
#[derive(Debug)]
pub struct StagedFile {
    file: Option<File>,
    folder: Arc<Path>,
    name: String,
    hasher: Box<blake3::Hasher>,
    length: u64,
    kept: bool,
    room: Room,
}

impl StagedFile {
    /// Appends `chunk` and hashes it, off the async threads.
    ///
    /// # Errors
    /// As for [`Staging::create`]; the file is of no use then.
    pub async fn write(&mut self, chunk: Bytes) -> std::io::Result<()> {
        self.room.cover(self.length + chunk.len() as u64).await?;
        let mut file = self.file.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let mut hasher = std::mem::take(&mut self.hasher);
        self.length += chunk.len() as u64;
        let (file, hasher) = blocking(move || {
            hasher.update(&chunk);
            file.write_all(&chunk)?;
            Ok((file, hasher))
        })
        .await?;
        self.file = Some(file);
        self.hasher = hasher;
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the bytes written so far.
    #[must_use]
    pub fn digest(&self) -> relay_core::segment::Digest {
        relay_core::segment::Digest(*self.hasher.finalize().as_bytes())
    }

    /// Syncs the file and its folder, and answers the file's name: from here on
    /// it stays.
    ///
    /// # Errors
    /// What the file system said; the file is removed then.
    pub async fn finish(mut self) -> std::io::Result<String> {
        let file = self.file.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let folder = Arc::clone(&self.folder);
        blocking(move || {
            file.sync_all()?;
            File::open(folder)?.sync_all()
        })
        .await?;
        self.kept = true;
        self.room.leave(self.length);
        Ok(std::mem::take(&mut self.name))
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.kept {
            // A leftover is removed at the next start all the same.
            let _ = std::fs::remove_file(self.path());
        }
    }
}

/// Room taken of the ledger; given back when dropped.
#[derive(Debug)]
struct Room {
    journal: Option<Journal>,
    what: Purpose,
    taken: u64,
}

impl Room {
    const fn of(journal: Option<Journal>, what: Purpose) -> Self {
        Self {
            journal,
            what,
            taken: 0,
        }
    }

    /// Takes what is missing to `length` bytes.
    async fn cover(&mut self, length: u64) -> std::io::Result<()> {
        let Some(journal) = self.journal.as_ref().filter(|_| length > self.taken) else {
            return Ok(());
        };
        let missing = length - self.taken;
        let wanted = if self.taken == 0 {
            missing
        } else {
            missing.max(STEP)
        };
        if !journal.reserve(wanted, length, self.what).await {
            let why = match self.what {
                Purpose::Put => {
                    "no room for {} B under the ceiling beside an arrival as long as the longest segment kept here"
                }
                Purpose::Arrival => "no room for {} B under the ceiling",
            };
            let why = why.replace("{}", &wanted.to_string());
            return Err(std::io::Error::new(std::io::ErrorKind::QuotaExceeded, why));
        }
        self.taken += wanted;
        Ok(())
    }

    /// Leaves `length` bytes to the commit that will name the file.
    fn leave(&mut self, length: u64) {
        self.taken = self.taken.saturating_sub(length);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(journal) = self.journal.as_ref().filter(|_| self.taken > 0) {
            journal.unreserve(self.taken);
        }
    }
}

/// Has the file system set aside the room for `length` bytes, or say now that it has none:
/// not once most of them have come over a slow link. One that cannot is asked for nothing.
fn allocate(file: &File, length: u64) -> std::io::Result<()> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn blocking<T, F>(work: F) -> std::io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> std::io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
