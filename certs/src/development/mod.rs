//! The development CA and the certificate it signs for this machine's loopback names.
//!
//! The CA is made once and kept, so that trusting it is done once; the leaf is renewed on its own.
//! Both keys are in the same directory: this is a convenience for localhost, and the CA's name
//! constraints hold it to that, so a leaked key cannot pose as any other host.
//!
//! | found | done |
//! |---|---|
//! | CA and leaf in order | both reused |
//! | leaf missing, not its CA's, or within 30 days of its end | new leaf |
//! | CA missing, its key lost when a leaf is due, or within 30 days of its end | new CA and leaf |
//! | a file that is no certificate or key, or a key open to others | refused |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
};

use crate::Error;
use crate::file::{self, CERTIFICATE_MODE, KEY_MODE, LockedDirectory, OWNER_ONLY};
use crate::inspect::{CertificateInfo, describe, parse};
use crate::pair::{Pair, load_with, read_chain};

/// File name of the development CA's certificate.
pub const CA_FILE: &str = "ca.pem";
/// File name of the development CA's private key.
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// File name of the leaf's chain: the leaf, then the CA.
pub const LEAF_FILE: &str = "localhost.pem";
/// File name of the leaf's private key.
pub const LEAF_KEY_FILE: &str = "localhost-key.pem";

/// What the leaf is valid for.
pub const DEVELOPMENT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a CA is valid. Chosen: ten years, because trusting it is work done by hand.
const CA_LIFETIME: Duration = Duration::from_secs(3650 * DAY.as_secs());

/// How long a leaf is valid. CA/Browser Forum baseline requirements §6.3.2: at most 398 days, 397
/// recommended; one day less leaves room for how clients count the last second.
const LEAF_LIFETIME: Duration = Duration::from_secs(396 * DAY.as_secs());

/// How long before its end a certificate is replaced. Chosen: longer than a process of this kind
/// usually runs, since renewal happens at start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY.as_secs());

/// How far a certificate's validity reaches back, for clients whose clock is behind ours.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// The development CA and leaf in one directory, ready for use.
#[derive(Debug)]
pub struct DevelopmentCertificates {
    /// The CA's certificate, which clients must trust.
    pub ca_path: PathBuf,
    /// The leaf's chain.
    pub leaf_path: PathBuf,
    /// The leaf's private key.
    pub leaf_key_path: PathBuf,
    /// Whether the CA was made by this call: nobody can trust it yet.
    pub created: bool,
}

impl DevelopmentCertificates {
    /// Makes in `directory` whatever is missing or due, and checks that the leaf can be used.
    ///
    /// Waits while another process does the same in the same directory; of several first starts
    /// one makes the certificates and the others find them. Blocks on file operations.
    ///
    /// # Errors
    ///
    /// Names the file or directory that cannot be used, and the remedy. Files that are not what
    /// their name says are refused, never overwritten.
    pub fn ensure(directory: &Path, now: SystemTime) -> Result<Self, Error> {
        let store = LockedDirectory::open(directory)?;
        let paths = Paths::new(directory);
        let mut created = false;
        if !paths.leaf_is_good(now)? {
            let (authority, is_new) = Authority::load_or_create(&store, &paths, now)?;
            authority.issue_leaf(&store, now)?;
            created = is_new;
        }
        load_with(&paths.leaf, &paths.leaf_key, OWNER_ONLY)?;
        Ok(Self {
            ca_path: paths.ca,
            leaf_path: paths.leaf,
            leaf_key_path: paths.leaf_key,
            created,
        })
    }

    /// The leaf as files.
    pub fn pair(&self) -> Pair {
        Pair::new(&self.leaf_path, &self.leaf_key_path)
    }
}

struct Paths {
    ca: PathBuf,
    ca_key: PathBuf,
    leaf: PathBuf,
    leaf_key: PathBuf,
}

impl Paths {
    fn new(directory: &Path) -> Self {
        Self {
            ca: directory.join(CA_FILE),
            ca_key: directory.join(CA_KEY_FILE),
            leaf: directory.join(LEAF_FILE),
            leaf_key: directory.join(LEAF_KEY_FILE),
        }
    }

    /// Whether the leaf is there with its key, far from its end, and signed by the CA beside it.
    fn leaf_is_good(&self, now: SystemTime) -> Result<bool, Error> {
        if !(self.ca.exists() && self.leaf.exists() && self.leaf_key.exists()) {
            return Ok(false);
        }
        match load_with(&self.leaf, &self.leaf_key, OWNER_ONLY) {
            Ok(_) => {}
            // A crash between the two renames of a renewal leaves a new key with the old leaf.
            Err(Error::KeyMismatch { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        if self.ca_key.exists() {
            // Checked although nothing is signed: a key open to others must be noticed today.
            file::read_key(&self.ca_key, OWNER_ONLY)?;
        }
        let ca_chain = read_chain(&self.ca)?;
        let leaf_chain = read_chain(&self.leaf)?;
        let (Some(ca), Some(leaf)) = (ca_chain.first(), leaf_chain.first()) else {
            return Ok(false);
        };
        let ca = parse(ca, &self.ca)?;
        let leaf = parse(leaf, &self.leaf)?;
        let info = describe(&leaf);
        Ok(leaf.verify_signature(Some(ca.public_key())).is_ok()
            && is_fresh(&info, now)
            && is_fresh(&describe(&ca), now)
            && DEVELOPMENT_NAMES
                .iter()
                .all(|name| info.names.iter().any(|own| own == name)))
    }
}

/// Whether a certificate is valid now and will be for a while.
fn is_fresh(certificate: &CertificateInfo, now: SystemTime) -> bool {
    certificate.not_before <= now && now + RENEW_BEFORE < certificate.not_after
}

/// The CA with its key, able to sign.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The CA on disk where it can still sign, else a new one; and whether it is new.
    fn load_or_create(
        store: &LockedDirectory<'_>,
        paths: &Paths,
        now: SystemTime,
    ) -> Result<(Self, bool), Error> {
        if paths.ca.exists()
            && paths.ca_key.exists()
            && let Some(authority) = Self::load(paths, now)?
        {
            return Ok((authority, false));
        }
        Ok((Self::create(store, now)?, true))
    }

    /// `None`: it is about to end, or certificate and key are not a pair.
    fn load(paths: &Paths, now: SystemTime) -> Result<Option<Self>, Error> {
        let chain = read_chain(&paths.ca)?;
        let key_pem = file::read_key(&paths.ca_key, OWNER_ONLY)?;
        let no_key = || Error::NoKey {
            path: paths.ca_key.clone(),
        };
        let key_pem = String::from_utf8(key_pem).map_err(|_| no_key())?;
        let key = KeyPair::from_pem(&key_pem).map_err(|_| no_key())?;
        let Some(der) = chain.first() else {
            return Ok(None);
        };
        let certificate = parse(der, &paths.ca)?;
        if certificate.public_key().raw != key.subject_public_key_info()
            || !is_fresh(&describe(&certificate), now)
        {
            return Ok(None);
        }
        let pem = String::from_utf8_lossy(&file::read(&paths.ca)?).into_owned();
        Ok(Some(Self {
            pem,
            issuer: Issuer::from_ca_cert_der(der, key)?,
        }))
    }

    fn create(store: &LockedDirectory<'_>, now: SystemTime) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, ca_name());
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Roomwire");
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + CA_LIFETIME).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(loopback_only());
        let pem = params.self_signed(&key)?.pem();
        store.write(CA_KEY_FILE, key.serialize_pem().as_bytes(), KEY_MODE)?;
        store.write(CA_FILE, pem.as_bytes(), CERTIFICATE_MODE)?;
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    fn issue_leaf(&self, store: &LockedDirectory<'_>, now: SystemTime) -> Result<(), Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(DEVELOPMENT_NAMES.map(str::to_owned))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Roomwire");
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + LEAF_LIFETIME).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = certificate.pem() + &self.pem;
        store.write(LEAF_KEY_FILE, key.serialize_pem().as_bytes(), KEY_MODE)?;
        store.write(LEAF_FILE, chain.as_bytes(), CERTIFICATE_MODE)
    }
}

/// RFC 5280 §4.2.1.10: names outside these subtrees are not this CA's to sign.
fn loopback_only() -> NameConstraints {
    let address = |address: IpAddr, prefix| {
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix))
    };
    NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            address(Ipv4Addr::LOCALHOST.into(), 8),
            address(Ipv6Addr::LOCALHOST.into(), 128),
        ],
        excluded_subtrees: Vec::new(),
    }
}

/// The CA's name says whose it is, since a browser's list of authorities may hold several.
fn ca_name() -> String {
    // X.520: a common name has at most 64 characters; 26 of them are around the host's name.
    const MAX_HOST: usize = 64 - 26;
    let uname = rustix::system::uname();
    let host: String = uname
        .nodename()
        .to_string_lossy()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        .take(MAX_HOST)
        .collect();
    if host.is_empty() {
        return "Roomwire development CA".to_owned();
    }
    format!("Roomwire development CA ({host})")
}

#[cfg(test)]
mod tests;
