//! JSON: one document a line, `schema` first.

use std::fmt::Write;

use edged_rpc::{
    BookView, Confirmed, InboxView, KeepingView, StatusReport, StatusView, VersionView,
};
use serde::Serialize;

use super::sly;

/// A document: `schema` and the fields of `body`.
pub(crate) fn document<T: Serialize>(schema: &str, body: &T) -> String {
    #[derive(Serialize)]
    struct Document<'a, T> {
        schema: &'a str,
        #[serde(flatten)]
        body: &'a T,
    }
    json_line(&Document { schema, body })
}

/// One line of JSON. Characters a terminal would obey are escaped beyond what JSON asks.
pub(crate) fn json_line<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("views have text keys and finite numbers");
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if sly(c) {
            // Only inside strings: outside them serde_json writes plain ASCII.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(line, "\\u{unit:04x}").expect("a String takes all");
            }
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

/// `relay.status/1`, with `books` when they were asked for.
pub(crate) fn status_json(report: &StatusReport) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(flatten)]
        status: &'a StatusView,
        #[serde(skip_serializing_if = "Option::is_none")]
        books: Option<&'a [BookView]>,
        #[serde(flatten)]
        keeping: &'a KeepingView,
    }
    let StatusReport {
        status,
        books,
        keeping,
    } = report;
    document(
        "relay.status/1",
        &Body {
            status,
            books: books.as_deref(),
            keeping,
        },
    )
}

/// `inbox.take/1`: the items, and what became of their confirmation.
pub(crate) fn taken_json(items: &[InboxView], confirmed: Option<&Confirmed>) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        items: &'a [InboxView],
        total: usize,
        next: Option<&'a str>,
        confirmed: u32,
    }
    let confirmed = confirmed.map_or(0, |confirmed| confirmed.confirmed + confirmed.already);
    document(
        "inbox.take/1",
        &Body {
            items,
            total: items.len(),
            next: None,
            confirmed,
        },
    )
}

/// `inbox.follow/1`: an item and what became of it.
pub(crate) fn followed_json(item: &InboxView, fate: &str) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        fate: &'a str,
        item: &'a InboxView,
    }
    document("inbox.follow/1", &Body { fate, item })
}

/// `version/1`: ours, and the daemon's or null.
pub(crate) fn version_json(ours: &str, rpc: u16, daemon: Option<&VersionView>) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        version: &'a str,
        rpc_version: u16,
        daemon: Option<&'a VersionView>,
    }
    document(
        "version/1",
        &Body {
            version: ours,
            rpc_version: rpc,
            daemon,
        },
    )
}
