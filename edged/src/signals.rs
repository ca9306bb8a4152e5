//! Signals: SIGTERM and SIGINT ask the daemon to stop, SIGHUP to read its config again.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::desk::Desk;
use crate::reload;

/// Cancels `stop` at the first SIGTERM or SIGINT.
///
/// # Errors
/// What the operating system said.
pub fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = stop.cancelled() => return,
        };
        info!(signal = name, "Asked to stop");
        stop.cancel();
    });
    Ok(())
}

/// Reads the config again at each SIGHUP, until `stop`. What is wrong with it is logged
/// and changes nothing.
///
/// # Errors
/// What the operating system said.
pub fn reload_on_hangup(desk: Desk, stop: CancellationToken) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = stop.cancelled() => return,
            }
            let own = relay_core::event::Caller::default();
            if let Err(error) = reload::reload(&desk, own).await {
                warn!(%error, "The config is not read again: nothing has changed");
            }
        }
    });
    Ok(())
}
