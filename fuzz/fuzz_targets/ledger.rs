//! libFuzzer plays `fuzzed::ledger`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::ledger::play(bytes));
