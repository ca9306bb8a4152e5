//! Arrivals for local consumers: get, take, confirm.
//!
//! A take leases a few hundred items at a time and sends them in groups, so that leases
//! begin when their items are about to leave, and memory holds one group. An item in
//! memory whose bytes are bad is passed over with a warning: it must not keep the good
//! ones from their consumer.

use std::time::Duration;

use edged_rpc::{
    Confirmed, InboxConfirm, InboxGet, InboxRefuse, InboxTake, InboxView, Response, RpcError,
};
use relay_core::id::{PackNo, SegmentId};
use relay_core::ledger::{ConfirmOutcome, InboxItem};
use tracing::warn;

use super::clerk::Clerk;
use super::payload::{self, Body};
use super::{Answered, find};
use crate::clock;
use crate::journal::Fate;
use crate::socket::picture::{self, Painter};
use crate::socket::refusal::{draining, failed, invalid};
use crate::socket::wire::{Broken, Teller};
use crate::transport::{Payload, Source as _};

/// Items leased at once.
const STEP: usize = 512;
/// Items of one group: their words fit a frame whatever their labels say.
const GROUP: usize = 128;
/// Bytes of one group held in memory.
const GROUP_BYTES: usize = 1 << 20;
/// Ids confirmed in one transaction.
const CONFIRM: usize = 4096;
/// Prefixes of one confirmation: each is looked up by itself.
const PREFIXES: usize = 1024;
/// The longest lease a take may ask for.
const LONGEST_LEASE: u64 = 86_400;

/// One arrival and its bytes; leases nothing.
pub(super) async fn get(
    teller: &mut Teller,
    clerk: &Clerk<'_>,
    get: &InboxGet,
) -> Result<(), Broken> {
    let found = async {
        let found = find::one(clerk, &get.segment).await?;
        let local = picture::in_inbox(&found).ok_or_else(|| find::no_such(&get.segment))?;
        let body = payload::load(clerk, &local).await?;
        let (node, now) = clerk.look().await.map_err(|_| draining())?;
        Ok((Painter::new(clerk, &node, now).inbox(&local), body))
    };
    match found.await {
        Ok(one) => match send(teller, clerk, vec![one]).await? {
            Ok(()) => teller.say(&Response::Done).await,
            Err(error) => teller.refuse(error).await,
        },
        Err(error) => teller.refuse(error).await,
    }
}

/// Leases items and streams them, group by group.
pub(super) async fn take(
    teller: &mut Teller,
    clerk: &Clerk<'_>,
    take: &InboxTake,
) -> Result<(), Broken> {
    let (filter, lease) = match (find::inbox(clerk, &take.filter), lease(clerk, take)) {
        (Ok(Some(filter)), Ok(lease)) => (filter, lease),
        (Ok(None), Ok(_)) => return teller.say(&Response::Done).await,
        (Err(error), _) | (_, Err(error)) => return teller.refuse(error).await,
    };
    let mut left = take.max as usize;
    while left > 0 {
        let (step, until) = (left.min(STEP), clock::now().unix + lease);
        let taken = clerk.journal.take(filter.clone(), step, until).await;
        let items = match taken {
            Ok(items) => items,
            Err(why) => return teller.refuse(failed("ledger", why)).await,
        };
        let last = items.len() < step;
        left -= items.len().min(left);
        if let Err(error) = send_items(teller, clerk, items).await? {
            return teller.refuse(error).await;
        }
        if last {
            break;
        }
    }
    teller.say(&Response::Done).await
}

fn lease(clerk: &Clerk<'_>, take: &InboxTake) -> Answered<Duration> {
    match take.lease_seconds {
        None => Ok(clerk.config.inbox.lease),
        Some(seconds @ 1..=LONGEST_LEASE) => Ok(Duration::from_secs(seconds)),
        Some(seconds) => {
            let found = format!("lease of {seconds} s, it may be 1 s to {LONGEST_LEASE} s");
            Err(invalid("bad_lease", found))
        }
    }
}

/// Sends leased items in groups; the inner error says why the last was cut short.
async fn send_items(
    teller: &mut Teller,
    clerk: &Clerk<'_>,
    items: Vec<InboxItem>,
) -> Result<Answered<()>, Broken> {
    let Ok((node, now)) = clerk.look().await else {
        return Ok(Err(draining()));
    };
    let painter = Painter::new(clerk, &node, now);
    let (mut group, mut held) = (Vec::new(), 0);
    let mut open: Option<(PackNo, Payload)> = None;
    for item in items {
        let body = match find_body(clerk, &item, &mut open).await {
            Ok(body) => body,
            Err(error) => {
                warn!(segment = %item.id, %error, "An inbox item cannot be read and is passed over");
                continue;
            }
        };
        held += body.held();
        let in_file = matches!(body, Body::File { .. });
        group.push((painter.inbox(&item), body));
        if in_file || group.len() == GROUP || held >= GROUP_BYTES {
            held = 0;
            if let Err(error) = send(teller, clerk, std::mem::take(&mut group)).await? {
                return Ok(Err(error));
            }
        }
    }
    if group.is_empty() {
        return Ok(Ok(()));
    }
    send(teller, clerk, group).await
}

/// The bytes of `item`; the pack found last is kept `open` for its neighbours.
async fn find_body(
    clerk: &Clerk<'_>,
    item: &InboxItem,
    open: &mut Option<(PackNo, Payload)>,
) -> Answered<Body> {
    if let Some((pack, found)) = open
        && *pack == item.pack
    {
        return payload::body(found.clone(), item);
    }
    let found = clerk.payloads.load(item.pack).await;
    let found = found.map_err(|_| failed("segment_missing", "its pack cannot be read"))?;
    *open = Some((item.pack, found.clone()));
    payload::body(found, item)
}

/// One group: the words of each, their bytes end to end, the empty frame.
async fn send(
    teller: &mut Teller,
    clerk: &Clerk<'_>,
    group: Vec<(InboxView, Body)>,
) -> Result<Answered<()>, Broken> {
    let (views, bodies): (Vec<InboxView>, Vec<Body>) = group.into_iter().unzip();
    teller.say(&Response::Items(views)).await?;
    let mut sent = Ok(());
    for run in runs(bodies) {
        sent = run.send(teller, clerk).await?;
        if sent.is_err() {
            break;
        }
    }
    teller.end_payload().await?;
    Ok(sent)
}

/// Small bodies side by side, so that a chunk carries many.
fn runs(bodies: Vec<Body>) -> Vec<Body> {
    let mut runs: Vec<Body> = Vec::new();
    let mut small = bytes::BytesMut::new();
    for body in bodies {
        match body {
            Body::Here(bytes) if bytes.len() <= SMALL => small.extend_from_slice(&bytes),
            large @ (Body::Here(_) | Body::File { .. }) => {
                runs.push(Body::Here(small.split().freeze()));
                runs.push(large);
            }
        }
    }
    runs.push(Body::Here(small.freeze()));
    runs
}

/// A body up to this is copied next to its neighbours; a longer one is worth a write of
/// its own.
const SMALL: usize = 16 << 10;

/// Confirms by id and by prefix.
pub(super) async fn confirm(clerk: &Clerk<'_>, which: InboxConfirm) -> Answered<Confirmed> {
    let InboxConfirm { ids, prefixes } = which;
    if prefixes.len() > PREFIXES {
        let found = format!("{} prefixes, at most {PREFIXES} at once", prefixes.len());
        return Err(invalid("too_many_prefixes", found));
    }
    let mut confirmed = Confirmed::default();
    let mut all: Vec<SegmentId> = ids.0.into_iter().map(|id| SegmentId(id.0)).collect();
    for text in prefixes {
        match find::one(clerk, &text).await {
            Ok(found) => all.push(found.segment.id),
            Err(RpcError { code, .. }) if code == "no_such_segment" => confirmed.unknown.push(text),
            Err(error) => return Err(error),
        }
    }
    settle(clerk, &all, Fate::Confirm, &mut confirmed).await?;
    Ok(confirmed)
}

/// Parks items that no consumer can use.
pub(super) async fn refuse(clerk: &Clerk<'_>, which: InboxRefuse) -> Answered<Confirmed> {
    let mut refused = Confirmed::default();
    let ids: Vec<SegmentId> = which.ids.0.into_iter().map(|id| SegmentId(id.0)).collect();
    settle(clerk, &ids, Fate::Refuse, &mut refused).await?;
    Ok(refused)
}

async fn settle(
    clerk: &Clerk<'_>,
    all: &[SegmentId],
    fate: Fate,
    confirmed: &mut Confirmed,
) -> Answered<()> {
    for ids in all.chunks(CONFIRM) {
        let outcomes = clerk.journal.settle(ids.to_vec(), fate).await;
        let outcomes = outcomes.map_err(|why| failed("ledger", why))?;
        for (id, outcome) in ids.iter().zip(outcomes) {
            match outcome {
                ConfirmOutcome::Confirmed => confirmed.confirmed += 1,
                ConfirmOutcome::Already => confirmed.already += 1,
                ConfirmOutcome::Unknown => confirmed.unknown.push(id.to_string()),
            }
        }
    }
    Ok(())
}
