//! What a link has put on the wire, told to the core for its quotas.
//!
//! quinn counts the UDP payload of every datagram sent, whatever was in it and
//! retransmissions included; IP and UDP headers cost 28 bytes each on top. A
//! reading is told once. While something moves it is taken four times a second,
//! on an idle link ever more rarely; what a connection sent before it became a
//! link is in its first reading, and one that never becomes a link is not counted.

use std::pin::Pin;
use std::time::Duration;

use quinn::Connection;
use relay_core::event::Input;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Sleep, sleep};

use super::shared::Line;

/// What IPv4 and UDP add to each datagram.
const HEADERS: u64 = 28;
/// Between two looks while something moves: at 1 Gbit/s 31 MB pass in it, which
/// the core counts as pending meanwhile.
const QUICK: Duration = Duration::from_millis(250);
/// Between two looks at a link on which nothing moves.
const SLOW: Duration = Duration::from_secs(16);
/// More than this between two looks is more than keeping the link alive.
const MOVING: u64 = 4 << 10;

/// Reads one connection.
pub(super) struct Odometer {
    told: u64,
    pace: Duration,
    /// Whether the core has handed bytes over since the last report.
    owing: bool,
    nap: Pin<Box<Sleep>>,
}

impl Odometer {
    pub(super) fn new() -> Self {
        Self {
            told: 0,
            pace: QUICK,
            owing: false,
            nap: Box::pin(sleep(QUICK)),
        }
    }

    /// Until the next look.
    pub(super) async fn due(&mut self) {
        self.nap.as_mut().await;
    }

    /// Bytes are about to go: a report is owed soon.
    pub(super) fn expect(&mut self) {
        if !self.owing {
            self.owing = true;
            if self.pace > QUICK {
                self.sleep(QUICK);
            }
        }
    }

    /// Looks, and tells the core without waiting for it: one that has enough to
    /// hear is told at the next look.
    pub(super) fn look(&mut self, line: &Line) {
        let sent = self.unread(&line.connection);
        let moves = sent >= MOVING || self.owing;
        if sent > 0 || self.owing {
            match line.shared.events.try_send(report(line, sent).into()) {
                Ok(()) => {
                    self.told += sent;
                    self.owing = false;
                }
                // The link ends by other means if nobody listens any more.
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
            }
        }
        let pace = if moves {
            QUICK
        } else {
            SLOW.min(self.pace * 2)
        };
        self.sleep(pace);
    }

    /// The last reading, when the link has ended.
    pub(super) async fn end(mut self, line: &Line) {
        let sent = self.unread(&line.connection);
        self.told += sent;
        if sent > 0 {
            // Without a driver nobody needs to know.
            let _ = line.tell(report(line, sent)).await;
        }
    }

    fn unread(&self, connection: &Connection) -> u64 {
        let udp = connection.stats().udp_tx;
        (udp.bytes + udp.datagrams * HEADERS).saturating_sub(self.told)
    }

    fn sleep(&mut self, pace: Duration) {
        self.pace = pace;
        self.nap = Box::pin(sleep(pace));
    }
}

fn report(line: &Line, bytes: u64) -> Input {
    Input::SentOnWire {
        peer: line.peer.clone(),
        bytes,
    }
}
