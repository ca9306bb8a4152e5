//! Process groups of commands that run, and their end.
//!
//! Each command leads a group of its own, so that what it has started ends with it. The
//! keyboard does not reach such a group: a signal that ends us is therefore caught, ends
//! the groups first and then us, as it would have. SIGKILL leaves them running, and so does
//! a signal in the very moment in which another command starts.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// What ends a command that people type, or a service.
const ENDS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];
/// Between two looks for a signal.
const LOOK: Duration = Duration::from_millis(50);

/// Leaders of living groups.
type Living = Arc<Mutex<BTreeSet<i32>>>;

/// All groups that live, watched over by a thread that this one waits for.
#[derive(Debug)]
pub(super) struct Groups {
    living: Living,
    over: Arc<AtomicBool>,
    before: SigSet,
    watch: Option<JoinHandle<()>>,
}

impl Groups {
    /// None yet. Signals that end us are caught from here until this is dropped.
    pub(super) fn watched() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let mut caught = SigSet::empty();
        for signal in ENDS.into_iter().filter(|end| !ignores(&status, *end)) {
            caught.add(signal);
        }
        let (living, over) = (Living::default(), Arc::new(AtomicBool::new(false)));
        let signals =
            SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let before = SigSet::thread_get_mask()?;
        caught.thread_block()?;
        let watch = {
            let (living, over) = (Arc::clone(&living), Arc::clone(&over));
            let watch = move || watch(&signals, caught, &living, &over);
            thread::Builder::new()
                .name("signals".to_owned())
                .spawn(watch)
        };
        if watch.is_err() {
            before.thread_set_mask()?;
        }
        Ok(Self {
            living,
            over,
            before,
            watch: Some(watch?),
        })
    }

    /// Starts `command` as the leader of a group of its own.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<(Child, Group)> {
        // Held meanwhile, so that a signal finds all that live.
        let mut living = lock(&self.living);
        // A command inherits what is blocked, and would be deaf to whoever wants its end.
        let blocked = self.before.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let child = command.process_group(0).spawn();
        blocked.thread_set_mask()?;
        let child = child?;
        let leader = i32::try_from(child.id()).expect("a process id is a pid_t");
        living.insert(leader);
        let living = Arc::clone(&self.living);
        Ok((child, Group { leader, living }))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watch) = self.watch.take() {
            watch.thread().unpark();
            // It only looks: there is nothing it could have to say.
            drop(watch.join());
        }
        // The mask was ours to set, and is so now.
        let _ = self.before.thread_set_mask();
    }
}

/// One group, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    leader: i32,
    living: Living,
}

impl Group {
    /// Ends all that is in it. Its leader must not have been waited for: until then no
    /// other group can have its number.
    pub(super) fn end(&self) {
        let mut living = lock(&self.living);
        if living.remove(&self.leader) {
            kill(self.leader);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(living: &Living) -> MutexGuard<'_, BTreeSet<i32>> {
    // Each change is one call: nothing can be left half done.
    living.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(leader: i32) {
    // One without members is what is wanted.
    let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
}

fn watch(signals: &SignalFd, caught: SigSet, living: &Living, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let came = signals.read_signal().ok().flatten();
        let signal = came.and_then(|came| i32::try_from(came.ssi_signo).ok());
        let Some(signal) = signal.and_then(|number| Signal::try_from(number).ok()) else {
            thread::park_timeout(LOOK);
            continue;
        };
        let living = lock(living);
        living.iter().copied().for_each(kill);
        // It does to us what it would have done.
        if caught.thread_unblock().is_ok() {
            let _ = raise(signal);
        }
    }
}

/// Whether `status` (proc(5)) says that the process ignores `signal`.
fn ignores(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_not_caught() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";

        assert!(ignores(status, Signal::SIGHUP));
        assert!(!ignores(status, Signal::SIGINT));
        assert!(ignores(status, Signal::SIGPIPE));
        assert!(!ignores("", Signal::SIGHUP));
    }
}
