//! What the fuzz targets check.
//!
//! [`target`] has those of `roomwire-protocols`; the ordinary tests replay their seeds
//! (`tests/tests/fuzz_seeds.rs`), so it may use nothing that is only here. [`client`] takes two
//! pure files of the client as they are, because the gateway with its TLS would take minutes to
//! build for a fuzzer. How to run them: `README.md`.

pub mod client;
pub mod target;
