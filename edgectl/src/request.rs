//! From a command to the daemon and back to the page.
//!
//! One function a noun; each connects when it must, asks once and prints. Order and
//! bounds are the daemon's.

mod act;
mod audit;
mod folder;
mod follow;
mod inbox;
mod relay;
mod segment;
mod setup;

use std::time::Duration;

use clap::CommandFactory as _;
use clap_complete::Shell;
use edged_rpc::{Client, ClientError, Hello, Producer, VERSION};

use crate::Console;
use crate::cli::{Cli, Globals, Noun};
use crate::exit::{Exit, Failure};
use crate::render;

/// What a command needs beside its own arguments.
struct Context<'a, 'b> {
    globals: Globals,
    console: &'a mut Console<'b>,
}

/// Does what the command line says.
pub(crate) fn perform(cli: Cli, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut context = Context {
        globals: cli.globals,
        console,
    };
    match cli.noun {
        Noun::Segment(verb) => segment::perform(verb, &mut context),
        Noun::Inbox(verb) => inbox::perform(verb, &mut context),
        Noun::Relay(verb) => relay::perform(verb, &mut context),
        Noun::Peer(verb) => setup::peer(verb, &mut context),
        Noun::Lane(verb) => setup::lane(verb, &mut context),
        Noun::Config(verb) => setup::config(verb, &mut context),
        Noun::Audit(args) => audit::perform(args, &mut context),
        Noun::Completions { shell } => completions(shell, &mut context),
        Noun::Version => version(&mut context),
    }
}

impl Context<'_, '_> {
    fn connect(&self) -> Result<Client, ClientError> {
        self.connect_within(self.globals.timeout)
    }

    fn connect_within(&self, timeout: Duration) -> Result<Client, ClientError> {
        Client::connect_as(&self.globals.socket, timeout, &self.hello())
    }

    /// Puts that are tried again for as long as `--timeout` says.
    fn producer(&self) -> Producer {
        Producer::new(&self.globals.socket)
            .greeting(self.hello())
            .patient_for(self.globals.timeout)
            .stalled_after(self.globals.timeout)
    }

    fn hello(&self) -> Hello {
        Hello {
            operator: self.globals.operator(),
            reason: self.globals.reason.clone(),
            ..Hello::new(concat!("edgectl ", env!("CARGO_PKG_VERSION")))
        }
    }

    /// Prints data: what `render` makes of "as JSON?".
    fn print(&mut self, render: impl FnOnce(bool) -> String) -> Result<(), Failure> {
        let text = render(self.globals.json());
        self.console
            .out
            .write_all(text.as_bytes())
            .map_err(Failure::output)
    }

    /// Sends on what has been printed.
    fn flush(&mut self) -> Result<(), Failure> {
        self.console.out.flush().map_err(Failure::output)
    }

    /// Asks before what cannot be undone, if a person sits there and has not said `--yes`.
    fn confirm(&mut self, deed: &str) -> Result<(), Failure> {
        if !self.console.interactive || self.globals.yes {
            return Ok(());
        }
        // Without a question that can be read there is no answer either.
        drop(write!(self.console.err, "{deed}? [y/N] "));
        drop(self.console.err.flush());
        let mut answer = Vec::new();
        let mut byte = [0];
        while answer.len() < 16 && matches!(self.console.stdin.read(&mut byte), Ok(1)) {
            if byte[0] == b'\n' {
                break;
            }
            answer.push(byte[0]);
        }
        match answer.trim_ascii() {
            b"y" | b"Y" | b"yes" => Ok(()),
            _ => Err(Failure::new(
                Exit::Refused,
                "not_confirmed",
                format!("not confirmed: {deed}"),
                "say --yes to be asked nothing",
            )),
        }
    }

    /// Says a word about the data, to people only.
    fn say(&mut self, words: &str) {
        if !self.globals.json() {
            // The data matter, not these words.
            drop(writeln!(self.console.err, "{words}"));
        }
    }
}

fn completions(shell: Shell, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let mut words = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "edgectl", &mut words);
    context
        .console
        .out
        .write_all(&words)
        .map_err(Failure::output)
}

/// Our own version needs no daemon; the daemon's is added when one answers.
fn version(context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let daemon = match context.connect() {
        Ok(mut client) => Some(client.version()?),
        Err(ClientError::NoDaemon { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let ours = env!("CARGO_PKG_VERSION");
    context.print(|json| match json {
        true => render::version_json(ours, VERSION, daemon.as_ref()),
        false => render::version(ours, VERSION, daemon.as_ref()),
    })
}
