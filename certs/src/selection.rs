//! Which of several certificates a handshake gets: by the name that the client asks for (SNI, RFC 6066
//! §3), else the default.
//!
//! Names come from the certificates themselves. Several certificates may have one name and keys of
//! different kinds: a client gets the first whose key it can verify. A selection never changes; a
//! reload makes a new one (`source.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{ALPN_ACME, Challenges, Loaded};

/// Certificates by name, with a default.
#[derive(Debug)]
pub struct Selection {
    /// Certificates by DNS name in lower case, `*.example.com` for a wildcard; in the order given.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name, or for one that no certificate has.
    default: Vec<Arc<CertifiedKey>>,
    /// What ACME authorities are answered.
    challenges: Option<Arc<Challenges>>,
}

impl Selection {
    /// Files certificates by their names. The first is the default, together with those that share
    /// a name with it.
    pub fn new(certificates: &[Loaded]) -> Self {
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for loaded in certificates {
            for name in loaded.names() {
                let list = by_name.entry(name.to_ascii_lowercase()).or_default();
                list.push(Arc::clone(&loaded.certified));
            }
        }
        let Some(first) = certificates.first() else {
            return Self {
                by_name,
                default: Vec::new(),
                challenges: None,
            };
        };
        let shares = |other: &&Loaded| {
            other.pair == first.pair
                || other
                    .names()
                    .iter()
                    .any(|name| first.names().contains(name))
        };
        let default = certificates.iter().filter(shares);
        Self {
            default: default
                .map(|loaded| Arc::clone(&loaded.certified))
                .collect(),
            by_name,
            challenges: None,
        }
    }

    /// The same, which also answers ACME authorities.
    #[must_use]
    pub fn answering(mut self, challenges: Option<Arc<Challenges>>) -> Self {
        self.challenges = challenges;
        self
    }

    /// The certificate for a name and the signatures that the client can verify. `None` where there
    /// is no certificate at all.
    pub fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.find(&name.to_ascii_lowercase()));
        let candidates = named.unwrap_or(&self.default);
        let usable =
            |candidate: &&Arc<CertifiedKey>| candidate.key.choose_scheme(schemes).is_some();
        let chosen = candidates
            .iter()
            .find(usable)
            .or_else(|| candidates.first());
        chosen.map(Arc::clone)
    }

    /// RFC 6125 §6.4.3: a wildcard stands for exactly one label, the leftmost.
    fn find(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        self.by_name.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Selection {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(challenges) = &self.challenges
            && let Some(mut asked) = hello.alpn()
            // RFC 8737 §4: an authority asks for this protocol and no other.
            && asked.next() == Some(ALPN_ACME)
            && asked.next().is_none()
        {
            return challenges.certificate(hello.server_name()?);
        }
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;
    use crate::Pair;

    fn made(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Loaded {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let pair = Pair::new(
            directory.path().join("cert.pem"),
            directory.path().join("key.pem"),
        );
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        std::fs::write(&pair.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        pair.load().unwrap()
    }

    #[test]
    fn a_name_finds_its_certificate_a_wildcard_one_label_and_the_rest_the_default() {
        let ecdsa = &rcgen::PKCS_ECDSA_P256_SHA256;
        let all = [
            made(&["example.test"], ecdsa),
            made(&["*.example.test"], ecdsa),
            made(&["Chat.example.test", "other.test"], ecdsa),
        ];
        let selection = Selection::new(&all);
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let check = |name: Option<&str>, expected: usize| {
            let chosen = selection.choose(name, &schemes).unwrap();
            assert!(Arc::ptr_eq(&chosen, &all[expected].certified), "{name:?}");
        };
        check(Some("example.test"), 0);
        check(Some("EXAMPLE.test"), 0);
        check(Some("www.example.test"), 1);
        check(Some("chat.example.test"), 2);
        check(Some("other.test"), 2);
        check(Some("a.b.example.test"), 0);
        check(Some("unknown.invalid"), 0);
        check(Some("test"), 0);
        check(None, 0);
    }

    #[test]
    fn of_two_certificates_for_a_name_the_first_that_the_client_can_verify_is_chosen() {
        let all = [
            made(&["example.test"], &rcgen::PKCS_ED25519),
            made(&["example.test"], &rcgen::PKCS_ECDSA_P256_SHA256),
        ];
        let selection = Selection::new(&all);
        let check = |name, schemes: &[SignatureScheme], expected: usize| {
            let chosen = selection.choose(name, schemes).unwrap();
            assert!(
                Arc::ptr_eq(&chosen, &all[expected].certified),
                "{schemes:?}"
            );
        };
        for name in [Some("example.test"), None] {
            check(name, &[SignatureScheme::ED25519], 0);
            check(name, &[SignatureScheme::ECDSA_NISTP256_SHA256], 1);
            check(name, &[SignatureScheme::RSA_PSS_SHA256], 0);
        }
        assert!(Selection::new(&[]).choose(None, &[]).is_none());
    }
}
