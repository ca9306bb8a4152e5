//! Every command in text and JSON, against a daemon of a few lines.

mod ask;
#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use ask::ask;
use edgectl::Exit;
use edged_rpc::{
    Confirmed, InboxConfirm, InboxFilter, InboxList, KeepingView, Ladder, Moment, Page, Paging,
    PauseView, Pausing, PeerList, RelayList, RelayStatus, Request, Response, Scope, SegmentDetail,
    SegmentList, State, StatusReport, StorageView, Success, Target,
};
use fake::Fake;
use sample::*;

const ID: &str = "seg-01010101010101010101010101010101";

#[test]
fn put_streams_standard_input_and_prints_the_id() {
    let put = |args: &[&str]| {
        let fake = Fake::run(|daemon| {
            let Request::Put(put) = daemon.hear() else {
                panic!("not a put")
            };
            assert_eq!(
                put.options.target,
                Target::Peers(vec!["beta".into(), "c".into()])
            );
            assert_eq!(put.options.lane, "alarm");
            assert_eq!(put.options.topic.as_deref(), Some("a/b"));
            assert_eq!(put.options.labels, [("k".to_owned(), "v=w".to_owned())]);
            assert_eq!(put.options.ttl_seconds, Some(3_600));
            assert_eq!(put.options.success, Some(Success::Count(2)));
            assert_eq!((put.key.as_deref(), put.len), (Some("k1"), None));
            daemon.say(&Response::Go);
            assert_eq!(daemon.payload(), b"hello");
            daemon.say(&Response::Accepted(accepted()));
        });
        let said = edgectl_at(&fake.socket, args, b"hello");
        fake.finish();
        said
    };
    let args = "segment put - --peer beta --peer c --lane alarm --topic a/b --label k=v=w \
                --ttl 1h --key k1 --success 2";
    let args: Vec<&str> = args.split_whitespace().collect();

    put(&args).is(Exit::Done, &format!("{ID}\n"), "");
    put(&[&args[..], &["--json"]].concat()).is(
        Exit::Done,
        &format!(
            "{{\"schema\":\"segment.put/1\",\"segment_id\":\"{ID}\",\"durability\":\"synced\",\
             \"digest\":\"{}\",\"known\":false}}\n",
            "02".repeat(32)
        ),
        "",
    );
}

#[test]
fn put_announces_the_length_of_a_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("report.bin");
    std::fs::write(&file, vec![7; 600_000]).expect("a fresh file");
    let fake = Fake::run(|daemon| {
        let Request::Put(put) = daemon.hear() else {
            panic!("not a put")
        };
        assert_eq!(put.options.target, Target::Route("r".into()));
        assert_eq!(put.len, Some(600_000));
        daemon.say(&Response::Go);
        assert_eq!(daemon.payload().len(), 600_000);
        daemon.say(&Response::Accepted(edged_rpc::Accepted {
            known: true,
            ..accepted()
        }));
    });
    let path = file.to_str().expect("plain");

    let said = edgectl_at(&fake.socket, &["segment", "put", path, "--route", "r"], b"");

    said.is(
        Exit::Done,
        &format!("{ID}\n"),
        "known by its key: nothing new was stored\n",
    );
    fake.finish();
}

#[test]
fn segment_list() {
    let run = |args: &[&str]| {
        let page = Page {
            items: vec![segment()],
            total: 12,
            next: Some("n1".into()),
        };
        let which = SegmentList {
            peer: Some("beta".into()),
            state: Some(State::Acked),
            page: Paging {
                limit: 1,
                after: Some("n0".into()),
            },
            ..SegmentList::default()
        };
        ask(args, Request::SegmentList(which), Response::Segments(page))
    };
    let args = [
        "segment",
        "list",
        "--peer=beta",
        "--state=acked",
        "--limit=1",
        "--after=n0",
    ];

    run(&args).is(
        Exit::Done,
        &format!(
            "\
SEGMENT-ID                            LANE     SIZE    PEERS       TOPIC  QUEUED-AT
{ID}  default  3.1 MiB  beta:acked  a/b    1970-01-01T00:00:01.000Z
12 segments (showing 1 of 12)
more: --after n1
"
        )
        .replace("SIZE    PEERS", "   SIZE  PEERS"),
        "",
    );
    let json = run(&[&args[..], &["--output", "json"]].concat());
    json.has(r#"{"schema":"segment.list/1","items":[{"segment_id":"seg-0101"#);
    json.has(r#""labels":{"k":"v"},"len":3250586,"digest":"0202"#);
    json.has(r#""queued_at":"1970-01-01T00:00:01.000Z","expires_at":null,"#);
    json.has(r#""peers":[{"peer_id":"beta","state":"acked"}]}],"total":12,"next":"n1"}"#);
}

#[test]
fn segment_inspect() {
    let run = |args: &[&str]| {
        let detail = SegmentDetail {
            segment: segment(),
            deliveries: vec![delivery_detail()],
        };
        let request = edged_rpc::SegmentInspect {
            segment: "seg-01".into(),
        };
        ask(
            args,
            Request::SegmentInspect(request),
            Response::SegmentDetail(detail),
        )
    };

    run(&["segment", "inspect", "seg-01"]).is(Exit::Done, &format!("\
Segment
  Segment ID:              {ID}
  Origin:                  alpha
  Lane:                    default
  Topic:                   a/b
  Label:                   k=v
  Size:                    3,250,586 bytes (3.1 MiB)
  Digest:                  {}
  Queued At:               1970-01-01T00:00:01.000Z
  Success Condition:       all_peers
  Payload:                 kept

Delivery to beta
  State:                   failed
  Waiting On:              backoff until 1970-01-01T00:00:03.000Z
  Attempt Count:           1
  Rescued:                 true
  First Queued:            1970-01-01T00:00:01.000Z
  Last Updated:            1970-01-01T00:00:02.000Z
  Attempt History
    #1 started: 1970-01-01T00:00:01.000Z completed: 1970-01-01T00:00:02.000Z outcome: ABANDONED
    #2 started: 1970-01-01T00:00:03.000Z completed: 1970-01-01T00:00:04.000Z outcome: FAILED error: no\\u{{1b}}[31m
", "02".repeat(32)), "");
    let json = run(&["segment", "inspect", "seg-01", "--json"]);
    json.has(r#"{"schema":"segment.inspect/1","segment":{"#);
    json.has(r#""outcome":"ABANDONED","error":null,"bytes_sent":9}"#);
    json.has(r#""error":"no\u001b[31m""#);
}

#[test]
fn relay_status() {
    let run = |args: &[&str], books: bool| {
        let books_shown = books.then(|| vec![book()]);
        let report = StatusReport {
            status: status(),
            books: books_shown,
            keeping: KeepingView::default(),
        };
        ask(
            args,
            Request::RelayStatus(RelayStatus { books }),
            Response::Status(report),
        )
    };
    let text = "\
Relay Status
  Enabled:                 true
  Node:                    alpha (boot epoch 7)
  Workers:                 4
  Success Condition:       all_peers
  Durability:              synced

Queue Depth
  Scheduled:               12        (3.1 MiB, oldest 41s)
  Inflight:                2
  Acked:                   847
  Failed:                  3
  Deadletter:              5
  Total:                   869
  Rescued at start:        2

Bandwidth
  Rate Limit:              unlimited
  Daily Quota:             unlimited

Peers
  beta                     up        rtt 1.2 ms   12 waiting   2 inflight
";
    let books = "
Books
  PEER-ID  LANE     PUT  ACKED  DEADLETTER  WAITING  NOT-NEEDED  PURGED  QUARANTINED  HOLDS
  beta     default   21      1           2        3           4       5            6  yes
";

    run(&["relay", "status"], false).is(Exit::Done, text, "");
    run(&["relay", "status", "--books"], true).is(Exit::Done, &format!("{text}{books}"), "");
    let json = run(&["relay", "status", "--json"], false);
    json.has(
        r#"{"schema":"relay.status/1","enabled":true,"node":"alpha","boot_epoch":7,"workers":4,"#,
    );
    json.has(r#""queue_depth":{"scheduled":12,"inflight":2,"acked":847,"failed":3,"deadletter":5,"total":869}"#);
    json.has(r#""rtt_ms":1.2,"#);
    json.has("\"paused\":false,\"pauses\":[],");
    json.has("\"queried_at\":\"1970-01-01T00:00:01.000Z\",\"quarantine\":{\"entries\":0,");
    json.has("\"spools\":[],\"sinks\":[]}\n");
    run(&["relay", "status", "--json", "--books"], true).has(r#""books":[{"peer_id":"beta","#);
}

#[test]
fn relay_status_shows_limits_and_a_disabled_relay() {
    let mut limited = status();
    limited.bandwidth = limits();
    let mut disabled = status();
    disabled.enabled = false;
    let run = |status| {
        let report = StatusReport {
            status,
            books: None,
            keeping: KeepingView::default(),
        };
        let request = Request::RelayStatus(RelayStatus::default());
        ask(&["relay", "status"], request, Response::Status(report))
    };

    run(limited).has(
        "\
  Rate Limit:              1,048,576 bytes/sec (1 MiB/s)
  Daily Quota:             10,737,418,240 bytes (10 GiB)
  Available Tokens:        524,288 (50% of burst)
  Daily Used:              3,221,225,472 (3 GiB / 10 GiB, 30% consumed)
  Throttle Count:          14
  Quota Drops:             0
",
    );
    run(disabled).is(Exit::Done, "relay: disabled\n", "");
}

#[test]
fn relay_status_shows_what_is_paused_and_what_is_full() {
    let mut paused = status();
    paused.paused = true;
    paused.pauses = vec![PauseView {
        scope: Scope {
            peer: Some("beta".into()),
            lane: Some("bulk".into()),
        },
        how: Pausing::Now,
        since: Moment(1_000),
        until: Some(Moment(2_000)),
    }];
    paused.storage = StorageView {
        used_bytes: 9 << 20,
        ceiling_bytes: 10 << 20,
        ladder: Ladder::PutsRefused,
        ..StorageView::default()
    };
    let run = |args: &[&str]| {
        let report = StatusReport {
            status: paused.clone(),
            books: None,
            keeping: KeepingView::default(),
        };
        let request = Request::RelayStatus(RelayStatus::default());
        ask(args, request, Response::Status(report))
    };

    run(&["relay", "status"]).has(
        "\
  Enabled:                 true
  Paused:                  true
  Paused Scope:            peer beta, lane bulk (now) since 1970-01-01T00:00:01.000Z until 1970-01-01T00:00:02.000Z
  Node:                    alpha (boot epoch 7)
  Workers:                 4
  Success Condition:       all_peers
  Durability:              synced
  Storage:                 puts_refused (9 MiB of 10 MiB)
",
    );
    run(&["relay", "status", "--json"]).has(
        r#""paused":true,"pauses":[{"scope":{"peer":"beta","lane":"bulk"},"how":"now","since":"1970-01-01T00:00:01.000Z","until":"1970-01-01T00:00:02.000Z"}],"storage":{"used_bytes":9437184,"#,
    );
}

#[test]
fn relay_status_watches_until_the_daemon_goes() {
    let fake = Fake::run(|daemon| {
        for _ in 0..2 {
            daemon.hear();
            let mut status = status();
            status.enabled = false;
            daemon.say(&Response::Status(StatusReport {
                status,
                books: None,
                keeping: KeepingView::default(),
            }));
        }
        daemon.hear();
    });

    let said = edgectl_at(
        &fake.socket,
        &["relay", "status", "--watch", "--interval=0s"],
        b"",
    );

    assert_eq!(said.out, "relay: disabled\n\nrelay: disabled\n");
    assert_eq!(said.exit, Exit::Refused);
    said.errs("edgectl: the daemon hung up (hung_up)\n");
    fake.finish();
}

#[test]
fn relay_list() {
    let run = |args: &[&str]| {
        let which = RelayList {
            state: Some(State::Failed),
            cause: Some("expired".into()),
            page: Paging {
                limit: 50,
                after: None,
            },
            ..RelayList::default()
        };
        let page = Page {
            items: vec![delivery()],
            total: 1,
            next: None,
        };
        ask(args, Request::RelayList(which), Response::Deliveries(page))
    };
    let args = ["relay", "list", "--state", "failed", "--cause", "expired"];

    run(&args).is(Exit::Done, &format!("\
SEGMENT-ID                            PEER-ID  LANE     STATE   CAUSE  ATTEMPTS     SIZE  WAITING-ON  FIRST-QUEUED              LAST-UPDATED
{ID}  beta     default  failed  -             1  3.1 MiB  backoff     1970-01-01T00:00:01.000Z  1970-01-01T00:00:02.000Z
1 delivery (showing 1 of 1)
"), "");
    run(&[&args[..], &["--json"]].concat()).has(r#"{"schema":"relay.list/1","items":[{"#);
}

#[test]
fn peer_list() {
    let run = |args: &[&str]| {
        let request = PeerList {
            page: Paging {
                limit: 50,
                after: None,
            },
        };
        let page = Page {
            items: vec![peer()],
            total: 1,
            next: None,
        };
        ask(args, Request::PeerList(request), Response::Peers(page))
    };

    run(&["peer", "list"]).is(
        Exit::Done,
        "\
PEER-ID  STATE  ADDRESS     RTT  WAITING  INFLIGHT  ACKED  DEADLETTER  LAST-ERROR
beta     up     h:7443   1.2 ms       12         2    847           5  -
1 peer (showing 1 of 1)
",
        "",
    );
    run(&["peer", "list", "--json"]).has(r#"{"schema":"peer.list/1","items":[{"peer_id":"beta","#);
}

#[test]
fn inbox_list_escapes_what_a_peer_wrote() {
    let run = |args: &[&str]| {
        let mut item = item();
        item.lane = "l\x1b[2J\u{202e}".into();
        let which = InboxList {
            filter: InboxFilter {
                origin: Some("beta".into()),
                ..InboxFilter::default()
            },
            page: Paging {
                limit: 50,
                after: None,
            },
        };
        let page = Page {
            items: vec![item],
            total: 1,
            next: None,
        };
        ask(args, Request::InboxList(which), Response::Inbox(page))
    };

    let text = run(&["inbox", "list", "--origin", "beta"]);
    text.has("SEGMENT-ID ");
    text.has(r"l\u{1b}[2J\u{202e}  ");
    text.has("1 item (showing 1 of 1)\n");
    run(&["inbox", "list", "--origin", "beta", "--json"]).has(r#""lane":"l\u001b[2J\u202e""#);
}

#[test]
fn inbox_confirm_takes_ids_and_prefixes() {
    let run = |args: &[&str], unknown: &[&str]| {
        let ids = edged_rpc::Ids(vec![id()]);
        let which = InboxConfirm {
            ids,
            prefixes: vec!["seg-02".into()],
        };
        let unknown = unknown.iter().map(|&name| name.to_owned()).collect();
        let confirmed = Confirmed {
            confirmed: 1,
            already: 1,
            unknown,
        };
        ask(
            args,
            Request::InboxConfirm(which),
            Response::Confirmed(confirmed),
        )
    };
    let args = ["inbox", "confirm", ID, "seg-02"];

    run(&args, &[]).is(Exit::Done, "confirmed 1  already 1\n", "");
    run(&[&args[..], &["--json"]].concat(), &[]).is(
        Exit::Done,
        "{\"schema\":\"inbox.confirm/1\",\"confirmed\":1,\"already\":1,\"unknown\":[]}\n",
        "",
    );
    let unknown = run(&args, &["seg-02"]);
    assert_eq!(unknown.exit, Exit::NotFound);
    unknown.errs("edgectl: not in the inbox: seg-02 (no_such_item)\n");
}

#[test]
fn version_with_and_without_a_daemon() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let nowhere = dir.path().join("rpc.sock");
    let ours = env!("CARGO_PKG_VERSION");

    edgectl_at(&nowhere, &["version"], b"").is(
        Exit::Done,
        &format!("edgectl {ours} (rpc 1)\nedged   not running\n"),
        "",
    );
    let with = |args: &[&str]| ask(args, Request::Version, Response::Version(version()));
    with(&["version"]).has("edged   0.0.9 (rpc 1, node alpha, boot epoch 7, since 1970-");
    with(&["version", "--json"]).has(r#""daemon":{"version":"0.0.9","rpc_version":1,"#);
}
