//! Logs: one event a line, on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::fmt::time::UtcTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging as the config says. A second call changes nothing.
pub fn start(log: &Log) {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    // A second call changes nothing.
    let _ = RELOAD.set(handle);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().boxed(),
        // journald stamps the time itself.
        LogFormat::Journald => lines.with_ansi(false).without_time().boxed(),
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_timer(stamp())
            .boxed(),
    };
    // A logger that is already there stays: tests start daemons in one process.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
}

/// Changes what is logged from here on.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = RELOAD.get() {
        // The filter of a logger that another one displaced is gone.
        let _ = handle.reload(filter(level));
    }
}

/// How to change the filter of the logger that runs.
static RELOAD: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Ours at the level asked for; the libraries below us only when they warn.
fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    EnvFilter::new(format!("warn,edged={level},certs={level}"))
}

fn stamp() -> impl tracing_subscriber::fmt::time::FormatTime {
    UtcTime::rfc_3339()
}
