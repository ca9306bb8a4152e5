//! The ledger: what must survive a crash, on one disk.
//!
//! SQLite (WAL) holds the rows; the payload log holds the bytes. One writer
//! applies groups of [`Change`]s, all or nothing, and answers when they are on
//! stable storage; [`Reader`]s read beside it. It promises what semantics 2, 4
//! and 9 say: a pack is named by a row only after its bytes are synced, an attempt
//! left open by an earlier run reads `ABANDONED`, nothing owed is evicted, and the
//! space allocated under its folder never passes `max_bytes`.
//!
//! It decides nothing about delivery, owns no thread and reads no clock: every
//! moment is passed in. Nothing else in this crate may import it.
//!
//! ```text
//! commit   → apply, rows          a group of changes becomes rows
//! files    → log                  where packs lie; payload for large ones
//! room     → retire, sweep        what may go, and when
//! forward                         what pins a nearly empty file moves on
//! checkpoint                      SQLite's log is bounded
//! recovery, age                   boot epoch, ABANDONED; how long we were away
//! inbox                           take and confirm
//! reader   → bodies, known, list  everything that is read
//! parked                          what bulk orders are about
//! opening                         before anything else
//! care     → check, salvage       whatever lies in the folder, it opens; fsck says how
//! downgrade                       what is kept before a migration
//! ```

mod age;
mod apply;
mod aside;
mod audit;
mod bodies;
mod care;
mod check;
mod checkpoint;
mod commit;
mod counters;
mod downgrade;
mod error;
mod expired;
mod files;
mod filling;
mod forward;
mod fsck;
mod groups;
mod held;
mod identity;
mod inbox;
mod inspect;
mod known;
mod list;
mod log;
mod meters;
mod opening;
mod overdue;
mod parked;
mod partial;
mod payload;
mod place;
mod quarantine;
mod reader;
mod reconcile;
mod recovery;
mod reserve;
mod restore;
mod retire;
mod room;
mod rows;
mod salvage;
mod schema;
mod settings;
mod shelf;
mod shelved;
mod spooled;
mod sums;
mod sweep;
mod tables;
mod unnamed;
mod unsettled;
mod wal;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

pub use audit::{AuditFilter, AuditPage, AuditSummary, Span, append_offline, mend_log};
pub use bodies::Loaded;
pub use care::Care;
pub use checkpoint::Overgrown;
pub use commit::{GroupStats, Report, Staged};
pub use downgrade::Migrated;
pub use error::{LedgerError, ReadError};
pub use fsck::{BadPack, Checked, look as fsck_look, repair as fsck_repair};
pub use inbox::{ConfirmOutcome, InboxFilter, InboxItem, InboxState};
pub use inspect::Inspection;
pub use list::{DeliveryFilter, DeliveryRow, Listing, Place, SegmentRow, Tally};
pub use overdue::Expired;
pub use parked::Parked;
pub use quarantine::{QuarantinePage, Quarantined};
pub use reader::Reader;
pub use salvage::Salvaged;
pub use sweep::Swept;

use crate::age::Stamp;
use crate::change::{Book, Depth};
use crate::delivery::StateName;
use crate::event::Space;
use crate::id::{BootEpoch, LaneNo, LedgerId, NodeId, NodeNo, PackNo, ReceiptNo};
use crate::time::Unix;
use bodies::Bodies;
use counters::Counters;
use files::LogFiles;
use identity::{meta, set_meta};
use partial::Partials;
use payload::Payloads;

#[cfg(doc)]
use crate::change::Change;

/// What a call of the ledger gives.
pub type LedgerResult<T> = Result<T, LedgerError>;

/// When a group counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on stable storage (fdatasync of the log, `synchronous=FULL`).
    Synced,
    /// Once the operating system has it; a power cut may lose it.
    Written,
}

/// How a ledger is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose it is; a ledger opens for the node that made it only.
    pub node: NodeId,
    /// What the wall clock says: it names what is kept before a migration.
    pub wall: Unix,
    /// 64 random bits: the ledger's id, if it is made by this call.
    pub entropy: u64,
    /// The ceiling on space allocated under the folder.
    pub max_bytes: u64,
    /// What is kept free of work for the day the disk itself is full, under the ceiling.
    pub reserve: u64,
    /// The length of a log file.
    pub log_file_bytes: u64,
    /// What the inbox may hold; reported, not enforced, by the ledger.
    pub inbox_max_bytes: u64,
    /// When a group counts as durable.
    pub durability: Durability,
    /// How long settled packs are kept for people to inspect, if room allows.
    pub keep_acked: Duration,
    /// How long a confirmed arrival is kept.
    pub keep_confirmed: Duration,
    /// How many acked rows are kept at most.
    pub keep_acked_rows: u64,
    /// How long the bytes of a deadlettered segment that expired are kept.
    pub keep_expired: Duration,
    /// How long the ids of arrivals are known after their bytes have gone.
    pub keep_known: Duration,
    /// For how many packs at most, unsettled ones aside.
    pub keep_known_packs: u64,
    /// How long an idempotency key is known.
    pub keep_keys: Duration,
    /// How many keys are known at most.
    pub keep_keys_rows: u64,
    /// A database up to so long is looked at whole at each start, a longer one in part.
    pub check_whole: u64,
}

impl Options {
    /// The defaults of semantics 2 and 9 under a ceiling of `max_bytes`.
    #[must_use]
    pub fn new(node: NodeId, max_bytes: u64, entropy: u64) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            node,
            wall: Unix(0),
            entropy,
            max_bytes,
            reserve: 0,
            log_file_bytes: (max_bytes / 32).clamp(4 << 20, 64 << 20),
            inbox_max_bytes: max_bytes / 2,
            durability: Durability::Synced,
            keep_acked: DAY,
            keep_confirmed: DAY / 24,
            keep_acked_rows: 100_000,
            keep_expired: DAY,
            keep_known: DAY,
            keep_known_packs: 100_000,
            keep_keys: DAY,
            keep_keys_rows: 1_000_000,
            // A few hundred milliseconds at most.
            check_whole: 64 << 20,
        }
    }
}

/// The writing end of a ledger. One per folder: the daemon's lock sees to it.
pub struct Ledger {
    conn: Connection,
    dir: PathBuf,
    options: Options,
    id: LedgerId,
    epoch: BootEpoch,
    last_pack: PackNo,
    last_receipt: ReceiptNo,
    log: LogFiles,
    payloads: Payloads,
    partials: Partials,
    bodies: Bodies,
    counters: Counters,
    size: room::Size,
    sqlite_log: checkpoint::Log,
    reserve: reserve::ReserveFile,
    reserved: u64,
    sweep_after: PackNo,
    expired_after: PackNo,
    /// The newest pack that was given a place, durable or not.
    placed_upto: PackNo,
    forward: forward::Forward,
    damaged: u64,
    /// What opening had to do about damage.
    care: Care,
    /// Bytes of what is set aside.
    set_aside: u64,
    poisoned: bool,
    /// What the clocks say, to be kept with the next group.
    stamp: Option<Stamp>,
}

impl Ledger {
    /// Keeps `stamp` with the next group, for the next start to go on from.
    pub const fn keep_time(&mut self, stamp: Stamp) {
        self.stamp = Some(stamp);
    }

    /// A reader of its own: a read-only connection and handles, free to move to
    /// another thread.
    ///
    /// # Errors
    /// [`LedgerError::Sql`] when the database cannot be opened a second time.
    pub fn reader(&self) -> LedgerResult<Reader> {
        Reader::open(&self.dir)
    }

    /// The books, per peer and lane (semantics 2.4).
    #[must_use]
    pub fn books(&self) -> Vec<(NodeNo, LaneNo, Book, i64)> {
        self.counters.books()
    }

    /// What stands where, per peer, lane and state.
    #[must_use]
    pub fn depths(&self) -> Vec<(NodeNo, LaneNo, StateName, Depth)> {
        self.counters.depths()
    }

    /// How full the ledger is.
    #[must_use]
    pub fn space(&self) -> Space {
        self.measured_space()
    }

    /// Damaged rows met since the ledger was opened, by the writer.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What opening had to do about damage.
    #[must_use]
    pub const fn care(&self) -> &Care {
        &self.care
    }

    fn alive(&self) -> LedgerResult<()> {
        if self.poisoned {
            Err(LedgerError::Poisoned)
        } else {
            Ok(())
        }
    }

    /// After an error that leaves disk or memory in doubt nothing more is taken. A full
    /// disk leaves none: whatever it refused was not done, and may be asked for again.
    fn guard<T>(&mut self, result: LedgerResult<T>) -> LedgerResult<T> {
        if let Err(error) = &result {
            if error.is_full() {
                self.on_no_room(error)?;
                return result;
            }
            let clean = matches!(
                error,
                LedgerError::Unstaged(_) | LedgerError::StagedLength { .. } | LedgerError::Poisoned
            );
            self.poisoned |= !clean;
            if error.doubts_disk() {
                care::leave_word(&self.dir);
            }
        }
        result
    }
}

/// The name of the database inside the ledger's folder.
const DATABASE: &str = "ledger.db";
