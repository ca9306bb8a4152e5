//! Waiting for arrivals: how consumers follow the inbox.
//!
//! A wait looks again whenever a group has stored an arrival, and now and then, since a
//! lease that runs out makes an item ready too and nobody says so.

use std::time::Duration;

use edged_rpc::{InboxView, InboxWait, MAX_WAIT_SECONDS, Page, Paging};
use relay_core::id::PackNo;
use relay_core::ledger::{InboxFilter, InboxItem};
use tokio_util::sync::CancellationToken;

use super::clerk::Clerk;
use super::{Answered, find, list};
use crate::clock;
use crate::socket::picture::Painter;
use crate::socket::refusal::draining;

/// How often leases that ran out are looked for.
const LEASES: Duration = Duration::from_secs(1);

/// What has arrived, as soon as something has; empty when the wait is over.
pub(super) async fn wait(
    clerk: &Clerk<'_>,
    which: InboxWait,
    stop: &CancellationToken,
) -> Answered<Page<InboxView>> {
    let seconds = which.seconds.min(MAX_WAIT_SECONDS);
    let end = clock::now().mono + Duration::from_secs(seconds.into());
    let place = find::place(which.page.after.as_deref())?;
    let after = place.map(|(due, member)| (due.pack, member));
    let limit = find::limit(&which.page).max(1);
    let mut arrivals = clerk.journal.arrivals();
    loop {
        arrivals.mark_unchanged();
        // A lane or origin without a number has no rows yet; it may get one meanwhile.
        if let Some(filter) = find::inbox(clerk, &which.filter)? {
            let found = look(clerk, filter, which.ready, after, limit).await?;
            if !found.is_empty() {
                return page(clerk, &found, &which.page).await;
            }
        }
        let left = end.since(clock::now().mono);
        if left.is_zero() {
            return Ok(list::nothing());
        }
        tokio::select! {
            changed = arrivals.changed() => changed.map_err(|_| draining())?,
            () = tokio::time::sleep(left.min(LEASES)) => {}
            () = stop.cancelled() => return Err(draining()),
        }
    }
}

/// A page that says where to go on even when there is no more so far.
async fn page(clerk: &Clerk<'_>, items: &[InboxItem], asked: &Paging) -> Answered<Page<InboxView>> {
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let place = |item: &InboxItem| list::segment_place((item.pack, item.member));
    let rows = items.iter().map(|item| (painter.inbox(item), place(item)));
    let total = items.len() as u64;
    Ok(list::paged(rows, items.last().map(place), total, asked))
}

async fn look(
    clerk: &Clerk<'_>,
    filter: InboxFilter,
    ready: bool,
    after: Option<(PackNo, u16)>,
    limit: usize,
) -> Answered<Vec<InboxItem>> {
    let now = clock::now().unix;
    let found = clerk.read(move |reader| match ready {
        true => reader.ready(&filter, now, limit),
        false => reader.arrived(&filter, after, limit),
    });
    found.await
}
