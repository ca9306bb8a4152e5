//! The bytes of one member, checked against its digest.
//!
//! Small packs are in memory whole and are checked before anything is said; a payload
//! that is a file streams in constant memory and is checked as it goes, so that what is
//! wrong with it is said at its end.

use bytes::Bytes;
use edged_rpc::{MAX_CHUNK, RpcError};
use relay_core::event::SendTrouble;
use relay_core::ledger::InboxItem;
use relay_core::segment::Digest;

use super::Answered;
use super::clerk::Clerk;
use crate::socket::refusal::failed;
use crate::socket::wire::{Broken, Teller};
use crate::transport::{Bodies, Payload, Source as _};

/// A member's bytes, ready to be sent.
pub(super) enum Body {
    /// All of them, checked.
    Here(Bytes),
    /// In a file, to be checked on the way.
    File {
        /// Where.
        payload: Payload,
        /// What they should be.
        digest: Digest,
        /// How many they are.
        length: u64,
    },
}

impl Body {
    /// How many bytes of memory it holds.
    pub(super) const fn held(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::File { .. } => 0,
        }
    }

    /// Sends it in chunks, without the frame that ends them. The inner error says why it
    /// was cut short.
    pub(super) async fn send(
        self,
        teller: &mut Teller,
        clerk: &Clerk<'_>,
    ) -> Result<Answered<()>, Broken> {
        match self {
            Self::Here(bytes) => {
                teller.chunks(bytes).await?;
                Ok(Ok(()))
            }
            Self::File {
                payload,
                digest,
                length,
            } => stream(teller, clerk, &payload, digest, length).await,
        }
    }
}

/// Finds the bytes of `item`.
pub(super) async fn load(clerk: &Clerk<'_>, item: &InboxItem) -> Answered<Body> {
    let payload = clerk.payloads.load(item.pack).await.map_err(unreadable)?;
    body(payload, item)
}

/// The bytes of `item` in the payload of its pack.
pub(super) fn body(payload: Payload, item: &InboxItem) -> Answered<Body> {
    match &payload.bodies {
        Bodies::Memory(bodies) => {
            let (from, length) = (item.offset as usize, item.length as usize);
            let within = from
                .checked_add(length)
                .is_some_and(|end| end <= bodies.len());
            if !within {
                return Err(unreadable(SendTrouble::Corrupt));
            }
            let bytes = bodies.slice(from..from + length);
            if Digest::of(&bytes) != item.digest {
                return Err(unreadable(SendTrouble::Corrupt));
            }
            Ok(Body::Here(bytes))
        }
        Bodies::File { .. } => Ok(Body::File {
            payload,
            digest: item.digest,
            length: item.length,
        }),
    }
}

async fn stream(
    teller: &mut Teller,
    clerk: &Clerk<'_>,
    payload: &Payload,
    digest: Digest,
    length: u64,
) -> Result<Answered<()>, Broken> {
    let mut hasher = Box::new(blake3::Hasher::new());
    let mut from = 0;
    while from < length {
        let more = (length - from).min(MAX_CHUNK as u64);
        let chunk = match clerk.payloads.chunk(payload, from, more).await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            Ok(_) => return Ok(Err(unreadable(SendTrouble::Corrupt))),
            Err(trouble) => return Ok(Err(unreadable(trouble))),
        };
        hasher.update(&chunk);
        from += chunk.len() as u64;
        // The last chunk completes the payload for the client: what is wrong is said first.
        if from >= length && Digest(*hasher.finalize().as_bytes()) != digest {
            return Ok(Err(unreadable(SendTrouble::Corrupt)));
        }
        teller.chunks(chunk).await?;
    }
    Ok(Ok(()))
}

fn unreadable(trouble: SendTrouble) -> RpcError {
    match trouble {
        SendTrouble::Missing => failed("segment_missing", "the bytes of the segment are gone"),
        SendTrouble::Unreadable => failed(
            "unreadable",
            "the bytes of the segment cannot be read just now",
        ),
        SendTrouble::Corrupt => failed(
            "corrupt",
            "the bytes of the segment do not match its digest",
        ),
    }
}
