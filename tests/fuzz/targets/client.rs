//! The fuzz target `client`; what it checks: `roomwire_fuzz::client`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::client::run(data));
