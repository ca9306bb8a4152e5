//! Verbs that work without a daemon: one question on standard input, one answer on
//! standard output, both as on the socket.
//!
//! `edgectl` runs `edged offline audit --config FILE` when nobody answers at the socket.
//! Questions only read: nothing is migrated, recovered or locked. Pruning takes the
//! lock of the state folder first and writes its own record.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, bail};
use edged_rpc::{AuditPrune, ErrorKind, Request, Response, RpcError};
use relay_core::audit::AuditRecord;
use relay_core::event::Caller;
use relay_core::ledger::{Reader, append_offline, mend_log};

use crate::chronicle;
use crate::clock;
use crate::config::Config;
use crate::lock;

/// The longest question; the longest there is takes some hundred bytes.
const LONGEST: u64 = 64 << 10;

/// Answers one question of the audit.
///
/// # Errors
/// No question can be read, or nobody takes the answer.
pub fn audit(config: &Config) -> Result<()> {
    let mut question = Vec::new();
    std::io::stdin()
        .take(LONGEST)
        .read_to_end(&mut question)
        .context("standard input")?;
    let asked: (Request, Option<String>, Option<String>) =
        postcard::from_bytes(&question).context("standard input holds no question of edgectl")?;
    let (request, operator, reason) = asked;
    let caller = Caller {
        uid: nix::unistd::Uid::current().as_raw(),
        operator,
        reason,
    };
    let response = answer(config, &request, &caller).unwrap_or_else(|error| {
        let message = format!("{error:#}");
        Response::Error(RpcError::new(ErrorKind::Failed, "offline", message))
    });
    let answer = postcard::to_stdvec(&response).context("the answer")?;
    std::io::stdout()
        .write_all(&answer)
        .context("standard output")
}

fn answer(config: &Config, request: &Request, caller: &Caller) -> Result<Response> {
    let dir = &config.node.state_dir;
    if let Request::AuditPrune(what) = request {
        return prune(config, what, caller);
    }
    let Request::Audit(question) = request else {
        bail!("only the audit is asked without a daemon");
    };
    let mut reader = Reader::of_folder(dir)
        .with_context(|| format!("the ledger in {} (has edged run here?)", dir.display()))?;
    Ok(chronicle::answer(&mut reader, question)?)
}

fn prune(config: &Config, what: &AuditPrune, caller: &Caller) -> Result<Response> {
    let dir = &config.node.state_dir;
    let _lock = lock::StateLock::take(dir)?;
    let now = clock::now().wall;
    mend_log(dir).context("nothing is pruned before `edged fsck --repair`, or a start of edged")?;
    let mut reader = Reader::of_folder(dir)?;
    let span = reader.audit_older(chronicle::cut(now, what.older_than_seconds))?;
    let Some(span) = chronicle::chosen(span, what).map_err(anyhow::Error::msg)? else {
        return Ok(Response::AuditPruned(edged_rpc::AuditPruned::default()));
    };
    if what.force {
        let record = AuditRecord::pruned(caller, now, span.upto, span.count, span.last_hash);
        append_offline(dir, Some(span.upto), &record)?;
    }
    Ok(Response::AuditPruned(chronicle::pruned(&span, what.force)))
}
