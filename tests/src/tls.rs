//! Certificates as an authority of the test issues them, and TLS clients that trust it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::patience::within;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Someone who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: String,
    /// Its number, by which it is revoked.
    pub serial: u64,
}

/// Where a certificate and its key were written.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// One whose name is `name`.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("it signs");
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names, the first of which is its subject, valid for 90 days.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_for(names, 90)
    }

    /// A certificate that ends after so many days; before now where they are negative.
    pub fn issue_for(&self, names: &[&str], days: i32) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let mut serial = [0; 7];
        key.serialize_der()
            .iter()
            .rev()
            .zip(&mut serial)
            .for_each(|(from, to)| *to = *from);
        serial[0] |= 1;
        let mut params = CertificateParams::new(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
        .expect("names");
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let now = SystemTime::now();
        params.not_before = (now - 1000 * DAY).into();
        let distance = days.unsigned_abs() * DAY + Duration::from_secs(3600);
        params.not_after = (if days < 0 {
            now - distance
        } else {
            now + distance
        })
        .into();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        let mut number = [0; 8];
        number[1..].copy_from_slice(&serial);
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            serial: u64::from_be_bytes(number),
        }
    }

    /// A list of what it revoked, PEM; good until `days` from now.
    pub fn revoke(&self, revoked: &[&Issued], days: i32) -> String {
        let now = SystemTime::now();
        let distance = days.unsigned_abs() * DAY;
        let next = if days < 0 {
            now - distance
        } else {
            now + distance
        };
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&issued.serial.to_be_bytes()[1..]),
            revocation_time: (now - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: (now - 100 * DAY).into(),
            next_update: next.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("it signs");
        list.pem().expect("PEM")
    }
}

impl Issued {
    /// The certificate as it travels.
    pub fn der(&self) -> Vec<u8> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        der.expect("a certificate").to_vec()
    }

    /// Writes both files into `directory`, as `NAME.pem` and `NAME-key.pem`, each at once.
    pub fn write(&self, directory: &Path, name: &str) -> Files {
        let files = Files {
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}-key.pem")),
        };
        for (path, text, mode) in [
            (&files.key, &self.key, 0o600),
            (&files.certificate, &self.certificate, 0o644),
        ] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).expect("it can be written");
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).expect("its own");
            std::fs::rename(&new, path).expect("it can be replaced");
        }
        files
    }
}

/// What a TLS client is made with. It trusts one authority and nothing else.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: ClientConfig,
    name: String,
}

impl TlsClient {
    /// One that asks for `name` and offers all versions and protocols. It remembers sessions.
    pub fn new(authority: &Authority, name: &str) -> Self {
        Self::with(authority, name, rustls::ALL_VERSIONS, None)
    }

    /// One that speaks only `version`.
    pub fn speaking(
        authority: &Authority,
        name: &str,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Self::with(authority, name, &[version], None)
    }

    /// One that shows a certificate.
    pub fn showing(authority: &Authority, name: &str, shown: &Issued) -> Self {
        Self::with(authority, name, rustls::ALL_VERSIONS, Some(shown))
    }

    /// One with these versions and this certificate.
    pub fn with(
        authority: &Authority,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Issued>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone()).expect("an authority");
        let provider = Arc::new(roomwire_certs::provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider has them")
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let chain = CertificateDer::from_pem_slice(shown.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("a key");
                let chain = vec![chain.expect("a certificate")];
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            config,
            name: name.to_owned(),
        }
    }

    /// The same, offering only these protocols.
    #[must_use]
    pub fn offering(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        self
    }

    /// The same, without memory of sessions.
    #[must_use]
    pub fn forgetful(mut self) -> Self {
        self.config.resumption = Resumption::disabled();
        self
    }

    /// Shakes hands.
    ///
    /// # Errors
    ///
    /// What rustls made of the other side's answer.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.name.clone()).expect("a name");
        let stream = within("a connection", TcpStream::connect(to)).await?;
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        within("a TLS handshake", connector.connect(name, stream)).await
    }

    /// Shakes hands, and gives the certificate that it gets.
    pub async fn certificate(&self, to: SocketAddr) -> Vec<u8> {
        let stream = self.connect(to).await.expect("the certificate is trusted");
        let chain = stream.get_ref().1.peer_certificates().expect("it has one");
        chain[0].to_vec()
    }
}
