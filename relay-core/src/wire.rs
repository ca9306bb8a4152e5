//! What nodes say to each other: frames, encoded and decoded, without a socket.
//!
//! A frame is a little-endian `u32` length and that many bytes: one [`Frame`] in
//! postcard. [`encode`] appends a whole frame, [`decode`] takes one off the front of
//! a buffer or says "not yet complete". A length above [`limits::MAX_FRAME`] is
//! refused before its bytes are waited for, and what decodes is checked against every
//! bound that needs no table: a [`PackHeader`] in hand is sound.
//!
//! # The conversation
//!
//! A link is one QUIC connection (ALPN `edged/1`, TLS 1.3, a certificate on both
//! sides, no resumption). Its streams:
//!
//! | stream | opened by | carries |
//! |---|---|---|
//! | control, unidirectional | each side, as its first unidirectional stream | [`Frame::Hello`] first and once, then any of [`Frame::Ack`], [`Frame::Busy`], [`Frame::Settled`], last [`Frame::Bye`] |
//! | pack, unidirectional | a sender, one for each lane in use | [`Frame::Pack`], table, bodies; and again, as long as the link lives |
//! | segment, bidirectional | a sender, one for each large segment | there: [`Frame::Offer`], table, and once wanted the body; back: one of [`Frame::Want`] and [`Frame::Have`] |
//!
//! The link is up for a side once it has heard the other's Hello: only then does it
//! open or accept streams other than control. The node in the Hello is the one the
//! certificate proves. Both sides speak the lower of the two `max_version`s, if both
//! know it ([`Hello::common_version`]).
//!
//! A *pack* (up to 64 KiB; every member up to 16 KiB) is sent without asking. Its
//! header is followed by `table_len` bytes, the table of the pack as the sender keeps
//! it, whole ([`crate::pack`]), and `body_len` bytes, the bodies of the members that
//! [`Members`] selects, in order, nothing between them. The digest of that whole
//! table is what the [`Ack`] repeats and the sender compares.
//!
//! A *large segment* (above 16 KiB) is a pack of one. Its offer is followed by its
//! table; the receiver answers on the same stream with Want (the bytes of the body
//! from `from` to the end follow, then the stream ends) or Have (the ack follows on
//! control, no bytes are sent). A receiver that cannot take it says Busy, or refuses it
//! by an Ack, on control, and stops the stream.
//!
//! Every pack is answered on control by one Ack or Busy, whichever stream it came on,
//! in any order. An Ack without receipt (0) stored nothing. Settled tells the receiver
//! of packs that all its receipts up to that one are settled for good.
//!
//! An unknown frame, a frame on a stream where it does not belong, a length or number
//! out of bounds or a table that does not parse ends the connection with
//! [`Goodbye::Protocol`]; a body that does not match its digest refuses that one member
//! (`bad_digest`). A connection is closed with the code [`Goodbye::code`].
//!
//! # Rules of change
//!
//! postcard does not describe itself. The enums here ([`Frame`], [`Members`],
//! [`Durability`], [`Goodbye`], `Nack`, `BusyWhy`) grow at their end only; a struct
//! never grows; `tests/golden/wire.txt` holds every frame to its bytes. [`Hello`] is
//! the same in all versions, since it is read before a version is agreed on.
//!
//! | version | since | what |
//! |---|---|---|
//! | 1 | before the first release | as above; may change until the first release tag |

use serde::{Deserialize, Serialize};

use crate::change::{Part, Refused};
use crate::event::{self, BusyWhy};
use crate::id::{PackNo, ReceiptNo};
use crate::limits;
use crate::segment::Digest;

mod header;
mod hello;

pub use header::{HeaderError, Members, PackHeader};
pub use hello::{Durability, Goodbye, Hello, TAKEN_BACK};

/// The newest version this code speaks.
pub const VERSION: u16 = 1;
/// The oldest version this code speaks.
pub const OLDEST: u16 = 1;
/// Bytes of the length before each frame.
pub const PREFIX: usize = 4;

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Who speaks, first on control.
    Hello(Hello),
    /// A pack follows: its table, then the bodies selected.
    Pack(PackHeader),
    /// A large segment is on offer: its table follows, its body once wanted.
    Offer(PackHeader),
    /// Send the body of the offer on this stream.
    Want {
        /// Which pack of the sender's.
        pack: PackNo,
        /// Which members.
        #[serde(with = "header::part")]
        part: Part,
        /// First byte of the body wanted.
        from: u64,
    },
    /// The segment on offer is here already; its ack follows.
    Have {
        /// Which pack of the sender's.
        pack: PackNo,
        /// Which members.
        #[serde(with = "header::part")]
        part: Part,
    },
    /// A pack is answered.
    Ack(Ack),
    /// A pack is not taken just now; nothing of it was kept.
    Busy {
        /// Which pack of the sender's.
        pack: PackNo,
        /// Which members.
        #[serde(with = "header::part")]
        part: Part,
        /// Why.
        why: BusyWhy,
        /// When to ask again, in milliseconds.
        retry_after_ms: u64,
    },
    /// All receipts of the other side up to this one are settled for good.
    Settled {
        /// The last of them.
        receipt: ReceiptNo,
    },
    /// The speaker ends the link, last on control.
    Bye {
        /// Why.
        why: Goodbye,
    },
}

/// The answer to one pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which pack of the sender's.
    pub pack: PackNo,
    /// Which members.
    #[serde(with = "header::part")]
    pub part: Part,
    /// The receiver's number for it; 0 when it stored nothing of it.
    pub receipt: ReceiptNo,
    /// The digest of the table as received.
    pub table: Digest,
    /// Members answered for, refused ones included.
    pub count: u32,
    /// What "stored" means there.
    pub durability: Durability,
    /// Members refused, by index in the table as sent.
    pub refused: Vec<Refused>,
}

impl From<Ack> for event::Ack {
    fn from(ack: Ack) -> Self {
        let Ack {
            pack,
            part,
            receipt,
            table,
            count,
            durability: _,
            refused,
        } = ack;
        Self {
            receipt,
            pack,
            part,
            table,
            count,
            refused,
        }
    }
}

/// Why bytes are not a frame, or a frame does not fit one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length above the bound, announced or made.
    #[error("frame of {found} B, at most {max} may come", max = limits::MAX_FRAME)]
    TooLong {
        /// Bytes announced, or bytes the frame would take.
        found: usize,
    },
    /// The bytes are no frame we know.
    #[error("frame of {found} B is unreadable: {why}")]
    Garbage {
        /// Bytes it has.
        found: usize,
        /// What postcard stumbled over.
        why: String,
    },
    /// The frame ends before its bytes do.
    #[error("frame of {found} B has {left} B left over")]
    LeftOver {
        /// Bytes it has.
        found: usize,
        /// Bytes that belong to nothing.
        left: usize,
    },
    /// The words before a pack name numbers out of bounds.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An ack for no member or too many, or that refuses what it does not answer for.
    #[error("ack for {count} members with {refused} refused")]
    Ack {
        /// Members answered for.
        count: u32,
        /// Members refused.
        refused: usize,
    },
}

/// Appends `frame` to `out`, length first.
///
/// # Errors
/// [`WireError::TooLong`]; `out` is as it was then.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let written = postcard::to_extend(frame, Tail(out)).map(|_| ());
    let length = out.len() - start - PREFIX;
    if let Err(error) = written {
        out.truncate(start);
        return Err(WireError::Garbage {
            found: length,
            why: error.to_string(),
        });
    }
    if length > limits::MAX_FRAME {
        out.truncate(start);
        return Err(WireError::TooLong { found: length });
    }
    out[start..start + PREFIX].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Takes one frame off the front of `bytes`: the frame and the bytes it covers with its
/// length, or `None` when it is not yet complete.
///
/// # Errors
/// [`WireError`], for anything [`encode`] would not have written; a length out of bounds
/// is refused as soon as it is there.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, WireError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = frame_length(*prefix)?;
    match rest.get(..length) {
        Some(words) => Ok(Some((decode_words(words)?, PREFIX + length))),
        None => Ok(None),
    }
}

/// The length a prefix announces.
///
/// # Errors
/// [`WireError::TooLong`] above [`limits::MAX_FRAME`].
pub const fn frame_length(prefix: [u8; PREFIX]) -> Result<usize, WireError> {
    let found = u32::from_le_bytes(prefix) as usize;
    if found > limits::MAX_FRAME {
        return Err(WireError::TooLong { found });
    }
    Ok(found)
}

/// Reads one frame from exactly `words`, the length taken off before.
///
/// # Errors
/// As [`decode`].
pub fn decode_words(words: &[u8]) -> Result<Frame, WireError> {
    let found = words.len();
    if found > limits::MAX_FRAME {
        return Err(WireError::TooLong { found });
    }
    let (frame, rest) =
        postcard::take_from_bytes::<Frame>(words).map_err(|error| WireError::Garbage {
            found,
            why: error.to_string(),
        })?;
    if !rest.is_empty() {
        return Err(WireError::LeftOver {
            found,
            left: rest.len(),
        });
    }
    match &frame {
        Frame::Pack(header) => header.check_pack()?,
        Frame::Offer(header) => header.check_offer()?,
        Frame::Ack(ack) => check_ack(ack)?,
        Frame::Hello(_)
        | Frame::Want { .. }
        | Frame::Have { .. }
        | Frame::Busy { .. }
        | Frame::Settled { .. }
        | Frame::Bye { .. } => {}
    }
    Ok(frame)
}

fn check_ack(ack: &Ack) -> Result<(), WireError> {
    let (count, refused) = (ack.count, ack.refused.len());
    if count == 0 || count > limits::PACK_MEMBERS || refused > count as usize {
        return Err(WireError::Ack { count, refused });
    }
    Ok(())
}

/// The end of a buffer, as postcard wants to write to it.
struct Tail<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Tail<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}
