//! A bad network for real processes: a small UDP proxy with seeded weather.
//!
//! A [`Proxy`] stands before one node: peers dial its address, it passes their
//! datagrams on to wherever the node is now ([`Proxy::aim`]), and the answers
//! back. Its [`Weather`] says what becomes of each datagram, either way; what is
//! drawn comes from the seed. One thread, ended on drop; what is under way is
//! bounded, and one datagram too many is lost, as on any network.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{Notify, Semaphore};

use crate::seeds::Dice;

/// What becomes of datagrams. The default harms none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Nothing passes.
    pub cut: bool,
    /// So many of 1,000 are lost.
    pub loss: u64,
    /// So many of 1,000 come twice.
    pub twice: u64,
    /// Each takes at least so long.
    pub delay: Duration,
    /// And up to so much longer: they overtake each other.
    pub spread: Duration,
    /// Nothing passes on the way back, from the node to who dialled it.
    pub mute: bool,
    /// So many bytes pass in a second, each way, `OVERHEAD` a datagram counted;
    /// 0 is no limit.
    pub bytes_per_second: u64,
}

/// One of the two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Back,
}

/// The headers of a datagram that a slow link carries, too: IPv4 and UDP.
const OVERHEAD: u64 = 28;
/// What waits longer than this before a slow link is lost, as in a modem's buffer.
const BUFFER: Duration = Duration::from_secs(2);

/// Datagrams under way at once; more are lost.
const UNDER_WAY: usize = 8192;
/// Diallers remembered; a node that restarts is a new one.
const FLOWS: usize = 64;
/// No UDP datagram is longer.
const LONGEST: usize = 65_536;

/// One proxy before one node.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    sky: Mutex<Sky>,
    passed: AtomicU64,
    stop: Notify,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Sky {
    weather: Weather,
    target: Option<SocketAddr>,
    dice: Dice,
    /// Until when a slow link is busy with what it took, each way.
    busy: [Option<Instant>; 2],
    /// Raised when every dialler is to appear at another address.
    roamed: u64,
}

impl Proxy {
    /// A proxy on a free port of loopback, aimed at nothing yet.
    ///
    /// # Panics
    /// If the system gives no port or no thread.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let front = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        front
            .set_nonblocking(true)
            .expect("a socket can wait elsewhere");
        let address = front.local_addr().expect("a bound socket has an address");
        let sky = Sky {
            weather: Weather::default(),
            target: None,
            dice: Dice::new(seed),
            busy: [None; 2],
            roamed: 0,
        };
        let shared = Arc::new(Shared {
            sky: Mutex::new(sky),
            passed: AtomicU64::new(0),
            stop: Notify::new(),
            room: Arc::new(Semaphore::new(UNDER_WAY)),
        });
        let inside = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || run(front, &inside))
            .expect("the system gives a thread");
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Where to dial the node behind it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes datagrams on to `target` from here on.
    pub fn aim(&self, target: SocketAddr) {
        self.shared.sky().target = Some(target);
    }

    /// What becomes of datagrams from here on.
    pub fn set(&self, weather: Weather) {
        self.shared.sky().weather = weather;
    }

    /// The node behind it hears every dialler from another address from here on, as
    /// when its network changes or a NAT forgets; answers to the old one are lost.
    pub fn roam(&self) {
        self.shared.sky().roamed += 1;
    }

    /// Bytes that have passed since the start, both ways.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed; a second one here would abort.
            let _ = thread.join();
        }
    }
}

/// The copies of one datagram: after how long each arrives.
type Fate = Vec<Duration>;

impl Shared {
    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.sky.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, way: Way, length: usize) -> Fate {
        let sky = &mut *self.sky();
        let Weather {
            cut,
            loss,
            twice,
            delay,
            spread,
            mute,
            bytes_per_second,
        } = sky.weather;
        if cut || (mute && way == Way::Back) || sky.dice.chance(loss) {
            return Vec::new();
        }
        let Some(queued) = sky.queue(way, length as u64, bytes_per_second) else {
            return Vec::new();
        };
        let copies = if sky.dice.chance(twice) { 2 } else { 1 };
        let most = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        let mut late = || queued + delay + Duration::from_micros(sky.dice.between(0, most));
        (0..copies).map(|_| late()).collect()
    }

    /// Sends `datagram` as its fate has it. What a socket refuses is lost, as on
    /// any network.
    async fn pass(
        self: &Arc<Self>,
        way: Way,
        datagram: &[u8],
        from: &Arc<UdpSocket>,
        to: SocketAddr,
    ) {
        for late in self.fate(way, datagram.len()) {
            self.passed
                .fetch_add(datagram.len() as u64, Ordering::Relaxed);
            if late.is_zero() {
                let _ = from.send_to(datagram, to).await;
                continue;
            }
            let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
                return;
            };
            let (datagram, from) = (datagram.to_vec(), Arc::clone(from));
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                let _ = from.send_to(&datagram, to).await;
                drop(place);
            });
        }
    }
}

impl Sky {
    /// How long a datagram takes to be through a link of this rate, what waits before
    /// it included; `None` if the buffer is full.
    fn queue(&mut self, way: Way, length: u64, rate: u64) -> Option<Duration> {
        if rate == 0 {
            return Some(Duration::ZERO);
        }
        let (now, busy) = (Instant::now(), &mut self.busy[way as usize]);
        let free = busy.map_or(now, |busy| busy.max(now));
        if free - now > BUFFER {
            return None;
        }
        let through = free + Duration::from_micros((length + OVERHEAD) * 1_000_000 / rate);
        *busy = Some(through);
        Some(through - now)
    }
}

fn run(front: std::net::UdpSocket, shared: &Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a runtime");
    runtime.block_on(async {
        let front = Arc::new(UdpSocket::from_std(front).expect("it does not block"));
        tokio::select! {
            () = inward(&front, shared) => {}
            () = shared.stop.notified() => {}
        }
    });
}

/// From diallers to the node; each dialler has a socket of its own there.
async fn inward(front: &Arc<UdpSocket>, shared: &Arc<Shared>) {
    let mut flows: VecDeque<Flow> = VecDeque::new();
    let mut buffer = vec![0; LONGEST];
    let mut roamed = 0;
    loop {
        let Ok((length, dialler)) = front.recv_from(&mut buffer).await else {
            // An earlier datagram met a closed port; the socket is fine.
            continue;
        };
        let (target, times) = {
            let sky = shared.sky();
            (sky.target, sky.roamed)
        };
        let Some(target) = target else {
            continue;
        };
        if times > roamed {
            flows.clear();
            roamed = times;
        }
        if !flows.iter().any(|flow| flow.dialler == dialler) {
            if flows.len() == FLOWS {
                flows.pop_back();
            }
            flows.push_front(Flow::new(dialler, front, shared).await);
        }
        let flow = flows.iter().find(|flow| flow.dialler == dialler);
        let flow = flow.expect("it was pushed if it was not there");
        let (datagram, back) = (&buffer[..length], &flow.back);
        shared.pass(Way::In, datagram, back, target).await;
    }
}

/// One dialler, and the socket by which the node knows it.
struct Flow {
    dialler: SocketAddr,
    back: Arc<UdpSocket>,
    answers: tokio::task::JoinHandle<()>,
}

impl Flow {
    async fn new(dialler: SocketAddr, front: &Arc<UdpSocket>, shared: &Arc<Shared>) -> Self {
        let back = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let back = Arc::new(back);
        let (front, shared) = (Arc::clone(front), Arc::clone(shared));
        let answers = tokio::spawn(outward(Arc::clone(&back), front, dialler, shared));
        Self {
            dialler,
            back,
            answers,
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// From the node back to one dialler.
async fn outward(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    dialler: SocketAddr,
    shared: Arc<Shared>,
) {
    let mut buffer = vec![0; LONGEST];
    loop {
        if let Ok((length, _)) = back.recv_from(&mut buffer).await {
            let datagram = &buffer[..length];
            shared.pass(Way::Back, datagram, &front, dialler).await;
        }
    }
}
