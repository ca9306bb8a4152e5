//! What was sent against what arrived.
//!
//! [`reconcile`] compares two lists and knows nothing else; [`read_back`] makes
//! the second of them, from beta's own bytes. A segment is its id: an arrival
//! that no put was answered with, or that comes twice, is a duplicate.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edged_rpc::{Client, ClientError, Digest, Id, InboxList, InboxView, Paging};

use super::watch::Watch;

/// Rows read between two looks at the interrupt and the bar.
const PAGE: u32 = 256;
/// What the daemon answers who asks too often.
const TOO_FAST: &str = "too_many_requests";
/// How long to be quiet then, and how often at most.
const QUIET: Duration = Duration::from_millis(100);
const QUIETS: usize = 100;

/// One segment as its source has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// The name alpha gave it.
    pub(super) id: Id,
    /// Its path or number, for people.
    pub(super) name: String,
    /// Bytes of the source.
    pub(super) len: u64,
    /// Digest of the source.
    pub(super) digest: Digest,
}

/// One segment as beta has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Its name.
    pub(super) id: Id,
    /// Bytes read back.
    pub(super) len: u64,
    /// Digest of the bytes read back.
    pub(super) digest: Digest,
}

/// What the comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Findings {
    /// Sent, and not at beta.
    pub(super) lost: Vec<String>,
    /// At beta, and not sent, or once too often.
    pub(super) duplicates: Vec<Id>,
    /// At beta, with other bytes.
    pub(super) changed: Vec<String>,
    /// At beta, with the very bytes of their source.
    pub(super) verified: u64,
}

impl Findings {
    /// Whether nothing is lost, doubled or changed.
    #[must_use]
    pub(super) const fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.duplicates.is_empty() && self.changed.is_empty()
    }
}

/// Compares what was sent with what arrived.
#[must_use]
pub(super) fn reconcile(sent: &[Sent], arrived: &[Arrived]) -> Findings {
    let mut findings = Findings::default();
    let mut there: BTreeMap<Id, &Arrived> = BTreeMap::new();
    for item in arrived {
        if there.insert(item.id, item).is_some() {
            findings.duplicates.push(item.id);
        }
    }
    for item in sent {
        match there.remove(&item.id) {
            None => findings.lost.push(item.name.clone()),
            Some(found) if (found.len, found.digest) == (item.len, item.digest) => {
                findings.verified += 1;
            }
            Some(_) => findings.changed.push(item.name.clone()),
        }
    }
    findings.duplicates.extend(there.into_keys());
    findings
}

/// Everything beta holds, its bytes read and digested here, over all of `beta`'s
/// connections at once.
///
/// # Errors
/// Beta does not answer, or does not give what it lists.
pub(super) fn read_back(beta: &mut [Client], watch: &Watch<'_>) -> Result<Vec<Arrived>> {
    let mut arrived = Vec::new();
    let mut page = Paging {
        limit: PAGE,
        after: None,
    };
    loop {
        watch.go_on()?;
        let which = InboxList {
            page: page.clone(),
            ..InboxList::default()
        };
        let first = beta.first_mut().context("a connection to beta")?;
        let listed = first.inbox(&which).context("cannot list beta's inbox")?;
        arrived.extend(read_page(beta, &listed.items)?);
        watch.at(arrived.len() as u64);
        // A page without rows ends the list, whatever it says of the next.
        match listed.next {
            Some(next) if !listed.items.is_empty() => page.after = Some(next),
            Some(_) | None => return Ok(arrived),
        }
    }
}

/// One page, shared out among the connections: alone, each would mostly wait.
fn read_page(beta: &mut [Client], items: &[InboxView]) -> Result<Vec<Arrived>> {
    let share = items.len().div_ceil(beta.len()).max(1);
    std::thread::scope(|scope| {
        let shares = beta.iter_mut().zip(items.chunks(share));
        let readers: Vec<_> = shares
            .map(|(beta, items)| {
                scope.spawn(move || items.iter().map(|item| read_one(beta, item)).collect())
            })
            .collect();
        let mut arrived = Vec::with_capacity(items.len());
        for reader in readers {
            let read: Result<Vec<Arrived>> = reader.join().expect("a reader does not panic");
            arrived.extend(read?);
        }
        Ok(arrived)
    })
}

fn read_one(beta: &mut Client, item: &InboxView) -> Result<Arrived> {
    let id = item.segment_id;
    for _ in 0..QUIETS {
        let mut hasher = blake3::Hasher::new();
        match beta.inbox_get(&id.to_string(), &mut hasher) {
            Ok(_) => {
                let digest = Digest(*hasher.finalize().as_bytes());
                return Ok(Arrived {
                    id,
                    len: hasher.count(),
                    digest,
                });
            }
            Err(ClientError::Refused(error)) if error.code == TOO_FAST => std::thread::sleep(QUIET),
            Err(error) => return Err(error).with_context(|| format!("cannot read {id} at beta")),
        }
    }
    bail!("beta was too busy {QUIETS} times to give {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_once_and_unchanged_is_clean() {
        let findings = reconcile(&[sent(1), sent(2)], &[arrived(2), arrived(1)]);

        assert_eq!(findings.verified, 2);
        assert!(findings.is_clean());
    }

    #[test]
    fn a_lost_segment_is_found() {
        let findings = reconcile(&[sent(1), sent(2)], &[arrived(1)]);

        assert_eq!(findings.lost, ["2"]);
        assert_eq!(findings.verified, 1);
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_doubled_segment_is_found_under_its_own_id_and_under_another() {
        let findings = reconcile(&[sent(1)], &[arrived(1), arrived(1), arrived(9)]);

        assert_eq!(findings.duplicates, [id(1), id(9)]);
        assert_eq!(findings.verified, 1);
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_changed_segment_is_found() {
        let mut other = arrived(1);
        other.digest.0[31] ^= 1;
        let mut shorter = arrived(2);
        shorter.len -= 1;

        let findings = reconcile(&[sent(1), sent(2)], &[other, shorter]);

        assert_eq!(findings.changed, ["1", "2"]);
        assert_eq!(findings.verified, 0);
        assert!(!findings.is_clean());
    }

    #[test]
    fn two_puts_answered_with_one_id_lose_one() {
        let mut same = sent(2);
        same.id = id(1);

        let findings = reconcile(&[sent(1), same], &[arrived(1)]);

        assert_eq!(findings.lost, ["2"]);
    }

    fn id(n: u8) -> Id {
        Id([n; 16])
    }

    fn sent(n: u8) -> Sent {
        Sent {
            id: id(n),
            name: n.to_string(),
            len: 7,
            digest: Digest([n; 32]),
        }
    }

    fn arrived(n: u8) -> Arrived {
        Arrived {
            id: id(n),
            len: 7,
            digest: Digest([n; 32]),
        }
    }
}
