//! `inbox follow`: print what arrives, or hand each item to a command.
//!
//! Without a command nothing is leased: it is a window. With one, items are leased a few
//! at a time and worked off (`exec`): each is a process with a group of its own (`job`),
//! what fails rests, longer each time (`tries`), and whatever ends us ends the groups
//! (`groups`).

mod exec;
mod groups;
mod job;
mod tries;

use std::time::Duration;

use edged_rpc::{Client, InboxWait, MAX_PAGE, MAX_WAIT_SECONDS, Paging};

use super::Context;
use crate::cli::FollowArgs;
use crate::exit::Failure;
use crate::render;

pub(super) fn perform(args: &FollowArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    // Whoever follows waits as long as it takes.
    let mut client = context.connect_within(Duration::ZERO)?;
    if args.exec.is_empty() {
        print(args, &mut client, context)
    } else {
        exec::run(args, exec::PACE, &mut client, context)
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
