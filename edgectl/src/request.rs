//! From a command to the daemon and back to the page.
//!
//! One function a noun; each connects when it must, asks once and prints. Order and
//! bounds are the daemon's.

mod inbox;
mod segment;

use std::time::Duration;

use edged_rpc::{Client, ClientError, Hello, PeerList, RelayList, RelayStatus, VERSION};

use crate::Console;
use crate::cli::{Cli, Globals, Noun, PeerVerb, RelayListArgs, RelayVerb, StatusArgs};
use crate::exit::Failure;
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
        Noun::Relay(RelayVerb::Status(args)) => status(&args, &mut context),
        Noun::Relay(RelayVerb::List(args)) => deliveries(args, &mut context),
        Noun::Peer(PeerVerb::List(page)) => {
            let page = context.connect()?.peers(&PeerList { page: page.into() })?;
            context.print(|json| match json {
                true => render::document("peer.list/1", &page),
                false => render::peers(&page),
            })
        }
        Noun::Version => version(&mut context),
    }
}

impl Context<'_, '_> {
    fn connect(&self) -> Result<Client, ClientError> {
        self.connect_within(self.globals.timeout)
    }

    fn connect_within(&self, timeout: Duration) -> Result<Client, ClientError> {
        let hello = Hello {
            operator: self.globals.operator.clone(),
            reason: self.globals.reason.clone(),
            ..Hello::new(concat!("edgectl ", env!("CARGO_PKG_VERSION")))
        };
        Client::connect_as(&self.globals.socket, timeout, &hello)
    }

    /// Prints data: what `render` makes of "as JSON?".
    fn print(&mut self, render: impl FnOnce(bool) -> String) -> Result<(), Failure> {
        let text = render(self.globals.json());
        self.console
            .out
            .write_all(text.as_bytes())
            .map_err(Failure::output)
    }

    /// Says a word about the data, to people only.
    fn say(&mut self, words: &str) {
        if !self.globals.json() {
            // The data matter, not these words.
            drop(writeln!(self.console.err, "{words}"));
        }
    }
}

fn status(args: &StatusArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    // `--watch` waits as long as its operator does.
    let timeout = if args.watch {
        Duration::ZERO
    } else {
        context.globals.timeout
    };
    let mut client = context.connect_within(timeout)?;
    let which = RelayStatus { books: args.books };
    let redraw = context.console.terminal && !context.globals.json();
    for look in 0_u64.. {
        let report = client.status(&which)?;
        context.print(|json| {
            let before = match (json, redraw, look) {
                (false, true, _) => "\x1b[H\x1b[2J",
                (true, _, _) | (false, false, 0) => "",
                (false, false, _) => "\n",
            };
            let page = if json {
                render::status_json(&report)
            } else {
                render::status(&report)
            };
            format!("{before}{page}")
        })?;
        if !args.watch {
            break;
        }
        context.console.out.flush().map_err(Failure::output)?;
        std::thread::sleep(args.interval);
    }
    Ok(())
}

fn deliveries(args: RelayListArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let RelayListArgs {
        state,
        peer,
        lane,
        cause,
        page,
    } = args;
    let which = RelayList {
        state,
        peer,
        lane,
        cause,
        page: page.into(),
    };
    let page = context.connect()?.deliveries(&which)?;
    context.print(|json| match json {
        true => render::document("relay.list/1", &page),
        false => render::deliveries(&page),
    })
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
