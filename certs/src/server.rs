//! The rustls configuration that every TLS listener shares.
//!
//! The cryptography provider is always named, never taken from the process: with two providers
//! anywhere in the dependency tree, rustls' implicit choice panics at run time.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::Error;

/// The protocols of a listener that speaks HTTP, in the order of preference.
pub const ALPN_HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The cryptography provider that the whole program uses.
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Answers every handshake with the same certificate, whatever name the client asks for.
pub fn resolver(certificate: CertifiedKey) -> Arc<dyn ResolvesServerCert> {
    Arc::new(SingleCertAndKey::from(certificate))
}

/// Makes the configuration of a TLS listener: TLS 1.2 and 1.3, no client certificates, session
/// tickets, and the protocols in `alpn`, most wanted first.
///
/// Ticket keys live in the returned value, so listeners that share it resume each other's
/// sessions: make it once and give it to every worker.
///
/// # Errors
///
/// [`Error::Tls`] where the random source fails.
pub fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Tickets keep the state with the client: nothing grows here with the number of clients.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}
