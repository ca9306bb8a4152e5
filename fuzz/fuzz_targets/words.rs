//! libFuzzer plays `fuzzed::words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::words::play(bytes));
