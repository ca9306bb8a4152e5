//! Room in memory for what arrives: taken before a byte is read, given back when the
//! bytes are stored or dropped.
//!
//! Whoever finds no room waits in line and so stops reading, and QUIC's flow control
//! stops the sender. The line is first come, first served: a peer that floods waits
//! behind its own bytes, and others pass between them. A link takes at most
//! [`LINK_BYTES`], read and not yet stored, so that no single one holds the node however
//! slow its disk is (INV-13).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::LinkError;
use crate::event::HeldRoom;

/// Bytes of arrivals in memory, all links together. The peak of a node is held to
/// 40 MiB at full load, and this is the largest part of it.
pub(crate) const NODE_BYTES: usize = 32 << 20;
/// Bytes of one link, until they are stored: every lane's pack and a few large segments.
pub(crate) const LINK_BYTES: usize = 8 << 20;

/// Room for the arrivals of one link.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    node: Arc<Semaphore>,
    link: Arc<Semaphore>,
}

/// Room taken for one arrival.
#[derive(Debug)]
pub(crate) struct Taken {
    node: OwnedSemaphorePermit,
    link: OwnedSemaphorePermit,
}

impl From<Taken> for HeldRoom {
    fn from(taken: Taken) -> Self {
        Self::of_link(taken.node, taken.link)
    }
}

impl Room {
    /// Room for one more link, within what `node` still has.
    pub(crate) fn new(node: Arc<Semaphore>) -> Self {
        Self {
            node,
            link: Arc::new(Semaphore::new(LINK_BYTES)),
        }
    }

    /// Waits for room for `bytes`; no arrival in memory is longer than [`LINK_BYTES`].
    pub(crate) async fn take(&self, bytes: u64) -> Result<Taken, LinkError> {
        let bytes = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(LINK_BYTES as u32);
        // The link's line first: waiting there must not hold what other links wait for.
        let link = Arc::clone(&self.link).acquire_many_owned(bytes).await;
        let link = link.map_err(|_| LinkError::Gone)?;
        let node = Arc::clone(&self.node).acquire_many_owned(bytes).await;
        let node = node.map_err(|_| LinkError::Gone)?;
        Ok(Taken { node, link })
    }
}
