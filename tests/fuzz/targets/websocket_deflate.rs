//! The fuzz target `websocket_deflate`; what it checks: `roomwire_fuzz::target::websocket_deflate`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::websocket_deflate::run(data));
