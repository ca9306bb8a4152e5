//! What the node says of itself beside its deliveries: quarantine, spools, sink.

use edged_rpc::{KeepingView, NEWEST_QUARANTINED, Page, Paging, QuarantineSums, QuarantineView};
use relay_core::scheduler::Picture;
use relay_core::time::Now;

use super::clerk::Clerk;
use super::{Answered, find};
use crate::socket::picture::Painter;
use crate::socket::refusal::draining;
use crate::ways::Kind;

/// Damage in short, and what each way in and out is at.
pub(super) async fn report(clerk: &Clerk<'_>, node: &Picture, now: Now) -> Answered<KeepingView> {
    let found = clerk
        .read(|reader| reader.quarantine_page(None, NEWEST_QUARANTINED))
        .await?;
    let painter = Painter::new(clerk, node, now);
    let newest = found.entries.iter();
    let ways = |kind| {
        clerk
            .ways
            .of(kind)
            .iter()
            .map(|way| painter.way(way))
            .collect()
    };
    Ok(KeepingView {
        quarantine: QuarantineSums {
            entries: found.total,
            deliveries: found.segments,
            bytes: found.bytes,
            newest: newest
                .map(|(no, entry)| painter.quarantined(*no, entry))
                .collect(),
        },
        spools: ways(Kind::Spool),
        sinks: ways(Kind::Sink),
    })
}

/// A page of what was damaged, newest first.
pub(super) async fn quarantine(clerk: &Clerk<'_>, page: &Paging) -> Answered<Page<QuarantineView>> {
    let before = match page.after.as_deref().map(str::parse) {
        None => None,
        Some(Ok(number)) => Some(number),
        Some(Err(_)) => return Err(find::bad_after(page.after.as_deref().unwrap_or_default())),
    };
    let limit = find::limit(page);
    let mut found = clerk
        .read(move |reader| reader.quarantine_page(before, limit + 1))
        .await?;
    let more = found.entries.len() > limit;
    found.entries.truncate(limit);
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let last = found.entries.last().filter(|_| more);
    Ok(Page {
        total: found.total,
        next: last.map(|(no, _)| no.to_string()),
        items: found
            .entries
            .iter()
            .map(|(no, entry)| painter.quarantined(*no, entry))
            .collect(),
    })
}
