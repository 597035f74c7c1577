//! TLS of the listeners that speak it: from the configuration to settings, kept fresh while the gateway runs.
//!
//! `roomwire_certs` knows files and rustls; this module knows the configuration, when to look at the
//! files, and what to count and log. A listener's door takes its settings anew for each connection
//! ([`TlsHandle`]), so nothing here is ever told to workers. Next file to read: `keeper.rs`.

mod acme;
mod failure;
mod keeper;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use acme::Acme;
use roomwire_certs::{
    Challenges, ClientTrust, Demand, DevelopmentCertificates, Pair, Parameters, TlsFiles,
    TlsHandle, TlsSource,
};

pub(crate) use failure::failure_counter;
pub(crate) use keeper::Keeper;

use crate::config::{Challenge, ClientCertificates, Config, ListenerConfig, TlsVersion};
use crate::running::{StartError, data_dir};

/// TLS as it is set up at the start.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// Settings of listeners by name.
    handles: HashMap<String, TlsHandle>,
    /// What has to be kept fresh.
    sources: Vec<Source>,
    /// Orders certificates for them.
    acme: Option<Acme>,
    /// What authorities are answered.
    pub(crate) challenges: Arc<Challenges>,
    /// The development CA's certificate, where one is used.
    pub(crate) trust: Option<PathBuf>,
}

/// What one listener's settings are made of.
#[derive(Debug)]
struct Source {
    listener: String,
    files: TlsSource,
}

impl Setup {
    /// Loads what listeners with TLS need: given settings, a listener's own files, else development
    /// certificates, which are made where they are missing.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be used.
    pub(crate) fn load(
        config: &Config,
        given: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self, StartError> {
        let mut setup = Self::default();
        let mut development = None;
        for listener in config
            .listeners
            .iter()
            .filter(|listener| listener.speaks_tls())
        {
            let name = listener.name.clone();
            if let Some(given) = &given {
                let fixed = TlsHandle::fixed(Arc::clone(given));
                setup.handles.insert(name, fixed);
                continue;
            }
            let mut pairs = own_pairs(listener);
            let coming = setup.ordered(config, listener)?;
            if pairs.is_empty() && coming.is_none() {
                let pair = match &development {
                    Some(pair) => Pair::clone(pair),
                    None => development.insert(setup.develop(config)?).clone(),
                };
                pairs.push(pair);
            }
            let mut files = tls_files(listener, pairs);
            if coming.is_some() && config.acme.challenge == Challenge::TlsAlpn01 {
                files.challenges = Some(Arc::clone(&setup.challenges));
            }
            files.coming.extend(coming);
            let files = TlsSource::open(files)?;
            setup.handles.insert(name.clone(), files.handle());
            let listener = name;
            setup.sources.push(Source { listener, files });
        }
        Ok(setup)
    }

    /// The settings of a listener; `None` for one that speaks no TLS.
    pub(crate) fn handle(&self, listener: &ListenerConfig) -> Option<TlsHandle> {
        self.handles.get(&listener.name).cloned()
    }

    /// The certificate that is obtained for a listener, if one is.
    fn ordered(
        &mut self,
        config: &Config,
        listener: &ListenerConfig,
    ) -> Result<Option<Pair>, StartError> {
        if listener.tls.acme.is_empty() {
            return Ok(None);
        }
        let directory = data_dir(config).ok_or(StartError::DataDirectory)?;
        let challenges = &self.challenges;
        let acme = self
            .acme
            .get_or_insert_with(|| Acme::new(&config.acme, &directory, Arc::clone(challenges)));
        Ok(Some(acme.want(&listener.tls.acme)))
    }

    fn develop(&mut self, config: &Config) -> Result<Pair, StartError> {
        let directory = data_dir(config).ok_or(StartError::DataDirectory)?;
        let directory = directory.join("certs");
        let made = DevelopmentCertificates::ensure(&directory, SystemTime::now())?;
        let pair = made.pair();
        self.trust = Some(made.ca_path);
        Ok(pair)
    }
}

/// The certificates that a listener names; the first is its default.
pub(crate) fn own_pairs(listener: &ListenerConfig) -> Vec<Pair> {
    let first = listener.certificate.iter().zip(&listener.key);
    let first = first.map(|(certificate, key)| Pair::new(certificate, key));
    let others = listener.certificates.iter();
    first
        .chain(others.map(|pair| Pair::new(&pair.certificate, &pair.key)))
        .collect()
}

fn tls_files(listener: &ListenerConfig, pairs: Vec<Pair>) -> TlsFiles {
    let tls = &listener.tls;
    let demand = match tls.client_certificates {
        ClientCertificates::None => None,
        ClientCertificates::Optional => Some(Demand::Optional),
        ClientCertificates::Required => Some(Demand::Required),
    };
    TlsFiles {
        pairs,
        clients: demand
            .zip(tls.client_ca.clone())
            .map(|(demand, authorities)| ClientTrust {
                authorities,
                revoked: tls.client_crl.clone(),
                demand,
            }),
        parameters: Parameters {
            min_version: match tls.min_version {
                TlsVersion::V12 => roomwire_certs::TlsVersion::V12,
                TlsVersion::V13 => roomwire_certs::TlsVersion::V13,
            },
            cipher_suites: tls.cipher_suites.clone(),
            key_exchanges: tls.key_exchanges.clone(),
            ..if listener.speaks_http() {
                Parameters::http()
            } else {
                Parameters::default()
            }
        },
        ..TlsFiles::default()
    }
}
