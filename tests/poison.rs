//! A daemon that a segment kills comes back, isolates it with evidence, and everything
//! else arrives; one that is killed from outside isolates nothing.
//!
//! The binary dies of the segment that the test names ([`harness::daemon`]'s node reads
//! `RELAY_TEST_POISON`); all the rest, the hook, the file, the count, the isolation, is
//! the daemon as it is shipped.

use edged_rpc::{AuditQuery, Client, Id, RelayWhy};
use harness::daemon::{Node, PATIENCE, Pair, Witness, to_beta, wait_for};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const SMALLER: &str = "[storage]\nmax_bytes = \"1GiB\"\n";

/// Starts `node`, which fears `poison`.
fn start<'n>(node: &'n mut Node, poison: &str) -> &'n mut Node {
    let set = format!("RELAY_TEST_POISON={poison}");
    node.start_under(&["env", &set])
}

#[test]
fn a_segment_that_kills_its_receiver_is_refused_and_its_pack_arrives() {
    let mut pair = Pair::new(NODE, 71);
    pair.configure(SMALLER);
    pair.start_alpha();
    let alone = pair.alpha.client().put(&to_beta(), b"alone");
    let alone = alone.expect("it is put").segment_id;
    let bodies: Vec<Vec<u8>> = (0..60u16).map(|n| format!("body {n}").into()).collect();
    let put = pair.alpha.client().put_many(&to_beta(), &bodies);
    let ids: Vec<Id> = put.expect("they are put").ids;
    let poison = [alone, ids[30]].map(|id| id.to_string());

    let mut deaths = 0;
    loop {
        start(&mut pair.beta, &poison.join(","));
        pair.to_beta.aim(pair.beta.process().quic());
        // It dies of the pack, or everything comes to rest.
        let over = wait_for("beta to die or all to rest", PATIENCE, || {
            let dead = !pair.beta.process().is_alive();
            let rests = pair.alpha.books().waiting == 0;
            (dead || rests).then_some(!dead)
        });
        if over {
            break;
        }
        pair.beta.end().wait_for_panic();
        deaths += 1;
    }

    assert_eq!(deaths, 4);
    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.put, books.acked, books.deadletter), (61, 59, 2));
    for id in &poison {
        let parked = pair.alpha.client().deadletter(id, "beta");
        let parked = parked.expect("it is in the deadletter").entry;
        assert_eq!(parked.delivery.cause.as_deref(), Some("rejected"));
    }
    let events = events(&mut pair.beta.client(), "system.panicked");
    assert_eq!(events.len(), 4);
    assert!(events[3].contains("is poison"), "{events:?}");
    let file = std::fs::read_to_string(pair.beta.home.state().join("last-panic"));
    let file = file.expect("there is a file");
    assert_eq!(file.lines().count(), 4);
    assert!(poison.iter().all(|id| file.contains(id)), "{file}");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    assert_eq!(Witness::of(&pair.beta.home).inbox().len(), 59);
}

#[test]
fn a_segment_that_kills_its_sender_is_parked_with_evidence_and_the_others_go() {
    let mut pair = Pair::new(NODE, 72);
    pair.configure(SMALLER);
    start(&mut pair.alpha, "pack 3");
    pair.to_alpha.aim(pair.alpha.process().quic());
    let mut client = pair.alpha.client();
    let bodies = 0..20u32;
    let ids: Vec<Id> = bodies
        .map(|n| client.put(&to_beta(), &n.to_le_bytes()).expect("it is put"))
        .map(|put| put.segment_id)
        .collect();
    pair.start_beta();
    for _ in 0..2 {
        pair.alpha.end().wait_for_panic();
        start(&mut pair.alpha, "pack 3");
        pair.to_alpha.aim(pair.alpha.process().quic());
    }

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.put, books.deadletter), (books.acked + 1, 1));
    let poison = ids[2].to_string();
    let mut client = pair.alpha.client();
    let why = client.why(&RelayWhy {
        segment: poison.clone(),
        peer: None,
    });
    let said = &why.expect("it is known").items[0].sentence;
    let wanted = "in deadletter as rejected (poison: 2 panics of this daemon named it";
    assert!(said.starts_with(wanted), "{said}");
    assert!(said.contains("pack 3 is poison at tests/node.rs"), "{said}");
    let parked = client.deadletter(&poison, "beta").expect("it is parked");
    let told = parked
        .entry
        .attempts
        .last()
        .and_then(|last| last.error.clone());
    assert!(told.expect("the history says why").contains("poison"));
    let events = events(&mut client, "relay.poison.isolated");
    assert_eq!(events.len(), 1);
    assert!(events[0].contains(&poison), "{events:?}");
    pair.alpha.end().terminate();
}

#[test]
fn a_daemon_that_is_killed_with_something_in_flight_isolates_nothing() {
    let mut pair = Pair::new(NODE, 73);
    pair.configure(SMALLER);
    pair.start_alpha();
    let body = vec![7; 100_000];
    let put = pair.alpha.client().put(&to_beta(), &body);
    put.expect("it is put");
    for _ in 0..3 {
        pair.start_beta();
        pair.wait_for_link();
        pair.beta.end().kill9();
        pair.alpha.end().kill9();
        pair.start_alpha();
    }

    pair.start_beta();

    let books = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!((books.put, books.acked), (1, 1));
    assert!(!pair.alpha.home.state().join("last-panic").exists());
    assert_eq!(
        events(&mut pair.alpha.client(), "system.panicked"),
        [] as [&str; 0]
    );
}

/// Records of this event, in words, oldest first.
fn events(client: &mut Client, event: &str) -> Vec<String> {
    let mut which = AuditQuery::default();
    which.filter.event_type = Some(event.to_owned());
    which.page.limit = 100;
    let page = client.audit(&which).expect("there is an audit");
    let mut told: Vec<String> = page.items.iter().map(|item| format!("{item:?}")).collect();
    told.reverse();
    told
}
