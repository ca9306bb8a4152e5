//! What a peer says: frames, and the packs that follow some of them.
//!
//! Promised: what decodes encodes, and decodes to the same again; a frame never claims
//! bytes that are not there; a header and a table that fit each other select bodies that
//! lie within the pack; a table is its own whole subset.

use bytes::Bytes;
use relay_core::limits;
use relay_core::pack::Table;
use relay_core::wire::{self, Frame, PREFIX, PackHeader};

/// Frames behind each other; a pack's table follows its header.
///
/// # Panics
/// When a promise is broken.
pub fn play(mut bytes: &[u8]) {
    table(bytes, u32::from(bytes.first().copied().unwrap_or(0)));
    while let Ok(Some((frame, covered))) = wire::decode(bytes) {
        assert!(
            (PREFIX..=bytes.len()).contains(&covered),
            "{covered} B of {}",
            bytes.len()
        );
        bytes = &bytes[covered..];
        again(&frame);
        if let Frame::Pack(header) | Frame::Offer(header) = &frame {
            let length = bytes.len().min(header.table_len as usize);
            pack(header, &bytes[..length]);
            bytes = &bytes[length..];
        }
    }
}

fn again(frame: &Frame) {
    let mut out = Vec::new();
    wire::encode(frame, &mut out).expect("what was decoded fits a frame");
    let (found, covered) = wire::decode(&out)
        .expect("what was encoded decodes")
        .expect("it is whole");
    assert_eq!((&found, covered), (frame, out.len()));
}

/// What follows a header: its table, and which bodies it selects.
fn pack(header: &PackHeader, table_bytes: &[u8]) {
    let Some(table) = table(table_bytes, header.count) else {
        return;
    };
    let runs = header.members.runs(table.members());
    assert!(
        runs.iter()
            .all(|run| run.start <= run.end && run.end <= table.body_len()),
        "{runs:?} of {}",
        table.body_len()
    );
    if let Some(chosen) = header.members.indexes(header.count) {
        assert!(chosen.iter().all(|n| u32::from(*n) < header.count));
    }
}

fn table(bytes: &[u8], count: u32) -> Option<Table> {
    let table = Table::parse(Bytes::copy_from_slice(bytes), count).ok()?;
    let all: Vec<u16> = (0..count as u16).collect();
    assert_eq!(table.subset(&all), table);
    let (first, last) = table.id_range();
    assert!(first <= last);
    for n in 0..count as usize {
        let meta = table.meta(n).expect("a sound table has sound metadata");
        meta.check().expect("a sound table has sound metadata");
    }
    if table.body_len() <= limits::PACK_BYTES {
        let bodies = vec![0; table.body_len() as usize];
        let bad = table.verify(&bodies).expect("the length is right");
        assert!(bad.len() <= count as usize);
    }
    Some(table)
}
