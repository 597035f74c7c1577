//! `[acme]`: who issues certificates for the names in `[listener.tls]`'s `acme`, and how they are
//! proved.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::{Visitor, words};
use super::unit::Span;

words! {
    /// How an authority is shown that a name is ours.
    pub enum Challenge {
        /// By a text on port 80 of the name: an `http` listener answers.
        Http01 = "http-01",
        /// By a certificate on port 443 of the name: the `https` listener answers.
        TlsAlpn01 = "tls-alpn-01",
    }
}

/// Who issues certificates, and how names are proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AcmeConfig {
    /// Where the authority's directory is. Default Let's Encrypt's.
    pub directory: String,
    /// Mail addresses that the authority may write to. Default none.
    pub contact: Vec<String>,
    /// Whether you agree to the authority's terms of service; without it nothing is ordered. Default
    /// false.
    pub agree_to_terms: bool,
    /// How names are proved: `tls-alpn-01` or `http-01`. Default tls-alpn-01.
    pub challenge: Challenge,
    /// PEM file with the roots that the authority's own server is checked with. Default the system's.
    pub ca: Option<PathBuf>,
    /// How long after an order that failed the next one is made; doubled each time, up to 6h.
    /// Default 2m, from 1s to 6h.
    pub retry: Span,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            contact: Vec::new(),
            agree_to_terms: false,
            challenge: Challenge::TlsAlpn01,
            ca: None,
            retry: Span::minutes(2),
        }
    }
}

impl AcmeConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("directory", &mut self.directory);
        visitor.setting("contact", &mut self.contact);
        visitor.setting("agree_to_terms", &mut self.agree_to_terms);
        visitor.setting("challenge", &mut self.challenge);
        visitor.setting("ca", &mut self.ca);
        visitor.bounded("retry", &mut self.retry, Span::seconds(1), Span::hours(6));
    }
}
