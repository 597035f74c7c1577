//! The fuzz target `content`; what it checks: `roomwire_fuzz::target::content`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::content::run(data));
