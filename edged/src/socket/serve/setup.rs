//! What the daemon is set to: its config key by key, the relay, lanes, one peer.

use std::collections::BTreeMap;
use std::time::Duration;

use edged_rpc::{
    ConfigCheck, ErrorKind, KeyChange, KeyView, LaneView, Page, Paging, PeerDetail,
    RelayConfigView, ReloadView, RpcError,
};
use relay_core::id::NodeId;

use super::clerk::Clerk;
use super::order::{self, Orders};
use super::{Answered, find, status};
use crate::reload::{self, ReloadError};
use crate::running::{Difference, Plan, PlanError};
use crate::socket::picture::Painter;
use crate::socket::refusal::{self, draining};

/// `config show`: each key as it holds; what operators stored goes before the files.
pub(super) async fn config(clerk: &Clerk<'_>, page: &Paging) -> Answered<Page<KeyView>> {
    let holds = clerk.running.holds();
    let mut keys: BTreeMap<String, KeyView> = BTreeMap::new();
    for (key, shown) in holds.iter() {
        let view = KeyView {
            key: key.to_owned(),
            value: shown.value.clone(),
            origin: shown.origin.to_string(),
        };
        keys.insert(view.key.clone(), view);
    }
    for view in overrides(clerk).await? {
        keys.insert(view.key.clone(), view);
    }
    let total = keys.len() as u64;
    let after = page.after.as_deref().unwrap_or_default();
    let mut items: Vec<KeyView> = keys
        .into_values()
        .filter(|view| view.key.as_str() > after)
        .collect();
    let more = items.len() > find::limit(page);
    items.truncate(find::limit(page));
    let next = items.last().filter(|_| more).map(|view| view.key.clone());
    Ok(Page { items, total, next })
}

/// What operators set over the config.
async fn overrides(clerk: &Clerk<'_>) -> Answered<Vec<KeyView>> {
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    Ok(Painter::new(clerk, &node, now).overrides())
}

/// `config check`: what a reload would do if this file stood in place of the daemon's.
pub(super) async fn check(clerk: &Clerk<'_>, file: ConfigCheck) -> Answered<ReloadView> {
    let name: String = file.name.chars().take(255).collect();
    let plan = clerk.running.plan(Some((name.into(), file.text)));
    let plan = plan.map_err(|error| refused(&error.into()))?;
    view(clerk, plan, false).await
}

/// `config reload`.
pub(super) async fn reload(orders: &Orders<'_>) -> Answered<ReloadView> {
    let plan = reload::reload(orders.clerk, orders.voice.clone()).await;
    let plan = plan.map_err(|error| refused(&error))?;
    view(orders.clerk, plan, true).await
}

async fn view(clerk: &Clerk<'_>, plan: Plan, applied: bool) -> Answered<ReloadView> {
    let stored = overrides(clerk).await?;
    let shadows = |at: &Difference| stored.iter().any(|view| view.key == at.key);
    let differ = plan.changed.iter().chain(&plan.restart);
    let shadowed = differ.filter(|at| shadows(at)).map(|at| at.key.clone());
    Ok(ReloadView {
        applied,
        shadowed: shadowed.collect(),
        changed: plan.changed.into_iter().map(change).collect(),
        restart: plan.restart.into_iter().map(change).collect(),
    })
}

fn change(Difference { key, before, after }: Difference) -> KeyChange {
    KeyChange { key, before, after }
}

fn refused(error: &ReloadError) -> RpcError {
    match error {
        ReloadError::Plan(PlanError::Refused(why)) => {
            RpcError::new(ErrorKind::Refused, "config_invalid", why.to_string())
                .with_hint("nothing has changed")
        }
        ReloadError::Plan(PlanError::NoFile) => {
            RpcError::new(ErrorKind::Unsupported, "no_config_file", error.to_string())
        }
        ReloadError::GoingDown(_) => draining(),
        ReloadError::Order(why) => refusal::order(why),
    }
}

/// `relay config get`.
pub(super) async fn relay(clerk: &Clerk<'_>) -> Answered<RelayConfigView> {
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let relay = &clerk.config.relay;
    let painter = Painter::new(clerk, &node, now);
    Ok(RelayConfigView {
        enabled: relay.enabled,
        workers: relay.workers,
        success_condition: relay.success_condition.to_string(),
        dial_timeout_ms: milliseconds(relay.dial_timeout),
        ack_timeout_ms: milliseconds(relay.ack_timeout),
        bandwidth: painter.bandwidth(&node.bandwidth),
        overrides: painter.overrides(),
    })
}

/// `lane list`: most urgent first, then by name.
pub(super) async fn lanes(clerk: &Clerk<'_>, page: &Paging) -> Answered<Page<LaneView>> {
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let painter = Painter::new(clerk, &node, now);
    let all = painter.lanes();
    let total = all.len() as u64;
    let from = match page.after.as_deref() {
        None => 0,
        Some(after) => {
            let at = all.iter().position(|view| view.lane == after);
            at.ok_or_else(|| find::bad_after(after))? + 1
        }
    };
    let mut items: Vec<LaneView> = all.into_iter().skip(from).collect();
    let more = items.len() > find::limit(page);
    items.truncate(find::limit(page));
    let next = items.last().filter(|_| more).map(|view| view.lane.clone());
    Ok(Page { items, total, next })
}

/// `peer inspect`.
pub(super) async fn peer(clerk: &Clerk<'_>, name: &str) -> Answered<PeerDetail> {
    let id: NodeId = order::peer(name)?;
    let (node, now) = clerk.look().await.map_err(|_| draining())?;
    let oldest = status::oldest(clerk, &node, now).await?;
    let detail = Painter::new(clerk, &node, now).peer_detail(&id, &oldest);
    detail.ok_or_else(|| refusal::order(&relay_core::event::OrderRefused::UnknownPeer(id.clone())))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
