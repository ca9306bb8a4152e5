//! `edged fsck`: what a state folder is worth, said without a daemon.
//!
//! Holds the lock of the folder meanwhile. Looking changes nothing; `--repair` does what
//! a start would do about damage and removes what nothing names, never what is owed.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use relay_core::ledger::{Care, Checked, fsck_look, fsck_repair};
use serde_json::{Value, json};

use crate::cli::Output;
use crate::config::Config;
use crate::lock::StateLock;
use crate::{clock, daemon};

/// Checks, or repairs, the folder of `config`; whether all of it is sound now.
///
/// # Errors
/// The folder is not ours, is held by a daemon, or cannot be read; nobody takes the
/// answer.
pub(crate) fn run(config: &Config, repair: bool, output: Output) -> Result<bool> {
    let dir = &config.node.state_dir;
    anyhow::ensure!(
        dir.is_dir(),
        "state_dir {} is not there (has edged run here?)",
        dir.display()
    );
    let _lock = StateLock::take(dir)?;
    let options = daemon::ledger_options(config)?;
    let checked = if repair {
        fsck_repair(dir, &options, clock::now().wall)
    } else {
        fsck_look(dir, &options)
    };
    let checked = checked.with_context(|| format!("the ledger in {}", dir.display()))?;
    let words = match output {
        Output::Text => text(&checked, repair),
        Output::Json => format!("{}\n", document(&checked, repair)),
    };
    std::io::stdout()
        .write_all(words.as_bytes())
        .context("standard output")?;
    Ok(if repair {
        checked.bad.is_empty()
    } else {
        checked.is_sound()
    })
}

fn text(checked: &Checked, repair: bool) -> String {
    let mut lines = Vec::new();
    let care = &checked.care;
    let done = if repair { "" } else { "would be " };
    if let Some(migrated) = &care.migrated {
        let (from, to) = (migrated.from, migrated.to);
        lines.push(format!("schema: {done}taken from {from} to {to}"));
        if let (true, Ok(copy)) = (repair, &migrated.copy) {
            lines.push(format!("what it was is kept: {}", copy.display()));
        }
    }
    if care.mended > 0 {
        lines.push(format!(
            "write-ahead log: {} words {done}put right",
            care.mended
        ));
    }
    if care.reindexed {
        lines.push(format!("indexes: {done}built anew"));
    }
    if care.recounted {
        lines.push(format!("books: {done}made to agree with the rows"));
    }
    for path in &care.set_aside {
        lines.push(format!(
            "not a file of ours: {} {done}set aside",
            path.display()
        ));
    }
    if let Some(salvaged) = &care.salvaged {
        lines.push(format!(
            "database: {}; {done}set aside and rebuilt from {} rows",
            salvaged.why, salvaged.rows
        ));
    }
    for entry in &care.quarantined {
        lines.push(format!(
            "quarantine: {} ({}): {}, {} deliveries",
            entry.what, entry.place, entry.why, entry.segments
        ));
    }
    if care.unnamed > 0 {
        lines.push(format!(
            "the log holds {} packs that no row names: a crash cut a group short, or the database is older than its log",
            care.unnamed
        ));
    }
    for bad in &checked.bad {
        lines.push(format!(
            "pack {} ({}): {}, {} deliveries wait for it",
            bad.pack, bad.place, bad.why, bad.owed
        ));
    }
    let verb = if repair {
        "removed"
    } else {
        "would be removed"
    };
    for path in &checked.orphans {
        lines.push(format!("named by nobody: {} {verb}", path.display()));
    }
    lines.push(format!(
        "{} packs read, {} B, {} damaged; {} deliveries lost to damage",
        checked.packs,
        checked.bytes,
        checked.bad.len(),
        care.segments()
    ));
    for (_, peer, count) in &checked.owed {
        let again = if care.salvaged.is_some() {
            "offered again"
        } else {
            "waiting"
        };
        lines.push(format!("{count} {again} for {peer}"));
    }
    let sound = checked.is_sound() || repair && checked.bad.is_empty();
    lines.push(if sound {
        "sound".into()
    } else {
        "damaged".into()
    });
    lines.join("\n") + "\n"
}

fn document(checked: &Checked, repair: bool) -> Value {
    let Care {
        mended,
        reindexed,
        recounted,
        set_aside,
        salvaged,
        quarantined,
        migrated,
        unnamed,
    } = &checked.care;
    let owed: BTreeMap<&str, u64> = checked
        .owed
        .iter()
        .map(|(_, peer, count)| (peer.as_str(), *count))
        .collect();
    json!({
        "schema": "fsck/1",
        "repaired": repair,
        "sound": checked.is_sound() || repair && checked.bad.is_empty(),
        "migrated": migrated.as_ref().map(|done| json!({
            "from": done.from,
            "to": done.to,
            "copy": done.copy.as_ref().ok(),
        })),
        "wal_words_mended": mended,
        "reindexed": reindexed,
        "recounted": recounted,
        "set_aside": set_aside,
        "salvaged": salvaged.as_ref().map(|done| json!({
            "why": done.why,
            "rows": done.rows,
            "unreadable_pages": done.unreadable,
            "set_aside": done.set_aside,
        })),
        "quarantined": quarantined.iter().map(|entry| json!({
            "what": entry.what,
            "place": entry.place,
            "why": entry.why,
            "pack": entry.pack.map(|pack| pack.0),
            "segments": entry.segments,
        })).collect::<Vec<_>>(),
        "unnamed_packs": unnamed,
        "lost_segments": checked.care.segments(),
        "packs": checked.packs,
        "bytes": checked.bytes,
        "damaged": checked.bad.iter().map(|bad| json!({
            "pack": bad.pack.0,
            "place": bad.place,
            "why": bad.why,
            "waiting": bad.owed,
        })).collect::<Vec<_>>(),
        "orphans": checked.orphans,
        "waiting": owed,
    })
}
