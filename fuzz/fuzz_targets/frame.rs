#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dolium_fuzz::frame(bytes));
