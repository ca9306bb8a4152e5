//! What lies in files beside the ledger, and postcard inside its rows.
//!
//! Promised: a file of earlier panics gives at most eight, with words of one bounded line;
//! a setting that reads is written as what reads the same; no audit entry passes for one
//! of the chain unless its hash is that of its words.

use std::fs;
use std::sync::OnceLock;

use edged::last_panic;
use relay_core::audit::{AuditEntry, Chain};
use relay_core::change::Refused;
use relay_core::id::{BootEpoch, LedgerId};
use relay_core::segment::{Digest, Meta};
use relay_core::setting::{Setting, Value};
use relay_core::time::Unix;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::Numbers;

/// The bytes as each of them.
///
/// # Panics
/// When a promise is broken.
pub fn play(bytes: &[u8]) {
    panics(bytes);
    again::<Setting>(bytes);
    again::<Value>(bytes);
    again::<Vec<Refused>>(bytes);
    again::<Meta>(bytes);
    chain(bytes);
}

fn panics(bytes: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER
        .get_or_init(|| TempDir::new().expect("a folder"))
        .path();
    fs::write(folder.join(last_panic::NAME), bytes).expect("a file");
    let found = last_panic::arm(folder, LedgerId(5), BootEpoch(9));
    assert!(found.len() <= 8, "{} panics", found.len());
    for panic in found {
        assert!(panic.said.len() < 16 << 10);
    }
}

/// What reads, and is written, reads again and is written the same.
fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = postcard::from_bytes::<T>(bytes) else {
        return;
    };
    let written = postcard::to_stdvec(&value).expect("plain words");
    let found = postcard::from_bytes::<T>(&written).expect("what was written reads");
    assert_eq!(postcard::to_stdvec(&found), Ok(written));
}

/// Words taken from the bytes, chained, and one of them changed.
fn chain(bytes: &[u8]) {
    let mut numbers = Numbers(bytes);
    let seq = numbers.long();
    let mut word = || {
        let length = usize::from(numbers.byte() % 32);
        String::from_utf8_lossy(numbers.take(length)).into_owned()
    };
    let mut entry = AuditEntry {
        seq,
        at: Unix(word().len() as u64),
        event: word(),
        category: word(),
        action: word(),
        outcome: word(),
        source: word(),
        actor: Some(word()),
        uid: None,
        resource_type: word(),
        resource: word(),
        reason: Some(word()),
        fields: vec![(word(), word()), (word(), word())],
        prev: Digest::default(),
        hash: Digest::default(),
    };
    entry.hash = entry.digest();
    let mut chain = Chain::default();
    assert_eq!(chain.hear(&entry), Ok(()));
    // The next number may be that of the next entry, or there is none.
    let mut next = AuditEntry {
        seq: seq.wrapping_add(1),
        prev: entry.hash,
        ..entry.clone()
    };
    next.hash = next.digest();
    assert_eq!(chain.hear(&next).is_ok(), seq < u64::MAX);
    // A character moved over a border between two words is another entry.
    if let Some(last) = entry.event.pop() {
        entry.category.insert(0, last);
        assert!(Chain::default().hear(&entry).is_err());
    }
}
