//! The thread itself: one group after the other, retention now and then, and cleaning while
//! the ledger fills up.
//!
//! On a full disk it looks five times a second whether there is room again, and goes on
//! with everything that brings no bytes. If not even that finds room, the group waits, and
//! with it whatever was asked since: nothing of it is lost, and the daemon lives.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use relay_core::change::Change;
use relay_core::id::{StagedId, Ticket};
use relay_core::ledger::{Ledger, LedgerError};
use relay_core::time::Mono;
use tokio::sync::{mpsc, oneshot, watch};

use super::group::{answer_with, is_arrival, placed};
use super::word::Word;
use super::{Fate, Job, Purpose, Report};
use crate::clock;
use crate::staging::Staged;

/// One group's worth of waiting is taken at most; it bounds a transaction.
const GROUP: usize = 4096;

/// How often retention looks for what may go, while there is work. An idle
/// daemon writes nothing.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often a full disk is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the thread does after a round.
enum Next {
    Wait,
    Stop,
}

pub(super) struct Worker {
    swept: Mono,
    /// Whether the ledger fills up and has files to clean.
    fills: bool,
    /// Whether a piece of the reserve can be written at once.
    tends: bool,
    /// When the reserve was last looked after.
    looked: Mono,
    /// What the log said of the disk.
    word: Word,
    ledger: Ledger,
    inbox: Receiver<Job>,
    /// What was asked while a group waited for room.
    waiting: VecDeque<Job>,
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
            looked: clock::now().mono,
            fills: false,
            tends: true,
            word: Word::default(),
            ledger,
            inbox,
            waiting: VecDeque::new(),
            reports,
            stored,
            last: Ticket(0),
        }
    }

    /// Works until it is told to stop, or nobody is left to ask.
    pub(super) fn run(mut self) {
        while let Some(first) = self.next() {
            let round = match first {
                Some(job) => self.round(job).and_then(|next| self.look(next)),
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

    /// What is asked next; `Some(None)`: nothing, and the ledger has something to do.
    fn next(&mut self) -> Option<Option<Job>> {
        if let Some(job) = self.waiting.pop_front() {
            return Some(Some(job));
        }
        let wait = match self.fills || self.tends {
            true => Duration::ZERO,
            false if self.ledger.disk_is_full() || self.ledger.log_is_held() => LOOK_EVERY,
            false => return self.inbox.recv().ok().map(Some),
        };
        match self.inbox.recv_timeout(wait) {
            Ok(job) => Some(Some(job)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Cleans a little of a ledger that fills up and looks after its reserve, whoever asks
    /// for nothing meanwhile.
    fn relieve(&mut self) -> Result<Next, LedgerError> {
        if self.fills {
            self.fills = self
                .patient(|ledger| ledger.relieve(clock::now().unix))?
                .unwrap_or(false);
            if !self.fills {
                self.tell_space();
            }
        }
        self.tend()?;
        Ok(Next::Wait)
    }

    /// Looks after the reserve now and then though there is always something to do: or a
    /// busy node would never hear that its disk has room again.
    fn look(&mut self, next: Next) -> Result<Next, LedgerError> {
        let now = clock::now().mono;
        let waits = self.ledger.disk_is_full() || self.ledger.log_is_held();
        let wanted = self.tends || waits;
        if wanted && now.since(self.looked) >= LOOK_EVERY {
            self.tend()?;
        }
        Ok(next)
    }

    /// Writes a piece of the reserve, if one is missing, and cuts SQLite's log, if nobody
    /// holds it any more.
    fn tend(&mut self) -> Result<(), LedgerError> {
        self.looked = clock::now().mono;
        self.cut_log()?;
        let was = self.ledger.disk_is_full();
        self.tends = self.patient(Ledger::tend_reserve)?.unwrap_or(false);
        if was != self.ledger.disk_is_full() {
            self.tell_space();
        }
        self.say();
        Ok(())
    }

    fn cut_log(&mut self) -> Result<(), LedgerError> {
        let was = self.ledger.log_is_held();
        self.patient(Ledger::tend_log)?;
        if was && !self.ledger.log_is_held() {
            self.tell_space();
        }
        Ok(())
    }

    /// Does what a full disk may refuse, a second time with what the reserve gave; `None`:
    /// there is no room for it still, and nothing was done.
    fn patient<T>(
        &mut self,
        mut work: impl FnMut(&mut Ledger) -> Result<T, LedgerError>,
    ) -> Result<Option<T>, LedgerError> {
        let first = match work(&mut self.ledger) {
            Err(error) if error.is_full() => work(&mut self.ledger),
            other => other,
        };
        match first {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.is_full() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells the log what is wrong with the disk, if anything is.
    fn say(&mut self) {
        let now = clock::now().mono;
        let (full, held) = (self.ledger.disk_is_full(), self.ledger.overgrown());
        self.word.say(full, held, now);
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
                Job::Reserve {
                    bytes,
                    length,
                    what,
                    answer,
                } => {
                    self.reserve((bytes, length), what, answer)?;
                }
                Job::Unreserve(bytes) => {
                    self.ledger.unreserve(bytes);
                    self.tell_space();
                }
                Job::Stop => {
                    self.commit(&mut items, &mut bytes)?;
                    return Ok(Next::Stop);
                }
            }
            next = match self.try_next() {
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
        let swept = self.patient(|ledger| ledger.sweep(now.unix))?;
        let more = swept.is_some_and(|swept| swept.more);
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
        let report = loop {
            let staged = &mut |id| bytes.get(&id).cloned();
            match self.ledger.commit(items, staged, now) {
                Err(error) if error.is_full() => self.wait_for_room(error)?,
                other => break other?,
            }
        };
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
        self.say();
        self.fills = self.patient(|ledger| ledger.relieve(now))?.unwrap_or(false);
        self.sweep()
    }

    /// Lets a moment pass in which others may free room; `error` if nobody waits for it.
    fn wait_for_room(&mut self, error: LedgerError) -> Result<(), LedgerError> {
        self.cut_log()?;
        self.say();
        match self.inbox.recv_timeout(LOOK_EVERY) {
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(error),
            Ok(job) => self.waiting.push_back(job),
            Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(())
    }

    fn try_next(&mut self) -> Result<Job, TryRecvError> {
        match self.waiting.pop_front() {
            Some(job) => Ok(job),
            None => self.inbox.try_recv(),
        }
    }

    /// Room for a file; whoever asked may have gone, and then it is given back.
    fn reserve(
        &mut self,
        (bytes, length): (u64, u64),
        what: Purpose,
        answer: oneshot::Sender<bool>,
    ) -> Result<(), LedgerError> {
        let now = clock::now().unix;
        let room = self.patient(|ledger| match what {
            Purpose::Put => ledger.reserve_put(bytes, length, now),
            Purpose::Arrival => ledger.reserve(bytes, now),
        });
        let room = room?.unwrap_or(false);
        // Before anybody acts on it: the next put is held to what this one leaves.
        self.tell_space();
        if answer.send(room).is_err() && room {
            self.ledger.unreserve(bytes);
            self.tell_space();
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
                let taken = self.patient(|ledger| ledger.take(&filter, max, until, now));
                answer_with(answer, taken)
            }
            Job::Settle { ids, fate, answer } => {
                let settled = self.patient(|ledger| match fate {
                    Fate::Confirm => ledger.confirm(&ids, now),
                    Fate::Refuse => ledger.refuse(&ids, now),
                    Fate::Lease(until) => ledger.lease(&ids, until, now).map(|()| Vec::new()),
                });
                self.tell_space();
                self.fills = self.patient(|ledger| ledger.relieve(now))?.unwrap_or(false);
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
