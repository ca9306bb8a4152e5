//! The bytes of one arrival, piece by piece, checked: the last piece is given only when
//! all of them match the digest.

use bytes::Bytes;
use relay_core::event::SendTrouble;
use relay_core::ledger::InboxItem;
use relay_core::segment::Digest;
use relay_core::sink::Tried;

use crate::desk::Desk;
use crate::transport::{Bodies, Payload, Source as _};

/// Read at once of a payload that is a file.
const CHUNK: u64 = 256 << 10;

/// What a try comes to whose bytes are bad, and what was found.
pub(super) type Bad = (Tried, String);

/// What is left of the bytes.
pub(super) struct Pieces {
    payload: Payload,
    digest: Digest,
    length: u64,
    offset: u64,
    given: u64,
    hasher: Box<blake3::Hasher>,
}

impl Pieces {
    /// The bytes of `item`, from the first.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(super) async fn of(desk: &Desk, item: &InboxItem) -> Result<Self, Bad> {
        let payload = desk.payloads.load(item.pack).await;
        let payload = payload.map_err(|trouble| said(&trouble))?;
        Ok(Self {
            payload,
            digest: item.digest,
            length: item.length,
            offset: item.offset,
            given: 0,
            hasher: Box::default(),
        })
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// Why the rest cannot be read, or that the bytes are not what they should be.
    pub(super) async fn next(&mut self, desk: &Desk) -> Result<Option<Bytes>, Bad> {
        let left = self.length - self.given;
        if left == 0 {
            return Ok(None);
        }
        let piece = match &self.payload.bodies {
            Bodies::Memory(bodies) => {
                let range = usize::try_from(self.offset)
                    .ok()
                    .zip(usize::try_from(self.length).ok());
                let range = range.and_then(|(from, length)| Some(from..from.checked_add(length)?));
                let range = range.filter(|range| range.end <= bodies.len());
                bodies.slice(range.ok_or_else(|| said(&SendTrouble::Corrupt))?)
            }
            Bodies::File { .. } => {
                let more = left.min(CHUNK);
                let chunk = desk.payloads.chunk(&self.payload, self.given, more).await;
                chunk.map_err(|trouble| said(&trouble))?
            }
        };
        self.hasher.update(&piece);
        self.given += piece.len() as u64;
        let whole = self.given == self.length;
        let sound = !piece.is_empty() && self.given <= self.length;
        if !sound || whole && Digest(*self.hasher.finalize().as_bytes()) != self.digest {
            return Err(said(&SendTrouble::Corrupt));
        }
        Ok(Some(piece))
    }
}

fn said(trouble: &SendTrouble) -> Bad {
    let (tried, found) = match trouble {
        SendTrouble::Missing => (Tried::Failed, "our own bytes of it are gone"),
        SendTrouble::Corrupt => (Tried::Failed, "our own bytes of it do not match its digest"),
        // An ill disk is no arrival's fault.
        SendTrouble::Unreadable => (Tried::Waits, "our own bytes of it cannot be read just now"),
    };
    (tried, found.to_owned())
}
