//! Bytes on their way out: a bounded cache of what was just stored, so that it
//! is not read back to be sent, and the reader threads behind it.
//!
//! It also knows the names behind the core's numbers, as the driver hears of
//! them. The two locks here are held for a look-up and never across an await.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use relay_core::event::SendTrouble;
use relay_core::id::{LaneName, LaneNo, NodeId, NodeNo, PackNo};
use relay_core::ledger::{Loaded, ReadError};
use relay_core::pack::Table;

use crate::readers::Readers;
use crate::transport::{Bodies, Payload, Source};

/// Fresh bytes kept in memory: what comes in while a group commits and a link takes
/// the one before. With a backlog the oldest would be dropped before they are sent,
/// however many were kept, and they would count as memory that grows with what waits.
const CACHE_BYTES: usize = 1 << 20;
/// What an entry takes beside its bytes: small packs are many.
const ENTRY_BYTES: usize = 256;

/// Where links find bytes and names.
#[derive(Clone, Debug)]
pub struct Payloads {
    cache: Arc<Mutex<Cache>>,
    names: Arc<Mutex<Names>>,
    readers: Readers,
}

#[derive(Debug, Default)]
struct Cache {
    packs: HashMap<PackNo, (Bytes, u32)>,
    order: VecDeque<PackNo>,
    held: usize,
}

#[derive(Debug, Default)]
struct Names {
    lanes: BTreeMap<LaneNo, LaneName>,
    nodes: BTreeMap<NodeNo, NodeId>,
}

impl Payloads {
    /// An empty cache before `readers`.
    #[must_use]
    pub fn new(readers: Readers) -> Self {
        Self {
            cache: Arc::default(),
            names: Arc::default(),
            readers,
        }
    }

    /// Keeps the bytes of a pack that is being stored, while there is room: the
    /// oldest go first. The newest stays, however long: it is the next to be sent.
    pub fn keep(&self, pack: PackNo, bytes: Bytes, table_len: u32) {
        let mut cache = lock(&self.cache);
        cache.held += bytes.len() + ENTRY_BYTES;
        cache.order.push_back(pack);
        cache.packs.insert(pack, (bytes, table_len));
        while cache.held > CACHE_BYTES && cache.order.len() > 1 {
            let Some(oldest) = cache.order.pop_front() else {
                break;
            };
            if let Some((bytes, _)) = cache.packs.remove(&oldest) {
                cache.held -= bytes.len() + ENTRY_BYTES;
            }
        }
    }

    /// Learns the name behind a number.
    pub fn name_lane(&self, no: LaneNo, name: LaneName) {
        lock(&self.names).lanes.insert(no, name);
    }

    /// Learns the name behind a number.
    pub fn name_node(&self, no: NodeNo, name: NodeId) {
        lock(&self.names).nodes.insert(no, name);
    }

    /// The number behind a name, if the core has given one.
    #[must_use]
    pub fn node_number(&self, name: &NodeId) -> Option<NodeNo> {
        lock(&self.names)
            .nodes
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(no, _)| *no)
    }

    /// The number behind a name, if the core has given one.
    #[must_use]
    pub fn lane_number(&self, name: &LaneName) -> Option<LaneNo> {
        lock(&self.names)
            .lanes
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(no, _)| *no)
    }

    /// Reads a pack's table back through the reader threads.
    ///
    /// # Errors
    /// [`SendTrouble`], as the core wants to hear it.
    pub async fn table(&self, pack: PackNo) -> Result<Table, SendTrouble> {
        match self.readers.read(move |reader| reader.table(pack)).await {
            Ok(Ok(table)) => Ok(table),
            Ok(Err(error)) => Err(trouble_of(pack, &error)),
            Err(_) => Err(SendTrouble::Unreadable),
        }
    }

    /// Reads a pack back through the reader threads.
    ///
    /// # Errors
    /// [`SendTrouble`], as the core wants to hear it.
    pub async fn read_back(&self, pack: PackNo) -> Result<Payload, SendTrouble> {
        let loaded = self.readers.read(move |reader| reader.load(pack)).await;
        match loaded {
            Ok(Ok(loaded)) => Ok(payload_of(loaded)),
            Ok(Err(error)) => Err(trouble_of(pack, &error)),
            Err(_) => Err(SendTrouble::Unreadable),
        }
    }
}

impl Source for Payloads {
    fn load(&self, pack: PackNo) -> BoxFuture<'_, Result<Payload, SendTrouble>> {
        let cached = lock(&self.cache).packs.get(&pack).cloned();
        match cached {
            Some((bytes, table_len)) => {
                futures_util::future::ready(Ok(split(&bytes, table_len as usize))).boxed()
            }
            None => self.read_back(pack).boxed(),
        }
    }

    fn chunk<'a>(
        &'a self,
        payload: &'a Payload,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Bytes, SendTrouble>> {
        match &payload.bodies {
            Bodies::Memory(bytes) => {
                let end = (from + length).min(bytes.len() as u64);
                futures_util::future::ready(Ok(bytes.slice(from as usize..end as usize))).boxed()
            }
            Bodies::File { path, .. } => {
                let path = path.clone();
                let read = self.readers.read(move |_| read_range(&path, from, length));
                async move { read.await.unwrap_or(Err(SendTrouble::Unreadable)) }.boxed()
            }
        }
    }

    fn lane(&self, lane: LaneNo) -> Option<LaneName> {
        lock(&self.names).lanes.get(&lane).cloned()
    }

    fn node(&self, node: NodeNo) -> Option<NodeId> {
        lock(&self.names).nodes.get(&node).cloned()
    }
}

/// What a reader found, as a link wants it.
#[must_use]
pub fn payload_of(loaded: Loaded) -> Payload {
    match loaded {
        Loaded::Memory { bytes, table_len } => split(&bytes, table_len as usize),
        Loaded::File { table, path, len } => Payload {
            table,
            bodies: Bodies::File { path, length: len },
        },
    }
}

fn split(bytes: &Bytes, table_len: usize) -> Payload {
    Payload {
        table: bytes.slice(..table_len),
        bodies: Bodies::Memory(bytes.slice(table_len..)),
    }
}

fn trouble_of(pack: PackNo, error: &ReadError) -> SendTrouble {
    tracing::warn!(%pack, %error, "Bytes to send cannot be read");
    match error {
        ReadError::Missing => SendTrouble::Missing,
        ReadError::Corrupt(_) => SendTrouble::Corrupt,
        ReadError::Io { .. } | ReadError::Sql(_) => SendTrouble::Unreadable,
    }
}

fn read_range(path: &Path, from: u64, length: u64) -> Result<Bytes, SendTrouble> {
    let read = || -> std::io::Result<Bytes> {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = BytesMut::zeroed(usize::try_from(length).unwrap_or(usize::MAX));
        file.read_exact(&mut bytes)?;
        Ok(bytes.freeze())
    };
    read().map_err(|error| {
        tracing::warn!(path = %path.display(), %error, "Bytes to send cannot be read");
        let kind = error.kind();
        if kind == std::io::ErrorKind::NotFound {
            SendTrouble::Missing
        } else if kind == std::io::ErrorKind::UnexpectedEof {
            // Shorter than its row says.
            SendTrouble::Corrupt
        } else {
            SendTrouble::Unreadable
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
