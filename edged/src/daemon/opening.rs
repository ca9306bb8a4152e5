//! Opening the ledger: how it is kept, and what is told of it.
//!
//! Most starts take milliseconds. A migration, a check of every row or a salvage may take
//! minutes: meanwhile the log says so, and the service manager is asked for patience.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use relay_core::age::Gap;
use relay_core::change::Snapshot;
use relay_core::ledger::{Care, Ledger, Migrated, Options};
use tracing::{info, warn};

use super::{random, tell_systemd};
use crate::clock;
use crate::config::{Config, Durability};

/// How often somebody is told that a start is still under way.
const TELL: Duration = Duration::from_secs(10);
/// How much longer the service manager is to wait, each time: three of those may be late.
const PATIENCE: Duration = Duration::from_secs(40);

/// How the ledger of this node is kept.
pub(crate) fn ledger_options(config: &Config) -> anyhow::Result<Options> {
    let node = config.node.id.clone();
    let mut options = Options::new(node, config.storage.max_bytes.0, random()?);
    options.wall = clock::now().wall;
    options.reserve = config.storage.reserve.0;
    options.log_file_bytes = config.storage.log_file().0;
    options.inbox_max_bytes = config.inbox.max_bytes.0;
    options.durability = match config.storage.durability {
        Durability::Synced => relay_core::ledger::Durability::Synced,
        Durability::Written => relay_core::ledger::Durability::Written,
    };
    options.keep_acked = config.storage.keep_acked;
    options.keep_confirmed = config.inbox.keep_confirmed;
    options.keep_acked_rows = u64::from(config.storage.keep_acked_rows);
    options.keep_expired = config.storage.keep_expired;
    options.keep_known = config.inbox.keep_known;
    Ok(options)
}

/// Opens the ledger, and tells what that took.
pub(super) fn open(config: &Config) -> anyhow::Result<(Ledger, Snapshot)> {
    let options = ledger_options(config)?;
    let mut away = None;
    let opened = patiently(TELL, still_opening, || {
        Ledger::open_at(&config.node.state_dir, options, |last| {
            let (gap, now) = clock::start(last);
            // Asked twice, it has just been said how late it is.
            away.get_or_insert(gap);
            (now, Some(clock::stamp(now)))
        })
    })?;
    tell_gap(away.unwrap_or(Gap::First));
    tell_care(opened.0.care());
    Ok(opened)
}

/// What was damaged, and what became of it.
fn tell_care(care: &Care) {
    if care.mended > 0 || care.reindexed || care.recounted {
        warn!(
            words = care.mended,
            indexes = care.reindexed,
            books = care.recounted,
            "Damage in the ledger was put right"
        );
    }
    if care.unnamed > 0 {
        info!(
            packs = care.unnamed,
            "The log holds packs no row names: a crash cut a group short, or the database is older than its log"
        );
    }
    if let Some(Migrated { from, to, copy }) = &care.migrated {
        match copy {
            Ok(copy) => info!(
                from, to, copy = %copy.display(),
                "The database is of this release's schema now; a copy of what it was is kept"
            ),
            Err(why) => warn!(
                from, to, %why,
                "The database is of this release's schema now, and there is no copy to go back to"
            ),
        }
    }
    for path in &care.set_aside {
        warn!(path = %path.display(), "What is no file of ours was set aside");
    }
    if let Some(salvaged) = &care.salvaged {
        warn!(
            why = %salvaged.why, rows = salvaged.rows, set_aside = ?salvaged.set_aside,
            "The database could not be used as it lay: it is set aside, and rebuilt from what could be read"
        );
    }
    if !care.quarantined.is_empty() {
        let (entries, segments) = (care.quarantined.len(), care.segments());
        warn!(
            entries,
            segments, "Damaged rows are in quarantine (relay status --books)"
        );
    }
}

/// How long we were away, and whether that is believed.
fn tell_gap(away: Gap) {
    match away {
        Gap::First => {}
        Gap::Passed(time) => info!(seconds = time.as_secs(), "Was away"),
        Gap::Clamped => warn!(
            counted = ?relay_core::limits::LONGEST_GAP,
            "The wall clock says that we were away for longer than what lives here is aged by"
        ),
        Gap::Untrusted => warn!("The wall clock stands in the past: nothing here has aged since"),
    }
}

/// Does `work`, and calls `tell` every so often until it is done.
fn patiently<T>(every: Duration, tell: impl Fn() + Send, work: impl FnOnce() -> T) -> T {
    let (done, wait) = channel::<()>();
    thread::scope(|scope| {
        let told = thread::Builder::new().name("opening".to_owned());
        let teller = move || {
            while wait.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                tell();
            }
        };
        // Without a thread to spare nobody is told; the work is what counts.
        let _ = told.spawn_scoped(scope, teller);
        let worked = work();
        drop(done);
        worked
    })
}

fn still_opening() {
    info!("Still opening the ledger: it is migrated, checked or rebuilt");
    let more = u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX);
    tell_systemd(&sd_notify::NotifyState::ExtendTimeoutUsec(more));
    tell_systemd(&sd_notify::NotifyState::Status("opening the ledger"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_a_long_start_is_told_until_it_is_over() {
        let (told, hears) = channel();
        let tell = move || told.send(()).expect("somebody hears");

        let answer = patiently(Duration::from_millis(1), tell, || {
            (0..3).for_each(|_| hears.recv().expect("it is told"));
            7
        });

        assert_eq!(answer, 7);
    }
}
