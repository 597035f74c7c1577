//! Certificates for the gateway's TLS listeners: read from files, or made for development.
//!
//! This crate owns key files: how they are created (readable by their owner from the first byte
//! on), when they are refused, and when a development certificate is due for renewal. It knows no
//! socket, no configuration and no other crate of the workspace; the time is an argument.
//!
//! The one idea: every certificate becomes a [`Pair`] of files, whether an operator supplied it or
//! [`DevelopmentCertificates::ensure`] made it, and a [`TlsSource`] turns the pairs of one listener
//! into settings for rustls, again whenever the files change. Read `source/mod.rs` next.

mod challenge;
mod check;
mod client;
mod development;
mod error;
mod file;
mod inspect;
mod pair;
mod selection;
mod server;
mod source;
mod trust;
mod watch;

pub use challenge::{ALPN_ACME, Challenges, Proof, make_key};
pub use check::{Report, check};
pub use client::{ClientTrust, Demand, Identity};
pub use development::{
    CA_FILE, CA_KEY_FILE, DEVELOPMENT_NAMES, DevelopmentCertificates, LEAF_FILE, LEAF_KEY_FILE,
};
pub use error::Error;
pub use file::{read_private, write_private};
pub use inspect::{CertificateInfo, inspect};
pub use pair::{Loaded, Pair, load};
pub use selection::Selection;
pub use server::{
    ALPN_HTTP, Parameters, TlsVersion, cipher_suites, key_exchanges, provider, server_config,
    ticketer,
};
pub use source::{Look, TlsFiles, TlsHandle, TlsSource};
pub use trust::trust_instructions;
