//! Syncs of a partial file: in steps, beside its writing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::PartialFile;
use crate::clock;

/// A sync under way. The kernel tells its error once: whoever begins one hears it out.
pub(super) type Syncing = JoinHandle<std::io::Result<()>>;

/// What has become of a file while its bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes are on stable storage.
    Synced(u64),
    /// The journal has more of it.
    Journaled,
    /// A sync is due by time.
    Late,
}

impl PartialFile {
    /// Begins a sync if one is due and none is under way.
    pub fn sync_if_due(&mut self) {
        let since = clock::now().mono.since(self.begun.1);
        let due = self.pace.sync_is_due(self.held, self.begun.0, since);
        if !due || self.syncing.is_some() {
            return;
        }
        self.begun = (self.held, clock::now().mono);
        let named = std::mem::replace(&mut self.named, true);
        let (file, folder) = (Arc::clone(&self.file), Arc::clone(&self.staging.folder));
        self.syncing = Some(tokio::task::spawn_blocking(move || {
            file.sync_data()?;
            match named {
                true => Ok(()),
                false => sync_folder(&folder),
            }
        }));
    }

    /// Waits until a sync has ended, the journal has more, or a sync is due by time.
    ///
    /// # Errors
    /// What the file system said of a sync; the file is of no use then.
    pub async fn moved(&mut self) -> std::io::Result<Moved> {
        let since = clock::now().mono.since(self.begun.1);
        let late = self.pace.every.saturating_sub(since);
        let quiet = self.syncing.is_none();
        let syncing = &mut self.syncing;
        let ended = async {
            match syncing.as_mut() {
                Some(handle) => handle.await.map_err(std::io::Error::other)?,
                None => std::future::pending().await,
            }
        };
        let done = tokio::select! {
            ended = ended => ended.map(|()| Moved::Synced(self.begun.0)),
            Ok(()) = self.journaled.changed() => return Ok(Moved::Journaled),
            () = tokio::time::sleep(late), if quiet => {
                // With nothing to sync it is looked at again after as long.
                if self.held == self.begun.0 {
                    self.begun.1 = clock::now().mono;
                }
                return Ok(Moved::Late);
            }
        };
        self.syncing = None;
        let moved = done?;
        self.sync_if_due();
        Ok(moved)
    }
}

/// Waits for a sync that was begun, and answers what the file system said of it.
pub(super) async fn ended(syncing: Option<Syncing>) -> std::io::Result<()> {
    match syncing {
        Some(syncing) => syncing.await.map_err(std::io::Error::other)?,
        None => Ok(()),
    }
}

pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
