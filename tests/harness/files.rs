//! Bytes to put, and how much disk holds them.
//!
//! [`Body`] is a segment's bytes as a seed and a length: it is read as often as
//! wanted and never kept, so a test may put gigabytes and remember only numbers.
//! No two seeds give the same bytes, from 16 B on. [`allocated`] is what a folder
//! takes on disk, in blocks, as a ceiling on space counts it.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::seeds::Dice;

/// The bytes of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Body {
    /// Which bytes.
    pub seed: u64,
    /// How many.
    pub length: u64,
}

impl Body {
    /// The bytes, from the first.
    #[must_use]
    pub fn reader(self) -> Bytes {
        Bytes {
            noise: Noise::new(self.seed),
            left: self.length,
        }
    }

    /// All of them at once.
    ///
    /// # Panics
    /// If they do not fit in memory.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(self.length).expect("it fits in memory")];
        Noise::new(self.seed).fill(&mut all);
        all
    }

    /// Their BLAKE3 digest.
    #[must_use]
    pub fn digest(self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader(self.reader())
            .expect("noise has no errors");
        *hasher.finalize().as_bytes()
    }
}

/// Reads a [`Body`].
#[derive(Debug)]
pub struct Bytes {
    noise: Noise,
    left: u64,
}

impl Read for Bytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        self.noise.fill(&mut into[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

/// Words of a generator, the seed first, as bytes without end.
#[derive(Debug)]
struct Noise {
    dice: Dice,
    word: [u8; 8],
    used: usize,
}

impl Noise {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            word: seed.to_le_bytes(),
            used: 0,
        }
    }

    fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            if self.used == self.word.len() {
                self.word = self.dice.draw().to_le_bytes();
                self.used = 0;
            }
            *byte = self.word[self.used];
            self.used += 1;
        }
    }
}

/// What `dir` and all in it take on disk. A file that goes meanwhile counts
/// as it was met.
///
/// # Panics
/// If the folder itself cannot be read.
#[must_use]
pub fn allocated(dir: &Path) -> u64 {
    let mut sum = 0;
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            assert!(folder != dir, "folder {} cannot be read", dir.display());
            continue;
        };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            // 512 B whatever the file system's own block is: stat(2).
            sum += found.blocks() * 512;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    sum
}

/// Copies a folder and all in it to one that need not be there.
///
/// # Panics
/// If it cannot be read, or there is no room.
pub fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("room for a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("room for a file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_reads_the_same_in_whatever_pieces() {
        let body = Body {
            seed: 7,
            length: 10_001,
        };
        let mut pieces = Vec::new();
        let mut reader = body.reader();
        let mut piece = [0; 77];

        while let Ok(count @ 1..) = reader.read(&mut piece) {
            pieces.extend_from_slice(&piece[..count]);
        }

        assert_eq!(pieces, body.bytes());
        assert_eq!(blake3::hash(&pieces).as_bytes(), &body.digest());
    }

    #[test]
    fn two_seeds_give_two_bodies() {
        let body = |seed| Body { seed, length: 16 }.bytes();

        assert_ne!(body(1), body(2));
        assert_eq!(body(1)[..8], 1u64.to_le_bytes());
    }
}
