//! The audit as text: entries, sums, verdicts, a table for spreadsheets.

use edged_rpc::{AuditPruned, AuditSums, AuditVerdict, AuditView, Page};

use super::table::{footer, table};
use super::{or_dash, plain};

/// `audit query`.
pub(crate) fn audit(page: &Page<AuditView>) -> String {
    let headings = [
        ">SEQ",
        "TIMESTAMP",
        "EVENT",
        "OUTCOME",
        "WHO",
        "RESOURCE",
        "FIELDS",
        "REASON",
    ];
    let rows = page.items.iter().map(|entry| {
        let uid = entry.uid.map(|uid| format!("uid {uid}"));
        let fields = entry
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        [
            entry.seq.to_string(),
            entry.timestamp.to_string(),
            plain(&entry.event_name),
            plain(&entry.outcome),
            or_dash(entry.actor.as_deref().or(uid.as_deref())),
            plain(&format!("{} {}", entry.resource_type, entry.resource)),
            or_dash(Some(&fields.collect::<Vec<_>>().join(" "))),
            or_dash(entry.reason.as_deref()),
        ]
    });
    table(headings, rows) + &footer(page, "audit entry", "audit entries")
}

/// `audit verify`.
pub(crate) fn audit_verdict(verdict: &AuditVerdict) -> String {
    let head = verdict.head.as_deref().unwrap_or("-");
    match &verdict.fault {
        None if verdict.pruned > 0 => format!(
            "the chain holds: {} entries after {} pruned, the last is {} {head}\n",
            verdict.entries, verdict.pruned, verdict.seq
        ),
        None => format!(
            "the chain holds: {} entries, the last is {} {head}\n",
            verdict.entries, verdict.seq
        ),
        Some(fault) => format!(
            "the chain is broken at entry {}: {}\n",
            verdict.seq,
            plain(fault)
        ),
    }
}

/// `audit summary`.
pub(crate) fn audit_sums(sums: &AuditSums) -> String {
    let mut out = format!("Audit\n  Entries: {}\n", sums.total);
    if let (Some(first), Some(last)) = (sums.first, sums.last) {
        out += &format!("  First:   {first}\n  Last:    {last}\n");
    }
    for (title, counts) in [
        ("Events", &sums.events),
        ("Categories", &sums.categories),
        ("Outcomes", &sums.outcomes),
        ("Operators", &sums.operators),
    ] {
        out += &format!("\n{title}\n");
        for (word, count) in counts {
            out += &format!("  {count:>8}  {}\n", plain(word));
        }
    }
    out
}

/// `audit prune` and `audit archive`.
pub(crate) fn audit_pruned(pruned: &AuditPruned) -> String {
    let AuditPruned {
        count, first, upto, ..
    } = pruned;
    match (count, pruned.applied) {
        (0, _) => "no entry is that old\n".to_owned(),
        (_, true) => format!("pruned {count} entries, {first} to {upto}\n"),
        (_, false) => format!("would prune {count} entries, {first} to {upto} (try --force)\n"),
    }
}

/// All of it for a spreadsheet, which must not take a cell for a formula.
pub(crate) fn audit_csv(all: &[AuditView]) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    let headings = [
        "seq",
        "timestamp",
        "event_name",
        "category",
        "action",
        "outcome",
        "source",
        "actor",
        "uid",
        "resource_type",
        "resource",
        "reason",
        "fields",
        "prev_hash",
        "hash",
    ];
    let mut write = |cells: &[String]| {
        table
            .write_record(cells)
            .expect("a Vec takes all, and every row has as many cells");
    };
    write(&headings.map(str::to_owned));
    for entry in all {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let fields = serde_json::to_string(&entry.fields).expect("fields are text");
        let cells = [
            entry.seq.to_string(),
            entry.timestamp.to_string(),
            entry.event_name.clone(),
            entry.category.clone(),
            entry.action.clone(),
            entry.outcome.clone(),
            entry.source.clone(),
            text(&entry.actor),
            entry.uid.map(|uid| uid.to_string()).unwrap_or_default(),
            entry.resource_type.clone(),
            entry.resource.clone(),
            text(&entry.reason),
            fields,
            entry.prev_hash.clone(),
            entry.hash.clone(),
        ];
        write(&cells.map(|cell| tame(&cell)));
    }
    let bytes = table.into_inner().expect("a Vec is flushed");
    String::from_utf8(bytes).expect("every cell is text")
}

fn tame(cell: &str) -> String {
    match cell.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{cell}"),
        Some(_) | None => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::tame;

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(tame("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(tame("+1"), "'+1");
        assert_eq!(tame("relay.paused"), "relay.paused");
    }
}
