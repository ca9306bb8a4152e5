//! What the words on the wire cost: frames made and read, tables parsed, bodies checked.
//!
//! A pack of 64 KiB at 256 B a member is the unit of the hot path: P1 wants 400,000
//! members a second through all of this on half a core.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use relay_core::change::{Nack, Part};
use relay_core::id::{PackNo, ReceiptNo, SegmentId};
use relay_core::pack::{Builder, Built, Table};
use relay_core::segment::Digest;
use relay_core::wire::{Ack, Durability, Frame, Members, PackHeader, decode, encode};

fn header(members: Members) -> PackHeader {
    PackHeader {
        pack: PackNo(123_456_789),
        members,
        lane: "default".parse().expect("a lane"),
        origin: None,
        sequence: None,
        hops: 1,
        ttl_left_ms: Some(86_400_000),
        count: 210,
        table_len: 11_760,
        body_len: 53_760,
    }
}

fn ack(refused: Vec<(u16, Nack)>) -> Ack {
    Ack {
        pack: PackNo(123_456_789),
        part: Part::Rest,
        receipt: ReceiptNo(987_654),
        table: Digest::of(b"a table"),
        count: 210,
        durability: Durability::Synced,
        refused,
    }
}

/// As many members of 256 B as a pack holds.
fn full_pack() -> Built {
    let mut pack = Builder::new();
    let mut body = [0u8; 256];
    while pack.fits(256, b"") {
        body[..4].copy_from_slice(&pack.count().to_le_bytes());
        pack.push(SegmentId::v7(1_000, 1), b"", &body);
    }
    pack.finish().expect("it has members")
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, frame) in [
        ("pack", Frame::Pack(header(Members::All))),
        (
            "pack_all_but_8",
            Frame::Pack(header(Members::AllBut((0..8).collect()))),
        ),
        ("ack", Frame::Ack(ack(vec![]))),
        (
            "ack_8_refused",
            Frame::Ack(ack((0..8).map(|n| (n, Nack::IdConflict)).collect())),
        ),
    ] {
        let mut out = Vec::with_capacity(256);
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(black_box(&frame), &mut out)
            });
        });
        let bytes = out.clone();
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| decode(black_box(&bytes)));
        });
    }
    group.finish();
}

fn packs(criterion: &mut Criterion) {
    let built = full_pack();
    let table: Bytes = built.bytes.slice(..built.table_len as usize);
    let bodies = built.bytes.slice(built.table_len as usize..);
    let parsed = Table::parse(table.clone(), built.count).expect("a built table parses");
    let mut group = criterion.benchmark_group("pack_of_256_B");
    group.throughput(Throughput::Elements(u64::from(built.count)));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Table::parse(black_box(table.clone()), built.count));
    });
    group.bench_function("verify", |bencher| {
        bencher.iter(|| parsed.verify(black_box(&bodies)))
    });
    group.bench_function("digest_of_table", |bencher| {
        bencher.iter(|| Digest::of(black_box(&table)));
    });
    let keep: Vec<u16> = (0..built.count as u16).filter(|n| n % 2 == 0).collect();
    group.bench_function("subset_of_half", |bencher| {
        bencher.iter(|| parsed.subset(black_box(&keep)));
    });
    group.finish();
}

criterion_group!(wire, frames, packs);
criterion_main!(wire);
