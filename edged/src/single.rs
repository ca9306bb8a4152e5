//! A put of one segment: from its words and bytes to what the core hears.
//!
//! Clients put so, and spools. The bytes are here whole, in memory with their table's
//! place before them, or in a staged file that is synced before its words are heard.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use relay_core::aim::To;
use relay_core::change::KeyName;
use relay_core::event::{Input, Put, Shape};
use relay_core::id::{LaneName, SegmentId};
use relay_core::pack::single_table;
use relay_core::segment::Digest;
use relay_core::spool::Spooled;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::desk::{Desk, GoingDown};
use crate::event::{Answer, Event};
use crate::staging::{Staged, StagedFile};

/// Where a put goes and what travels with it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The lane.
    pub(crate) lane: LaneName,
    /// Where to.
    pub(crate) to: Arc<To>,
    /// The metadata, encoded as it lies in a table.
    pub(crate) meta: Vec<u8>,
    /// How long it stays worth sending.
    pub(crate) ttl: Option<Duration>,
}

impl Order {
    /// Room for the table of a segment with these words, before its body.
    pub(crate) fn table_place(&self) -> BytesMut {
        let table = single_table(SegmentId([0; 16]), Digest::default(), 0, &self.meta);
        BytesMut::from(&table[..])
    }
}

/// All bytes of a put.
pub(crate) enum Taken {
    /// Where the table goes, then the body.
    Memory {
        /// Both.
        bytes: BytesMut,
        /// Where the body begins.
        table_len: usize,
        /// Of the body.
        digest: Digest,
        /// Room for both, until they are durable.
        room: Option<OwnedSemaphorePermit>,
    },
    /// The body.
    File(StagedFile),
}

impl Taken {
    /// The digest of the body.
    fn digest(&self) -> Digest {
        match self {
            Self::Memory { digest, .. } => *digest,
            Self::File(file) => file.digest(),
        }
    }

    /// The length of the body.
    fn length(&self) -> u64 {
        match self {
            Self::Memory {
                bytes, table_len, ..
            } => (bytes.len() - table_len) as u64,
            Self::File(file) => file.length(),
        }
    }
}

/// What makes a put one and no other.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    /// The key a client gave it.
    pub(crate) key: Option<KeyName>,
    /// The file it is made of.
    pub(crate) spooled: Option<Spooled>,
}

/// A put told to the core and not yet answered.
pub(crate) struct Told {
    /// The id it has unless its key named another.
    pub(crate) id: SegmentId,
    /// The digest of its body.
    pub(crate) digest: Digest,
    /// What becomes of it.
    pub(crate) answer: oneshot::Receiver<Answer>,
}

/// Why the core was told nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untold {
    /// The staged file cannot be made durable.
    #[error(transparent)]
    Staging(#[from] std::io::Error),
    /// Nobody is left to tell.
    #[error(transparent)]
    GoingDown(#[from] GoingDown),
}

/// Tells the core of a put; the answer comes later.
pub(crate) async fn put(
    desk: &Desk,
    order: &Order,
    mark: Mark,
    taken: Taken,
) -> Result<Told, Untold> {
    let id = desk.fresh_id();
    let (put, staged) = (desk.fresh_put(), desk.staging.fresh());
    let (digest, length) = (taken.digest(), taken.length());
    let table = single_table(id, digest, length, &order.meta);
    let shape = Shape {
        count: 1,
        bytes: length,
        table_len: u32::try_from(table.len()).expect("metadata is bounded"),
        table: Digest::of(&table),
        first: id,
        last: id,
    };
    let (bytes, room) = match taken {
        Taken::Memory {
            mut bytes, room, ..
        } => {
            bytes[..table.len()].copy_from_slice(&table);
            (Staged::Memory(bytes.freeze()), room)
        }
        Taken::File(file) => {
            let name = file.finish().await?;
            (Staged::File { table, name }, None)
        }
    };
    let input = Input::Put(Put {
        put,
        staged,
        shape,
        lane: order.lane.clone(),
        to: Arc::clone(&order.to),
        ttl: order.ttl,
        key: mark.key.map(|key| (key, digest)),
        spooled: mark.spooled.map(Box::new),
    });
    let event = Event {
        input,
        staged: Some((staged, bytes)),
        room: room.map(Into::into),
    };
    let answer = desk.begin_put(event, put).await?;
    Ok(Told { id, digest, answer })
}
