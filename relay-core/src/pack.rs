//! The layout of a pack: table first, then bodies, contiguous.
//!
//! ```text
//! table   count × ( id 16 | digest 32 | length u48 | meta length u16 ), little-endian,
//!         then the members' metadata (postcard), in order
//! bodies  in order, nothing between them
//! ```
//!
//! The same bytes lie in the payload log and on the wire. The digest of the
//! table stands for the whole pack, since it covers the digest of each body.
//! Nothing here trusts what a peer or a disk says: [`Table::parse`] checks every
//! bound, [`Table::verify`] every body.

use bytes::{BufMut, Bytes, BytesMut};

use crate::digest;
use crate::id::SegmentId;
use crate::limits;
use crate::segment::{Digest, Meta};

/// The fixed part of a table entry.
const ENTRY: usize = 16 + 32 + 6 + 2;
/// A member's metadata, encoded: 255 B of topic, 16 labels of 320 B, lengths.
const MAX_META: usize = 6 << 10;

/// One member, as the table describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: SegmentId,
    /// The digest of its body.
    pub digest: Digest,
    /// Where its body begins, counted from the end of the table.
    pub offset: u64,
    /// How long its body is.
    pub length: u64,
}

/// Why bytes are not a sound pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The table ends before its entries do.
    #[error("table of {found} B is too short for {count} members")]
    ShortTable {
        /// Bytes there.
        found: usize,
        /// Members claimed.
        count: u32,
    },
    /// No members, or more than a pack may hold.
    #[error("{0} members, a pack holds 1 to {max}", max = limits::PACK_MEMBERS)]
    MemberCount(u32),
    /// Metadata lengths do not add up, or one is not what it should be.
    #[error("metadata of member {0} is unreadable")]
    Meta(u32),
    /// The ids of one pack lie further apart than [`limits::PACK_ID_SPAN_MS`].
    #[error("ids span {0} ms, at most {max} are allowed", max = limits::PACK_ID_SPAN_MS)]
    IdSpan(u64),
    /// The same id stands twice.
    #[error("{0} stands twice in one pack")]
    RepeatedId(SegmentId),
    /// A member longer than a segment may be, or too long to share a pack.
    #[error("member {member} of {length} B is too large")]
    TooLarge {
        /// Which member.
        member: u32,
        /// Its claimed length.
        length: u64,
    },
    /// The bodies are not as long as the table says.
    #[error("bodies are {found} B, the table says {wanted}")]
    BodyLength {
        /// Bytes there.
        found: u64,
        /// Bytes the table adds up to.
        wanted: u64,
    },
}

/// A parsed table: the members of a pack and where their bodies lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    bytes: Bytes,
    members: Vec<Member>,
    metas: Vec<(u32, u16)>,
    body_len: u64,
}

impl Table {
    /// Reads the table of `count` members from exactly `bytes`.
    ///
    /// # Errors
    /// [`PackError`], for anything a builder would not have written.
    pub fn parse(bytes: Bytes, count: u32) -> Result<Self, PackError> {
        if count == 0 || count > limits::PACK_MEMBERS {
            return Err(PackError::MemberCount(count));
        }
        let fixed = count as usize * ENTRY;
        if bytes.len() < fixed {
            return Err(PackError::ShortTable {
                found: bytes.len(),
                count,
            });
        }
        let mut members = Vec::with_capacity(count as usize);
        let mut metas = Vec::with_capacity(count as usize);
        let (mut offset, mut meta_at) = (0u64, fixed as u32);
        for (n, entry) in (0u32..).zip(bytes[..fixed].chunks_exact(ENTRY)) {
            let mut length = [0u8; 8];
            length[..6].copy_from_slice(&entry[48..54]);
            let length = u64::from_le_bytes(length);
            let small_needed = count > 1;
            if length > limits::MAX_SEGMENT || (small_needed && length > limits::SMALL_SEGMENT) {
                return Err(PackError::TooLarge { member: n, length });
            }
            let meta_len = u16::from_le_bytes([entry[54], entry[55]]);
            if usize::from(meta_len) > MAX_META {
                return Err(PackError::Meta(n));
            }
            let id: [u8; 16] = entry[..16].try_into().expect("16 of 56 bytes");
            let digest: [u8; 32] = entry[16..48].try_into().expect("32 of 56 bytes");
            members.push(Member {
                id: SegmentId(id),
                digest: Digest(digest),
                offset,
                length,
            });
            metas.push((meta_at, meta_len));
            offset += length;
            meta_at += u32::from(meta_len);
        }
        if meta_at as usize != bytes.len() {
            return Err(PackError::Meta(count - 1));
        }
        let table = Self {
            bytes,
            members,
            metas,
            body_len: offset,
        };
        table.check_ids()?;
        for n in 0..count {
            table
                .meta(n as usize)?
                .check()
                .map_err(|_| PackError::Meta(n))?;
        }
        Ok(table)
    }

    fn check_ids(&self) -> Result<(), PackError> {
        let (first, last) = self.id_range();
        let span = last.unix_ms() - first.unix_ms();
        if span > limits::PACK_ID_SPAN_MS {
            return Err(PackError::IdSpan(span));
        }
        if self.members.is_sorted_by(|a, b| a.id < b.id) {
            return Ok(());
        }
        let mut ids: Vec<SegmentId> = self.members.iter().map(|m| m.id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(PackError::RepeatedId(pair[0])),
            None => Ok(()),
        }
    }

    /// The members, in order; at least one.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The encoded table.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The sum of the members' lengths.
    #[must_use]
    pub const fn body_len(&self) -> u64 {
        self.body_len
    }

    /// The smallest and the greatest id.
    #[must_use]
    pub fn id_range(&self) -> (SegmentId, SegmentId) {
        let ids = || self.members.iter().map(|m| m.id);
        let first = ids().min().expect("a table has a member");
        let last = ids().max().expect("a table has a member");
        (first, last)
    }

    /// What travels with member `n` beside its bytes.
    ///
    /// # Errors
    /// [`PackError::Meta`] when it is not what an encoder would have written.
    pub fn meta(&self, n: usize) -> Result<Meta, PackError> {
        let (at, length) = self.metas[n];
        if length == 0 {
            return Ok(Meta::default());
        }
        let encoded = &self.bytes[at as usize..at as usize + usize::from(length)];
        postcard::from_bytes(encoded).map_err(|_| PackError::Meta(n as u32))
    }

    /// The members whose bodies in `bodies` do not match their digest.
    ///
    /// # Errors
    /// [`PackError::BodyLength`] when the bodies are not as long as they should be.
    pub fn verify(&self, bodies: &[u8]) -> Result<Vec<u16>, PackError> {
        if bodies.len() as u64 != self.body_len {
            return Err(PackError::BodyLength {
                found: bodies.len() as u64,
                wanted: self.body_len,
            });
        }
        let body = |member: &Member| {
            &bodies[member.offset as usize..(member.offset + member.length) as usize]
        };
        let each: Vec<&[u8]> = self.members.iter().map(body).collect();
        let found = digest::of_each(&each);
        let pairs = (0u16..).zip(self.members.iter().zip(found));
        let bad = pairs
            .filter(|(_, (member, found))| member.digest != *found)
            .map(|(n, _)| n);
        Ok(bad.collect())
    }

    /// A table of some of the members alone, in order, for a pack built anew.
    #[must_use]
    pub fn subset(&self, keep: &[u16]) -> Self {
        let mut fixed = BytesMut::with_capacity(keep.len() * ENTRY);
        let mut tail = BytesMut::new();
        for &n in keep {
            let n = usize::from(n);
            fixed.extend_from_slice(&self.bytes[n * ENTRY..(n + 1) * ENTRY]);
            let (at, length) = self.metas[n];
            tail.extend_from_slice(&self.bytes[at as usize..at as usize + usize::from(length)]);
        }
        fixed.unsplit(tail);
        Self::parse(fixed.freeze(), keep.len() as u32).expect("part of a sound table is sound")
    }
}

/// A pack being put together.
#[derive(Debug, Default)]
pub struct Builder {
    fixed: BytesMut,
    metas: BytesMut,
    bodies: BytesMut,
    lengths: Vec<usize>,
    count: u32,
    first: Option<SegmentId>,
}

/// A finished pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// How many members.
    pub count: u32,
    /// Table and bodies, contiguous.
    pub bytes: Bytes,
    /// How much of them is the table.
    pub table_len: u32,
    /// The smallest id: ids of one builder rise.
    pub first: SegmentId,
    /// The greatest id.
    pub last: SegmentId,
}

impl Builder {
    /// An empty pack.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a member of `length` bytes with `meta` still fits. An empty pack
    /// takes anything.
    #[must_use]
    pub fn fits(&self, length: u64, meta: &[u8]) -> bool {
        if self.count == 0 {
            return true;
        }
        let held = (self.fixed.len() + self.metas.len() + self.bodies.len()) as u64;
        let alone = self
            .lengths
            .first()
            .is_some_and(|held| *held as u64 > limits::SMALL_SEGMENT);
        !alone
            && self.count < limits::PACK_MEMBERS
            && length <= limits::SMALL_SEGMENT
            && held + length + (ENTRY + meta.len()) as u64 <= limits::PACK_BYTES
    }

    /// Whether nothing was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Members so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Adds a member and answers its id: the first takes `fresh`, the others
    /// follow it in a run. `meta` is [`encode_meta`]'s.
    ///
    /// # Panics
    /// If the member does not fit: [`Builder::fits`] is asked first.
    pub fn push(&mut self, fresh: SegmentId, meta: &[u8], body: &[u8]) -> SegmentId {
        assert!(
            self.fits(body.len() as u64, meta),
            "a member is asked for before it is added"
        );
        let id = self.first.get_or_insert(fresh).after(u64::from(self.count));
        self.fixed
            .put_slice(&entry(id, Digest::default(), body.len() as u64, meta));
        self.lengths.push(body.len());
        self.metas.put_slice(meta);
        self.bodies.put_slice(body);
        self.count += 1;
        id
    }

    fn each_body(&self) -> Vec<&[u8]> {
        let mut rest = &self.bodies[..];
        let mut bodies = Vec::with_capacity(self.lengths.len());
        for length in &self.lengths {
            let (body, after) = rest.split_at(*length);
            bodies.push(body);
            rest = after;
        }
        bodies
    }

    /// The pack; `None` if nothing was added.
    #[must_use]
    pub fn finish(self) -> Option<Built> {
        let first = self.first?;
        let last = first.after(u64::from(self.count - 1));
        let table_len = (self.fixed.len() + self.metas.len()) as u32;
        let digests = digest::of_each(&self.each_body());
        let mut bytes = self.fixed;
        for (entry, digest) in bytes.chunks_exact_mut(ENTRY).zip(digests) {
            entry[16..48].copy_from_slice(&digest.0);
        }
        bytes.reserve(self.metas.len() + self.bodies.len());
        bytes.put_slice(&self.metas);
        bytes.put_slice(&self.bodies);
        let (first, last) = (first.min(last), first.max(last));
        Some(Built {
            count: self.count,
            bytes: bytes.freeze(),
            table_len,
            first,
            last,
        })
    }
}

/// The table of a pack of one, whose body lies elsewhere.
#[must_use]
pub fn single_table(id: SegmentId, digest: Digest, length: u64, meta: &[u8]) -> Bytes {
    let mut table = BytesMut::with_capacity(ENTRY + meta.len());
    table.put_slice(&entry(id, digest, length, meta));
    table.put_slice(meta);
    table.freeze()
}

/// A member's metadata as it lies in a table; empty metadata takes no bytes.
#[must_use]
pub fn encode_meta(meta: &Meta) -> Vec<u8> {
    if meta.is_empty() {
        return Vec::new();
    }
    postcard::to_stdvec(meta).expect("metadata is plain words")
}

fn entry(id: SegmentId, digest: Digest, length: u64, meta: &[u8]) -> [u8; ENTRY] {
    debug_assert!(length <= limits::MAX_SEGMENT && meta.len() <= MAX_META);
    let mut entry = [0u8; ENTRY];
    entry[..16].copy_from_slice(&id.0);
    entry[16..48].copy_from_slice(&digest.0);
    entry[48..54].copy_from_slice(&length.to_le_bytes()[..6]);
    entry[54..].copy_from_slice(&(meta.len() as u16).to_le_bytes());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(bodies: &[&[u8]]) -> Built {
        let mut pack = Builder::new();
        let meta = Meta {
            topic: "a/b".parse().ok(),
            labels: vec![("k".into(), "v".into())],
        };
        for (n, body) in bodies.iter().enumerate() {
            let meta = if n % 2 == 0 {
                encode_meta(&meta)
            } else {
                Vec::new()
            };
            pack.push(SegmentId::v7(1_000, 7), &meta, body);
        }
        pack.finish().expect("it has members")
    }

    fn parsed(pack: &Built) -> (Table, Bytes) {
        let table = pack.bytes.slice(..pack.table_len as usize);
        let bodies = pack.bytes.slice(pack.table_len as usize..);
        (
            Table::parse(table, pack.count).expect("a built table parses"),
            bodies,
        )
    }

    #[test]
    fn a_pack_reads_back_as_it_was_built() {
        let pack = built(&[b"one", b"", b"three"]);

        let (table, bodies) = parsed(&pack);

        assert_eq!(table.verify(&bodies), Ok(vec![]));
        assert_eq!(table.members().len(), 3);
        assert_eq!(table.members()[2].offset, 3);
        assert_eq!(table.meta(0).expect("sound").labels.len(), 1);
        assert_eq!(table.meta(1), Ok(Meta::default()));
        assert_eq!(table.id_range(), (pack.first, pack.last));
    }

    #[test]
    fn a_changed_body_is_named() {
        let pack = built(&[b"one", b"two", b"three"]);
        let (table, bodies) = parsed(&pack);
        let mut bodies = bodies.to_vec();

        bodies[4] ^= 1;

        assert_eq!(table.verify(&bodies), Ok(vec![1]));
        bodies.pop();
        assert!(matches!(
            table.verify(&bodies),
            Err(PackError::BodyLength { found: 10, .. })
        ));
    }

    #[test]
    fn no_cut_or_flip_of_a_table_panics() {
        let pack = built(&[b"one", b"two", b"three"]);
        let table = &pack.bytes[..pack.table_len as usize];

        for cut in 0..table.len() {
            let _ = Table::parse(Bytes::copy_from_slice(&table[..cut]), 3);
        }
        for at in 0..table.len() {
            for bit in 0..8 {
                let mut bad = table.to_vec();
                bad[at] ^= 1 << bit;
                let _ = Table::parse(bad.into(), 3);
            }
        }
        assert_eq!(
            Table::parse(Bytes::new(), 0),
            Err(PackError::MemberCount(0))
        );
    }

    #[test]
    fn ids_far_apart_or_repeated_are_refused() {
        let (a, b) = (SegmentId::v7(1_000, 1), SegmentId::v7(9_000, 2));
        let two = |x, y| {
            let mut bytes = single_table(x, Digest::of(b""), 0, b"").to_vec();
            bytes.extend_from_slice(&single_table(y, Digest::of(b""), 0, b""));
            Table::parse(bytes.into(), 2)
        };

        assert_eq!(two(a, b), Err(PackError::IdSpan(8_000)));
        assert_eq!(two(a, a), Err(PackError::RepeatedId(a)));
    }

    #[test]
    fn a_subset_keeps_the_chosen_members() {
        let pack = built(&[b"one", b"two", b"three"]);
        let (table, _) = parsed(&pack);

        let some = table.subset(&[0, 2]);

        assert_eq!(some.members()[1].digest, Digest::of(b"three"));
        assert_eq!(some.members()[1].offset, 3);
        assert_eq!(some.body_len(), 8);
        assert_eq!(some.meta(1), table.meta(2));
    }

    #[test]
    fn a_large_member_stays_alone() {
        let mut pack = Builder::new();
        pack.push(SegmentId::v7(0, 0), b"", &[0; (16 << 10) + 1]);

        assert!(!pack.fits(1, b""));
    }

    #[test]
    fn a_pack_closes_at_its_bounds() {
        let mut pack = Builder::new();
        let body = vec![0; 16 << 10];
        let mut members = 0;
        while pack.fits(body.len() as u64, b"") {
            pack.push(SegmentId::v7(0, 0), b"", &body);
            members += 1;
        }

        assert_eq!(members, 3);
        let built = pack.finish().expect("three members");
        assert!(built.bytes.len() as u64 <= limits::PACK_BYTES);
    }
}
