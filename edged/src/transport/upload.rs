//! One large segment on its way out, on a stream of its own: offer, answer, body.

use std::sync::Arc;

use quinn::{RecvStream, SendStream, VarInt, WriteError};
use relay_core::change::Due;
use relay_core::event::{Input, Parcel, SendTrouble};
use relay_core::wire::{Frame, Goodbye, TAKEN_BACK};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::LinkError;
use super::frames;
use super::lane::{header, priority};
use super::link::Ended;
use super::order::Piece;
use super::shared::Line;
use super::source::{self, Payload};

/// Offers `parcel`, tells what the peer answers, and sends the pieces asked for; resets
/// the stream when `reset` is cancelled.
pub(crate) async fn offer(
    line: Arc<Line>,
    parcel: Box<Parcel>,
    pieces: mpsc::Receiver<Box<Piece>>,
    reset: CancellationToken,
) -> Result<Ended, LinkError> {
    let due = parcel.due;
    let payload = match line.shared.source.load(due.pack).await {
        Ok(payload) if payload.table.len() == parcel.info.table_len as usize => payload,
        Ok(_) => return failed(&line, due, SendTrouble::Corrupt).await,
        Err(trouble) => return failed(&line, due, trouble).await,
    };
    let (mut send, recv) = line.connection.open_bi().await?;
    // A stream that is closed has nothing to put before others.
    let _ = send.set_priority(priority(parcel.class));
    let work = serve(&line, &parcel, &payload, pieces, (&mut send, recv));
    let done = tokio::select! {
        done = work => done,
        () = reset.cancelled() => Ok(Done::Stopped),
    };
    match done {
        Ok(Done::Sent) => {}
        Ok(Done::Stopped) => give_up(&mut send, TAKEN_BACK),
        Ok(Done::Trouble(trouble)) => {
            give_up(&mut send, Goodbye::Internal.code());
            return failed(&line, due, trouble).await;
        }
        Err(error) => {
            give_up(&mut send, Goodbye::Internal.code());
            return Err(error);
        }
    }
    Ok(Ended::Upload(due))
}

/// How an upload came to its end.
enum Done {
    /// The whole body is at the peer's QUIC, or was not wanted to its end.
    Sent,
    /// The peer needs no bytes, or is to get no more.
    Stopped,
    /// Our own bytes are not what they should be.
    Trouble(SendTrouble),
}

async fn serve(
    line: &Line,
    parcel: &Parcel,
    payload: &Payload,
    mut pieces: mpsc::Receiver<Box<Piece>>,
    (send, mut recv): (&mut SendStream, RecvStream),
) -> Result<Done, LinkError> {
    let (link, due) = (line.link, parcel.due);
    let header = header(line, parcel, parcel.info.bytes)?;
    let words = frames::bytes(&Frame::Offer(header))?;
    send.write_all_chunks(&mut [words, payload.table.clone()])
        .await?;
    match frames::next(&mut recv).await? {
        Some(Frame::Want { pack, part, from }) => {
            if (pack, part) != (due.pack, due.part) || from > parcel.info.bytes {
                return Err(LinkError::protocol("want is not for the segment on offer"));
            }
            line.tell(Input::Wanted { link, due, from }).await?;
        }
        // The ack follows on control, or the answer has already come there.
        Some(Frame::Have { .. }) | None => return Ok(Done::Stopped),
        Some(_) => return Err(LinkError::protocol("frame does not answer an offer")),
    }
    let mut stopped = false;
    while let Some(piece) = pieces.recv().await {
        if !stopped {
            let run = piece.from..piece.from.saturating_add(piece.bytes);
            let bytes = match source::read(&*line.shared.source, payload, run).await {
                Ok(bytes) => bytes,
                Err(trouble) => return Ok(Done::Trouble(trouble)),
            };
            match send.write_chunk(bytes).await {
                Ok(()) => {}
                // The peer's answer is on control; what is still asked for is let go.
                Err(WriteError::Stopped(_)) => stopped = true,
                Err(error) => return Err(error.into()),
            }
        }
        line.tell(Input::Taken {
            link,
            due,
            bytes: piece.bytes,
        })
        .await?;
        if piece.last {
            // A stream the peer has stopped needs no end, and has no byte to wait for.
            let _ = send.finish();
            if stopped || send.stopped().await.is_ok() {
                let dues = vec![due];
                line.tell(Input::Delivered { link, dues }).await?;
            }
            return Ok(Done::Sent);
        }
    }
    Ok(Done::Stopped)
}

async fn failed(line: &Line, due: Due, trouble: SendTrouble) -> Result<Ended, LinkError> {
    line.tell(Input::SendFailed {
        link: line.link,
        due,
        trouble,
    })
    .await?;
    Ok(Ended::Upload(due))
}

fn give_up(send: &mut SendStream, code: u32) {
    // Already closed is as good.
    let _ = send.reset(VarInt::from_u32(code));
}
