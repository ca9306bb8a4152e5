//! `relay why`, in text and JSON.

mod ask;
#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use ask::ask;
use edgectl::Exit;
use edged_rpc::*;
use sample::*;

fn report() -> WhyReport {
    let reason = |on: &str, text: &str| ReasonView {
        waiting_on: on.into(),
        until: None,
        text: text.into(),
    };
    WhyReport {
        segment_id: id(),
        items: vec![DeliveryWhy {
            peer_id: "beta".into(),
            lane: "bulk".into(),
            state: State::Failed,
            since: Moment(1_700_000_000_000),
            sentence: "no link to beta: it is dialled again in 3.2 s".into(),
            reasons: vec![
                reason("peer_down", "no link to beta: it is dialled again in 3.2 s"),
                reason(
                    "backoff",
                    "resting after a failed attempt: it is tried again in 9.0 s",
                ),
            ],
            ahead: None,
            error: Some("no ack in time\u{1b}[2J".into()),
        }],
        queried_at: Moment(1_700_000_001_000),
    }
}

#[test]
fn why_says_the_sentence_first_and_all_that_holds() {
    let which = RelayWhy {
        segment: "seg-01".into(),
        peer: Some("beta".into()),
    };
    let args = ["relay", "why", "seg-01", "beta"];
    let said = ask(&args, Request::RelayWhy(which), Response::Why(report()));

    said.is(
        Exit::Done,
        "\
seg-01010101010101010101010101010101 to beta: failed since 2023-11-14T22:13:20.000Z
  no link to beta: it is dialled again in 3.2 s
  also: resting after a failed attempt: it is tried again in 9.0 s
  last failed attempt: no ack in time\\u{1b}[2J
",
        "",
    );
}

#[test]
fn why_in_json_lists_all_that_holds() {
    let which = RelayWhy {
        segment: "seg-01".into(),
        peer: None,
    };
    let args = ["--json", "relay", "why", "seg-01"];
    let said = ask(&args, Request::RelayWhy(which), Response::Why(report()));

    said.has(r#"{"schema":"relay.why/1""#);
    said.has(r#""waiting_on":"peer_down""#);
    said.has(r#""waiting_on":"backoff""#);
}

#[test]
fn why_all_ranks_what_blocks() {
    let row = BlockedView {
        waiting_on: "peer_down".into(),
        peer_id: "beta".into(),
        deliveries: 12,
        bytes: 2_048,
        until: None,
        text: "no link to beta: it is expected to dial us".into(),
    };
    let page = Page {
        items: vec![row],
        total: 1,
        next: None,
    };
    let answer = Response::Blocked(page);
    let said = ask(&["relay", "why", "--all"], Request::RelayWhyAll, answer);

    said.has("peer_down");
    said.has("1 reason (showing 1 of 1)");
    for wrong in [&["relay", "why"][..], &["relay", "why", "x", "--all"]] {
        let said = edgectl_at("/nowhere".as_ref(), wrong, b"");
        assert_eq!(said.exit, Exit::Usage, "{wrong:?}");
    }
}
