//! Producers that outlive the daemon they put to, and remember what they were told.
//!
//! Each runs in a thread with a connection of its own and puts what it is allowed
//! ([`Producers::allow`]): batches, single puts, puts under a key. When the daemon
//! goes, whatever was not answered is noted as cut off, and the producer connects
//! again; a put under a key is repeated with that key until it is answered. The
//! [`Journal`] holds every put ever begun, so that the other side can be reconciled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edged_rpc::{Batch, Client, ClientError, Id, Put, PutOptions};

use super::{Item, PATIENCE, to_beta};
use crate::files::Body;
use crate::seeds::{Dice, say};

/// How a producer puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Many small segments at once.
    Batches,
    /// One segment at a time, up to some MiB.
    Single,
    /// One segment at a time, each under a key of its own.
    Keyed,
}

/// What became of a put, as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered: stored under this id.
    Answered(Id),
    /// The daemon went before it answered.
    CutOff,
    /// It was refused, and nothing of it is kept.
    Refused,
}

/// Every put ever begun.
#[derive(Debug, Default)]
pub struct Journal {
    /// What was put, and what became of it.
    pub puts: Vec<(Body, Fate)>,
}

impl Journal {
    /// Holds what lies in an inbox against what producers were told.
    ///
    /// # Panics
    /// If something that was answered is not there, or anything is there twice or
    /// was put by nobody.
    pub fn reconcile(&self, arrived: &[Item]) {
        let mut by_digest: BTreeMap<[u8; 32], Vec<[u8; 16]>> = BTreeMap::new();
        for item in arrived {
            assert_eq!(item.promised, item.found, "bytes are what their table says");
            by_digest.entry(item.found).or_default().push(item.id);
        }
        let (mut answered, mut cut_off, mut refused) = (0, [0, 0], 0);
        let (mut lost, mut duplicates) = (Vec::new(), Vec::new());
        for (body, fate) in &self.puts {
            let found = by_digest.remove(&body.digest()).unwrap_or_default();
            if found.len() > 1 {
                duplicates.push(*body);
            }
            match fate {
                Fate::Answered(id) => {
                    answered += 1;
                    if !found.contains(&id.0) {
                        lost.push(*body);
                    }
                }
                Fate::CutOff => cut_off[usize::from(!found.is_empty())] += 1,
                Fate::Refused => {
                    refused += 1;
                    assert!(found.is_empty(), "a refused put leaves nothing");
                }
            }
        }
        say(&format!(
            "  answered {answered}  cut off {} gone, {} stored  refused {refused}  lost {}  duplicates {}",
            cut_off[0],
            cut_off[1],
            lost.len(),
            duplicates.len()
        ));
        assert_eq!((lost, duplicates), (vec![], vec![]));
        assert!(by_digest.is_empty(), "nothing arrives that nobody put");
    }
}

/// Producers at work.
#[derive(Debug)]
pub struct Producers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    journal: Mutex<Journal>,
    answered: AtomicU64,
    /// KiB that may still be put.
    allowed: Mutex<u64>,
    more: Condvar,
    stop: AtomicBool,
}

/// Lanes of their puts, in turn.
const LANES: [&str; 3] = ["default", "alarm", "bulk"];
/// Shorter bodies would not tell each other apart.
const SHORTEST: u64 = 16;

impl Producers {
    /// Starts one producer for each of `shapes`, which put to the daemon at `socket`.
    /// They may put nothing yet.
    #[must_use]
    pub fn start(socket: &Path, seed: u64, shapes: &[Shape]) -> Self {
        let shared = Arc::new(Shared {
            socket: socket.to_path_buf(),
            journal: Mutex::default(),
            answered: AtomicU64::new(0),
            allowed: Mutex::new(0),
            more: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let threads = (1u64..).zip(shapes).map(|(no, shape)| {
            let producer = Producer {
                shared: Arc::clone(&shared),
                shape: *shape,
                dice: Dice::new(seed ^ no << 56),
                next: no << 40,
            };
            std::thread::spawn(move || producer.run())
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Lets them put about `kib` KiB more.
    pub fn allow(&self, kib: u64) {
        *lock(&self.shared.allowed) += kib;
        self.shared.more.notify_all();
    }

    /// Segments answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends them, after the put each is at; the daemon must be there to answer it.
    ///
    /// # Panics
    /// If a producer has.
    #[must_use]
    pub fn finish(self) -> Journal {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.more.notify_all();
        for thread in self.threads {
            thread
                .join()
                .expect("a producer goes on until it is told to stop");
        }
        std::mem::take(&mut *lock(&self.shared.journal))
    }
}

struct Producer {
    shared: Arc<Shared>,
    shape: Shape,
    dice: Dice,
    next: u64,
}

/// Why a producer's call came to nothing.
enum Trouble {
    /// The daemon has gone.
    Gone,
}

impl Producer {
    fn run(mut self) {
        let mut client = None;
        while let Some(bodies) = self.draw() {
            let from = self.note(&bodies);
            loop {
                let connected = match client.take() {
                    Some(client) => client,
                    None => self.connect(),
                };
                match self.put(connected, from, &bodies) {
                    Ok(kept) => client = Some(kept),
                    Err(Trouble::Gone) if self.shape == Shape::Keyed => continue,
                    Err(Trouble::Gone) => {}
                }
                break;
            }
        }
    }

    /// What to put next, once it is allowed; `None` when it is time to stop.
    fn draw(&mut self) -> Option<Vec<Body>> {
        let bodies: Vec<Body> = match self.shape {
            Shape::Batches => {
                let count = self.dice.between(1, 200);
                (0..count).map(|_| self.body(2 << 10)).collect()
            }
            Shape::Single if self.dice.chance(20) => vec![self.body(6 << 20)],
            Shape::Single => vec![self.body(64 << 10)],
            Shape::Keyed => vec![self.body(4 << 10)],
        };
        let cost = bodies.iter().map(|body| 1 + (body.length >> 10)).sum();
        let mut allowed = lock(&self.shared.allowed);
        loop {
            if self.shared.stop.load(Ordering::Relaxed) {
                return None;
            }
            if *allowed > 0 {
                *allowed = allowed.saturating_sub(cost);
                return Some(bodies);
            }
            allowed = self
                .shared
                .more
                .wait(allowed)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn body(&mut self, longest: u64) -> Body {
        self.next += 1;
        Body {
            seed: self.next,
            length: self.dice.spread(SHORTEST, longest),
        }
    }

    /// Notes puts as cut off until they are answered; where they stand in the journal.
    fn note(&self, bodies: &[Body]) -> usize {
        let puts = &mut lock(&self.shared.journal).puts;
        puts.extend(bodies.iter().map(|body| (*body, Fate::CutOff)));
        puts.len() - bodies.len()
    }

    fn tell(&self, from: usize, fates: impl IntoIterator<Item = Fate>) {
        let puts = &mut lock(&self.shared.journal).puts;
        for (put, fate) in puts[from..].iter_mut().zip(fates) {
            put.1 = fate;
            if matches!(fate, Fate::Answered(_)) {
                self.shared.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn connect(&self) -> Client {
        let begun = Instant::now();
        loop {
            match Client::connect(&self.shared.socket, PATIENCE) {
                Ok(client) => return client,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "no daemon: {error}"),
            }
            // It is being killed or started: a look now and then.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn put(&self, client: Client, from: usize, bodies: &[Body]) -> Result<Client, Trouble> {
        let options = PutOptions {
            lane: LANES[bodies[0].seed as usize % LANES.len()].to_owned(),
            ..to_beta()
        };
        match self.shape {
            Shape::Batches => self.put_batch(client, &options, from, bodies),
            Shape::Single | Shape::Keyed => self.put_one(client, options, from, bodies[0]),
        }
    }

    fn put_batch(
        &self,
        mut client: Client,
        options: &PutOptions,
        from: usize,
        bodies: &[Body],
    ) -> Result<Client, Trouble> {
        let mut batch = Batch::new();
        for body in bodies {
            assert!(
                batch.push(&body.bytes()),
                "200 segments of 2 KiB are a batch"
            );
        }
        let answer = client
            .send_batch(options, &batch)
            .and_then(|()| client.recv_batch());
        match answer {
            Ok(answer) => {
                let fate = |id: &Id| {
                    if id.is_nil() {
                        Fate::Refused
                    } else {
                        Fate::Answered(*id)
                    }
                };
                self.tell(from, answer.ids.0.iter().map(fate));
                Ok(client)
            }
            Err(ClientError::Refused(_)) => {
                self.tell(from, bodies.iter().map(|_| Fate::Refused));
                Ok(client)
            }
            Err(_) => Err(Trouble::Gone),
        }
    }

    fn put_one(
        &self,
        mut client: Client,
        options: PutOptions,
        from: usize,
        body: Body,
    ) -> Result<Client, Trouble> {
        let key = (self.shape == Shape::Keyed).then(|| format!("put-{}", body.seed));
        let put = Put {
            options,
            key,
            len: Some(body.length),
        };
        let fate = match client.put_with(put, body.reader()) {
            Ok(accepted) => Fate::Answered(accepted.segment_id),
            Err(ClientError::Refused(_)) => Fate::Refused,
            Err(_) => return Err(Trouble::Gone),
        };
        self.tell(from, [fate]);
        Ok(client)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
