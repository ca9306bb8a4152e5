//! Who was refused, for the audit: equal denials of one minute become one record with
//! a count, so that a caller who tries without end does not fill the chain.
//!
//! The first of its kind is written at once, the others of its minute when that is over,
//! or when the daemon is asked to stop: it begins to drain once they are written, since
//! afterwards nothing is. What is equal is decided by [`Tally`]; the task here only waits
//! and writes.

use std::future::Future;
use std::time::Duration;

use relay_core::audit::{AuditEvent, AuditOutcome, AuditRecord};
use relay_core::denials::{Denied, Tally};
use relay_core::event::{Caller, Order};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::desk::Desk;

/// Denials that wait to be counted; one more makes its caller wait.
const WAITING: usize = 256;
/// How long a stop waits for the last of them to be durable.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where denials are told.
#[derive(Clone, Debug)]
pub(super) struct Denials(mpsc::Sender<(Caller, &'static str)>);

impl Denials {
    /// `caller` was refused `verb`.
    pub(super) async fn tell(&self, caller: Caller, verb: &'static str) {
        // An auditor that has ended means the daemon is going down.
        let _ = self.0.send((caller, verb)).await;
    }
}

/// The word that the daemon is to stop, and the word that all denials are written.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Somebody wants the daemon to stop.
    pub asked: CancellationToken,
    /// What was denied so far is in the audit, or cannot get there.
    pub told: CancellationToken,
}

impl Closing {
    /// Of a daemon that is asked to stop by `asked`.
    #[must_use]
    pub fn new(asked: CancellationToken) -> Self {
        let told = CancellationToken::new();
        Self { asked, told }
    }
}

/// The task that writes them down.
pub(super) struct Auditor {
    heard: mpsc::Receiver<(Caller, &'static str)>,
    tally: Tally,
    closing: Closing,
    stop: CancellationToken,
}

/// Where to tell, and who hears until `stop`.
pub(super) fn pair(closing: Closing, stop: CancellationToken) -> (Denials, Auditor) {
    let (tell, heard) = mpsc::channel(WAITING);
    let auditor = Auditor {
        heard,
        tally: Tally::default(),
        closing,
        stop,
    };
    (Denials(tell), auditor)
}

impl Auditor {
    /// Writes until the daemon stops.
    pub(super) async fn run<F: Future<Output = ()>>(mut self, write: impl Fn(Denied) -> F) {
        // However this task ends, the daemon does not wait for it.
        let told = self.closing.told.clone().drop_guard();
        self.count(&write).await;
        let rest = self.tally.rest();
        // A disk that hangs holds up no stop.
        let _ = tokio::time::timeout(PATIENCE, write_all(rest, &write)).await;
        drop(told);
        // There is no minute to wait for any longer.
        loop {
            let (caller, verb) = tokio::select! {
                Some(heard) = self.heard.recv() => heard,
                () = self.stop.cancelled() => return,
            };
            let count = 1;
            write(Denied {
                caller,
                verb,
                count,
            })
            .await;
        }
    }

    /// Counts and writes until the daemon is asked to stop, or stops.
    async fn count<F: Future<Output = ()>>(&mut self, write: &impl Fn(Denied) -> F) {
        loop {
            let now = clock::now().mono;
            let left = self.tally.deadline().map(|at| at.since(now));
            let rest = tokio::time::sleep(left.unwrap_or(Duration::MAX));
            let heard = tokio::select! {
                heard = self.heard.recv() => heard,
                () = rest, if left.is_some() => None,
                () = self.closing.asked.cancelled() => break,
                // Nobody asked: the driver has ended by itself.
                () = self.stop.cancelled() => break,
            };
            let now = clock::now().mono;
            let due = match heard {
                Some((caller, verb)) => self.tally.denied(now, caller, verb),
                None => self.tally.due(now),
            };
            write_all(due, write).await;
        }
        // What was refused before the word came is counted with the others.
        while let Ok((caller, verb)) = self.heard.try_recv() {
            let due = self.tally.denied(clock::now().mono, caller, verb);
            write_all(due, write).await;
        }
    }
}

async fn write_all<F: Future<Output = ()>>(due: Vec<Denied>, write: &impl Fn(Denied) -> F) {
    for denied in due {
        write(denied).await;
    }
}

/// Writes one record; durable when it answers.
pub(super) async fn record(desk: Desk, denied: Denied) {
    let Denied {
        caller,
        verb,
        count,
    } = denied;
    let (at, event) = (clock::now().wall, AuditEvent::AccessDenied);
    let record = AuditRecord::by(&caller, at, event, "verb", verb.to_owned());
    let mut record = record.with("count", count);
    record.outcome = AuditOutcome::Denied;
    // Going down: the chain takes nothing more.
    let _ = desk.order(caller, Order::Note(record)).await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn what_was_denied_is_written_before_the_daemon_drains() {
        let (asked, stop) = (CancellationToken::new(), CancellationToken::new());
        let closing = Closing::new(asked.clone());
        let told = closing.told.clone();
        let (denials, auditor) = pair(closing, stop.clone());
        let written: Arc<Mutex<Vec<(&str, u64)>>> = Arc::default();
        let book = Arc::clone(&written);
        let task = tokio::spawn(auditor.run(move |denied| {
            let book = Arc::clone(&book);
            async move {
                let mut book = book.lock().expect("nobody panics");
                book.push((denied.verb, denied.count));
            }
        }));
        for verb in ["drop", "drop", "kick", "drop"] {
            denials.tell(Caller::default(), verb).await;
        }

        asked.cancel();
        told.cancelled().await;

        let found = || written.lock().expect("nobody panics").clone();
        assert_eq!(found(), [("drop", 1), ("kick", 1), ("drop", 2)]);
        denials.tell(Caller::default(), "drop").await;
        while found().len() < 4 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        task.await.expect("it ends");
        assert_eq!(found()[3], ("drop", 1));
    }

    #[tokio::test]
    async fn an_auditor_that_is_gone_holds_up_no_stop() {
        let closing = Closing::new(CancellationToken::new());
        let told = closing.told.clone();
        let (_denials, auditor) = pair(closing, CancellationToken::new());

        let task = tokio::spawn(auditor.run(|_| async {}));
        tokio::task::yield_now().await;
        task.abort();

        told.cancelled().await;
    }
}
