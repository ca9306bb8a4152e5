//! A record in its place in the chain, and the rule that chains it.
//!
//! The hash of an entry is BLAKE3 over its canonical bytes:
//!
//! ```text
//! "edged audit 1"                                     13 bytes
//! seq u64 | at u64                                    little-endian
//! event | category | action | outcome | source        each: length u32, UTF-8
//! actor | uid | reason                                each: 0, or 1 and the value
//! resource_type | resource                            each: length u32, UTF-8
//! count of fields u32, then name | value of each      each: length u32, UTF-8
//! prev                                                32 bytes
//! ```
//!
//! `prev` is the hash of the entry before it; the first has 32 zeros. Whoever
//! changes, removes or reorders entries has to rewrite every later one, and the
//! head beside them. A determined root can: until entries are shipped away the
//! chain shows damage and careless edits (surface 7).

use super::AuditRecord;
use crate::segment::Digest;
use crate::time::Unix;

const DOMAIN: &[u8] = b"edged audit 1";

/// A record with its number and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// From 1, without a gap.
    pub seq: u64,
    /// When, as the wall clock said.
    pub at: Unix,
    /// See [`super::AuditEvent::as_str`].
    pub event: String,
    /// See [`super::AuditEvent::category`].
    pub category: String,
    /// The last word of the event.
    pub action: String,
    /// See [`super::AuditOutcome::as_str`].
    pub outcome: String,
    /// See [`super::AuditSource::as_str`].
    pub source: String,
    /// The operator's label.
    pub actor: Option<String>,
    /// The uid the kernel proved.
    pub uid: Option<u32>,
    /// What kind of thing it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource: String,
    /// The operator's own words.
    pub reason: Option<String>,
    /// Anything more, by name.
    pub fields: Vec<(String, String)>,
    /// The hash of the entry before it.
    pub prev: Digest,
    /// The hash of this one.
    pub hash: Digest,
}

impl AuditEntry {
    /// `record` as entry `seq` behind `prev`.
    #[must_use]
    pub fn chained(record: &AuditRecord, seq: u64, prev: Digest) -> Self {
        let event = record.event.as_str();
        let fields = record.fields.iter();
        let mut entry = Self {
            seq,
            at: record.at,
            event: event.to_owned(),
            category: record.event.category().to_owned(),
            action: event.rsplit('.').next().unwrap_or(event).to_owned(),
            outcome: record.outcome.as_str().to_owned(),
            source: record.source.as_str().to_owned(),
            actor: record.actor.clone(),
            uid: record.uid,
            resource_type: record.resource_type.to_owned(),
            resource: record.resource.clone(),
            reason: record.reason.clone(),
            fields: fields
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            prev,
            hash: Digest::default(),
        };
        entry.hash = entry.digest();
        entry
    }

    /// The hash its words should have.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }

    /// The bytes that are hashed.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        bytes.extend(self.seq.to_le_bytes());
        bytes.extend(self.at.0.to_le_bytes());
        for word in [
            &self.event,
            &self.category,
            &self.action,
            &self.outcome,
            &self.source,
        ] {
            text(&mut bytes, word);
        }
        maybe(&mut bytes, self.actor.as_deref());
        match self.uid {
            None => bytes.push(0),
            Some(uid) => {
                bytes.push(1);
                bytes.extend(uid.to_le_bytes());
            }
        }
        maybe(&mut bytes, self.reason.as_deref());
        text(&mut bytes, &self.resource_type);
        text(&mut bytes, &self.resource);
        bytes.extend((self.fields.len() as u32).to_le_bytes());
        for (name, value) in &self.fields {
            text(&mut bytes, name);
            text(&mut bytes, value);
        }
        bytes.extend(self.prev.0);
        bytes
    }

    /// A field by name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn text(bytes: &mut Vec<u8>, word: &str) {
    bytes.extend((word.len() as u32).to_le_bytes());
    bytes.extend(word.as_bytes());
}

fn maybe(bytes: &mut Vec<u8>, word: Option<&str>) {
    match word {
        None => bytes.push(0),
        Some(word) => {
            bytes.push(1);
            text(bytes, word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditEvent;
    use crate::event::Caller;

    #[test]
    fn the_hash_of_a_record_never_changes() {
        let caller = Caller {
            uid: 1000,
            operator: Some("ops".into()),
            reason: Some("link is down".into()),
        };
        let record = AuditRecord::by(
            &caller,
            Unix(1_700_000_000_000),
            AuditEvent::Paused,
            "peer",
            "beta".into(),
        )
        .with("how", "now");

        let entry = AuditEntry::chained(&record, 7, Digest([9; 32]));

        assert_eq!(
            entry.hash.to_string(),
            "569e26a8d58dc456e560fa71074885ab056d84430786dbe4589c309d10692e6e",
            "{:02x?}",
            entry.canonical()
        );
    }

    #[test]
    fn no_two_words_can_trade_a_byte() {
        let record = |kind: &'static str, which: &str| {
            let own = AuditRecord::own(Unix(1), AuditEvent::SystemStarted, kind, which.into());
            AuditEntry::chained(&own, 1, Digest::default()).hash
        };

        assert_ne!(record("ab", "c"), record("a", "bc"));
    }
}
