//! The fuzz target `word`; what it checks: `roomwire_fuzz::target::word`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::word::run(data));
