//! `inbox follow`: print what arrives, or hand each item to a command.
//!
//! Without a command nothing is leased: it is a window. With one, items are leased a few
//! at a time, the command reads the payload from a file that has no name, and exit 0
//! confirms. What fails is left to its lease and so comes again; after [`TRIES`] it is
//! parked as `refused` and the others go on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Seek as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use edged_rpc::{
    Body, Client, ClientError, Id, InboxTake, InboxView, InboxWait, MAX_PAGE, MAX_WAIT_SECONDS,
    Paging,
};

use super::Context;
use crate::cli::FollowArgs;
use crate::exit::{Exit, Failure};
use crate::render;

/// Commands that run at once.
const AT_ONCE: usize = 4;
/// How long one may run.
const LONGEST: Duration = Duration::from_secs(60);
/// A lease outlives the command, so that nobody else gets the item meanwhile.
const LEASE: u64 = 90;
/// Tries before an item is parked.
const TRIES: u32 = 8;
/// Items whose tries are remembered: what is forgotten is only tried more often.
const REMEMBERED: usize = 10_000;
/// Between two looks at commands that run.
const LOOK: Duration = Duration::from_millis(10);
/// While commands run, new items are looked for this often.
const TAKE: Duration = Duration::from_millis(250);

pub(super) fn perform(args: &FollowArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    // Whoever follows waits as long as it takes.
    let mut client = context.connect_within(Duration::ZERO)?;
    match args.exec.split_first() {
        None => print(args, &mut client, context),
        Some((program, arguments)) => {
            let work = Work {
                program,
                arguments,
                running: Vec::new(),
                tries: BTreeMap::new(),
                left: args.max.unwrap_or(u64::MAX),
            };
            work.run(args, &mut client, context)
        }
    }
}

/// Prints each arrival as it comes, from the oldest that is still there.
fn print(
    args: &FollowArgs,
    client: &mut Client,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let mut left = args.max.unwrap_or(u64::MAX);
    let mut after = None;
    while left > 0 {
        let limit = u32::try_from(left).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let page = client.wait(&InboxWait {
            filter: args.which.filter(),
            ready: false,
            seconds: MAX_WAIT_SECONDS,
            page: Paging {
                limit,
                after: after.clone(),
            },
        })?;
        for item in &page.items {
            context.print(|json| match json {
                true => render::document("inbox.item/1", item),
                false => render::arrival(item),
            })?;
        }
        context.flush()?;
        left = left.saturating_sub(page.items.len() as u64);
        after = page.next.or(after);
    }
    Ok(())
}

/// A command at work on one item.
struct Job {
    item: InboxView,
    child: Child,
    since: Instant,
}

/// Items handed to a command, a few at once.
struct Work<'a> {
    program: &'a OsString,
    arguments: &'a [OsString],
    running: Vec<Job>,
    tries: BTreeMap<Id, u32>,
    left: u64,
}

impl Work<'_> {
    fn run(
        mut self,
        args: &FollowArgs,
        client: &mut Client,
        context: &mut Context<'_, '_>,
    ) -> Result<(), Failure> {
        let mut looked = None;
        loop {
            self.reap(client, context)?;
            if self.left == 0 && self.running.is_empty() {
                return Ok(());
            }
            let due = looked.is_none_or(|at: Instant| at.elapsed() >= TAKE);
            let free =
                (AT_ONCE - self.running.len()).min(usize::try_from(self.left).unwrap_or(AT_ONCE));
            if free > 0 && (due || self.running.is_empty()) {
                let came = self.take(args, free, client)?;
                looked = Some(Instant::now());
                if came == 0 && self.running.is_empty() {
                    self.wait(args, client)?;
                }
                continue;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Leases up to `free` items and starts a command on each.
    fn take(
        &mut self,
        args: &FollowArgs,
        free: usize,
        client: &mut Client,
    ) -> Result<u64, Failure> {
        let which = InboxTake {
            filter: args.which.filter(),
            max: u32::try_from(free).unwrap_or(1),
            lease_seconds: Some(LEASE),
        };
        let taken = client.take_with(&which, |item, body| {
            let job = self.start(item, body)?;
            self.running.push(job);
            self.left = self.left.saturating_sub(1);
            Ok(())
        });
        match taken {
            Ok(came) => Ok(came),
            Err(ClientError::Sink(error)) => {
                let program = std::path::Path::new(self.program);
                Err(Failure::file("run", program, &error))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&self, args: &FollowArgs, client: &mut Client) -> Result<(), Failure> {
        client.wait(&InboxWait {
            filter: args.which.filter(),
            ready: true,
            seconds: MAX_WAIT_SECONDS,
            page: Paging {
                limit: 1,
                after: None,
            },
        })?;
        Ok(())
    }

    /// Starts the command on one item, whose bytes it reads from a file without a name.
    fn start(&self, item: InboxView, body: &mut Body<'_>) -> io::Result<Job> {
        let mut bytes = tempfile::tempfile()?;
        body.copy_to(&mut bytes)?;
        bytes.rewind()?;
        let child = Command::new(self.program)
            .args(self.arguments)
            .envs(words(&item))
            .stdin(Stdio::from(bytes))
            .spawn()?;
        Ok(Job {
            item,
            child,
            since: Instant::now(),
        })
    }

    /// Settles what has ended, and ends what runs too long.
    fn reap(&mut self, client: &mut Client, context: &mut Context<'_, '_>) -> Result<(), Failure> {
        let mut at = 0;
        while at < self.running.len() {
            let job = &mut self.running[at];
            let ended = job.child.try_wait().map_err(|error| trouble(&error))?;
            let outcome = match ended {
                Some(status) if status.success() => Ok(()),
                Some(status) => Err(said(status)),
                None if job.since.elapsed() >= LONGEST => {
                    // It may have ended by itself just now.
                    drop(job.child.kill());
                    job.child.wait().map_err(|error| trouble(&error))?;
                    Err(format!("ended after {} s", LONGEST.as_secs()))
                }
                None => {
                    at += 1;
                    continue;
                }
            };
            let item = self.running.swap_remove(at).item;
            self.settle(&item, outcome, client, context)?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        item: &InboxView,
        outcome: Result<(), String>,
        client: &mut Client,
        context: &mut Context<'_, '_>,
    ) -> Result<(), Failure> {
        let id = item.segment_id;
        let fate = match outcome {
            Ok(()) => {
                self.tries.remove(&id);
                client.confirm(&[id])?;
                "confirmed".to_owned()
            }
            Err(why) => {
                if self.tries.len() >= REMEMBERED {
                    self.tries.clear();
                }
                let tries = self.tries.entry(id).or_default();
                *tries += 1;
                if *tries >= TRIES {
                    self.tries.remove(&id);
                    client.refuse(&[id])?;
                    format!("refused after {TRIES} tries: {why}")
                } else {
                    format!("failed, try {tries} of {TRIES}: {why}")
                }
            }
        };
        context.print(|json| match json {
            true => render::followed_json(item, &fate),
            false => format!("{id} {fate}\n"),
        })?;
        context.flush()
    }
}

fn said(status: ExitStatus) -> String {
    status.to_string()
}

fn trouble(error: &io::Error) -> Failure {
    let message = format!("cannot wait for the command: {error}");
    Failure::new(Exit::Refused, "exec_failed", message, "")
}

/// What the command may know: never a name that a peer chose.
fn words(item: &InboxView) -> [(&'static str, String); 11] {
    let labels = serde_json::to_string(&item.labels).expect("labels are texts");
    [
        ("EDGED_SEGMENT_ID", item.segment_id.to_string()),
        ("EDGED_ORIGIN", item.origin.clone()),
        ("EDGED_VIA", item.via.clone()),
        ("EDGED_LANE", item.lane.clone()),
        ("EDGED_LANE_SEQUENCE", item.lane_sequence.to_string()),
        ("EDGED_TOPIC", item.topic.clone().unwrap_or_default()),
        ("EDGED_LABELS", labels),
        ("EDGED_LEN", item.len.to_string()),
        ("EDGED_DIGEST", item.digest.to_string()),
        ("EDGED_RECEIVED_AT", item.received_at.to_string()),
        ("EDGED_TAKES", item.takes.to_string()),
    ]
}
