//! A command at work on one item.
//!
//! No shell is between, the payload is its standard input, what is known of the item in
//! `EDGED_*`. Exit 0 is done, anything else is not; one that takes too long is ended. With
//! it ends whatever it has started, however it ends. When to try again is not decided here.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edged_rpc::InboxView;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::groups::{Group, Groups};
use super::tries::Leased;

/// One run; what is dropped is ended.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) item: Leased,
    child: Child,
    group: Group,
    since: Instant,
}

impl Job {
    /// Starts the words of `command`, the first of which is the program, on an item whose
    /// bytes are in `payload`.
    pub(super) fn start(
        command: &[OsString],
        item: Leased,
        payload: File,
        groups: &Groups,
    ) -> io::Result<Self> {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(words(&item.item))
            .stdin(Stdio::from(payload));
        let (child, group) = groups.start(&mut command)?;
        Ok(Self {
            item,
            child,
            group,
            since: Instant::now(),
        })
    }

    /// `None` while it runs; then whether it is done, or what was found. It is ended if it
    /// has run for `longest`.
    pub(super) fn look(&mut self, longest: Duration) -> io::Result<Option<Result<(), String>>> {
        let late = self.since.elapsed() >= longest;
        let ended = self.has_ended()?;
        if !ended && !late {
            return Ok(None);
        }
        self.group.end();
        let status = self.child.wait()?;
        Ok(Some(if !ended {
            Err(format!("ended after {} s", longest.as_secs_f32()))
        } else if status.success() {
            Ok(())
        } else {
            Err(status.to_string())
        }))
    }

    /// Looks without fetching it, so that its group's number stays its own.
    fn has_ended(&self) -> io::Result<bool> {
        let id = i32::try_from(self.child.id()).expect("a process id is a pid_t");
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(waitid(Id::Pid(Pid::from_raw(id)), look)? != WaitStatus::StillAlive)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.group.end();
        // It has been killed, or was fetched before: nobody waits for its status.
        drop(self.child.wait());
    }
}

/// What the command may know; the same words as of an `exec:` sink.
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
