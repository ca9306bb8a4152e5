//! One large segment on its way in, on a stream of its own: offer, answer, body.
//!
//! Up to 1 MiB the body waits in memory, in room taken for it; above that it goes to a
//! staged file, hashed as it is written and fsynced before the core hears of it. A body
//! that does not match its digest is refused, and nothing of it is kept.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream, VarInt};
use relay_core::event::{Arrival, Input, Offer};
use relay_core::limits;
use relay_core::pack::Table;
use relay_core::segment::Digest;
use relay_core::wire::{Frame, Goodbye, PackHeader};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::arrival::{self, arrival, ids, shape};
use super::error::LinkError;
use super::frames;
use super::link::Ended;
use super::order::Name;
use super::shared::Line;
use crate::event::Event;
use crate::staging::Staged;

/// Bytes written to a staged file at once.
const CHUNK: u64 = 256 << 10;

/// The core's answer to an offer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its body is wanted from this byte on.
    Want(u64),
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
    match answered.await {
        Ok(Answer::Want(0)) => {}
        Ok(Answer::Want(_)) => return Err(LinkError::Broken("a part of a body is wanted")),
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
    }
    send.write_chunk(frames::bytes(&Frame::Want {
        pack,
        part,
        from: 0,
    })?)
    .await?;
    match body(&line, &mut recv, &header, &table).await {
        Ok(event) => line.shared.tell(event).await?,
        Err(error) => {
            if let Trouble::Disk(error) = &error {
                warn!(%error, peer = %line.peer, "Large segment cannot be staged");
            }
            let _ = recv.stop(VarInt::from_u32(Goodbye::Internal.code()));
            line.tell(Input::OfferLost {
                link: line.link,
                sent,
            })
            .await?;
            if let Trouble::Link(error) = error {
                return Err(error);
            }
        }
    }
    Ok(Ended::Heard)
}

/// Why a body did not arrive.
enum Trouble {
    /// The stream or the peer.
    Link(LinkError),
    /// Our own disk.
    Disk(std::io::Error),
}

impl<E: Into<LinkError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}

async fn body(
    line: &Line,
    recv: &mut RecvStream,
    header: &PackHeader,
    table: &Table,
) -> Result<Event, Trouble> {
    if header.body_len <= limits::ARRIVAL_IN_MEMORY {
        in_memory(line, recv, header, table).await
    } else {
        in_file(line, recv, header, table).await
    }
}

async fn in_memory(
    line: &Line,
    recv: &mut RecvStream,
    header: &PackHeader,
    table: &Table,
) -> Result<Event, Trouble> {
    let table_len = table.bytes().len();
    let length = table_len as u64 + header.body_len;
    let room = line.room.take(length).await?;
    let mut bytes = BytesMut::zeroed(length as usize);
    bytes[..table_len].copy_from_slice(table.bytes());
    recv.read_exact(&mut bytes[table_len..]).await?;
    ended(recv).await?;
    let name = line.shared.staging.fresh();
    let (arrival, bytes) =
        arrival(header, line.ledger, bytes.freeze(), name).map_err(LinkError::from)?;
    let room = bytes.is_some().then_some(room.node);
    Ok(Event {
        staged: bytes.map(|bytes| (name, Staged::Memory(bytes))),
        room,
        ..heard(line, arrival)
    })
}

async fn in_file(
    line: &Line,
    recv: &mut RecvStream,
    header: &PackHeader,
    table: &Table,
) -> Result<Event, Trouble> {
    let staging = &line.shared.staging;
    let mut file = staging
        .create(header.body_len)
        .await
        .map_err(Trouble::Disk)?;
    // One chunk is written while the next is read.
    let _room = line.room.take(2 * CHUNK).await?;
    let mut left = header.body_len;
    let mut chunk = next(recv, &mut left).await?;
    while !chunk.is_empty() {
        let write = async { file.write(chunk).await.map_err(Trouble::Disk) };
        let read = async { next(recv, &mut left).await.map_err(Trouble::Link) };
        ((), chunk) = tokio::try_join!(write, read)?;
    }
    ended(recv).await?;
    let name = line.shared.staging.fresh();
    let wanted = table.members().first().map(|member| member.digest);
    if wanted != Some(file.digest()) {
        return Ok(heard(
            line,
            arrival::refused(header, line.ledger, table, name),
        ));
    }
    let file = file.finish().await.map_err(Trouble::Disk)?;
    let arrival = arrival::whole(header, line.ledger, table, Digest::of(table.bytes()), name);
    let staged = Staged::File {
        table: table.bytes().clone(),
        name: file,
    };
    Ok(Event {
        staged: Some((name, staged)),
        ..heard(line, arrival)
    })
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

fn heard(line: &Line, arrival: Arrival) -> Event {
    Input::Arrived {
        link: line.link,
        arrival: Box::new(arrival),
    }
    .into()
}
