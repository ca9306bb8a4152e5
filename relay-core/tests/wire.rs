//! The wire format, held to golden bytes, and to never panicking on other bytes.

use bytes::Bytes;
use relay_core::change::{Nack, Part};
use relay_core::event::BusyWhy;
use relay_core::id::{BootEpoch, LedgerId, PackNo, ReceiptNo, SegmentId, Sequence};
use relay_core::limits;
use relay_core::pack::{Builder, Table};
use relay_core::segment::Digest;
use relay_core::wire::{
    Ack, Durability, Frame, Goodbye, HeaderError, Hello, Members, PackHeader, WireError, decode,
    encode,
};

/// Each line: the name of a frame and its bytes, length included.
const GOLDEN: &str = include_str!("../../tests/golden/wire.txt");

fn header() -> PackHeader {
    PackHeader {
        pack: PackNo(300),
        members: Members::All,
        lane: "default".parse().expect("a lane"),
        origin: None,
        sequence: None,
        hops: 1,
        ttl_left_ms: Some(60_000),
        count: 3,
        table_len: 168,
        body_len: 768,
    }
}

fn hello() -> Hello {
    Hello {
        min_version: 1,
        max_version: 1,
        node: "depot-7".parse().expect("a node"),
        ledger: LedgerId(0x0123_4567_89ab_cdef),
        boot_epoch: BootEpoch(12),
        max_segment: limits::MAX_SEGMENT,
        durability: Durability::Synced,
    }
}

fn offer() -> PackHeader {
    PackHeader {
        count: 1,
        table_len: 56,
        body_len: 20 << 10,
        ..header()
    }
}

fn frames() -> Vec<(&'static str, Frame)> {
    let origin = "alpha".parse().ok();
    let but = PackHeader {
        members: Members::AllBut(vec![0, 2]),
        origin,
        sequence: Some(Sequence(77 << 10 | 5)),
        ..header()
    };
    let only = PackHeader {
        members: Members::Only(1),
        ttl_left_ms: None,
        ..header()
    };
    let (pack, part) = (PackNo(300), Part::Member(1));
    let ack = Ack {
        pack,
        part: Part::Rest,
        receipt: ReceiptNo(7),
        table: Digest([0xab; 32]),
        count: 3,
        durability: Durability::Written,
        refused: vec![(0, Nack::BadDigest), (2, Nack::IdConflict)],
    };
    let why = BusyWhy::Unsettled;
    vec![
        ("hello", Frame::Hello(hello())),
        ("pack_all", Frame::Pack(header())),
        ("pack_all_but", Frame::Pack(but)),
        ("pack_only", Frame::Pack(only)),
        ("offer", Frame::Offer(offer())),
        (
            "want",
            Frame::Want {
                pack,
                part,
                from: 1 << 20,
            },
        ),
        (
            "have",
            Frame::Have {
                pack,
                part: Part::Rest,
            },
        ),
        ("ack", Frame::Ack(ack)),
        (
            "busy",
            Frame::Busy {
                pack,
                part,
                why,
                retry_after_ms: 1_000,
            },
        ),
        (
            "settled",
            Frame::Settled {
                receipt: ReceiptNo(4_096),
            },
        ),
        (
            "bye",
            Frame::Bye {
                why: Goodbye::Internal,
            },
        ),
    ]
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, &mut out).expect("a frame of ours fits");
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A pseudo-random run of numbers, the same in every run (xorshift64).
fn numbers() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn every_frame_is_its_golden_bytes() {
    let made: String = frames()
        .iter()
        .map(|(name, frame)| format!("{name} {}\n", hex(&encoded(frame))))
        .collect();

    assert_eq!(
        made, GOLDEN,
        "the wire format is not what tests/golden/wire.txt holds it to"
    );
}

#[test]
fn a_frame_reads_back_and_leaves_what_follows() {
    for (name, frame) in frames() {
        let mut bytes = encoded(&frame);
        let length = bytes.len();
        bytes.extend_from_slice(b"next");

        assert_eq!(decode(&bytes), Ok(Some((frame, length))), "{name}");
    }
}

#[test]
fn a_cut_frame_is_not_yet_complete() {
    for (name, frame) in frames() {
        let bytes = encoded(&frame);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{name} cut at {cut}");
        }
    }
}

#[test]
fn no_flip_cut_or_chance_panics() {
    for (_, frame) in frames() {
        let bytes = encoded(&frame);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let _ = decode(&bad);
            }
            let mut short = bytes[..at.max(4)].to_vec();
            let length = (short.len() - 4) as u32;
            short[..4].copy_from_slice(&length.to_le_bytes());
            let _ = decode(&short);
        }
    }
    let mut next = numbers();
    for _ in 0..200_000 {
        let length = (next() % 60) as u32;
        let mut bad = length.to_le_bytes().to_vec();
        // The first byte names the frame: keep it near those there are.
        bad.push((next() % 11) as u8);
        bad.extend((1..length).map(|_| (next() >> 32) as u8));
        let _ = decode(&bad);
    }
}

#[test]
fn a_length_out_of_bounds_is_refused_before_its_bytes() {
    let found = limits::MAX_FRAME + 1;

    assert_eq!(
        decode(&(found as u32).to_le_bytes()),
        Err(WireError::TooLong { found })
    );
    assert_eq!(decode(&(limits::MAX_FRAME as u32).to_le_bytes()), Ok(None));
}

#[test]
fn bytes_left_over_are_refused() {
    let mut bytes = encoded(&Frame::Settled {
        receipt: ReceiptNo(1),
    });
    bytes.push(0);
    bytes[0] += 1;

    assert_eq!(
        decode(&bytes),
        Err(WireError::LeftOver { found: 3, left: 1 })
    );
}

#[test]
fn an_unknown_frame_is_garbage() {
    let bytes = [1, 0, 0, 0, 9];

    assert!(matches!(
        decode(&bytes),
        Err(WireError::Garbage { found: 1, .. })
    ));
}

#[test]
fn a_header_out_of_bounds_is_refused() {
    let check = |header: PackHeader| match decode(&encoded(&Frame::Pack(header))) {
        Err(WireError::Header(error)) => error,
        other => panic!("accepted: {other:?}"),
    };
    let but = |out: &[u16]| PackHeader {
        members: Members::AllBut(out.to_vec()),
        ..header()
    };

    assert_eq!(
        check(PackHeader {
            count: 0,
            ..header()
        }),
        HeaderError::MemberCount(0)
    );
    assert_eq!(
        check(PackHeader {
            count: 1025,
            ..header()
        }),
        HeaderError::MemberCount(1025)
    );
    let long = limits::PACK_BYTES as u32 + 1;
    assert_eq!(
        check(PackHeader {
            table_len: long,
            ..header()
        }),
        HeaderError::TableLength(long)
    );
    let (found, max) = (u64::MAX, limits::PACK_BYTES);
    let body = check(PackHeader {
        body_len: found,
        ..header()
    });
    assert_eq!(body, HeaderError::BodyLength { found, max });
    for members in [&[][..], &[3], &[1, 1], &[2, 1], &[0, 1, 2]] {
        assert_eq!(
            check(but(members)),
            HeaderError::Selection(3),
            "{members:?}"
        );
    }
    let only = PackHeader {
        members: Members::Only(3),
        ..header()
    };
    assert_eq!(check(only), HeaderError::Selection(3));
}

#[test]
fn an_offer_is_of_one_large_segment() {
    let check = |header: PackHeader| decode(&encoded(&Frame::Offer(header))).map(|_| ());

    assert_eq!(check(offer()), Ok(()));
    assert_eq!(
        check(PackHeader {
            members: Members::Only(0),
            ..offer()
        }),
        Ok(())
    );
    let small = PackHeader {
        body_len: limits::SMALL_SEGMENT,
        ..offer()
    };
    assert_eq!(
        check(small),
        Err(HeaderError::SmallOffer(limits::SMALL_SEGMENT).into())
    );
    let two = PackHeader {
        count: 2,
        ..offer()
    };
    assert_eq!(check(two), Err(HeaderError::SharedOffer(2).into()));
    let (found, max) = (limits::MAX_SEGMENT + 1, limits::MAX_SEGMENT);
    let long = PackHeader {
        body_len: found,
        ..offer()
    };
    assert_eq!(
        check(long),
        Err(HeaderError::BodyLength { found, max }.into())
    );
}

#[test]
fn an_ack_answers_for_what_it_refuses() {
    let ack = |count, refused| Ack {
        pack: PackNo(1),
        part: Part::Rest,
        receipt: ReceiptNo(0),
        table: Digest::default(),
        count,
        durability: Durability::Synced,
        refused,
    };
    let check = |ack| decode(&encoded(&Frame::Ack(ack))).map(|_| ());

    assert_eq!(check(ack(1, vec![(7, Nack::TooLarge)])), Ok(()));
    let refused = vec![(0, Nack::TooLarge), (1, Nack::TooLarge)];
    assert_eq!(
        check(ack(1, refused)),
        Err(WireError::Ack {
            count: 1,
            refused: 2
        })
    );
    assert!(check(ack(0, vec![])).is_err());
}

#[test]
fn an_ack_that_refuses_a_full_pack_fits_a_frame() {
    let refused = (0..1024).map(|n| (n, Nack::BadDigest)).collect();
    let Frame::Ack(ack) = frames().remove(7).1 else {
        panic!("the eighth is the ack")
    };

    let bytes = encoded(&Frame::Ack(Ack {
        count: 1024,
        refused,
        ..ack
    }));

    assert!(matches!(decode(&bytes), Ok(Some(_))));
}

#[test]
fn the_lower_common_version_is_spoken() {
    let hello = |min_version, max_version| Hello {
        min_version,
        max_version,
        ..hello()
    };

    assert_eq!(hello(1, 1).common_version(), Some(1));
    assert_eq!(hello(1, 9).common_version(), Some(1));
    assert_eq!(hello(2, 9).common_version(), None);
    assert_eq!(hello(0, 0).common_version(), None);
}

#[test]
fn members_selected_lie_in_runs() {
    let mut pack = Builder::new();
    for body in [&b"one"[..], b"two2", b"", b"three", b"x"] {
        pack.push(SegmentId::v7(1, 1), b"", body);
    }
    let built = pack.finish().expect("it has members");
    let table: Bytes = built.bytes.slice(..built.table_len as usize);
    let table = Table::parse(table, built.count).expect("a built table parses");
    let runs = |members: Members| members.runs(table.members());

    assert_eq!(runs(Members::All).first(), Some(&(0..13)));
    assert_eq!(runs(Members::Only(1)).first(), Some(&(3..7)));
    assert_eq!(runs(Members::AllBut(vec![1])), [0..3, 7..13]);
    assert_eq!(runs(Members::AllBut(vec![0, 4])).first(), Some(&(3..12)));
    assert_eq!(Members::AllBut(vec![1]).indexes(5), Some(vec![0, 2, 3, 4]));
    assert_eq!(Members::Only(0).indexes(1), None);
}

#[test]
fn a_goodbye_is_known_by_its_code() {
    for code in 0x10..0x1a {
        let why = Goodbye::from_code(code).expect("one of ours");
        assert_eq!(u64::from(why.code()), code);
    }
    assert_eq!(Goodbye::from_code(0), None);
    assert_eq!(Goodbye::from_code(0x1a), None);
}
