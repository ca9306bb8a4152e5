//! Spool folders: files that are dropped there are put, and gone once they are durable.
//!
//! One task watches each `[[spool]]`. A pass lists the folder, puts what is to be put
//! (many at a time, so that they share a group), removes what is accepted, syncs the
//! folder, and has the rows of the removed forgotten. What is done with which file, and
//! why a crash at any point neither loses nor doubles one, stands in
//! [`relay_core::spool`]; here it is performed. The folder is asked twice a second
//! whether it has changed, which costs one fstat, reads no name and writes nothing.

mod files;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edged_rpc::RpcError;
use relay_core::backoff::Backoff;
use relay_core::id::SegmentId;
use relay_core::repeats::Repeats;
use relay_core::spool::{FileMark, SpooledRow, Then, Verdict, after_refusal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::clock;
use crate::config::Spool;
use crate::desk::{Desk, GoingDown};
use crate::event::Answer;
use crate::folder::Folder;
use crate::single::Told;
use crate::socket::refusal;
use crate::ways::{At, Kind, Notice};
use files::{Files, Found, Name};
use take::{Trouble, Words, blocking};

/// Between two looks at a folder in which nothing happens.
const LOOK: Duration = Duration::from_millis(500);
/// Passed-over files are looked at again, since their folder does not tell that one of
/// them has changed; so is a folder that cannot be opened.
const AGAIN: Duration = Duration::from_secs(5);
/// Files on their way at once: one group of the journal.
const AT_ONCE: usize = 64;
/// Files of one folder remembered as such that could not be put: 2 MiB. What lies behind
/// more of them waits.
const SHUNNED: usize = 65_536;
/// How long a spool waits once the node has no room for its next file: within a second of
/// room it goes on.
const FULL: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(1),
};

/// Watches all spools of the config until `stop`; `rows` are the files that earlier runs
/// have put.
pub(crate) async fn run(desk: Desk, rows: Vec<SpooledRow>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let taken = Taken::default();
    for spool in &desk.config.spools {
        let watcher = Watcher::new(desk.clone(), spool, &rows, taken.clone());
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                ended = watcher.run() => if ended.is_err() { debug!("A spool ends") },
                () = stop.cancelled() => {}
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Folders that are watched: two spools of one folder would put its files twice.
type Taken = Arc<Mutex<BTreeMap<(u64, u64), usize>>>;

/// One spool.
struct Watcher {
    desk: Desk,
    path: Arc<str>,
    number: usize,
    words: Words,
    files: Option<Arc<Files>>,
    taken: Taken,
    /// Files that are put, and may still be there.
    known: BTreeMap<FileMark, SegmentId>,
    /// Files that could not be put: they are left out until the folder is looked at anew.
    shunned: BTreeSet<FileMark>,
    repeats: Repeats<(Name, String)>,
    notice: Notice,
    /// How often in a row there was no room.
    full: u32,
}

/// What comes after a pass.
enum Next {
    /// Another: there is more.
    Pass,
    /// One after this time, or once the folder has changed since.
    Watch(Duration, Option<(i64, i64)>),
    /// One after this time, whatever changes.
    Wait(Duration),
}

impl Watcher {
    fn new(desk: Desk, spool: &Spool, rows: &[SpooledRow], taken: Taken) -> Self {
        let path: Arc<str> = spool.dir.to_string_lossy().into();
        let ours = rows.iter().filter(|row| row.from.folder == path);
        let known = ours.map(|row| (row.from.file, row.segment)).collect();
        let number = desk.config.spools.iter().position(|other| other == spool);
        let notice = desk.ways.hang(Kind::Spool, path.to_string());
        Self {
            notice,
            words: Words::new(&desk.config, spool),
            number: number.unwrap_or_default(),
            path,
            desk,
            files: None,
            taken,
            known,
            shunned: BTreeSet::new(),
            repeats: Repeats::default(),
            full: 0,
        }
    }

    async fn run(mut self) -> Result<(), GoingDown> {
        loop {
            match self.pass().await? {
                Next::Pass => continue,
                Next::Wait(time) => tokio::time::sleep(time).await,
                Next::Watch(time, seen) => self.watch(time, seen).await,
            }
            self.shunned.clear();
        }
    }

    /// Sleeps until the folder has changed since it was `seen`, or `time` is over.
    async fn watch(&self, time: Duration, seen: Option<(i64, i64)>) {
        let until = clock::now().mono + time;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.files.as_ref().and_then(|files| files.changed());
            if now != seen || clock::now().mono >= until {
                return;
            }
        }
    }

    async fn pass(&mut self) -> Result<Next, GoingDown> {
        let Some(files) = self.open().await else {
            return Ok(Next::Wait(AGAIN));
        };
        let changed = files.changed();
        let (known, shunned, most) = (self.known.clone(), self.shunned.clone(), self.desk.most());
        let reader = Arc::clone(&files);
        let listing = blocking(move || reader.list(&known, &shunned, most)).await;
        let (found, complete) = match listing {
            Ok(listing) => listing,
            Err(error) => {
                self.complain(&Name::default(), &format!("it cannot be listed: {error}"));
                self.files = None;
                return Ok(Next::Wait(AGAIN));
            }
        };
        if complete {
            // What is not there any more needs no row.
            let there = |mark: &FileMark| found.iter().any(|found| found.seen.mark == *mark);
            let gone: Vec<FileMark> = self.known.keys().filter(|m| !there(m)).copied().collect();
            self.forget(&files, &gone).await?;
        }
        let mut passed = self.shunned.len() + self.remove(&files, &found).await?;
        self.restore(&files, &found).await;
        for found in &found {
            if let Verdict::PassOver(fault) = found.verdict {
                self.complain(&found.name, &fault.to_string());
                passed += 1;
            }
        }
        let left = passed - self.shunned.len();
        let fresh: Vec<Found> = found
            .into_iter()
            .filter(|found| found.verdict == Verdict::Put)
            .collect();
        for some in fresh.chunks(AT_ONCE) {
            match self.put(&files, some).await? {
                Then::Wait => {
                    self.full += 1;
                    return Ok(Next::Wait(FULL.wait(self.full, u64::MAX)));
                }
                Then::PassOver => passed += 1,
                Then::Stop => return Err(GoingDown),
            }
        }
        self.notice.works(left + self.shunned.len());
        if !fresh.is_empty() && std::mem::take(&mut self.full) > 0 {
            info!(folder = %self.path, "A spool goes on");
        }
        Ok(match (complete, fresh.is_empty(), passed) {
            (false, false, _) if self.shunned.len() < SHUNNED => Next::Pass,
            // A change within the tick of the clock in which the list was read does not
            // show: after one, the folder is read again.
            (_, false, _) => Next::Watch(LOOK, changed),
            (_, true, 0) => Next::Watch(Duration::MAX, changed),
            (_, true, _) => Next::Watch(AGAIN, changed),
        })
    }

    /// The folder, opened once; again only if it was removed.
    async fn open(&mut self) -> Option<Arc<Files>> {
        if let Some(files) = self.files.as_ref().filter(|files| !files.is_gone()) {
            return Some(Arc::clone(files));
        }
        self.files = None;
        let (path, state) = (
            self.desk.config.spools[self.number].dir.clone(),
            self.desk.config.node.state_dir.clone(),
        );
        let opened = tokio::task::spawn_blocking(move || Folder::open(&path, &state)).await;
        let folder = match opened {
            Ok(Ok(folder)) => folder,
            Ok(Err(error)) => {
                self.complain(&Name::default(), &error.to_string());
                return None;
            }
            Err(_) => return None,
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, number| *number != self.number);
        let first = *taken.entry(folder.place()).or_insert(self.number);
        drop(taken);
        if first != self.number {
            let why = format!("spool[{first}] is the same folder, and only that one is watched");
            self.complain(&Name::default(), &why);
            return None;
        }
        info!(folder = %self.path, "A spool is watched");
        let files = Arc::new(Files::new(folder));
        self.files = Some(Arc::clone(&files));
        Some(files)
    }

    /// Puts these, and removes what is accepted. What one of them must wait for, all do.
    async fn put(&mut self, files: &Arc<Files>, some: &[Found]) -> Result<Then, GoingDown> {
        let mut then = Then::PassOver;
        let mut told: Vec<(&Found, Told)> = Vec::new();
        for found in some {
            match self.words.put(&self.desk, files, &self.path, found).await {
                Ok(one) => told.push((found, one)),
                // It is looked at again: whoever writes it has not come to an end.
                Err(Trouble::Changed) => debug!(folder = %self.path, "A file has changed"),
                Err(Trouble::Refused(why)) => {
                    self.shun(found);
                    then = self.refused(&found.name, &why);
                    if then != Then::PassOver {
                        break;
                    }
                }
                Err(Trouble::Unreadable(error)) => {
                    self.shun(found);
                    self.complain(&found.name, &format!("it cannot be read: {error}"));
                }
                Err(Trouble::Staging(error)) => {
                    self.waits(&found.name, &refusal::staging(&error));
                    then = Then::Wait;
                    break;
                }
                Err(Trouble::GoingDown(gone)) => return Err(gone),
            }
        }
        let mut taken = Vec::new();
        for (found, told) in told {
            match told.answer.await {
                Ok(Answer::Accepted) => {
                    debug!(folder = %self.path, file = %found.name, segment = %told.id, "A file is put");
                    self.known.insert(found.seen.mark, told.id);
                    taken.push(Found {
                        verdict: Verdict::Remove,
                        ..found.clone()
                    });
                }
                Ok(Answer::Refused(why)) => match self.refused(&found.name, &why) {
                    Then::PassOver => self.shun(found),
                    other @ (Then::Wait | Then::Stop) => then = other,
                },
                // What became of it is decided from the disk, by the next start.
                Ok(Answer::Admitted | Answer::Known(..)) | Err(_) => return Err(GoingDown),
            }
        }
        self.notice.did(taken.len());
        self.remove(files, &taken).await?;
        Ok(then)
    }

    /// Leaves a file out of the pages to come, so that those behind it are reached.
    fn shun(&mut self, found: &Found) {
        if self.shunned.len() < SHUNNED {
            self.shunned.insert(found.seen.mark);
        }
    }

    fn refused(&mut self, name: &Name, why: &relay_core::event::Refusal) -> Then {
        let then = after_refusal(why);
        match then {
            Then::Stop => {}
            Then::PassOver => self.complain(name, &refusal::refused(why.clone()).message),
            Then::Wait => self.waits(name, &refusal::refused(why.clone())),
        }
        then
    }

    /// Says why the whole folder waits: one trouble, whatever file comes first.
    fn waits(&mut self, name: &Name, why: &RpcError) {
        self.notice.erred(&*why.message);
        self.notice.stuck(At::Waiting);
        let key = (Name::default(), why.code.clone());
        if self.repeats.says(key, clock::now().mono).is_some() {
            warn!(folder = %self.path, file = %name, found = %why.message, hint = %why.hint, "A spool waits");
        }
    }

    /// Removes those of `found` that are judged so, and has their rows forgotten; how many
    /// could not be removed.
    async fn remove(&mut self, files: &Arc<Files>, found: &[Found]) -> Result<usize, GoingDown> {
        let wanted = found.iter().filter(|f| f.verdict == Verdict::Remove);
        let which: Vec<Found> = wanted.cloned().collect();
        if which.is_empty() {
            return Ok(0);
        }
        let folder = Arc::clone(files);
        let removed = blocking(move || Ok(folder.remove_all(&which))).await;
        let (mut gone, mut stuck) = (Vec::new(), Vec::new());
        for (found, outcome) in removed.unwrap_or_default() {
            match outcome {
                Ok(true) => gone.push(found.seen.mark),
                // It has another name or is another file: a list will show whether it is
                // gone.
                Ok(false) => {}
                Err(error) => stuck.push((found.name, error)),
            }
        }
        for (name, error) in &stuck {
            self.complain(name, &format!("it is put and cannot be removed: {error}"));
        }
        self.forget(files, &gone).await?;
        Ok(stuck.len())
    }

    /// Has the rows of files forgotten that are gone, once that is durable.
    async fn forget(&mut self, files: &Arc<Files>, gone: &[FileMark]) -> Result<(), GoingDown> {
        if gone.is_empty() {
            return Ok(());
        }
        let folder = Arc::clone(files);
        if let Err(error) = blocking(move || folder.sync()).await {
            self.complain(&Name::default(), &format!("it cannot be synced: {error}"));
            return Ok(());
        }
        let rows = gone
            .iter()
            .filter_map(|mark| self.known.remove(mark))
            .collect();
        self.notice.has_in_hand(self.known.len());
        self.desk.unspool(rows).await
    }

    /// Gives a name to what a removal cut short has left without one.
    async fn restore(&mut self, files: &Arc<Files>, found: &[Found]) {
        for found in found.iter().filter(|f| f.verdict == Verdict::Restore) {
            let (folder, name) = (Arc::clone(files), found.name.clone());
            if let Err(error) = blocking(move || folder.restore(&name)).await {
                self.complain(&found.name, &format!("it cannot be named again: {error}"));
            }
        }
    }

    /// Says what is wrong with a file, or with the folder if it has no name.
    fn complain(&mut self, name: &Name, found: &str) {
        if name.is_empty() {
            self.notice.erred(found);
            self.notice.stuck(At::Unable);
        } else {
            self.notice.erred(format!("{name}: {found}"));
        }
        let key = (name.clone(), found.to_owned());
        let Some(kept_back) = self.repeats.says(key, clock::now().mono) else {
            return;
        };
        let folder = &self.path;
        if name.is_empty() {
            warn!(%folder, found, kept_back, "A spool cannot be used");
        } else {
            warn!(%folder, file = %name, found, kept_back, "A file in a spool is passed over");
        }
    }
}
