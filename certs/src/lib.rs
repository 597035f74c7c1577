//! Certificates for the gateway's TLS listeners: read from files, or made for development.
//!
//! This crate owns key files: how they are created (readable by their owner from the first byte
//! on), when they are refused, and when a development certificate is due for renewal. It knows no
//! socket, no configuration and no other crate of the workspace; the time is an argument.
//!
//! The one idea: every certificate becomes a [`CertifiedKey`](rustls::sign::CertifiedKey), whether
//! an operator supplied it ([`load()`]) or [`DevelopmentCertificates::ensure`] made it, and
//! [`server_config`] takes it from there. Read `development.rs` next.

mod development;
mod error;
mod file;
mod inspect;
mod load;
mod server;
mod trust;

pub use development::{
    CA_FILE, CA_KEY_FILE, DEVELOPMENT_NAMES, DevelopmentCertificates, LEAF_FILE, LEAF_KEY_FILE,
};
pub use error::Error;
pub use inspect::{CertificateInfo, inspect};
pub use load::load;
pub use server::{ALPN_HTTP, provider, resolver, server_config};
pub use trust::trust_instructions;
