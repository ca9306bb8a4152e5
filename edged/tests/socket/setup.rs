//! What the daemon is set to is told, checked and read again.

use edged_rpc::{
    Client, ConfigCheck, ConfigShow, ErrorKind, KeyView, LaneList, LinkState, Paging,
    RelayBandwidth, Standing,
};

use crate::world::{Home, refused, to_beta};

fn key(client: &mut Client, wanted: &str) -> KeyView {
    let page = Paging {
        limit: 1_000,
        after: None,
    };
    let shown = client.config(&ConfigShow { page }).expect("keys");
    let found = shown.items.into_iter().find(|view| view.key == wanted);
    found.unwrap_or_else(|| panic!("no key {wanted}"))
}

#[test]
fn keys_are_shown_with_who_decided_them_page_by_page() {
    let home = Home::with("[relay]\nworkers = 9\n");
    let daemon = home.start();
    let mut client = daemon.client();

    let workers = key(&mut client, "relay.workers");
    let built_in = key(&mut client, "relay.retry.budget");
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = Paging { limit: 7, after };
        let shown = client.config(&ConfigShow { page }).expect("a page");
        keys.extend(shown.items.into_iter().map(|view| view.key));
        after = shown.next;
        if after.is_none() {
            assert_eq!(keys.len() as u64, shown.total);
            break;
        }
    }

    assert_eq!(workers.value, "9");
    assert!(workers.origin.ends_with("20-test.toml:2"), "{workers:?}");
    assert_eq!(built_in.origin, "built-in");
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn a_reload_is_all_or_nothing_and_names_what_waits_for_a_start() {
    let home = Home::with("[log]\nlevel = \"info\"\n");
    let daemon = home.start();
    let mut client = daemon.client();

    home.rewrite("[log]\nlevel = \"warn\"\n[relay]\nworkers = \"many\"\n");
    let wrong = refused(client.reload());
    let before = key(&mut client, "log.level");
    home.rewrite("[log]\nlevel = \"warn\"\n[relay]\nworkers = 9\n");
    let reloaded = client.reload().expect("sound");
    let after = key(&mut client, "log.level");
    let workers = key(&mut client, "relay.workers");

    assert_eq!(
        (wrong.kind, wrong.code.as_str()),
        (ErrorKind::Refused, "config_invalid")
    );
    assert!(wrong.message.contains("20-test.toml:4"), "{wrong}");
    assert_eq!(before.value, "info");
    assert!(reloaded.applied);
    let names = |changes: &[edged_rpc::KeyChange]| -> Vec<String> {
        changes.iter().map(|change| change.key.clone()).collect()
    };
    assert_eq!(names(&reloaded.changed), ["log.level"]);
    assert_eq!(names(&reloaded.restart), ["relay.workers"]);
    assert_eq!(
        (after.value.as_str(), workers.value.as_str()),
        ("warn", "4")
    );
}

#[test]
fn limits_that_are_reloaded_hold_at_once_under_what_operators_stored() {
    let home = Home::with("[bandwidth]\nbytes_per_second = \"1MiB/s\"\n");
    let daemon = home.start();
    let mut client = daemon.client();
    let rate = |client: &mut Client| {
        let view = client.relay_config().expect("it says so");
        (view.bandwidth.bytes_per_second, view.bandwidth.rate_set_by)
    };

    home.rewrite("[bandwidth]\nbytes_per_second = \"2MiB/s\"\n[lanes.bulk]\nweight = 5\n");
    let first = client.reload().expect("sound");
    let reloaded = rate(&mut client);
    client
        .set_bandwidth(RelayBandwidth {
            bytes_per_second: Some(4_096),
            ..RelayBandwidth::default()
        })
        .expect("set");
    home.rewrite("[bandwidth]\nbytes_per_second = \"3MiB/s\"\n[lanes.bulk]\nweight = 5\n");
    let second = client.reload().expect("sound");
    let stored = rate(&mut client);
    client
        .set_bandwidth(RelayBandwidth {
            standing: Standing::Reset,
            ..RelayBandwidth::default()
        })
        .expect("reset");
    let reset = rate(&mut client);

    assert_eq!(
        (first.changed.len(), first.restart.len()),
        (2, 0),
        "{first:?}"
    );
    assert_eq!(first.shadowed, [] as [&str; 0]);
    assert_eq!(reloaded, (2 << 20, "config".to_owned()));
    assert_eq!(second.shadowed, ["bandwidth.bytes_per_second"]);
    assert_eq!(stored, (4_096, "ledger".to_owned()));
    assert_eq!(reset, (3 << 20, "config".to_owned()));
}

#[test]
fn a_check_says_what_a_file_would_change_and_changes_nothing() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut check = |text: &str| {
        client.check_config(ConfigCheck {
            name: "new.toml".into(),
            text: text.into(),
        })
    };

    let wrong = refused(check("[node]\nid = \"alpha\"\n[relay]\nworkres = 1\n"));
    let sound = check("[node]\nid = \"alpha\"\n[relay]\nworkers = 9\n").expect("sound");
    let workers = key(&mut client, "relay.workers");

    assert!(wrong.message.contains("new.toml:4"), "{wrong}");
    assert!(wrong.message.contains("workers"), "{wrong}");
    assert!(!sound.applied);
    assert!(
        sound
            .restart
            .iter()
            .any(|change| change.key == "relay.workers")
    );
    assert_eq!(workers.value, "4");
}

#[test]
fn lanes_come_most_urgent_first_with_what_lies_in_them() {
    let home = Home::with("[lanes.bulk]\nweight = 3\nttl = \"2h\"\nbytes_per_day = \"1MiB\"\n");
    let daemon = home.start();
    let mut client = daemon.client();
    client.put(&to_beta(), b"four").expect("put");

    let page = client.lanes(&LaneList {
        page: Paging {
            limit: 50,
            after: None,
        },
    });
    let lanes = page.expect("lanes").items;

    let names: Vec<&str> = lanes.iter().map(|view| view.lane.as_str()).collect();
    assert_eq!(names, ["control", "alarm", "default", "bulk"]);
    assert_eq!((lanes[2].depth.scheduled, lanes[2].bytes.scheduled), (1, 4));
    assert_eq!((lanes[3].weight, lanes[3].ttl_seconds), (3, Some(7_200)));
    assert_eq!(lanes[3].bytes_per_day, 1 << 20);
}

#[test]
fn one_peer_is_told_in_full() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.put(&to_beta(), b"four").expect("put");

    let beta = client.peer("beta").expect("it is in the config");
    let stranger = refused(client.peer("nobody"));
    let garbage = refused(client.peer("No Name"));

    assert!(beta.configured);
    assert_eq!(beta.addresses, ["127.0.0.1:9"]);
    assert!(matches!(
        beta.peer.state,
        LinkState::Down | LinkState::Dialing
    ));
    assert_eq!(beta.lanes[0].lane, "default");
    assert_eq!(beta.lanes[0].depth.scheduled, 1);
    assert_eq!(
        (stranger.kind, stranger.code.as_str()),
        (ErrorKind::NotFound, "unknown_peer")
    );
    assert_eq!(garbage.code, "bad_peer");
}

#[test]
fn the_relay_says_how_it_is_set() {
    let home = Home::with(
        "[relay]\nack_timeout = \"1500ms\"\n[bandwidth]\nbytes_per_second = \"1MiB/s\"\n",
    );
    let daemon = home.start();

    let view = daemon.client().relay_config().expect("it says so");

    assert_eq!((view.dial_timeout_ms, view.ack_timeout_ms), (10_000, 1_500));
    assert_eq!(view.bandwidth.bytes_per_second, 1 << 20);
    assert!(!view.bandwidth.unlimited);
}
