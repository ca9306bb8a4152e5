//! Raising a ledger: all that happens before the first group, in order.

use std::fs;
use std::path::Path;

use rusqlite::config::DbConfig;

use super::bodies::Bodies;
use super::care::Care;
use super::check::Trouble;
use super::counters::Counters;
use super::error::LedgerError;
use super::files::LogFiles;
use super::identity::{greatest, identity};
use super::partial::Partials;
use super::payload::Payloads;
use super::{
    Ledger, LedgerResult, Options, age, aside, care, checkpoint, files, forward, meters,
    quarantine, recovery, reserve, room, settings, shelved, spooled,
};
use crate::age::Stamp;
use crate::change::Snapshot;
use crate::id::{PackNo, ReceiptNo};
use crate::time::{Now, Unix};

/// What a start has done so far, which a second look does not do again.
#[derive(Default)]
struct Done {
    care: Care,
    rescued: u64,
}

impl Ledger {
    /// Opens the ledger in `dir`, or makes one: migrates, recovers (semantics 4),
    /// removes what no row names. Answers what start-up needs to know.
    ///
    /// # Errors
    /// [`LedgerError`]: a newer schema, another node's ledger, SQLite, the file
    /// system.
    pub fn open(dir: &Path, mut options: Options, now: Unix) -> LedgerResult<(Self, Snapshot)> {
        let now = Now {
            unix: now,
            wall: now,
            ..Now::default()
        };
        options.wall = now.wall;
        Self::open_at(dir, options, |_| (now, None))
    }

    /// [`Ledger::open`], where `clock` says what time it is from what the last run
    /// kept of its clocks ([`crate::age::resume`]), and what is kept of it here. It is
    /// asked a second time where damage is met, and all is looked at once more.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub fn open_at(
        dir: &Path,
        options: Options,
        mut clock: impl FnMut(Option<Stamp>) -> (Now, Option<Stamp>),
    ) -> LedgerResult<(Self, Snapshot)> {
        fs::create_dir_all(dir).map_err(LedgerError::io("create", dir))?;
        let mut done = Done::default();
        let raised = Self::raise(dir, options.clone(), &mut clock, &mut done);
        match raised.map_err(Trouble::from) {
            Ok(opened) => Ok(opened),
            Err(Trouble::Other(error)) => {
                if error.doubts_disk() {
                    care::leave_word(dir);
                }
                Err(error)
            }
            // Where only a part was looked at, the rest turns out as it is read.
            Err(Trouble::Damage(_)) => {
                care::leave_word(dir);
                let raised = Self::raise(dir, options, &mut clock, &mut done);
                if raised.as_ref().is_err_and(LedgerError::doubts_disk) {
                    care::leave_word(dir);
                }
                raised
            }
        }
    }

    fn raise(
        dir: &Path,
        options: Options,
        clock: &mut impl FnMut(Option<Stamp>) -> (Now, Option<Stamp>),
        done: &mut Done,
    ) -> LedgerResult<(Self, Snapshot)> {
        care::remove_copy(dir)?;
        let reserve = reserve::ReserveFile::open(dir, options.reserve)?;
        let (mut conn, mut care) = care::open(care::Ground::of(dir), &options)?;
        // What turns out to be damaged now stays as it was found.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let id = identity(&conn, &options)?;
        let mut counters = Counters::load(&conn)?;
        let payload = dir.join("payload");
        let payloads = Payloads::open(&payload, &conn, &mut counters, &mut care)?;
        let (now, stamp) = clock(age::read(&conn)?);
        quarantine::date(&conn, now.unix)?;
        let recovered = recovery::run(&mut conn, &mut counters, now, stamp, &care)?;
        done.care.merge(care);
        done.rescued += recovered.rescued;
        let log = LogFiles::open(&dir.join("log"), &conn, id, options.log_file_bytes)?;
        files::sync_names(dir)?;
        let (partials, begun, unsound) = Partials::load(&conn, &payloads)?;
        let mut ledger = Self {
            set_aside: aside::bounded(dir, options.max_bytes / 4)?,
            care: Care::default(),
            bodies: Bodies::new(dir),
            dir: dir.to_path_buf(),
            id,
            epoch: recovered.epoch,
            last_pack: PackNo(greatest(&conn, "last_pack", "SELECT max(no) FROM pack")?),
            last_receipt: ReceiptNo(greatest(
                &conn,
                "last_receipt",
                "SELECT max(no) FROM receipt",
            )?),
            conn,
            options,
            log,
            payloads,
            partials,
            counters,
            size: room::Size::default(),
            sqlite_log: checkpoint::Log::default(),
            reserve,
            reserved: 0,
            sweep_after: PackNo(0),
            expired_after: PackNo(0),
            placed_upto: PackNo(0),
            forward: forward::Forward::default(),
            damaged: recovered.damaged + unsound,
            poisoned: false,
            stamp: None,
        };
        ledger.placed_upto = ledger.last_pack;
        ledger.measure()?;
        ledger.cut_log()?;
        ledger.fit_set_aside()?;
        let snapshot = Snapshot {
            partials: begun,
            ..ledger.snapshot(done.rescued)?
        };
        ledger.care = std::mem::take(&mut done.care);
        let checkpoints = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        ledger.conn.set_db_config(checkpoints, false)?;
        Ok((ledger, snapshot))
    }

    fn snapshot(&mut self, rescued: u64) -> LedgerResult<Snapshot> {
        let (stuck, expires) = recovery::overdue(&self.conn)?;
        let (spooled, unsound) = spooled::read(&self.conn)?;
        self.damaged += unsound;
        Ok(Snapshot {
            ledger: self.id,
            epoch: self.epoch,
            nodes: recovery::nodes(&self.conn)?,
            lanes: recovery::lanes(&self.conn)?,
            last_pack: self.last_pack,
            last_receipt: self.last_receipt,
            heard: recovery::heard(&self.conn)?,
            unsettled: self.counters.unsettled(),
            depths: self.depths(),
            rescued,
            settings: settings::read(&self.conn)?.0,
            meters: meters::read(&self.conn)?,
            shelved: shelved::sums(&self.conn)?,
            stuck,
            expires,
            partials: Vec::new(),
            spooled,
        })
    }
}
