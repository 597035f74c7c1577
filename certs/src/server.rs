//! The rustls configuration of a TLS listener.
//!
//! The cryptography provider is always named, never taken from the process: with two providers
//! anywhere in the dependency tree, rustls' implicit choice panics at run time. Early data (0-RTT)
//! stays off: it can be replayed (RFC 8446 §8), and a replayed publish is a second message.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, ResolvesServerCert};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};

use crate::Error;

/// The protocols of a listener that speaks HTTP, in the order of preference.
pub const ALPN_HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The cryptography provider that the whole program uses.
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    #[default]
    V12,
    /// TLS 1.3, RFC 8446.
    V13,
}

/// What a listener speaks. The default is all that is considered safe, best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
    /// Names of cipher suites, most wanted first; empty for the default ones.
    pub cipher_suites: Vec<String>,
    /// Names of key exchanges, most wanted first; empty for the default ones.
    pub key_exchanges: Vec<String>,
    /// Protocols for ALPN, most wanted first.
    pub alpn: Vec<Vec<u8>>,
}

impl Parameters {
    /// The default for a listener that speaks HTTP.
    pub fn http() -> Self {
        Self {
            alpn: ALPN_HTTP.iter().map(|protocol| protocol.to_vec()).collect(),
            ..Self::default()
        }
    }
}

/// The names of all cipher suites.
pub fn cipher_suites() -> Vec<String> {
    aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .map(suite_name)
        .collect()
}

/// The names of all key exchanges.
pub fn key_exchanges() -> Vec<String> {
    let groups = aws_lc_rs::DEFAULT_KX_GROUPS.iter();
    groups.map(|group| format!("{:?}", group.name())).collect()
}

/// The name that IANA has for a suite; rustls sets those of TLS 1.3 apart by a `TLS13_`.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite();
    let name = CipherSuite::as_str(&name).unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}

/// The provider with only what `parameters` names.
///
/// # Errors
///
/// [`Error::Unknown`] for a name that is none.
fn restricted(parameters: &Parameters) -> Result<CryptoProvider, Error> {
    let mut provider = provider();
    if !parameters.cipher_suites.is_empty() {
        let all = aws_lc_rs::ALL_CIPHER_SUITES;
        let find = |name: &String| {
            let found = all
                .iter()
                .find(|suite| suite_name(suite).eq_ignore_ascii_case(name));
            found.copied().ok_or_else(|| Error::Unknown {
                what: "cipher suite",
                name: name.clone(),
                known: cipher_suites().join(", "),
            })
        };
        provider.cipher_suites = parameters
            .cipher_suites
            .iter()
            .map(find)
            .collect::<Result<_, _>>()?;
    }
    if !parameters.key_exchanges.is_empty() {
        let all = aws_lc_rs::DEFAULT_KX_GROUPS;
        let find = |name: &String| {
            let named = |group: &&&'static dyn rustls::crypto::SupportedKxGroup| {
                format!("{:?}", group.name()).eq_ignore_ascii_case(name)
            };
            all.iter()
                .find(named)
                .copied()
                .ok_or_else(|| Error::Unknown {
                    what: "key exchange",
                    name: name.clone(),
                    known: key_exchanges().join(", "),
                })
        };
        provider.kx_groups = parameters
            .key_exchanges
            .iter()
            .map(find)
            .collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

/// New ticket keys: made at random, replaced every six hours and forgotten after twelve.
///
/// # Errors
///
/// [`Error::Tls`] where the random source fails.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, Error> {
    Ok(aws_lc_rs::Ticketer::new()?)
}

/// Makes the configuration of a TLS listener.
///
/// Sessions are resumed by those who share `ticketer`: the workers of one listener, before and after
/// a reload. Listeners must not share one: a session begun where no client certificate is asked for
/// would be resumed where one is required.
///
/// # Errors
///
/// [`Error::Unknown`] for a name in `parameters` that is none, [`Error::Tls`] where they contradict
/// each other.
pub fn server_config(
    parameters: &Parameters,
    resolver: Arc<dyn ResolvesServerCert>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, Error> {
    let versions: &[_] = match parameters.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(restricted(parameters)?))
        .with_protocol_versions(versions)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols.clone_from(&parameters.alpn);
    // What the operator prefers decides, as scanners and auditors expect of a server.
    config.ignore_client_order = true;
    // Tickets keep the state with the client: nothing grows here with the number of clients. The
    // cache of 256 sessions that rustls keeps besides is for TLS 1.2 clients without tickets.
    config.ticketer = ticketer;
    // One for each connection is what clients that keep theirs alive use up.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(parameters: &Parameters) -> Result<Arc<ServerConfig>, Error> {
        let selection = Arc::new(crate::Selection::new(&[]));
        server_config(parameters, selection, None, ticketer().unwrap())
    }

    #[test]
    fn the_hybrid_key_exchange_comes_first() {
        assert_eq!(key_exchanges()[0], "X25519MLKEM768");
    }

    #[test]
    fn settings_name_what_there_is_and_what_there_is_not() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let parameters = Parameters {
            min_version: TlsVersion::V13,
            cipher_suites: names(&["TLS_AES_128_GCM_SHA256"]),
            key_exchanges: names(&["x25519"]),
            ..Parameters::default()
        };
        let config = made(&parameters).unwrap();
        assert_eq!(config.crypto_provider().cipher_suites.len(), 1);
        assert_eq!(config.crypto_provider().kx_groups.len(), 1);

        let unknown = Parameters {
            cipher_suites: names(&["TLS_RSA_WITH_RC4_128_MD5"]),
            ..Parameters::default()
        };
        let message = made(&unknown).unwrap_err().to_string();
        assert!(
            message.contains("RC4") && message.contains("TLS_AES_256"),
            "{message}"
        );

        let contradiction = Parameters {
            min_version: TlsVersion::V13,
            cipher_suites: names(&["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]),
            ..Parameters::default()
        };
        assert!(matches!(made(&contradiction), Err(Error::Tls(_))));
    }

    #[test]
    fn early_data_is_off_and_tickets_are_on() {
        let config = made(&Parameters::default()).unwrap();
        assert_eq!(config.max_early_data_size, 0);
        assert!(config.ticketer.enabled());
    }
}
