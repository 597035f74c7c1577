//! A certificate chain and its private key, both PEM files: how they are read and what they say.
//!
//! Only what would keep TLS from working is refused by [`load()`]: a missing or foreign key, a key
//! that others can read. An expired certificate loads; [`Loaded::check_time`] tells it apart, because
//! what to do about it differs between a start and a reload. Next file to read: `selection.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::file::{self, GROUP_MAY_READ};
use crate::inspect::{self, CertificateInfo};
use crate::{Error, server};

/// Where a certificate chain and its private key are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    /// PEM certificates, the server's own first.
    pub certificate: PathBuf,
    /// One unencrypted PEM key.
    pub key: PathBuf,
}

/// A chain with its key, ready for use, and what its certificates say.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Where it came from.
    pub pair: Pair,
    /// What rustls needs.
    pub certified: Arc<CertifiedKey>,
    /// The chain's certificates, the server's own first; at least one.
    pub chain: Vec<CertificateInfo>,
}

impl Pair {
    /// A pair of files.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
        }
    }

    /// Reads the chain and the key, as [`load()`] does, and what the certificates say.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read or used, and the remedy.
    pub fn load(&self) -> Result<Loaded, Error> {
        let certified = load(&self.certificate, &self.key)?;
        let describe = |der: &CertificateDer<'_>| {
            Ok(inspect::describe(&inspect::parse(der, &self.certificate)?))
        };
        let chain = certified
            .cert
            .iter()
            .map(describe)
            .collect::<Result<_, Error>>()?;
        Ok(Loaded {
            pair: self.clone(),
            certified: Arc::new(certified),
            chain,
        })
    }
}

impl Loaded {
    /// Names that the server's own certificate is valid for.
    pub fn names(&self) -> &[String] {
        self.chain.first().map_or(&[], |own| &own.names)
    }

    /// The last second at which all of the chain is valid.
    pub fn not_after(&self) -> SystemTime {
        let ends = self.chain.iter().map(|certificate| certificate.not_after);
        ends.min().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether all of the chain is valid at `now`.
    ///
    /// # Errors
    ///
    /// [`Error::Expired`] and [`Error::NotYetValid`] name the certificate that is not.
    pub fn check_time(&self, now: SystemTime) -> Result<(), Error> {
        for certificate in &self.chain {
            let (path, subject) = (self.pair.certificate.clone(), certificate.subject.clone());
            if now > certificate.not_after {
                let since = certificate.not_after;
                return Err(Error::Expired {
                    path,
                    subject,
                    since,
                });
            }
            if now < certificate.not_before {
                let until = certificate.not_before;
                return Err(Error::NotYetValid {
                    path,
                    subject,
                    until,
                });
            }
        }
        Ok(())
    }
}

/// Reads a certificate chain and its private key.
///
/// `certificate` holds PEM certificates, the server's own first. `key` holds one unencrypted
/// PEM key (PKCS #8, PKCS #1 or SEC 1) that its group may read, but nobody else.
///
/// # Errors
///
/// Names the file that cannot be read or used, and the remedy.
pub fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    load_with(certificate, key, GROUP_MAY_READ)
}

/// As [`load()`], refusing a key whose mode has one of the bits in `forbidden`.
pub(crate) fn load_with(
    certificate: &Path,
    key: &Path,
    forbidden: u32,
) -> Result<CertifiedKey, Error> {
    let chain = read_chain(certificate)?;
    let pem = file::read_key(key, forbidden)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| Error::NoKey {
        path: key.to_owned(),
    })?;
    CertifiedKey::from_der(chain, private, &server::provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Error::KeyMismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        },
        rustls::Error::InvalidCertificate(reason) => Error::Malformed {
            path: certificate.to_owned(),
            reason: format!("its first certificate is not valid X.509 ({reason:?})"),
            remedy: "ask its issuer for a new one",
        },
        other => Error::Malformed {
            path: key.to_owned(),
            reason: other.to_string(),
            remedy: "use an ECDSA (P-256, P-384), Ed25519 or RSA (2048 bits and more) key",
        },
    })
}

/// Reads the certificates in a PEM file, which are one at least.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = file::read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Malformed {
            path: path.to_owned(),
            reason: format!("its PEM is damaged ({error})"),
            remedy: "copy the file again, as a whole",
        })?;
    if chain.is_empty() {
        return Err(Error::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    struct Files {
        _directory: tempfile::TempDir,
        certificate: PathBuf,
        key: PathBuf,
    }

    fn files(certificate: &str, key: &str) -> Files {
        let directory = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
            _directory: directory,
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["example.test".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn refusal(certificate: &str, key: &str) -> Error {
        let files = files(certificate, key);
        load(&files.certificate, &files.key).unwrap_err()
    }

    #[test]
    fn a_certificate_and_its_key_load() {
        let (certificate, key) = pair();
        let files = files(&certificate, &key);
        assert_eq!(load(&files.certificate, &files.key).unwrap().cert.len(), 1);
    }

    #[test]
    fn a_chain_is_valid_from_its_latest_beginning_to_its_first_end() {
        let day = |n: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n * 86_400);
        let key = KeyPair::generate().unwrap();
        let signed = |from, to| {
            let mut params = CertificateParams::new(["example.test".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (day(from).into(), day(to).into());
            params.self_signed(&key).unwrap().pem()
        };
        let files = files(&(signed(10, 30) + &signed(5, 20)), &key.serialize_pem());
        let loaded = Pair::new(&files.certificate, &files.key).load().unwrap();
        assert_eq!(loaded.names(), ["example.test"]);
        assert_eq!(loaded.not_after(), day(20));
        let check = |now| loaded.check_time(day(now));
        assert!(check(15).is_ok());
        assert!(matches!(check(7), Err(Error::NotYetValid { .. })));
        let message = check(25).unwrap_err().to_string();
        assert!(
            message.contains("cert.pem") && message.contains("expired"),
            "{message}"
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let error = refusal(&pair().0, &pair().1);
        assert!(matches!(error, Error::KeyMismatch { .. }), "{error}");
    }

    #[test]
    fn files_named_the_wrong_way_round_say_what_each_must_hold() {
        let (certificate, key) = pair();
        let error = refusal(&key, &certificate);
        assert!(matches!(error, Error::NoCertificate { .. }), "{error}");
        let error = refusal(&certificate, &certificate);
        assert!(matches!(error, Error::NoKey { .. }), "{error}");
    }

    #[test]
    fn damage_is_told_from_absence() {
        let (certificate, key) = pair();
        let damaged = certificate.replace("-----END", "-----STOP");
        let error = refusal(&damaged, &key);
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        let error = refusal("", &key);
        assert!(matches!(error, Error::NoCertificate { .. }), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let (certificate, key) = pair();
        let files = files(&certificate, &key);
        let missing = files.key.with_file_name("absent.pem");
        let message = load(&files.certificate, &missing).unwrap_err().to_string();
        assert!(message.contains("absent.pem"), "{message}");
    }
}
