//! One frame at a time, from a stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream};
use relay_core::wire::{self, Frame, PREFIX};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::error::LinkError;

/// The next frame; `None` where the stream ends between two.
///
/// # Errors
/// [`LinkError::Protocol`] for what is no frame; [`LinkError::Gone`] when the stream was
/// reset or ended inside one.
pub(crate) async fn next(stream: &mut RecvStream) -> Result<Option<Frame>, LinkError> {
    let mut prefix = [0; PREFIX];
    match stream.read_exact(&mut prefix).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let words = exactly(stream, wire::frame_length(prefix)?).await?;
    Ok(Some(wire::decode_words(&words)?))
}

/// Exactly `length` bytes, in one piece; the caller has bounded `length`.
///
/// # Errors
/// [`LinkError::Gone`] when the stream was reset or ended before them.
pub(crate) async fn exactly(stream: &mut RecvStream, length: usize) -> Result<Bytes, LinkError> {
    let mut bytes = BytesMut::zeroed(length);
    stream.read_exact(&mut bytes).await?;
    Ok(bytes.freeze())
}

/// How long bytes that have room in memory may take to come: 64 KiB at 18 B/s.
const WITHIN: Duration = Duration::from_secs(60 * 60);

/// Fills `bytes`, for which room was taken, from `stream`.
///
/// # Errors
/// [`LinkError::Protocol`] after an hour, since others wait for the room;
/// [`LinkError::Gone`] when the stream was reset or ended before.
pub(crate) async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
) -> Result<(), LinkError> {
    fill_within(WITHIN, stream, bytes).await
}

async fn fill_within(
    time: Duration,
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
) -> Result<(), LinkError> {
    match tokio::time::timeout(time, stream.read_exact(bytes)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(LinkError::Gone),
        Err(_) => Err(LinkError::protocol(
            "pack is not here an hour after its header",
        )),
    }
}

/// The bytes of one frame of ours.
///
/// # Errors
/// [`LinkError::Broken`]: what the core asks for fits a frame.
pub(crate) fn bytes(frame: &Frame) -> Result<Bytes, LinkError> {
    let mut out = Vec::with_capacity(128);
    wire::encode(frame, &mut out).map_err(|_| LinkError::Broken("a frame of ours is too long"))?;
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_pack_that_does_not_come_to_its_end_is_waited_for_so_long_and_no_longer() {
        let (mut theirs, mut ours) = tokio::io::duplex(64);
        theirs.write_all(b"drip").await.expect("there is room");

        let filled = fill_within(Duration::ZERO, &mut ours, &mut [0; 64]).await;

        assert!(matches!(filled, Err(LinkError::Protocol(_))), "{filled:?}");
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_is_gone() {
        let (mut theirs, mut ours) = tokio::io::duplex(64);
        theirs.write_all(b"drip").await.expect("there is room");
        drop(theirs);

        let filled = fill(&mut ours, &mut [0; 64]).await;

        assert!(matches!(filled, Err(LinkError::Gone)), "{filled:?}");
    }
}
