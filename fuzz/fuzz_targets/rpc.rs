//! libFuzzer plays `fuzzed::rpc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::rpc::play(bytes));
