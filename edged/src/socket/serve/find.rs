//! From what people type to what the ledger numbers: prefixes, names, places in a list.

use edged_rpc::{ErrorKind, MAX_PAGE, Paging, RpcError};
use relay_core::change::{Due, Part};
use relay_core::id::{LaneName, LaneNo, NodeId, NodeNo, PackNo, SegmentPrefix};
use relay_core::ledger::{InboxFilter, Inspection, Place};
use relay_core::route::TopicPattern;
use relay_core::time::Unix;

use super::Answered;
use super::clerk::Clerk;
use crate::socket::refusal::invalid;
use crate::transport::Source as _;

/// What the inbox is called among peers (semantics 1).
pub(super) const LOCAL: &str = "local";

/// The one segment whose id begins with `text`, `seg-` or not.
pub(super) async fn one(clerk: &Clerk<'_>, text: &str) -> Answered<Inspection> {
    let prefix = prefix(text)?;
    let mut found = clerk.read(move |reader| reader.inspect(prefix, 2)).await?;
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(no_such(text)),
        (Some(_), Some(_)) => {
            let text: String = text.chars().take(80).collect();
            let error = invalid(
                "ambiguous",
                format!("{text:?} begins more than one segment id"),
            );
            Err(error.with_hint("give more digits"))
        }
    }
}

/// There is no such segment here.
pub(super) fn no_such(text: &str) -> RpcError {
    let text: String = text.chars().take(80).collect();
    RpcError::new(
        ErrorKind::NotFound,
        "no_such_segment",
        format!("no segment {text:?} here"),
    )
    .with_hint("it may be acked and swept; edgectl segment list shows what is here")
}

fn prefix(text: &str) -> Answered<SegmentPrefix> {
    let bare = text.strip_prefix("seg-").unwrap_or(text);
    let parsed = format!("seg-{}", bare.get(..33).unwrap_or(bare)).parse();
    parsed.map_err(|_| {
        let text: String = text.chars().take(80).collect();
        invalid(
            "bad_id",
            format!("{text:?} is not a segment id (seg- and up to 32 hex digits)"),
        )
    })
}

/// A name that a filter asks for.
pub(super) enum Named<T> {
    /// It asks for none in particular.
    Any,
    /// This one.
    One(T),
    /// One that has no rows yet.
    Unused,
}

impl<T> Named<T> {
    fn of(number: Option<T>) -> Self {
        number.map_or(Self::Unused, Self::One)
    }
}

/// The peer of a filter.
pub(super) fn peer(clerk: &Clerk<'_>, name: Option<&str>) -> Answered<Named<NodeNo>> {
    match name {
        None => Ok(Named::Any),
        Some(LOCAL) => Ok(Named::One(NodeNo::LOCAL)),
        Some(name) => {
            let id: NodeId = name.parse().map_err(|why| bad("bad_peer", &why))?;
            match clerk.payloads.node_number(&id) {
                Some(no) => Ok(Named::One(no)),
                None => Err(RpcError::new(
                    ErrorKind::NotFound,
                    "unknown_peer",
                    format!("no peer {name:?} here"),
                )
                .with_hint("edgectl peer list shows the peers")),
            }
        }
    }
}

/// The lane of a filter.
pub(super) fn lane(clerk: &Clerk<'_>, name: Option<&str>) -> Answered<Named<LaneNo>> {
    let Some(name) = name else {
        return Ok(Named::Any);
    };
    let id: LaneName = name.parse().map_err(|why| bad("bad_lane", &why))?;
    match clerk.payloads.lane_number(&id) {
        None if !clerk.config.lanes.contains_key(&id) => {
            let found = format!("no lane {name:?} here");
            Err(RpcError::new(ErrorKind::NotFound, "unknown_lane", found))
        }
        number => Ok(Named::of(number)),
    }
}

/// The ledger's filter for the inbox; `None` when nothing can match.
pub(super) fn inbox(
    clerk: &Clerk<'_>,
    filter: &edged_rpc::InboxFilter,
) -> Answered<Option<InboxFilter>> {
    let origin = match &filter.origin {
        None => Named::Any,
        Some(name) => {
            let id: NodeId = name.parse().map_err(|why| bad("bad_origin", &why))?;
            Named::of(clerk.payloads.node_number(&id))
        }
    };
    let lane = lane(clerk, filter.lane.as_deref())?;
    let topic = topic(filter.topic.as_deref())?;
    Ok(match (some(origin), some(lane)) {
        (Some(origin), Some(lane)) => Some(InboxFilter {
            origin,
            lane,
            topic,
        }),
        (None, _) | (_, None) => None,
    })
}

/// What the filter lets through: all, or one; `None` when nothing can match.
pub(super) fn some<T>(named: Named<T>) -> Option<Option<T>> {
    match named {
        Named::Any => Some(None),
        Named::One(one) => Some(Some(one)),
        Named::Unused => None,
    }
}

/// What a pattern takes; `**` alone takes what has no topic, too.
pub(super) fn topic(pattern: Option<&str>) -> Answered<Option<TopicPattern>> {
    let pattern = pattern.filter(|pattern| *pattern != "**");
    let pattern = pattern.map(|pattern| pattern.parse::<TopicPattern>());
    pattern
        .transpose()
        .map_err(|found| RpcError::new(ErrorKind::Invalid, "bad_topic", found))
}

fn bad(code: &str, why: &dyn std::error::Error) -> RpcError {
    invalid(code, why.to_string())
}

/// So many seconds before `now`.
pub(super) const fn ago(now: Unix, seconds: u64) -> Unix {
    Unix(now.0.saturating_sub(seconds.saturating_mul(1_000)))
}

/// A node by its number.
pub(super) fn node_name(clerk: &Clerk<'_>, no: NodeNo) -> String {
    let name = clerk.payloads.node(no);
    name.map_or_else(|| format!("node {no}"), |name| name.as_str().to_owned())
}

/// A lane by its number.
pub(super) fn lane_name(clerk: &Clerk<'_>, no: LaneNo) -> String {
    let name = clerk.payloads.lane(no);
    name.map_or_else(|| format!("lane {no}"), |name| name.as_str().to_owned())
}

/// How many rows a page may have.
pub(super) fn limit(page: &Paging) -> usize {
    page.limit.min(MAX_PAGE) as usize
}

/// A place in a list as its `next`: pack, part, peer, member.
pub(super) fn show_place((due, member): Place) -> String {
    let part = match due.part {
        Part::Rest => -1,
        Part::Member(member) => i32::from(member),
    };
    format!("{}.{part}.{}.{member}", due.pack, due.peer)
}

/// The place `next` named.
pub(super) fn place(after: Option<&str>) -> Answered<Option<Place>> {
    let Some(text) = after else { return Ok(None) };
    let read = || {
        let mut words = text.split('.');
        let pack = PackNo(words.next()?.parse().ok()?);
        let part = match words.next()?.parse::<i32>().ok()? {
            -1 => Part::Rest,
            member => Part::Member(member.try_into().ok()?),
        };
        let peer = NodeNo(words.next()?.parse().ok()?);
        let member = words.next()?.parse().ok()?;
        let due = Due { peer, pack, part };
        words.next().is_none().then_some((due, member))
    };
    read().map(Some).ok_or_else(|| bad_after(text))
}

/// `after` is not what a page before gave.
pub(super) fn bad_after(text: &str) -> RpcError {
    let text: String = text.chars().take(80).collect();
    invalid("bad_after", format!("{text:?} is no place in this list"))
        .with_hint("pass the `next` of the page before as it came")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_shown() {
        for part in [Part::Rest, Part::Member(9)] {
            let due = Due {
                peer: NodeNo(2),
                pack: PackNo(77),
                part,
            };

            let text = show_place((due, 5));

            assert_eq!(place(Some(&text)).ok().flatten(), Some((due, 5)));
        }
        for bad in ["", "1", "1.2.3", "a.b.c.d", "1.-2.3.4", "1.2.3.4.5"] {
            assert!(place(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_taken_with_and_without_their_word() {
        assert_eq!(prefix("seg-01").ok(), prefix("01").ok());
        for bad in ["", "seg-", "xyz", &"0".repeat(33), &"ä".repeat(40)] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_topic_pattern_has_stars_at_any_level() {
        let text = |pattern| {
            topic(Some(pattern)).map(|topic| topic.map(|topic| topic.as_str().to_owned()))
        };

        for pattern in ["a/b", "a/b/**", "a/*/b", "**/b"] {
            assert_eq!(text(pattern).ok(), Some(Some(pattern.to_owned())));
        }
        assert_eq!(text("**").ok(), Some(None));
        assert!(text("a*").is_err_and(|error| error.code == "bad_topic"));
    }
}
