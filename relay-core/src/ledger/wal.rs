//! SQLite's write-ahead log, before SQLite reads it: one damaged word is put right, and
//! all of it written once more.
//!
//! SQLite takes the log up to the first frame that does not match its checksum and
//! forgets the rest, since that is what a torn write looks like. A byte that rotted in
//! the middle would so undo every group after it, answered and acknowledged ones too,
//! without a word. The checksum is linear in the words it covers, so where *one* word
//! differs it says which and by how much: the word is put right in place. What that does
//! not explain is torn, unless two commits lie behind it, of which the first was
//! synced before the second began, or one word is wrong and it cannot be said which:
//! then the log is damaged, and [`super::salvage`] takes what can be read.
//!
//! A sync that failed leaves in memory what the disk does not have, and no later sync
//! brings it there (<https://wiki.postgresql.org/wiki/Fsync_Errors>). What SQLite will go
//! by is therefore written over itself and synced, before SQLite moves a page of it into the
//! database. A clean stop leaves no log, and nothing to write.
//!
//! ```text
//! header  magic | version | page size | sequence | salt 2 | checksum 2      (32-bit words)
//! frame   page | size at a commit, else 0 | salt 2 | checksum 2 | the page
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::schema::PAGE;

/// Bytes before the first frame.
pub(super) const HEADER: u64 = 32;
/// Bytes of a frame before its page.
pub(super) const FRAME_HEADER: u64 = 24;
const FRAME: usize = FRAME_HEADER as usize + PAGE as usize;
const MAGIC: u32 = 0x377f_0682;
/// Words of a frame that its checksum covers.
const WORDS: usize = 2 + PAGE as usize / 4;

/// What a look at the log came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// Words put right.
    pub(super) mended: u64,
    /// Whether commits lie behind what cannot be put right.
    pub(super) is_damaged: bool,
}

/// The running checksum.
type Sum = [u32; 2];

/// Looks through the log at `path`, if there is one, puts right what one word explains,
/// and writes all that is sound once more; it is on stable storage then.
pub(super) fn mend(path: &Path) -> io::Result<Looked> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Looked::default()),
        Err(error) => return Err(error),
    };
    let mut looked = Looked::default();
    let mut header = [0u8; HEADER as usize];
    if file.metadata()?.len() < HEADER {
        return Ok(looked);
    }
    file.read_exact_at(&mut header, 0)?;
    let big_endian = word(&header, 0) == MAGIC | 1;
    let mut frame = vec![0u8; FRAME];
    let first = read_frame(&file, 0, &mut frame)?;
    let first = first.then_some(&frame[..]);
    let Some(mut sum) = mend_header(&mut header, first, big_endian, &mut looked) else {
        looked.is_damaged = commits(&file, 0, None)? > 1;
        return Ok(looked);
    };
    file.write_all_at(&header, 0)?;
    let salts = [word(&header, 4), word(&header, 5)];
    let mut behind = vec![0u8; FRAME];
    let mut no = 0;
    while read_frame(&file, no, &mut frame)? {
        let found = frame_sum(&frame, sum, big_endian);
        let own = [word(&frame, 2), word(&frame, 3)];
        if found == stored(&frame) && own == salts {
            file.write_all_at(&frame, HEADER + no * FRAME as u64)?;
            (sum, no) = (found, no + 1);
            continue;
        }
        let next = read_frame(&file, no + 1, &mut behind)?
            && [word(&behind, 2), word(&behind, 3)] == salts;
        let next = next.then_some(&behind[..]);
        match mend_frame(&mut frame, found, salts, next, big_endian) {
            Some(right) => sum = right,
            None => {
                // A group that was not synced reaches the disk in any order, also with all
                // of it but a part of one page. That is never off by one word alone; where
                // this one is, and all that follows as it was written, it had been whole.
                let was_whole = is_off_by_a_word(&frame, found)
                    && is_whole(&file, no + 1, stored(&frame), (salts, big_endian))?;
                let behind = commits(&file, no, Some(salts))?;
                looked.is_damaged = behind > u64::from(!was_whole);
                if own == salts && !looked.is_damaged {
                    // SQLite forgets what is torn and writes over a part of it: the rest
                    // must not look like damage to the start after this one.
                    file.set_len(HEADER + no * FRAME as u64)?;
                }
                break;
            }
        }
        looked.mended += 1;
        file.write_all_at(&frame, HEADER + no * FRAME as u64)?;
        no += 1;
    }
    file.sync_all()?;
    Ok(looked)
}

/// Reads frame `no`; `false` at the end.
fn read_frame(file: &File, no: u64, frame: &mut [u8]) -> io::Result<bool> {
    match file.read_exact_at(frame, HEADER + no * FRAME as u64) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the frames from `from` on go on from `sum` and from each other, up to a commit.
fn is_whole(
    file: &File,
    from: u64,
    mut sum: Sum,
    (salts, big_endian): ([u32; 2], bool),
) -> io::Result<bool> {
    let mut frame = vec![0u8; FRAME];
    for no in from.. {
        if !read_frame(file, no, &mut frame)?
            || [word(&frame, 2), word(&frame, 3)] != salts
            || !follows(&frame, sum, big_endian)
        {
            return Ok(false);
        }
        if word(&frame, 1) > 0 {
            return Ok(true);
        }
        sum = stored(&frame);
    }
    Ok(false)
}

/// Whole frames from `from` on that end a commit. Without salts, those of the first frame hold.
fn commits(file: &File, from: u64, salts: Option<[u32; 2]>) -> io::Result<u64> {
    let (mut found, mut salts) = (0, salts);
    let length = file.metadata()?.len();
    let mut head = [0u8; FRAME_HEADER as usize];
    for no in from.. {
        // A full disk cuts a frame short behind its header.
        if length < HEADER + (no + 1) * FRAME as u64 {
            break;
        }
        match file.read_exact_at(&mut head, HEADER + no * FRAME as u64) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let own = [word(&head, 2), word(&head, 3)];
        let salts = *salts.get_or_insert(own);
        found += u64::from(own == salts && word(&head, 1) > 0);
    }
    Ok(found)
}

/// The checksum after the header; `None` if more than a word of it is wrong. A word of the
/// checksum looks like the last word it covers, a salt: the first frame has it, too.
fn mend_header(
    header: &mut [u8; 32],
    first: Option<&[u8]>,
    big_endian: bool,
    looked: &mut Looked,
) -> Option<Sum> {
    let found = checksum([0, 0], &header[..24], big_endian);
    let stored = [word(header, 6), word(header, 7)];
    if found == stored {
        return (word(header, 2) == PAGE as u32).then_some(found);
    }
    looked.mended += 1;
    let mut likely: Vec<([u8; 32], Sum)> = Vec::new();
    if found[0] == stored[0] || found[1] == stored[1] {
        let mut other = *header;
        set_word(&mut other, 6, found[0]);
        set_word(&mut other, 7, found[1]);
        likely.push((other, found));
    }
    for (at, by) in culprits(24 / 4, difference(stored, found)) {
        let mut other = *header;
        shift(&mut other, at, by, big_endian);
        likely.push((other, stored));
    }
    let goes_on = |(other, sum): &&([u8; 32], Sum)| {
        first.is_some_and(|frame| {
            let salts = [word(frame, 2), word(frame, 3)];
            salts == [word(other, 4), word(other, 5)] && follows(frame, *sum, big_endian)
        })
    };
    let is_one_of_sums = likely.first().is_some_and(|(_, sum)| *sum == found);
    let right = match likely.iter().find(goes_on) {
        Some(right) => Some(right),
        // Of a log without a frame nothing hangs on it.
        None => likely
            .first()
            .filter(|_| is_one_of_sums || likely.len() == 1),
    };
    let (other, sum) = right?;
    *header = *other;
    Some(*sum)
}

/// Puts a frame right whose checksum should be `found`; answers the sum the next one
/// goes on from. `None` where the log ends, or is torn or damaged.
fn mend_frame(
    frame: &mut [u8],
    found: Sum,
    salts: [u32; 2],
    next: Option<&[u8]>,
    big_endian: bool,
) -> Option<Sum> {
    let stored = stored(frame);
    let own = [word(frame, 2), word(frame, 3)];
    if found == stored && word(frame, 0) > 0 {
        set_word(frame, 2, salts[0]);
        set_word(frame, 3, salts[1]);
        return Some(found);
    }
    if own != salts {
        return None;
    }
    let found_follows = next.is_some_and(|next| follows(next, found, big_endian));
    let culprits = culprits(WORDS, difference(stored, found));
    // The words covered are the first two of the frame, then those of its page.
    let place = |at: usize| if at < 2 { at } else { at + 4 };
    let one_byte = |(at, by): &(usize, u32)| {
        let at = 4 * place(*at);
        let before = sum_word(&frame[at..at + 4], big_endian);
        let changed = before ^ before.wrapping_add(*by);
        (0..4).any(|n| changed & !(0xff << (8 * n)) == 0)
    };
    // A group that ends says how many pages there are: a page beyond is none.
    let pages = word(frame, 1);
    let is_beyond = pages > 0 && !(1..=pages).contains(&word(frame, 0));
    let names = |wanted: usize| culprits.iter().find(|(at, _)| *at == wanted);
    let number = names(0).filter(|_| is_beyond && names(1).is_none());
    let culprit = match culprits[..] {
        [one] => Some(one),
        _ if number.is_some() => number.copied(),
        _ => {
            let mut likely = culprits.iter().filter(|culprit| one_byte(culprit));
            likely.next().filter(|_| likely.next().is_none()).copied()
        }
    };
    match culprit {
        Some((at, by)) if !found_follows => {
            shift(frame, place(at), by, big_endian);
            Some(stored)
        }
        // The checksum itself is the damage; or, at the end of the log, one of several
        // words is, and the rows of the page will say which.
        Some(_) | None if found_follows || next.is_none() && explains(stored, found, &culprits) => {
            set_word(frame, 4, found[0]);
            set_word(frame, 5, found[1]);
            Some(found)
        }
        Some(_) | None => None,
    }
}

/// Whether one word accounts for a checksum that should be `found`.
fn is_off_by_a_word(frame: &[u8], found: Sum) -> bool {
    let stored = stored(frame);
    explains(stored, found, &culprits(WORDS, difference(stored, found)))
}

/// Whether one word accounts for the difference, of the checksum or of what it covers.
const fn explains(stored: Sum, found: Sum, culprits: &[(usize, u32)]) -> bool {
    !culprits.is_empty() || stored[0] == found[0] || stored[1] == found[1]
}

/// The checksum a frame should carry.
fn frame_sum(frame: &[u8], before: Sum, big_endian: bool) -> Sum {
    let head = checksum(before, &frame[..8], big_endian);
    checksum(head, &frame[FRAME_HEADER as usize..], big_endian)
}

/// Whether `next` is the frame behind one with this sum.
fn follows(next: &[u8], sum: Sum, big_endian: bool) -> bool {
    frame_sum(next, sum, big_endian) == stored(next)
}

/// The checksum it carries.
fn stored(frame: &[u8]) -> Sum {
    [word(frame, 4), word(frame, 5)]
}

/// SQLite's checksum of `bytes`, going on from `sum`.
fn checksum(mut sum: Sum, bytes: &[u8], big_endian: bool) -> Sum {
    for pair in bytes.chunks_exact(8) {
        sum[0] = sum[0]
            .wrapping_add(sum_word(&pair[..4], big_endian))
            .wrapping_add(sum[1]);
        sum[1] = sum[1]
            .wrapping_add(sum_word(&pair[4..], big_endian))
            .wrapping_add(sum[0]);
    }
    sum
}

/// Which of `words` words, raised by how much, would make up for `missing`.
fn culprits(words: usize, missing: Sum) -> Vec<(usize, u32)> {
    // What a word adds to the sums at the end: the second of a pair, and the first.
    let (mut second, mut first) = ([0u32, 1u32], [1u32, 1u32]);
    let mut found = Vec::new();
    for pair in (0..words / 2).rev() {
        for (at, adds) in [(2 * pair, first), (2 * pair + 1, second)] {
            // Neighbours of the Fibonacci numbers: one of the two is odd.
            let odd = usize::from(adds[0] % 2 == 0);
            let by = missing[odd].wrapping_mul(inverse(adds[odd]));
            if adds.map(|adds| adds.wrapping_mul(by)) == missing {
                found.push((at, by));
            }
        }
        second = step(second);
        first = step(first);
    }
    found
}

/// What sums become over a pair of zeros.
const fn step(sum: Sum) -> Sum {
    let first = sum[0].wrapping_add(sum[1]);
    [first, sum[1].wrapping_add(first)]
}

/// The inverse of an odd number, by Newton's steps.
const fn inverse(odd: u32) -> u32 {
    let mut x = odd;
    let mut steps = 0;
    while steps < 5 {
        x = x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x)));
        steps += 1;
    }
    x
}

const fn difference(a: Sum, b: Sum) -> Sum {
    [a[0].wrapping_sub(b[0]), a[1].wrapping_sub(b[1])]
}

/// Raises word `at`, as the checksum reads it.
fn shift(bytes: &mut [u8], at: usize, by: u32, big_endian: bool) {
    let bytes = &mut bytes[4 * at..4 * at + 4];
    let value = sum_word(bytes, big_endian).wrapping_add(by);
    bytes.copy_from_slice(&if big_endian {
        value.to_be_bytes()
    } else {
        value.to_le_bytes()
    });
}

fn sum_word(bytes: &[u8], big_endian: bool) -> u32 {
    let bytes = bytes.try_into().expect("four bytes");
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

/// Word `at` of a header, which are big-endian whatever the checksum's order.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[4 * at..4 * at + 4].try_into().expect("four bytes"))
}

fn set_word(bytes: &mut [u8], at: usize, value: u32) {
    bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_be_bytes());
}
