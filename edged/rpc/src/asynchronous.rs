//! The same for programs on tokio: a [`Producer`] on a thread of its own, and futures of
//! its answers. Behind the feature `tokio`.
//!
//! A call that has begun is carried to its end though its future is dropped, so that the
//! conversation is never left half way. Calls of all clones take turns.
//!
//! ```no_run
//! use edged_rpc::{Producer, PutOptions, asynchronous::AsyncProducer};
//!
//! # async fn work() -> Result<(), edged_rpc::ClientError> {
//! let edged = AsyncProducer::new(Producer::new("/run/edged/rpc.sock"));
//! let put = edged.put(PutOptions::to_peer("depot-7"), b"42.1 C".to_vec()).await?;
//! println!("stored as {}", put.segment_id);
//! # Ok(())
//! # }
//! ```

use tokio::sync::{mpsc, oneshot};

use crate::{Accepted, Client, ClientError, Producer, PutMany, PutOptions};

/// Calls that wait for their turn: beyond them a call waits for a place, too.
const CALLS: usize = 64;

type Call = Box<dyn FnOnce(&mut Producer) + Send>;

/// A producer to be awaited; clones share its connection. The thread ends with the last.
#[derive(Debug, Clone)]
pub struct AsyncProducer {
    calls: mpsc::Sender<Call>,
}

impl AsyncProducer {
    /// Starts the thread that `producer` works on.
    #[must_use]
    pub fn new(mut producer: Producer) -> Self {
        let (calls, mut due) = mpsc::channel::<Call>(CALLS);
        std::thread::spawn(move || {
            while let Some(call) = due.blocking_recv() {
                call(&mut producer);
            }
        });
        Self { calls }
    }

    /// As [`Producer::put`].
    ///
    /// # Errors
    /// As there.
    pub async fn put(&self, options: PutOptions, bytes: Vec<u8>) -> Result<Accepted, ClientError> {
        self.call(move |producer| producer.put(&options, &bytes))
            .await
    }

    /// As [`Producer::put_keyed`].
    ///
    /// # Errors
    /// As there.
    pub async fn put_keyed(
        &self,
        options: PutOptions,
        key: String,
        bytes: Vec<u8>,
    ) -> Result<Accepted, ClientError> {
        self.call(move |producer| producer.put_keyed(&options, &key, &bytes))
            .await
    }

    /// As [`Client::put_many`]: fast, and not tried again by itself.
    ///
    /// # Errors
    /// As there.
    pub async fn put_many(
        &self,
        options: PutOptions,
        bodies: Vec<Vec<u8>>,
    ) -> Result<PutMany, ClientError> {
        self.with(move |client| client.put_many(&options, &bodies))
            .await
    }

    /// Anything else a [`Client`] can do: `with(|client| client.take(&which))`.
    ///
    /// # Errors
    /// What `work` gives, and as [`Client::connect`].
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        self.call(|producer| producer.client().and_then(work)).await
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Producer) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |producer| {
            // Whoever asked may have gone.
            drop(answer.send(work(producer)));
        });
        let sent = self.calls.send(call).await;
        sent.map_err(|_| ClientError::Broken)?;
        answered.await.map_err(|_| ClientError::Broken)?
    }
}
