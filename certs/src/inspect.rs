//! What certificates in a PEM file say about themselves, for people.
//!
//! This reads certificates only. It neither needs nor opens a private key.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::Error;
use crate::pair::read_chain;

/// What one certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Whom it names, as `CN=…, O=…`.
    pub subject: String,
    /// DNS names and addresses it is valid for; other kinds of names are left out.
    pub names: Vec<String>,
    /// When it begins to be valid.
    pub not_before: SystemTime,
    /// The last second at which it is valid.
    pub not_after: SystemTime,
    /// Who signed it, as `CN=…, O=…`.
    pub issuer: String,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
}

/// Reads what the certificates in a PEM file say, in the file's order.
///
/// # Errors
///
/// Names a file that cannot be read, holds no certificate, or one that is not valid X.509.
pub fn inspect(path: &Path) -> Result<Vec<CertificateInfo>, Error> {
    let chain = read_chain(path)?;
    chain
        .iter()
        .map(|der| Ok(describe(&parse(der, path)?)))
        .collect()
}

/// Parses one certificate that came from `path`.
pub(crate) fn parse<'a>(der: &'a [u8], path: &Path) -> Result<X509Certificate<'a>, Error> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        reason: format!("a certificate in it is not valid X.509 ({error})"),
        remedy: "ask its issuer for a new one",
    })?;
    Ok(certificate)
}

pub(crate) fn describe(certificate: &X509Certificate<'_>) -> CertificateInfo {
    CertificateInfo {
        subject: certificate.subject().to_string(),
        names: names(certificate),
        not_before: time(certificate.validity().not_before),
        not_after: time(certificate.validity().not_after),
        issuer: certificate.issuer().to_string(),
        is_ca: certificate.is_ca(),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(name)
        .collect()
}

/// RFC 5280 §4.2.1.6: an address is its octets in network order, 4 or 16 of them.
pub(crate) fn address(octets: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(Ipv6Addr::from(octets).to_string())
}

/// X.509 allows years from 0 to 9999, all of which `SystemTime` can hold on Unix.
fn time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_tells_its_names_times_and_issuer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cert.pem");
        let names = [
            "example.test".to_owned(),
            "192.0.2.7".to_owned(),
            "2001:db8::7".to_owned(),
        ];
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "Example");
        params.not_before = SystemTime::UNIX_EPOCH.into();
        params.not_after = (SystemTime::UNIX_EPOCH + Duration::from_secs(86_400)).into();
        let pem = params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem();
        std::fs::write(&path, format!("text before\n{pem}{pem}")).unwrap();

        let expected = CertificateInfo {
            subject: "CN=Example".to_owned(),
            names: names.to_vec(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(86_400),
            issuer: "CN=Example".to_owned(),
            is_ca: false,
        };
        assert_eq!(inspect(&path).unwrap(), [expected.clone(), expected]);
    }

    #[test]
    fn a_pem_block_that_is_no_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cert.pem");
        std::fs::write(
            &path,
            "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(matches!(inspect(&path), Err(Error::Malformed { .. })));
    }
}
