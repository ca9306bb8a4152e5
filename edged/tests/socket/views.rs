//! What is shown: segments, deliveries, status, peers, books.

use std::collections::BTreeSet;

use edged_rpc::{
    Client, Durability, ErrorKind, Id, LinkState, Outcome, Paging, PeerList, PutOptions, RelayAct,
    RelayList, RelayPause, RelayStatus, RelayWhy, SegmentList, State, Verb, Which,
};

use crate::world::{Home, refused, to_beta};

fn page(limit: u32, after: Option<String>) -> Paging {
    Paging { limit, after }
}

fn hold(client: &mut Client, id: Id) {
    let hold = RelayAct {
        verb: Verb::Hold,
        which: Which::One {
            segment: id.to_string(),
            peer: None,
        },
        dry_run: false,
    };
    client.act(&hold, |_| ()).expect("it is held");
}

#[test]
fn a_segment_shows_what_was_said_of_it() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let options = PutOptions {
        lane: "alarm".into(),
        topic: Some("pump-7/heat".into()),
        labels: vec![("unit".into(), "kPa".into())],
        ttl_seconds: Some(3600),
        ..to_beta()
    };
    let id = client.put(&options, b"42.1 C").expect("put").segment_id;

    let detail = client.inspect(&id.to_string()).expect("it is here");
    let by_prefix = client.inspect(&id.to_string()[..20]).expect("unique");

    let segment = &detail.segment;
    assert_eq!(
        (segment.origin.as_str(), segment.lane.as_str()),
        ("alpha", "alarm")
    );
    assert_eq!(segment.topic.as_deref(), Some("pump-7/heat"));
    assert_eq!(segment.labels["unit"], "kPa");
    assert_eq!(segment.len, 6);
    let expires = segment.expires_at.expect("it has a ttl");
    assert_eq!(expires.0 - segment.queued_at.0, 3_600_000);
    let delivery = &detail.deliveries[0].delivery;
    assert_eq!(delivery.peer_id, "beta");
    assert_eq!(delivery.state, State::Scheduled);
    assert_eq!(delivery.waiting_on, ["peer_down"]);
    assert!(
        detail.deliveries[0]
            .attempts
            .iter()
            .all(|a| a.outcome != Some(Outcome::Acked))
    );
    assert_eq!(by_prefix.segment.segment_id, id);
}

#[test]
fn a_delivery_names_all_it_waits_on_wherever_it_is_shown() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let id = client.put(&to_beta(), b"x").expect("put").segment_id;
    let waiting = |client: &mut Client| {
        let listed = client.deliveries(&RelayList {
            page: page(10, None),
            ..RelayList::default()
        });
        let listed = listed.expect("a page").items.remove(0).waiting_on;
        let detail = client.inspect(&id.to_string()).expect("it is here");
        assert_eq!(detail.deliveries[0].delivery.waiting_on, listed);
        listed
    };

    hold(&mut client, id);
    client.pause(RelayPause::default()).expect("it is paused");

    assert_eq!(waiting(&mut client), ["held", "paused", "peer_down"]);
    // Of what is in the ledger alone, too.
    drop(client);
    daemon.stop();
    let daemon = home.start();
    let waits = waiting(&mut daemon.client());
    assert_eq!(waits, ["held", "paused", "peer_down"]);
}

#[test]
fn ids_that_name_nothing_or_too_much_are_refused() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.put_many(&to_beta(), [b"a", b"b"]).expect("put");

    let none = refused(client.inspect("seg-ffffffff"));
    let both = refused(client.inspect("seg-0"));
    let garbage = refused(client.get("report.bin", std::io::sink()));

    assert_eq!(
        (none.kind, none.code.as_str()),
        (ErrorKind::NotFound, "no_such_segment")
    );
    assert_eq!(both.code, "ambiguous");
    assert_eq!(garbage.code, "bad_id");
}

#[test]
fn pages_hold_every_segment_once() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let done = client
        .put_many(&to_beta(), (0..700u32).map(u32::to_le_bytes))
        .expect("put");

    let (mut segments, mut deliveries) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let list = SegmentList {
            page: page(64, after),
            ..SegmentList::default()
        };
        let found = client.list(&list).expect("a page");
        assert_eq!(found.total, 700);
        segments.extend(found.items.into_iter().map(|segment| segment.segment_id));
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    loop {
        let list = RelayList {
            page: page(99, after),
            ..RelayList::default()
        };
        let found = client.deliveries(&list).expect("a page");
        assert_eq!(found.total, 700);
        deliveries.extend(found.items.into_iter().map(|delivery| delivery.segment_id));
        after = found.next;
        if after.is_none() {
            break;
        }
    }

    let put: BTreeSet<_> = done.ids.iter().copied().collect();
    for listed in [segments, deliveries] {
        assert_eq!(listed.len(), 700);
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), put);
    }
}

#[test]
fn filters_narrow_a_list() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    for (lane, topic) in [("default", "a/b"), ("default", "a/c"), ("bulk", "a/b")] {
        let options = PutOptions {
            lane: lane.into(),
            topic: Some(topic.into()),
            ..to_beta()
        };
        client.put(&options, b"x").expect("put");
    }
    let mut count = |change: &dyn Fn(&mut SegmentList)| {
        let mut list = SegmentList {
            page: page(10, None),
            ..SegmentList::default()
        };
        change(&mut list);
        client.list(&list).map(|page| page.total).map_err(|_| ())
    };

    assert_eq!(count(&|_| ()), Ok(3));
    assert_eq!(count(&|l| l.lane = Some("bulk".into())), Ok(1));
    assert_eq!(count(&|l| l.lane = Some("alarm".into())), Ok(0));
    assert_eq!(count(&|l| l.lane = Some("nowhere".into())), Err(()));
    assert_eq!(count(&|l| l.peer = Some("beta".into())), Ok(3));
    assert_eq!(count(&|l| l.peer = Some("local".into())), Ok(0));
    assert_eq!(count(&|l| l.state = Some(State::Acked)), Ok(0));
    assert_eq!(count(&|l| l.topic = Some("a/b".into())), Ok(2));
    assert_eq!(count(&|l| l.topic = Some("a/**".into())), Ok(3));
    assert_eq!(count(&|l| l.page.after = Some("nonsense".into())), Err(()));
}

#[test]
fn status_counts_what_waits() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.put_many(&to_beta(), [&[7u8; 100]; 5]).expect("put");

    let report = client
        .status(&RelayStatus { books: true })
        .expect("a status");

    let status = &report.status;
    assert_eq!((status.node.as_str(), status.boot_epoch), ("alpha", 1));
    assert!(status.enabled && !status.paused);
    assert_eq!(status.durability, Durability::Synced);
    assert_eq!(
        (status.queue_depth.scheduled, status.queue_depth.total),
        (5, 5)
    );
    assert_eq!(status.queue_bytes.scheduled, 500);
    assert!(status.oldest_age_seconds.is_some());
    assert!(status.bandwidth.unlimited);
    let beta = &status.peers[0];
    assert_eq!((beta.peer_id.as_str(), beta.waiting), ("beta", 5));
    assert!(matches!(beta.state, LinkState::Down | LinkState::Dialing));
    assert_eq!(beta.address.as_deref(), Some("127.0.0.1:9"));
    let books = report.books.expect("asked for");
    assert_eq!(
        (books[0].put, books[0].waiting, books[0].holds),
        (5, 5, true)
    );
}

#[test]
fn peers_version_and_counters_are_told() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.put(&to_beta(), b"x").expect("put");

    let peers = client
        .peers(&PeerList {
            page: page(10, None),
        })
        .expect("peers");
    let version = client.version().expect("a version");
    let counters = client.counters().expect("counters");

    assert_eq!(peers.items.len(), 1);
    assert_eq!(version.node, "alpha");
    assert_eq!(version.boot_epoch, 1);
    assert_eq!((counters.books[0].put, counters.books[0].holds), (1, true));
}

#[test]
fn why_says_what_holds_a_delivery_and_what_blocks_how_many() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let put = client.put(&to_beta(), b"x").expect("put");
    client.put(&to_beta(), b"yz").expect("put");
    let which = |peer: Option<&str>| RelayWhy {
        segment: put.segment_id.to_string(),
        peer: peer.map(str::to_owned),
    };

    let report = client.why(&which(Some("beta"))).expect("why");
    let all = client.why_all().expect("why all");

    let beta = &report.items[0];
    assert_eq!(
        (beta.peer_id.as_str(), beta.state),
        ("beta", State::Scheduled)
    );
    assert_eq!(beta.reasons[0].waiting_on, "peer_down");
    assert!(
        beta.sentence.starts_with("no link to beta"),
        "{}",
        beta.sentence
    );
    let blocked = &all.items[0];
    assert_eq!(
        (blocked.waiting_on.as_str(), blocked.deliveries),
        ("peer_down", 2)
    );
    assert!(client.why(&which(Some("nobody"))).is_err());
}

#[test]
fn what_is_held_is_told_as_held_among_all_that_waits() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let id = client.put(&to_beta(), b"x").expect("put").segment_id;
    client.put(&to_beta(), b"yz").expect("put");
    hold(&mut client, id);
    let told = |client: &mut Client| -> BTreeSet<(String, u64, u64)> {
        let all = client.why_all().expect("why all").items;
        all.into_iter()
            .map(|row| (row.waiting_on, row.deliveries, row.bytes))
            .collect()
    };
    let truth = BTreeSet::from([("held".to_owned(), 1, 1), ("peer_down".to_owned(), 1, 2)]);

    assert_eq!(told(&mut client), truth);
    // And of what is in the ledger alone.
    drop(client);
    daemon.stop();
    assert_eq!(told(&mut home.start().client()), truth);
}
