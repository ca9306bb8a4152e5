//! From the bytes of a pack to what the core hears of it: bytes in, words out.
//!
//! Every body is hashed here and compared with the table. A body that does not match,
//! or that is not to be touched, is left out and refused by its index in the pack as sent; so are the members that
//! were not sent at all, without refusal. What remains is a pack of its own, its table
//! rebuilt. If nothing remains, the arrival has a count of 0 and no bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use relay_core::change::Nack;
use relay_core::event::{Arrival, Ids, Shape};
use relay_core::id::{LedgerId, SegmentId, StagedId};
use relay_core::pack::{PackError, Table};
use relay_core::segment::{Digest, Topic};
use relay_core::wire::PackHeader;

use super::wary::Wary;

/// What arrived under `header`: `bytes` are the table as sent and the bodies selected.
/// Answers the words and the bytes to stage, if any are left.
///
/// # Errors
/// [`PackError`], when the table is not sound or the bodies are not as long as it says.
pub(crate) fn arrival(
    header: &PackHeader,
    ledger: LedgerId,
    bytes: Bytes,
    staged: StagedId,
    wary: &Wary,
    with_topics: bool,
) -> Result<(Arrival, Option<Bytes>), PackError> {
    let table_len = header.table_len as usize;
    let table = bytes.slice(..table_len);
    let received = Digest::of(&table);
    let table = Table::parse(table, header.count)?;
    let indexes = header.members.indexes(header.count);
    let least = table.id_range().0;
    let sent = match &indexes {
        None => table,
        Some(indexes) => table.subset(indexes),
    };
    let bodies = &bytes[table_len..];
    let bad = wary.verify(&sent, bodies)?;
    if indexes.is_none() && bad.is_empty() {
        let arrival = whole(header, ledger, &sent, received, staged, with_topics);
        return Ok((arrival, Some(bytes)));
    }

    let as_sent = |n: u16| {
        indexes
            .as_ref()
            .map_or(n, |indexes| indexes[usize::from(n)])
    };
    let all = 0..sent.members().len() as u16;
    let is_bad = |n: &u16| bad.iter().any(|(other, _)| other == n);
    let good: Vec<u16> = all.filter(|n| !is_bad(n)).collect();
    let left = (!good.is_empty()).then(|| sent.subset(&good));
    let mut heading = header.heading(ledger);
    if let Some(left) = &left {
        heading.sequence = heading.sequence.at(least, left.id_range().0);
    }
    let arrival = Arrival {
        heading,
        staged,
        shape: left
            .as_ref()
            .map_or(NOTHING, |left| shape(left, Digest::of(left.bytes()))),
        table: received,
        ids: left.as_ref().map_or_else(|| Arc::from([]), ids),
        indexes: Some(good.iter().map(|n| as_sent(*n)).collect()),
        refused: bad.iter().map(|(n, why)| (as_sent(*n), *why)).collect(),
        topics: left
            .as_ref()
            .filter(|_| with_topics)
            .map_or_else(|| Arc::from([]), topics),
    };
    Ok((arrival, left.map(|left| joined(&left, &sent, bodies))))
}

/// The arrival of a large segment whose body does not match its digest.
pub(crate) fn refused(
    header: &PackHeader,
    ledger: LedgerId,
    table: &Table,
    staged: StagedId,
) -> Arrival {
    Arrival {
        shape: NOTHING,
        ids: Arc::from([]),
        indexes: Some(Arc::from([])),
        refused: vec![(0, Nack::BadDigest)],
        ..whole(
            header,
            ledger,
            table,
            Digest::of(table.bytes()),
            staged,
            false,
        )
    }
}

/// The arrival of a pack all of whose bytes are good and all of whose members were sent;
/// `received` is the digest of its table.
pub(crate) fn whole(
    header: &PackHeader,
    ledger: LedgerId,
    table: &Table,
    received: Digest,
    staged: StagedId,
    with_topics: bool,
) -> Arrival {
    Arrival {
        topics: if with_topics {
            topics(table)
        } else {
            Arc::from([])
        },
        heading: header.heading(ledger),
        staged,
        shape: shape(table, received),
        table: received,
        ids: ids(table),
        indexes: None,
        refused: Vec::new(),
    }
}

/// The numbers that a table fixes; `digest` is the table's own.
pub(crate) fn shape(table: &Table, digest: Digest) -> Shape {
    let (first, last) = table.id_range();
    Shape {
        count: table.members().len() as u32,
        bytes: table.body_len(),
        table_len: table.bytes().len() as u32,
        table: digest,
        first,
        last,
    }
}

/// The ids and digests of a table, in order.
pub(crate) fn ids(table: &Table) -> Ids {
    table
        .members()
        .iter()
        .map(|member| (member.id, member.digest))
        .collect()
}

/// The topics of a table, in order.
fn topics(table: &Table) -> Arc<[Option<Topic>]> {
    // The table was checked when it was parsed.
    let topic = |n| table.meta(n).ok().and_then(|meta| meta.topic);
    (0..table.members().len()).map(topic).collect()
}

/// The shape of an arrival of which nothing is left.
const NOTHING: Shape = Shape {
    count: 0,
    bytes: 0,
    table_len: 0,
    table: Digest([0; 32]),
    first: SegmentId([0; 16]),
    last: SegmentId([0; 16]),
};

/// `table` and the bodies of its members, which are some of `sent`'s, in order.
fn joined(table: &Table, sent: &Table, bodies: &[u8]) -> Bytes {
    let length = table.bytes().len() + table.body_len() as usize;
    let mut out = BytesMut::with_capacity(length);
    out.extend_from_slice(table.bytes());
    let mut kept = table.members().iter().map(|member| member.id).peekable();
    for member in sent.members() {
        if kept.next_if_eq(&member.id).is_some() {
            let end = member.offset + member.length;
            out.extend_from_slice(&bodies[member.offset as usize..end as usize]);
        }
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use relay_core::id::PackNo;
    use relay_core::pack::Builder;
    use relay_core::wire::Members;

    use super::*;

    const BODIES: [&[u8]; 4] = [b"one", b"two2", b"", b"three"];

    /// A header that selects `members` of four, and the bytes that follow it.
    fn sent(members: Members) -> (PackHeader, Vec<u8>) {
        let mut pack = Builder::new();
        for body in BODIES {
            pack.push(SegmentId::v7(1, 1), b"", body);
        }
        let built = pack.finish().expect("it has members");
        let table = built.bytes.slice(..built.table_len as usize);
        let parsed = Table::parse(table.clone(), 4).expect("a built table parses");
        let mut bytes = table.to_vec();
        for run in members.runs(parsed.members()) {
            let at = built.table_len as usize;
            bytes.extend_from_slice(&built.bytes[at + run.start as usize..at + run.end as usize]);
        }
        let header = PackHeader {
            pack: PackNo(9),
            members,
            lane: "default".parse().expect("a lane"),
            origin: None,
            sequence: None,
            hops: 1,
            ttl_left_ms: None,
            count: 4,
            table_len: built.table_len,
            body_len: bytes.len() as u64 - u64::from(built.table_len),
        };
        (header, bytes)
    }

    fn bodies(arrival: &Arrival, bytes: Option<Bytes>) -> Vec<Bytes> {
        let bytes = bytes.expect("something is left");
        let at = arrival.shape.table_len as usize;
        let table = Table::parse(bytes.slice(..at), arrival.shape.count).expect("sound");
        assert_eq!(table.verify(&bytes[at..]), Ok(vec![]));
        let of = |m: &relay_core::pack::Member| {
            at + m.offset as usize..at + (m.offset + m.length) as usize
        };
        table
            .members()
            .iter()
            .map(|member| bytes.slice(of(member)))
            .collect()
    }

    fn heard(header: &PackHeader, bytes: Vec<u8>) -> (Arrival, Option<Bytes>) {
        let wary = Wary::default();
        let heard = arrival(header, LedgerId(5), bytes.into(), StagedId(1), &wary, false);
        heard.expect("a sound table")
    }

    #[test]
    fn a_whole_pack_is_staged_as_it_came() {
        let (header, bytes) = sent(Members::All);

        let (arrival, staged) = heard(&header, bytes.clone());

        assert_eq!(staged.as_deref(), Some(&bytes[..]));
        assert_eq!((arrival.indexes, arrival.refused), (None, vec![]));
        assert_eq!(arrival.table, arrival.shape.table);
        assert_eq!(arrival.ids.len(), 4);
    }

    #[test]
    fn a_part_of_a_pack_becomes_a_pack_of_its_own() {
        let (header, bytes) = sent(Members::AllBut(vec![1]));

        let (arrival, staged) = heard(&header, bytes.clone());

        assert_eq!(bodies(&arrival, staged), [&b"one"[..], b"", b"three"]);
        assert_eq!(arrival.indexes.as_deref(), Some(&[0, 2, 3][..]));
        assert_eq!(
            arrival.table,
            Digest::of(&bytes[..header.table_len as usize])
        );
        assert_ne!(arrival.table, arrival.shape.table);
    }

    #[test]
    fn a_bad_body_is_refused_and_left_out() {
        let (header, mut bytes) = sent(Members::AllBut(vec![0]));
        *bytes.last_mut().expect("it has bodies") ^= 1;

        let (arrival, staged) = heard(&header, bytes);

        assert_eq!(arrival.refused, [(3, Nack::BadDigest)]);
        assert_eq!(arrival.indexes.as_deref(), Some(&[1, 2][..]));
        assert_eq!(bodies(&arrival, staged), [&b"two2"[..], b""]);
    }

    #[test]
    fn a_pack_of_bad_bodies_arrives_with_nothing_left() {
        let (header, mut bytes) = sent(Members::Only(3));
        *bytes.last_mut().expect("it has a body") ^= 1;

        let (arrival, staged) = heard(&header, bytes);

        assert_eq!(arrival.shape.count, 0);
        assert_eq!(arrival.refused, [(3, Nack::BadDigest)]);
        assert!(staged.is_none() && arrival.ids.is_empty());
    }

    #[test]
    fn bodies_of_another_length_are_no_pack() {
        let (header, mut bytes) = sent(Members::All);
        bytes.pop();

        let wary = Wary::default();
        let heard = arrival(
            &header,
            LedgerId(5),
            bytes.into(),
            StagedId(1),
            &wary,
            false,
        );
        assert!(heard.is_err());
    }
}
