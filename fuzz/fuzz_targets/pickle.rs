#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dolium_fuzz::pickle(bytes));
