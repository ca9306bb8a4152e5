//! What a local client says, and what it is answered.
//!
//! Promised: what decodes encodes, and decodes to the same again; a length is refused
//! before its bytes; lengths of a batch that pass add up to no more than a frame.

use std::fmt::Debug;

use edged_rpc::frame::{PREFIX, check_lengths, decode, split, words};
use edged_rpc::{Greeting, Hello, MAX_FRAME, MAX_RAW, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Frames behind each other, each read as whatever may come.
///
/// # Panics
/// When a promise is broken.
pub fn play(mut bytes: &[u8]) {
    message(bytes);
    while let Ok(Some(body)) = split(bytes, MAX_FRAME) {
        bytes = &bytes[PREFIX + body.len()..];
        message(body);
    }
    if let Ok(Some(raw)) = split(bytes, MAX_RAW) {
        assert!(raw.len() <= MAX_RAW);
    }
}

fn message(body: &[u8]) {
    again::<Hello>(body);
    again::<Greeting>(body);
    again::<Response>(body);
    if let Some(Request::PutBatch(batch)) = again::<Request>(body)
        && let Ok(total) = check_lengths(&batch.lengths)
    {
        assert!(total <= MAX_RAW, "{total} B in a batch");
    }
}

/// `body` as a `T`, which reads back from its own words.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) -> Option<T> {
    let message = decode::<T>(body).ok()?;
    // Numbers may be written longer than need be, so that its words may be shorter.
    let ours = words(&message).expect("what was decoded fits a frame");
    let found = decode::<T>(&ours).expect("what was encoded decodes");
    // Floats in answers may be no number, which equals nothing, itself included.
    assert_eq!(words(&found), Ok(ours));
    Some(message)
}
