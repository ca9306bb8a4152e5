//! One log file: its header, its records, and how they are read back.
//!
//! ```text
//! file    header block of 4,096 B, then records; zero-filled to its full length
//! header  magic 8 | ledger 8 | file 4 | zero 4 | generation 8 | crc32 4
//! record  magic 4 | generation 8 | pack 8 | length 4 | crc32 4 | length bytes
//! ```
//!
//! All numbers are little-endian. The checksum of a record covers its generation,
//! pack number, length and bytes. A record says whose it is, so that a reader
//! that holds an old place after the file was reused is told, never misled.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};

use super::LedgerResult;
use super::error::LedgerError;
use crate::id::{LedgerId, PackNo};

/// Where the first record begins: the header has a page of its own.
pub(super) const FIRST_RECORD: u64 = 4096;
/// What a record takes beside its bytes.
pub(super) const RECORD: usize = 28;
const FILE_MAGIC: [u8; 8] = *b"edgelog1";
const RECORD_MAGIC: u32 = 0x6b63_6170;
const HEADER: usize = 36;

/// Why bytes are not the record asked for.
#[derive(Debug)]
pub(super) enum RecordError {
    /// The file system's answer.
    Io(io::Error),
    /// Another record, or none, lies there.
    Other(&'static str),
}

/// The path of log file `no` in `dir`.
pub(super) fn path(dir: &Path, no: u32) -> PathBuf {
    dir.join(format!("{no:04}.log"))
}

/// The numbers of the log files in `dir`, rising.
pub(super) fn numbers_in(dir: &Path) -> LedgerResult<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(LedgerError::io("list", dir))? {
        let name = entry.map_err(LedgerError::io("list", dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens a log file that is there.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Writes the header that makes `file` the `generation`-th file of `ledger`.
pub(super) fn write_header(
    file: &File,
    ledger: LedgerId,
    no: u32,
    generation: u64,
) -> io::Result<()> {
    let mut header = [0u8; HEADER];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..16].copy_from_slice(&ledger.0.to_le_bytes());
    header[16..20].copy_from_slice(&no.to_le_bytes());
    header[24..32].copy_from_slice(&generation.to_le_bytes());
    let crc = crc32fast::hash(&header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0)
}

/// Appends the record of `pack` to `buffer`.
pub(super) fn put_record(buffer: &mut BytesMut, generation: u64, pack: PackNo, bytes: &[u8]) {
    buffer.reserve(RECORD + bytes.len());
    buffer.put_u32_le(RECORD_MAGIC);
    let at = buffer.len();
    buffer.put_u64_le(generation);
    buffer.put_u64_le(pack.0);
    buffer.put_u32_le(bytes.len() as u32);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&buffer[at..]);
    crc.update(bytes);
    buffer.put_u32_le(crc.finalize());
    buffer.put_slice(bytes);
}

/// Reads the record of `pack` that begins at `start` and holds `length` bytes.
pub(super) fn read_record(
    file: &File,
    start: u64,
    generation: u64,
    pack: PackNo,
    length: u64,
) -> Result<Bytes, RecordError> {
    let length = usize::try_from(length).map_err(|_| RecordError::Other("impossible length"))?;
    let mut all = BytesMut::zeroed(RECORD + length);
    file.read_exact_at(&mut all, start).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            RecordError::Other("log file is too short")
        } else {
            RecordError::Io(error)
        }
    })?;
    let bytes = all.split_off(RECORD).freeze();
    let field = |from: usize| u64::from_le_bytes(all[from..from + 8].try_into().expect("8 bytes"));
    let short = |from: usize| u32::from_le_bytes(all[from..from + 4].try_into().expect("4 bytes"));
    if short(0) != RECORD_MAGIC {
        return Err(RecordError::Other("no record begins here"));
    }
    if field(4) != generation {
        return Err(RecordError::Other("record is of another generation"));
    }
    if field(12) != pack.0 {
        return Err(RecordError::Other("record is of another pack"));
    }
    if short(20) as usize != length {
        return Err(RecordError::Other("record has another length"));
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&all[4..24]);
    crc.update(&bytes);
    if crc.finalize() != short(24) {
        return Err(RecordError::Other("checksum does not match"));
    }
    Ok(bytes)
}

/// Which generation a file says it is of; `None` if its header is not sound.
pub(super) fn generation(file: &File) -> Option<u64> {
    let mut header = [0u8; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let crc = u32::from_le_bytes(header[32..].try_into().ok()?);
    let is_sound = header[..8] == FILE_MAGIC && crc == crc32fast::hash(&header[..32]);
    let generation = u64::from_le_bytes(header[24..32].try_into().ok()?);
    is_sound.then_some(generation)
}

/// The sound records of `generation` from `at` on, one behind the other, whose packs
/// are above `pack`.
pub(super) fn records_above(file: &File, generation: u64, at: u64, pack: PackNo) -> u64 {
    let (mut at, mut found) = (at, 0);
    let size = file.metadata().map_or(0, |file| file.len());
    loop {
        let mut head = [0u8; RECORD];
        if file.read_exact_at(&mut head, at).is_err() {
            return found;
        }
        let no = u64::from_le_bytes(head[12..20].try_into().expect("8 bytes"));
        let length = u32::from_le_bytes(head[20..24].try_into().expect("4 bytes"));
        // What an earlier use of the file left there is no length to make room for.
        let own =
            head[..4] == RECORD_MAGIC.to_le_bytes() && head[4..12] == generation.to_le_bytes();
        if !own
            || at + RECORD as u64 + u64::from(length) > size
            || read_record(file, at, generation, PackNo(no), length.into()).is_err()
        {
            return found;
        }
        found += u64::from(no > pack.0);
        at += RECORD as u64 + u64::from(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().expect("a temporary file");
        let mut buffer = BytesMut::new();
        put_record(&mut buffer, 7, PackNo(3), bytes);
        file.write_all_at(&buffer, FIRST_RECORD)
            .expect("room for a record");
        file
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let file = written(b"hello");

        let bytes = read_record(&file, FIRST_RECORD, 7, PackNo(3), 5).expect("it is there");

        assert_eq!(&bytes[..], b"hello");
    }

    #[test]
    fn every_other_question_is_told_no() {
        let file = written(b"hello");

        let asked = [
            read_record(&file, FIRST_RECORD + 1, 7, PackNo(3), 5),
            read_record(&file, FIRST_RECORD, 8, PackNo(3), 5),
            read_record(&file, FIRST_RECORD, 7, PackNo(4), 5),
            read_record(&file, FIRST_RECORD, 7, PackNo(3), 4),
            read_record(&file, FIRST_RECORD, 7, PackNo(3), 6),
        ];

        assert!(
            asked
                .iter()
                .all(|answer| matches!(answer, Err(RecordError::Other(_))))
        );
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let file = written(b"hello");
        for at in FIRST_RECORD..FIRST_RECORD + RECORD as u64 + 5 {
            let mut byte = [0u8];
            file.read_exact_at(&mut byte, at).expect("it is there");
            file.write_all_at(&[byte[0] ^ 4], at).expect("it is there");

            let answer = read_record(&file, FIRST_RECORD, 7, PackNo(3), 5);

            assert!(matches!(answer, Err(RecordError::Other(_))), "byte {at}");
            file.write_all_at(&byte, at).expect("it is there");
        }
    }
}
