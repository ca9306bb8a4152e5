//! The files of large segments on their way in from a peer: written, synced in steps,
//! left lying when the peer is cut off, taken up again where they end.
//!
//! A file has the number the core gave it, and room for the whole from its first byte.
//! What lies in it is ours while the process lives, with its hash so far; after a
//! restart as much as the journal says, hashed anew. Which one is resumed and which one
//! goes is the core's to say.

mod syncing;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use relay_core::id::PartialNo;
use relay_core::partial::Pace;
use relay_core::segment::Digest;
use relay_core::time::Mono;
use tokio::sync::watch;

use super::{Room, Staging, allocate, blocking};
use crate::clock;
use crate::journal::Purpose;
pub use syncing::Moved;
use syncing::{Syncing, ended, sync_folder};

/// What is known of partial files beside what lies in them. Its lock is held for a
/// look-up, never across an `.await`.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Those nobody writes to.
    resting: HashMap<PartialNo, Resting>,
    /// Those being written: how much of each the journal has.
    arriving: HashMap<PartialNo, watch::Sender<u64>>,
    /// Room of those that no row names yet.
    rooms: HashMap<PartialNo, Room>,
    /// Those that a row names: their room is the ledger's.
    journaled: HashSet<PartialNo>,
}

/// What is known of a file that was left.
#[derive(Debug, Default)]
struct Resting {
    /// The hash of what lies in it.
    hasher: Box<blake3::Hasher>,
    /// How much that is.
    held: u64,
    /// How much of it the journal has.
    journaled: u64,
    /// The same open file: an error of writing back is told once, to the next sync of
    /// who had it open (fsync(2)).
    file: Option<Arc<File>>,
    /// A sync that was under way: its error is told to nobody else.
    syncing: Option<Syncing>,
}

/// A file being written; it stays when dropped, until it is forgotten.
#[derive(Debug)]
pub struct PartialFile {
    no: PartialNo,
    staging: Staging,
    pace: Pace,
    file: Arc<File>,
    hasher: Box<blake3::Hasher>,
    held: u64,
    /// Bytes whose sync has begun, and when that was.
    begun: (u64, Mono),
    syncing: Option<Syncing>,
    journaled: watch::Receiver<u64>,
    /// Whether its name is durable.
    named: bool,
}

impl Staging {
    /// An empty file with room for `length` bytes.
    ///
    /// # Errors
    /// As for [`Staging::create`].
    pub async fn begin_partial(&self, no: PartialNo, length: u64) -> std::io::Result<PartialFile> {
        let mut room = Room::of(self.journal.clone(), Purpose::Arrival);
        room.cover(length).await?;
        let path = self.folder.join(no.file_name());
        let file = blocking(move || {
            let mut open = File::options();
            open.read(true).write(true).create_new(true);
            let file = open.open(&path)?;
            allocate(&file, length).inspect_err(|_| {
                // A leftover is removed at the next start all the same.
                let _ = std::fs::remove_file(&path);
            })?;
            Ok(file)
        })
        .await?;
        self.registry().rooms.insert(no, room);
        Ok(self.arriving(no, Arc::new(file), Resting::default()))
    }

    /// The file as it was left, to go on after its first `from` bytes to `length`.
    ///
    /// # Errors
    /// What the file system said, also of a sync that was under way when it was left: the
    /// file is of no use then. [`ErrorKind::UnexpectedEof`] if it is shorter;
    /// [`ErrorKind::StorageFull`] if there is no room for the rest, and it still rests.
    pub async fn resume_partial(
        &self,
        no: PartialNo,
        from: u64,
        length: u64,
    ) -> std::io::Result<PartialFile> {
        // Its place stays, to hear of what is journaled meanwhile.
        let rested = self.registry().resting.get_mut(&no).map(std::mem::take);
        let mut rested = rested.unwrap_or_default();
        ended(rested.syncing.take()).await?;
        let open = rested.file.take();
        let earlier = rested.held != from;
        let path = self.folder.join(no.file_name());
        let (file, resting) = blocking(move || {
            let file = match open {
                Some(file) => file,
                None => Arc::new(File::options().read(true).write(true).open(path)?),
            };
            if file.metadata()?.len() < from {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            // What lies beyond is not known to be sound.
            file.set_len(from)?;
            let resting = match earlier {
                false => rested,
                // As a row of an earlier run says.
                true => Resting {
                    hasher: hash(&file, from)?,
                    held: from,
                    journaled: from,
                    ..Resting::default()
                },
            };
            Ok((file, resting))
        })
        .await?;
        if earlier {
            self.registry().journaled.insert(no);
        }
        let mut file = self.arriving(no, file, resting);
        let rest = Arc::clone(&file.file);
        match blocking(move || allocate(&rest, length)).await {
            Ok(()) => {
                file.sync_if_due();
                Ok(file)
            }
            Err(error) => {
                file.rest();
                Err(error)
            }
        }
    }

    fn arriving(&self, no: PartialNo, file: Arc<File>, resting: Resting) -> PartialFile {
        let Resting {
            hasher,
            held,
            journaled,
            ..
        } = resting;
        let mut registry = self.registry();
        let late = registry.resting.remove(&no);
        let journaled = late.map_or(journaled, |late| journaled.max(late.journaled));
        let (tell, told) = watch::channel(journaled);
        registry.arriving.insert(no, tell);
        drop(registry);
        PartialFile {
            no,
            staging: self.clone(),
            pace: Pace::default(),
            file,
            hasher,
            held,
            begun: (journaled, clock::now().mono),
            syncing: None,
            journaled: told,
            named: journaled > 0,
        }
    }

    /// The journal has so much of a file: more may be written.
    pub fn journaled(&self, no: PartialNo, bytes: u64) {
        let mut registry = self.registry();
        if let Some(arriving) = registry.arriving.get(&no) {
            // Whoever wrote it may just have ended.
            let _ = arriving.send(bytes);
        } else if let Some(resting) = registry.resting.get_mut(&no) {
            resting.journaled = resting.journaled.max(bytes);
        }
    }

    /// A row is about to name a file: its room becomes the ledger's.
    pub fn journal_keeps(&self, no: PartialNo) {
        let mut registry = self.registry();
        registry.journaled.insert(no);
        if let Some(mut room) = registry.rooms.remove(&no) {
            room.taken = 0;
        }
    }

    /// A row that named a file goes.
    pub fn journal_forgets(&self, no: PartialNo) {
        self.registry().journaled.remove(&no);
    }

    /// Removes a file that is not wanted any longer; waits for the disk.
    pub fn forget(&self, no: PartialNo) {
        // A leftover is removed at the next start all the same.
        let _ = std::fs::remove_file(self.folder.join(no.file_name()));
        let mut registry = self.registry();
        registry.resting.remove(&no);
        registry.arriving.remove(&no);
        let room = registry.rooms.remove(&no);
        drop(registry);
        drop(room);
    }

    /// Whether the room of this file is the ledger's.
    pub(super) fn is_journaled(&self, name: &str) -> bool {
        let no = PartialNo::of_file_name(name);
        no.is_some_and(|no| self.registry().journaled.contains(&no))
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialFile {
    /// Appends `chunk` and hashes it, off the async threads; begins a sync if one is
    /// due.
    ///
    /// # Errors
    /// What the file system said: on [`ErrorKind::StorageFull`] what was written before
    /// holds, otherwise the file is of no use.
    pub async fn write(&mut self, chunk: Bytes) -> std::io::Result<()> {
        let (at, length) = (self.held, chunk.len() as u64);
        let (file, mut hasher) = (Arc::clone(&self.file), self.hasher.clone());
        self.hasher = blocking(move || {
            hasher.update(&chunk);
            file.write_all_at(&chunk, at)?;
            Ok(hasher)
        })
        .await?;
        self.held += length;
        self.sync_if_due();
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// How many more may be written before the journal has more of them.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.pace.room(self.held, *self.journaled.borrow())
    }

    /// The digest of the bytes written so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }

    /// Leaves the file as it is, to be resumed.
    pub fn rest(self) {
        let mut registry = self.staging.registry();
        registry.arriving.remove(&self.no);
        let resting = Resting {
            journaled: *self.journaled.borrow(),
            hasher: self.hasher,
            held: self.held,
            file: Some(self.file),
            syncing: self.syncing,
        };
        registry.resting.insert(self.no, resting);
    }

    /// Syncs the file and its folder, and answers the file's name: it is whole.
    ///
    /// # Errors
    /// What the file system said.
    pub async fn finish(mut self) -> std::io::Result<String> {
        ended(self.syncing.take()).await?;
        let (file, folder) = (Arc::clone(&self.file), Arc::clone(&self.staging.folder));
        blocking(move || {
            file.sync_all()?;
            sync_folder(&folder)
        })
        .await?;
        let mut registry = self.staging.registry();
        registry.arriving.remove(&self.no);
        if let Some(mut room) = registry.rooms.remove(&self.no) {
            room.leave(self.held);
        }
        Ok(self.no.file_name())
    }
}

/// The hash of the first `length` bytes of a file.
fn hash(file: &File, length: u64) -> std::io::Result<Box<blake3::Hasher>> {
    let mut hasher: Box<blake3::Hasher> = Box::default();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let run = (length - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..run], at)?;
        hasher.update(&buffer[..run]);
        at += run as u64;
    }
    Ok(hasher)
}

/// The registry of one folder's files.
pub(super) type Shared = Arc<Mutex<Registry>>;

#[cfg(test)]
mod tests;
