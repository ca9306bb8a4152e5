//! The relay as a whole: status, peers, books, counters, version.
//!
//! Status asks the ledger for what the core does not hold (the age of what waits, the
//! books as they are durable); counters come from memory where they can.

use std::collections::BTreeMap;

use edged_rpc::{
    BookView, CountersView, Page, Paging, PeerView, ReceivedView, StatusReport, VERSION,
    VersionView,
};
use relay_core::change::Book;
use relay_core::delivery::StateName;
use relay_core::id::{LaneName, LaneNo, NodeId, NodeNo};
use relay_core::scheduler::Picture;
use relay_core::time::{Now, Unix};

use super::clerk::Clerk;
use super::{Answered, find};
use crate::clock;
use crate::journal::Books;
use crate::socket::picture::{self, Oldest, Painter};
use crate::socket::refusal::{draining, failed};

/// What waits, per peer and lane.
type Waiting = BTreeMap<(NodeNo, LaneNo), u64>;

/// The whole picture.
pub(super) async fn report(
    clerk: &Clerk<'_>,
    started: Unix,
    books: bool,
) -> Answered<StatusReport> {
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let oldest = oldest(clerk, &node, now).await?;
    let status = Painter::new(clerk, &node, now).status(&oldest, started);
    let books = if books {
        Some(durable_books(clerk).await?)
    } else {
        None
    };
    let keeping = super::keeping::report(clerk, &node, now).await?;
    Ok(StatusReport {
        status,
        books,
        keeping,
    })
}

/// A page of peers, by id.
pub(super) async fn peers(clerk: &Clerk<'_>, page: &Paging) -> Answered<Page<PeerView>> {
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let oldest = oldest(clerk, &node, now).await?;
    let mut items = Painter::new(clerk, &node, now).peers(&oldest);
    let total = items.len() as u64;
    if let Some(after) = &page.after {
        items.retain(|peer| peer.peer_id > *after);
    }
    let more = items.len() > find::limit(page);
    items.truncate(find::limit(page));
    let next = items
        .last()
        .filter(|_| more)
        .map(|peer| peer.peer_id.clone());
    Ok(Page { items, total, next })
}

/// Who answers.
pub(super) fn version(clerk: &Clerk<'_>, started: Unix) -> VersionView {
    VersionView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rpc_version: VERSION,
        node: clerk.config.node.id.as_str().to_owned(),
        boot_epoch: clerk.epoch.0,
        started_at: picture::moment(clock::now(), started),
    }
}

/// Counts from memory, when the journal's books and the core's depths agree; while groups
/// move them between the two looks, as they are durable.
pub(super) async fn counters(clerk: &Clerk<'_>) -> Answered<CountersView> {
    let memory = clerk.journal.books().await;
    let memory = memory.map_err(|why| failed("ledger", why))?;
    let (node, _) = clerk.look().await.map_err(|_| draining())?;
    let mut books = book_views(clerk, &memory, &waiting_in(clerk, &node));
    if !books.iter().all(|book| book.holds) {
        books = durable_books(clerk).await?;
    }
    Ok(CountersView {
        boot_epoch: clerk.epoch.0,
        received: received(clerk, &memory),
        books,
    })
}

/// What the core says waits.
fn waiting_in(clerk: &Clerk<'_>, node: &Picture) -> Waiting {
    let mut waiting = Waiting::new();
    for peer in &node.peers {
        let Some(no) = clerk.payloads.node_number(&peer.name) else {
            continue;
        };
        for (lane, state, depth) in &peer.depths {
            if !state.is_terminal()
                && let Some(lane) = clerk.payloads.lane_number(lane)
            {
                *waiting.entry((no, lane)).or_default() += depth.count;
            }
        }
    }
    waiting
}

/// The books as they are durable.
async fn durable_books(clerk: &Clerk<'_>) -> Answered<Vec<BookView>> {
    let tally = clerk.read(|reader| reader.tally()).await?;
    let mut waiting = Waiting::new();
    for (peer, lane, state, depth) in &tally.depths {
        if !state.is_terminal() {
            *waiting.entry((*peer, *lane)).or_default() += depth.count;
        }
    }
    Ok(book_views(clerk, &tally.books, &waiting))
}

/// One view for each peer and lane; the inbox is shown apart.
fn book_views(clerk: &Clerk<'_>, books: &Books, waiting: &Waiting) -> Vec<BookView> {
    let mut views: BTreeMap<(NodeNo, LaneNo), BookView> = BTreeMap::new();
    for (peer, lane, book, value) in books.iter().filter(|row| row.0 != NodeNo::LOCAL) {
        let view = views.entry((*peer, *lane)).or_default();
        let value = u64::try_from(*value).unwrap_or(0);
        match book {
            Book::Put => view.put = value,
            Book::Acked => view.acked = value,
            Book::Deadletter => view.deadletter = value,
            Book::NotNeeded => view.not_needed = value,
            Book::Purged => view.purged = value,
            Book::Quarantined => view.quarantined = value,
        }
    }
    for (key, view) in &mut views {
        view.peer_id = find::node_name(clerk, key.0);
        view.lane = find::lane_name(clerk, key.1);
        view.waiting = waiting.get(key).copied().unwrap_or(0);
        let settled = view.acked + view.deadletter + view.not_needed;
        view.holds = view.put == settled + view.waiting + view.purged + view.quarantined;
    }
    views.into_values().collect()
}

/// What came in, per lane: the ledger counts all origins together.
fn received(clerk: &Clerk<'_>, books: &Books) -> Vec<ReceivedView> {
    let mut views: BTreeMap<LaneNo, ReceivedView> = BTreeMap::new();
    for (_, lane, book, value) in books.iter().filter(|row| row.0 == NodeNo::LOCAL) {
        let view = views.entry(*lane).or_default();
        let value = u64::try_from(*value).unwrap_or(0);
        match book {
            Book::Put => view.segments = value,
            Book::Acked => view.confirmed = value,
            Book::Deadletter | Book::NotNeeded | Book::Purged | Book::Quarantined => {}
        }
    }
    for (lane, view) in &mut views {
        view.origin = "*".to_owned();
        view.lane = find::lane_name(clerk, *lane);
    }
    views.into_values().collect()
}

/// The age of the oldest that waits, per peer with something waiting.
pub(super) async fn oldest(clerk: &Clerk<'_>, node: &Picture, now: Now) -> Answered<Oldest> {
    let mut asked: Vec<(NodeId, NodeNo, LaneNo)> = Vec::new();
    for peer in &node.peers {
        let Some(no) = clerk.payloads.node_number(&peer.name) else {
            continue;
        };
        let waits = |state: &StateName| match state {
            StateName::Scheduled | StateName::Failed => true,
            StateName::Inflight | StateName::Acked | StateName::Deadletter => false,
        };
        let lanes = peer.depths.iter().filter(|(_, state, _)| waits(state));
        let mut lanes: Vec<&LaneName> = lanes.map(|(lane, _, _)| lane).collect();
        lanes.dedup();
        let numbers = lanes
            .into_iter()
            .filter_map(|lane| clerk.payloads.lane_number(lane));
        asked.extend(numbers.map(|lane| (peer.name.clone(), no, lane)));
    }
    if asked.is_empty() {
        return Ok(Oldest::new());
    }
    clerk
        .read(move |reader| {
            let mut oldest = Oldest::new();
            for (name, peer, lane) in asked {
                let first = reader.page(peer, lane, None, 1)?;
                if let Some(first) = first.first() {
                    let age = picture::age(first.row.queued, now);
                    let known = oldest.entry(name).or_insert(age);
                    *known = age.max(*known);
                }
            }
            Ok(oldest)
        })
        .await
}
