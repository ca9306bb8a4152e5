//! Damage, spools and sinks, in text and JSON.

mod ask;
#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use ask::ask;
use edgectl::Exit;
use edged_rpc::*;
use sample::*;

fn entry() -> QuarantineView {
    QuarantineView {
        number: 2,
        found_at: Some(Moment(1_700_000_000_000)),
        what: "owed".into(),
        place: "row pack 7, part -1, peer 1".into(),
        why: "it does not match its checksum".into(),
        peer_id: Some("beta".into()),
        lane: None,
        deliveries: 3,
        bytes: 2_048,
    }
}

#[test]
fn quarantine_is_listed_a_page_at_a_time() {
    let run = |args: &[&str]| {
        let page = Paging {
            limit: 1,
            after: Some("9".into()),
        };
        let answer = Page {
            items: vec![entry()],
            total: 4,
            next: Some("2".into()),
        };
        let request = Request::QuarantineList(QuarantineList { page });
        ask(args, request, Response::Quarantine(answer))
    };
    let args = ["relay", "quarantine", "list", "--limit=1", "--after=9"];

    run(&args).is(
        Exit::Done,
        "\
FOUND-AT                  WHAT  PLACE                        WHY                             PEER-ID  LANE  DELIVERIES  BYTES
2023-11-14T22:13:20.000Z  owed  row pack 7, part -1, peer 1  it does not match its checksum  beta     -              3  2 KiB
4 quarantine entries (showing 1 of 4)
more: --after 2
",
        "",
    );
    run(&[&args[..], &["--json"]].concat()).has(
        r#"{"schema":"relay.quarantine.list/1","items":[{"number":2,"found_at":"2023-11-14T22:13:20.000Z","what":"owed","#,
    );
}

#[test]
fn a_status_shows_damage_and_what_spools_and_sinks_are_at() {
    let keeping = KeepingView {
        quarantine: QuarantineSums {
            entries: 1,
            deliveries: 3,
            bytes: 2_048,
            newest: vec![entry()],
        },
        spools: vec![WayView {
            place: "/var/spool/edged".into(),
            state: WayState::Working,
            since: Moment(1_000),
            done: 12,
            passed_over: 1,
            ..WayView::default()
        }],
        sinks: vec![WayView {
            place: "dir:/out".into(),
            state: WayState::Unable,
            since: Moment(1_000),
            tries: 4,
            in_hand: 2,
            last_error: Some("no such folder\u{1b}[2J".into()),
            last_error_at: Some(Moment(2_000)),
            ..WayView::default()
        }],
    };
    let run = |args: &[&str]| {
        let report = StatusReport {
            status: status(),
            books: None,
            keeping: keeping.clone(),
        };
        let request = Request::RelayStatus(RelayStatus::default());
        ask(args, request, Response::Status(report))
    };

    let text = run(&["relay", "status"]);
    text.has("  Durability:              synced\n  Quarantine:              1 entry, 3 deliveries lost (relay quarantine list)\n");
    text.has(
        "
Spools
  /var/spool/edged         working   12 put   1 passed over   0 in hand   since 1970-01-01T00:00:01.000Z

Sinks
  dir:/out                 unable    0 confirmed   0 refused   2 in hand   since 1970-01-01T00:00:01.000Z
    last error at 1970-01-01T00:00:02.000Z, 4 in a row: no such folder\\u{1b}[2J
",
    );
    let json = run(&["relay", "status", "--json"]);
    json.has(r#""quarantine":{"entries":1,"deliveries":3,"bytes":2048,"newest":[{"number":2,"#);
    json.has(r#""spools":[{"place":"/var/spool/edged","state":"working","#);
    json.has(r#""sinks":[{"place":"dir:/out","state":"unable","since":"1970-01-01T00:00:01.000Z","tries":4,"in_hand":2,"#);
}
