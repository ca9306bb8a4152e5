//! The body of a large segment on its way in, kept when it is cut off.
//!
//! A short one waits in memory, in room taken for it, and goes to a partial file only
//! when it is slow or its link is lost; a long one is written to a partial file from its
//! first byte, and no faster than the journal follows. What the peer sent and the
//! connection had in order is taken in to the last byte, so that nothing of it is sent
//! twice while this process lives.

use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use quinn::RecvStream;
use relay_core::event::Input;
use relay_core::id::PartialNo;
use relay_core::pack::Table;
use relay_core::partial::Pace;
use tracing::info;

use super::download::{CHUNK, Trouble};
use super::error::LinkError;
use super::room::Taken;
use super::shared::Line;
use crate::staging::{Moved, PartialFile};

/// What a body has come to.
pub(super) enum Whole {
    /// Table and body, and the room they take.
    Memory(Bytes, Taken),
    /// The file that holds the body.
    File(PartialFile),
}

/// A body of `length` bytes, to be kept under number `no`.
pub(super) struct Inflow<'l> {
    pub(super) line: &'l Line,
    pub(super) no: PartialNo,
    pub(super) length: u64,
}

impl Inflow<'_> {
    /// The file it goes to, if it goes to one from its first byte on, with room for all of
    /// it; asked for before the sender is asked for the body.
    pub(super) async fn file(&self, from: u64) -> Result<Option<PartialFile>, Trouble> {
        let staging = &self.line.shared.staging;
        let file = match from {
            0 if Pace::default().files(self.length) => {
                staging.begin_partial(self.no, self.length).await
            }
            0 => return Ok(None),
            _ => {
                let file = staging.resume_partial(self.no, from, self.length).await;
                if file.is_ok() {
                    let (peer, of) = (&self.line.peer, self.length);
                    info!(%peer, partial = %self.no, from, of, "Large segment goes on");
                }
                file
            }
        };
        file.map(Some).map_err(|error| disk(error, from))
    }

    /// Takes the body in, to `file` if it has one.
    pub(super) async fn take(
        &self,
        recv: &mut RecvStream,
        table: &Table,
        file: Option<PartialFile>,
    ) -> Result<Whole, Trouble> {
        let whole = match file {
            Some(file) => self.to_file(recv, file, BytesMut::new()).await?,
            None => self.to_memory(recv, table).await?,
        };
        match recv.read_chunk(1, true).await {
            Ok(Some(_)) => Err(LinkError::protocol("body is longer than its offer").into()),
            // Every byte is here: how the stream ended is no matter.
            Ok(None) | Err(_) => Ok(whole),
        }
    }

    async fn to_memory(&self, recv: &mut RecvStream, table: &Table) -> Result<Whole, Trouble> {
        // A body that does not begin takes no room.
        let mut first = [0];
        match recv.read(&mut first).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(LinkError::protocol("body is shorter than its offer").into()),
            Err(error) => return Err(LinkError::from(error).into()),
        }
        let head = table.bytes().len();
        let all = head + self.length as usize;
        let room = tokio::select! {
            room = self.line.room.take(all as u64) => room?,
            _ = self.line.connection.closed() => return Err(LinkError::Gone.into()),
        };
        let mut bytes = BytesMut::zeroed(all);
        bytes[..head].copy_from_slice(table.bytes());
        bytes[head] = first[0];
        let mut filled = head + 1;
        let late = tokio::time::sleep(Pace::default().every);
        tokio::pin!(late);
        let trouble = loop {
            if filled == all {
                return Ok(Whole::Memory(bytes.freeze(), room));
            }
            tokio::select! {
                read = recv.read(&mut bytes[filled..]) => match read {
                    Ok(Some(more)) => filled += more,
                    Ok(None) => break LinkError::protocol("body is shorter than its offer"),
                    Err(error) => break error.into(),
                },
                () = &mut late, if !late.is_elapsed() => {
                    let staging = &self.line.shared.staging;
                    // Without room on the disk it goes on in memory.
                    if let Ok(file) = staging.begin_partial(self.no, self.length).await {
                        bytes.truncate(filled);
                        let held = bytes.split_off(head);
                        return self.to_file(recv, file, held).await;
                    }
                }
            }
        };
        bytes.truncate(filled);
        let held = bytes.split_off(head);
        let staging = &self.line.shared.staging;
        let file = staging.begin_partial(self.no, self.length).await;
        let file = file.map_err(|error| disk(error, 0))?;
        self.leave(file, held.freeze(), trouble).await
    }

    /// The rest goes to `file`, after `held`, which is in memory.
    async fn to_file(
        &self,
        recv: &mut RecvStream,
        mut file: PartialFile,
        held: BytesMut,
    ) -> Result<Whole, Trouble> {
        // One chunk is read, one is written.
        let _room = tokio::select! {
            room = self.line.room.take(2 * CHUNK) => room?,
            _ = self.line.connection.closed() => {
                return self.leave(file, held.freeze(), LinkError::Gone).await;
            }
        };
        if !held.is_empty()
            && let Err(error) = file.write(held.freeze()).await
        {
            return give_up(file, error);
        }
        let mut buffer = BytesMut::zeroed(CHUNK as usize);
        let mut filled = 0;
        while file.held() < self.length {
            let most = file.room().min(CHUNK).min(self.length - file.held()) as usize;
            if filled > 0 && filled >= most {
                if let Err(error) = flush(&mut file, &mut buffer, &mut filled).await {
                    return give_up(file, error);
                }
                continue;
            }
            let cut = tokio::select! {
                biased;
                moved = file.moved() => {
                    let moved = moved.map_err(|error| Trouble::Disk(error, 0))?;
                    if moved == Moved::Late
                        && let Err(error) = flush(&mut file, &mut buffer, &mut filled).await
                    {
                        return give_up(file, error);
                    }
                    self.tell(moved).await?;
                    None
                }
                read = recv.read(&mut buffer[filled..most]), if filled < most => match read {
                    Ok(Some(more)) => {
                        filled += more;
                        None
                    }
                    Ok(None) => Some(LinkError::protocol("body is shorter than its offer")),
                    Err(error) => Some(error.into()),
                },
                // Nobody may be left to journal what would make room for more.
                () = self.line.shared.stopping.cancelled() => Some(LinkError::Gone),
            };
            if let Some(trouble) = cut {
                buffer.truncate(filled);
                return self.leave(file, buffer.freeze(), trouble).await;
            }
        }
        Ok(Whole::File(file))
    }

    /// Cut off: what is in memory is written too, and the file left to be resumed.
    async fn leave<T>(
        &self,
        mut file: PartialFile,
        held: Bytes,
        trouble: LinkError,
    ) -> Result<T, Trouble> {
        if !held.is_empty()
            && let Err(error) = file.write(held).await
        {
            return give_up(file, error);
        }
        let held = file.held();
        file.rest();
        Err(Trouble::Cut(trouble, held))
    }

    async fn tell(&self, moved: Moved) -> Result<(), LinkError> {
        match moved {
            Moved::Synced(bytes) => {
                let partial = self.no;
                self.line.tell(Input::Progressed { partial, bytes }).await
            }
            Moved::Journaled | Moved::Late => Ok(()),
        }
    }
}

async fn flush(
    file: &mut PartialFile,
    buffer: &mut BytesMut,
    filled: &mut usize,
) -> std::io::Result<()> {
    if *filled == 0 {
        return Ok(());
    }
    let mut full = std::mem::replace(buffer, BytesMut::zeroed(CHUNK as usize));
    full.truncate(std::mem::take(filled));
    file.write(full.freeze()).await
}

/// A write failed: what was written before stays if the disk was only full.
fn give_up<T>(file: PartialFile, error: std::io::Error) -> Result<T, Trouble> {
    let trouble = disk(error, file.held());
    file.rest();
    Err(trouble)
}

/// The disk failed us, of `held` bytes that were there.
fn disk(error: std::io::Error, held: u64) -> Trouble {
    let holds = error.kind() == ErrorKind::StorageFull;
    Trouble::Disk(error, if holds { held } else { 0 })
}
