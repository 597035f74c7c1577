//! `[listener.tls]`: what an HTTPS listener speaks, and whether its clients have certificates.
//!
//! The names of cipher suites and key exchanges are checked where there are some (`check.rs`); what
//! they are is rustls' knowledge.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::{Visitor, words};

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// RFC 5246.
        V12 = "1.2",
        /// RFC 8446.
        V13 = "1.3",
    }
}

words! {
    /// Whether clients show a certificate.
    pub enum ClientCertificates {
        /// They are not asked for one.
        None = "none",
        /// One that is shown is checked; who shows none comes in without.
        Optional = "optional",
        /// Who shows none, or one that is not accepted, is refused.
        Required = "required",
    }
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// PEM file with the chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// What an HTTPS listener speaks, and whether its clients have certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The oldest version of TLS that is accepted: `1.2` or `1.3`. Default 1.2.
    pub min_version: TlsVersion,
    /// Cipher suites by their IANA names, most wanted first. Default: all that are considered safe.
    pub cipher_suites: Vec<String>,
    /// Key exchanges, most wanted first. Default X25519MLKEM768, X25519, secp256r1, secp384r1.
    pub key_exchanges: Vec<String>,
    /// Whether clients show a certificate: `none`, `optional` or `required`. Default none.
    pub client_certificates: ClientCertificates,
    /// PEM file with the authorities that issue clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// PEM or DER file with the lists of client certificates that were revoked.
    pub client_crl: Option<PathBuf>,
    /// DNS names for which a certificate is obtained from the authority in `[acme]`. Default none.
    pub acme: Vec<String>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::V12,
            cipher_suites: Vec::new(),
            key_exchanges: Vec::new(),
            client_certificates: ClientCertificates::None,
            client_ca: None,
            client_crl: None,
            acme: Vec::new(),
        }
    }
}

impl TlsConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("min_version", &mut self.min_version);
        visitor.setting("cipher_suites", &mut self.cipher_suites);
        visitor.setting("key_exchanges", &mut self.key_exchanges);
        visitor.setting("client_certificates", &mut self.client_certificates);
        visitor.setting("client_ca", &mut self.client_ca);
        visitor.setting("client_crl", &mut self.client_crl);
        visitor.setting("acme", &mut self.acme);
    }
}
