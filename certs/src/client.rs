//! Certificates of clients: who may have issued them, which were revoked, and whom one names.
//!
//! rustls checks the chain, the time, the key usage and the revocation list; a client whose
//! certificate fails gets the alert that says why. [`Identity`] is what the rest of the gateway sees
//! of one that passed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::pair::read_chain;
use crate::{Error, file, server};

/// The most names that an identity keeps, and the most bytes of its subject. Chosen: what a person
/// reads; a certificate of 1 MiB must not be kept in every session.
const MAX_NAMES: usize = 16;
const MAX_SUBJECT: usize = 256;

/// Whether clients must have a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// One that is shown is checked; one that is not is not missed.
    Optional,
    /// A client without one is refused.
    Required,
}

/// Which certificates of clients are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTrust {
    /// PEM file with the certificates of the authorities that issue them.
    pub authorities: PathBuf,
    /// PEM or DER file with revocation lists of these authorities.
    pub revoked: Option<PathBuf>,
    /// Whether clients must have one.
    pub demand: Demand,
}

impl ClientTrust {
    /// Reads the files and makes what rustls checks clients with.
    ///
    /// Only the client's own certificate is looked up in the lists; one whose issuer has no list is
    /// accepted. A list past its `nextUpdate` revokes nobody any longer, so it is refused: then
    /// nobody with a certificate comes in until it is replaced.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read or used, and the remedy.
    pub fn load(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let mut roots = RootCertStore::empty();
        for authority in read_chain(&self.authorities).map_err(no_authority)? {
            roots.add(authority).map_err(|error| Error::Malformed {
                path: self.authorities.clone(),
                reason: format!("a certificate in it is no authority ({error})"),
                remedy: "leave it out",
            })?;
        }
        let provider = Arc::new(server::provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if let Some(path) = &self.revoked {
            builder = builder
                .with_crls(read_lists(path)?)
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status()
                .enforce_revocation_expiration();
        }
        if self.demand == Demand::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| Error::Malformed {
            path: self
                .revoked
                .clone()
                .unwrap_or_else(|| self.authorities.clone()),
            reason: error.to_string(),
            remedy: "ask its issuer for a new one",
        })
    }

    /// The files that it is made of.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let revoked = self.revoked.as_deref();
        std::iter::once(self.authorities.as_path()).chain(revoked)
    }
}

fn no_authority(error: Error) -> Error {
    match error {
        Error::NoCertificate { path } => Error::NoAuthority { path },
        other => other,
    }
}

fn read_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let bytes = file::read(path)?;
    let malformed = |reason: String| Error::Malformed {
        path: path.to_owned(),
        reason,
        remedy: "it must be a revocation list, PEM (`-----BEGIN X509 CRL-----`) or DER",
    };
    // DER begins with a SEQUENCE; no PEM does.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(format!("its PEM is damaged ({error})")))?;
    if lists.is_empty() {
        return Err(malformed("it holds no revocation list".to_owned()));
    }
    Ok(lists)
}

/// Whom a client's certificate names, after it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject, as `CN=…, O=…`, cut after 256 bytes.
    pub subject: String,
    /// Alternative names: DNS names, addresses, mail addresses and URIs; the first 16.
    pub names: Vec<String>,
    /// SHA-256 of the whole certificate, in hexadecimal digits.
    pub fingerprint: String,
}

impl Identity {
    /// Reads whom the first certificate of a checked chain names. `None` for an empty chain.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let der = chain.first()?;
        // What rustls verified is X.509; a kind of it that this parser does not know has no name.
        let parsed = X509Certificate::from_der(der).ok();
        let mut subject = parsed
            .as_ref()
            .map_or_else(String::new, |(_, it)| it.subject().to_string());
        let whole = (0..=MAX_SUBJECT)
            .rev()
            .find(|at| subject.is_char_boundary(*at));
        subject.truncate(whole.unwrap_or(0));
        let names = parsed
            .as_ref()
            .map_or_else(Vec::new, |(_, it)| alternative_names(it));
        let digest = digest::digest(&digest::SHA256, der);
        let fingerprint = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(Self {
            subject,
            names,
            fingerprint,
        })
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            (name.len() <= MAX_SUBJECT).then(|| (*name).to_owned())
        }
        GeneralName::IPAddress(octets) => crate::inspect::address(octets),
        _ => None,
    };
    let names = extension.value.general_names.iter();
    names.filter_map(name).take(MAX_NAMES).collect()
}
