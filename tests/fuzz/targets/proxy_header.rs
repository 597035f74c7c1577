//! The fuzz target `proxy_header`; what it checks: `roomwire_fuzz::target::proxy_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::proxy_header::run(data));
