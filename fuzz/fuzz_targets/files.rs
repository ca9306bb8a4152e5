//! libFuzzer plays `fuzzed::files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::files::play(bytes));
