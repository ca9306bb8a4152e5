//! Putting the items at alpha, up to a gate that the demo opens step by step.
//!
//! Files and large segments go one by one with a key, from a few connections at
//! once; a put cut off by a kill is made again under the same key and so counts
//! once. Small made-up segments go in batches, which have no keys: none may be
//! under way at a kill ([`Load::survives_a_kill`]).

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use edged_rpc::{Client, ClientError, Id, Put, PutOptions};

use super::input::Item;

/// Connections that put with keys: enough to share each group commit.
const WORKERS: usize = 8;
/// Made-up segments up to this length go in batches.
const BATCHED: u64 = 64 << 10;
/// Items of one run of batches; between runs the gate is looked at.
const RUN: usize = 8_192;
/// Bytes of one run of batches.
const RUN_BYTES: u64 = 64 << 20;
/// A call of which nothing moves for so long is over.
const CALL: Duration = Duration::from_secs(60);
/// A sender that was killed is back within this.
const RETURN: Duration = Duration::from_secs(60);
/// Between two knocks at a socket that is not there.
const KNOCK: Duration = Duration::from_millis(20);

/// The putting, under way.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    batched: bool,
}

#[derive(Debug)]
struct Shared {
    items: Arc<Vec<Item>>,
    socket: PathBuf,
    peer: String,
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Debug)]
struct State {
    /// Items before this may be put.
    gate: usize,
    /// The next to put.
    next: usize,
    /// The name each was given, once its put was answered.
    answers: Vec<Option<Id>>,
    answered: usize,
    first: Option<Instant>,
    failure: Option<anyhow::Error>,
    stop: bool,
}

impl Load {
    /// Workers that will put `items` to `peer` at `socket`, the gate shut.
    ///
    /// # Errors
    /// No threads are to be had.
    pub(super) fn begin(
        items: &Arc<Vec<Item>>,
        socket: PathBuf,
        peer: &str,
        made_up: bool,
    ) -> Result<Self> {
        let batched = made_up && items.iter().all(|item| item.len <= BATCHED);
        let state = State {
            gate: 0,
            next: 0,
            answers: vec![None; items.len()],
            answered: 0,
            first: None,
            failure: None,
            stop: false,
        };
        let (items, peer) = (Arc::clone(items), peer.to_owned());
        let shared = Shared {
            items,
            socket,
            peer,
            state: Mutex::new(state),
            opened: Condvar::new(),
        };
        let mut load = Self {
            shared: Arc::new(shared),
            workers: Vec::new(),
            batched,
        };
        let (count, work): (usize, fn(&Shared) -> Result<()>) = if batched {
            (1, put_runs)
        } else {
            (WORKERS, put_each)
        };
        for n in 0..count {
            let shared = Arc::clone(&load.shared);
            let thread = std::thread::Builder::new().name(format!("demo-put-{n}"));
            let thread = thread.spawn(move || shared.fail(work(&shared)));
            load.workers.push(thread.context("thread of the load")?);
        }
        Ok(load)
    }

    /// Whether a put under way when alpha is killed can be made again.
    #[must_use]
    pub(super) const fn survives_a_kill(&self) -> bool {
        !self.batched
    }

    /// Lets all items before `count` be put.
    pub(super) fn open(&self, count: usize) {
        self.shared.lock().gate = count;
        self.shared.opened.notify_all();
    }

    /// Whether `count` items are put and answered.
    ///
    /// # Errors
    /// A put was refused, or alpha stayed away.
    pub(super) fn has_put(&self, count: usize) -> Result<Option<()>> {
        let mut state = self.shared.lock();
        match state.failure.take() {
            Some(failure) => Err(failure),
            None => Ok((state.answered >= count).then_some(())),
        }
    }

    /// When the first put was begun.
    #[must_use]
    pub(super) fn first_put(&self) -> Option<Instant> {
        self.shared.lock().first
    }

    /// The name of each item that was put, in order.
    #[must_use]
    pub(super) fn names(&self) -> Vec<Option<Id>> {
        self.shared.lock().answers.clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.opened.notify_all();
        for worker in self.workers.drain(..) {
            // What went wrong in it was noted, or nobody asks any more.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next item to put, when the gate lets it through; none at the end.
    fn claim(&self) -> Option<usize> {
        self.claim_run(|_| 1).map(|(from, _)| from)
    }

    /// The next items to put, `many` of those that may go.
    fn claim_run(&self, many: impl Fn(&[Item]) -> usize) -> Option<(usize, usize)> {
        let mut state = self.lock();
        loop {
            if state.stop || state.failure.is_some() || state.next >= self.items.len() {
                return None;
            }
            if state.next < state.gate {
                let from = state.next;
                state.next = from + many(&self.items[from..state.gate]).max(1);
                state.first.get_or_insert_with(Instant::now);
                return Some((from, state.next));
            }
            state = self
                .opened
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn answered(&self, from: usize, ids: &[Id]) {
        let mut state = self.lock();
        for (place, id) in state.answers[from..].iter_mut().zip(ids) {
            *place = Some(*id);
        }
        state.answered += ids.len();
    }

    fn fail(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.lock().failure.get_or_insert(error);
            self.opened.notify_all();
        }
    }

    fn options(&self) -> PutOptions {
        PutOptions {
            topic: Some("demo".to_owned()),
            ..PutOptions::to_peer(self.peer.as_str())
        }
    }
}

/// One worker with keys.
fn put_each(shared: &Shared) -> Result<()> {
    let mut client = None;
    while let Some(place) = shared.claim() {
        let item = &shared.items[place];
        let id = put_one(shared, &mut client, item)
            .with_context(|| format!("cannot put {}", item.name()))?;
        shared.answered(place, &[id]);
    }
    Ok(())
}

/// Puts one item, again after each time the daemon went away.
fn put_one(shared: &Shared, client: &mut Option<Client>, item: &Item) -> Result<Id> {
    let begun = Instant::now();
    loop {
        let put = Put {
            options: PutOptions {
                labels: vec![("path".to_owned(), item.label())],
                ..shared.options()
            },
            key: Some(item.key()),
            len: Some(item.len),
        };
        let bytes = item.open()?;
        let tried = match client {
            Some(client) => client.put_with(put, bytes),
            None => Client::connect(&shared.socket, CALL)
                .and_then(|new| client.insert(new).put_with(put, bytes)),
        };
        match tried {
            Ok(accepted) => return Ok(accepted.segment_id),
            Err(error) if is_away(&error) && begun.elapsed() < RETURN => {
                *client = None;
                if shared.lock().stop {
                    bail!("the demo ended");
                }
                std::thread::sleep(KNOCK);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the daemon is gone, which says nothing against the put.
const fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::NoDaemon { .. }
        | ClientError::HungUp
        | ClientError::Socket(_)
        | ClientError::Broken => true,
        ClientError::NotAllowed { .. }
        | ClientError::Refused(_)
        | ClientError::TimedOut(_)
        | ClientError::OtherVersion { .. }
        | ClientError::Frame(_)
        | ClientError::OffScript { .. }
        | ClientError::Source(_)
        | ClientError::Sink(_)
        | ClientError::AnswersDue { .. } => false,
    }
}

/// The one worker with batches.
fn put_runs(shared: &Shared) -> Result<()> {
    while let Some((from, upto)) = shared.claim_run(run_of) {
        // Alpha may have been killed and started since the last run.
        let mut client = Client::connect(&shared.socket, CALL).context("cannot put")?;
        let mut failure = None;
        let bodies = shared.items[from..upto].iter().map_while(|item| {
            let mut body = Vec::new();
            let read = item
                .open()
                .and_then(|mut bytes| Ok(bytes.read_to_end(&mut body)?));
            read.map(|_| body)
                .map_err(|error| failure = Some(error))
                .ok()
        });
        let done = client
            .put_many(&shared.options(), bodies)
            .context("cannot put a batch")?;
        if let Some(error) = failure {
            return Err(error);
        }
        if let Some((place, why)) = done.refused.into_iter().next() {
            return Err(why)
                .with_context(|| format!("cannot put {}", shared.items[from + place].name()));
        }
        ensure!(
            done.ids.len() == upto - from,
            "{} puts of {} were answered",
            done.ids.len(),
            upto - from
        );
        shared.answered(from, &done.ids);
    }
    Ok(())
}

/// How many of these go together.
fn run_of(items: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += item.len;
        bytes <= RUN_BYTES
    };
    items.iter().take(RUN).take_while(fits).count()
}
