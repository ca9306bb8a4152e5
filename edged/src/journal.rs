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
mod word;
mod worker;

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use relay_core::change::{Book, Change};
use relay_core::event::Space;
use relay_core::id::{LaneNo, NodeNo, PackNo, SegmentId, StagedId, Ticket};
use relay_core::ledger::{ConfirmOutcome, InboxFilter, InboxItem, Ledger, LedgerError};
use relay_core::time::Unix;
use tokio::sync::{mpsc, oneshot, watch};

use crate::staging::Staged;
use group::Answer;
use worker::Worker;

pub use group::Fate;

/// The books: columns per peer and lane.
pub type Books = Vec<(NodeNo, LaneNo, Book, i64)>;

/// What room is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A put, which leaves way for arrivals.
    Put,
    /// Something that arrives.
    Arrival,
}

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
        length: u64,
        what: Purpose,
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
            .spawn(move || Worker::new(ledger, inbox, reports, stored).run())?;
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

    /// Sets room aside for a file that is about to be written, and is to be `length` bytes
    /// long so far; `false` when the ceiling leaves none, or the journal has ended.
    pub async fn reserve(&self, bytes: u64, length: u64, what: Purpose) -> bool {
        let job = |answer| Job::Reserve {
            bytes,
            length,
            what,
            answer,
        };
        let asked = self.ask(job).await;
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
