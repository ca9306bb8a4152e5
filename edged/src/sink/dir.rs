//! `dir:` — each arrival becomes two files: its bytes, and the words that came with it.
//!
//! Both are written under hidden names, synced, and renamed, the words first, so that
//! whoever sees the bytes finds the words; the folder is synced before anything is
//! confirmed. What a kill leaves unconfirmed comes again under the same names. Names are
//! made of the segment's id alone.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, unlinkat};
use relay_core::sink::{self, Tried};
use serde::Serialize;

use super::pieces::{Bad, Pieces};
use super::{Arrival, Ended, unable};
use crate::desk::Desk;
use crate::folder::Folder;

/// Left free of the disk, for the words of an arrival and for whoever uses it, too.
const SPARE: u64 = 256 << 10;

/// A folder into which arrivals go.
pub(super) struct Dir {
    path: PathBuf,
    state: PathBuf,
    open: Mutex<Option<Arc<Folder>>>,
}

/// Why an arrival is not there.
enum Trouble {
    /// Our own bytes are bad.
    Bytes(Bad),
    /// The folder takes nothing.
    Folder(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Folder(error)
    }
}

impl Dir {
    pub(super) fn new(path: &Path, state: &Path) -> Self {
        Self {
            path: path.to_owned(),
            state: state.to_owned(),
            open: Mutex::new(None),
        }
    }

    /// Makes files of `arrivals`; those that are done are durable.
    pub(super) async fn store(&self, desk: &Desk, arrivals: Vec<Arrival>) -> Vec<Ended> {
        let folder = match self.open().await {
            Ok(folder) => folder,
            Err(found) => return unable(&arrivals, &found),
        };
        let mut ended = Vec::with_capacity(arrivals.len());
        let mut stored = Vec::new();
        for (n, arrival) in arrivals.iter().enumerate() {
            let id = arrival.0.id;
            match store(desk, &folder, arrival).await {
                Ok(()) => stored.push(id),
                Err(Trouble::Bytes((tried, found))) => ended.push((id, tried, found)),
                Err(Trouble::Folder(error)) if is_for_room(&error) => {
                    ended.push((id, Tried::Waits, self.shown(&error)));
                }
                Err(Trouble::Folder(error)) => {
                    ended.extend(unable(&arrivals[n..], &self.shown(&error)));
                    break;
                }
            }
        }
        let synced = blocking(move || folder.sync()).await;
        ended.extend(stored.into_iter().map(|id| match &synced {
            Ok(()) => (id, Tried::Done, String::new()),
            Err(error) => (id, Tried::Unable, self.shown(error)),
        }));
        ended
    }

    fn shown(&self, error: &io::Error) -> String {
        format!("cannot write into {}: {error}", super::shown(&self.path))
    }

    /// The folder, opened once; again only if it was removed.
    async fn open(&self) -> Result<Arc<Folder>, String> {
        let is_there = |folder: &Arc<Folder>| folder.look().is_ok_and(|stat| stat.st_nlink > 0);
        let mut known = self.lock().clone();
        known = known.filter(is_there);
        if let Some(folder) = known {
            return Ok(folder);
        }
        let (path, state) = (self.path.clone(), self.state.clone());
        let opened = blocking(move || {
            Ok(Folder::open(&path, &state).inspect(|folder| {
                // What is half written and stays is in nobody's way.
                let _ = sweep(folder);
            }))
        });
        let folder = opened.await.map_err(|error| error.to_string())?;
        let folder = Arc::new(folder.map_err(|error| error.to_string())?);
        *self.lock() = Some(Arc::clone(&folder));
        Ok(folder)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Folder>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks before it writes: what fills a disk that others use, too, does not fit it either.
fn has_room(folder: &Folder, length: u64) -> io::Result<()> {
    let disk = fstatvfs(folder)?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free < length.saturating_add(SPARE) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Whether a shorter one might have fitted.
fn is_for_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Removes what a kill left half written.
fn sweep(folder: &Folder) -> io::Result<()> {
    for entry in folder.list()?.iter() {
        let entry = entry?;
        if entry.file_name().to_str().is_ok_and(sink::is_part) {
            unlinkat(folder, entry.file_name(), UnlinkatFlags::NoRemoveDir)?;
        }
    }
    Ok(())
}

async fn store(desk: &Desk, folder: &Arc<Folder>, (item, view): &Arrival) -> Result<(), Trouble> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'static str,
        #[serde(flatten)]
        item: &'a edged_rpc::InboxView,
    }
    let [bin, json] = sink::file_names(item.id);
    let (place, length) = (Arc::clone(folder), item.length);
    blocking(move || has_room(&place, length)).await?;
    let mut pieces = Pieces::of(desk, item).await.map_err(Trouble::Bytes)?;
    let mut part = Part::create(Arc::clone(folder), bin).await?;
    while let Some(piece) = pieces.next(desk).await.map_err(Trouble::Bytes)? {
        part = part.write(piece).await?;
    }
    let document = Document {
        schema: "inbox.item/1",
        item: view,
    };
    let mut words = serde_json::to_vec(&document).map_err(io::Error::from)?;
    words.push(b'\n');
    let words_part = Part::create(Arc::clone(folder), json).await?;
    let words_part = words_part.write(words.into()).await?;
    blocking(move || {
        part.sync()?;
        words_part.sync()?;
        words_part.finish()?;
        part.finish()
    })
    .await?;
    Ok(())
}

/// A file that is not yet whole; removed when dropped before it is.
struct Part {
    folder: Arc<Folder>,
    name: String,
    file: File,
    whole: bool,
}

impl Part {
    async fn create(folder: Arc<Folder>, name: String) -> io::Result<Self> {
        blocking(move || {
            let part = sink::part_name(&name);
            match unlinkat(&*folder, part.as_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            // Who else may read them is for the daemon's umask to say.
            let mode = Mode::from_bits_truncate(0o666);
            let file = File::from(openat(&*folder, part.as_str(), flags, mode)?);
            Ok(Self {
                folder,
                name,
                file,
                whole: false,
            })
        })
        .await
    }

    async fn write(mut self, piece: bytes::Bytes) -> io::Result<Self> {
        blocking(move || {
            self.file.write_all(&piece)?;
            Ok(self)
        })
        .await
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn finish(mut self) -> io::Result<()> {
        let part = sink::part_name(&self.name);
        let folder = &*self.folder;
        renameat(folder, part.as_str(), folder, self.name.as_str())?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.whole {
            let part = sink::part_name(&self.name);
            // What stays is removed by the next run.
            let _ = unlinkat(&*self.folder, part.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
