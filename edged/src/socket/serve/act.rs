//! Orders about deliveries: from a segment or a filter to the core's targets, at most a
//! thousand an order, one order after another.
//!
//! A bulk order looks at rows where they are durable and goes through them newest first,
//! once: what joins them meanwhile is not touched. It leaves a record of its beginning,
//! and each of its orders one of its own; a client that hangs up ends it between two.

use std::collections::BTreeMap;
use std::time::Duration;

use edged_rpc::{
    Acted, Id, RefusedView, RelayAct, Response, RpcError, Selection, Skipped, Verb, Which,
};
use relay_core::audit::{AuditEvent, AuditOutcome, AuditRecord};
use relay_core::change::{Due, Part};
use relay_core::delivery::{Cause, StateName};
use relay_core::event::{Done, Order, OrderRefused, Target};
use relay_core::id::{NodeNo, SegmentId};
use relay_core::ledger::{DeliveryFilter, Parked, Place};

use super::clerk::Clerk;
use super::order::Orders;
use super::selection::{describe, filter};
use super::{Answered, find};
use crate::clock;
use crate::socket::picture::Painter;
use crate::socket::refusal::{self, draining, invalid};
use crate::socket::wire::{Broken, Teller};

/// Targets of one order: one transaction.
const TARGETS: usize = 1_000;
/// Rows of a preview.
const FIRST: usize = 10;
/// Refusals told one by one.
const TOLD: usize = 100;

/// Does what `act` says, and tells how far it is.
pub(super) async fn act(
    teller: &mut Teller,
    orders: &Orders<'_>,
    act: RelayAct,
) -> Result<(), Broken> {
    let RelayAct {
        verb,
        which,
        dry_run,
    } = act;
    let acted = match which {
        Which::One { segment, peer } => one(orders, verb, &segment, peer.as_deref(), dry_run).await,
        Which::All(selection) => match Bulk::new(orders, verb, &selection, dry_run) {
            Ok(Some(mut bulk)) => bulk.run(teller).await?,
            Ok(None) => Ok(Acted {
                dry_run,
                ..Acted::default()
            }),
            Err(error) => Err(error),
        },
    };
    match acted {
        Ok(acted) => teller.say(&Response::Acted(acted)).await,
        Err(error) => teller.refuse(error).await,
    }
}

/// The order that does `verb` to `targets`.
fn order(verb: Verb, targets: Vec<Target>) -> Order {
    match verb {
        Verb::Hold => Order::Hold(targets),
        Verb::Release => Order::Release(targets),
        Verb::Cancel => Order::Cancel(targets),
        Verb::Force => Order::Force(targets),
        Verb::Retry { ttl_seconds } => Order::Retry {
            targets,
            ttl: ttl_seconds.map(Duration::from_secs),
        },
        Verb::Purge => Order::Purge(targets),
    }
}

/// One segment, to one peer or to all it goes to.
async fn one(
    orders: &Orders<'_>,
    verb: Verb,
    segment: &str,
    peer: Option<&str>,
    dry_run: bool,
) -> Answered<Acted> {
    let clerk = orders.clerk;
    let wanted = match find::peer(clerk, peer)? {
        find::Named::Any => None,
        find::Named::One(NodeNo::LOCAL) => {
            return Err(invalid("bad_peer", "the inbox is no peer of this verb")
                .with_hint("edgectl inbox confirm settles what arrived"));
        }
        find::Named::One(no) => Some(no),
        find::Named::Unused => return Err(not_owed(segment, peer)),
    };
    let found = find::one(clerk, segment).await?;
    let item = &found.segment;
    let mine = |peer: NodeNo| peer != NodeNo::LOCAL && wanted.is_none_or(|wanted| wanted == peer);
    let rows: Vec<_> = found
        .deliveries
        .iter()
        .map(|(row, _)| row)
        .filter(|row| mine(row.due.peer))
        .collect();
    if rows.is_empty() {
        return Err(not_owed(segment, peer));
    }
    let targets = rows.iter().map(|row| Target {
        due: match row.due.part {
            Part::Rest if row.count > 1 => Due {
                part: Part::Member(item.member),
                ..row.due
            },
            Part::Rest | Part::Member(_) => row.due,
        },
        length: item.length,
    });
    let targets: Vec<Target> = targets.collect();
    let waits = clerk.waits(rows.iter().map(|row| (*row).clone()).collect());
    let (waits, node, now) = waits.await.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let first = rows.iter().zip(&waits);
    let first = first.map(|(row, waits)| painter.delivery(item, row, waits));
    let mut acted = Acted {
        dry_run,
        matched: rows.len() as u64,
        bytes: item.length * rows.len() as u64,
        first: first.collect(),
        ..Acted::default()
    };
    if dry_run {
        let mut states = rows.iter().map(|row| row.state.name());
        let wrong = states.find(|state| !applies(verb, *state));
        return match wrong {
            Some(state) if rows.len() == 1 => Err(refusal::order(&OrderRefused::WrongState(state))),
            Some(_) | None => Ok(acted),
        };
    }
    let count = targets.len();
    let done = orders.give(order(verb, targets)).await?;
    if done.refused.len() == count
        && let Some((_, why)) = done.refused.first()
    {
        return Err(refusal::order(why));
    }
    note(clerk, &mut acted, &done, Some(item.id));
    Ok(acted)
}

/// Whether a verb that can be tried dry is about deliveries in this state.
const fn applies(verb: Verb, state: StateName) -> bool {
    match verb {
        Verb::Purge => state.is_terminal(),
        Verb::Retry { .. } => !matches!(state, StateName::Acked),
        Verb::Hold | Verb::Release | Verb::Cancel | Verb::Force => !state.is_terminal(),
    }
}

/// What the core said of one order, added up.
fn note(clerk: &Clerk<'_>, acted: &mut Acted, done: &Done, id: Option<SegmentId>) {
    acted.changed += done.changed;
    acted.refused_total += done.refused.len() as u64;
    for (due, why) in &done.refused {
        if acted.refused.len() == TOLD {
            return;
        }
        let RpcError { code, message, .. } = refusal::order(why);
        acted.refused.push(RefusedView {
            peer_id: find::node_name(clerk, due.peer),
            segment_id: id.map(|id| Id(id.0)),
            code,
            message,
        });
    }
}

fn not_owed(segment: &str, peer: Option<&str>) -> RpcError {
    let cut = |text: &str| text.chars().take(80).collect::<String>();
    let whom = peer.map_or_else(|| "any peer".to_owned(), |peer| format!("{:?}", cut(peer)));
    RpcError::new(
        edged_rpc::ErrorKind::NotFound,
        "no_such_delivery",
        format!("segment {:?} is not owed to {whom}", cut(segment)),
    )
    .with_hint("edgectl segment inspect shows to whom it goes")
}

/// An order about all deadletters that match.
struct Bulk<'a> {
    orders: &'a Orders<'a>,
    verb: Verb,
    filter: DeliveryFilter,
    described: Vec<(&'static str, String)>,
    skipped: BTreeMap<Cause, u64>,
    acted: Acted,
}

impl<'a> Bulk<'a> {
    /// `None` when nothing can match.
    fn new(
        orders: &'a Orders<'a>,
        verb: Verb,
        selection: &Selection,
        dry_run: bool,
    ) -> Answered<Option<Self>> {
        match verb {
            Verb::Retry { .. } | Verb::Purge => {}
            Verb::Hold | Verb::Release | Verb::Cancel | Verb::Force => {
                return Err(invalid("not_in_bulk", "this verb takes one segment")
                    .with_hint("relay deadletter retry and purge take --all"));
            }
        }
        let Some(filter) = filter(orders.clerk, selection, clock::now().unix)? else {
            return Ok(None);
        };
        let acted = Acted {
            dry_run,
            ..Acted::default()
        };
        Ok(Some(Self {
            orders,
            verb,
            filter,
            described: describe(selection),
            skipped: BTreeMap::new(),
            acted,
        }))
    }

    /// Whether deliveries parked for `cause` are passed over: a retry of what somebody
    /// parked on purpose, or what is out of time, must be asked for by name.
    fn passes_over(&self, cause: Cause) -> bool {
        let by_name = self.filter.cause.is_some() || matches!(self.verb, Verb::Purge);
        let on_purpose = match cause {
            Cause::Cancelled | Cause::Expired | Cause::Forced => true,
            Cause::RetriesExhausted | Cause::SegmentMissing | Cause::Corrupt | Cause::Rejected => {
                false
            }
        };
        on_purpose && !by_name
    }

    async fn run(&mut self, teller: &mut Teller) -> Result<Answered<Acted>, Broken> {
        if let Err(error) = self.preview().await {
            return Ok(Err(error));
        }
        let (mut after, mut begun) = (None, false);
        loop {
            let (targets, next) = match self.page(after).await {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            if !self.acted.dry_run {
                for some in targets.chunks(TARGETS) {
                    if !begun {
                        begun = true;
                        if let Err(error) = self.begin().await {
                            return Ok(Err(error));
                        }
                    }
                    match self.orders.give(order(self.verb, some.to_vec())).await {
                        Ok(done) => note(self.orders.clerk, &mut self.acted, &done, None),
                        Err(error) => return Ok(Err(error)),
                    }
                    teller.say(&Response::Acting(self.so_far())).await?;
                }
            }
            after = next;
            if after.is_none() {
                return Ok(Ok(self.finish()));
            }
        }
    }

    /// The first rows it is about.
    async fn preview(&mut self) -> Answered<()> {
        let clerk = self.orders.clerk;
        let (filter, most) = (self.filter.clone(), FIRST * 8);
        let listing = clerk
            .read(move |reader| reader.deliveries(&filter, None, most))
            .await?;
        let (node, now) = clerk.look().await.map_err(|_| draining())?;
        let painter = Painter::new(clerk, &node, now);
        let cause = |state| match state {
            relay_core::delivery::State::Deadletter { cause } => Some(cause),
            relay_core::delivery::State::Scheduled
            | relay_core::delivery::State::Inflight
            | relay_core::delivery::State::Failed { .. }
            | relay_core::delivery::State::Acked => None,
        };
        let rows = listing
            .rows
            .iter()
            .filter(|found| cause(found.row.state).is_some_and(|cause| !self.passes_over(cause)));
        self.acted.first = rows
            .take(FIRST)
            // What is parked waits on nothing.
            .map(|found| painter.delivery(&found.segment, &found.row, &[]))
            .collect();
        Ok(())
    }

    /// The next targets, and where to go on.
    async fn page(&mut self, after: Option<Place>) -> Answered<(Vec<Target>, Option<Place>)> {
        let filter = self.filter.clone();
        let listing = self
            .orders
            .clerk
            .read(move |reader| reader.parked(&filter, after, TARGETS))
            .await?;
        let mut targets = Vec::with_capacity(listing.rows.len());
        for Parked {
            due,
            length,
            count,
            bytes,
            cause,
        } in listing.rows
        {
            if self.passes_over(cause) {
                *self.skipped.entry(cause).or_default() += count;
                continue;
            }
            self.acted.matched += count;
            self.acted.bytes += bytes;
            targets.push(Target { due, length });
        }
        Ok((targets, listing.next))
    }

    /// Leaves a record that a bulk order begins.
    async fn begin(&self) -> Answered<()> {
        let event = match self.verb {
            Verb::Purge => AuditEvent::DeadletterPurged,
            Verb::Retry { .. } | Verb::Hold | Verb::Release | Verb::Cancel | Verb::Force => {
                AuditEvent::DeadletterRetried
            }
        };
        let at = clock::now().wall;
        let all = "all".to_owned();
        let mut record = AuditRecord::by(self.orders.voice, at, event, "deadletter", all);
        record.outcome = AuditOutcome::Pending;
        for (name, value) in &self.described {
            record = record.with(name, value);
        }
        self.orders.give(Order::Note(record)).await.map(|_| ())
    }

    fn so_far(&self) -> Acted {
        Acted {
            first: Vec::new(),
            refused: Vec::new(),
            ..self.acted.clone()
        }
    }

    fn finish(&mut self) -> Acted {
        let mut acted = std::mem::take(&mut self.acted);
        let skipped = self.skipped.iter().map(|(cause, count)| Skipped {
            cause: cause.as_str().to_owned(),
            count: *count,
        });
        acted.skipped = skipped.collect();
        acted
    }
}
