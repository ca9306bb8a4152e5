//! A blocking client for the daemon's socket.
//!
//! ```no_run
//! use std::time::Duration;
//! use edged_rpc::{Client, InboxTake, PutOptions};
//!
//! # fn main() -> Result<(), edged_rpc::ClientError> {
//! let mut edged = Client::connect("/run/edged/rpc.sock", Duration::from_secs(10))?;
//!
//! let put = edged.put(&PutOptions::to_peer("depot-7"), b"42.1 C")?;
//! // Stored: a crash from here on loses nothing.
//! assert!(!put.segment_id.is_nil());
//!
//! let taken = edged.take(&InboxTake { max: 100, ..InboxTake::default() })?;
//! let ids: Vec<_> = taken.iter().map(|(item, _bytes)| item.segment_id).collect();
//! edged.confirm(&ids)?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Producer`] puts under keys and outlives its connection.
//!
//! One connection, one call at a time; batches alone may run ahead (`send_batch`).
//! A timeout counts time without progress, not the whole call. Payloads stream:
//! memory does not grow with them, except where a call says it collects.

mod ask;
mod audit;
mod batch;
mod body;
mod error;
mod follow;
mod order;
mod producer;
mod wire;

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

pub use self::batch::{Batch, PutMany};
pub use self::body::Body;
pub use self::error::ClientError;
pub use self::follow::Followed;
pub use self::producer::{PATIENCE, Producer};

use self::batch::Window;
use self::body::Chunks;
use self::wire::Wire;
use crate::{
    Accepted, Confirmed, Hello, Id, Ids, InboxConfirm, InboxGet, InboxRefuse, InboxTake, InboxView,
    MAX_CHUNK, Put, PutOptions, Request, Response, SegmentGet, SegmentView, VERSION, Welcome,
};

/// One conversation with the daemon.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    welcome: Welcome,
    window: Window,
}

impl Hello {
    /// A greeting in our newest version, without operator or reason.
    pub fn new(software: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            software: software.into(),
            operator: None,
            reason: None,
        }
    }
}

impl Client {
    /// Connects to the daemon's socket. A zero `timeout` waits for ever.
    ///
    /// # Errors
    /// When nobody listens, the socket is not open to us, or the daemon will not talk.
    pub fn connect(path: impl AsRef<Path>, timeout: Duration) -> Result<Self, ClientError> {
        let software = concat!("edged-rpc ", env!("CARGO_PKG_VERSION"));
        Self::connect_as(path, timeout, &Hello::new(software))
    }

    /// The same under a name, an operator's label and a reason of one's own.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_as(
        path: impl AsRef<Path>,
        timeout: Duration,
        hello: &Hello,
    ) -> Result<Self, ClientError> {
        let (wire, welcome) = Wire::connect(path.as_ref(), timeout, hello)?;
        Ok(Self {
            wire,
            welcome,
            window: Window::default(),
        })
    }

    /// Whether an earlier call broke the conversation: connect again.
    pub fn is_broken(&self) -> bool {
        self.wire.is_broken()
    }

    /// Who answered.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Puts `bytes` as one segment and returns once it is stored.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's reason, or a broken conversation.
    pub fn put(&mut self, options: &PutOptions, bytes: &[u8]) -> Result<Accepted, ClientError> {
        let put = Put {
            options: options.clone(),
            key: None,
            len: Some(bytes.len() as u64),
        };
        self.announce(put)?;
        for chunk in bytes.chunks(MAX_CHUNK) {
            self.wire.chunk(chunk)?;
        }
        self.accepted()
    }

    /// Puts all that `source` gives as one segment, in constant memory.
    ///
    /// # Errors
    /// As [`Client::put`]; [`ClientError::Source`] when `source` fails, and nothing is stored.
    pub fn put_reader(
        &mut self,
        options: &PutOptions,
        source: impl Read,
    ) -> Result<Accepted, ClientError> {
        self.put_with(
            Put {
                options: options.clone(),
                key: None,
                len: None,
            },
            source,
        )
    }

    /// The same with a key and an announced length: the daemon refuses before the bytes
    /// are sent what it would refuse after, and what is not that long.
    ///
    /// # Errors
    /// As [`Client::put_reader`].
    pub fn put_with(&mut self, put: Put, mut source: impl Read) -> Result<Accepted, ClientError> {
        self.announce(put)?;
        let mut chunk = vec![0; MAX_CHUNK];
        loop {
            match source.read(&mut chunk) {
                Ok(0) => return self.accepted(),
                Ok(read) => self.wire.chunk(&chunk[..read])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.wire.fail(ClientError::Source(error))),
            }
        }
    }

    /// Writes one segment's bytes to `sink`, in constant memory.
    ///
    /// # Errors
    /// As [`Client::list`]; [`ClientError::Sink`] when `sink` fails.
    pub fn get(&mut self, segment: &str, mut sink: impl Write) -> Result<SegmentView, ClientError> {
        let request = SegmentGet {
            segment: segment.to_owned(),
        };
        let Response::Segment(view) = self.call(&Request::SegmentGet(request))? else {
            return Err(self.off_script("one segment"));
        };
        let mut chunks = Chunks::default();
        let mut body = Body::new(&mut self.wire, &mut chunks, view.len);
        let used = body.copy_to(&mut sink);
        body.settle(used)?;
        chunks.finish(&mut self.wire)?;
        self.done()?;
        Ok(view)
    }

    /// Writes one inbox item's bytes to `sink`, in constant memory, and leases nothing.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn inbox_get(
        &mut self,
        segment: &str,
        mut sink: impl Write,
    ) -> Result<InboxView, ClientError> {
        let request = Request::InboxGet(InboxGet {
            segment: segment.to_owned(),
        });
        let mut item = None;
        self.items(&request, |view, body| {
            item = Some(view);
            body.copy_to(&mut sink)
        })?;
        item.ok_or_else(|| self.off_script("one inbox item"))
    }

    /// Leases up to `which.max` items and collects them with their bytes.
    ///
    /// # Errors
    /// As [`Client::list`]. What was leased and not confirmed is ready again later.
    pub fn take(&mut self, which: &InboxTake) -> Result<Vec<(InboxView, Vec<u8>)>, ClientError> {
        let mut taken = Vec::new();
        self.take_with(which, |view, body| {
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes)?;
            taken.push((view, bytes));
            Ok(())
        })?;
        Ok(taken)
    }

    /// Leases up to `which.max` items and hands each to `each`, in constant memory; what
    /// `each` leaves of a body is passed over. Returns how many came.
    ///
    /// # Errors
    /// As [`Client::take`]; [`ClientError::Sink`] with what `each` gave.
    pub fn take_with(
        &mut self,
        which: &InboxTake,
        each: impl FnMut(InboxView, &mut Body<'_>) -> io::Result<()>,
    ) -> Result<u64, ClientError> {
        self.items(&Request::InboxTake(which.clone()), each)
    }

    /// Says that these are processed. Idempotent.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn confirm(&mut self, ids: &[Id]) -> Result<Confirmed, ClientError> {
        self.confirm_with(InboxConfirm {
            ids: Ids(ids.to_vec()),
            prefixes: Vec::new(),
        })
    }

    /// The same, by ids, prefixes or both.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn confirm_with(&mut self, which: InboxConfirm) -> Result<Confirmed, ClientError> {
        let Response::Confirmed(confirmed) = self.call(&Request::InboxConfirm(which))? else {
            return Err(self.off_script("a confirmation"));
        };
        Ok(confirmed)
    }

    /// Parks arrivals that nobody here can use: they stay in the inbox and are not taken
    /// again.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn refuse(&mut self, ids: &[Id]) -> Result<Confirmed, ClientError> {
        let which = InboxRefuse {
            ids: Ids(ids.to_vec()),
        };
        let Response::Confirmed(refused) = self.call(&Request::InboxRefuse(which))? else {
            return Err(self.off_script("what was parked"));
        };
        Ok(refused)
    }

    /// Asks a question that has one answer.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's reason, or a broken conversation.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.call(request)
    }

    fn call(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.ready()?;
        self.wire.say(request)?;
        self.wire.answer()
    }

    /// Anything but a batch must wait until the batches are answered.
    fn ready(&self) -> Result<(), ClientError> {
        match self.window.batches() {
            0 => Ok(()),
            _ => Err(self.window.due()),
        }
    }

    fn announce(&mut self, put: Put) -> Result<(), ClientError> {
        let Response::Go = self.call(&Request::Put(put))? else {
            return Err(self.off_script("leave to send a payload"));
        };
        Ok(())
    }

    fn accepted(&mut self) -> Result<Accepted, ClientError> {
        self.wire.chunk(&[])?;
        let Response::Accepted(accepted) = self.wire.answer()? else {
            return Err(self.off_script("an answer to a put"));
        };
        Ok(accepted)
    }

    fn items(
        &mut self,
        request: &Request,
        mut each: impl FnMut(InboxView, &mut Body<'_>) -> io::Result<()>,
    ) -> Result<u64, ClientError> {
        let mut count = 0;
        let mut answer = self.call(request)?;
        while let Response::Items(group) = answer {
            let mut chunks = Chunks::default();
            for item in group {
                let mut body = Body::new(&mut self.wire, &mut chunks, item.len);
                let used = each(item, &mut body);
                body.settle(used)?;
                count += 1;
            }
            chunks.finish(&mut self.wire)?;
            answer = self.wire.answer()?;
        }
        let Response::Done = answer else {
            return Err(self.off_script("inbox items or their end"));
        };
        Ok(count)
    }

    fn done(&mut self) -> Result<(), ClientError> {
        let Response::Done = self.wire.answer()? else {
            return Err(self.off_script("the end of a stream"));
        };
        Ok(())
    }

    fn off_script(&mut self, wanted: &'static str) -> ClientError {
        self.wire.fail(ClientError::OffScript { wanted })
    }
}
