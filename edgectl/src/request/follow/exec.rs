//! Items handed to a command, a few at once: leased, run, confirmed.
//!
//! Exit 0 confirms. What fails rests and is run again, with its bytes fetched anew, while
//! others go on; after eight tries it is parked as `refused`. How soon and under which
//! lease `tries` decides; how a command runs and ends, `job`.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;
use std::time::{Duration, Instant};

use edged_rpc::{
    Client, ClientError, ErrorKind, InboxTake, InboxWait, LeaseState, MAX_WAIT_SECONDS, Paging,
};

use super::groups::Groups;
use super::job::Job;
use super::tries::{Fate, Leased, Rest, TRIES, Tries};
use crate::cli::FollowArgs;
use crate::exit::{Exit, Failure};
use crate::render;
use crate::request::Context;

#[cfg(test)]
mod tests;

/// Commands that run at once.
const AT_ONCE: usize = 4;
/// A lease outlives the command, so that nobody else gets the item meanwhile; what we are
/// killed over comes again no later.
const LEASE: Duration = Duration::from_secs(90);
/// Between two looks at commands that run.
const LOOK: Duration = Duration::from_millis(10);
/// While commands run or rest, new items are looked for this often.
const TAKE: Duration = Duration::from_millis(250);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// One run of the command.
    run: Duration,
    /// What has failed rests so long.
    rest: Rest,
}

/// As of an `exec:` sink, except that no rest is longer than a lease.
pub(super) const PACE: Pace = Pace {
    run: Duration::from_secs(60),
    rest: Rest {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
    },
};

/// Hands items to the command of `args` until it has had as many as wanted.
pub(super) fn run(
    args: &FollowArgs,
    pace: Pace,
    client: &mut Client,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let work = Work {
        args,
        pace,
        running: Vec::new(),
        tries: Tries::new(pace.rest, pace.run),
        left: args.max.unwrap_or(u64::MAX),
        groups: Groups::watched().map_err(|error| trouble(&error))?,
    };
    work.run(client, context)
}

struct Work<'a> {
    args: &'a FollowArgs,
    pace: Pace,
    running: Vec<Job>,
    tries: Tries,
    /// Runs that are still wanted.
    left: u64,
    /// Last, so that it is dropped when none of its groups lives.
    groups: Groups,
}

impl Work<'_> {
    fn run(mut self, client: &mut Client, context: &mut Context<'_, '_>) -> Result<(), Failure> {
        let mut looked = None;
        loop {
            self.reap(client, context)?;
            if self.left == 0 && self.running.is_empty() {
                return Ok(());
            }
            let free =
                (AT_ONCE - self.running.len()).min(usize::try_from(self.left).unwrap_or(AT_ONCE));
            let rested = if free > 0 {
                self.tries.due(Instant::now())
            } else {
                None
            };
            if let Some(item) = rested {
                self.again(item, client)?;
                continue;
            }
            let due = looked.is_none_or(|at: Instant| at.elapsed() >= TAKE);
            if free > 0 && (due || self.running.is_empty()) {
                let came = self.take(free, client)?;
                looked = Some(Instant::now());
                if came == 0 && self.running.is_empty() {
                    self.wait(client)?;
                }
                continue;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Leases up to `free` items and starts the command on each that does not rest.
    fn take(&mut self, free: usize, client: &mut Client) -> Result<u64, Failure> {
        let which = InboxTake {
            filter: self.args.which.filter(),
            max: u32::try_from(free).unwrap_or(1),
            lease_seconds: Some(LEASE.as_secs()),
        };
        // Before it is asked for, so that the lease ends no sooner than we think.
        let until = Instant::now() + LEASE;
        let taken = client.take_with(&which, |item, body| {
            let Some(item) = self.tries.admit(Leased { item, until }, Instant::now()) else {
                return Ok(());
            };
            let mut payload = tempfile::tempfile()?;
            body.copy_to(&mut payload)?;
            self.start(item, payload)
        });
        taken.map_err(|error| self.cannot_run(error))
    }

    /// Starts the command on an item that has rested, if it is ours still.
    fn again(&mut self, leased: Leased, client: &mut Client) -> Result<(), Failure> {
        let id = leased.item.segment_id;
        let mut payload = tempfile::tempfile().map_err(|error| trouble(&error))?;
        match client.inbox_get(&id.to_string(), &mut payload) {
            Ok(item) if item.state == LeaseState::Leased => {
                let started = self.start(leased, payload);
                started.map_err(|error| self.cannot_run(ClientError::Sink(error)))
            }
            // Somebody has confirmed or parked it by its id.
            Ok(_) => {
                self.tries.forget(id);
                Ok(())
            }
            Err(ClientError::Refused(error)) if error.kind == ErrorKind::NotFound => {
                self.tries.forget(id);
                Ok(())
            }
            Err(error) => Err(self.cannot_run(error)),
        }
    }

    fn start(&mut self, item: Leased, mut payload: File) -> io::Result<()> {
        payload.rewind()?;
        let job = Job::start(&self.args.exec, item, payload, &self.groups)?;
        self.running.push(job);
        self.left = self.left.saturating_sub(1);
        Ok(())
    }

    fn cannot_run(&self, error: ClientError) -> Failure {
        if let ClientError::Sink(error) = error {
            return Failure::file("run", Path::new(&self.args.exec[0]), &error);
        }
        error.into()
    }

    /// Waits until something is ready, or has rested.
    fn wait(&self, client: &mut Client) -> Result<(), Failure> {
        let rests = self.tries.next().map(|due| due - Instant::now().min(due));
        let seconds = rests.map_or(MAX_WAIT_SECONDS, |rest| {
            u32::try_from(rest.as_secs())
                .map_or(MAX_WAIT_SECONDS, |rest| rest.min(MAX_WAIT_SECONDS))
        });
        if let (0, Some(rest)) = (seconds, rests) {
            std::thread::sleep(rest.min(TAKE));
            return Ok(());
        }
        client.wait(&InboxWait {
            filter: self.args.which.filter(),
            ready: true,
            seconds,
            page: Paging {
                limit: 1,
                after: None,
            },
        })?;
        Ok(())
    }

    /// Settles what has ended.
    fn reap(&mut self, client: &mut Client, context: &mut Context<'_, '_>) -> Result<(), Failure> {
        let mut at = 0;
        while at < self.running.len() {
            let ended = self.running[at].look(self.pace.run);
            let Some(outcome) = ended.map_err(|error| trouble(&error))? else {
                at += 1;
                continue;
            };
            let item = self.running.swap_remove(at).item.clone();
            self.settle(item, outcome, client, context)?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        leased: Leased,
        outcome: Result<(), String>,
        client: &mut Client,
        context: &mut Context<'_, '_>,
    ) -> Result<(), Failure> {
        let item = leased.item.clone();
        let id = item.segment_id;
        let fate = match outcome {
            Ok(()) => {
                self.tries.forget(id);
                client.confirm(&[id])?;
                "confirmed".to_owned()
            }
            Err(why) => match self.tries.fail(leased, Instant::now()) {
                Fate::Again(tries) => format!("failed, try {tries} of {TRIES}: {why}"),
                Fate::Refuse => {
                    client.refuse(&[id])?;
                    format!("refused after {TRIES} tries: {why}")
                }
            },
        };
        context.print(|json| match json {
            true => render::followed_json(&item, &fate),
            false => format!("{id} {fate}\n"),
        })?;
        context.flush()
    }
}

fn trouble(error: &io::Error) -> Failure {
    let message = format!("cannot wait for the command: {error}");
    Failure::new(Exit::Refused, "exec_failed", message, "")
}
