//! Reading the config again: validate, tell the parts, record it, all or nothing.

use relay_core::audit::{AuditEvent, AuditRecord};
use relay_core::event::{Caller, Order, OrderRefused};
use tracing::info;

use crate::clock;
use crate::desk::{Desk, GoingDown};
use crate::running::{Difference, Plan, PlanError};
use crate::telemetry;

/// Why the config that holds is still the old one.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new one is refused, or there is none.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The daemon is going down.
    #[error(transparent)]
    GoingDown(#[from] GoingDown),
    /// The core refuses the change.
    #[error(transparent)]
    Order(#[from] OrderRefused),
}

/// Reads all layers again and makes every live key hold; the others are named in what
/// it answers. `caller` is who asked, for the audit.
///
/// # Errors
/// [`ReloadError`]; nothing has changed then.
pub async fn reload(desk: &Desk, caller: Caller) -> Result<Plan, ReloadError> {
    let plan = desk.running.plan(None)?;
    let at = clock::now().wall;
    let resource = desk.config.node.id.to_string();
    let record = AuditRecord::by(&caller, at, AuditEvent::ConfigReloaded, "config", resource)
        .with("changed", keys(&plan.changed))
        .with("restart", keys(&plan.restart));
    desk.order(caller, Order::Note(record)).await??;
    telemetry::set_level(plan.config.log.level);
    desk.running.take_up(&plan);
    info!(
        changed = keys(&plan.changed),
        restart = keys(&plan.restart),
        "The config was read again"
    );
    Ok(plan)
}

fn keys(differences: &[Difference]) -> String {
    let keys: Vec<&str> = differences.iter().map(|at| at.key.as_str()).collect();
    keys.join(" ")
}
