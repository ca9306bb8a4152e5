//! Orders about deliveries: hold, release, cancel, and the deadletter's verbs.
//!
//! What cannot be undone is asked about first, when a person sits there to answer; a bulk
//! verb always says first what it is about.

use edged_rpc::{Acted, Client, ErrorKind, RelayAct, RpcError, Selection, Verb, Which};

use super::Context;
use crate::cli::{
    CancelArgs, DeadletterListArgs, DeadletterVerb, Deliveries, OneDelivery, PurgeArgs, RetryArgs,
};
use crate::exit::{Exit, Failure};
use crate::render::{self, Deed};

pub(super) fn hold(args: Deliveries, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    one(Verb::Hold, args.segment, args.peer, context)
}

pub(super) fn release(args: Deliveries, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    one(Verb::Release, args.segment, args.peer, context)
}

pub(super) fn cancel(args: CancelArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    context.confirm(&format!("cancel {}", args.segment))?;
    one(Verb::Cancel, args.segment, args.peer, context)
}

pub(super) fn deadletter(
    verb: DeadletterVerb,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    match verb {
        DeadletterVerb::List(args) => list(args, context),
        DeadletterVerb::Inspect(args) => inspect(&args, context),
        DeadletterVerb::Retry(args) => retry(args, context),
        DeadletterVerb::Purge(args) => purge(args, context),
        DeadletterVerb::Force(args) => force(args, context),
    }
}

fn list(args: DeadletterListArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let which = args.which.list(args.page);
    let page = context.connect()?.deliveries(&which)?;
    context.print(|json| match json {
        true => render::document("relay.deadletter.list/1", &page),
        false => render::deadletters(&page),
    })
}

fn inspect(args: &OneDelivery, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let view = context.connect()?.deadletter(&args.segment, &args.peer)?;
    context.print(|json| match json {
        true => render::document("relay.deadletter.inspect/1", &view),
        false => render::deadletter(&view),
    })
}

fn force(args: OneDelivery, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    if context.globals.reason.is_none() {
        return Err(Failure::new(
            Exit::Usage,
            "usage",
            "parking a delivery by hand needs a reason".to_owned(),
            "say why with --reason TEXT",
        ));
    }
    context.confirm(&format!("park {} to {}", args.segment, args.peer))?;
    one(Verb::Force, args.segment, Some(args.peer), context)
}

/// A segment is named, and nothing beside it that only a bulk verb can mean.
fn alone(selection: &Selection) -> Result<(), Failure> {
    if *selection == Selection::default() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        "usage",
        "a filter beside a segment".to_owned(),
        "filters go with --all in place of a segment",
    ))
}

fn retry(args: RetryArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let verb = Verb::Retry {
        ttl_seconds: args.ttl,
    };
    let selection = args.bulk.into();
    match args.segment {
        Some(segment) => {
            alone(&selection)?;
            let act = RelayAct {
                verb,
                which: Which::One {
                    segment,
                    peer: args.peer_id,
                },
                dry_run: args.dry_run,
            };
            perform(&act, context)
        }
        None => bulk(verb, selection, args.dry_run, context),
    }
}

fn purge(args: PurgeArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let dry_run = !args.force;
    let selection = args.bulk.into();
    match args.segment_id {
        Some(segment) => {
            alone(&selection)?;
            if args.force {
                context.confirm(&format!("purge {segment} for good"))?;
            }
            let act = RelayAct {
                verb: Verb::Purge,
                which: Which::One {
                    segment,
                    peer: args.peer_id,
                },
                dry_run,
            };
            perform(&act, context)
        }
        None => bulk(Verb::Purge, selection, dry_run, context),
    }
}

fn one(
    verb: Verb,
    segment: String,
    peer: Option<String>,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let act = RelayAct {
        verb,
        which: Which::One { segment, peer },
        dry_run: false,
    };
    perform(&act, context)
}

/// All that match: first what it is about, then, unless that was all, the deed.
fn bulk(
    verb: Verb,
    selection: Selection,
    dry_run: bool,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let mut act = RelayAct {
        verb,
        which: Which::All(selection),
        dry_run: true,
    };
    if dry_run {
        return perform(&act, context);
    }
    let preview = context.connect()?.act(&act, |_| ())?;
    if preview.matched > 0 {
        let deed = Deed::of(verb).for_certain();
        context.say(render::acted(deed, &preview).trim_end());
        let what = format!("{} {}", Deed::of(verb).word(), preview.matched);
        context.confirm(&format!("{what} deliveries"))?;
    }
    act.dry_run = false;
    perform(&act, context)
}

fn perform(act: &RelayAct, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let mut client: Client = context.connect()?;
    let (terminal, json) = (context.console.terminal, context.globals.json());
    let err = &mut *context.console.err;
    let acted = client.act(act, |so_far| {
        if terminal && !json {
            // The data matter, not these words.
            drop(writeln!(err, "{} so far", so_far.changed));
        }
    })?;
    let deed = Deed::of(act.verb);
    context.print(|json| match json {
        true => render::document(deed.schema(), &acted),
        false => render::acted(deed, &acted),
    })?;
    refused(&acted).map_or(Ok(()), |error| Err(error.into()))
}

/// What could not be done is an error, though the rest is done and said.
fn refused(acted: &Acted) -> Option<RpcError> {
    let first = acted.refused.first()?;
    let found = format!(
        "{} of {} could not be done: {}",
        acted.refused_total, acted.matched, first.message
    );
    Some(RpcError::new(ErrorKind::Refused, first.code.clone(), found))
}
