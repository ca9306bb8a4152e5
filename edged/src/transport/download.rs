//! One large segment on its way in, on a stream of its own: offer, answer, body.
//!
//! The core says from which byte a body is wanted and whether its beginning is kept when
//! it is cut off; `inflow` keeps it. Without that a body up to 1 MiB waits in memory, in
//! room taken for it, and a longer one goes to a staged file. A file is fsynced before
//! the core hears of it. A body that does not match its digest is refused, and nothing of
//! it is kept; one that was resumed begins anew instead, since the fault may be ours.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream, VarInt};
use relay_core::change::Sent;
use relay_core::event::{Arrival, BusyWhy, Input, Offer};
use relay_core::id::PartialNo;
use relay_core::limits;
use relay_core::pack::Table;
use relay_core::segment::Digest;
use relay_core::wire::{Frame, Goodbye, PackHeader};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::arrival::{self, arrival, ids, shape};
use super::error::LinkError;
use super::frames;
use super::inflow::{Inflow, Whole};
use super::link::Ended;
use super::order::Name;
use super::room::Taken;
use super::shared::{Line, locked};
use crate::clock;
use crate::event::Event;
use crate::staging::{PartialFile, Staged, StagedFile};

/// Bytes written to a staged file at once.
pub(super) const CHUNK: u64 = 256 << 10;

/// The core's answer to an offer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its body is wanted.
    Want {
        /// From this byte on.
        from: u64,
        /// Under which number it is kept when it is cut off.
        partial: Option<PartialNo>,
    },
    /// Its segment is here.
    Have,
}

/// An offer that waits for its answer; dropping `answer` lets go of the offer.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// What the answer calls it.
    pub(crate) name: Name,
    /// Where the answer goes.
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Hears one offer and does as the core answers.
pub(crate) async fn hear(
    line: Arc<Line>,
    (mut send, mut recv): (SendStream, RecvStream),
    desk: mpsc::Sender<Waiting>,
) -> Result<Ended, LinkError> {
    let Some(Frame::Offer(header)) = frames::next(&mut recv).await? else {
        return Err(LinkError::protocol(
            "stream of a segment begins without an offer",
        ));
    };
    let table = frames::exactly(&mut recv, header.table_len as usize).await?;
    let received = Digest::of(&table);
    let table = Table::parse(table, header.count)?;
    if table.body_len() != header.body_len {
        return Err(LinkError::protocol(
            "offer and table disagree about the length",
        ));
    }
    let heading = header.heading(line.ledger);
    let (sent, name) = (heading.sent, (heading.sent.pack, heading.sent.part));
    let (answer, answered) = oneshot::channel();
    // Before the core hears of the offer, or its answer could come too early.
    desk.send(Waiting { name, answer })
        .await
        .map_err(|_| LinkError::Gone)?;
    let offer = Box::new(Offer {
        heading,
        shape: shape(&table, received),
        ids: ids(&table),
    });
    line.tell(Input::Offered {
        link: line.link,
        offer,
    })
    .await?;

    let (pack, part) = name;
    let (from, partial) = match answered.await {
        Ok(Answer::Want { from, partial }) => (from, partial),
        Ok(Answer::Have) => {
            send.write_chunk(frames::bytes(&Frame::Have { pack, part })?)
                .await?;
            let _ = send.finish();
            return Ok(Ended::Heard);
        }
        // Answered on control.
        Err(_) => {
            let _ = recv.stop(VarInt::from_u32(Goodbye::Internal.code()));
            return Ok(Ended::Heard);
        }
    };
    let offer = Offered {
        line: &line,
        header: &header,
        table: &table,
        partial,
    };
    let want = frames::bytes(&Frame::Want { pack, part, from })?;
    let taken = match offer.place(from).await {
        Ok(place) => match send.write_chunk(want).await {
            Ok(()) => offer.body(&mut recv, place, from).await,
            Err(error) => {
                place.leave();
                Err(Trouble::Cut(error.into(), from))
            }
        },
        Err(trouble) => Err(trouble),
    };
    match taken {
        Ok(event) => line.shared.tell(event).await?,
        Err(trouble) => {
            let _ = recv.stop(VarInt::from_u32(Goodbye::Internal.code()));
            offer.cut_off(sent, trouble).await?;
        }
    }
    Ok(Ended::Heard)
}

/// Why a body did not arrive.
pub(super) enum Trouble {
    /// The stream or the peer; nothing of it is kept.
    Link(LinkError),
    /// The stream or the peer; so many bytes of it are kept.
    Cut(LinkError, u64),
    /// Our own disk; so many bytes of it are kept.
    Disk(std::io::Error, u64),
    /// It was resumed, and is not what was offered: the bytes kept may be at fault.
    Spoiled,
}

impl<E: Into<LinkError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}

/// An offer that is wanted.
struct Offered<'o> {
    line: &'o Line,
    header: &'o PackHeader,
    table: &'o Table,
    partial: Option<PartialNo>,
}

/// Where a body goes: room on the disk for all of it is found before it is asked for, so
/// that nothing is sent in vain.
enum Place<'o> {
    /// Memory, or a partial file when it is slow or cut off.
    Kept(Inflow<'o>, Option<PartialFile>),
    /// Memory.
    Memory,
    /// A file that goes when it is cut off.
    File(StagedFile),
}

impl Place<'_> {
    /// No byte of the body comes.
    fn leave(self) {
        if let Self::Kept(_, Some(file)) = self {
            file.rest();
        }
    }
}

impl Offered<'_> {
    async fn place(&self, from: u64) -> Result<Place<'_>, Trouble> {
        let (line, length) = (self.line, self.header.body_len);
        if let Some(no) = self.partial {
            let inflow = Inflow { line, no, length };
            let file = inflow.file(from).await?;
            return Ok(Place::Kept(inflow, file));
        }
        if length <= limits::ARRIVAL_IN_MEMORY {
            return Ok(Place::Memory);
        }
        let file = line.shared.staging.receive(length).await;
        file.map(Place::File).map_err(gone)
    }

    async fn body(
        &self,
        recv: &mut RecvStream,
        place: Place<'_>,
        from: u64,
    ) -> Result<Event, Trouble> {
        match place {
            Place::Kept(inflow, file) => match inflow.take(recv, self.table, file).await? {
                Whole::Memory(bytes, room) => self.in_memory(bytes, room),
                Whole::File(file) => self.in_partial(inflow.no, file, from).await,
            },
            Place::Memory => {
                let (head, length) = (self.table.bytes().len(), self.header.body_len);
                let room = self.line.room.take(head as u64 + length).await?;
                let mut bytes = BytesMut::zeroed(head + length as usize);
                bytes[..head].copy_from_slice(self.table.bytes());
                frames::fill(recv, &mut bytes[head..]).await?;
                ended(recv).await?;
                self.in_memory(bytes.freeze(), room)
            }
            Place::File(file) => self.in_file(recv, file).await,
        }
    }

    fn in_memory(&self, bytes: Bytes, room: Taken) -> Result<Event, Trouble> {
        let name = self.line.shared.staging.fresh();
        let shared = &self.line.shared;
        let (arrival, bytes) = arrival(
            self.header,
            self.line.ledger,
            bytes,
            name,
            &shared.wary,
            shared.topics,
        )
        .map_err(LinkError::from)?;
        let room = bytes.is_some().then_some(room.into());
        Ok(Event {
            staged: bytes.map(|bytes| (name, Staged::Memory(bytes))),
            room,
            ..self.heard(arrival)
        })
    }

    async fn in_partial(
        &self,
        no: PartialNo,
        file: PartialFile,
        from: u64,
    ) -> Result<Event, Trouble> {
        if self.is_wanted(file.digest()) {
            let name = file.finish().await.map_err(gone)?;
            return Ok(self.filed(name));
        }
        if from > 0 {
            return Err(Trouble::Spoiled);
        }
        drop(file);
        self.line.shared.staging.forget(no);
        Ok(self.refused())
    }

    /// To a file that goes when it is cut off.
    async fn in_file(&self, recv: &mut RecvStream, mut file: StagedFile) -> Result<Event, Trouble> {
        let mut left = self.header.body_len;
        // One chunk is written while the next is read.
        let _room = self.line.room.take(2 * CHUNK).await?;
        let mut chunk = next(recv, &mut left).await?;
        while !chunk.is_empty() {
            let write = async { file.write(chunk).await.map_err(gone) };
            let read = async { next(recv, &mut left).await.map_err(Trouble::Link) };
            ((), chunk) = tokio::try_join!(write, read)?;
        }
        ended(recv).await?;
        if !self.is_wanted(file.digest()) {
            return Ok(self.refused());
        }
        let name = file.finish().await.map_err(gone)?;
        Ok(self.filed(name))
    }

    fn is_wanted(&self, digest: Digest) -> bool {
        let wanted = self.table.members().first().map(|member| member.digest);
        wanted == Some(digest)
    }

    /// The whole body is in the file called `file`.
    fn filed(&self, file: String) -> Event {
        let (header, ledger, table) = (self.header, self.line.ledger, self.table);
        let name = self.line.shared.staging.fresh();
        let received = Digest::of(table.bytes());
        let topics = self.line.shared.topics;
        let arrival = arrival::whole(header, ledger, table, received, name, topics);
        let staged = Staged::File {
            table: table.bytes().clone(),
            name: file,
        };
        Event {
            staged: Some((name, staged)),
            ..self.heard(arrival)
        }
    }

    /// The body is not what the table says.
    fn refused(&self) -> Event {
        let name = self.line.shared.staging.fresh();
        let arrival = arrival::refused(self.header, self.line.ledger, self.table, name);
        self.heard(arrival)
    }

    fn heard(&self, arrival: Arrival) -> Event {
        Input::Arrived {
            link: self.line.link,
            arrival: Box::new(arrival),
        }
        .into()
    }

    /// Tells the core what is kept of a body that did not arrive, then that it did not.
    async fn cut_off(&self, sent: Sent, trouble: Trouble) -> Result<(), LinkError> {
        let line = self.line;
        let (error, why, bytes) = match trouble {
            Trouble::Link(error) => (Some(error), None, 0),
            Trouble::Cut(error, bytes) => (Some(error), None, bytes),
            Trouble::Disk(error, bytes) => (None, Some(self.failed(&error)), bytes),
            Trouble::Spoiled => {
                warn!(peer = %line.peer, "Large segment is not what was offered, and begins anew");
                (None, Some(BusyWhy::Io), 0)
            }
        };
        if let Some(partial) = self.partial {
            let of = self.header.body_len;
            if why != Some(BusyWhy::StorageFull) {
                info!(peer = %line.peer, %partial, bytes, of, "Large segment was cut off");
            }
            line.tell(Input::Kept { partial, bytes }).await?;
        }
        let link = line.link;
        line.tell(Input::OfferLost { link, sent, why }).await?;
        error.map_or(Ok(()), Err)
    }

    /// Our disk has failed: what its sender hears. It asks again in a second, of all its
    /// segments, and the log is to be read by somebody.
    fn failed(&self, error: &std::io::Error) -> BusyWhy {
        let (peer, bytes) = (&self.line.peer, self.header.body_len);
        let now = clock::now().mono;
        let says = locked(&self.line.shared.complaints).says(error.kind(), now);
        if let Some(kept_back) = says {
            warn!(%error, %peer, bytes, kept_back, "Large segment cannot be staged");
        }
        let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
        match full.contains(&error.kind()) {
            true => BusyWhy::StorageFull,
            false => BusyWhy::Io,
        }
    }
}

/// Nothing of it is kept.
fn gone(error: std::io::Error) -> Trouble {
    Trouble::Disk(error, 0)
}

/// The next chunk of a body of which `left` bytes are to come; empty at its end.
async fn next(recv: &mut RecvStream, left: &mut u64) -> Result<Bytes, LinkError> {
    let length = (*left).min(CHUNK);
    *left -= length;
    frames::exactly(recv, length as usize).await
}

/// Holds the peer to ending its stream where the body ends.
async fn ended(recv: &mut RecvStream) -> Result<(), LinkError> {
    match recv.read_chunk(1, true).await? {
        None => Ok(()),
        Some(_) => Err(LinkError::protocol("body is longer than its offer")),
    }
}
