//! Frames over one client's socket, and what ends a conversation.
//!
//! The reading half refuses a length before it waits for its bytes, with the bound that
//! holds at that point of the script. The writing half gives a client that takes
//! nothing [`PATIENCE`], and then up. Payload chunks are written from where they lie.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use edged_rpc::frame::{self, FrameError};
use edged_rpc::{ErrorKind, MAX_CHUNK, MAX_FRAME, MAX_RAW, Response, RpcError};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec, LengthDelimitedCodecError};

/// How long a client may take to read one frame, or to send the body of a batch it has
/// announced: it holds memory meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What ends a conversation early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The client hung up between two frames, in the middle of what it had begun.
    #[error("the client hung up in the middle")]
    HungUp,
    /// The client hung up inside a frame.
    #[error("the stream ends inside a frame")]
    CutShort,
    /// A length above what may come here.
    #[error("frame of more than {most} bytes, the most that may come here")]
    TooLong {
        /// The bound.
        most: usize,
    },
    /// Bytes that are no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Not a byte moved for [`PATIENCE`].
    #[error("no progress for {PATIENCE:?}")]
    TooSlow,
    /// A payload that was refused goes on and on.
    #[error("a refused payload does not end")]
    TooMuch,
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(io::Error),
}

impl Broken {
    /// What the client may still be told; `None` when it is gone.
    pub(super) fn last_word(&self) -> Option<RpcError> {
        let code = match self {
            Self::CutShort | Self::TooLong { .. } | Self::Frame(_) => "bad_frame",
            Self::TooSlow => "too_slow",
            Self::TooMuch => "too_large",
            Self::HungUp | Self::Socket(_) => return None,
        };
        Some(
            RpcError::new(ErrorKind::Invalid, code, self.to_string())
                .with_hint("this connection ends; connect again"),
        )
    }
}

/// The reading half.
pub(super) struct Hearer {
    frames: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
}

impl Hearer {
    /// Frames of `half`.
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .little_endian()
            .max_frame_length(MAX_RAW)
            .new_codec();
        Self {
            frames: FramedRead::new(half, codec),
        }
    }

    /// The next words; `None` when the client has nothing more to say.
    pub(super) async fn words<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Broken> {
        match self.next(MAX_FRAME).await? {
            Some(body) => Ok(Some(frame::decode(&body)?)),
            None => Ok(None),
        }
    }

    /// The next chunk of a payload; empty at its end. Dropped half way, it loses nothing.
    pub(super) async fn chunk(&mut self) -> Result<Bytes, Broken> {
        let chunk = self.next(MAX_CHUNK).await?.ok_or(Broken::HungUp)?;
        Ok(chunk.freeze())
    }

    /// The raw frame of at most `most` bytes that must come now.
    pub(super) async fn raw(&mut self, most: usize) -> Result<BytesMut, Broken> {
        let raw = tokio::time::timeout(PATIENCE, self.next(most)).await;
        raw.map_err(|_| Broken::TooSlow)??.ok_or(Broken::HungUp)
    }

    async fn next(&mut self, most: usize) -> Result<Option<BytesMut>, Broken> {
        self.frames.decoder_mut().set_max_frame_length(most);
        match self.frames.next().await {
            None => Ok(None),
            Some(Ok(body)) => Ok(Some(body)),
            Some(Err(error)) => Err(broken(error, most)),
        }
    }
}

fn broken(error: io::Error, most: usize) -> Broken {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<LengthDelimitedCodecError>()) {
        return Broken::TooLong { most };
    }
    // `Other` is the codec's word for a stream that ends inside a frame.
    let cut = [io::ErrorKind::Other, io::ErrorKind::UnexpectedEof];
    if cut.contains(&error.kind()) {
        return Broken::CutShort;
    }
    gone_or(error)
}

/// A client that is gone is no trouble of the socket's.
fn gone_or(error: io::Error) -> Broken {
    let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    if gone.contains(&error.kind()) {
        return Broken::HungUp;
    }
    Broken::Socket(error)
}

/// The writing half.
pub(super) struct Teller {
    half: OwnedWriteHalf,
    out: Vec<u8>,
}

/// What the words buffer keeps between two answers.
const KEEP: usize = 64 << 10;

impl Teller {
    /// Frames to `half`.
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self {
            half,
            out: Vec::new(),
        }
    }

    /// Says one message. An answer that fits no frame becomes an error in its place.
    pub(super) async fn say<T: Serialize>(&mut self, message: &T) -> Result<(), Broken> {
        self.out.clear();
        self.out.shrink_to(KEEP);
        if let Err(error) = frame::encode(message, &mut self.out) {
            let error = RpcError::new(ErrorKind::Failed, "answer_too_long", error.to_string());
            let error = error.with_hint("ask for fewer rows");
            frame::encode(&Response::Error(error), &mut self.out)?;
        }
        let Self { half, out } = self;
        patiently(half.write_all(out)).await
    }

    /// Says no.
    pub(super) async fn refuse(&mut self, error: RpcError) -> Result<(), Broken> {
        self.say(&Response::Error(error)).await
    }

    /// Sends `bytes` as chunks; none for no bytes, since an empty one ends the payload.
    pub(super) async fn chunks(&mut self, mut bytes: Bytes) -> Result<(), Broken> {
        while bytes.has_remaining() {
            let chunk = bytes.split_to(bytes.len().min(MAX_CHUNK));
            patiently(self.frame(&chunk)).await?;
        }
        Ok(())
    }

    /// Ends a payload.
    pub(super) async fn end_payload(&mut self) -> Result<(), Broken> {
        patiently(self.frame(&[])).await
    }

    async fn frame(&mut self, body: &[u8]) -> io::Result<()> {
        let prefix = frame::prefix(body.len());
        let mut parts = [IoSlice::new(&prefix), IoSlice::new(body)];
        let mut parts = &mut parts[..];
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let written = self.half.write_vectored(parts).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }
}

async fn patiently(write: impl Future<Output = io::Result<()>>) -> Result<(), Broken> {
    match tokio::time::timeout(PATIENCE, write).await {
        Ok(written) => written.map_err(gone_or),
        Err(_) => Err(Broken::TooSlow),
    }
}
