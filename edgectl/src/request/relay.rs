//! `relay status`, `list`, `config get`, `config set-bandwidth`, `pause`, `resume`.

use std::time::Duration;

use edged_rpc::{
    Pausing, QuarantineList, RelayBandwidth, RelayList, RelayPause, RelayResume, RelayStatus,
    RelayWhy, Scope, Standing,
};

use super::{Context, act};
use crate::cli::{
    BandwidthArgs, PageArgs, PauseArgs, QuarantineVerb, RelayConfigVerb, RelayListArgs, RelayVerb,
    ScopeArgs, StatusArgs, WhyArgs,
};
use crate::exit::Failure;
use crate::render;

pub(super) fn perform(verb: RelayVerb, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    match verb {
        RelayVerb::Status(args) => status(&args, context),
        RelayVerb::List(args) => deliveries(args, context),
        RelayVerb::Why(args) => why(args, context),
        RelayVerb::Config(RelayConfigVerb::Get) => {
            let view = context.connect()?.relay_config()?;
            context.print(|json| match json {
                true => render::document("relay.config/1", &view),
                false => render::relay_config(&view),
            })
        }
        RelayVerb::Config(RelayConfigVerb::SetBandwidth(args)) => bandwidth(args, context),
        RelayVerb::Pause(args) => pause(args, context),
        RelayVerb::Resume(args) => resume(args, context),
        RelayVerb::Hold(args) => act::hold(args, context),
        RelayVerb::Release(args) => act::release(args, context),
        RelayVerb::Deadletter(verb) => act::deadletter(verb, context),
        RelayVerb::Quarantine(QuarantineVerb::List(page)) => quarantine(page, context),
    }
}

fn quarantine(page: PageArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let which = QuarantineList { page: page.into() };
    let page = context.connect()?.quarantine(&which)?;
    context.print(|json| match json {
        true => render::document("relay.quarantine.list/1", &page),
        false => render::quarantine(&page),
    })
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
        context.flush()?;
        std::thread::sleep(args.interval);
    }
    Ok(())
}

fn why(args: WhyArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let Some(segment) = args.segment else {
        let page = context.connect()?.why_all()?;
        return context.print(|json| match json {
            true => render::document("relay.why.all/1", &page),
            false => render::blocked(&page),
        });
    };
    let which = RelayWhy {
        segment,
        peer: args.peer,
    };
    let report = context.connect()?.why(&which)?;
    context.print(|json| match json {
        true => render::document("relay.why/1", &report),
        false => render::why(&report),
    })
}

fn deliveries(args: RelayListArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let RelayListArgs {
        state,
        peer,
        lane,
        cause,
        topic,
        older_than,
        page,
    } = args;
    let which = RelayList {
        state,
        peer,
        lane,
        cause,
        topic,
        older_than_seconds: older_than,
        page: page.into(),
    };
    let page = context.connect()?.deliveries(&which)?;
    context.print(|json| match json {
        true => render::document("relay.list/1", &page),
        false => render::deliveries(&page),
    })
}

fn bandwidth(args: BandwidthArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let what = RelayBandwidth {
        peer: args.peer,
        bytes_per_second: args.bytes_per_second,
        daily_quota_bytes: args.daily_quota_bytes,
        standing: match (args.reset, args.ephemeral) {
            (true, _) => Standing::Reset,
            (false, true) => Standing::Ephemeral,
            (false, false) => Standing::Stored,
        },
        dry_run: args.dry_run,
    };
    let limits = context.connect()?.set_bandwidth(what)?;
    context.print(|json| match json {
        true => render::document("relay.config.set-bandwidth/1", &limits),
        false => render::limits(&limits),
    })
}

fn pause(args: PauseArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let scope = Scope::from(args.scope);
    let how = if args.now {
        Pausing::Now
    } else {
        Pausing::Drain
    };
    let what = RelayPause {
        scope: scope.clone(),
        how,
        until: args.until,
    };
    let paused = context.connect()?.pause(what)?;
    context.print(|json| match json {
        true => render::paused_json(&scope, how, &paused),
        false => render::paused(&scope, how, &paused),
    })
}

fn resume(args: ScopeArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let scope = Scope::from(args);
    let what = RelayResume {
        scope: scope.clone(),
    };
    let changed = context.connect()?.resume(what)?;
    context.print(|json| match json {
        true => render::resumed_json(&scope, changed),
        false => render::resumed(&scope, changed),
    })
}
