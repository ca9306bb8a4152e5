//! What the client promises, against a daemon of a few lines.

mod fake;

use std::io::{self, Read};
use std::time::Duration;

use edged_rpc::{
    Accepted, AcceptedBatch, Batch, Client, ClientError, Confirmed, Digest, Durability, ErrorKind,
    Greeting, Id, Ids, InboxTake, InboxView, LeaseState, MAX_CHUNK, MAX_RAW, Moment, PutOptions,
    Refusal, Request, Response, RpcError, VersionView, WINDOW_BATCHES,
};

use fake::{Fake, Session, welcome};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_put_waits_for_go_and_streams_in_chunks() {
    let bytes: Vec<u8> = (0..MAX_CHUNK + 10).map(|n| n.to_le_bytes()[0]).collect();
    let expected = bytes.clone();
    let fake = Fake::run(move |daemon| {
        let Request::Put(put) = daemon.hear() else {
            panic!("not a put")
        };
        assert_eq!(put.len, Some(expected.len() as u64));
        daemon.say(&Response::Go);
        assert_eq!(daemon.payload(), expected);
        daemon.say(&Response::Accepted(accepted(1)));
    });
    let mut client = connect(&fake);

    let put = client
        .put(&PutOptions::to_peer("beta"), &bytes)
        .expect("accepted");

    assert_eq!(put, accepted(1));
    assert_eq!(client.welcome().node, "alpha");
    fake.finish();
}

#[test]
fn a_put_refused_when_announced_sends_no_bytes_and_the_conversation_goes_on() {
    let fake = Fake::run(|daemon| {
        let Request::Put(_) = daemon.hear() else {
            panic!("not a put")
        };
        daemon.say(&Response::Error(full()));
        assert_eq!(daemon.hear(), Request::Version);
        daemon.say(&Response::Version(version()));
    });
    let mut client = connect(&fake);

    let put = client.put_reader(&PutOptions::to_peer("beta"), NeverRead);

    assert!(matches!(put, Err(ClientError::Refused(error)) if error == full()));
    assert_eq!(client.version().expect("still talking"), version());
    fake.finish();
}

#[test]
fn a_source_that_fails_half_way_ends_the_conversation_without_an_end() {
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.say(&Response::Go);
        assert_eq!(daemon.raw(), b"half");
        daemon.until_gone();
    });
    let mut client = connect(&fake);

    let put = client.put_reader(&PutOptions::to_peer("beta"), b"half".chain(NeverRead));

    assert!(matches!(put, Err(ClientError::Source(_))));
    assert!(matches!(client.version(), Err(ClientError::Broken)));
    drop(client);
    fake.finish();
}

#[test]
fn a_daemon_that_hangs_up_during_the_bytes_is_heard_out_first() {
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.say(&Response::Go);
        daemon.raw();
        daemon.say(&Response::Error(full()));
    });
    let mut client = connect(&fake);

    let put = client.put_reader(&PutOptions::to_peer("beta"), io::repeat(7));

    assert!(matches!(put, Err(ClientError::Refused(error)) if error == full()));
    fake.finish();
}

#[test]
fn put_many_pairs_ids_and_refusals_with_bodies() {
    let fake = Fake::run(|daemon| {
        let mut next = 0;
        for members in [512, 512, 176] {
            let sizes = hear_batch(daemon);
            assert_eq!(sizes.len(), members);
            let ids = (0..members).map(|place| id(next + place)).collect();
            let refused = vec![Refusal {
                members: vec![3],
                error: full(),
            }];
            next += members;
            daemon.say(&batch_answer(ids, refused));
        }
    });
    let mut client = connect(&fake);

    let done = client
        .put_many(
            &PutOptions::to_peer("beta"),
            (0..1_200).map(|n| vec![7; n % 300]),
        )
        .expect("all answered");

    assert_eq!(done.ids.len(), 1_200);
    assert_eq!(done.ids[1_199], id(1_199));
    assert_eq!(done.durability, Some(Durability::Synced));
    let places: Vec<_> = done.refused.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [3, 515, 1_027]);
    assert_eq!(client.unanswered(), 0);
    fake.finish();
}

#[test]
fn put_many_sends_what_no_batch_can_hold_by_itself() {
    let fake = Fake::run(|daemon| {
        assert_eq!(hear_batch(daemon), [1]);
        daemon.say(&batch_answer(vec![id(1)], vec![]));
        daemon.hear();
        daemon.say(&Response::Go);
        assert_eq!(daemon.payload().len(), MAX_RAW + 1);
        daemon.say(&Response::Accepted(accepted(2)));
        assert_eq!(hear_batch(daemon), [2]);
        daemon.say(&batch_answer(vec![id(3)], vec![]));
    });
    let mut client = connect(&fake);
    let bodies = [vec![1], vec![2; MAX_RAW + 1], vec![3, 3]];

    let done = client
        .put_many(&PutOptions::to_peer("beta"), &bodies)
        .expect("all answered");

    assert_eq!(done.ids, [id(1), id(2), id(3)]);
    fake.finish();
}

#[test]
fn put_many_stops_at_a_batch_refused_whole() {
    let fake = Fake::run(|daemon| {
        hear_batch(daemon);
        daemon.say(&Response::Error(full()));
        daemon.until_gone();
    });
    let mut client = connect(&fake);

    let done = client
        .put_many(&PutOptions::to_peer("beta"), [b"a", b"b"])
        .expect("answered");

    assert_eq!(done.stopped, Some(full()));
    assert_eq!(done.ids, [Id::NIL, Id::NIL]);
    assert_eq!(done.refused.len(), 2);
    drop(client);
    fake.finish();
}

#[test]
fn the_window_of_unanswered_batches_is_bounded_and_guards_other_calls() {
    let fake = Fake::run(|daemon| {
        for _ in 0..WINDOW_BATCHES {
            hear_batch(daemon);
            daemon.say(&batch_answer(vec![id(1)], vec![]));
        }
    });
    let mut client = connect(&fake);
    let options = PutOptions::to_peer("beta");
    let mut batch = Batch::new();
    assert!(batch.push(b"x"));

    for _ in 0..WINDOW_BATCHES {
        client.send_batch(&options, &batch).expect("room");
    }

    assert!(!client.has_room(1));
    let more = client.send_batch(&options, &batch);
    assert!(matches!(
        more,
        Err(ClientError::AnswersDue {
            batches: WINDOW_BATCHES,
            ..
        })
    ));
    assert!(matches!(
        client.version(),
        Err(ClientError::AnswersDue { .. })
    ));
    for _ in 0..WINDOW_BATCHES {
        client.recv_batch().expect("answered");
    }
    fake.finish();
}

#[test]
fn take_splits_a_group_into_bodies_whatever_the_chunks() {
    let fake = Fake::run(|daemon| {
        let Request::InboxTake(take) = daemon.hear() else {
            panic!("not a take")
        };
        assert_eq!(take.max, 10);
        daemon.say(&Response::Items(vec![item(1, 3), item(2, 0), item(3, 4)]));
        for chunk in ["ab", "cde", "fg", ""] {
            daemon.send_raw(chunk.as_bytes());
        }
        daemon.say(&Response::Items(vec![item(4, 1)]));
        daemon.send_raw(b"h");
        daemon.send_raw(b"");
        daemon.say(&Response::Done);
        let Request::InboxConfirm(confirm) = daemon.hear() else {
            panic!("not a confirm")
        };
        assert_eq!(confirm.ids.0, [id(1), id(2), id(3), id(4)]);
        daemon.say(&Response::Confirmed(Confirmed {
            confirmed: 4,
            ..Confirmed::default()
        }));
    });
    let mut client = connect(&fake);

    let taken = client
        .take(&InboxTake {
            max: 10,
            ..InboxTake::default()
        })
        .expect("four");
    let ids: Vec<_> = taken.iter().map(|(item, _)| item.segment_id).collect();
    let confirmed = client.confirm(&ids).expect("confirmed");

    let bodies: Vec<_> = taken.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bodies, [&b"abc"[..], b"", b"defg", b"h"]);
    assert_eq!(confirmed.confirmed, 4);
    fake.finish();
}

#[test]
fn a_body_cut_short_gives_the_daemons_reason_and_the_conversation_goes_on() {
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.say(&Response::Items(vec![item(1, 100)]));
        daemon.send_raw(b"only this");
        daemon.send_raw(b"");
        daemon.say(&Response::Error(full()));
        daemon.hear();
        daemon.say(&Response::Version(version()));
    });
    let mut client = connect(&fake);

    let got = client.inbox_get("seg-01", io::sink());

    assert!(matches!(got, Err(ClientError::Refused(error)) if error == full()));
    assert_eq!(client.version().expect("still talking"), version());
    fake.finish();
}

#[test]
fn what_a_caller_leaves_of_a_body_is_passed_over() {
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.say(&Response::Items(vec![item(1, 3), item(2, 2)]));
        daemon.send_raw(b"abcde");
        daemon.send_raw(b"");
        daemon.say(&Response::Done);
    });
    let mut client = connect(&fake);
    let mut firsts = Vec::new();

    let count = client
        .take_with(
            &InboxTake {
                max: 2,
                ..InboxTake::default()
            },
            |_, body| {
                let mut first = [0];
                body.read_exact(&mut first)?;
                firsts.push(first[0]);
                Ok(())
            },
        )
        .expect("two");

    assert_eq!((count, &firsts[..]), (2, &b"ad"[..]));
    fake.finish();
}

#[test]
fn silence_times_out_and_breaks_the_conversation() {
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.until_gone();
    });
    let mut client = Client::connect(&fake.socket, Duration::from_millis(50)).expect("greeted");

    let asked = client.version();

    assert!(matches!(asked, Err(ClientError::TimedOut(_))));
    assert!(matches!(client.version(), Err(ClientError::Broken)));
    drop(client);
    fake.finish();
}

#[test]
fn greetings_that_are_refused_foreign_or_garbage_say_so() {
    let refused = Fake::run_raw(|daemon| {
        daemon.raw();
        daemon.send(&Greeting::Refused(full()));
    });
    let foreign = Fake::run_raw(|daemon| {
        daemon.raw();
        daemon.send(&Greeting::Welcome(welcome(900)));
    });
    let garbage = Fake::run_raw(|daemon| {
        daemon.raw();
        daemon.send_bytes(b"HTTP/1.1 400 Bad Request");
    });
    let gone = Fake::run_raw(|daemon| drop(daemon.raw()));
    let connect = |fake: &Fake| Client::connect(&fake.socket, LONG).map(drop);

    assert!(matches!(connect(&refused), Err(ClientError::Refused(_))));
    assert!(matches!(
        connect(&foreign),
        Err(ClientError::OtherVersion { theirs: 900, .. })
    ));
    assert!(matches!(connect(&garbage), Err(ClientError::Frame(_))));
    assert!(matches!(connect(&gone), Err(ClientError::HungUp)));
    for fake in [refused, foreign, garbage, gone] {
        fake.finish();
    }
}

#[test]
fn nobody_at_the_socket_is_no_daemon() {
    let dir = tempfile::tempdir().expect("a temporary folder");

    let none = Client::connect(dir.path().join("rpc.sock"), LONG);

    assert!(matches!(none, Err(ClientError::NoDaemon { .. })));
}

/// A source nobody may read from.
struct NeverRead;

impl Read for NeverRead {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("read although refused"))
    }
}

fn connect(fake: &Fake) -> Client {
    Client::connect(&fake.socket, LONG).expect("greeted")
}

fn hear_batch(daemon: &mut Session) -> Vec<u32> {
    let Request::PutBatch(batch) = daemon.hear() else {
        panic!("not a batch")
    };
    let bodies = daemon.raw();
    assert_eq!(bodies.len(), batch.lengths.iter().sum::<u32>() as usize);
    batch.lengths
}

fn batch_answer(ids: Vec<Id>, refused: Vec<Refusal>) -> Response {
    let (ids, durability) = (Ids(ids), Durability::Synced);
    Response::AcceptedBatch(AcceptedBatch {
        ids,
        durability,
        refused,
    })
}

fn id(number: usize) -> Id {
    Id((number as u128 + 1).to_be_bytes())
}

fn accepted(number: usize) -> Accepted {
    let (durability, digest) = (Durability::Synced, Digest([9; 32]));
    Accepted {
        segment_id: id(number),
        durability,
        digest,
        known: false,
    }
}

fn full() -> RpcError {
    RpcError::new(ErrorKind::Refused, "storage_full", "outbox full").with_hint("wait")
}

fn version() -> VersionView {
    VersionView {
        version: "0.0.1".into(),
        rpc_version: 1,
        node: "alpha".into(),
        boot_epoch: 7,
        started_at: Moment(1),
    }
}

fn item(number: usize, len: u64) -> InboxView {
    InboxView {
        segment_id: id(number),
        origin: "beta".into(),
        via: "beta".into(),
        lane: "default".into(),
        lane_sequence: number as u64,
        topic: None,
        labels: Default::default(),
        len,
        digest: Digest([1; 32]),
        received_at: Moment(1),
        state: LeaseState::Leased,
        leased_until: Some(Moment(2)),
        takes: 1,
    }
}
