//! Frames no sound client sends: each ends one conversation, the daemon serves on.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use edged_rpc::frame::{decode, encode, prefix};
use edged_rpc::{Greeting, Hello, MAX_CHUNK, MAX_FRAME, Put, PutBatch, Request, Response};

use crate::world::{Home, PATIENCE, to_beta};

/// A client that sends what it likes.
struct Rogue(UnixStream);

impl Rogue {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    fn greeted(socket: &Path) -> Self {
        let mut rogue = Self::connect(socket);
        rogue.say(&Hello::new("rogue"));
        let greeting: Greeting = decode(&rogue.frame().expect("an answer")).expect("words");
        assert!(matches!(greeting, Greeting::Welcome(_)), "{greeting:?}");
        rogue
    }

    fn say(&mut self, message: &impl serde::Serialize) {
        let mut out = Vec::new();
        encode(message, &mut out).expect("small");
        self.send(&out);
    }

    /// The daemon may have hung up already.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// One frame, or `None` at the end.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut body).expect("whole frames");
        Some(body)
    }

    /// The code of the error that must come next.
    fn error(&mut self) -> String {
        let answer = self.answer();
        let Response::Error(error) = answer else {
            panic!("{answer:?} is no error");
        };
        error.code
    }

    fn answer(&mut self) -> Response {
        decode(&self.frame().expect("an answer")).expect("words")
    }

    fn is_over(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.0.read(&mut byte), Ok(0) | Err(_))
    }
}

fn batch(lengths: &[u32]) -> Request {
    Request::PutBatch(PutBatch {
        options: to_beta(),
        lengths: lengths.to_vec(),
    })
}

#[test]
fn garbage_is_answered_and_ends_one_conversation() {
    let home = Home::new();
    let daemon = home.start();
    let mut bystander = daemon.client();
    let frame = |body: &[u8]| [&prefix(body.len())[..], body].concat();
    let too_long = ((MAX_FRAME + 1) as u32).to_le_bytes().to_vec();

    for garbage in [frame(&[0xff; 40]), frame(&[]), too_long, vec![0xff; 64]] {
        let mut rogue = Rogue::greeted(home.socket());
        rogue.send(&garbage);

        assert_eq!(rogue.error(), "bad_frame");
        assert!(rogue.is_over());
        assert!(bystander.put(&to_beta(), b"x").is_ok());
    }
}

#[test]
fn a_truncated_frame_is_answered_where_someone_still_reads() {
    let home = Home::new();
    let _daemon = home.start();
    let mut rogue = Rogue::greeted(home.socket());

    rogue.send(&[200, 0, 0, 0, 1, 2, 3]);
    rogue.0.shutdown(Shutdown::Write).expect("half closed");

    assert_eq!(rogue.error(), "bad_frame");
    assert!(rogue.is_over());
}

#[test]
fn a_client_that_says_no_hello_is_refused() {
    let home = Home::new();
    let _daemon = home.start();
    let mut rogue = Rogue::connect(home.socket());

    rogue.send(&[1, 0, 0, 0, 0xff]);

    let greeting: Greeting = decode(&rogue.frame().expect("an answer")).expect("words");
    let Greeting::Refused(error) = greeting else {
        panic!("{greeting:?} is no refusal");
    };
    assert_eq!(error.code, "bad_frame");
    assert!(rogue.is_over());
}

#[test]
fn an_older_version_than_we_speak_is_refused_with_a_reason() {
    let home = Home::new();
    let _daemon = home.start();
    let mut rogue = Rogue::connect(home.socket());

    rogue.say(&Hello {
        version: 0,
        ..Hello::new("ancient")
    });

    let greeting: Greeting = decode(&rogue.frame().expect("an answer")).expect("words");
    assert!(
        matches!(&greeting, Greeting::Refused(error) if error.code == "version_too_old"),
        "{greeting:?}"
    );
}

#[test]
fn a_batch_whose_words_and_bytes_disagree_is_refused() {
    let home = Home::new();
    let _daemon = home.start();
    let mut rogue = Rogue::greeted(home.socket());
    let raw = |n: usize| [&prefix(n)[..], &vec![7; n]].concat();

    // Too short, without members, and too many bytes in all: the next batch is fine.
    rogue.say(&batch(&[10, 10]));
    rogue.send(&raw(19));
    assert_eq!(rogue.error(), "bad_batch");
    rogue.say(&batch(&[]));
    rogue.send(&raw(0));
    assert_eq!(rogue.error(), "bad_batch");
    rogue.say(&batch(&[u32::MAX, 1]));
    rogue.send(&raw(5));
    assert_eq!(rogue.error(), "bad_batch");
    rogue.say(&batch(&[1, 2]));
    rogue.send(&raw(3));
    assert!(matches!(rogue.answer(), Response::AcceptedBatch(_)));

    // More than was announced is more than may come.
    rogue.say(&batch(&[10]));
    rogue.send(&raw(11));
    assert_eq!(rogue.error(), "bad_frame");
    assert!(rogue.is_over());
}

#[test]
fn a_chunk_longer_than_a_chunk_ends_the_put() {
    let home = Home::new();
    let daemon = home.start();
    let mut rogue = Rogue::greeted(home.socket());

    rogue.say(&Request::Put(Put {
        options: to_beta(),
        key: None,
        len: None,
    }));
    assert_eq!(rogue.answer(), Response::Go);
    rogue.send(&prefix(MAX_CHUNK + 1));

    assert_eq!(rogue.error(), "bad_frame");
    assert!(rogue.is_over());
    let counters = daemon.client().counters().expect("counts");
    assert!(counters.books.iter().all(|book| book.put == 0));
}

#[test]
fn requests_sent_ahead_are_answered_in_their_order() {
    let home = Home::new();
    let _daemon = home.start();
    let mut rogue = Rogue::greeted(home.socket());

    rogue.say(&Request::Version);
    rogue.say(&batch(&[3]));
    rogue.send(&[&prefix(3)[..], b"abc"].concat());
    rogue.say(&Request::Counters);
    rogue.0.shutdown(Shutdown::Write).expect("half closed");

    assert!(matches!(rogue.answer(), Response::Version(_)));
    assert!(matches!(rogue.answer(), Response::AcceptedBatch(_)));
    let Response::Counters(counters) = rogue.answer() else {
        panic!("counters are asked for last");
    };
    assert_eq!(counters.books[0].put, 1);
    assert!(rogue.is_over());
}

#[test]
fn more_clients_than_there_are_places_are_told_so() {
    let home = Home::with("[rpc]\nmax_connections = 2\n");
    let daemon = home.start();

    // Root and the daemon's own user have four places more.
    let held: Vec<Rogue> = (0..6).map(|_| Rogue::greeted(home.socket())).collect();
    let mut late = Rogue::connect(home.socket());
    late.say(&Hello::new("late"));
    let greeting: Greeting = decode(&late.frame().expect("an answer")).expect("words");

    assert!(
        matches!(&greeting, Greeting::Refused(error) if error.code == "too_many_connections"),
        "{greeting:?}"
    );
    drop(held);
    drop(daemon);
}

#[test]
fn refused_clients_that_say_nothing_hold_few_places() {
    let home = Home::with("[rpc]\nmax_connections = 2\n");
    let daemon = home.start();
    let held: Vec<Rogue> = (0..6).map(|_| Rogue::greeted(home.socket())).collect();
    let told = || {
        let mut late = Rogue::connect(home.socket());
        late.say(&Hello::new("late"));
        late.frame().is_some()
    };
    let begun = Instant::now();

    // Whoever comes while sixteen are silent is hung up on at once.
    let silent: Vec<Rogue> = (0..16).map(|_| Rogue::connect(home.socket())).collect();
    while told() {
        assert!(begun.elapsed() < PATIENCE, "any number is listened to");
    }
    drop(silent);
    while !told() {
        assert!(begun.elapsed() < PATIENCE, "nobody is listened to again");
    }
    drop(held);
    drop(daemon);
}
