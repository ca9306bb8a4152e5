//! Segments whose bytes are not touched as they arrive: they have brought this daemon
//! down before.
//!
//! After a panic that is not long ago each body of a pack is hashed alone and with its
//! name in hand, so that the next panic names one segment; otherwise they are hashed
//! side by side, which is several times as fast.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use relay_core::change::Nack;
use relay_core::id::SegmentId;
use relay_core::pack::{PackError, Table};
use relay_core::poison::Touched;
use relay_core::segment::Digest;

use crate::touch::touching;

/// What is known of segments that kill.
#[derive(Debug, Default)]
pub(crate) struct Wary {
    careful: AtomicBool,
    shunned: Mutex<BTreeSet<SegmentId>>,
}

impl Wary {
    /// Each body is touched by its name from here on.
    pub(crate) fn be_careful(&self) {
        self.careful.store(true, Ordering::Relaxed);
    }

    /// The bytes of this segment are not touched again.
    pub(crate) fn shun(&self, id: SegmentId) {
        let shunned = &mut self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.insert(id);
        self.be_careful();
    }

    /// Members of `table` that are refused, by index: what is shunned, and what does not
    /// match its digest.
    ///
    /// # Errors
    /// [`PackError`] when the bodies are not as long as the table says.
    pub(crate) fn verify(
        &self,
        table: &Table,
        bodies: &[u8],
    ) -> Result<Vec<(u16, Nack)>, PackError> {
        let members = table.members();
        if !self.careful.load(Ordering::Relaxed) {
            let one = match members {
                [member] => Some(Touched::Arriving(member.id)),
                _ => None,
            };
            let bad = touching(one, || table.verify(bodies))?;
            return Ok(bad.into_iter().map(|at| (at, Nack::BadDigest)).collect());
        }
        if bodies.len() as u64 != table.body_len() {
            return Err(PackError::BodyLength {
                found: bodies.len() as u64,
                wanted: table.body_len(),
            });
        }
        let shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        let shunned = shunned.clone();
        let judge = |member: &relay_core::pack::Member| {
            if shunned.contains(&member.id) {
                return Some(Nack::Malformed);
            }
            let end = member.offset + member.length;
            let body = &bodies[member.offset as usize..end as usize];
            let name = Some(Touched::Arriving(member.id));
            let sound = touching(name, || Digest::of(body)) == member.digest;
            (!sound).then_some(Nack::BadDigest)
        };
        let refused = (0u16..).zip(members.iter().map(judge));
        Ok(refused.filter_map(|(at, nack)| Some((at, nack?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::pack::Builder;

    fn pack(bodies: &[&[u8]]) -> (Table, Vec<u8>) {
        let mut pack = Builder::new();
        for body in bodies {
            pack.push(SegmentId::v7(1, 1), b"", body);
        }
        let built = pack.finish().expect("it has members");
        let at = built.table_len as usize;
        let table = Table::parse(built.bytes.slice(..at), bodies.len() as u32);
        (table.expect("sound"), built.bytes[at..].to_vec())
    }

    #[test]
    fn careful_or_not_the_same_bodies_are_bad() {
        let (table, mut bodies) = pack(&[b"one", b"two2", b"", b"three"]);
        bodies[4] ^= 1;
        let (bold, careful) = (Wary::default(), Wary::default());
        careful.be_careful();

        let wanted = vec![(1, Nack::BadDigest)];

        assert_eq!(bold.verify(&table, &bodies), Ok(wanted.clone()));
        assert_eq!(careful.verify(&table, &bodies), Ok(wanted));
        assert!(bold.verify(&table, &bodies[1..]).is_err());
        assert!(careful.verify(&table, &bodies[1..]).is_err());
    }

    #[test]
    fn what_is_shunned_is_refused_unread_and_nothing_else_is() {
        let (table, mut bodies) = pack(&[b"one", b"two2", b"three"]);
        bodies[3] ^= 1;
        let wary = Wary::default();

        wary.shun(table.members()[1].id);

        let wanted = vec![(1, Nack::Malformed)];
        assert_eq!(wary.verify(&table, &bodies), Ok(wanted));
    }
}
