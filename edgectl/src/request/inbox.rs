//! `inbox list`, `get`, `take`, `confirm`; `follow` has a file of its own.

use std::io::{self, Write};
use std::path::Path;

use edged_rpc::{Body, ClientError, Confirmed, Id, InboxConfirm, InboxList, InboxTake, InboxView};

use super::Context;
use super::segment::write_to;
use crate::cli::{InboxVerb, TakeArgs};
use crate::exit::{Exit, Failure};
use crate::file::{Whole, sync_folder};
use crate::render;

pub(super) fn perform(verb: InboxVerb, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    match verb {
        InboxVerb::List(args) => {
            let which = InboxList {
                filter: args.which.filter(),
                page: args.page.into(),
            };
            let page = context.connect()?.inbox(&which)?;
            context.print(|json| match json {
                true => render::document("inbox.list/1", &page),
                false => render::inbox(&page),
            })
        }
        InboxVerb::Get(args) => {
            let mut client = context.connect()?;
            let got = write_to(&args, context, |sink| client.inbox_get(&args.segment, sink))?;
            match got {
                Some(view) => context.print(|json| match json {
                    true => render::document("inbox.get/1", &view),
                    false => String::new(),
                }),
                None => Ok(()),
            }
        }
        InboxVerb::Take(args) => match &args.dir {
            None => take(&args, context),
            Some(dir) => take_into(&args, dir, context),
        },
        InboxVerb::Confirm(args) => confirm(&args.segments, context),
        InboxVerb::Follow(args) => super::follow::perform(&args, context),
    }
}

/// Leases items and prints what they are; their bytes are for `inbox get`.
fn take(args: &TakeArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let mut items = Vec::new();
    context.connect()?.take_with(&which(args), |item, _body| {
        items.push(item);
        Ok(())
    })?;
    context.print(|json| match json {
        true => render::taken_json(&items, None),
        false => render::taken(&items),
    })?;
    if !items.is_empty() {
        context.say("leased: fetch each with `inbox get SEG`, then `inbox confirm SEG`");
    }
    Ok(())
}

/// Leases items, makes each two durable files, and only then confirms them. What a
/// failure leaves unconfirmed comes again under the same names.
fn take_into(args: &TakeArgs, dir: &Path, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let unusable = |error| Failure::file("write into", dir, &error);
    // Before anything is leased: a folder that is not there would only cost a lease.
    sync_folder(dir).map_err(unusable)?;
    let mut client = context.connect()?;
    let mut items = Vec::new();
    let taken = client.take_with(&which(args), |item, body| {
        store(dir, &item, body)?;
        items.push(item);
        Ok(())
    });
    let stopped = match taken {
        Ok(_) => None,
        // The daemon broke off, but the conversation and what came before are sound.
        Err(ClientError::Refused(error)) => Some(error),
        Err(ClientError::Sink(error)) => return Err(unusable(error)),
        Err(error) => return Err(error.into()),
    };
    let mut confirmed = Confirmed::default();
    if !items.is_empty() {
        sync_folder(dir).map_err(unusable)?;
        let ids: Vec<Id> = items.iter().map(|item| item.segment_id).collect();
        confirmed = client.confirm(&ids)?;
    }
    context.print(|json| match json {
        true => render::taken_json(&items, Some(&confirmed)),
        false => render::taken(&items),
    })?;
    stopped.map_or(Ok(()), |error| Err(error.into()))
}

/// Names come from the id alone: nothing a peer chose reaches the file system.
fn store(dir: &Path, item: &InboxView, body: &mut Body<'_>) -> io::Result<()> {
    let id = item.segment_id;
    let mut bytes = Whole::create(&dir.join(format!("{id}.bin")))?;
    body.copy_to(&mut bytes)?;
    bytes.finish()?;
    let mut words = Whole::create(&dir.join(format!("{id}.json")))?;
    words.write_all(render::document("inbox.item/1", item).as_bytes())?;
    words.finish()
}

fn confirm(segments: &[String], context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let mut which = InboxConfirm::default();
    for segment in segments {
        match segment.parse() {
            Ok(id) => which.ids.0.push(id),
            Err(_) => which.prefixes.push(segment.clone()),
        }
    }
    let confirmed = context.connect()?.confirm_with(which)?;
    context.print(|json| match json {
        true => render::document("inbox.confirm/1", &confirmed),
        false => format!(
            "confirmed {}  already {}\n",
            confirmed.confirmed, confirmed.already
        ),
    })?;
    if confirmed.unknown.is_empty() {
        return Ok(());
    }
    let message = format!("not in the inbox: {}", confirmed.unknown.join(", "));
    Err(Failure::new(
        Exit::NotFound,
        "no_such_item",
        message,
        "see `edgectl inbox list`",
    ))
}

fn which(args: &TakeArgs) -> InboxTake {
    InboxTake {
        filter: args.which.filter(),
        max: args.max,
        ..InboxTake::default()
    }
}
