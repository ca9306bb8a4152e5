//! What a local client's task may use: one value, cloned for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relay_core::change::{OwedRow, Shelved};
use relay_core::event::{Caller, Done, Input, Order, OrderRefused};
use relay_core::id::{BootEpoch, PutId, SegmentId};
use relay_core::limits::{MAX_SEGMENT, put_in_memory};
use relay_core::scheduler::Picture;
use relay_core::time::Now;
use relay_core::why::{Blocked, Why};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock;
use crate::config::Config;
use crate::event::{Answer, Event, Local, Waits};
use crate::journal::Journal;
use crate::payloads::Payloads;
use crate::readers::Readers;
use crate::running::Running;
use crate::staging::Staging;
use crate::transport::Transport;
use crate::ways::Ways;

/// Handles on everything a client may ask of.
#[derive(Clone)]
pub struct Desk {
    /// What the operator set, as it was at the start.
    pub config: Arc<Config>,
    /// Each key of it as it holds.
    pub running: Arc<Running>,
    /// This run.
    pub epoch: BootEpoch,
    /// The driver.
    pub locals: mpsc::Sender<Local>,
    /// Reads of the ledger.
    pub readers: Readers,
    /// Takes and confirms; the books.
    pub journal: Journal,
    /// Names and bytes of packs.
    pub payloads: Payloads,
    /// Bytes on their way in.
    pub staging: Staging,
    /// Memory for puts that are not yet durable, in bytes.
    pub room: Arc<Semaphore>,
    /// Where links stand.
    pub transport: Arc<Transport>,
    /// What spools and sink are at.
    pub(crate) ways: Ways,
    puts: Arc<AtomicU64>,
    chance: Arc<AtomicU64>,
}

/// The daemon is going down and answers nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the daemon is going down")]
pub struct GoingDown;

/// Handles of the daemon's parts, from which a [`Desk`] is made.
pub struct Parts {
    /// See [`Desk::config`].
    pub config: Arc<Config>,
    /// See [`Desk::running`].
    pub running: Arc<Running>,
    /// See [`Desk::epoch`].
    pub epoch: BootEpoch,
    /// See [`Desk::locals`].
    pub locals: mpsc::Sender<Local>,
    /// See [`Desk::readers`].
    pub readers: Readers,
    /// See [`Desk::journal`].
    pub journal: Journal,
    /// See [`Desk::payloads`].
    pub payloads: Payloads,
    /// See [`Desk::staging`].
    pub staging: Staging,
    /// See [`Desk::transport`].
    pub transport: Arc<Transport>,
    /// 64 random bits for segment ids.
    pub seed: u64,
}

/// Memory for puts that are not yet durable: a few groups at the fastest intake.
const ROOM: usize = 16 << 20;

impl Desk {
    /// A desk over `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            config,
            running,
            epoch,
            locals,
            readers,
            journal,
            payloads,
            staging,
            transport,
            seed,
        } = parts;
        Self {
            config,
            running,
            epoch,
            locals,
            readers,
            journal,
            payloads,
            staging,
            room: Arc::new(Semaphore::new(ROOM)),
            transport,
            ways: Ways::default(),
            puts: Arc::new(AtomicU64::new(1)),
            chance: Arc::new(AtomicU64::new(seed)),
        }
    }

    /// How many bytes [`Desk::room`] has in all.
    #[must_use]
    pub const fn room_bytes() -> usize {
        ROOM
    }

    /// The largest put, as the core is told: a quarter of the ceiling.
    #[must_use]
    pub fn most(&self) -> u64 {
        (self.config.storage.max_bytes.0 / 4).min(MAX_SEGMENT)
    }

    /// The largest put that stays in memory: a record must leave a log file room for
    /// others.
    #[must_use]
    pub fn in_memory(&self) -> u64 {
        put_in_memory(self.config.storage.log_file().0)
    }

    /// A name for one put, never used twice in this run.
    #[must_use]
    pub fn fresh_put(&self) -> PutId {
        PutId(self.puts.fetch_add(1, Ordering::Relaxed))
    }

    /// A segment id made now. Its random bits are a counter from a random start,
    /// scattered: two runs do not meet, and two ids of one run differ.
    #[must_use]
    pub fn fresh_id(&self) -> SegmentId {
        // Runs of members follow an id; the step keeps runs apart.
        let n = self
            .chance
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let scattered = u128::from(n.wrapping_mul(0xd134_2543_de82_ef95));
        // The top one of the low bits stays clear, so that no run wraps.
        let low = u128::from(n & 0x1fff_ffff_ffff_ffff);
        SegmentId::v7(clock::now().unix.0, (scattered << 64) | low)
    }

    /// Tells the core of a put or an announcement and waits for its answer.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn put(&self, event: Event, put: PutId) -> Result<Answer, GoingDown> {
        self.begin_put(event, put)
            .await?
            .await
            .map_err(|_| GoingDown)
    }

    /// Tells the core of a put; the answer comes later.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn begin_put(
        &self,
        event: Event,
        put: PutId,
    ) -> Result<oneshot::Receiver<Answer>, GoingDown> {
        let (answer, heard) = oneshot::channel();
        debug_assert!(matches!(
            event.input,
            Input::Put(_) | Input::Announced { .. }
        ));
        let event = Box::new(event);
        let local = Local::Put { event, put, answer };
        self.locals.send(local).await.map_err(|_| GoingDown)?;
        Ok(heard)
    }

    /// Tells the core that the files these segments were made of are gone for good.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn unspool(&self, gone: Vec<SegmentId>) -> Result<(), GoingDown> {
        let local = Local::Unspooled(gone);
        self.locals.send(local).await.map_err(|_| GoingDown)
    }

    /// Why these do not move, and where everything stands.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn why(&self, rows: Vec<OwedRow>) -> Result<(Vec<Why>, Picture, Now), GoingDown> {
        let (answer, heard) = oneshot::channel();
        let local = Local::Why(rows, answer);
        self.locals.send(local).await.map_err(|_| GoingDown)?;
        heard.await.map_err(|_| GoingDown)
    }

    /// What each of these waits on, and where everything stands.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn waits(&self, rows: Vec<OwedRow>) -> Result<Waits, GoingDown> {
        let (answer, heard) = oneshot::channel();
        let local = Local::Waits(rows, answer);
        self.locals.send(local).await.map_err(|_| GoingDown)?;
        heard.await.map_err(|_| GoingDown)
    }

    /// What blocks how much of all that waits, by what the ledger says is `shelved`.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn why_all(&self, shelved: Vec<Shelved>) -> Result<(Vec<Blocked>, Now), GoingDown> {
        let (answer, heard) = oneshot::channel();
        let local = Local::WhyAll(shelved, answer);
        self.locals.send(local).await.map_err(|_| GoingDown)?;
        heard.await.map_err(|_| GoingDown)
    }

    /// Where everything stands.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn look(&self) -> Result<(Picture, Now), GoingDown> {
        let (answer, heard) = oneshot::channel();
        self.locals
            .send(Local::Look(answer))
            .await
            .map_err(|_| GoingDown)?;
        heard.await.map_err(|_| GoingDown)
    }

    /// Gives the core an order that is allowed already; what it answers is durable.
    ///
    /// # Errors
    /// [`GoingDown`].
    pub async fn order(
        &self,
        caller: Caller,
        order: Order,
    ) -> Result<Result<Done, OrderRefused>, GoingDown> {
        let (answer, heard) = oneshot::channel();
        let order = Box::new(order);
        let local = Local::Order {
            caller,
            order,
            answer,
        };
        self.locals.send(local).await.map_err(|_| GoingDown)?;
        heard.await.map_err(|_| GoingDown)
    }
}
