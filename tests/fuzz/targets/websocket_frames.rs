//! The fuzz target `websocket_frames`; what it checks: `roomwire_fuzz::target::websocket_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomwire_fuzz::target::websocket_frames::run(data));
