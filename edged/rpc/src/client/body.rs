//! A payload as it comes in: raw chunks on the wire, a `Read` to the caller.
//!
//! One [`Chunks`] runs through all bodies of a group, since a chunk may hold the end of
//! one and the beginning of the next; a [`Body`] is the window on one of them.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::ClientError;
use super::wire::Wire;

/// Where we are in a run of chunks.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// What is left of the chunk last read, as a place in the wire's buffer.
    rest: Range<usize>,
    /// The empty frame has come.
    ended: bool,
}

impl Chunks {
    /// Where the next bytes lie, at most `most`; empty at the end of the run.
    fn next(&mut self, wire: &mut Wire, most: usize) -> Result<Range<usize>, ClientError> {
        if self.rest.is_empty() && !self.ended {
            self.rest = wire.next_chunk()?;
            self.ended = self.rest.is_empty();
        }
        let end = self.rest.end.min(self.rest.start.saturating_add(most));
        let piece = self.rest.start..end;
        self.rest.start = end;
        Ok(piece)
    }

    /// Reads the empty frame, which must be next.
    pub(super) fn finish(&mut self, wire: &mut Wire) -> Result<(), ClientError> {
        if self.next(wire, usize::MAX)?.is_empty() {
            Ok(())
        } else {
            Err(wire.fail(ClientError::OffScript {
                wanted: "the end of a payload",
            }))
        }
    }
}

/// One payload on its way in: reads to its end and no further.
#[derive(Debug)]
pub struct Body<'a> {
    wire: &'a mut Wire,
    chunks: &'a mut Chunks,
    left: u64,
    failure: Option<ClientError>,
}

impl<'a> Body<'a> {
    pub(super) fn new(wire: &'a mut Wire, chunks: &'a mut Chunks, len: u64) -> Self {
        Self {
            wire,
            chunks,
            left: len,
            failure: None,
        }
    }

    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Writes the rest to `sink`, each chunk as it came: no copy, few calls.
    ///
    /// # Errors
    /// What `sink` says, or a word that the payload was cut short (the call that handed
    /// out this body then gives the reason).
    pub fn copy_to(&mut self, sink: &mut dyn Write) -> io::Result<()> {
        while self.left > 0 {
            match self.advance(usize::MAX) {
                Ok(piece) => sink.write_all(self.wire.bytes(piece))?,
                Err(failure) => return Err(self.cannot_read(failure)),
            }
        }
        Ok(())
    }

    /// Ends the reading: passes over what the caller left, and gives the reason if the
    /// payload was cut short rather than `used`, which then only echoes it.
    pub(super) fn settle(mut self, used: io::Result<()>) -> Result<(), ClientError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Err(error) = used {
            return Err(self.wire.fail(ClientError::Sink(error)));
        }
        while self.left > 0 {
            self.advance(usize::MAX)?;
        }
        Ok(())
    }

    /// The next piece of this payload, at most `most` bytes; empty only at its end.
    fn advance(&mut self, most: usize) -> Result<Range<usize>, ClientError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(most);
        if most == 0 {
            return Ok(0..0);
        }
        let piece = self.chunks.next(self.wire, most)?;
        if piece.is_empty() {
            return Err(self.cut_short());
        }
        self.left -= piece.len() as u64;
        Ok(piece)
    }

    /// Keeps the reason for `settle`, and gives the caller a word of it.
    fn cannot_read(&mut self, failure: ClientError) -> io::Error {
        let said = io::Error::other(failure.to_string());
        self.failure = Some(failure);
        said
    }

    /// The run ended early: the daemon owes the reason.
    fn cut_short(&mut self) -> ClientError {
        match self.wire.answer() {
            Err(error) => error,
            Ok(_) => self.wire.fail(ClientError::OffScript {
                wanted: "a whole payload",
            }),
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.advance(into.len()) {
            Ok(piece) => {
                let bytes = self.wire.bytes(piece);
                into[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Err(failure) => Err(self.cannot_read(failure)),
        }
    }
}
