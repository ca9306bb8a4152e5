//! One client's way to the ledger: questions of all clients take turns.
//!
//! A question may look at many rows, and the reader threads serve the relay's own work
//! too: with one question at a time there is always a thread for that.

use std::ops::Deref;
use std::sync::Arc;

use relay_core::ledger::{ReadError, Reader};
use tokio::sync::Semaphore;
use tracing::warn;

use super::Answered;
use crate::desk::Desk;
use crate::socket::refusal::{draining, failed};

/// The desk, and a place in the queue before the ledger.
pub(super) struct Clerk<'a> {
    desk: &'a Desk,
    turns: &'a Arc<Semaphore>,
}

impl<'a> Clerk<'a> {
    /// A way to `desk`; `turns` are shared by all clients.
    pub(super) const fn new(desk: &'a Desk, turns: &'a Arc<Semaphore>) -> Self {
        Self { desk, turns }
    }

    /// Asks a reader thread when its turn comes.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Answered<T> {
        // The turn goes with the job: a client that hangs up does not end what it asked.
        let turn = Arc::clone(self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| draining())?;
        let read = self.desk.readers.read(move |reader| {
            let read = job(reader);
            drop(turn);
            read
        });
        read.await.map_err(|_| draining())?.map_err(|error| {
            warn!(%error, "A client's question cannot be read");
            failed("ledger", error.to_string())
        })
    }
}

impl Deref for Clerk<'_> {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        self.desk
    }
}
