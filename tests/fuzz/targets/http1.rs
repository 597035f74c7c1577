//! The fuzz target `http1`; what it checks: `roomwire_fuzz::target::http1`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::http1::run(data));
