//! A peer that has a certificate and says what it likes.
//!
//! It speaks QUIC itself: streams are opened and bytes written as a test says, right or
//! wrong, and what the other side answers, closes or says last is handed back. Nothing
//! of it runs while the test does something else: QUIC's own answers wait until then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use certs::{DefaultTimeProvider, Identity, Refusal, SERVER_NAME};
use edged::config::{Config, Sources};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use relay_core::change::Part;
use relay_core::id::{BootEpoch, LedgerId, NodeId, PackNo};
use relay_core::pack::Built;
use relay_core::wire::{
    Durability, Frame, Goodbye, Hello, Members, OLDEST, PackHeader, VERSION, decode, encode,
};
use tokio::runtime::Runtime;

use super::{Home, PATIENCE};

/// One conversation of such a peer.
#[derive(Debug)]
pub struct Intruder {
    runtime: Runtime,
    connection: Connection,
    control: SendStream,
    heard: RecvStream,
    unread: BytesMut,
    packs: u64,
    /// Keeps what it has opened open.
    held: Vec<(SendStream, Option<RecvStream>)>,
    _endpoint: Endpoint,
}

/// What one side says first.
#[must_use]
pub fn hello(node: NodeId, ledger: u64) -> Frame {
    Frame::Hello(Hello {
        min_version: OLDEST,
        max_version: VERSION,
        node,
        ledger: LedgerId(ledger),
        boot_epoch: BootEpoch(1),
        max_segment: 1 << 30,
        durability: Durability::Synced,
    })
}

/// A frame as it is written.
///
/// # Panics
/// If it is too long for one.
#[must_use]
pub fn bytes(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, &mut out).expect("a frame of ours fits");
    out
}

impl Intruder {
    /// Dials `at` as the node at `home`, with a ledger of this number; both Hellos are
    /// said.
    ///
    /// # Panics
    /// If the other side does not answer.
    #[must_use]
    pub fn meet(home: &Home, at: SocketAddr, ledger: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system gives a runtime");
        let config = Config::load(&Sources::new().file(home.config()));
        let (config, _) = config.expect("init's config loads");
        let identity =
            Identity::load(&config.tls.bundle, &config.tls.ca).expect("init's leaf loads");
        let tls = identity.client_config(Arc::new(DefaultTimeProvider), Refusal::new());
        let crypto = QuicClientConfig::try_from(tls.expect("TLS 1.3")).expect("a cipher suite");
        let said = hello(config.node.id, ledger);
        let met = async {
            let port = "127.0.0.1:0".parse().expect("an address");
            let endpoint = Endpoint::client(port).expect("a free port");
            let config = quinn::ClientConfig::new(Arc::new(crypto));
            let connecting = endpoint.connect_with(config, at, SERVER_NAME);
            let connection = connecting.expect("an address").await;
            let connection = connection.expect("it is let in");
            let mut control = connection.open_uni().await.expect("a stream");
            let first = control.write_all(&bytes(&said)).await;
            first.expect("it takes a few bytes");
            let heard = connection.accept_uni().await.expect("its control stream");
            (endpoint, connection, control, heard)
        };
        let met = runtime.block_on(async { tokio::time::timeout(PATIENCE, met).await });
        let (endpoint, connection, control, heard) = met.expect("it answers in time");
        let mut intruder = Self {
            runtime,
            connection,
            control,
            heard,
            unread: BytesMut::new(),
            packs: 0,
            held: Vec::new(),
            _endpoint: endpoint,
        };
        assert!(matches!(intruder.hear(), Some(Frame::Hello(_))));
        intruder
    }

    /// Says this on control.
    pub fn say(&mut self, frame: &Frame) {
        self.write(&bytes(frame));
    }

    /// Writes these bytes on control; what is closed already takes none.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.runtime.block_on(self.control.write_all(bytes));
    }

    /// Opens a stream for packs and writes these bytes; ends it if `whole`. Whether it
    /// could be opened within `wait`.
    pub fn stream(&mut self, bytes: &[u8], whole: bool, wait: Duration) -> bool {
        let connection = &self.connection;
        let opened = self.runtime.block_on(async {
            let opened = tokio::time::timeout(wait, connection.open_uni()).await;
            let mut stream = opened.ok()?.ok()?;
            let written = stream.write_all(bytes);
            // A stream that nobody reads takes no more than its window.
            let _ = tokio::time::timeout(wait, written).await;
            if whole {
                let _ = stream.finish();
            }
            Some(stream)
        });
        let is_open = opened.is_some();
        self.held.extend(opened.map(|stream| (stream, None)));
        is_open
    }

    /// Opens a stream for a large segment and writes these bytes; it stays open. Whether
    /// it could be opened within `wait`.
    pub fn offer(&mut self, bytes: &[u8], wait: Duration) -> bool {
        let connection = &self.connection;
        let opened = self.runtime.block_on(async {
            let opened = tokio::time::timeout(wait, connection.open_bi()).await;
            let (mut send, recv) = opened.ok()?.ok()?;
            let _ = send.write_all(bytes).await;
            Some((send, recv))
        });
        let is_open = opened.is_some();
        self.held
            .extend(opened.map(|(send, recv)| (send, Some(recv))));
        is_open
    }

    /// The next frame on control; `None` if it ends.
    ///
    /// # Panics
    /// If none comes in time, or what comes is no frame.
    pub fn hear(&mut self) -> Option<Frame> {
        loop {
            let found = decode(&self.unread).expect("it says frames");
            if let Some((frame, covered)) = found {
                let _ = self.unread.split_to(covered);
                return Some(frame);
            }
            let heard = &mut self.heard;
            let more = async { tokio::time::timeout(PATIENCE, heard.read_chunk(4096, true)).await };
            let more = self
                .runtime
                .block_on(more)
                .expect("it says something in time");
            match more {
                Ok(Some(chunk)) => self.unread.extend_from_slice(&chunk.bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// How the other side ended it: its word and its reason.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`], or in another way.
    #[must_use]
    pub fn ended(&self) -> (Goodbye, String) {
        let closed = self.connection.closed();
        let closed = async { tokio::time::timeout(PATIENCE, closed).await };
        let reason = self.runtime.block_on(closed).expect("it ends in time");
        let ConnectionError::ApplicationClosed(close) = reason else {
            panic!("it ends otherwise: {reason}");
        };
        let code = Goodbye::from_code(close.error_code.into_inner());
        let reason = String::from_utf8_lossy(&close.reason).into_owned();
        (code.expect("a word of the protocol"), reason)
    }

    /// Whether the other side has not ended it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.runtime.block_on(tokio::task::yield_now());
        self.connection.close_reason().is_none()
    }

    /// Ends it with these words.
    pub fn close(self, reason: &[u8]) {
        self.connection.close(7u32.into(), reason);
        let left = self._endpoint.wait_idle();
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, left).await });
    }

    /// Sends a datagram; whether the other side takes any.
    #[must_use]
    pub fn datagram(&self) -> bool {
        let word = bytes::Bytes::from_static(b"word");
        self.connection.send_datagram(word).is_ok()
    }

    /// The words before `pack`, sound ones, under the next number.
    #[must_use]
    pub fn header(&mut self, pack: &Built) -> PackHeader {
        self.packs += 1;
        PackHeader {
            pack: PackNo(self.packs),
            members: Members::All,
            lane: "default".parse().expect("a lane"),
            origin: None,
            sequence: None,
            hops: 1,
            ttl_left_ms: None,
            count: pack.count,
            table_len: pack.table_len,
            body_len: pack.bytes.len() as u64 - u64::from(pack.table_len),
        }
    }

    /// Sends a pack under these words, whole; the answer to it.
    ///
    /// # Panics
    /// If none comes.
    pub fn send(&mut self, header: &PackHeader, pack: &Built) -> Frame {
        let mut all = bytes(&Frame::Pack(header.clone()));
        all.extend_from_slice(&pack.bytes);
        assert!(self.stream(&all, true, PATIENCE), "a stream may be opened");
        self.answer(header.pack)
    }

    /// The answer to this pack.
    ///
    /// # Panics
    /// If none comes.
    pub fn answer(&mut self, asked: PackNo) -> Frame {
        loop {
            let frame = self.hear().expect("it goes on");
            let (Frame::Ack(relay_core::wire::Ack { pack, part, .. })
            | Frame::Busy { pack, part, .. }) = &frame
            else {
                continue;
            };
            if (*pack, *part) == (asked, Part::Rest) {
                return frame;
            }
        }
    }
}
