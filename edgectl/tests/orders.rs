//! What operators order, in text and JSON, against a daemon of a few lines.

mod ask;
#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use std::path::Path;

use ask::ask;
use edgectl::{Console, Exit, run_on};
use edged_rpc::{
    Acted, Changed, DeadletterInspect, DeadletterView, DeliveryView, LaneBudget, LimitView,
    LimitsChanged, Moment, Page, Paging, Paused, Pausing, PeerDrop, PeerKick, RefusedView,
    RelayAct, RelayBandwidth, RelayList, RelayPause, RelayResume, Request, Response, Scope,
    Selection, Skipped, Standing, State, Until, Verb, Which,
};
use fake::Fake;
use sample::*;

const ID: &str = "seg-01010101010101010101010101010101";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn parked() -> DeliveryView {
    DeliveryView {
        state: State::Deadletter,
        cause: Some("retries_exhausted".into()),
        waiting_on: vec![],
        attempt_count: 8,
        ..delivery()
    }
}

fn act(verb: Verb, segment: &str, peer: Option<&str>) -> RelayAct {
    RelayAct {
        verb,
        which: Which::One {
            segment: segment.into(),
            peer: peer.map(str::to_owned),
        },
        dry_run: false,
    }
}

fn done(changed: u64) -> Acted {
    Acted {
        matched: 1,
        bytes: 3,
        changed,
        first: vec![parked()],
        ..Acted::default()
    }
}

#[test]
fn each_verb_asks_for_itself_and_says_what_it_did() {
    let retry = Verb::Retry { ttl_seconds: None };
    let ttl = Verb::Retry {
        ttl_seconds: Some(3_600),
    };
    let known = [
        ("relay hold s beta", Verb::Hold, "held"),
        ("relay release s beta", Verb::Release, "released"),
        ("segment cancel s --peer beta", Verb::Cancel, "cancelled"),
        (
            "relay deadletter force s beta --reason x",
            Verb::Force,
            "parked",
        ),
        ("relay deadletter retry s beta", retry, "retried"),
        ("relay deadletter retry s beta --ttl 1h", ttl, "retried"),
        (
            "relay deadletter purge --segment-id s --peer-id beta --force",
            Verb::Purge,
            "purged",
        ),
    ];
    for (line, verb, word) in known {
        let run = |changed, json: bool| {
            let mut args = words(line);
            if json {
                args.push("--json");
            }
            let request = Request::RelayAct(act(verb, "s", Some("beta")));
            ask(&args, request, Response::Acted(done(changed)))
        };

        run(1, false).is(Exit::Done, &format!("{word} 1 delivery\n"), "");
        run(0, false).is(Exit::Done, &format!("already {word}\n"), "");
        run(1, true).has(r#""dry_run":false,"matched":1,"bytes":3,"changed":1,"#);
    }
}

#[test]
fn a_verb_without_a_peer_is_about_every_peer() {
    for (line, verb) in [
        ("relay hold s", Verb::Hold),
        ("relay release s", Verb::Release),
        ("segment cancel s", Verb::Cancel),
    ] {
        let request = Request::RelayAct(act(verb, "s", None));
        let said = ask(&words(line), request, Response::Acted(done(1)));
        assert_eq!(said.exit, Exit::Done);
    }
}

#[test]
fn a_purge_without_force_only_says_which() {
    let request = RelayAct {
        dry_run: true,
        ..act(Verb::Purge, "s", Some("beta"))
    };
    let answer = Acted {
        dry_run: true,
        changed: 0,
        ..done(0)
    };
    let args = words("relay deadletter purge --segment-id s --peer-id beta");

    let said = ask(&args, Request::RelayAct(request), Response::Acted(answer));

    said.is(Exit::Done, &format!("\
SEGMENT-ID                            PEER-ID  LANE     CAUSE              ATTEMPTS     SIZE  FIRST-QUEUED              LAST-UPDATED
{ID}  beta     default  retries_exhausted         8  3.1 MiB  1970-01-01T00:00:01.000Z  1970-01-01T00:00:02.000Z
would purge 1 delivery (3 B); nothing was changed; --force does it
"), "");
}

#[test]
fn a_bulk_verb_says_first_what_it_is_about() {
    let selection = Selection {
        peer: Some("beta".into()),
        cause: Some("rejected".into()),
        older_than_seconds: Some(7_200),
        ..Selection::default()
    };
    let request = move |dry_run| {
        Request::RelayAct(RelayAct {
            verb: Verb::Retry { ttl_seconds: None },
            which: Which::All(selection.clone()),
            dry_run,
        })
    };
    let answer = |dry_run, changed| Acted {
        dry_run,
        matched: 1_200,
        bytes: 4_096,
        changed,
        skipped: vec![Skipped {
            cause: "forced".into(),
            count: 2,
        }],
        ..Acted::default()
    };
    let fake = Fake::run(move |daemon| {
        assert_eq!(daemon.hear(), request(true));
        daemon.say(&Response::Acted(answer(true, 0)));
        daemon.next();
        assert_eq!(daemon.hear(), request(false));
        daemon.say(&Response::Acting(answer(false, 1_000)));
        daemon.say(&Response::Acted(answer(false, 1_200)));
    });
    let args = words("relay deadletter retry --all --peer beta --cause rejected --older-than 2h");

    let said = edgectl_at(&fake.socket, &args, b"");

    said.is(
        Exit::Done,
        "retried 1,200 deliveries\n\
         passed over 2 forced: --cause forced takes them\n",
        "about to retry 1,200 deliveries (4 KiB)\n\
         passed over 2 forced: --cause forced takes them\n",
    );
    fake.finish();
}

#[test]
fn what_could_not_be_done_is_said_and_is_1() {
    let refused = RefusedView {
        peer_id: "gamma".into(),
        segment_id: Some(id()),
        code: "wrong_state".into(),
        message: "the delivery is acked".into(),
    };
    let answer = Acted {
        matched: 2,
        refused: vec![refused],
        refused_total: 1,
        ..done(1)
    };
    let request = Request::RelayAct(act(Verb::Hold, "s", None));

    let said = ask(&words("relay hold s"), request, Response::Acted(answer));

    said.is(
        Exit::Refused,
        &format!("held 1 delivery of 2\nrefused {ID} to gamma: the delivery is acked\n"),
        "edgectl: 1 of 2 could not be done: the delivery is acked (wrong_state)\n",
    );
}

#[test]
fn parking_by_hand_needs_a_reason_and_an_order_needs_something_to_do() {
    let nowhere = Path::new("/nowhere");
    for line in [
        "relay deadletter force s beta",
        "relay deadletter retry",
        "relay deadletter retry s",
        "relay deadletter retry s beta --all",
        "relay deadletter retry s beta --cause expired",
        "relay deadletter purge --segment-id s",
        "relay config set-bandwidth",
        "relay config set-bandwidth --reset --bytes-per-second 1",
        "relay pause --drain --now",
        "relay pause --until tomorrow",
        "lane set-budget bulk",
        "inbox follow --exec",
    ] {
        let said = edgectl_at(nowhere, &words(line), b"");

        assert_eq!(said.exit, Exit::Usage, "{line}: {}", said.err);
        assert!(said.err.contains(" (usage)\n"), "{}", said.err);
    }
}

#[test]
fn a_person_is_asked_before_what_cannot_be_undone() {
    let run = |answer: &[u8], yes: bool, asked: bool| {
        let fake = Fake::run(move |daemon| {
            if !asked {
                let request = Request::RelayAct(act(Verb::Cancel, "s", None));
                assert_eq!(daemon.hear(), request);
                daemon.say(&Response::Acted(done(1)));
            }
        });
        let socket = fake.socket.to_str().expect("plain").to_owned();
        let mut args = vec!["edgectl", "--socket", &socket, "segment", "cancel", "s"];
        if yes {
            args.push("--yes");
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let console = Console {
            stdin: &mut &*answer,
            out: &mut out,
            err: &mut err,
            terminal: false,
            interactive: true,
        };
        let exit = run_on(args, console);
        if asked {
            // Nobody has connected; the fake's thread is left to itself.
            drop(fake);
        } else {
            fake.finish();
        }
        (exit, String::from_utf8(err).expect("text"))
    };

    let (no, said) = run(b"\n", false, true);
    let (yes, _) = run(b"y\n", false, false);
    let (unasked, silent) = run(b"", true, false);

    assert_eq!(no, Exit::Refused);
    assert!(said.starts_with("cancel s? [y/N] "), "{said}");
    assert!(said.contains("(not_confirmed)"), "{said}");
    assert_eq!((yes, unasked), (Exit::Done, Exit::Done));
    assert_eq!(silent, "");
}

#[test]
fn deadletters_are_listed_and_looked_at() {
    let which = RelayList {
        state: Some(State::Deadletter),
        cause: Some("retries_exhausted".into()),
        older_than_seconds: Some(86_400),
        page: Paging {
            limit: 50,
            after: None,
        },
        ..RelayList::default()
    };
    let page = Page {
        items: vec![parked()],
        total: 5,
        next: None,
    };
    let args = words("relay deadletter list --cause retries_exhausted --older-than 1d");
    let list = ask(&args, Request::RelayList(which), Response::Deliveries(page));
    let view = DeadletterView {
        segment: segment(),
        entry: edged_rpc::DeliveryDetail {
            delivery: parked(),
            ..delivery_detail()
        },
    };
    let look = DeadletterInspect {
        segment: "s".into(),
        peer: "beta".into(),
    };
    let entry = ask(
        &words("relay deadletter inspect s beta"),
        Request::DeadletterInspect(look),
        Response::Deadletter(view),
    );

    list.is(Exit::Done, &format!("\
SEGMENT-ID                            PEER-ID  LANE     CAUSE              ATTEMPTS     SIZE  FIRST-QUEUED              LAST-UPDATED
{ID}  beta     default  retries_exhausted         8  3.1 MiB  1970-01-01T00:00:01.000Z  1970-01-01T00:00:02.000Z
5 deadletter entries (showing 1 of 5)
"), "");
    entry.is(Exit::Done, &format!("\
Deadletter Entry
  Segment ID: {ID}
  Peer ID: beta
  State: deadletter
  Cause: retries_exhausted
  Lane: default
  Topic: -
  Size: 3,250,586 bytes (3.1 MiB)
  Payload: kept
  Attempt Count: 8
  First Queued: 1970-01-01T00:00:01.000Z
  Last Updated: 1970-01-01T00:00:02.000Z
  Attempt History
    #1 started: 1970-01-01T00:00:01.000Z completed: 1970-01-01T00:00:02.000Z outcome: ABANDONED
    #2 started: 1970-01-01T00:00:03.000Z completed: 1970-01-01T00:00:04.000Z outcome: FAILED error: no\\u{{1b}}[31m
"), "");
}

#[test]
fn bandwidth_is_set_reset_and_tried() {
    let limits = |applied| LimitsChanged {
        applied,
        limits: vec![
            LimitView {
                name: "bytes_per_second".into(),
                before: 0,
                after: 65_536,
            },
            LimitView {
                name: "daily_quota_bytes".into(),
                before: 0,
                after: 0,
            },
        ],
    };
    let set = RelayBandwidth {
        peer: Some("beta".into()),
        bytes_per_second: Some(65_536),
        standing: Standing::Ephemeral,
        dry_run: true,
        ..RelayBandwidth::default()
    };
    let args = words(
        "relay config set-bandwidth --bytes-per-second 65536 --peer beta --ephemeral --dry-run",
    );
    let dry = ask(
        &args,
        Request::RelayBandwidth(set),
        Response::Limits(limits(false)),
    );
    let reset = RelayBandwidth {
        standing: Standing::Reset,
        ..RelayBandwidth::default()
    };
    let args = words("relay config set-bandwidth --reset --json");
    let json = ask(
        &args,
        Request::RelayBandwidth(reset),
        Response::Limits(limits(true)),
    );

    dry.is(
        Exit::Done,
        "applied=false\n  \
         bytes_per_second:    65,536 (64 KiB) (was unlimited)\n  \
         daily_quota_bytes:   unlimited (as before)\n",
        "",
    );
    json.has(r#"{"schema":"relay.config.set-bandwidth/1","applied":true,"limits":[{"name":"bytes_per_second","before":0,"after":65536},"#);
}

#[test]
fn a_pause_says_what_and_until_when() {
    let scope = || Scope {
        peer: Some("beta".into()),
        lane: Some("bulk".into()),
    };
    let run = |line: &str, what: RelayPause, changed, until| {
        let paused = Paused { changed, until };
        ask(
            &words(line),
            Request::RelayPause(what),
            Response::Paused(paused),
        )
    };
    let all = run("relay pause", RelayPause::default(), 1, None);
    let some = RelayPause {
        scope: scope(),
        how: Pausing::Now,
        until: Some(Until::After(7_200)),
    };
    let some = run(
        "relay pause --peer beta --lane bulk --now --until 2h",
        some,
        0,
        Some(Moment(7_200_000)),
    );
    let at = RelayPause {
        until: Some(Until::At(Moment(7_200_000))),
        ..RelayPause::default()
    };
    let line = "relay pause --until 1970-01-01T02:00:00Z --json";
    let json = run(line, at, 1, Some(Moment(7_200_000)));
    let resume = |changed| {
        let request = Request::RelayResume(RelayResume { scope: scope() });
        let line = "relay resume --peer beta --lane bulk";
        ask(
            &words(line),
            request,
            Response::Changed(Changed { changed }),
        )
    };

    all.is(
        Exit::Done,
        "paused everything: what is in flight runs on, until relay resume\n",
        "",
    );
    some.is(
        Exit::Done,
        "already paused peer beta, lane bulk: what was in flight is back in its queue, \
         until 1970-01-01T02:00:00.000Z\n",
        "",
    );
    json.has(r#"{"schema":"relay.pause/1","scope":{"peer":null,"lane":null},"how":"drain","changed":1,"until":"1970-01-01T02:00:00.000Z"}"#);
    resume(1).is(Exit::Done, "resumed peer beta, lane bulk\n", "");
    resume(0).is(Exit::Done, "not paused: peer beta, lane bulk\n", "");
}

#[test]
fn peers_are_kicked_and_dropped_and_lanes_get_budgets() {
    let changed = |changed| Response::Changed(Changed { changed });
    let kick = |n| {
        let request = PeerKick {
            peer: "beta".into(),
        };
        ask(
            &words("peer kick beta"),
            Request::PeerKick(request),
            changed(n),
        )
    };
    let drop = |n| {
        let request = PeerDrop {
            peer: "beta".into(),
        };
        ask(
            &words("peer drop beta"),
            Request::PeerDrop(request),
            changed(n),
        )
    };
    let budget = LaneBudget {
        lane: "bulk".into(),
        bytes_per_day: Some(1_048_576),
        attempts_per_hour: Some(60),
        dry_run: false,
    };
    let limits = LimitsChanged {
        applied: true,
        limits: vec![LimitView {
            name: "attempts_per_hour".into(),
            before: 5,
            after: 60,
        }],
    };
    let line = "lane set-budget bulk --bytes-per-day 1048576 --attempts-per-hour 60";
    let budget = ask(
        &words(line),
        Request::LaneBudget(budget),
        Response::Limits(limits),
    );

    kick(1).is(Exit::Done, "kicked beta: it is dialled anew\n", "");
    kick(0).is(Exit::Done, "no link to beta is up\n", "");
    drop(1_200).is(
        Exit::Done,
        "dropped beta: 1,200 deliveries deadlettered\n",
        "",
    );
    drop(0).is(Exit::Done, "nothing is owed to beta\n", "");
    budget.is(
        Exit::Done,
        "applied=true\n  attempts_per_hour:   60 (was 5)\n",
        "",
    );
}
