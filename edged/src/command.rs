//! What each subcommand does, down to its exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use certs::UnixTime;
use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use crate::cli::{
    Cli, Command, DemoArgs, FsckArgs, InitArgs, OfflineArgs, OfflineVerb, RunArgs, hostname,
};
use crate::config::{Config, ConfigError, Sources};
use crate::lock::LockError;
use crate::running::Running;
use crate::{daemon, fsck, init, last_panic, offline, signals, telemetry};

/// The config is not valid (surface 1).
const CONFIG_INVALID: u8 = 1;
/// The state folder is not ours, or another process holds it (surface 1).
const STATE_INVALID: u8 = 2;
/// The ledger or a payload is damaged, or still is after a repair.
const DAMAGED: u8 = 4;
/// Anything else: a service manager may try again.
const FAILED: u8 = 70;

/// The whole program: arguments → config → run → exit code.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Run(args) => run(&args),
        Command::Init(args) => init(args),
        Command::Demo(args) => demo(&args),
        Command::Fsck(args) => check(&args),
        Command::Offline(args) => offline(&args),
    }
}

/// The daemon, until a signal.
#[must_use]
pub fn run(args: &RunArgs) -> ExitCode {
    let sources = args.sources(std::env::vars_os(), hostname().as_deref());
    let (config, effective) = match Config::load(&sources) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error.into()),
    };
    telemetry::start(&config.log);
    last_panic::install();
    let running = Running::new(effective, Some(sources));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let stop = CancellationToken::new();
            signals::stop_on_signal(stop.clone())?;
            daemon::run_loaded(config, running, stop).await
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// A working config and a leaf.
#[must_use]
pub fn init(args: InitArgs) -> ExitCode {
    let made = args
        .into_options(hostname().as_deref(), UnixTime::now())
        .and_then(|options| init::init(&options));
    match made {
        Ok(report) => {
            // A closed pipe is a quiet success.
            let _ = writeln!(std::io::stdout(), "{report}");
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
    }
}

/// One question about a node that does not run.
#[must_use]
pub fn offline(args: &OfflineArgs) -> ExitCode {
    let answered = match Config::load(&offline_sources(&args.config)) {
        Ok((config, _)) => match args.verb {
            OfflineVerb::Audit => offline::audit(&config),
        },
        Err(error) => Err(error.into()),
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// The state folder of a node that does not run.
#[must_use]
pub fn check(args: &FsckArgs) -> ExitCode {
    let checked = match Config::load(&offline_sources(&args.config)) {
        Ok((config, _)) => fsck::run(&config, args.repair, args.output),
        Err(error) => Err(error.into()),
    };
    match checked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DAMAGED),
        Err(error) => refuse(&error),
    }
}

fn offline_sources(config: &Path) -> Sources {
    let node = hostname();
    Sources::new()
        .file(config)
        .environment(std::env::vars_os())
        .default_node(node.as_deref().and_then(init::node_from_hostname))
}

/// The main job in one command.
#[must_use]
pub fn demo(args: &DemoArgs) -> ExitCode {
    match crate::demo::run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &anyhow::Error) -> ExitCode {
    // Nobody may be reading; the exit code says it too.
    let _ = writeln!(std::io::stderr(), "edged: {error:#}");
    ExitCode::from(code_of(error))
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<ConfigError>()) {
        CONFIG_INVALID
    } else if error.chain().any(|cause| cause.is::<LockError>()) {
        STATE_INVALID
    } else {
        FAILED
    }
}
