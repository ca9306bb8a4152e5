//! Bytes that anybody may write, given to whoever reads them.
//!
//! Each [`Target`] takes any bytes and panics if a promise is broken: that nothing
//! panics is the least of them. `fuzz/` plays them with libFuzzer, and `tests/corpora.rs`
//! plays what it found worth keeping (`fuzz/corpus`) in every run of the tests.

pub mod config;
pub mod files;
pub mod ledger;
pub mod rpc;
pub mod wire;
pub mod words;

/// One reader of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its corpus and of its file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Reads `bytes`; panics if a promise is broken.
    pub play: fn(&[u8]),
}

/// All there are.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "wire",
        play: wire::play,
    },
    Target {
        name: "rpc",
        play: rpc::play,
    },
    Target {
        name: "config",
        play: config::play,
    },
    Target {
        name: "words",
        play: words::play,
    },
    Target {
        name: "ledger",
        play: ledger::play,
    },
    Target {
        name: "files",
        play: files::play,
    },
];

/// Numbers out of bytes, zero once they are used up.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a>(pub &'a [u8]);

impl<'a> Numbers<'a> {
    /// Whether there are none left.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next eight bytes as a number; what is missing is zero.
    pub fn long(&mut self) -> u64 {
        let mut all = [0; 8];
        let found = self.take(8);
        all[..found.len()].copy_from_slice(found);
        u64::from_le_bytes(all)
    }

    /// At most so many of the next bytes.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, left) = self.0.split_at(most.min(self.0.len()));
        self.0 = left;
        taken
    }
}
