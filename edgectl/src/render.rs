//! What the daemon said, as text for people and JSON for programs.
//!
//! JSON is the views of `edged-rpc` behind a `schema`, one document a line; text is
//! tables and the layout of `relay status`. Whatever a peer may have written passes
//! through [`plain`] on its way to a terminal.

mod audit;
mod inbox;
mod json;
mod keeping;
mod order;
mod relay;
mod segment;
mod setup;
mod status;
mod table;
mod why;

pub(crate) use audit::{audit, audit_csv, audit_pruned, audit_sums, audit_verdict};
pub(crate) use inbox::{arrival, inbox, taken};
pub(crate) use json::{document, followed_json, json_line, status_json, taken_json, version_json};
pub(crate) use keeping::quarantine;
pub(crate) use order::{
    Deed, acted, dropped, kicked, limits, paused, paused_json, peer_changed_json, resumed,
    resumed_json,
};
pub(crate) use relay::{deadletters, deliveries, peers, version};
pub(crate) use segment::{deadletter, segment, segments};
pub(crate) use setup::{config, lanes, peer, relay_config, reload};
pub(crate) use status::status;
pub(crate) use why::{blocked, why};

/// `text` with everything escaped that could move a cursor, change a colour, hide or
/// reorder characters: controls, separators, zero widths, directions.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if sly(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character does something to a terminal instead of standing in it.
fn sly(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// `plain`, and a dash for nothing.
fn or_dash(text: Option<&str>) -> String {
    match text {
        Some(text) if !text.is_empty() => plain(text),
        Some(_) | None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_could_move_a_terminal_is_escaped() {
        assert_eq!(
            plain("\x1b[2J\r\n\u{9b}1m\u{202e}x"),
            r"\u{1b}[2J\r\n\u{9b}1m\u{202e}x"
        );
        assert_eq!(plain("Pumpe Ä-3 ✓"), "Pumpe Ä-3 ✓");
    }
}
