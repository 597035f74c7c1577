//! The fuzz target `command`; what it checks: `roomwire_fuzz::target::command`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::command::run(data));
