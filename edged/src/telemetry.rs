//! Logs: one event a line, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::UtcTime;

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging as the config says. A second call changes nothing.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // Ours at the level asked for; the libraries below us only when they warn.
    let ours = format!("warn,edged={level},certs={level}");
    let filter = EnvFilter::new(ours);
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A logger that is already there stays: tests start daemons in one process.
    let _ = match log.format {
        LogFormat::Json => base.json().try_init(),
        // journald stamps the time itself.
        LogFormat::Journald => base.with_ansi(false).without_time().try_init(),
        LogFormat::Text => base
            .with_ansi(std::io::stderr().is_terminal())
            .with_timer(stamp())
            .try_init(),
    };
}

fn stamp() -> impl tracing_subscriber::fmt::time::FormatTime {
    UtcTime::rfc_3339()
}
