//! Where a link finds the bytes it is asked to send.
//!
//! The core names packs, lanes and nodes by number; whoever stands behind [`Source`]
//! (a cache of fresh bytes, the readers of the ledger) turns the numbers into bytes and
//! names. A link never holds more than the pack it is sending, and of a payload that is
//! a file only the piece under way.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use relay_core::event::SendTrouble;
use relay_core::id::{LaneName, LaneNo, NodeId, NodeNo, PackNo};

/// The bytes of one pack.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Its table, whole.
    pub table: Bytes,
    /// The bodies of all its members.
    pub bodies: Bodies,
}

/// Where the bodies of a pack are.
#[derive(Clone, Debug)]
pub enum Bodies {
    /// In memory, contiguous.
    Memory(Bytes),
    /// In a file of their own.
    File {
        /// Which file.
        path: PathBuf,
        /// How long it should be.
        length: u64,
    },
}

/// Turns numbers of the core into bytes and names.
pub trait Source: Send + Sync {
    /// The bytes of a pack of ours.
    fn load(&self, pack: PackNo) -> BoxFuture<'_, Result<Payload, SendTrouble>>;

    /// `length` bytes of a payload that is a file, from byte `from` of its bodies.
    fn chunk<'a>(
        &'a self,
        payload: &'a Payload,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Bytes, SendTrouble>>;

    /// The name of a lane the core has numbered.
    fn lane(&self, lane: LaneNo) -> Option<LaneName>;

    /// The name of a node the core has numbered.
    fn node(&self, node: NodeNo) -> Option<NodeId>;
}

/// One run of bodies, without a copy where they are in memory.
pub(crate) async fn read(
    source: &dyn Source,
    payload: &Payload,
    run: Range<u64>,
) -> Result<Bytes, SendTrouble> {
    let length = run.end - run.start;
    match &payload.bodies {
        Bodies::Memory(bytes) if run.end <= bytes.len() as u64 => {
            Ok(bytes.slice(run.start as usize..run.end as usize))
        }
        Bodies::Memory(_) => Err(SendTrouble::Corrupt),
        Bodies::File { .. } => {
            let bytes = source.chunk(payload, run.start, length).await?;
            if bytes.len() as u64 == length {
                Ok(bytes)
            } else {
                Err(SendTrouble::Corrupt)
            }
        }
    }
}
