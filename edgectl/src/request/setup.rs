//! `peer`, `lane` and `config`.

use std::fs;
use std::path::Path;

use edged_rpc::{
    ConfigCheck, ConfigShow, KeyView, LaneBudget, LaneList, MAX_PAGE, Page, Paging, PeerList,
};

use super::Context;
use crate::cli::{BudgetArgs, ConfigVerb, LaneVerb, PeerVerb};
use crate::exit::Failure;
use crate::render;

pub(super) fn peer(verb: PeerVerb, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    match verb {
        PeerVerb::List(page) => {
            let page = context.connect()?.peers(&PeerList { page: page.into() })?;
            context.print(|json| match json {
                true => render::document("peer.list/1", &page),
                false => render::peers(&page),
            })
        }
        PeerVerb::Inspect(args) => {
            let detail = context.connect()?.peer(&args.peer)?;
            context.print(|json| match json {
                true => render::document("peer.inspect/1", &detail),
                false => render::peer(&detail),
            })
        }
        PeerVerb::Kick(args) => {
            let changed = context.connect()?.kick(&args.peer)?;
            context.print(|json| match json {
                true => render::peer_changed_json("peer.kick/1", &args.peer, changed),
                false => render::kicked(&args.peer, changed),
            })
        }
        PeerVerb::Drop(args) => {
            context.confirm(&format!("deadletter all that is owed to {}", args.peer))?;
            let changed = context.connect()?.drop_peer(&args.peer)?;
            context.print(|json| match json {
                true => render::peer_changed_json("peer.drop/1", &args.peer, changed),
                false => render::dropped(&args.peer, changed),
            })
        }
    }
}

pub(super) fn lane(verb: LaneVerb, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    match verb {
        LaneVerb::List(page) => {
            let page = context.connect()?.lanes(&LaneList { page: page.into() })?;
            context.print(|json| match json {
                true => render::document("lane.list/1", &page),
                false => render::lanes(&page),
            })
        }
        LaneVerb::SetBudget(args) => budget(args, context),
    }
}

fn budget(args: BudgetArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let what = LaneBudget {
        lane: args.lane,
        bytes_per_day: args.bytes_per_day,
        attempts_per_hour: args.attempts_per_hour,
        dry_run: args.dry_run,
    };
    let limits = context.connect()?.set_lane_budget(what)?;
    context.print(|json| match json {
        true => render::document("lane.set-budget/1", &limits),
        false => render::limits(&limits),
    })
}

pub(super) fn config(verb: ConfigVerb, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Show { origin } => {
            let page = show(context)?;
            context.print(|json| match json {
                true => render::document("config.show/1", &page),
                false => render::config(&page, origin),
            })
        }
        ConfigVerb::Check { file } => {
            let text = read(&file, context)?;
            let name = file.display().to_string();
            let reload = context
                .connect()?
                .check_config(ConfigCheck { name, text })?;
            context.print(|json| match json {
                true => render::document("config.check/1", &reload),
                false => render::reload(&reload),
            })
        }
        ConfigVerb::Reload => {
            let reload = context.connect()?.reload()?;
            context.print(|json| match json {
                true => render::document("config.reload/1", &reload),
                false => render::reload(&reload),
            })
        }
    }
}

/// Every key: a config is short, and half of one is of no use.
fn show(context: &Context<'_, '_>) -> Result<Page<KeyView>, Failure> {
    let mut client = context.connect()?;
    let mut all = Page {
        items: Vec::new(),
        total: 0,
        next: None,
    };
    loop {
        let page = Paging {
            limit: MAX_PAGE,
            after: all.next.take(),
        };
        let found = client.config(&ConfigShow { page })?;
        all.total = found.total;
        all.items.extend(found.items);
        all.next = found.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn read(file: &Path, context: &mut Context<'_, '_>) -> Result<String, Failure> {
    let read = if file == Path::new("-") {
        std::io::read_to_string(&mut *context.console.stdin)
    } else {
        fs::read_to_string(file)
    };
    read.map_err(|error| Failure::file("read", file, &error))
}
