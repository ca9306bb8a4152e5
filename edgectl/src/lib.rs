//! The operator's command line, as a function.
//!
//! `cli` reads the arguments, `request` asks the daemon through `edged-rpc`, `render`
//! prints what it said as text or JSON, `exit` turns what went wrong into a code, a
//! message and a hint. Commands, outputs and codes are those of `surface.md`,
//! sections 1 and 3. Data goes to `out`, words about it to `err`; what a peer wrote is
//! escaped in both. Nothing here knows the relay: every rule is the daemon's.

mod cli;
mod exit;
mod file;
mod render;
mod request;
mod units;

use std::ffi::OsString;
use std::io::{Read, Write};

use clap::Parser;

use cli::Cli;
pub use exit::Exit;
use exit::Failure;

/// Where a command reads and writes.
pub struct Console<'a> {
    /// What `segment put` reads when no file is named.
    pub stdin: &'a mut dyn Read,
    /// Data, nothing else.
    pub out: &'a mut dyn Write,
    /// Words about the data, and errors.
    pub err: &'a mut dyn Write,
    /// Whether `out` is a terminal, so that `--watch` may redraw it.
    pub terminal: bool,
    /// Whether a person sits at `stdin` and `err`, so that what cannot be undone is asked about.
    pub interactive: bool,
}

/// Runs one command; `args` begins with the program's name. `out` is no terminal.
pub fn run<I>(args: I, stdin: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> Exit
where
    I: IntoIterator<Item: Into<OsString>>,
{
    run_on(
        args,
        Console {
            stdin,
            out,
            err,
            terminal: false,
            interactive: false,
        },
    )
}

/// Runs one command on this console; `args` begins with the program's name.
pub fn run_on<I>(args: I, mut console: Console<'_>) -> Exit
where
    I: IntoIterator<Item: Into<OsString>>,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let (json, result) = match Cli::try_parse_from(&args) {
        Ok(cli) => (cli.globals.json(), request::perform(cli, &mut console)),
        Err(error) if !error.use_stderr() => (false, print_help(&error, console.out)),
        Err(error) => (cli::asks_for_json(&args), Err(Failure::usage(&error))),
    };
    let result = result.and_then(|()| console.out.flush().map_err(Failure::output));
    match result {
        Ok(()) => Exit::Done,
        Err(failure) => failure.tell(json, console.err),
    }
}

fn print_help(help: &clap::Error, out: &mut dyn Write) -> Result<(), Failure> {
    write!(out, "{}", help.render()).map_err(Failure::output)
}
