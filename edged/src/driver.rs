//! The loop: wait for one event, hear it, perform what is asked.
//!
//! The driver is the only owner of the [`Scheduler`]. Every arm of its `select!`
//! returns a value and does no work, so dropping an arm loses nothing. It holds
//! the bytes that words have named until the journal has a place for them, and
//! the room those bytes take until they are durable.

mod perform;
mod questions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use relay_core::event::{Done, Input, OrderId, OrderRefused};
use relay_core::id::{NodeId, PutId, StagedId};
use relay_core::ledger::LedgerError;
use relay_core::poison::{Panic, Touched};
use relay_core::scheduler::Scheduler;
use relay_core::time::Now;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, trace};

use crate::clock;
use crate::event::{Answer, Event, HeldRoom, Local};
use crate::journal::{Journal, Report};
use crate::payloads::Payloads;
use crate::readers::Readers;
use crate::staging::{Staged, Staging};
use crate::touch::touching;
use crate::transport::Transport;

/// The longest sleep: timers run on a clock that counts suspended time, sleeps
/// do not, so a long one is cut.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the driver performs with.
pub struct Hands {
    /// Writes.
    pub journal: Journal,
    /// Reads.
    pub readers: Readers,
    /// Bytes to send, and names.
    pub payloads: Payloads,
    /// Links.
    pub transport: Arc<Transport>,
    /// Where staged files lie.
    pub staging: Staging,
    /// Where to dial each peer.
    pub addresses: BTreeMap<NodeId, Vec<String>>,
    /// How long a dial may take.
    pub dial_timeout: Duration,
}

/// Where events come from.
#[derive(Debug)]
pub struct Ears {
    /// From the journal.
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// From links.
    pub events: mpsc::Receiver<Event>,
    /// From local clients.
    pub locals: mpsc::Receiver<Local>,
}

/// Why the loop ended early.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The outcome of a commit is unknown: the next start decides from disk.
    #[error("cannot go on: {0}")]
    Ledger(#[from] LedgerError),
    /// A part that should outlive the loop is gone.
    #[error("cannot go on: {0} has ended")]
    Gone(&'static str),
}

/// The owner of the scheduler.
pub struct Driver {
    scheduler: Scheduler,
    hands: Hands,
    /// Bytes that words have named and that have no place yet.
    staged: HashMap<StagedId, Staged>,
    /// Room held for bytes that are not yet durable.
    rooms: HashMap<StagedId, HeldRoom>,
    answers: HashMap<PutId, oneshot::Sender<Answer>>,
    orders: HashMap<OrderId, oneshot::Sender<Result<Done, OrderRefused>>>,
    last_order: OrderId,
    replies: mpsc::UnboundedSender<Event>,
    heard: mpsc::UnboundedReceiver<Event>,
    drained: bool,
    panics: Vec<Panic>,
}

/// One thing to hear.
enum Heard {
    Report(Option<Report>),
    Event(Option<Event>),
    Local(Option<Local>),
    Wake,
    Stop,
}

impl Driver {
    /// A driver of `scheduler`.
    #[must_use]
    pub fn new(scheduler: Scheduler, hands: Hands) -> Self {
        // Replies to our own questions: the core bounds how many are open.
        let (replies, heard) = mpsc::unbounded_channel();
        Self {
            scheduler,
            hands,
            staged: HashMap::new(),
            rooms: HashMap::new(),
            answers: HashMap::new(),
            orders: HashMap::new(),
            last_order: OrderId(0),
            replies,
            heard,
            drained: false,
            panics: Vec::new(),
        }
    }

    /// Tells the scheduler before anything else how earlier runs ended.
    #[must_use]
    pub fn after(self, panics: Vec<Panic>) -> Self {
        Self { panics, ..self }
    }

    /// Runs until `stop`, then until everything is durable and links are closed.
    ///
    /// # Errors
    /// [`DriverError`] when the daemon must end at once.
    pub async fn run(mut self, mut ears: Ears, stop: CancellationToken) -> Result<(), DriverError> {
        let mut stopping = false;
        let panics = std::mem::take(&mut self.panics);
        self.hear(clock::now(), Input::Panicked(panics));
        while !self.drained {
            let sleep = tokio::time::sleep(self.nap());
            let heard = tokio::select! {
                biased;
                report = ears.reports.recv() => Heard::Report(report),
                event = self.heard.recv() => Heard::Event(event),
                () = stop.cancelled(), if !stopping => Heard::Stop,
                event = ears.events.recv() => Heard::Event(event),
                local = ears.locals.recv() => Heard::Local(local),
                () = sleep => Heard::Wake,
            };
            match heard {
                Heard::Report(Some(report)) => self.on_report(report)?,
                Heard::Report(None) => return Err(DriverError::Gone("the journal")),
                Heard::Event(Some(event)) => self.on_event(event),
                Heard::Event(None) => return Err(DriverError::Gone("the transport")),
                Heard::Local(Some(local)) => self.on_local(local),
                Heard::Local(None) => return Err(DriverError::Gone("the socket")),
                Heard::Wake => self.hear(clock::now(), Input::Wake),
                Heard::Stop => {
                    stopping = true;
                    info!("Draining");
                    self.hear(clock::now(), Input::Drain);
                }
            }
        }
        Ok(())
    }

    fn nap(&self) -> Duration {
        let Some(deadline) = self.scheduler.deadline() else {
            return LONGEST_SLEEP;
        };
        deadline.at.since(clock::now().mono).min(LONGEST_SLEEP)
    }

    fn on_report(&mut self, report: Report) -> Result<(), DriverError> {
        match report {
            Report::Broken(error) => {
                error!(%error, "The outcome of a commit is unknown");
                Err(error.into())
            }
            Report::Committed {
                upto,
                refused,
                placed,
                space,
                spent,
            } => {
                let now = clock::now();
                for changes in spent {
                    self.scheduler.recycle(changes);
                }
                for ticket in refused {
                    self.hear(now, Input::PersistRefused(ticket, space));
                }
                for (staged, _) in placed {
                    self.rooms.remove(&staged);
                }
                self.hear(now, Input::Persisted(upto, space));
                Ok(())
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        if let Some((id, staged)) = event.staged {
            self.staged.insert(id, staged);
            if let Some(room) = event.room {
                self.rooms.insert(id, room);
            }
        }
        self.hear(clock::now(), event.input);
    }

    fn on_local(&mut self, local: Local) {
        match local {
            Local::Put { event, put, answer } => {
                self.answers.insert(put, answer);
                self.on_event(*event);
            }
            Local::Order {
                caller,
                order,
                answer,
            } => {
                self.last_order.0 += 1;
                let id = self.last_order;
                self.orders.insert(id, answer);
                let order = *order;
                self.hear(clock::now(), Input::Ordered { id, caller, order });
            }
            Local::Unspooled(gone) => self.hear(clock::now(), Input::Unspooled(gone)),
            Local::Why(rows, answer) => {
                let now = clock::now();
                let why = |row| self.scheduler.why(now, row);
                let whys = rows.iter().map(why).collect();
                let _ = answer.send((whys, self.scheduler.picture(now), now));
            }
            Local::Waits(rows, answer) => {
                let now = clock::now();
                let waits = |row| self.scheduler.waits_on(now, row);
                let waits = rows.iter().map(waits).collect();
                let _ = answer.send((waits, self.scheduler.picture(now), now));
            }
            Local::WhyAll(shelved, answer) => {
                let now = clock::now();
                let _ = answer.send((self.scheduler.why_all(now, &shelved), now));
            }
            Local::Look(answer) => {
                let now = clock::now();
                // A client that hung up wants no answer.
                let _ = answer.send((self.scheduler.picture(now), now));
            }
        }
    }

    /// The four lines: hear, check, drain, perform.
    fn hear(&mut self, now: Now, input: Input) {
        trace!(?now, ?input, "Heard");
        let scheduler = &mut self.scheduler;
        touching(Touched::by_input(&input), || scheduler.handle(now, input));
        if cfg!(debug_assertions) {
            self.scheduler.check();
        }
        while let Some(effect) = self.scheduler.poll() {
            trace!(?now, ?effect, "Asked");
            touching(Touched::by_effect(&effect), || self.perform(effect));
        }
    }

    fn answer(&mut self, put: PutId, answer: Answer) {
        if let Some(waiting) = self.answers.remove(&put) {
            // A client that hung up wants no answer.
            let _ = waiting.send(answer);
        }
    }
}
