//! The ledger's thread: gathers what is asked for, commits it as one group,
//! reports the highest ticket.
//!
//! A group is everything that waits when the last one is done, never a timer.
//! Both channels are unbounded by themselves and bounded by what feeds them:
//! puts and arrivals hold room until they are durable, marks and settles are
//! bounded by the windows. A bound here could deadlock by construction: the
//! driver waits for the journal, the journal for the driver.
//!
//! After an error of which the outcome is unknown the thread reports once and
//! ends; the daemon then ends too, and the next start decides from disk.

mod group;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use relay_core::change::{Book, Change};
use relay_core::event::Space;
use relay_core::id::{LaneNo, NodeNo, PackNo, SegmentId, StagedId, Ticket};
use relay_core::ledger::{ConfirmOutcome, InboxFilter, InboxItem, Ledger, LedgerError};
use relay_core::time::{Mono, Unix};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::staging::Staged;
use group::{Answer, answer_with, is_arrival, placed};

pub use group::Fate;

/// The books: columns per peer and lane.
pub type Books = Vec<(NodeNo, LaneNo, Book, i64)>;

/// One group's worth of waiting is taken at most; it bounds a transaction.
const GROUP: usize = 4096;

/// What the journal does.
enum Job {
    Persist {
        ticket: Ticket,
        changes: Vec<Change>,
        staged: Vec<(StagedId, Staged)>,
    },
    Take {
        filter: InboxFilter,
        max: usize,
        until: Unix,
        answer: Answer<Vec<InboxItem>>,
    },
    Settle {
        ids: Vec<SegmentId>,
        fate: Fate,
        answer: Answer<Vec<ConfirmOutcome>>,
    },
    Books(oneshot::Sender<Books>),
    Reserve {
        bytes: u64,
        answer: oneshot::Sender<bool>,
    },
    Unreserve(u64),
    Stop,
}

/// What the journal reports.
#[derive(Debug)]
pub enum Report {
    /// A group is durable, but for the tickets that found no room.
    Committed {
        /// All tickets up to this one.
        upto: Ticket,
        /// Tickets of which nothing is durable.
        refused: Vec<Ticket>,
        /// Where staged bytes now lie.
        placed: Vec<(StagedId, PackNo)>,
        /// How full the node is.
        space: Space,
        /// Emptied room of the changes, for more of them.
        spent: Vec<Vec<Change>>,
    },
    /// The outcome of the last group is unknown; the daemon must end.
    Broken(LedgerError),
}

/// A handle on the thread: the only way to write the ledger.
#[derive(Clone, Debug)]
pub struct Journal {
    jobs: Sender<Job>,
    arrivals: watch::Receiver<u64>,
}

/// The thread, to be waited for.
#[derive(Debug)]
pub struct JournalThread(JoinHandle<()>);

impl JournalThread {
    /// Waits until the thread has done everything asked of it so far.
    pub fn join(self, journal: &Journal) {
        // A thread that has ended needs no telling.
        let _ = journal.jobs.send(Job::Stop);
        // A panic of ours aborts the process; there is nothing left to pass on.
        let _ = self.0.join();
    }
}

impl Journal {
    /// Starts the thread, which owns `ledger` from here on.
    ///
    /// # Errors
    /// What the operating system said about a new thread.
    pub fn start(
        ledger: Ledger,
    ) -> std::io::Result<(Self, JournalThread, mpsc::UnboundedReceiver<Report>)> {
        let (jobs, inbox) = channel();
        let (stored, arrivals) = watch::channel(0);
        let (reports, heard) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                Worker {
                    swept: clock::now().mono,
                    ledger,
                    inbox,
                    reports,
                    stored,
                    last: Ticket(0),
                }
                .run()
            })?;
        Ok((Self { jobs, arrivals }, JournalThread(thread), heard))
    }

    /// Asks for `changes` to be made durable; `staged` are the bytes they name.
    pub fn persist(&self, ticket: Ticket, changes: Vec<Change>, staged: Vec<(StagedId, Staged)>) {
        // A thread that has ended has reported why.
        let _ = self.jobs.send(Job::Persist {
            ticket,
            changes,
            staged,
        });
    }

    /// Leases up to `max` inbox segments until `until`; durable when it answers.
    ///
    /// # Errors
    /// What the ledger said.
    pub async fn take(
        &self,
        filter: InboxFilter,
        max: usize,
        until: Unix,
    ) -> Result<Vec<InboxItem>, String> {
        self.ask(|answer| Job::Take {
            filter,
            max,
            until,
            answer,
        })
        .await?
    }

    /// Settles inbox segments one way or the other; durable when it answers.
    ///
    /// # Errors
    /// What the ledger said.
    pub async fn settle(
        &self,
        ids: Vec<SegmentId>,
        fate: Fate,
    ) -> Result<Vec<ConfirmOutcome>, String> {
        self.ask(|answer| Job::Settle { ids, fate, answer }).await?
    }

    /// Changes whenever a group has stored something for the inbox.
    #[must_use]
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.clone()
    }

    /// The books as of the last group.
    ///
    /// # Errors
    /// When the journal has ended.
    pub async fn books(&self) -> Result<Books, String> {
        self.ask(Job::Books).await
    }

    /// Sets room aside for a file that is about to be written; `false` when the
    /// ceiling leaves none, or the journal has ended.
    pub async fn reserve(&self, bytes: u64) -> bool {
        let asked = self.ask(|answer| Job::Reserve { bytes, answer }).await;
        asked.unwrap_or(false)
    }

    /// Gives back what [`Journal::reserve`] set aside and no commit has used.
    pub fn unreserve(&self, bytes: u64) {
        // A thread that has ended has reported why.
        let _ = self.jobs.send(Job::Unreserve(bytes));
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, String> {
        let ended = || "the journal has ended".to_owned();
        let (answer, heard) = oneshot::channel();
        self.jobs.send(job(answer)).map_err(|_| ended())?;
        heard.await.map_err(|_| ended())
    }
}

/// How often retention looks for what may go, while there is work. An idle
/// daemon writes nothing.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What the thread does after a round.
enum Next {
    Wait,
    Stop,
}

struct Worker {
    swept: Mono,
    ledger: Ledger,
    inbox: Receiver<Job>,
    reports: mpsc::UnboundedSender<Report>,
    stored: watch::Sender<u64>,
    last: Ticket,
}

impl Worker {
    fn run(mut self) {
        while let Ok(first) = self.inbox.recv() {
            match self.round(first) {
                Ok(Next::Wait) => {}
                Ok(Next::Stop) => return,
                Err(error) => {
                    // Nobody left to hear means the daemon is already ending.
                    let _ = self.reports.send(Report::Broken(error));
                    return;
                }
            }
        }
    }

    /// Everything that waits: one group, then what needs the ledger alone.
    fn round(&mut self, first: Job) -> Result<Next, LedgerError> {
        let mut items = Vec::new();
        let mut bytes: HashMap<StagedId, Staged> = HashMap::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Persist {
                    ticket,
                    changes,
                    staged,
                } => {
                    bytes.extend(staged);
                    items.push((ticket, changes));
                }
                other @ (Job::Take { .. } | Job::Settle { .. } | Job::Books(_)) => {
                    self.commit(&mut items, &mut bytes)?;
                    self.alone(other)?;
                }
                Job::Reserve { bytes, answer } => self.reserve(bytes, answer)?,
                Job::Unreserve(bytes) => {
                    self.ledger.unreserve(bytes);
                    self.tell_space();
                }
                Job::Stop => {
                    self.commit(&mut items, &mut bytes)?;
                    return Ok(Next::Stop);
                }
            }
            next = match self.inbox.try_recv() {
                Ok(job) if items.len() < GROUP => Some(job),
                Ok(job) => {
                    self.commit(&mut items, &mut bytes)?;
                    Some(job)
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
            };
        }
        self.commit(&mut items, &mut bytes)?;
        Ok(Next::Wait)
    }

    /// A bounded batch of retention, now and then.
    fn sweep(&mut self) -> Result<(), LedgerError> {
        let now = clock::now();
        if now.mono.since(self.swept) < SWEEP_EVERY {
            return Ok(());
        }
        let more = self.ledger.sweep(now.unix)?.more;
        // What is left is looked at after the next group.
        if !more {
            self.swept = now.mono;
        }
        Ok(())
    }

    fn commit(
        &mut self,
        items: &mut Vec<(Ticket, Vec<Change>)>,
        bytes: &mut HashMap<StagedId, Staged>,
    ) -> Result<(), LedgerError> {
        let Some((upto, _)) = items.last() else {
            return Ok(());
        };
        let upto = *upto;
        let now = clock::now();
        self.ledger.keep_time(clock::stamp(now));
        let now = now.unix;
        let report = self
            .ledger
            .commit(items, &mut |id| bytes.remove(&id), now)?;
        let placed = placed(items, &report.refused);
        let arrived = items
            .iter()
            .flat_map(|(_, changes)| changes)
            .any(is_arrival);
        let spent = items.drain(..).map(|(_, mut changes)| {
            changes.clear();
            changes
        });
        let spent = spent.collect();
        bytes.clear();
        self.last = upto;
        self.tell(Report::Committed {
            upto,
            refused: report.refused,
            placed,
            space: report.space,
            spent,
        });
        if arrived {
            self.stored.send_modify(|groups| *groups += 1);
        }
        self.sweep()
    }

    /// Room for a file; whoever asked may have gone, and then it is given back.
    fn reserve(&mut self, bytes: u64, answer: oneshot::Sender<bool>) -> Result<(), LedgerError> {
        let room = self.ledger.reserve(bytes, clock::now().unix)?;
        if answer.send(room).is_err() && room {
            self.ledger.unreserve(bytes);
        }
        Ok(())
    }

    fn alone(&mut self, job: Job) -> Result<(), LedgerError> {
        let now = clock::now().unix;
        match job {
            Job::Take {
                filter,
                max,
                until,
                answer,
            } => {
                let taken = self.ledger.take(&filter, max, until, now);
                answer_with(answer, taken)
            }
            Job::Settle { ids, fate, answer } => {
                let settled = match fate {
                    Fate::Confirm => self.ledger.confirm(&ids, now),
                    Fate::Refuse => self.ledger.refuse(&ids, now),
                };
                self.tell_space();
                answer_with(answer, settled)
            }
            Job::Books(answer) => {
                // A client that hung up wants no answer.
                let _ = answer.send(self.ledger.books());
                Ok(())
            }
            Job::Persist { .. } | Job::Reserve { .. } | Job::Unreserve(_) | Job::Stop => Ok(()),
        }
    }

    /// Room has come back, and no ticket will say so.
    fn tell_space(&self) {
        self.tell(Report::Committed {
            upto: self.last,
            refused: Vec::new(),
            placed: Vec::new(),
            space: self.ledger.space(),
            spent: Vec::new(),
        });
    }

    fn tell(&self, report: Report) {
        // Nobody left to hear means the daemon is already ending.
        let _ = self.reports.send(report);
    }
}
