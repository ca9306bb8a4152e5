//! `segment put`, `list`, `inspect`, `get`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use edged_rpc::{ClientError, Durability, Put, PutOptions, SegmentList, Target};

use super::Context;
use crate::cli::{GetArgs, PutArgs, SegmentListArgs, SegmentVerb};
use crate::exit::Failure;
use crate::file::{Whole, sync_folder};
use crate::{render, units};

pub(super) fn perform(verb: SegmentVerb, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    match verb {
        SegmentVerb::Put(args) => put(args, context),
        SegmentVerb::List(SegmentListArgs {
            lane,
            peer,
            state,
            topic,
            page,
        }) => {
            let which = SegmentList {
                lane,
                peer,
                state,
                topic,
                page: page.into(),
            };
            let page = context.connect()?.list(&which)?;
            context.print(|json| match json {
                true => render::document("segment.list/1", &page),
                false => render::segments(&page),
            })
        }
        SegmentVerb::Cancel(args) => super::act::cancel(args, context),
        SegmentVerb::Inspect(args) => {
            let detail = context.connect()?.inspect(&args.segment)?;
            context.print(|json| match json {
                true => render::document("segment.inspect/1", &detail),
                false => render::segment(&detail),
            })
        }
        SegmentVerb::Get(args) => {
            let mut client = context.connect()?;
            let got = write_to(&args, context, |sink| client.get(&args.segment, sink))?;
            match got {
                Some(view) => context.print(|json| match json {
                    true => render::document("segment.get/1", &view),
                    false => String::new(),
                }),
                None => Ok(()),
            }
        }
    }
}

fn put(args: PutArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let options = PutOptions {
        target: match args.route {
            Some(route) => Target::Route(route),
            None => Target::Peers(args.peers),
        },
        lane: args.lane,
        topic: args.topic,
        labels: args.labels,
        ttl_seconds: args.ttl,
        success: args.success,
    };
    let file = args.file.filter(|path| path != Path::new("-"));
    if let Some(folder) = file.as_deref().filter(|path| path.is_dir()) {
        return super::folder::put(folder, &options, args.key.as_deref(), context);
    }
    let source = file.as_deref().map(open).transpose()?;
    let mut client = context.connect()?;
    let accepted = match source {
        Some((file, len)) => {
            let put = Put {
                options,
                key: args.key,
                len,
            };
            client.put_with(put, file.take(len.unwrap_or(u64::MAX)))
        }
        None => {
            let put = Put {
                options,
                key: args.key,
                len: None,
            };
            client.put_with(put, &mut *context.console.stdin)
        }
    }?;
    if accepted.known {
        context.say("known by its key: nothing new was stored");
    }
    if accepted.durability == Durability::Written {
        context.say("stored as `written`: a power cut may still take it");
    }
    context.print(|json| match json {
        true => render::document("segment.put/1", &accepted),
        false => format!("{}\n", accepted.segment_id),
    })
}

/// A file to put, and its length if it is a regular one.
fn open(path: &Path) -> Result<(File, Option<u64>), Failure> {
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        Ok((file, metadata.is_file().then_some(metadata.len())))
    };
    open().map_err(|error| Failure::file("read", path, &error))
}

/// Runs `get` into standard output, or into a file that appears whole or not at all; for
/// a file, gives what `get` gave and says how much came.
pub(super) fn write_to<V: Sized>(
    args: &GetArgs,
    context: &mut Context<'_, '_>,
    get: impl FnOnce(&mut dyn std::io::Write) -> Result<V, ClientError>,
) -> Result<Option<V>, Failure> {
    let Some(path) = args.out.as_deref().filter(|path| *path != Path::new("-")) else {
        get(&mut *context.console.out)?;
        return Ok(None);
    };
    let unusable = |error| Failure::file("write", path, &error);
    let mut file = Whole::create(path).map_err(unusable)?;
    let view = match get(&mut file) {
        Ok(view) => view,
        Err(ClientError::Sink(error)) => return Err(unusable(error)),
        Err(error) => return Err(error.into()),
    };
    let length = file.length().map_err(unusable)?;
    file.finish().map_err(unusable)?;
    sync_folder(path.parent().unwrap_or(path)).map_err(unusable)?;
    context.say(&format!(
        "wrote {} to {}",
        units::bytes(length),
        path.display()
    ));
    Ok(Some(view))
}
