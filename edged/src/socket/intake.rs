//! The bytes of one put as they come: in memory while they are few and quick, in a file
//! of their own when they are many or slow.
//!
//! Room is taken for bytes that are here, never for bytes announced, and held for
//! [`QUICK`] at most before they move to a file: a client that stops half way keeps
//! nobody else waiting. In memory the table's place is kept before the body, so that
//! both lie as they will be stored.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edged_rpc::RpcError;
use relay_core::segment::Digest;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::refusal;
use super::wire::{Broken, Hearer};
use crate::desk::Desk;
use crate::single::{Order, Taken};
use crate::staging::StagedFile;

/// How long a put may stay in memory while it is incomplete, or wait for room there; as
/// for an arrival (semantics 10).
const QUICK: Duration = Duration::from_secs(5);

/// A put that cannot go on.
pub(super) struct Refused {
    /// Why.
    pub(super) error: RpcError,
    /// Whether the empty frame has been read.
    pub(super) ended: bool,
}

/// A put being read.
pub(super) struct Intake<'a> {
    desk: &'a Desk,
    /// What was announced.
    announced: Option<u64>,
    /// The largest put there may be.
    most: u64,
    /// Most that stays in memory.
    in_memory: u64,
    table_len: usize,
    length: u64,
    held: Held,
}

enum Held {
    Memory(Memory),
    File(StagedFile),
}

struct Memory {
    bytes: BytesMut,
    hasher: Box<blake3::Hasher>,
    room: Option<OwnedSemaphorePermit>,
}

impl<'a> Intake<'a> {
    /// Nothing has come yet of a put that says `order`.
    pub(super) fn new(desk: &'a Desk, order: &Order, announced: Option<u64>, most: u64) -> Self {
        let bytes = order.table_place();
        Self {
            desk,
            announced,
            most,
            in_memory: desk.in_memory(),
            table_len: bytes.len(),
            length: 0,
            held: Held::Memory(Memory {
                bytes,
                hasher: Box::new(blake3::Hasher::new()),
                room: None,
            }),
        }
    }

    /// Reads to the empty frame.
    pub(super) async fn fill(
        mut self,
        hearer: &mut Hearer,
    ) -> Result<Result<Taken, Refused>, Broken> {
        if self.announced.is_some_and(|length| length > self.in_memory)
            && let Err(error) = self.spill().await
        {
            return Ok(Err(Refused {
                error,
                ended: false,
            }));
        }
        let mut late = Box::pin(tokio::time::sleep(QUICK));
        loop {
            let chunk = match &self.held {
                Held::File(_) => Some(hearer.chunk().await?),
                Held::Memory(_) => tokio::select! {
                    chunk = hearer.chunk() => Some(chunk?),
                    () = &mut late => None,
                },
            };
            let taken = match chunk {
                Some(chunk) if chunk.is_empty() => return Ok(self.end()),
                Some(chunk) => self.take(chunk, &mut late).await,
                None => self.spill().await,
            };
            if let Err(error) = taken {
                return Ok(Err(Refused {
                    error,
                    ended: false,
                }));
            }
        }
    }

    async fn take(&mut self, chunk: Bytes, late: &mut Pin<Box<Sleep>>) -> Result<(), RpcError> {
        self.length += chunk.len() as u64;
        if let Some(announced) = self.announced.filter(|announced| self.length > *announced) {
            return Err(other_length(self.length, announced));
        }
        if self.length > self.most {
            return Err(refusal::too_large(self.length, self.most));
        }
        let fits = self.length <= self.in_memory;
        if !fits || !self.make_room(chunk.len(), late).await {
            self.spill().await?;
        }
        match &mut self.held {
            Held::Memory(memory) => {
                memory.hasher.update(&chunk);
                memory.bytes.extend_from_slice(&chunk);
                Ok(())
            }
            Held::File(file) => file
                .write(chunk)
                .await
                .map_err(|error| refusal::staging(&error)),
        }
    }

    /// Room for `more` bytes in memory, unless it takes too long; a file needs none.
    async fn make_room(&mut self, more: usize, late: &mut Pin<Box<Sleep>>) -> bool {
        let Held::Memory(memory) = &mut self.held else {
            return true;
        };
        let table = if memory.room.is_none() {
            self.table_len
        } else {
            0
        };
        let Ok(permits) = u32::try_from(more + table) else {
            return false;
        };
        let room = Arc::clone(&self.desk.room).acquire_many_owned(permits);
        let taken = tokio::select! {
            taken = room => taken.ok(),
            () = late => None,
        };
        match (taken, &mut memory.room) {
            (None, _) => false,
            (Some(taken), Some(room)) => {
                room.merge(taken);
                true
            }
            (Some(taken), none @ None) => {
                *none = Some(taken);
                true
            }
        }
    }

    /// Moves what is in memory to a file, and gives its room back.
    async fn spill(&mut self) -> Result<(), RpcError> {
        let Held::Memory(memory) = &mut self.held else {
            return Ok(());
        };
        let body = memory.bytes.split_off(self.table_len).freeze();
        let staged = |error| refusal::staging(&error);
        let expected = self.announced.unwrap_or(body.len() as u64);
        let mut file = self.desk.staging.create(expected).await.map_err(staged)?;
        if !body.is_empty() {
            file.write(body).await.map_err(staged)?;
        }
        self.held = Held::File(file);
        Ok(())
    }

    fn end(self) -> Result<Taken, Refused> {
        if let Some(announced) = self.announced.filter(|announced| *announced != self.length) {
            let error = other_length(self.length, announced);
            return Err(Refused { error, ended: true });
        }
        Ok(match self.held {
            Held::Memory(memory) => Taken::Memory {
                bytes: memory.bytes,
                table_len: self.table_len,
                digest: Digest(*memory.hasher.finalize().as_bytes()),
                room: memory.room,
            },
            Held::File(file) => Taken::File(file),
        })
    }
}

fn other_length(found: u64, announced: u64) -> RpcError {
    let more = if found > announced { "at least " } else { "" };
    let found = format!("{more}{found} B came, {announced} were announced");
    refusal::invalid("other_length", found)
}
