//! The link between the nodes, in the demo's own hands: a relay of datagrams.
//!
//! Alpha dials [`Link::address`]; what it sends goes on to beta and back. Cut, it
//! drops all it hears; slow, it holds each datagram for a while, in order. It
//! knows nothing of QUIC: to the nodes it is a network that gets better or worse.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Datagrams held while slow; more are lost, as on a full router.
const HELD: usize = 16_384;
/// The longest wait for a datagram before the flags are looked at again.
const LOOK: Duration = Duration::from_millis(20);
/// Kernel memory for datagrams that come while we are not running.
const BUFFER: usize = 4 << 20;

/// A link that can be cut and slowed.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    cut: AtomicBool,
    delay_ms: AtomicU64,
    /// Who dialled last.
    dialler: Mutex<Option<SocketAddr>>,
}

impl Link {
    /// A link to `target`, whole and fast.
    ///
    /// # Errors
    /// What the system says of sockets and threads.
    pub(super) fn open(target: SocketAddr) -> Result<Self> {
        let front = Arc::new(socket().context("socket of the link")?);
        let back = Arc::new(socket().context("socket of the link")?);
        back.connect(target)
            .with_context(|| format!("socket to {target}"))?;
        let address = front.local_addr().context("socket of the link")?;
        let state = Arc::new(State::default());
        let mut link = Self {
            address,
            state: Arc::clone(&state),
            threads: Vec::new(),
        };
        let (from, to, dialled) = (Arc::clone(&front), Arc::clone(&back), Arc::clone(&state));
        link.spawn("demo-link-out", move || {
            pump(&from, &dialled, |bytes| to.send(bytes));
        })?;
        link.spawn("demo-link-in", move || {
            pump(&back, &state, |bytes| match state.dialler() {
                Some(dialler) => front.send_to(bytes, dialler),
                None => Ok(0),
            });
        })?;
        Ok(link)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads
            .push(thread.with_context(|| format!("thread {name}"))?);
        Ok(())
    }

    /// Where to dial.
    #[must_use]
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on nothing passes, and what is held is lost.
    pub(super) fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// From here on datagrams pass, each held for `delay` in either direction.
    pub(super) fn restore(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay_ms.store(delay, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A pump does not panic; if it did, there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

impl State {
    fn dialler(&self) -> Option<SocketAddr> {
        *self.dialler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::SeqCst))
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // A smaller buffer only loses more, which the nodes repair.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER);
    Ok(socket)
}

/// Carries what `from` hears to `send`, until told to stop.
fn pump(from: &UdpSocket, state: &State, send: impl Fn(&[u8]) -> io::Result<usize>) {
    let connected = from.peer_addr().is_ok();
    let mut buffer = vec![0; 65_536];
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while !state.stop.load(Ordering::SeqCst) {
        let due = held
            .front()
            .map(|(due, _)| due.saturating_duration_since(Instant::now()));
        // A zero timeout would wait for ever.
        let wait = due.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK);
        let heard = from
            .set_read_timeout(Some(wait))
            .and_then(|()| from.recv_from(&mut buffer));
        if state.cut.load(Ordering::SeqCst) {
            held.clear();
            continue;
        }
        // An error is a timeout, or the word of a port that nobody holds just now.
        if let Ok((len, who)) = heard {
            if !connected {
                *state.dialler.lock().unwrap_or_else(PoisonError::into_inner) = Some(who);
            }
            let delay = state.delay();
            if delay.is_zero() && held.is_empty() {
                // What cannot be sent is lost, as datagrams are.
                let _ = send(&buffer[..len]);
            } else if held.len() < HELD {
                held.push_back((Instant::now() + delay, buffer[..len].to_vec()));
            }
        }
        while held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, bytes)) = held.pop_front() {
                let _ = send(&bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_both_ways_drops_when_cut_and_holds_when_slow() {
        let (near, far) = (end(), end());
        let link = Link::open(far.local_addr().expect("bound")).expect("opened");
        near.connect(link.address()).expect("connected");
        let mut buffer = [0; 16];

        near.send(b"one").expect("sent");
        let (len, back) = far.recv_from(&mut buffer).expect("carried");
        assert_eq!(&buffer[..len], b"one");
        far.send_to(b"two", back).expect("sent");
        assert_eq!(near.recv(&mut buffer).expect("carried back"), 3);

        link.cut();
        near.send(b"lost").expect("sent");
        far.set_read_timeout(Some(4 * LOOK)).expect("set");
        assert!(far.recv(&mut buffer).is_err(), "a cut link carries nothing");

        let delay = Duration::from_millis(100);
        link.restore(delay);
        far.set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        let sent = Instant::now();
        near.send(b"late").expect("sent");
        assert_eq!(far.recv(&mut buffer).expect("carried"), 4);
        assert!(sent.elapsed() >= delay, "after {:?}", sent.elapsed());
    }

    fn end() -> UdpSocket {
        let end = socket().expect("bound");
        end.set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        end
    }
}
