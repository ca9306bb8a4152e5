//! A workload for one ledger that says what it was promised, and whoever holds the ledger
//! to it.
//!
//! [`Workload`] commits group after group: small packs into the log, long ones into files
//! that the ledger or the daemon's own staging writes, arrivals that are taken and
//! confirmed, beginnings of large segments, settled packs, cleaning and retention. Each
//! promise is a line ([`Workload::step`]), said before anything may go and after anything
//! is durable; [`Facts`] hears the lines and looks whether a ledger keeps them. What a
//! pack holds follows from its number ([`packs`]), so lines are all there is to remember.

pub mod packs;

mod facts;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use edged::staging::{Moved, Staging};
use relay_core::change::Change;
use relay_core::id::{PackNo, PartialNo, StagedId, Ticket};
use relay_core::ledger::{InboxFilter, Ledger, LedgerError, Options, Staged};
use relay_core::time::Unix;

use crate::seeds::Dice;
pub use facts::Facts;
use packs::{Kind, LANE, NOW, PEER};

/// Groups between two sweeps.
const SWEEP: u64 = 16;

/// One ledger, and who gives it work.
pub struct Workload {
    /// The ledger.
    pub ledger: Ledger,
    /// Packs that were stored and are not settled.
    waiting: Vec<PackNo>,
    next: u64,
    group: u64,
    full: bool,
    dice: Dice,
    staging: Staging,
    partial: Option<PartialNo>,
    epoch: u64,
    runtime: tokio::runtime::Runtime,
}

/// Who hears what is promised.
pub type Say<'a> = &'a mut dyn FnMut(String);

/// What a full disk refused is asked for once more, as the daemon does: the reserve has
/// made room by then.
///
/// # Errors
/// What was said the second time.
pub fn again<T>(mut work: impl FnMut() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    match work() {
        Err(error) if error.is_full() => work(),
        other => other,
    }
}

/// How the ledgers of these tests are kept: small enough that everything happens soon.
#[must_use]
pub fn options() -> Options {
    let mut options = Options::new("alpha".parse().expect("a name"), 6 << 20, 7);
    options.log_file_bytes = 256 << 10;
    options
}

impl Workload {
    /// Goes on with whatever waits in `folder`; `say` hears where it begins.
    ///
    /// # Errors
    /// What the ledger said.
    ///
    /// # Panics
    /// If a runtime or a reader cannot be had.
    pub fn open(
        folder: &Path,
        options: Options,
        seed: u64,
        say: Say<'_>,
    ) -> Result<Self, LedgerError> {
        let (ledger, snapshot) = Ledger::open(folder, options, NOW)?;
        say(format!("begins {}", snapshot.last_pack));
        let mut reader = ledger.reader()?;
        let page = reader.page(PEER, LANE, None, usize::MAX >> 8);
        let waiting = page
            .expect("a page")
            .into_iter()
            .map(|paged| paged.row.due.pack)
            .collect::<Vec<_>>();
        // It goes by what it has found: that must stay.
        for no in &waiting {
            say(format!("durable {no}"));
        }
        let epoch = snapshot.epoch.0;
        let staging = Staging::new(&folder.join("payload"), epoch);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let mut work = Self {
            waiting,
            next: snapshot.last_pack.0 + 1,
            group: 0,
            full: false,
            dice: Dice::new(seed),
            staging,
            partial: None,
            epoch,
            runtime: runtime.expect("a runtime"),
            ledger,
        };
        // What an earlier run began is given up, or these would fill the ledger.
        for row in snapshot.partials {
            work.partial = Some(row.no);
            work.begin_or_drop(say)?;
        }
        Ok(work)
    }

    /// One group and what comes with it. An error of the file system about a file of the
    /// shell's own is said, and ends nothing.
    ///
    /// # Errors
    /// What the ledger said.
    pub fn step(&mut self, say: Say<'_>) -> Result<(), LedgerError> {
        self.group += 1;
        let packs: Vec<PackNo> = (0..self.dice.between(1, 4))
            .map(|n| PackNo(self.next + n))
            .collect();
        self.next += packs.len() as u64;
        self.commit(&packs, say)?;
        again(|| self.ledger.relieve(NOW))?;
        if self.dice.chance(400) {
            self.consume(say)?;
        }
        if self.dice.chance(80) {
            self.begin_or_drop(say)?;
        }
        if self.group.is_multiple_of(SWEEP) {
            again(|| self.ledger.sweep(NOW))?;
        }
        Ok(())
    }

    fn commit(&mut self, packs: &[PackNo], say: Say<'_>) -> Result<(), LedgerError> {
        // Nothing is settled until the ceiling refuses; then two of three are, spread over
        // all files: what is left is copied forward.
        let third = self.group % 3;
        let settled: Vec<PackNo> = match self.full {
            true => self
                .waiting
                .extract_if(.., |no| no.0 % 3 != third)
                .collect(),
            false => Vec::new(),
        };
        let mut items: Vec<(Ticket, Vec<Change>)> = Vec::new();
        let mut bytes: BTreeMap<StagedId, Staged> = BTreeMap::new();
        for no in packs {
            match self.stage(*no) {
                Ok(staged) => {
                    bytes.insert(StagedId(no.0), staged);
                    items.push((Ticket(no.0), packs::put(*no)));
                }
                Err(error) => say(format!("unstaged {no} {error}")),
            }
        }
        let changes = settled.iter().flat_map(|no| packs::settle(*no)).collect();
        items.push((Ticket(0), changes));
        for no in &settled {
            say(format!("settling {no}"));
        }
        let mut staged = |id: StagedId| bytes.remove(&id);
        let report = self.ledger.commit(&items, &mut staged, NOW)?;
        self.full = !report.refused.is_empty();
        for no in &settled {
            say(format!("settled {no}"));
        }
        for (ticket, _) in &items[..items.len() - 1] {
            let refused = report.refused.contains(ticket);
            let word = if refused { "refused" } else { "durable" };
            let no = PackNo(ticket.0);
            say(format!("{word} {no}"));
            if !refused && Kind::of(no) != Kind::Arrival {
                self.waiting.push(no);
            }
        }
        Ok(())
    }

    /// The bytes of a pack; what the shell writes to a file is written, as it does.
    fn stage(&mut self, no: PackNo) -> io::Result<Staged> {
        if !matches!(Kind::of(no), Kind::Staged | Kind::Resumed) {
            return Ok(Staged::Memory(packs::built(no).bytes));
        }
        let body = packs::body(no);
        let length = body.len() as u64;
        self.take_room(length)?;
        let written = self.write(no, body);
        if written.is_err() {
            self.ledger.unreserve(length);
        }
        written
    }

    /// Room for a file of the shell's, before its first byte.
    fn take_room(&mut self, bytes: u64) -> io::Result<()> {
        match again(|| self.ledger.reserve(bytes, NOW)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::QuotaExceeded.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn write(&self, no: PackNo, body: Vec<u8>) -> io::Result<Staged> {
        let name = self.runtime.block_on(async {
            if Kind::of(no) == Kind::Resumed {
                return self.resume(no, body.into()).await;
            }
            let mut file = self.staging.create(body.len() as u64).await?;
            file.write(body.into()).await?;
            file.finish().await
        })?;
        let table = packs::table(no);
        Ok(Staged::File { table, name })
    }

    /// Cut off once, a sync under way, or whole at once, and a sync under way.
    async fn resume(&self, no: PackNo, body: Bytes) -> io::Result<String> {
        // Apart from those that a row names.
        let partial = PartialNo(no.0 | 1 << 63);
        let length = body.len() as u64;
        let mut file = self.staging.begin_partial(partial, length).await?;
        let first = length - self.group % 2 * 1_000;
        let written = async {
            file.write(body.slice(..first as usize)).await?;
            file.rest();
            let mut file = self.staging.resume_partial(partial, first, length).await?;
            file.write(body.slice(first as usize..)).await?;
            file.finish().await
        };
        written.await.inspect_err(|_| self.staging.forget(partial))
    }

    /// A consumer takes some arrivals and confirms most of them.
    fn consume(&mut self, say: Say<'_>) -> Result<(), LedgerError> {
        let max = self.dice.between(1, 12) as usize;
        let until = Unix(NOW.0 + 1000);
        let filter = InboxFilter::default();
        let items = again(|| self.ledger.take(&filter, max, until, NOW))?;
        let kept: Vec<_> = items.iter().filter(|_| self.dice.chance(800)).collect();
        let ids: Vec<_> = kept.iter().map(|item| item.id).collect();
        for item in &kept {
            say(format!("confirming {} {}", item.pack, item.member));
        }
        again(|| self.ledger.confirm(&ids, NOW))?;
        for item in &kept {
            say(format!("confirmed {} {}", item.pack, item.member));
        }
        Ok(())
    }

    /// A large segment arrives in part, or is given up.
    fn begin_or_drop(&mut self, say: Say<'_>) -> Result<(), LedgerError> {
        if let Some(no) = self.partial.take() {
            say(format!("dropping {}", no.0));
            self.staging.forget(no);
            return self.keep(Change::PartialGone(no));
        }
        let no = PartialNo((self.epoch << 32) | self.group);
        if let Err(error) = self.take_room(packs::partial_body(no).length) {
            say(format!("cut {} {error}", no.0));
            return Ok(());
        }
        let synced = match self.arrive(no) {
            Ok(synced) => synced,
            Err(error) => {
                say(format!("cut {} {error}", no.0));
                self.staging.forget(no);
                self.ledger.unreserve(packs::partial_body(no).length);
                return Ok(());
            }
        };
        self.partial = Some(no);
        self.keep(Change::Partial(packs::partial(no, synced)))?;
        say(format!("partial {} {synced}", no.0));
        Ok(())
    }

    fn keep(&mut self, change: Change) -> Result<(), LedgerError> {
        let items = [(Ticket(0), vec![change])];
        self.ledger.commit(&items, &mut |_| None, NOW).map(drop)
    }

    /// How much of it was synced.
    fn arrive(&self, no: PartialNo) -> io::Result<u64> {
        let body = packs::partial_body(no).bytes();
        self.runtime.block_on(async {
            let mut file = self.staging.begin_partial(no, body.len() as u64).await?;
            for chunk in body[..packs::PARTIAL_HELD].chunks(64 << 10) {
                file.write(Bytes::copy_from_slice(chunk)).await?;
            }
            let moved = file.moved().await?;
            file.rest();
            match moved {
                Moved::Synced(bytes) => Ok(bytes),
                Moved::Journaled | Moved::Late => Ok(0),
            }
        })
    }
}
