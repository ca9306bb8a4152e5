//! Bytes of the conversation, without a socket: length prefix, words, bounds.
//!
//! A frame is a little-endian `u32` length and that many bytes, exactly what
//! `tokio_util`'s `LengthDelimitedCodec` reads with `little_endian()` and
//! `max_frame_length(MAX_RAW)`. [`encode`] appends whole frames to a buffer,
//! [`split`] takes one off its front or says "not yet complete", [`decode`] reads
//! the words of a frame already cut out. A length is refused before its bytes are
//! waited for; nothing here allocates by a length the other side announced.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{MAX_BATCH_MEMBERS, PutBatch, PutOptions};

/// Bytes of the length before each frame.
pub const PREFIX: usize = 4;

/// Longest frame of words: a page of a thousand rows fits, a mistaken length does not.
pub const MAX_FRAME: usize = 1 << 20;

/// Longest chunk of a streamed payload: two copies fit a socket buffer of a megabyte.
pub const MAX_CHUNK: usize = 256 << 10;

/// Longest run of bodies in one batch, and with it the longest frame of all.
pub const MAX_RAW: usize = 4 << 20;

/// Why bytes are not a frame, or a message does not fit one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length above what may come at this point of the conversation.
    #[error("frame of {found} bytes where at most {most} may come")]
    TooLong {
        /// Bytes announced, or bytes the message would take.
        found: usize,
        /// The bound that holds here.
        most: usize,
    },
    /// The bytes end inside the message.
    #[error("frame of {found} bytes ends inside its message")]
    Truncated {
        /// Bytes the frame had.
        found: usize,
    },
    /// The message ends before the bytes do.
    #[error("{left} bytes left over after the message in a frame of {found}")]
    LeftOver {
        /// Bytes the frame had.
        found: usize,
        /// Bytes that belong to nothing.
        left: usize,
    },
    /// The bytes are no message we know.
    #[error("frame of {found} bytes is no message we know: {why}")]
    Garbage {
        /// Bytes the frame had.
        found: usize,
        /// What postcard stumbled over.
        why: String,
    },
    /// The lengths of a batch do not agree with its bounds or with its bodies.
    #[error("batch of {members} members and {bytes} bytes: {why}")]
    BadBatch {
        /// Members announced.
        members: usize,
        /// Bytes announced, all members together.
        bytes: u64,
        /// Which rule it breaks.
        why: &'static str,
    },
}

/// The prefix of a frame of `length` bytes.
///
/// # Panics
/// When `length` is above [`MAX_RAW`]: every caller has checked its bound.
pub fn prefix(length: usize) -> [u8; PREFIX] {
    assert!(length <= MAX_RAW, "no frame of {length} bytes");
    u32::try_from(length)
        .expect("MAX_RAW fits u32")
        .to_le_bytes()
}

/// Appends `message` to `out` as one whole frame; on error `out` is as it was.
///
/// # Errors
/// [`FrameError::TooLong`] when the message takes more than [`MAX_FRAME`] bytes.
pub fn encode<T: Serialize + ?Sized>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    if let Err(error) = append(message, out) {
        out.truncate(start);
        return Err(error);
    }
    let length = out.len() - start - PREFIX;
    if length > MAX_FRAME {
        out.truncate(start);
        return Err(FrameError::TooLong {
            found: length,
            most: MAX_FRAME,
        });
    }
    out[start..start + PREFIX].copy_from_slice(&prefix(length));
    Ok(())
}

/// The words of `message` without a prefix, for a codec that writes its own.
///
/// # Errors
/// [`FrameError::TooLong`] when the message takes more than [`MAX_FRAME`] bytes.
pub fn words<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    append(message, &mut out)?;
    if out.len() > MAX_FRAME {
        return Err(FrameError::TooLong {
            found: out.len(),
            most: MAX_FRAME,
        });
    }
    Ok(out)
}

/// Appends the words of a [`crate::Request::PutBatch`] as one whole frame, from borrowed parts:
/// the same bytes as [`encode`] of the owned request, without copying options or lengths.
///
/// # Errors
/// [`FrameError::TooLong`] when the message takes more than [`MAX_FRAME`] bytes.
pub fn encode_batch(
    options: &PutOptions,
    lengths: &[u32],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    encode(&(PutBatch::VARIANT, options, lengths), out)
}

/// Reads the words of one frame, prefix already taken off, to their last byte.
///
/// # Errors
/// When the bytes are too many, too few, or no message of this type.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let found = body.len();
    if found > MAX_FRAME {
        return Err(FrameError::TooLong {
            found,
            most: MAX_FRAME,
        });
    }
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::LeftOver {
            found,
            left: rest.len(),
        }),
        Err(postcard::Error::DeserializeUnexpectedEnd) => Err(FrameError::Truncated { found }),
        Err(error) => Err(FrameError::Garbage {
            found,
            why: error.to_string(),
        }),
    }
}

/// Takes one frame off the front of `buffer`: its bytes without the prefix, or `None`
/// when it is not yet complete. It covers `PREFIX` and the body's length of `buffer`.
///
/// # Errors
/// [`FrameError::TooLong`] as soon as the prefix announces more than `most` bytes.
pub fn split(buffer: &[u8], most: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = length(*prefix, most)?;
    Ok(rest.get(..length))
}

/// The length a prefix announces.
///
/// # Errors
/// [`FrameError::TooLong`] when that is more than `most`.
pub fn length(prefix: [u8; PREFIX], most: usize) -> Result<usize, FrameError> {
    let found = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if found > most {
        return Err(FrameError::TooLong { found, most });
    }
    Ok(found)
}

/// Checks the lengths of a batch against their bounds and returns their sum, which is
/// the length of the raw frame that carries the bodies.
///
/// # Errors
/// [`FrameError::BadBatch`], naming the rule.
pub fn check_lengths(lengths: &[u32]) -> Result<usize, FrameError> {
    let members = lengths.len();
    let bytes: u64 = lengths.iter().copied().map(u64::from).sum();
    let bad = |why| {
        Err(FrameError::BadBatch {
            members,
            bytes,
            why,
        })
    };
    if members == 0 {
        return bad("a batch has at least one member");
    }
    if members > MAX_BATCH_MEMBERS {
        return bad("a batch has at most 4096 members");
    }
    match usize::try_from(bytes) {
        Ok(total) if total <= MAX_RAW => Ok(total),
        Ok(_) | Err(_) => bad("the bodies of a batch take at most 4 MiB"),
    }
}

/// The end of a buffer, as postcard wants to write to it.
struct Tail<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Tail<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

fn append<T: Serialize + ?Sized>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    match postcard::to_extend(message, Tail(out)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let found = out.len() - start;
            out.truncate(start);
            Err(FrameError::Garbage {
                found,
                why: error.to_string(),
            })
        }
    }
}
