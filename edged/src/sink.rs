//! The sink: a consumer inside the daemon, to which all arrivals go by themselves.
//!
//! It leases what is ready, hands it on (`dir:` makes files of it, `exec:` runs a program
//! on it), and says what became of it: confirmed, again later, or parked as refused.
//! What becomes of what is decided by [`relay_core::sink`]; leases are renewed while
//! something is in hand, and given back when the daemon ends. One that is killed leaves
//! its leases behind: what it had in hand comes again once they run out, and what it had
//! confirmed never does.

mod dir;
mod exec;
mod pieces;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edged_rpc::InboxView;
use relay_core::id::SegmentId;
use relay_core::ledger::{InboxFilter, InboxItem};
use relay_core::repeats::Repeats;
use relay_core::sink::{Fate, Next, Row, Tried, Tries, UNABLE};
use relay_core::time::Mono;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::config;
use crate::desk::Desk;
use crate::journal;
use crate::socket::picture::Painter;
use crate::ways::{self, Notice};
use dir::Dir;
use exec::Exec;

/// The longest lease of what a sink has in hand: what one that is killed keeps waiting.
const LEASE: Duration = Duration::from_secs(90);
/// How often leases that ran out are looked for; nobody tells of them.
const LOOK: Duration = Duration::from_secs(1);

/// An arrival in hand: as the ledger has it, and as the world is told of it.
type Arrival = (InboxItem, InboxView);
/// How a try ended, and what was found if it did not work.
type Ended = (SegmentId, Tried, String);

/// What is done with arrivals.
#[derive(Clone)]
enum Kind {
    Dir(Arc<Dir>),
    Exec(Arc<Exec>),
}

impl Kind {
    fn of(desk: &Desk) -> Option<Self> {
        let state = &desk.config.node.state_dir;
        match &desk.config.inbox.sink {
            config::Sink::Hold => None,
            config::Sink::Dir(path) => Some(Self::Dir(Arc::new(Dir::new(path, state)))),
            config::Sink::Exec(path) => Some(Self::Exec(Arc::new(Exec::new(path)))),
        }
    }

    /// Tasks at once, and arrivals of each.
    const fn at_once(&self) -> (usize, usize) {
        match self {
            Self::Dir(_) => (1, 64),
            Self::Exec(_) => (exec::AT_ONCE, 1),
        }
    }

    async fn hand_over(self, desk: Desk, arrivals: Vec<Arrival>) -> Vec<Ended> {
        match self {
            Self::Dir(dir) => dir.store(&desk, arrivals).await,
            Self::Exec(exec) => exec.run(&desk, arrivals).await,
        }
    }
}

/// Hands arrivals on until `stop`; at once done where the config has no sink.
pub(crate) async fn run(desk: Desk, stop: CancellationToken) {
    let Some(kind) = Kind::of(&desk) else {
        return;
    };
    info!(sink = %desk.config.inbox.sink, "Arrivals go to a sink");
    let lease = desk.config.inbox.lease.min(LEASE);
    let notice = desk
        .ways
        .hang(ways::Kind::Sink, desk.config.inbox.sink.to_string());
    let mut sink = Sink {
        kind,
        lease,
        desk,
        tasks: JoinSet::new(),
        in_hand: BTreeSet::new(),
        renew: Mono(0),
        tries: Tries::default(),
        row: Row::default(),
        unable: 0,
        rests: Mono(0),
        repeats: Repeats::default(),
        notice,
        refused: 0,
    };
    let ended = tokio::select! {
        ended = sink.serve() => ended,
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        // The daemon is going down, or its parts have ended.
        debug!(%error, "The sink ends");
    }
    sink.let_go().await;
}

/// One sink at work.
struct Sink {
    kind: Kind,
    lease: Duration,
    desk: Desk,
    tasks: JoinSet<Vec<Ended>>,
    in_hand: BTreeSet<SegmentId>,
    /// When the leases of what is in hand are renewed.
    renew: Mono,
    tries: Tries,
    row: Row,
    /// How often in a row it could not work, and until when it rests for that.
    unable: u32,
    rests: Mono,
    repeats: Repeats<String>,
    notice: Notice,
    /// Arrivals parked as refused since the start.
    refused: usize,
}

impl Sink {
    async fn serve(&mut self) -> Result<(), String> {
        let mut arrivals = self.desk.journal.arrivals();
        loop {
            arrivals.mark_unchanged();
            while self.take().await? {}
            let now = clock::now().mono;
            if !self.in_hand.is_empty() && now >= self.renew {
                let ids = self.in_hand.iter().copied().collect();
                self.lease_for(ids, self.lease).await?;
                self.renew = now + self.lease / 3;
            }
            let nap = if self.in_hand.is_empty() {
                LOOK
            } else {
                LOOK.min(self.lease / 3)
            };
            let ended = tokio::select! {
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => ended,
                changed = arrivals.changed() => {
                    changed.map_err(|_| "the journal has ended".to_owned())?;
                    None
                }
                () = tokio::time::sleep(nap) => None,
            };
            if let Some(ended) = ended {
                // A panic of ours has aborted the process.
                self.settle(ended.unwrap_or_default()).await?;
            }
        }
    }

    /// Takes what is ready, if there is a hand free for it; whether there may be more.
    async fn take(&mut self) -> Result<bool, String> {
        let (tasks, items) = self.kind.at_once();
        if self.tasks.len() >= tasks || clock::now().mono < self.rests {
            return Ok(false);
        }
        let now = clock::now().unix;
        let ready = move |reader: &mut relay_core::ledger::Reader| reader.any_ready(now);
        // An inbox in which nothing is ready is only read, never written.
        match self.desk.readers.read(ready).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(false),
            // An ill disk may get well: the next look tells.
            Ok(Err(error)) => {
                let found = format!("the inbox cannot be read: {error}");
                self.say_unable(&found);
                self.rest();
                return Ok(false);
            }
            Err(error) => return Err(error.to_string()),
        }
        let until = clock::now().unix + self.lease;
        let taken = self.desk.journal.take(InboxFilter::default(), items, until);
        let taken = taken.await?;
        // Its lease may have run out while it is still in hand: the clock was set.
        let mut taken: Vec<InboxItem> = taken
            .into_iter()
            .filter(|item| !self.in_hand.contains(&item.id))
            .collect();
        if taken.is_empty() {
            return Ok(false);
        }
        if self.in_hand.is_empty() {
            self.renew = clock::now().mono + self.lease / 3;
        }
        self.in_hand.extend(taken.iter().map(|item| item.id));
        self.notice.has_in_hand(self.in_hand.len());
        let (node, now) = self.desk.look().await.map_err(|gone| gone.to_string())?;
        let painter = Painter::new(&self.desk, &node, now);
        let arrivals = taken.drain(..).map(|item| {
            let view = painter.inbox(&item);
            (item, view)
        });
        let arrivals: Vec<Arrival> = arrivals.collect();
        let work = self.kind.clone().hand_over(self.desk.clone(), arrivals);
        self.tasks.spawn(work);
        Ok(true)
    }

    /// Has it written down what became of each.
    async fn settle(&mut self, ended: Vec<Ended>) -> Result<(), String> {
        let came_to: Vec<Tried> = ended.iter().map(|(_, tried, _)| *tried).collect();
        let (mut confirmed, mut refused) = (Vec::new(), Vec::new());
        for (segment, tried, found) in ended {
            self.in_hand.remove(&segment);
            let drawn = u64::from_le_bytes(*segment.0.last_chunk().expect("an id has 16 bytes"));
            let fate = self.tries.after(segment, tried, drawn);
            self.tell(segment, tried, fate, &found);
            match fate {
                Fate::Confirm => confirmed.push(segment),
                Fate::Refuse => refused.push(segment),
                Fate::Again(rest) => self.lease_for(vec![segment], rest).await?,
            }
        }
        self.notice.has_in_hand(self.in_hand.len());
        self.refused += refused.len();
        self.notice.did(confirmed.len());
        if !(refused.is_empty() && confirmed.is_empty()) {
            self.notice.works(self.refused);
        }
        if !refused.is_empty() {
            let journal = &self.desk.journal;
            journal.settle(refused, journal::Fate::Refuse).await?;
        }
        if !confirmed.is_empty() {
            if std::mem::take(&mut self.unable) > 0 {
                info!("The sink goes on");
            }
            let journal = &self.desk.journal;
            journal.settle(confirmed, journal::Fate::Confirm).await?;
        }
        match self.row.after(&came_to) {
            Next::GoesOn => {}
            Next::Pauses(pause) => self.rests = clock::now().mono + pause,
            Next::Rests => self.rest(),
        }
        Ok(())
    }

    /// It is the sink, or what is around it, that can do nothing just now.
    fn rest(&mut self) {
        self.unable = self.unable.saturating_add(1);
        self.notice.stuck(ways::At::Unable);
        self.rests = clock::now().mono + UNABLE.wait(self.unable, u64::MAX);
    }

    fn say_unable(&mut self, found: &str) {
        self.notice.erred(found);
        let says = self.repeats.says(found.to_owned(), clock::now().mono);
        if let Some(kept_back) = says {
            warn!(found, kept_back, "The sink cannot work, and arrivals wait");
        }
    }

    async fn lease_for(&self, ids: Vec<SegmentId>, time: Duration) -> Result<(), String> {
        let until = clock::now().unix + time;
        let leased = self.desk.journal.settle(ids, journal::Fate::Lease(until));
        leased.await.map(drop)
    }

    fn tell(&mut self, segment: SegmentId, tried: Tried, fate: Fate, found: &str) {
        match tried {
            Tried::Done => debug!(%segment, "An arrival is handed on"),
            Tried::Failed | Tried::Waits => {
                self.notice.erred(format!("{segment}: {found}"));
                let key = match fate {
                    Fate::Refuse => segment.to_string(),
                    Fate::Confirm | Fate::Again(_) => found.to_owned(),
                };
                let Some(kept_back) = self.repeats.says(key, clock::now().mono) else {
                    return;
                };
                match fate {
                    Fate::Refuse => {
                        warn!(%segment, found, kept_back, "An arrival is parked as refused");
                    }
                    Fate::Confirm | Fate::Again(_) => {
                        warn!(%segment, found, kept_back, "The sink could not take an arrival");
                    }
                }
            }
            Tried::Unable => self.say_unable(found),
        }
    }

    /// Ends what is under way, and gives back what is in hand.
    async fn let_go(mut self) {
        self.tasks.shutdown().await;
        let ids: Vec<SegmentId> = std::mem::take(&mut self.in_hand).into_iter().collect();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.lease_for(ids, Duration::ZERO).await {
            debug!(%error, "Leases are not given back");
        }
    }
}

/// Arrivals that nothing was tried with, since nothing would have worked.
fn unable(arrivals: &[Arrival], found: &str) -> Vec<Ended> {
    let ended = arrivals.iter();
    ended
        .map(|(item, _)| (item.id, Tried::Unable, found.to_owned()))
        .collect()
}

/// How a path is shown.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
