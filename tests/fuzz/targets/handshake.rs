//! The fuzz target `handshake`; what it checks: `roomwire_fuzz::target::handshake`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::handshake::run(data));
