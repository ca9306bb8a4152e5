//! Orders that are not about single deliveries: names are read, the core is asked, what
//! it says is put into words.

use std::time::Duration;

use edged_rpc::{
    Changed, LaneBudget, LimitView, LimitsChanged, Moment, Paused, PeerDrop, PeerKick,
    RelayBandwidth, RelayPause, RelayResume, Until,
};
use relay_core::event::{self, Done, Order};
use relay_core::id::{LaneName, NodeId};
use relay_core::time::{Now, Unix};
use relay_core::units::Rate;

use super::Answered;
use super::clerk::Clerk;
use crate::clock;
use crate::socket::picture;
use crate::socket::refusal::{self, draining, invalid};

/// Who orders, and where.
pub(super) struct Orders<'a> {
    pub(super) clerk: &'a Clerk<'a>,
    pub(super) voice: &'a event::Caller,
}

impl Orders<'_> {
    /// Gives the core an order; what it answers is durable.
    pub(super) async fn give(&self, order: Order) -> Answered<Done> {
        let answered = self.clerk.order(self.voice.clone(), order).await;
        answered
            .map_err(|_| draining())?
            .map_err(|why| refusal::order(&why))
    }

    /// `relay pause`.
    pub(super) async fn pause(&self, what: RelayPause) -> Answered<Paused> {
        let now = clock::now();
        let until = what.until.map(|until| end(until, now)).transpose()?;
        let order = Order::Pause {
            scope: scope(&what.scope)?,
            how: match what.how {
                edged_rpc::Pausing::Drain => event::Pausing::Drain,
                edged_rpc::Pausing::Now => event::Pausing::Now,
            },
            until,
        };
        let done = self.give(order).await?;
        Ok(Paused {
            changed: done.changed,
            until: until.map(|until| picture::moment(now, until)),
        })
    }

    /// `relay resume`.
    pub(super) async fn resume(&self, what: RelayResume) -> Answered<Changed> {
        self.changed(Order::Resume(scope(&what.scope)?)).await
    }

    /// `peer kick`.
    pub(super) async fn kick(&self, what: PeerKick) -> Answered<Changed> {
        self.changed(Order::Kick(peer(&what.peer)?)).await
    }

    /// `peer drop`.
    pub(super) async fn drop(&self, what: PeerDrop) -> Answered<Changed> {
        self.changed(Order::Drop(peer(&what.peer)?)).await
    }

    /// `relay config set-bandwidth`.
    pub(super) async fn bandwidth(&self, what: RelayBandwidth) -> Answered<LimitsChanged> {
        let change = event::Bandwidth {
            peer: what.peer.as_deref().map(peer).transpose()?,
            rate: what.bytes_per_second.map(Rate),
            daily_quota: what.daily_quota_bytes,
            standing: match what.standing {
                edged_rpc::Standing::Stored => event::Standing::Stored,
                edged_rpc::Standing::Ephemeral => event::Standing::Ephemeral,
                edged_rpc::Standing::Reset => event::Standing::Reset,
            },
        };
        let nothing = change.rate.is_none() && change.daily_quota.is_none();
        if nothing && change.standing != event::Standing::Reset {
            let found = "neither a rate nor a quota is named";
            return Err(invalid("nothing_to_set", found)
                .with_hint("--bytes-per-second N, --daily-quota-bytes N, or --reset"));
        }
        let dry_run = what.dry_run;
        let done = self.give(Order::Bandwidth { change, dry_run }).await?;
        Ok(limits(done, dry_run))
    }

    /// `lane set-budget`.
    pub(super) async fn lane_budget(&self, what: LaneBudget) -> Answered<LimitsChanged> {
        let change = event::LaneBudget {
            lane: lane(&what.lane)?,
            bytes_per_day: what.bytes_per_day,
            attempts_per_hour: what.attempts_per_hour,
        };
        if change.bytes_per_day.is_none() && change.attempts_per_hour.is_none() {
            let found = "neither bytes nor attempts are named";
            return Err(invalid("nothing_to_set", found)
                .with_hint("--bytes-per-day N or --attempts-per-hour N"));
        }
        let dry_run = what.dry_run;
        let done = self.give(Order::LaneBudget { change, dry_run }).await?;
        Ok(limits(done, dry_run))
    }

    async fn changed(&self, order: Order) -> Answered<Changed> {
        let done = self.give(order).await?;
        Ok(Changed {
            changed: done.changed,
        })
    }
}

fn limits(done: Done, dry_run: bool) -> LimitsChanged {
    let limits = done.limits.into_iter().map(|limit| LimitView {
        name: limit.name.to_owned(),
        before: limit.before,
        after: limit.after,
    });
    LimitsChanged {
        applied: !dry_run,
        limits: limits.collect(),
    }
}

fn scope(scope: &edged_rpc::Scope) -> Answered<event::Scope> {
    Ok(event::Scope {
        peer: scope.peer.as_deref().map(peer).transpose()?,
        lane: scope.lane.as_deref().map(lane).transpose()?,
    })
}

/// A peer by name; whether there is one is the core's to say.
pub(super) fn peer(name: &str) -> Answered<NodeId> {
    name.parse()
        .map_err(|why: relay_core::id::IdError| invalid("bad_peer", why.to_string()))
}

/// A lane by name; whether there is one is the core's to say.
pub(super) fn lane(name: &str) -> Answered<LaneName> {
    name.parse()
        .map_err(|why: relay_core::id::IdError| invalid("bad_lane", why.to_string()))
}

/// When a pause ends, on the age clock: the wall clock may jump while it lasts.
fn end(until: Until, now: Now) -> Answered<Unix> {
    let wait = match until {
        Until::After(seconds) => Duration::from_secs(seconds),
        Until::At(Moment(at)) => Duration::from_millis(at.saturating_sub(now.wall.0)),
    };
    if wait.is_zero() {
        return Err(invalid(
            "in_the_past",
            "a pause cannot end before it begins",
        ));
    }
    Ok(now.unix + wait)
}
