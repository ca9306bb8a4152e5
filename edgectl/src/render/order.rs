//! What became of orders, as text; and their JSON where it says more than the answer.

use edged_rpc::{Acted, Changed, LimitView, LimitsChanged, Paused, Pausing, Scope, Verb};
use serde::Serialize;

use super::json::document;
use super::plain;
use super::relay::deadletter_rows;
use crate::units::{bytes, grouped};

/// An order about deliveries, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deed {
    word: &'static str,
    done: &'static str,
    schema: &'static str,
    bulk_hint: &'static str,
    for_certain: bool,
}

impl Deed {
    pub(crate) const fn of(verb: Verb) -> Self {
        let (word, done, schema, bulk_hint) = match verb {
            Verb::Hold => ("hold", "held", "relay.hold/1", ""),
            Verb::Release => ("release", "released", "relay.release/1", ""),
            Verb::Cancel => ("cancel", "cancelled", "segment.cancel/1", ""),
            Verb::Force => ("park", "parked", "relay.deadletter.force/1", ""),
            Verb::Retry { .. } => ("retry", "retried", "relay.deadletter.retry/1", ""),
            Verb::Purge => (
                "purge",
                "purged",
                "relay.deadletter.purge/1",
                "; --force does it",
            ),
        };
        Self {
            word,
            done,
            schema,
            bulk_hint,
            for_certain: false,
        }
    }

    /// The same, to be done as soon as it has been shown what it is about.
    pub(crate) const fn for_certain(mut self) -> Self {
        self.for_certain = true;
        self
    }

    /// What is done: `retry`.
    pub(crate) const fn word(self) -> &'static str {
        self.word
    }

    /// The schema of its document.
    pub(crate) const fn schema(self) -> &'static str {
        self.schema
    }
}

/// What an order about deliveries did, or would do.
pub(crate) fn acted(deed: Deed, acted: &Acted) -> String {
    let mut out = String::new();
    let matched = deliveries(acted.matched);
    if acted.dry_run {
        if !acted.first.is_empty() {
            out += &deadletter_rows(&acted.first);
        }
        let (word, size, hint) = (deed.word, bytes(acted.bytes), deed.bulk_hint);
        out += &match deed.for_certain {
            false => format!("would {word} {matched} ({size}); nothing was changed{hint}\n"),
            true => format!("about to {word} {matched} ({size})\n"),
        };
    } else if acted.changed == 0 && acted.refused_total == 0 {
        out += &match acted.matched {
            0 => "nothing matches\n".to_owned(),
            _ => format!("already {}\n", deed.done),
        };
    } else {
        out += &format!("{} {}", deed.done, deliveries(acted.changed));
        if acted.changed != acted.matched {
            out += &format!(" of {}", acted.matched);
        }
        out.push('\n');
    }
    for skipped in &acted.skipped {
        let (count, cause) = (skipped.count, plain(&skipped.cause));
        out += &format!("passed over {count} {cause}: --cause {cause} takes them\n");
    }
    for refused in &acted.refused {
        let segment = refused.segment_id.map(|id| format!("{id} "));
        let (segment, peer) = (segment.unwrap_or_default(), plain(&refused.peer_id));
        out += &format!("refused {segment}to {peer}: {}\n", plain(&refused.message));
    }
    out
}

fn deliveries(count: u64) -> String {
    match count {
        1 => "1 delivery".to_owned(),
        _ => format!("{} deliveries", grouped(count)),
    }
}

/// `relay config set-bandwidth` and `lane set-budget`.
pub(crate) fn limits(changed: &LimitsChanged) -> String {
    let mut out = format!("applied={}\n", changed.applied);
    for limit in &changed.limits {
        let LimitView {
            name,
            before,
            after,
        } = limit;
        let name = format!("{}:", plain(name));
        let value = |number| amount(&limit.name, number);
        out += &match before == after {
            true => format!("  {name:<21}{} (as before)\n", value(*after)),
            false => format!("  {name:<21}{} (was {})\n", value(*after), value(*before)),
        };
    }
    out
}

fn amount(name: &str, number: u64) -> String {
    match (number, name.contains("bytes")) {
        (0, _) => "unlimited".to_owned(),
        (_, true) => format!("{} ({})", grouped(number), bytes(number)),
        (_, false) => grouped(number),
    }
}

/// `peer beta, lane bulk`, or `everything`.
pub(super) fn scope_words(scope: &Scope) -> String {
    let peer = scope
        .peer
        .as_deref()
        .map(|peer| format!("peer {}", plain(peer)));
    let lane = scope
        .lane
        .as_deref()
        .map(|lane| format!("lane {}", plain(lane)));
    match (peer, lane) {
        (Some(peer), Some(lane)) => format!("{peer}, {lane}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "everything".to_owned(),
    }
}

/// `relay pause`.
pub(crate) fn paused(scope: &Scope, how: Pausing, paused: &Paused) -> String {
    let already = if paused.changed == 0 { "already " } else { "" };
    let flying = match how {
        Pausing::Drain => "what is in flight runs on",
        Pausing::Now => "what was in flight is back in its queue",
    };
    let until = match paused.until {
        Some(until) => format!("until {until}"),
        None => "until relay resume".to_owned(),
    };
    format!(
        "{already}paused {}: {flying}, {until}\n",
        scope_words(scope)
    )
}

/// `relay.pause/1`.
pub(crate) fn paused_json(scope: &Scope, how: Pausing, paused: &Paused) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        scope: &'a Scope,
        how: Pausing,
        #[serde(flatten)]
        paused: &'a Paused,
    }
    document("relay.pause/1", &Body { scope, how, paused })
}

/// `relay resume`.
pub(crate) fn resumed(scope: &Scope, changed: Changed) -> String {
    match changed.changed {
        0 => format!("not paused: {}\n", scope_words(scope)),
        _ => format!("resumed {}\n", scope_words(scope)),
    }
}

/// `relay.resume/1`.
pub(crate) fn resumed_json(scope: &Scope, changed: Changed) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        scope: &'a Scope,
        #[serde(flatten)]
        changed: Changed,
    }
    document("relay.resume/1", &Body { scope, changed })
}

/// `peer kick`.
pub(crate) fn kicked(peer: &str, changed: Changed) -> String {
    match changed.changed {
        0 => format!("no link to {} is up\n", plain(peer)),
        _ => format!("kicked {}: it is dialled anew\n", plain(peer)),
    }
}

/// `peer drop`.
pub(crate) fn dropped(peer: &str, changed: Changed) -> String {
    match changed.changed {
        0 => format!("nothing is owed to {}\n", plain(peer)),
        count => format!(
            "dropped {}: {} deadlettered\n",
            plain(peer),
            deliveries(count)
        ),
    }
}

/// `peer.kick/1`, `peer.drop/1`.
pub(crate) fn peer_changed_json(schema: &str, peer_id: &str, changed: Changed) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        peer_id: &'a str,
        #[serde(flatten)]
        changed: Changed,
    }
    document(schema, &Body { peer_id, changed })
}
