//! Whom a client believes to be the gateway it asked for.
//!
//! Trusted are, in this order: with a CA file only the certificates in it; else the roots of the
//! operating system (read by rustls-native-certs, which needs no network and honours `SSL_CERT_FILE`),
//! and for loopback hosts also the development CA that a gateway on this machine made for itself. That
//! CA lies in the user's data directory, so it says nothing about hosts elsewhere.

use std::{
    env, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::url::ServerUrl;

/// Why nobody could be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A CA file cannot be read.
    #[error("cannot read certificates from {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Neither the system nor the data directory has a usable root.
    #[error(
        "no trusted certificate authority was found on this system; \
         name the gateway's own with --ca FILE"
    )]
    NoRoots,
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The TLS side of a connection to `url`, with `http/1.1` as its only ALPN protocol.
///
/// # Errors
/// Where a CA file cannot be read or no root is left to trust.
pub(crate) fn config(url: &ServerUrl, ca: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let roots = match ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            add_file(&mut roots, path)?;
            roots
        }
        None => default_roots(url, development_ca().as_deref())?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn default_roots(
    url: &ServerUrl,
    development_ca: Option<&Path>,
) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    // Single unreadable or odd certificates are normal in system stores, and an empty store is in
    // small containers; what counts is whether any root is left.
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = development_ca.filter(|path| url.is_loopback() && path.exists()) {
        add_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        return Err(TrustError::NoRoots);
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let fail = |reason: String| TrustError::File {
        path: path.to_owned(),
        reason,
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| fail(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fail("there is no PEM certificate in it".to_owned()));
    }
    Ok(())
}

/// Where a gateway of this user keeps the certificate of its development CA.
pub(super) fn development_ca() -> Option<PathBuf> {
    let data_home = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        // The XDG specification: relative paths are invalid and to be ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".local/share")))?;
    Some(data_home.join("roomwire/certs/ca.pem"))
}

/// What a failed TLS handshake means to the person who typed the URL; None where trying again may
/// help, because it was not the certificate that failed.
pub(super) fn explain(url: &ServerUrl, error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(problem) = inner else {
        return None;
    };
    let authority = url.authority();
    Some(match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let place = development_ca().map_or_else(
                || "certs/ca.pem in the data directory of the user who runs it".to_owned(),
                |path| path.display().to_string(),
            );
            format!(
                "the certificate of {authority} is not trusted: no known authority issued it. If \
                 it is your own gateway, name the authority's certificate with --ca FILE; a \
                 gateway's development CA is {place} on the machine it runs on"
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the certificate of {authority} is for another host ({problem}). Use the name it \
                 was made for, or give the gateway a certificate for {}",
                url.host()
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {authority} has expired ({problem}). Renew it on the gateway; if it \
             is new, check this machine's clock"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of {authority} is not valid yet ({problem}). Check the clocks of both \
             machines"
        ),
        other => format!("the certificate of {authority} is not valid: {other}"),
    })
}
