//! Frames over one blocking Unix socket.
//!
//! Owns the stream, the read buffer and the rule that a conversation once broken stays
//! broken. A timeout is per system call, so it counts time without a single byte of
//! progress, however long the whole takes.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::ClientError;
use crate::frame::{self, MAX_CHUNK, MAX_FRAME, PREFIX};
use crate::{Greeting, Hello, OLDEST_VERSION, Response, VERSION, Welcome};

/// First size of the read buffer; it grows to the longest frame that came.
const BUFFER: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    timeout: Duration,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not handed out.
    filled: Range<usize>,
    /// Words on their way out; kept for its capacity.
    out: Vec<u8>,
    broken: bool,
}

impl Wire {
    /// Connects and says hello. A zero timeout waits for ever.
    pub(super) fn connect(
        path: &Path,
        timeout: Duration,
        hello: &Hello,
    ) -> Result<(Self, Welcome), ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| {
            let path = path.to_owned();
            if source.kind() == ErrorKind::PermissionDenied {
                ClientError::NotAllowed { path, source }
            } else {
                ClientError::NoDaemon { path, source }
            }
        })?;
        let bound = (!timeout.is_zero()).then_some(timeout);
        stream
            .set_read_timeout(bound)
            .map_err(ClientError::Socket)?;
        stream
            .set_write_timeout(bound)
            .map_err(ClientError::Socket)?;
        let mut wire = Self {
            stream,
            timeout,
            buffer: vec![0; BUFFER],
            filled: 0..0,
            out: Vec::new(),
            broken: false,
        };
        wire.say(hello)?;
        let body = wire.frame(MAX_FRAME)?;
        match frame::decode(&wire.buffer[body])? {
            Greeting::Refused(error) => Err(error.into()),
            Greeting::Welcome(welcome) if (OLDEST_VERSION..=VERSION).contains(&welcome.version) => {
                Ok((wire, welcome))
            }
            Greeting::Welcome(Welcome { version, .. }) => Err(ClientError::OtherVersion {
                theirs: version,
                oldest: OLDEST_VERSION,
                newest: VERSION,
            }),
        }
    }

    /// Whether nothing more can be said or heard.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends one frame of words.
    pub(super) fn say<T: Serialize>(&mut self, message: &T) -> Result<(), ClientError> {
        self.say_with(|out| frame::encode(message, out), &[])
    }

    /// Sends what `encode` appends and then `body`, in one write.
    pub(super) fn say_with(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), frame::FrameError>,
        body: &[u8],
    ) -> Result<(), ClientError> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let sent = match encode(&mut out) {
            Ok(()) => self.write([&out, body]),
            Err(error) => Err(error.into()),
        };
        self.out = out;
        sent
    }

    /// Sends one raw chunk; an empty one ends a payload.
    pub(super) fn chunk(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.write([&frame::prefix(bytes.len()), bytes])
    }

    /// Reads one answer. A refusal is an error that leaves the conversation whole.
    pub(super) fn answer(&mut self) -> Result<Response, ClientError> {
        let body = self.frame(MAX_FRAME)?;
        match frame::decode(&self.buffer[body]) {
            Ok(Response::Error(error)) => Err(error.into()),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// Reads one raw chunk and says where in the buffer it lies until the next read.
    pub(super) fn next_chunk(&mut self) -> Result<Range<usize>, ClientError> {
        self.frame(MAX_CHUNK)
    }

    /// Bytes of a chunk just read.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Marks the conversation as broken and hands the reason on.
    pub(super) fn fail(&mut self, error: ClientError) -> ClientError {
        self.broken = true;
        error
    }

    fn frame(&mut self, most: usize) -> Result<Range<usize>, ClientError> {
        if self.broken {
            return Err(ClientError::Broken);
        }
        loop {
            let ready = &self.buffer[self.filled.clone()];
            let need = match ready.first_chunk::<PREFIX>() {
                None => PREFIX,
                Some(prefix) => {
                    let length = match frame::length(*prefix, most) {
                        Ok(length) => length,
                        Err(error) => return Err(self.fail(error.into())),
                    };
                    if ready.len() >= PREFIX + length {
                        let start = self.filled.start + PREFIX;
                        self.filled.start = start + length;
                        return Ok(start..start + length);
                    }
                    PREFIX + length
                }
            };
            self.fill(need)?;
        }
    }

    /// Reads once, with room for `need` bytes in all.
    fn fill(&mut self, need: usize) -> Result<(), ClientError> {
        if self.filled.start + need > self.buffer.len() {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
            if need > self.buffer.len() {
                self.buffer.resize(need, 0);
            }
        }
        loop {
            match self.stream.read(&mut self.buffer[self.filled.end..]) {
                Ok(0) => return Err(self.fail(ClientError::HungUp)),
                Ok(read) => {
                    self.filled.end += read;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.on_socket_error(error)),
            }
        }
    }

    fn write(&mut self, parts: [&[u8]; 2]) -> Result<(), ClientError> {
        if self.broken {
            return Err(ClientError::Broken);
        }
        let mut slices = parts.map(IoSlice::new);
        let mut slices = &mut slices[..];
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.stream.write_vectored(slices) {
                Ok(0) => return Err(self.fail(ClientError::HungUp)),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if hung_up(&error) => return Err(self.last_words()),
                Err(error) => return Err(self.on_socket_error(error)),
            }
        }
        Ok(())
    }

    /// The daemon closed while we wrote: it may have said why before.
    fn last_words(&mut self) -> ClientError {
        let why = match self.answer() {
            Err(refused @ ClientError::Refused(_)) => refused,
            Ok(_) | Err(_) => ClientError::HungUp,
        };
        self.fail(why)
    }

    fn on_socket_error(&mut self, error: io::Error) -> ClientError {
        let error = if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            ClientError::TimedOut(self.timeout)
        } else if hung_up(&error) {
            ClientError::HungUp
        } else {
            ClientError::Socket(error)
        };
        self.fail(error)
    }
}

fn hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
