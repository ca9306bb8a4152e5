//! How the daemon is set, in text and JSON; arrivals followed; words for shells.

mod ask;
#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use std::path::Path;

use ask::ask;
use edgectl::Exit;
use edged_rpc::*;
use fake::{Fake, Session};
use sample::*;

const ID: &str = "seg-01010101010101010101010101010101";

fn key(key: &str, value: &str, origin: &str) -> KeyView {
    KeyView {
        key: key.into(),
        value: value.into(),
        origin: origin.into(),
    }
}

#[test]
fn relay_config_keeps_its_lines() {
    let view = |bandwidth| RelayConfigView {
        enabled: true,
        workers: 4,
        success_condition: "all_peers".into(),
        dial_timeout_ms: 10_000,
        ack_timeout_ms: 30_000,
        bandwidth,
        overrides: vec![key("bandwidth.bytes_per_second", "1048576", "ledger")],
    };
    let run = |args: &[&str], bandwidth| {
        let answer = Response::RelayConfig(view(bandwidth));
        ask(args, Request::RelayConfig, answer)
    };
    let free = BandwidthView {
        unlimited: true,
        ..BandwidthView::default()
    };

    run(&["relay", "config", "get"], limits()).is(
        Exit::Done,
        "\
Relay Config
  Enabled: true
  Workers: 4
  Success Condition: all_peers
  Dial Timeout: 10s
  Ack Timeout: 30s

Bandwidth
  Rate Limit: 1,048,576 bytes/sec (1 MiB/s)
  Daily Quota: 10,737,418,240 bytes (10 GiB)
  Available Tokens: 524,288 (50% of burst)
  Daily Used: 3,221,225,472 (3 GiB / 10 GiB, 30% consumed)
  Throttle Count: 14
  Quota Drops: 0

Stored by operators, over the config
  bandwidth.bytes_per_second = 1048576
",
        "",
    );
    run(&["relay", "config", "get"], free.clone()).has(
        "  Rate Limit: unlimited\n  Daily Quota: unlimited\n  \
         Available Tokens: (n/a — unlimited)\n  Daily Used: 0 (0 B)\n",
    );
    run(&["relay", "config", "get", "--json"], free)
        .has(r#"{"schema":"relay.config/1","enabled":true,"workers":4,"#);
}

#[test]
fn config_shows_every_key_and_where_it_came_from() {
    let run = |args: &[&str]| {
        let fake = Fake::run(|daemon| {
            for (n, next) in [(0, Some("log.level")), (1, None)] {
                let Request::ConfigShow(which) = daemon.hear() else {
                    panic!("no config show")
                };
                assert_eq!(which.page.after.is_some(), n == 1);
                let items = [
                    key("log.level", "info", "built-in"),
                    key("relay.workers", "9", "config /etc/edged/edged.toml:7"),
                ];
                let page = Page {
                    items: items[n..=n].to_vec(),
                    total: 2,
                    next: next.map(str::to_owned),
                };
                daemon.say(&Response::Config(page));
            }
        });
        let said = edgectl_at(&fake.socket, args, b"");
        fake.finish();
        said
    };

    run(&["config", "show"]).is(Exit::Done, "log.level = info\nrelay.workers = 9\n", "");
    run(&["config", "show", "--origin"]).is(
        Exit::Done,
        "\
KEY            VALUE  ORIGIN
log.level      info   built-in
relay.workers  9      config /etc/edged/edged.toml:7
",
        "",
    );
    run(&["config", "show", "--json"]).has(r#""total":2,"next":null}"#);
}

#[test]
fn config_is_checked_and_reloaded() {
    let change = |key: &str, before: &str, after: &str| KeyChange {
        key: key.into(),
        before: before.into(),
        after: after.into(),
    };
    let answer = move |applied| ReloadView {
        applied,
        changed: vec![change("log.level", "info", "debug")],
        restart: vec![change("http.listen", "", "127.0.0.1:9465")],
        shadowed: vec!["bandwidth.bytes_per_second".into()],
    };
    let file = ConfigCheck {
        name: "-".into(),
        text: "[log]\n".into(),
    };
    let fake = Fake::run(move |daemon| {
        assert_eq!(daemon.hear(), Request::ConfigCheck(file));
        daemon.say(&Response::Reload(answer(false)));
    });
    let checked = edgectl_at(&fake.socket, &["config", "check", "-"], b"[log]\n");
    fake.finish();
    let reload = |args: &[&str], answer| ask(args, Request::ConfigReload, Response::Reload(answer));

    checked.is(
        Exit::Done,
        "\
valid; nothing was changed
  log.level: info -> debug (would hold at once)
  http.listen: - -> 127.0.0.1:9465 (would hold from the next start)
  bandwidth.bytes_per_second is shadowed: an operator stored another value (reset it to undo)
",
        "",
    );
    reload(&["config", "reload"], answer(true))
        .has("reloaded\n  log.level: info -> debug (holds now)\n");
    reload(
        &["config", "reload"],
        ReloadView {
            applied: true,
            ..ReloadView::default()
        },
    )
    .is(Exit::Done, "reloaded\n  no key differs\n", "");
    reload(&["config", "reload", "--json"], answer(true))
        .has(r#"{"schema":"config.reload/1","applied":true,"#);
    let missing = edgectl_at(Path::new("/nowhere"), &["config", "check", "/nowhere"], b"");
    missing.errs("edgectl: cannot read /nowhere: ");
}

#[test]
fn lanes_and_one_peer_are_shown() {
    let lane = LaneView {
        lane: "bulk".into(),
        class: 6,
        weight: 1,
        ttl_seconds: Some(7_200),
        budget: 8,
        depth: ByState {
            scheduled: 3,
            failed: 1,
            ..ByState::default()
        },
        bytes: ByState {
            scheduled: 4_096,
            ..ByState::default()
        },
        bytes_per_day: 1 << 30,
        bytes_used: 1 << 20,
        attempts_per_hour: 0,
        attempts_used: 0,
        opens_at: None,
        paused: true,
    };
    let which = LaneList {
        page: Paging {
            limit: 50,
            after: None,
        },
    };
    let page = Page {
        items: vec![lane],
        total: 1,
        next: None,
    };
    let lanes = ask(
        &["lane", "list"],
        Request::LaneList(which),
        Response::Lanes(page),
    );
    let detail = PeerDetail {
        peer: peer(),
        configured: true,
        addresses: vec!["h:7443".into(), "g:7443".into()],
        redial_at: None,
        busy_until: Some(Moment(9_000)),
        busy_why: Some("inbox_full".into()),
        bandwidth: BandwidthView {
            bytes_per_second: 65_536,
            daily_quota_bytes: 1 << 30,
            daily_used_bytes: 1 << 20,
            ..limits()
        },
        windows: vec!["22:00-06:00 Europe/Berlin".into()],
        unsettled: 3,
        lanes: vec![PeerLaneView {
            lane: "bulk".into(),
            depth: status().queue_depth,
            bytes: ByState::default(),
        }],
    };
    let request = Request::PeerInspect(PeerInspect {
        peer: "beta".into(),
    });
    let one = ask(
        &["peer", "inspect", "beta"],
        request,
        Response::PeerDetail(detail),
    );

    lanes.is(
        Exit::Done,
        "\
LANE  CLASS  WEIGHT  TTL    BUDGET  WAITING  BYTES  BYTES-PER-DAY   ATTEMPTS-PER-HOUR  PAUSED
bulk      6       1  2h00m       8        4  4 KiB  1 MiB of 1 GiB  unlimited          yes
1 lane (showing 1 of 1)
",
        "",
    );
    one.is(
        Exit::Done,
        "\
Peer
  Peer ID:                 beta
  State:                   up
  In Config:               true
  Address:                 h:7443
  Addresses:               h:7443, g:7443
  RTT:                     1.2 ms
  Last Error:              -
  Waiting On:              turn
  Busy:                    inbox_full until 1970-01-01T00:00:09.000Z
  Rate Limit:              65,536 bytes/sec (64 KiB/s)
  Daily Quota:             1 MiB of 1 GiB used
  Throttle Count:          14
  Quota Drops:             0
  Windows:                 22:00-06:00 Europe/Berlin
  Unsettled:               3

Lanes
  LANE  SCHEDULED  INFLIGHT  FAILED  ACKED  DEADLETTER  BYTES
  bulk         12         2       3    847           5    0 B
",
        "",
    );
}

fn wait(ready: bool, limit: u32, after: Option<&str>) -> Request {
    Request::InboxWait(InboxWait {
        ready,
        seconds: MAX_WAIT_SECONDS,
        page: Paging {
            limit,
            after: after.map(str::to_owned),
        },
        ..InboxWait::default()
    })
}

#[test]
fn follow_prints_what_arrives_and_leases_nothing() {
    let fake = Fake::run(|daemon| {
        let page = |items, next: &str| {
            Response::Inbox(Page {
                items,
                total: 1,
                next: Some(next.into()),
            })
        };
        assert_eq!(daemon.hear(), wait(false, 2, None));
        daemon.say(&page(vec![item()], "n1"));
        assert_eq!(daemon.hear(), wait(false, 1, Some("n1")));
        daemon.say(&Response::Inbox(Page {
            items: vec![],
            total: 0,
            next: None,
        }));
        assert_eq!(daemon.hear(), wait(false, 1, Some("n1")));
        daemon.say(&page(vec![item()], "n2"));
    });

    let said = edgectl_at(&fake.socket, &["inbox", "follow", "--max", "2"], b"");

    let line = format!("1970-01-01T00:00:01.000Z {ID}  beta  default  -  3 B  ready\n");
    said.is(Exit::Done, &line.repeat(2), "");
    fake.finish();
}

/// Hands out one item with these bytes.
fn hand_out(daemon: &mut Session, bytes: &[u8]) {
    let Request::InboxTake(take) = daemon.hear() else {
        panic!("no take")
    };
    assert_eq!(take.lease_seconds, Some(90));
    daemon.say(&Response::Items(vec![item()]));
    daemon.send_raw(bytes);
    daemon.send_raw(b"");
    daemon.say(&Response::Done);
}

#[test]
fn follow_hands_each_item_to_a_command_and_confirms_what_it_did() {
    let fake = Fake::run(|daemon| {
        hand_out(daemon, b"abc");
        let Request::InboxConfirm(confirm) = daemon.hear() else {
            panic!("no confirmation")
        };
        assert_eq!(confirm.ids.0, [id()]);
        daemon.say(&Response::Confirmed(Confirmed::default()));
    });
    let check = "test \"$(cat)\" = abc && test $EDGED_SEGMENT_ID = $1 && test $EDGED_ORIGIN = beta \
                 && test $EDGED_LEN = 3 && test $EDGED_LABELS = {}";
    let args = [
        "inbox", "follow", "--max", "1", "--exec", "sh", "-c", check, "sh", ID,
    ];

    let said = edgectl_at(&fake.socket, &args, b"");

    said.is(Exit::Done, &format!("{ID} confirmed\n"), "");
    fake.finish();
}

#[test]
fn a_command_that_is_not_there_ends_following() {
    let fake = Fake::run(|daemon| {
        let Request::InboxTake(_) = daemon.hear() else {
            panic!("no take")
        };
        daemon.say(&Response::Items(vec![item()]));
        daemon.send_raw(b"abc");
        daemon.until_gone();
    });
    let args = ["inbox", "follow", "--exec", "/nowhere/at-all"];

    let said = edgectl_at(&fake.socket, &args, b"");

    assert_eq!(said.exit, Exit::Refused);
    said.errs("edgectl: cannot run /nowhere/at-all: No such file");
    fake.finish();
}

#[test]
fn shells_get_words_to_complete() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = edgectl_at(Path::new("/nowhere"), &["completions", shell], b"");

        said.has("deadletter");
        said.has("set-bandwidth");
    }
    let wrong = edgectl_at(Path::new("/nowhere"), &["completions", "csh"], b"");
    assert_eq!(wrong.exit, Exit::Usage);
}
