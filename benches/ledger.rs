//! What the ledger costs: groups of packs made durable, against the bare
//! fdatasync of as many bytes in the same run; settling; a page of work.
//!
//! `group` counts segments of 256 B in packs of 64 KiB, each owed to one peer.
//! `settle` is the group in which as many packs are acknowledged. `page` reads
//! 128 rows from the middle of 100,000 waiting ones.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_core::change::{Change, Due, OwedRow, Part};
use relay_core::delivery::State;
use relay_core::id::{LaneNo, NodeNo, PackNo, SegmentId, Sequence, StagedId, Ticket};
use relay_core::ledger::{Ledger, Options, Staged};
use relay_core::pack::{Builder, Built};
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::Unix;
use tempfile::TempDir;

const NOW: Unix = Unix(1_700_000_000_000);
const PEER: NodeNo = NodeNo(1);
const LANE: LaneNo = LaneNo(0);
/// Members of 256 B in a pack of 64 KiB, table included.
const MEMBERS: u64 = 210;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = limit, group, lone, page
}
criterion_main!(benches);

/// The disk alone: write and fdatasync in a zero-filled file.
fn limit(c: &mut Criterion) {
    let dir = TempDir::new().expect("a folder");
    let file = zeros(&dir.path().join("zeros"), 64 << 20);
    let mut group = c.benchmark_group("fdatasync");
    for kib in [4u64, 64, 384] {
        let bytes = vec![1u8; (kib << 10) as usize];
        let mut at = 0;
        group.throughput(Throughput::Bytes(kib << 10));
        group.bench_function(BenchmarkId::from_parameter(format!("{kib}KiB")), |b| {
            b.iter(|| {
                at = (at + bytes.len() as u64) % (60 << 20);
                file.write_all_at(&bytes, at).expect("it can be written");
                file.sync_data().expect("it can be synced");
            });
        });
    }
    group.finish();
}

/// Groups of packs: put and settled by the next group, so that room never ends.
fn group(c: &mut Criterion) {
    let mut group = c.benchmark_group("group");
    for packs in [1u64, 6, 32] {
        let mut bench = Bench::new();
        group.throughput(Throughput::Elements(packs * MEMBERS));
        group.bench_function(BenchmarkId::new("put_and_settle", packs), |b| {
            b.iter(|| bench.round(packs));
        });
    }
    group.finish();
}

/// One segment alone: what a producer that does not batch waits for.
fn lone(c: &mut Criterion) {
    let mut bench = Bench::new();
    bench.pack = built(1);
    c.bench_function("lone/put_and_settle", |b| b.iter(|| bench.round(1)));
}

fn page(c: &mut Criterion) {
    let mut bench = Bench::new();
    bench.pack = built(1);
    for _ in 0..100 {
        bench.put(1000);
    }
    let mut reader = bench.ledger.reader().expect("a reader");
    c.bench_function("page/128_of_100000", |b| {
        b.iter(|| {
            let after = Some((PackNo(50_000), Part::Rest));
            let rows = reader.page(PEER, LANE, after, 128).expect("a page");
            assert_eq!(black_box(rows).len(), 128);
        });
    });
}

struct Bench {
    _dir: TempDir,
    ledger: Ledger,
    next: u64,
    pack: Built,
    settled: Vec<Change>,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let mut options = Options::new("alpha".parse().expect("a name"), 1 << 30, 7);
        options.log_file_bytes = 8 << 20;
        let (ledger, _) = Ledger::open(dir.path(), options, NOW).expect("it opens");
        let settled = Vec::new();
        Self {
            _dir: dir,
            ledger,
            next: 1,
            pack: built(MEMBERS),
            settled,
        }
    }

    fn round(&mut self, packs: u64) {
        let first = self.next;
        self.put(packs);
        self.settled = (first..self.next)
            .map(|no| owed(PackNo(no), State::Acked))
            .collect();
    }

    fn put(&mut self, packs: u64) {
        let mut items = vec![(Ticket(0), std::mem::take(&mut self.settled))];
        for no in (self.next..self.next + packs).map(PackNo) {
            let info = info(&self.pack, no);
            let pack = Change::Pack {
                no,
                staged: StagedId(no.0),
                info,
            };
            items.push((Ticket(no.0), vec![pack, owed(no, State::Scheduled)]));
        }
        self.next += packs;
        let bytes: Bytes = self.pack.bytes.clone();
        let mut staged = |_| Some(Staged::Memory(bytes.clone()));
        let report = self
            .ledger
            .commit(&items, &mut staged, NOW)
            .expect("it commits");
        assert!(report.refused.is_empty());
    }
}

fn built(members: u64) -> Built {
    let mut pack = Builder::new();
    for _ in 0..members {
        pack.push(SegmentId::v7(NOW.0, 7), b"", &[7; 256]);
    }
    pack.finish().expect("it has members")
}

fn info(built: &Built, no: PackNo) -> PackInfo {
    // Ids of their own: the index of ids grows as it would.
    let first = SegmentId::v7(NOW.0 + no.0, u128::from(no.0) << 16);
    PackInfo {
        lane: LANE,
        origin: NodeNo::LOCAL,
        via: NodeNo::LOCAL,
        sequence: Sequence::of(no),
        hops: 0,
        count: built.count,
        bytes: built.bytes.len() as u64 - u64::from(built.table_len),
        table_len: built.table_len,
        table: Digest::default(),
        first,
        last: first.after(u64::from(built.count - 1)),
        created: NOW,
        expires: None,
    }
}

fn owed(pack: PackNo, state: State) -> Change {
    Change::Owed(OwedRow {
        due: Due {
            peer: PEER,
            pack,
            part: Part::Rest,
        },
        lane: LANE,
        count: MEMBERS as u32,
        bytes: MEMBERS * 256,
        state,
        spent: 0,
        attempt: None,
        rescued: false,
        held: false,
        standby: false,
        stuck: false,
        acked_late: false,
        evicted: false,
        expires: None,
        left: 0,
        place: None,
        queued: NOW,
        updated: NOW,
        error: None,
    })
}

fn zeros(path: &Path, length: usize) -> File {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .expect("a new file");
    file.write_all(&vec![0; length]).expect("room for it");
    file.sync_all().expect("it can be synced");
    file
}
