//! Orders: names and segments are resolved, the core is asked, refusals are told.

use edged_rpc::{
    Acted, Client, ErrorKind, LaneBudget, RelayAct, RelayBandwidth, RelayPause, RelayResume,
    RpcError, Scope, Selection, Until, Verb, Which,
};

use crate::world::{Home, refused, to_beta};

fn one(verb: Verb, segment: &str, peer: Option<&str>) -> RelayAct {
    RelayAct {
        verb,
        which: Which::One {
            segment: segment.to_owned(),
            peer: peer.map(str::to_owned),
        },
        dry_run: false,
    }
}

fn act(client: &mut Client, act: &RelayAct) -> Result<Acted, edged_rpc::ClientError> {
    client.act(act, |_| ())
}

fn is(error: &RpcError, kind: ErrorKind, code: &str) {
    assert_eq!((error.kind, error.code.as_str()), (kind, code), "{error}");
}

const VERBS: [Verb; 6] = [
    Verb::Hold,
    Verb::Release,
    Verb::Cancel,
    Verb::Force,
    Verb::Retry { ttl_seconds: None },
    Verb::Purge,
];

#[test]
fn every_verb_refuses_what_is_not_there_with_its_own_code() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let id = client.put(&to_beta(), b"x").expect("put").segment_id;
    let id = id.to_string();

    for verb in VERBS {
        let mut refuse = |segment: &str, peer| refused(act(&mut client, &one(verb, segment, peer)));
        let none = refuse("seg-ffffffff", None);
        let garbage = refuse("report.bin", None);
        let stranger = refuse(&id, Some("nobody"));
        let inbox = refuse(&id, Some("local"));

        is(&none, ErrorKind::NotFound, "no_such_segment");
        is(&garbage, ErrorKind::Invalid, "bad_id");
        is(&stranger, ErrorKind::NotFound, "unknown_peer");
        is(&inbox, ErrorKind::Invalid, "bad_peer");
    }
}

#[test]
fn a_dry_run_says_which_and_changes_nothing() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let id = client.put(&to_beta(), b"four").expect("put").segment_id;

    for verb in VERBS {
        let dry = RelayAct {
            dry_run: true,
            ..one(verb, &id.to_string(), Some("beta"))
        };
        if verb == Verb::Purge {
            is(
                &refused(act(&mut client, &dry)),
                ErrorKind::Refused,
                "wrong_state",
            );
            continue;
        }
        let acted = act(&mut client, &dry).expect("it is here");

        assert_eq!((acted.matched, acted.bytes, acted.changed), (1, 4, 0));
        assert_eq!(acted.first[0].segment_id, id);
    }
}

#[test]
fn a_bulk_verb_with_nothing_to_do_is_done() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.put(&to_beta(), b"x").expect("put");
    let all = |verb, selection| RelayAct {
        verb,
        which: Which::All(selection),
        dry_run: false,
    };

    let none = act(&mut client, &all(Verb::Purge, Selection::default())).expect("done");
    let lane = Selection {
        lane: Some("bulk".into()),
        ..Selection::default()
    };
    let retry = Verb::Retry { ttl_seconds: None };
    let unused = act(&mut client, &all(retry, lane)).expect("done");
    let wrong = Selection {
        cause: Some("bad luck".into()),
        ..Selection::default()
    };
    let cause = refused(act(&mut client, &all(retry, wrong)));
    let held = refused(act(&mut client, &all(Verb::Hold, Selection::default())));

    assert_eq!((none.matched, none.changed), (0, 0));
    assert_eq!((unused.matched, unused.changed), (0, 0));
    is(&cause, ErrorKind::Invalid, "bad_cause");
    is(&held, ErrorKind::Invalid, "not_in_bulk");
}

#[test]
fn only_a_deadlettered_delivery_can_be_inspected_as_one() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let id = client.put(&to_beta(), b"x").expect("put").segment_id;

    let waiting = refused(client.deadletter(&id.to_string(), "beta"));
    let stranger = refused(client.deadletter(&id.to_string(), "nobody"));

    is(&waiting, ErrorKind::NotFound, "not_deadlettered");
    is(&stranger, ErrorKind::NotFound, "unknown_peer");
}

#[test]
fn a_pause_holds_until_it_is_resumed_and_twice_is_once() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let scope = || Scope {
        peer: Some("beta".into()),
        lane: None,
    };
    let pause = RelayPause {
        scope: scope(),
        ..RelayPause::default()
    };

    let first = client.pause(pause.clone()).expect("paused");
    let again = client.pause(pause).expect("paused already");
    let resumed = client.resume(RelayResume { scope: scope() });
    let resumed = resumed.expect("resumed");
    let running = client.resume(RelayResume { scope: scope() });
    let running = running.expect("it runs already");

    assert_eq!((first.changed, again.changed), (1, 0));
    assert_eq!((resumed.changed, running.changed), (1, 0));
}

#[test]
fn a_pause_of_what_is_not_there_or_of_no_time_is_refused() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut pause = |peer: Option<&str>, lane: Option<&str>, until| {
        let scope = Scope {
            peer: peer.map(str::to_owned),
            lane: lane.map(str::to_owned),
        };
        let pause = RelayPause {
            scope,
            until,
            ..RelayPause::default()
        };
        refused(client.pause(pause))
    };

    let stranger = pause(Some("nobody"), None, None);
    let lane = pause(None, Some("nowhere"), None);
    let name = pause(Some("No Name"), None, None);
    let past = pause(None, None, Some(Until::At(edged_rpc::Moment(1))));
    let at_once = pause(None, None, Some(Until::After(0)));

    is(&stranger, ErrorKind::NotFound, "unknown_peer");
    is(&lane, ErrorKind::NotFound, "unknown_lane");
    is(&name, ErrorKind::Invalid, "bad_peer");
    is(&past, ErrorKind::Invalid, "in_the_past");
    is(&at_once, ErrorKind::Invalid, "in_the_past");
}

#[test]
fn a_limit_that_names_nothing_is_refused() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();

    let rate = refused(client.set_bandwidth(RelayBandwidth::default()));
    let budget = LaneBudget {
        lane: "bulk".into(),
        ..LaneBudget::default()
    };
    let budget = refused(client.set_lane_budget(budget));

    is(&rate, ErrorKind::Invalid, "nothing_to_set");
    is(&budget, ErrorKind::Invalid, "nothing_to_set");
}
