//! One file becomes a put: read whole, in memory while it is short, through a staged
//! file when it is long, and told to the core as long as it was one and the same file
//! from the first byte to the last.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use relay_core::aim::To;
use relay_core::event::{Input, Refusal};
use relay_core::pack;
use relay_core::segment::{Digest, Meta};
use relay_core::spool::Spooled;

use super::files::{Files, Found, Name, is_still};
use crate::config::{Config, Spool, Target};
use crate::desk::{Desk, GoingDown};
use crate::event::{Answer, Event};
use crate::single::{self, Mark, Order, Taken, Told, Untold};

/// The label that tells the receiver what the file was called here.
const LABEL: &str = "file";
/// Read at once of a long file.
const CHUNK: usize = 256 << 10;

/// Where the files of a spool go, and what they say.
pub(super) struct Words {
    order: Order,
    meta: Meta,
}

/// Why a file is not on its way.
pub(super) enum Trouble {
    /// It is another by now.
    Changed,
    /// The core does not take it.
    Refused(Refusal),
    /// The folder does not give it.
    Unreadable(io::Error),
    /// Our own disk does not take it.
    Staging(io::Error),
    /// The daemon ends.
    GoingDown(GoingDown),
}

impl From<GoingDown> for Trouble {
    fn from(gone: GoingDown) -> Self {
        Self::GoingDown(gone)
    }
}

impl Words {
    pub(super) fn new(config: &Config, spool: &Spool) -> Self {
        let (peers, route) = match &spool.target {
            Target::Peer(peer) => (Arc::from([peer.clone()]), None),
            Target::Route(name) => (Arc::default(), Some(name.as_str().into())),
        };
        let to = To {
            peers,
            route,
            topic: spool.topic.clone(),
            success: None,
        };
        let order = Order {
            lane: spool.lane.clone(),
            to: Arc::new(to),
            meta: Vec::new(),
            ttl: config.lanes.get(&spool.lane).and_then(|lane| lane.ttl),
        };
        let meta = Meta {
            topic: spool.topic.clone(),
            labels: Vec::new(),
        };
        Self { order, meta }
    }

    /// Reads a file and tells the core; what becomes of it is heard later.
    pub(super) async fn put(
        &self,
        desk: &Desk,
        files: &Arc<Files>,
        folder: &Arc<str>,
        found: &Found,
    ) -> Result<Told, Trouble> {
        let order = Order {
            meta: pack::encode_meta(&labelled(&self.meta, &found.name)),
            ..self.order.clone()
        };
        let (reader, wanted) = (Arc::clone(files), found.clone());
        let opened = blocking(move || reader.open(&wanted)).await;
        let file = opened.map_err(Trouble::Unreadable)?;
        let file = file.ok_or(Trouble::Changed)?;
        let taken = if found.seen.mark.length > desk.in_memory() {
            announce(desk, &order, found.seen.mark.length).await?;
            through_file(desk, file, found).await?
        } else {
            in_memory(desk, &order, file, found).await?
        };
        let spooled = Spooled {
            folder: Arc::clone(folder),
            file: found.seen.mark,
        };
        let mark = Mark {
            key: None,
            spooled: Some(spooled),
        };
        single::put(desk, &order, mark, taken)
            .await
            .map_err(|error| match error {
                Untold::Staging(error) => Trouble::Staging(error),
                Untold::GoingDown(gone) => Trouble::GoingDown(gone),
            })
    }
}

/// The words of a file: its name too, where that is a label's value.
fn labelled(meta: &Meta, name: &Name) -> Meta {
    let Ok(text) = std::str::from_utf8(name.bytes()) else {
        return meta.clone();
    };
    let with_name = Meta {
        labels: vec![(LABEL.to_owned(), text.to_owned())],
        ..meta.clone()
    };
    match with_name.check() {
        Ok(()) => with_name,
        Err(_) => meta.clone(),
    }
}

/// What would be refused after its bytes is refused before them.
async fn announce(desk: &Desk, order: &Order, length: u64) -> Result<(), Trouble> {
    let put = desk.fresh_put();
    let input = Input::Announced {
        put,
        length,
        lane: order.lane.clone(),
        to: Arc::clone(&order.to),
    };
    match desk.put(Event::from(input), put).await? {
        Answer::Admitted => Ok(()),
        Answer::Refused(why) => Err(Trouble::Refused(why)),
        Answer::Accepted | Answer::Known(..) => Err(Trouble::GoingDown(GoingDown)),
    }
}

async fn in_memory(
    desk: &Desk,
    order: &Order,
    mut file: File,
    found: &Found,
) -> Result<Taken, Trouble> {
    let mut bytes = order.table_place();
    let table_len = bytes.len();
    let length = usize::try_from(found.seen.mark.length).expect("it fits in memory");
    let permits = u32::try_from(table_len + length).expect("it fits in memory");
    let room = Arc::clone(&desk.room).acquire_many_owned(permits).await;
    let found = found.clone();
    let read = blocking(move || {
        bytes.resize(table_len + length, 0);
        let whole = fill(&mut file, &mut bytes[table_len..])? == length;
        Ok((whole && is_still(&file, &found)?).then_some(bytes))
    });
    let bytes = read.await.map_err(Trouble::Unreadable)?;
    let bytes = bytes.ok_or(Trouble::Changed)?;
    Ok(Taken::Memory {
        digest: Digest::of(&bytes[table_len..]),
        bytes,
        table_len,
        room: room.ok(),
    })
}

async fn through_file(desk: &Desk, mut file: File, found: &Found) -> Result<Taken, Trouble> {
    let length = found.seen.mark.length;
    let staged = desk.staging.create(length).await;
    let mut staged = staged.map_err(Trouble::Staging)?;
    while staged.length() < length {
        let read = blocking(move || {
            let mut chunk = vec![0; CHUNK];
            let read = fill(&mut file, &mut chunk)?;
            chunk.truncate(read);
            Ok((file, Bytes::from(chunk)))
        });
        let (back, chunk) = read.await.map_err(Trouble::Unreadable)?;
        file = back;
        if chunk.is_empty() || staged.length() + chunk.len() as u64 > length {
            return Err(Trouble::Changed);
        }
        staged.write(chunk).await.map_err(Trouble::Staging)?;
    }
    match is_still(&file, found).map_err(Trouble::Unreadable)? {
        true => Ok(Taken::File(staged)),
        false => Err(Trouble::Changed),
    }
}

/// Reads until `into` is full or the file ends; how much that was.
fn fill(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read(&mut into[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Does `work` where waiting for a disk holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
