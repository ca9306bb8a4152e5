//! Pages of segments and deliveries, newest first, and of the inbox, oldest first.
//!
//! A page is cut where its words would not fit a frame. `total` is exact when the page
//! is the whole list, or when the filter asks only for what the ledger counts (peer,
//! lane, state); otherwise it counts the deliveries among which the list was looked for.

use edged_rpc::{
    DeliveryView, InboxList, InboxView, Page, Paging, RelayList, SegmentList, SegmentView, frame,
};
use relay_core::change::Depth;
use relay_core::delivery::{Cause, StateName};
use relay_core::id::{LaneNo, NodeNo, PackNo};
use relay_core::ledger::{DeliveryFilter, ReadError, Reader};
use serde::Serialize;

use super::clerk::Clerk;
use super::{Answered, find};
use crate::clock;
use crate::socket::picture::{self, Painter};
use crate::socket::refusal::{draining, invalid};

/// Words of one page; the rest of the frame is for what stands around them.
const PAGE_BYTES: usize = edged_rpc::MAX_FRAME - (64 << 10);

/// A page of segments.
pub(super) async fn segments(clerk: &Clerk<'_>, which: SegmentList) -> Answered<Page<SegmentView>> {
    let SegmentList {
        lane,
        peer,
        state,
        topic,
        page,
    } = which;
    let Some(mut filter) = filter(clerk, peer.as_deref(), lane.as_deref(), state)? else {
        return Ok(nothing());
    };
    filter.segment.topic = find::topic(topic.as_deref())?;
    let after = find::place(page.after.as_deref())?;
    let after = after.map(|(due, member)| (due.pack, member));
    let (total, limit) = (total(clerk, &filter).await?, find::limit(&page));
    if limit == 0 {
        return Ok(counted(total));
    }
    let listing = clerk
        .read(move |reader| reader.segments(&filter, after, limit))
        .await?;
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let rows = listing.rows.iter().map(|row| {
        let place = segment_place((row.segment.pack, row.segment.member));
        (painter.segment(&row.segment, &row.deliveries), place)
    });
    Ok(paged(rows, listing.next.map(segment_place), total, &page))
}

/// A segment's place, whatever rows speak for it.
pub(super) fn segment_place((pack, member): (PackNo, u16)) -> String {
    let due = relay_core::change::Due {
        peer: NodeNo::LOCAL,
        pack,
        part: relay_core::change::Part::Rest,
    };
    find::show_place((due, member))
}

/// A page of deliveries.
pub(super) async fn deliveries(
    clerk: &Clerk<'_>,
    which: RelayList,
) -> Answered<Page<DeliveryView>> {
    let RelayList {
        state,
        peer,
        lane,
        cause,
        topic,
        older_than_seconds,
        page,
    } = which;
    let Some(mut filter) = filter(clerk, peer.as_deref(), lane.as_deref(), state)? else {
        return Ok(nothing());
    };
    filter.segment.topic = find::topic(topic.as_deref())?;
    filter.updated_before = older_than_seconds.map(|age| find::ago(clock::now().unix, age));
    filter.cause = cause.map(|name| parse_cause(&name)).transpose()?;
    let after = find::place(page.after.as_deref())?;
    let (total, limit) = (total(clerk, &filter).await?, find::limit(&page));
    if limit == 0 {
        return Ok(counted(total));
    }
    let listing = clerk.read(move |reader| reader.deliveries(&filter, after, limit));
    let listing = listing.await?;
    let rows = listing.rows.iter().map(|found| found.row.clone());
    let waits = clerk.waits(rows.collect()).await;
    let (waits, node, now) = waits.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let rows = listing.rows.iter().zip(&waits).map(|(found, waits)| {
        let place = find::show_place((found.row.due, found.segment.member));
        (painter.delivery(&found.segment, &found.row, waits), place)
    });
    Ok(paged(
        rows,
        listing.next.map(find::show_place),
        total,
        &page,
    ))
}

/// A page of the inbox.
pub(super) async fn inbox(clerk: &Clerk<'_>, which: InboxList) -> Answered<Page<InboxView>> {
    let InboxList { filter, page } = which;
    let Some(segment) = find::inbox(clerk, &filter)? else {
        return Ok(nothing());
    };
    let after = find::place(page.after.as_deref())?;
    let counted_by = DeliveryFilter {
        peer: Some(NodeNo::LOCAL),
        lane: segment.lane,
        ..DeliveryFilter::default()
    };
    let (total, limit) = (total(clerk, &counted_by).await?, find::limit(&page));
    if limit == 0 {
        return Ok(counted(total));
    }
    let listing = clerk.read(move |reader| reader.inbox_rows(&segment, after, limit));
    let listing = listing.await?;
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let rows = listing.rows.iter().map(|found| {
        let place = find::show_place((found.row.due, found.segment.member));
        (painter.inbox(&found.segment), place)
    });
    Ok(paged(
        rows,
        listing.next.map(find::show_place),
        total,
        &page,
    ))
}

/// The ledger's filter; `None` when nothing can match.
fn filter(
    clerk: &Clerk<'_>,
    peer: Option<&str>,
    lane: Option<&str>,
    state: Option<edged_rpc::State>,
) -> Answered<Option<DeliveryFilter>> {
    let (peer, lane) = (find::peer(clerk, peer)?, find::lane(clerk, lane)?);
    let (Some(peer), Some(lane)) = (find::some(peer), find::some(lane)) else {
        return Ok(None);
    };
    Ok(Some(DeliveryFilter {
        peer,
        remote: peer.is_none(),
        lane,
        state: state.map(picture::core_state),
        ..DeliveryFilter::default()
    }))
}

pub(super) fn parse_cause(name: &str) -> Answered<Cause> {
    let cause = Cause::ALL.into_iter().find(|cause| cause.as_str() == name);
    cause.ok_or_else(|| {
        let known: Vec<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        let name: String = name.chars().take(80).collect();
        let found = format!("{name:?} is no cause");
        invalid("bad_cause", found).with_hint(format!("one of {}", known.join(", ")))
    })
}

/// What the ledger counts of `filter`; deadletters, which are few, one by one.
async fn total(clerk: &Clerk<'_>, filter: &DeliveryFilter) -> Answered<u64> {
    let narrow = filter.cause.is_some() || filter.updated_before.is_some();
    if narrow && filter.state == Some(StateName::Deadletter) {
        let filter = filter.clone();
        return clerk
            .read(move |reader| count_parked(reader, &filter))
            .await;
    }
    let depths = clerk.read(|reader| reader.depths()).await?;
    let wanted = |peer: NodeNo, lane: LaneNo, state: StateName| {
        filter.peer.is_none_or(|wanted| wanted == peer)
            && (!filter.remote || peer != NodeNo::LOCAL)
            && filter.lane.is_none_or(|wanted| wanted == lane)
            && filter.state.is_none_or(|wanted| wanted == state)
    };
    let count = |(peer, lane, state, depth): (NodeNo, LaneNo, StateName, Depth)| {
        if wanted(peer, lane, state) {
            depth.count
        } else {
            0
        }
    };
    Ok(depths.into_iter().map(count).sum())
}

fn count_parked(reader: &mut Reader, filter: &DeliveryFilter) -> Result<u64, ReadError> {
    let (mut count, mut after) = (0, None);
    loop {
        let found = reader.parked(filter, after, 1_000)?;
        count += found.rows.iter().map(|row| row.count).sum::<u64>();
        after = found.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

pub(super) const fn nothing<T>() -> Page<T> {
    counted(0)
}

const fn counted<T>(total: u64) -> Page<T> {
    Page {
        items: Vec::new(),
        total,
        next: None,
    }
}

/// As many rows as fit a frame; each comes with its place.
pub(super) fn paged<T: Serialize>(
    rows: impl Iterator<Item = (T, String)>,
    next: Option<String>,
    total: u64,
    page: &Paging,
) -> Page<T> {
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
    for (row, place) in rows {
        bytes += frame::words(&row).map_or(PAGE_BYTES, |words| words.len());
        if bytes > PAGE_BYTES && last.is_some() {
            let next = last;
            return Page { items, total, next };
        }
        items.push(row);
        last = Some(place);
    }
    let whole = page.after.is_none() && next.is_none();
    let total = if whole { items.len() as u64 } else { total };
    Page { items, total, next }
}
