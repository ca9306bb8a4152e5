//! The main job in one command: relay, break things, count what arrived.
//!
//! Two real nodes, `alpha` and `beta`, are two processes of this very program
//! with everything of their own, in a temporary folder. Alpha puts the input, one
//! segment a file. Half way the link is cut and restored, then alpha is killed
//! and started again. When nothing waits any more, both are stopped and started
//! once more, and what beta holds is compared with the sources, read again. The
//! verdict is that comparison's alone: no counter of a node is believed.
//!
//! | file | what it is |
//! |---|---|
//! | `input` | what is relayed |
//! | `stage` | both nodes, and what alpha says of its work |
//! | `node` | one daemon in a process of its own |
//! | `link` | the datagrams between them, to be cut and slowed |
//! | `load` | the putting |
//! | `faults` | the cut and the kill |
//! | `reconcile` | sent against arrived |
//! | `report` | two lines, or one document |
//! | `watch` | waiting, the progress bar, ctrl-C |

mod faults;
mod input;
mod link;
mod load;
mod node;
mod reconcile;
mod report;
mod stage;
mod watch;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use relay_core::units::Rate;

use self::faults::Met;
use self::input::Item;
use self::load::Load;
use self::reconcile::{Findings, Sent};
use self::report::{PeakRss, Report, Run};
use self::stage::{BETA, Plan, Stage};
use self::watch::Watch;
use crate::cli::{DemoArgs, Output};

/// Names that a complaint lists before it says how many more there are.
const NAMED: usize = 10;
/// Connections that read back what beta holds.
const READERS: usize = 4;

/// Runs the demo with this program as its nodes. Whether all went well: nothing
/// lost, doubled or changed, and each fault met deliveries in flight.
///
/// # Errors
/// The input cannot be read, a node does not do what a node does, or a wait
/// found its end.
pub fn run(args: &DemoArgs) -> Result<bool> {
    let binary = std::env::current_exe().context("cannot find this program itself")?;
    run_as(
        args,
        &binary,
        &mut std::io::stdout(),
        &mut std::io::stderr(),
    )
}

/// The same with `binary` as the nodes (it must understand `run --config FILE`),
/// the result on `out` and words about the work on `err`.
///
/// # Errors
/// As [`run`].
pub fn run_as(
    args: &DemoArgs,
    binary: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<bool> {
    let items = Arc::new(input::gather(args)?);
    let plan = Plan {
        binary,
        bytes: items.iter().map(|item| item.len).sum(),
        largest: items.iter().map(|item| item.len).max().unwrap_or(0),
        rate: args.rate.unwrap_or(Rate::UNLIMITED),
        faults: !args.no_faults,
        keep: args.keep,
    };
    let mut watch = Watch::new(items.len() as u64, err)?;
    let mut stage = Stage::raise(&plan, &watch)?;
    let made_up = args.segments.is_some();
    let socket = stage.alpha.socket().to_owned();
    stage.load = Some(Load::begin(&items, socket, BETA, made_up)?);

    let met = match plan.faults {
        true => Some(faults::strike(&mut stage, items.len(), &mut watch)?),
        false => None,
    };
    watch.doing("acked");
    let progress = stage.carry(items.len(), &watch)?;
    let elapsed = stage
        .load()?
        .first_put()
        .map_or(Duration::ZERO, |first| first.elapsed());
    let findings = judge(&mut stage, &items, &plan, &mut watch)?;
    let run = Run {
        seeded: items.len() as u64,
        bytes: plan.bytes,
        progress,
        rescued: met.map_or(0, |met| met.rescued),
        elapsed,
        peak_rss: PeakRss {
            alpha: stage.alpha.peak_rss(),
            beta: stage.beta.peak_rss(),
        },
    };
    watch.done();
    complain(&findings, met.as_ref(), &mut watch);
    print(&Report::new(&run, &findings), args.output, out)?;
    if args.keep {
        let words = farewell(stage);
        match args.output {
            Output::Text => writeln!(out, "{words}").context("standard output")?,
            Output::Json => watch.say(&words),
        }
    }
    Ok(findings.is_clean() && met.is_none_or(|met| met.nothing().is_none()))
}

/// Stops and starts both nodes, then compares the sources, read again, with
/// what beta gives back.
fn judge(
    stage: &mut Stage,
    items: &[Item],
    plan: &Plan<'_>,
    watch: &mut Watch<'_>,
) -> Result<Findings> {
    watch.doing("acked, both nodes restart");
    let names = stage.load.take().context("the load has begun")?.names();
    stage.restart(plan, watch)?;
    watch.say("Both nodes stopped and started once more, comparing sources and arrivals");
    watch.doing("read back");
    let mut sent = Vec::with_capacity(items.len());
    for (item, id) in items.iter().zip(names) {
        watch.go_on()?;
        let id = id.with_context(|| format!("the put of {} was answered", item.name()))?;
        let (len, digest) = item.digest()?;
        sent.push(Sent {
            id,
            name: item.name(),
            len,
            digest,
        });
    }
    let connections = std::iter::repeat_with(|| stage.beta.client()).take(READERS);
    let mut beta = connections.collect::<Result<Vec<_>>>()?;
    let arrived =
        reconcile::read_back(&mut beta, watch).with_context(|| stage.beta.last_words())?;
    Ok(reconcile::reconcile(&sent, &arrived))
}

/// Says what went wrong, if anything did.
fn complain(findings: &Findings, met: Option<&Met>, watch: &mut Watch<'_>) {
    let doubled: Vec<String> = findings
        .duplicates
        .iter()
        .map(ToString::to_string)
        .collect();
    let kinds = [
        ("lost", &findings.lost),
        ("duplicate", &doubled),
        ("other bytes than its source has now", &findings.changed),
    ];
    for (kind, names) in kinds {
        for name in names.iter().take(NAMED) {
            watch.say(&format!("edged: {kind}: {name}"));
        }
        if let Some(more) = names.len().checked_sub(NAMED + 1) {
            watch.say(&format!("edged: {kind}: {} more", more + 1));
        }
    }
    if let Some(why) = met.and_then(Met::nothing) {
        watch.say(&format!("edged: {why}, so this run proves nothing"));
    }
}

fn print(report: &Report, output: Output, out: &mut dyn Write) -> Result<()> {
    let text = match output {
        Output::Text => report.to_string(),
        Output::Json => serde_json::to_string(report).context("the report")?,
    };
    match writeln!(out, "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output")
        }
        // A closed pipe is a quiet success.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Lets the nodes live on, and says how to look at them and how to end them.
fn farewell(stage: Stage) -> String {
    let (alpha, beta) = (
        stage.alpha.socket().display().to_string(),
        stage.beta.socket().display().to_string(),
    );
    let folder = stage.folder().display().to_string();
    let pids = stage.leave().join(" ");
    format!(
        "Both nodes are running, try\n  \
         edgectl --socket {alpha} relay status\n  \
         edgectl --socket {beta} inbox list --limit 5\n  \
         echo hello | edgectl --socket {alpha} segment put - --peer {BETA}\n\
         End them with\n  kill {pids} && rm -r {folder}"
    )
}
