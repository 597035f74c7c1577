//! Proving to an ACME authority that a name is ours: what is answered to its questions, while there
//! are any.
//!
//! Two ways: a text at an address below the name (HTTP-01, RFC 8555 §8.3), or a certificate that
//! carries a digest, to who asks for the protocol `acme-tls/1` (TLS-ALPN-01, RFC 8737). An offer is
//! taken back when its [`Proof`] is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use crate::{Error, server};

/// RFC 8737 §6.2: the protocol that an authority asks for.
pub const ALPN_ACME: &[u8] = b"acme-tls/1";

/// The most offers at a time. Chosen: an order has at most 100 names at Let's Encrypt; orders are
/// made one after another.
const MAX_OFFERS: usize = 1000;

#[derive(Debug, Clone)]
enum Answer {
    Text(Arc<str>),
    Certificate(Arc<CertifiedKey>),
}

/// What is answered to authorities, by what they ask for.
#[derive(Debug, Default)]
pub struct Challenges {
    offers: Mutex<HashMap<String, Answer>>,
}

/// An offer. Dropping it takes the offer back.
#[derive(Debug)]
pub struct Proof<'a> {
    challenges: &'a Challenges,
    question: String,
}

impl Drop for Proof<'_> {
    fn drop(&mut self) {
        self.challenges.with(|offers| offers.remove(&self.question));
    }
}

impl Challenges {
    /// Offers `text` to who asks for `token` over HTTP.
    pub fn offer_token(&self, token: &str, text: &str) -> Proof<'_> {
        self.offer(format!("/{token}"), Answer::Text(Arc::from(text)))
    }

    /// Offers a certificate for `name` that carries `digest`.
    ///
    /// # Errors
    ///
    /// [`Error::Generate`] where it cannot be made.
    pub fn offer_certificate(&self, name: &str, digest: &[u8]) -> Result<Proof<'_>, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| rustls::Error::General(reason.to_owned()))?;
        let chain = vec![certificate.der().clone()];
        // Not `from_der`, which looks into the certificate and refuses its critical extension.
        let key = server::provider().key_provider.load_private_key(private)?;
        let certified = CertifiedKey::new(chain, key);
        let answer = Answer::Certificate(Arc::new(certified));
        Ok(self.offer(name.to_ascii_lowercase(), answer))
    }

    /// The text for a token.
    pub fn text(&self, token: &str) -> Option<Arc<str>> {
        match self.with(|offers| offers.get(&format!("/{token}")).cloned())? {
            Answer::Text(text) => Some(text),
            Answer::Certificate(_) => None,
        }
    }

    /// The certificate for a name.
    pub fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        match self.with(|offers| offers.get(&name.to_ascii_lowercase()).cloned())? {
            Answer::Certificate(certified) => Some(certified),
            Answer::Text(_) => None,
        }
    }

    fn offer(&self, question: String, answer: Answer) -> Proof<'_> {
        self.with(|offers| {
            debug_assert!(
                offers.len() < MAX_OFFERS,
                "proofs are dropped with their order"
            );
            offers.insert(question.clone(), answer);
        });
        Proof {
            challenges: self,
            question,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Answer>) -> T) -> T {
        work(&mut self.offers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A new key for `names`: the key as PEM and a request for a certificate as DER.
///
/// # Errors
///
/// [`Error::Generate`] for a name that no certificate can have.
pub fn make_key(names: &[String]) -> Result<(String, Vec<u8>), Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_stands_until_its_proof_is_dropped() {
        let challenges = Challenges::default();
        let proof = challenges.offer_token("token", "token.thumb");
        assert_eq!(challenges.text("token").as_deref(), Some("token.thumb"));
        assert!(challenges.certificate("token").is_none());
        assert!(challenges.text("other").is_none());
        drop(proof);
        assert!(challenges.text("token").is_none());

        let proof = challenges
            .offer_certificate("Example.test", &[7; 32])
            .unwrap();
        assert!(challenges.certificate("example.TEST").is_some());
        assert!(challenges.text("example.test").is_none());
        drop(proof);
        assert!(challenges.certificate("example.test").is_none());
    }
}
