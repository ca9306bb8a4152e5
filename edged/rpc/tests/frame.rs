//! What the framing promises: whole frames or "not yet", bounds before bytes, clear errors.

use edged_rpc::frame::{PREFIX, check_lengths, decode, encode, encode_batch, prefix, split, words};
use edged_rpc::{
    FrameError, MAX_BATCH_MEMBERS, MAX_FRAME, MAX_RAW, PutBatch, PutOptions, Request, Response,
};

#[test]
fn a_frame_is_a_little_endian_length_and_that_many_bytes() {
    let mut out = Vec::new();

    encode(&Response::Go, &mut out).expect("small");

    assert_eq!(out, [1, 0, 0, 0, 2]);
    assert_eq!(words(&Response::Go).expect("small"), [2]);
}

#[test]
fn a_frame_cut_anywhere_is_not_yet_complete() {
    let mut whole = Vec::new();
    encode(&Request::RelayStatus(Default::default()), &mut whole).expect("small");

    for cut in 0..whole.len() {
        assert_eq!(split(&whole[..cut], MAX_FRAME), Ok(None), "cut at {cut}");
    }
    assert_eq!(split(&whole, MAX_FRAME), Ok(Some(&whole[PREFIX..])));
}

#[test]
fn bytes_of_the_next_frame_are_left_alone() {
    let mut two = Vec::new();
    encode(&Response::Go, &mut two).expect("small");
    encode(&Response::Done, &mut two).expect("small");

    let first = split(&two, MAX_FRAME).expect("sound").expect("whole");

    assert_eq!(decode(first), Ok(Response::Go));
    assert_eq!(
        split(&two[PREFIX + first.len()..], MAX_FRAME),
        Ok(Some(&[1][..]))
    );
}

#[test]
fn an_oversized_length_is_refused_before_its_bytes() {
    let announced = u32::MAX.to_le_bytes();

    assert_eq!(
        split(&announced, MAX_FRAME),
        Err(FrameError::TooLong {
            found: u32::MAX as usize,
            most: MAX_FRAME
        })
    );
    assert_eq!(prefix(MAX_RAW), [0, 0, 64, 0]);
}

#[test]
fn a_message_too_long_for_a_frame_leaves_the_buffer_as_it_was() {
    let long = "x".repeat(MAX_FRAME);
    let mut out = b"before".to_vec();

    let error = encode(&long, &mut out).expect_err("too long");

    assert_eq!(
        error,
        FrameError::TooLong {
            found: MAX_FRAME + 3,
            most: MAX_FRAME
        }
    );
    assert_eq!(out, b"before");
    assert_eq!(words(&long), Err(error));
}

#[test]
fn truncated_long_and_garbled_words_each_say_so() {
    let whole = words(&sample_batch()).expect("small");
    let mut longer = whole.clone();
    longer.extend_from_slice(b"??");

    for cut in 0..whole.len() {
        let read = decode::<Request>(&whole[..cut]);
        assert_eq!(read, Err(FrameError::Truncated { found: cut }));
    }
    assert_eq!(
        decode::<Request>(&longer),
        Err(FrameError::LeftOver {
            found: longer.len(),
            left: 2
        })
    );
    let garbage = decode::<Request>(&[0xff; 32]).expect_err("no such variant");
    assert!(
        matches!(garbage, FrameError::Garbage { found: 32, .. }),
        "{garbage}"
    );
    assert!(
        garbage
            .to_string()
            .starts_with("frame of 32 bytes is no message we know: ")
    );
}

#[test]
fn garbage_of_every_length_never_panics() {
    let mut state = 7_u64;
    for length in 0..600 {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_le_bytes()[7]
            })
            .collect();
        drop((
            decode::<Request>(&bytes),
            decode::<Response>(&bytes),
            split(&bytes, MAX_RAW),
        ));
    }
}

#[test]
fn a_batch_from_borrowed_parts_has_the_bytes_of_the_owned_request() {
    let Request::PutBatch(batch) = sample_batch() else {
        unreachable!("made below")
    };
    let (mut borrowed, mut owned) = (Vec::new(), Vec::new());

    encode_batch(&batch.options, &batch.lengths, &mut borrowed).expect("small");
    encode(&sample_batch(), &mut owned).expect("small");

    assert_eq!(borrowed, owned);
}

#[test]
fn the_longest_batch_fits_one_frame() {
    let mut out = Vec::new();

    encode_batch(
        &PutOptions::to_peer("beta"),
        &[u32::MAX; MAX_BATCH_MEMBERS],
        &mut out,
    )
    .expect("fits");
}

#[test]
fn lengths_of_a_batch_are_bounded() {
    let members = u32::try_from(MAX_BATCH_MEMBERS).expect("small");
    let most = u32::try_from(MAX_RAW).expect("small");

    assert_eq!(check_lengths(&[0]), Ok(0));
    assert_eq!(check_lengths(&[1, 2, 3]), Ok(6));
    assert_eq!(
        check_lengths(&vec![1; MAX_BATCH_MEMBERS]),
        Ok(members as usize)
    );
    assert_eq!(check_lengths(&[most]), Ok(MAX_RAW));
    for bad in [
        vec![],
        vec![0; MAX_BATCH_MEMBERS + 1],
        vec![most, 1],
        vec![u32::MAX; 4_096],
    ] {
        let error = check_lengths(&bad).expect_err("out of bounds");
        assert!(matches!(error, FrameError::BadBatch { members, .. } if members == bad.len()));
    }
}

fn sample_batch() -> Request {
    Request::PutBatch(PutBatch {
        options: PutOptions::to_peer("beta"),
        lengths: vec![1, 300, 70_000],
    })
}
