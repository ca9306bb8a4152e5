//! `audit`: asked of the daemon, or of `edged offline` when none answers.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edged_rpc::{
    AuditAsk, AuditExport, AuditPrune, AuditPruned, AuditQuery, AuditVerdict, AuditView, Client,
    ClientError, Page, Request, Response,
};

use super::Context;
use crate::cli::{ArchiveArgs, AuditArgs, AuditFormat, AuditVerb, ExportArgs};
use crate::exit::{Exit, Failure};
use crate::file::{Whole, sync_folder};
use crate::render;

pub(super) fn perform(args: AuditArgs, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let mut asked = Asked::new(context, args.config)?;
    match args.verb {
        AuditVerb::Query(args) => {
            let filter = args.filter.into();
            let page = args.page.into();
            let page =
                entries(asked.ask(Request::Audit(AuditAsk::Query(AuditQuery { filter, page })))?)?;
            context.print(|json| match json {
                true => render::document("audit.query/1", &page),
                false => render::audit(&page),
            })
        }
        AuditVerb::Verify => verify(&mut asked, context),
        AuditVerb::Summary(filter) => {
            let Response::AuditSums(sums) =
                asked.ask(Request::Audit(AuditAsk::Summary(filter.into())))?
            else {
                return Err(off_script());
            };
            context.print(|json| match json {
                true => render::document("audit.summary/1", &sums),
                false => render::audit_sums(&sums),
            })
        }
        AuditVerb::Export(args) => export(&mut asked, &args, context),
        AuditVerb::Prune(args) => {
            if args.force {
                context.confirm("remove audit entries for good")?;
            }
            let pruned = prune(&mut asked, args.older_than.as_secs(), args.force, None)?;
            context.print(|json| match json {
                true => render::document("audit.prune/1", &pruned),
                false => render::audit_pruned(&pruned),
            })
        }
        AuditVerb::Archive(args) => archive(&mut asked, &args, context),
    }
}

fn verify(asked: &mut Asked, context: &mut Context<'_, '_>) -> Result<(), Failure> {
    let Response::AuditVerdict(verdict) = asked.ask(Request::Audit(AuditAsk::Verify))? else {
        return Err(off_script());
    };
    let AuditVerdict { holds, seq, .. } = verdict;
    context.print(|json| match json {
        true => render::document("audit.verify/1", &verdict),
        false => render::audit_verdict(&verdict),
    })?;
    if holds {
        return Ok(());
    }
    context.flush()?;
    Err(Failure::new(
        Exit::Refused,
        "audit_broken",
        format!("the audit chain is broken at entry {seq}"),
        "keep a copy of the state folder, then compare with what was exported or shipped",
    ))
}

fn export(
    asked: &mut Asked,
    args: &ExportArgs,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let all = collect(asked, u64::MAX)?;
    let text = match args.format {
        AuditFormat::Json => render::document(
            "audit.export/1",
            &Page {
                total: all.len() as u64,
                items: all,
                next: None,
            },
        ),
        AuditFormat::Jsonl => all.iter().map(render::json_line).collect(),
        AuditFormat::Csv => render::audit_csv(&all),
    };
    match args.out.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => write_whole(path, &text),
        None => context.print(|_| text),
    }
}

/// The oldest entries are in a file of their own, synced, before they go.
fn archive(
    asked: &mut Asked,
    args: &ArchiveArgs,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let seconds = args.older_than.as_secs();
    let planned = prune(asked, seconds, false, None)?;
    if planned.count == 0 {
        return context.print(|json| match json {
            true => render::document("audit.archive/1", &planned),
            false => render::audit_pruned(&planned),
        });
    }
    if args.out.exists() {
        return Err(Failure::new(
            Exit::Usage,
            "file_exists",
            format!("{} exists", args.out.display()),
            "an archive is never written over: name another file",
        ));
    }
    let text: String = collect(asked, planned.upto)?
        .iter()
        .map(render::json_line)
        .collect();
    write_whole(&args.out, &text)?;
    let pruned = prune(asked, seconds, true, Some(planned.upto))?;
    context.print(|json| match json {
        true => render::document("audit.archive/1", &pruned),
        false => render::audit_pruned(&pruned),
    })
}

fn collect(asked: &mut Asked, upto: u64) -> Result<Vec<AuditView>, Failure> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = entries(asked.ask(Request::Audit(AuditAsk::Export(AuditExport { after })))?)?;
        all.extend(page.items.into_iter().filter(|entry| entry.seq <= upto));
        match page.next.and_then(|seq| seq.parse().ok()) {
            Some(seq) if seq < upto => after = seq,
            Some(_) | None => return Ok(all),
        }
    }
}

fn prune(
    asked: &mut Asked,
    seconds: u64,
    force: bool,
    upto: Option<u64>,
) -> Result<AuditPruned, Failure> {
    let what = AuditPrune {
        older_than_seconds: seconds,
        force,
        upto,
    };
    let Response::AuditPruned(pruned) = asked.ask(Request::AuditPrune(what))? else {
        return Err(off_script());
    };
    Ok(pruned)
}

fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        let mut file = Whole::create(path)?;
        file.write_all(text.as_bytes())?;
        file.finish()?;
        sync_folder(path.parent().unwrap_or_else(|| Path::new(".")))
    };
    write().map_err(|error| Failure::file("write", path, &error))
}

fn entries(response: Response) -> Result<Page<AuditView>, Failure> {
    let Response::Audit(page) = response else {
        return Err(off_script());
    };
    Ok(page)
}

fn off_script() -> Failure {
    Failure::new(
        Exit::Refused,
        "off_script",
        "the answer is not one of the audit".to_owned(),
        "edged and edgectl may be of different releases",
    )
}

/// Who answers: the daemon, or the ledger's files.
enum Asked {
    Daemon(Box<Client>),
    Files {
        config: PathBuf,
        operator: Option<String>,
        reason: Option<String>,
    },
}

impl Asked {
    fn new(context: &mut Context<'_, '_>, config: PathBuf) -> Result<Self, Failure> {
        match context.connect() {
            Ok(client) => Ok(Self::Daemon(Box::new(client))),
            Err(ClientError::NoDaemon { .. }) if config.exists() => {
                context.say("no daemon answers: reading the ledger's files");
                Ok(Self::Files {
                    config,
                    operator: context.globals.operator(),
                    reason: context.globals.reason.clone(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        match self {
            Self::Daemon(client) => Ok(client.ask(&request)?),
            Self::Files {
                config,
                operator,
                reason,
            } => offline(config, &(request, operator.clone(), reason.clone())),
        }
    }
}

fn offline(
    config: &Path,
    asked: &(Request, Option<String>, Option<String>),
) -> Result<Response, Failure> {
    let failed = |found: String| {
        Failure::new(
            Exit::Refused,
            "offline",
            format!("edged offline: {found}"),
            "is edged installed beside edgectl, and may you read the state folder?",
        )
    };
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|path| path.parent().map(|dir| dir.join("edged")));
    let program = beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("edged"));
    let mut child = Command::new(program)
        .args(["offline", "audit", "--config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let question = postcard::to_stdvec(asked).expect("a question is plain words");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // One that ended already says why on standard error.
    drop(stdin.write_all(&question));
    drop(stdin);
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(render::plain(said.trim())));
    }
    match postcard::from_bytes(&output.stdout) {
        Ok(Response::Error(error)) => Err(ClientError::Refused(error).into()),
        Ok(response) => Ok(response),
        Err(error) => Err(failed(error.to_string())),
    }
}
