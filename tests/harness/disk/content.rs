//! Bytes that are only described: the members of a pack without their bodies.
//!
//! The core never sees a body, so the simulator has none. Digests are made from
//! names by cheap arithmetic; two contents have the same digest exactly when
//! they are the same.

use std::sync::Arc;

use relay_core::event::{Ids, Shape};
use relay_core::id::SegmentId;
use relay_core::segment::Digest;

/// One segment without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its name.
    pub id: SegmentId,
    /// Stands for its bytes.
    pub digest: Digest,
    /// How many bytes it would have.
    pub length: u64,
}

/// A pack without its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The members, in order.
    pub members: Vec<Body>,
    /// Stands for the table.
    pub table: Digest,
}

impl Content {
    /// The pack of these members.
    #[must_use]
    pub fn new(members: Vec<Body>) -> Self {
        let mut sum = [0xcbf2_9ce4_8422_2325_u64, 1, 2, 3];
        for body in &members {
            for (n, part) in body.id.0.iter().chain(&body.digest.0).enumerate() {
                let lane = &mut sum[n % 4];
                *lane = (*lane ^ u64::from(*part)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        let mut table = [0; 32];
        for (place, part) in table.chunks_exact_mut(8).zip(sum) {
            place.copy_from_slice(&part.to_le_bytes());
        }
        Self {
            members,
            table: Digest(table),
        }
    }

    /// The members at `keep`, as a pack of their own.
    #[must_use]
    pub fn subset(&self, keep: &[u16]) -> Self {
        Self::new(keep.iter().map(|n| self.members[usize::from(*n)]).collect())
    }

    /// The sum of the lengths of the members at `indexes`.
    #[must_use]
    pub fn bytes_of(&self, indexes: &[u16]) -> u64 {
        indexes
            .iter()
            .map(|n| self.members[usize::from(*n)].length)
            .sum()
    }

    /// Every index, ascending.
    #[must_use]
    pub fn all(&self) -> Vec<u16> {
        (0..self.members.len() as u16).collect()
    }

    /// Ids and digests, as receipt wants them.
    #[must_use]
    pub fn ids(&self) -> Ids {
        let ids: Vec<_> = self
            .members
            .iter()
            .map(|body| (body.id, body.digest))
            .collect();
        Arc::from(ids)
    }

    /// The numbers its bytes would fix.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let ids = || self.members.iter().map(|body| body.id);
        Shape {
            count: self.members.len() as u32,
            bytes: self.members.iter().map(|body| body.length).sum(),
            table_len: 56 * self.members.len() as u32,
            table: self.table,
            first: ids().min().unwrap_or(SegmentId([0; 16])),
            last: ids().max().unwrap_or(SegmentId([0; 16])),
        }
    }
}

/// The digest of the bytes that `id` names; `salt` makes other bytes.
#[must_use]
pub fn digest_of(id: SegmentId, salt: u8) -> Digest {
    let mut digest = [salt; 32];
    digest[..16].copy_from_slice(&id.0);
    Digest(digest)
}
