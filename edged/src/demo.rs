//! The main job in one command. Being built.

use crate::cli::DemoArgs;

/// Runs it.
///
/// # Errors
/// Always, until it is built.
pub fn run(_args: &DemoArgs) -> anyhow::Result<bool> {
    anyhow::bail!("not built yet")
}
