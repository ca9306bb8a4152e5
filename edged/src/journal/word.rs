//! What the log says of the disk: that it is full, and that somebody else holds SQLite's
//! log beyond its bound, and who it is.
//!
//! Whoever reads the database holds a lock on a byte of its `-shm` file, and the kernel
//! lists the locks of all processes. The file itself must not be opened for that: closing it
//! would drop our own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relay_core::ledger::Overgrown;
use relay_core::time::Mono;
use tracing::{info, warn};

/// How often the log says so.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Bytes of the `-shm` file that readers lock (`WAL_READ_LOCK` in SQLite's `wal.c`).
const READERS: std::ops::RangeInclusive<u64> = 123..=127;

/// What was said, and when, while it is so.
#[derive(Debug, Default)]
pub(super) struct Word {
    full: Option<Mono>,
    held: Option<Mono>,
}

impl Word {
    /// Tells the log of each, once a minute at most while it is so, and once when it is not.
    pub(super) fn say(&mut self, full: bool, held: Option<Overgrown>, now: Mono) {
        let due = |said: Option<Mono>| said.is_none_or(|at| now.since(at) >= SAY_EVERY);
        match (full, self.full) {
            (true, said) if due(said) => {
                warn!(
                    "The disk is full: nothing that brings bytes is taken, acks and deletes go on"
                );
                self.full = Some(now);
            }
            (false, Some(_)) => {
                info!("The disk has room again");
                self.full = None;
            }
            (true, _) | (false, None) => {}
        }
        match (held, self.held) {
            (Some(log), said) if due(said) => {
                self.held = Some(now);
                warn!(
                    path = %log.path.display(),
                    bytes = log.bytes,
                    bound = log.bound,
                    holders = %holders(&log.path),
                    "SQLite's log cannot be cut: another process holds a snapshot of the \
                     database open; it counts under max_bytes until that process is done"
                );
            }
            (None, Some(_)) => {
                info!("SQLite's log is within its bound again");
                self.held = None;
            }
            (Some(_), _) | (None, None) => {}
        }
    }
}

/// Other processes that read the database, as `PID (name)`; how to find out where the
/// kernel does not tell.
fn holders(log: &Path) -> String {
    let shm = beside(log, "-shm");
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = fs::metadata(&shm).map_or(0, |file| file.ino());
    let pids = readers_of(inode, std::process::id(), &locks);
    if pids.is_empty() {
        return format!("unknown (try `fuser -v {}`)", beside(log, "").display());
    }
    let named = pids.into_iter().map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{pid} ({})", name.trim().escape_default())
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The database's name with `suffix`, from that of its log.
fn beside(log: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = log.with_extension("db").into();
    name.push(suffix);
    name.into()
}

/// Processes but `own` that hold a reader's lock on the file, by lines of `/proc/locks`.
fn readers_of(inode: u64, own: u32, locks: &str) -> Vec<u32> {
    let mut found: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "POSIX", _, "READ", pid, file, first, last] = words[..] else {
                return None;
            };
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            let ours = file.rsplit(':').next()?.parse() == Ok(inode);
            let reads = first <= *READERS.end() && last >= *READERS.start();
            let pid: u32 = pid.parse().ok()?;
            (ours && reads && pid != own).then_some(pid)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_a_database_is_read_from_the_kernels_list_of_locks() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 900 fe:00:77 0 EOF
2: POSIX  ADVISORY  READ  901 fe:00:42 124 124
3: POSIX  ADVISORY  READ  901 fe:00:42 128 128
4: POSIX  ADVISORY  READ  902 fe:00:43 124 124
5: POSIX  ADVISORY  READ  903 fe:00:42 128 128
6: POSIX  ADVISORY  READ  904 fe:00:42 123 123
6: -> POSIX  ADVISORY  WRITE  905 fe:00:42 123 123
7: POSIX  ADVISORY  READ  906 fe:00:42 124 124
";

        assert_eq!(readers_of(42, 906, locks), [901, 904]);
        assert_eq!(readers_of(42, 1, "what no kernel says"), [0; 0]);
    }

    #[test]
    fn names_of_files_beside_the_log_are_made_from_its_own() {
        let log = Path::new("/var/lib/edged/ledger.db-wal");

        assert_eq!(beside(log, ""), Path::new("/var/lib/edged/ledger.db"));
        assert_eq!(
            beside(log, "-shm"),
            Path::new("/var/lib/edged/ledger.db-shm")
        );
    }
}
