//! The fuzz target `line`; what it checks: `roomwire_fuzz::target::line`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::line::run(data));
