//! libFuzzer plays `fuzzed::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::config::play(bytes));
