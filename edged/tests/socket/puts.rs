//! Puts: alone, streamed, in batches; refused before, during and after their bytes.

use std::io::{self, Read};

use edged_rpc::{Batch, ErrorKind, Put, PutOptions, SegmentList, Success, Target};

use crate::world::{Home, bytes, refused, to_beta, wait_for};

/// A source that must not be asked.
struct Untouched;

impl Read for Untouched {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("the daemon should have refused before")
    }
}

fn put(len: Option<u64>, key: Option<&str>) -> Put {
    Put {
        options: to_beta(),
        key: key.map(str::to_owned),
        len,
    }
}

#[test]
fn a_put_of_any_length_reads_back_as_it_was() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();

    for length in [
        0,
        1,
        16 << 10,
        (256 << 10) + 1,
        3 << 20,
        (4 << 20) + 1,
        8 << 20,
    ] {
        let body = bytes(length);

        let known = client.put(&to_beta(), &body).expect("announced");
        let unknown = client.put_reader(&to_beta(), &body[..]).expect("streamed");

        for accepted in [known, unknown] {
            assert_eq!(accepted.digest.0, *blake3::hash(&body).as_bytes());
            let mut back = Vec::new();
            let id = accepted.segment_id.to_string();
            let view = client.get(&id, &mut back).expect("it is here");
            assert_eq!(view.len, length as u64);
            assert!(back == body, "{length} bytes differ");
        }
    }
}

#[test]
fn a_batch_gets_an_id_for_each_member_and_its_bytes_back() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let bodies: Vec<Vec<u8>> = (0..1000).map(|n| bytes(n * 41 % 20_000)).collect();

    let done = client.put_many(&to_beta(), &bodies).expect("put");

    assert!(done.refused.is_empty(), "{:?}", done.refused);
    let mut ids = done.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), bodies.len());
    for n in (0..bodies.len()).step_by(97) {
        let mut back = Vec::new();
        client
            .get(&done.ids[n].to_string(), &mut back)
            .expect("here");
        assert!(back == bodies[n], "member {n} differs");
    }
}

#[test]
fn as_many_batches_as_the_window_holds_are_answered_in_order() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut batch = Batch::new();
    for n in 0..256 {
        assert!(batch.push(&bytes(n)));
    }

    let mut sent = 0;
    while client.has_room(batch.len()) {
        client.send_batch(&to_beta(), &batch).expect("room");
        sent += 1;
    }

    assert_eq!(sent, 32);
    for _ in 0..sent {
        let answer = client.recv_batch().expect("stored");
        assert!(answer.ids.0.iter().all(|id| !id.is_nil()));
    }
    assert_eq!(client.unanswered(), 0);
}

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let home = Home::new();
    let daemon = home.start();
    let small = daemon.client().put(&to_beta(), b"small").expect("put");
    let large = daemon
        .client()
        .put(&to_beta(), &bytes(6 << 20))
        .expect("put");
    daemon.stop();

    let daemon = home.start();

    let mut client = daemon.client();
    for (accepted, body) in [(small, b"small".to_vec()), (large, bytes(6 << 20))] {
        let mut back = Vec::new();
        let id = accepted.segment_id.to_string();
        client.get(&id, &mut back).expect("it is here");
        assert!(back == body);
    }
}

#[test]
fn what_the_core_refuses_is_refused_before_its_bytes() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut code = |options: PutOptions, len| {
        let put = Put {
            options,
            key: None,
            len,
        };
        let error = refused(client.put_with(put, Untouched));
        assert!(!error.message.is_empty());
        (error.kind, error.code)
    };
    let lane = |lane: &str| PutOptions {
        lane: lane.into(),
        ..to_beta()
    };
    let both = Target::Peers(vec!["beta".into(), "gamma".into()]);

    let not_found = |code: &str| (ErrorKind::NotFound, code.to_owned());
    let no_peer = PutOptions::to(Target::Peers(vec![]));
    assert_eq!(
        code(PutOptions::to_peer("gamma"), None),
        not_found("unknown_peer")
    );
    assert_eq!(code(lane("nowhere"), None), not_found("unknown_lane"));
    assert_eq!(code(lane("control"), None).1, "lane_reserved");
    assert_eq!(code(no_peer, None), (ErrorKind::Invalid, "no_peer".into()));
    assert_eq!(code(to_beta(), Some(65 << 20)).1, "too_large");
    assert_eq!(code(to_beta(), Some(u64::MAX)).1, "too_large");
    let route = code(PutOptions::to_route("r"), None);
    assert_eq!(route, not_found("unknown_route"));
    let one_of_two = PutOptions {
        success: Some(Success::OnePeer),
        ..PutOptions::to(both)
    };
    assert_eq!(code(one_of_two, None), not_found("unknown_peer"));
    // The conversation has gone on through all of these.
    assert!(client.put(&to_beta(), b"x").is_ok());
}

#[test]
fn another_length_than_announced_is_refused_and_the_conversation_goes_on() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();

    for (announced, came) in [(10, 5), (10, 20), (5 << 20, 100), (100, 2 << 20)] {
        let body = bytes(came);
        let error = refused(client.put_with(put(Some(announced), None), &body[..]));
        assert_eq!(error.code, "other_length", "{error}");
    }
    let accepted = client
        .put(&to_beta(), b"x")
        .expect("the conversation goes on");
    let page = client.list(&list(10)).expect("a page");

    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].segment_id, accepted.segment_id);
}

#[test]
fn a_stream_that_grows_too_large_is_refused() {
    let home = Home::with("[storage]\nmax_bytes = \"64MiB\"\n");
    let daemon = home.start();
    let mut client = daemon.client();

    let error = refused(client.put_reader(&to_beta(), &bytes((16 << 20) + 1)[..]));

    assert_eq!(error.code, "too_large", "{error}");
    assert!(client.put(&to_beta(), b"x").is_ok());
}

#[test]
fn a_key_names_one_segment() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut keyed = |key: &str, body: &[u8]| client.put_with(put(None, Some(key)), body);

    let first = keyed("k", b"one").expect("new");
    let again = keyed("k", b"one").expect("known");
    let conflict = refused(keyed("k", b"two"));
    let other = keyed("k2", b"two").expect("new");
    let long = refused(keyed(&"k".repeat(129), b"x"));

    assert!(!first.known && again.known && !other.known);
    assert_eq!(first.segment_id, again.segment_id);
    assert_eq!(conflict.code, "key_conflict");
    assert!(conflict.message.contains(&first.segment_id.to_string()));
    assert_eq!(long.code, "bad_key");
}

#[test]
fn a_client_that_hangs_up_half_way_leaves_nothing() {
    let home = Home::new();
    let daemon = home.start();
    let files = || {
        let folder = home.config.node.state_dir.join("payload");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    };
    /// Gives a few chunks, then fails.
    struct Broken(u32);
    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::Other)?;
            Ok(into.len())
        }
    }

    for (len, chunks) in [(None, 2), (Some(8 << 20), 8), (None, 24)] {
        let mut client = daemon.client();
        assert!(client.put_with(put(len, None), Broken(chunks)).is_err());
    }

    wait_for("the staged files to go", || (files() == 0).then_some(()));
    let page = daemon.client().list(&list(10)).expect("a page");
    assert_eq!(page.total, 0);
}

#[test]
fn a_batch_refused_as_a_whole_says_why_once() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();

    let done = client.put_many(&PutOptions::to_peer("gamma"), [b"a", b"b"]);
    let after = client.put_many(&to_beta(), [b"a", b"b"]).expect("put");

    let why = done.expect("answered").stopped.expect("refused");
    assert_eq!(why.code, "unknown_peer");
    assert!(after.stopped.is_none() && after.refused.is_empty());
}

fn list(limit: u32) -> SegmentList {
    let mut list = SegmentList::default();
    list.page.limit = limit;
    list
}
