//! A producer whose connection breaks: the same put, under the same key, on the next one.

mod fake;

use std::io::Cursor;
use std::time::Duration;

use edged_rpc::{Accepted, ClientError, Digest, Durability, ErrorKind, Id, Producer};
use edged_rpc::{Put, PutOptions, Request, Response, RpcError};
use fake::{Fake, Session};

/// The fake holds on to a connection that it has given up.
const STALL: Duration = Duration::from_millis(200);

fn hear_put(daemon: &mut Session) -> Put {
    let heard = daemon.hear();
    let Request::Put(put) = heard else {
        panic!("{heard:?}");
    };
    put
}

fn accept(daemon: &mut Session, known: bool) {
    daemon.say(&Response::Accepted(Accepted {
        segment_id: Id([7; 16]),
        durability: Durability::Synced,
        digest: Digest([1; 32]),
        known,
    }));
}

fn to_beta() -> PutOptions {
    PutOptions::to_peer("beta")
}

#[test]
fn a_put_whose_answer_is_lost_is_put_again_under_its_key() {
    let fake = Fake::run(|daemon| {
        let first = hear_put(daemon);
        daemon.say(&Response::Go);
        assert_eq!(daemon.payload(), b"reading");
        // Stored, and then the daemon is gone.
        daemon.next();
        let second = hear_put(daemon);
        assert!(first.key.is_some());
        assert_eq!(first, second);
        daemon.say(&Response::Go);
        assert_eq!(daemon.payload(), b"reading");
        accept(daemon, true);
    });
    let mut producer = Producer::new(&fake.socket).stalled_after(STALL);

    let accepted = producer.put(&to_beta(), b"reading").expect("stored");

    assert!(accepted.known);
    fake.finish();
}

#[test]
fn a_source_is_read_again_from_where_it_stood() {
    let fake = Fake::run(|daemon| {
        hear_put(daemon);
        daemon.say(&Response::Go);
        daemon.payload();
        daemon.next();
        assert_eq!(hear_put(daemon).len, Some(4));
        daemon.say(&Response::Go);
        assert_eq!(daemon.payload(), b"rest");
        accept(daemon, false);
    });
    let mut source = Cursor::new(b"head rest".to_vec());
    source.set_position(5);

    let mut producer = Producer::new(&fake.socket).stalled_after(STALL);
    let put = producer.put_from(&to_beta(), "k", source);

    assert!(!put.expect("stored").known);
    fake.finish();
}

#[test]
fn what_the_daemon_refuses_for_good_is_not_tried_again() {
    let fake = Fake::run(|daemon| {
        hear_put(daemon);
        let full = RpcError::new(ErrorKind::Refused, "storage_full", "no room");
        daemon.say(&Response::Error(full));
        daemon.until_gone();
    });
    let mut producer = Producer::new(&fake.socket);

    let refused = producer.put(&to_beta(), b"reading");

    assert!(
        matches!(refused, Err(ClientError::Refused(_))),
        "{refused:?}"
    );
    drop(producer);
    fake.finish();
}

#[test]
fn a_daemon_that_is_going_down_is_asked_again() {
    let fake = Fake::run(|daemon| {
        hear_put(daemon);
        let going = RpcError::new(ErrorKind::Refused, "draining", "going down");
        daemon.say(&Response::Error(going));
        hear_put(daemon);
        daemon.say(&Response::Go);
        daemon.payload();
        accept(daemon, false);
    });

    let put = Producer::new(&fake.socket).put(&to_beta(), b"reading");

    assert!(put.is_ok(), "{put:?}");
    fake.finish();
}
