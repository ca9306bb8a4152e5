//! The reader threads: read-only views of the ledger, and payload files.
//!
//! Two threads, each with a [`Reader`] of its own, take whatever is asked next;
//! no call holds a snapshot longer than itself.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use relay_core::ledger::{Ledger, LedgerError, Reader};
use tokio::sync::oneshot;

/// How many threads read: one may be held up by a slow disk, the other not.
const THREADS: usize = 2;

type Work = Box<dyn FnOnce(&mut Reader) + Send>;

/// What a reader thread does next.
enum Job {
    Read(Work),
    Stop,
}

/// A handle on the threads.
#[derive(Clone, Debug)]
pub struct Readers {
    jobs: Sender<Job>,
}

/// The threads, to be waited for.
#[derive(Debug)]
pub struct ReaderThreads(Vec<JoinHandle<()>>);

impl ReaderThreads {
    /// Waits until the threads have done everything asked of them so far; what is
    /// asked later is answered by [`Ended`].
    pub fn join(self, readers: &Readers) {
        for _ in &self.0 {
            // A thread that has ended needs no telling.
            let _ = readers.jobs.send(Job::Stop);
        }
        for thread in self.0 {
            // A panic of ours aborts the process; there is nothing left to pass on.
            let _ = thread.join();
        }
    }
}

/// The reader threads have ended: the daemon is going down.
#[derive(Debug, thiserror::Error)]
#[error("the reader threads have ended")]
pub struct Ended;

impl Readers {
    /// Starts the threads on `ledger`.
    ///
    /// # Errors
    /// What SQLite or the operating system said.
    pub fn start(ledger: &Ledger) -> Result<(Self, ReaderThreads), LedgerError> {
        let (jobs, inbox) = channel::<Job>();
        let inbox = Arc::new(Mutex::new(inbox));
        let mut threads = Vec::with_capacity(THREADS);
        for n in 0..THREADS {
            let reader = ledger.reader()?;
            let inbox = Arc::clone(&inbox);
            let thread = std::thread::Builder::new()
                .name(format!("reader-{n}"))
                .spawn(move || work(reader, &inbox))
                .map_err(|source| LedgerError::Io {
                    what: "start",
                    path: "reader".into(),
                    source,
                })?;
            threads.push(thread);
        }
        Ok((Self { jobs }, ReaderThreads(threads)))
    }

    /// Does `job` on a reader thread and does not wait for it.
    pub fn spawn(&self, job: impl FnOnce(&mut Reader) + Send + 'static) {
        // Threads that have ended mean the daemon is going down.
        let _ = self.jobs.send(Job::Read(Box::new(job)));
    }

    /// Does `job` on a reader thread and answers what it gives.
    ///
    /// # Errors
    /// [`Ended`] when the daemon is going down.
    pub async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reader) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (answer, heard) = oneshot::channel();
        self.spawn(move |reader| {
            // Whoever asked may have gone.
            let _ = answer.send(job(reader));
        });
        heard.await.map_err(|_| Ended)
    }
}

fn work(mut reader: Reader, inbox: &Mutex<Receiver<Job>>) {
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(Job::Read(work)) => work(&mut reader),
            Ok(Job::Stop) | Err(_) => return,
        }
    }
}
