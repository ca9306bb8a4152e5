//! The thread itself: one group after the other, retention now and then, and cleaning while
//! the ledger fills up.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use relay_core::change::Change;
use relay_core::id::{StagedId, Ticket};
use relay_core::ledger::{Ledger, LedgerError};
use relay_core::time::Mono;
use tokio::sync::{mpsc, oneshot, watch};

use super::group::{answer_with, is_arrival, placed};
use super::{Fate, Job, Report};
use crate::clock;
use crate::staging::Staged;

/// One group's worth of waiting is taken at most; it bounds a transaction.
const GROUP: usize = 4096;

/// How often retention looks for what may go, while there is work. An idle
/// daemon writes nothing.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What the thread does after a round.
enum Next {
    Wait,
    Stop,
}

pub(super) struct Worker {
    swept: Mono,
    /// Whether the ledger fills up and has files to clean.
    fills: bool,
    ledger: Ledger,
    inbox: Receiver<Job>,
    reports: mpsc::UnboundedSender<Report>,
    stored: watch::Sender<u64>,
    last: Ticket,
}

impl Worker {
    /// One that has committed nothing yet.
    pub(super) fn new(
        ledger: Ledger,
        inbox: Receiver<Job>,
        reports: mpsc::UnboundedSender<Report>,
        stored: watch::Sender<u64>,
    ) -> Self {
        Self {
            swept: clock::now().mono,
            fills: false,
            ledger,
            inbox,
            reports,
            stored,
            last: Ticket(0),
        }
    }

    /// Works until it is told to stop, or nobody is left to ask.
    pub(super) fn run(mut self) {
        while let Some(first) = self.next() {
            let round = match first {
                Some(job) => self.round(job),
                None => self.relieve(),
            };
            match round {
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

    /// What is asked next; `Some(None)`: nothing, and the ledger has files to clean.
    fn next(&self) -> Option<Option<Job>> {
        if self.fills {
            match self.inbox.try_recv() {
                Ok(job) => return Some(Some(job)),
                Err(TryRecvError::Empty) => return Some(None),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        self.inbox.recv().ok().map(Some)
    }

    /// Cleans a little of a ledger that fills up, whoever asks for nothing meanwhile.
    fn relieve(&mut self) -> Result<Next, LedgerError> {
        self.fills = self.ledger.relieve(clock::now().unix)?;
        if !self.fills {
            self.tell_space();
        }
        Ok(Next::Wait)
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
        self.fills = self.ledger.relieve(now)?;
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
                    Fate::Lease(until) => self.ledger.lease(&ids, until, now).map(|()| Vec::new()),
                };
                self.tell_space();
                self.fills = self.ledger.relieve(now)?;
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
