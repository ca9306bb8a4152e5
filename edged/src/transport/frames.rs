//! One frame at a time, from a stream.

use bytes::{Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream};
use relay_core::wire::{self, Frame, PREFIX};

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

/// The bytes of one frame of ours.
///
/// # Errors
/// [`LinkError::Broken`]: what the core asks for fits a frame.
pub(crate) fn bytes(frame: &Frame) -> Result<Bytes, LinkError> {
    let mut out = Vec::with_capacity(128);
    wire::encode(frame, &mut out).map_err(|_| LinkError::Broken("a frame of ours is too long"))?;
    Ok(out.into())
}
