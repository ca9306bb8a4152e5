//! Who was refused, for the audit: equal denials of one minute become one record with
//! a count, so that a caller who tries without end does not fill the chain.
//!
//! The first of its kind is written at once, the others of its minute when that is over.
//! What is equal is decided by [`Tally`]; the task here only waits and writes.

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

/// The task that writes them down.
pub(super) struct Auditor {
    heard: mpsc::Receiver<(Caller, &'static str)>,
    tally: Tally,
    desk: Desk,
    stop: CancellationToken,
}

/// Where to tell, and who hears.
pub(super) fn pair(desk: Desk, stop: CancellationToken) -> (Denials, Auditor) {
    let (tell, heard) = mpsc::channel(WAITING);
    let auditor = Auditor {
        heard,
        tally: Tally::default(),
        desk,
        stop,
    };
    (Denials(tell), auditor)
}

impl Auditor {
    /// Writes until the daemon stops.
    pub(super) async fn run(mut self) {
        loop {
            let now = clock::now().mono;
            let left = self.tally.deadline().map(|at| at.since(now));
            let rest = tokio::time::sleep(left.unwrap_or(Duration::MAX));
            let heard = tokio::select! {
                heard = self.heard.recv() => heard,
                () = rest, if left.is_some() => None,
                () = self.stop.cancelled() => break,
            };
            let now = clock::now().mono;
            let due = match heard {
                Some((caller, verb)) => self.tally.denied(now, caller, verb),
                None => self.tally.due(now),
            };
            self.write(due).await;
        }
        let rest = self.tally.rest();
        self.write(rest).await;
    }

    async fn write(&self, due: Vec<Denied>) {
        for Denied {
            caller,
            verb,
            count,
        } in due
        {
            let at = clock::now().wall;
            let mut record = AuditRecord::by(
                &caller,
                at,
                AuditEvent::AccessDenied,
                "verb",
                verb.to_owned(),
            )
            .with("count", count);
            record.outcome = AuditOutcome::Denied;
            // Going down: the chain takes nothing more.
            let _ = self.desk.order(caller, Order::Note(record)).await;
        }
    }
}
