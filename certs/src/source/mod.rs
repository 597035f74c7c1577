//! The TLS settings of one listener, made from files and made again when those change.
//!
//! Connections that come take the settings of their moment from a [`TlsHandle`]; those that are open
//! keep what they began with, so a reload ends none. Files that cannot be used leave everything as it
//! was. Ticket keys outlive a reload, unless what is asked of clients changed with it: a session
//! begun under the old demand would be resumed without the new one being checked.
//!
//! Nothing here waits or knows the time: who calls [`TlsSource::look`] decides how often.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::ProducesTickets;

use crate::watch::Stamp;
use crate::{
    ALPN_ACME, Challenges, ClientTrust, Error, Loaded, Pair, Parameters, Selection, server,
};

/// What a listener's TLS is made of.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificates and keys; the first is the default.
    pub pairs: Vec<Pair>,
    /// Certificates that may not be there yet, or not be in order: what cannot be used is left out.
    pub coming: Vec<Pair>,
    /// What ACME authorities are answered, where they may ask.
    pub challenges: Option<Arc<Challenges>>,
    /// Whose client certificates are accepted; `None` asks for none.
    pub clients: Option<ClientTrust>,
    /// What is spoken.
    pub parameters: Parameters,
}

/// The present settings of a listener. Clones share them; taking them is a short lock and a count.
#[derive(Clone)]
pub struct TlsHandle {
    present: Arc<Mutex<Arc<ServerConfig>>>,
}

impl fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsHandle").finish_non_exhaustive()
    }
}

impl TlsHandle {
    /// Settings that never change.
    pub fn fixed(config: Arc<ServerConfig>) -> Self {
        Self {
            present: Arc::new(Mutex::new(config)),
        }
    }

    /// The settings for a connection that comes now.
    pub fn config(&self) -> Arc<ServerConfig> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&present)
    }

    fn replace(&self, config: Arc<ServerConfig>) {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Look {
    /// Nothing new, or files that are still being written.
    Unchanged,
    /// New files are in use.
    Reloaded,
    /// New files cannot be used; the old ones stay in use.
    Refused(Error),
}

/// The files of one listener and what was last made of them.
pub struct TlsSource {
    files: TlsFiles,
    ticketer: Arc<dyn ProducesTickets>,
    handle: TlsHandle,
    loaded: Vec<Loaded>,
    /// What the files were when they were last loaded, or found unusable.
    known: Stamp,
    /// What they were at the last look. They are loaded once two looks agree.
    seen: Stamp,
    /// The files that clients are checked with, when they were last loaded.
    clients: Stamp,
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSource")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl TlsSource {
    /// Loads the files. Certificates that are not valid now are loaded as well: see
    /// [`certificates`](Self::certificates).
    ///
    /// # Errors
    ///
    /// Names the file or setting that cannot be used, and the remedy.
    pub fn open(files: TlsFiles) -> Result<Self, Error> {
        let ticketer = server::ticketer()?;
        let known = stamp(&files);
        let clients = client_stamp(&files);
        let (config, loaded) = build(&files, &ticketer)?;
        Ok(Self {
            handle: TlsHandle::fixed(config),
            files,
            ticketer,
            loaded,
            seen: known.clone(),
            known,
            clients,
        })
    }

    /// Where connections take their settings from.
    pub fn handle(&self) -> TlsHandle {
        self.handle.clone()
    }

    /// The certificates in use.
    pub fn certificates(&self) -> &[Loaded] {
        &self.loaded
    }

    /// Loads the files if they changed since they were loaded and did not change since the last
    /// look: a certificate and its key are two files, and are not replaced at one moment.
    pub fn look(&mut self, now: SystemTime) -> Look {
        let present = stamp(&self.files);
        let settled = present == self.seen;
        self.seen = present;
        if !settled || self.seen == self.known {
            return Look::Unchanged;
        }
        match self.reload(now) {
            Ok(()) => Look::Reloaded,
            Err(error) => Look::Refused(error),
        }
    }

    /// Loads the files, whether they changed or not.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and for certificates that are not valid now; the old ones stay in
    /// use.
    pub fn reload(&mut self, now: SystemTime) -> Result<(), Error> {
        // Taken before the files are read: what is written meanwhile is a change.
        let known = stamp(&self.files);
        self.known.clone_from(&known);
        self.seen = known;
        let clients = client_stamp(&self.files);
        let ticketer = if clients == self.clients {
            Arc::clone(&self.ticketer)
        } else {
            server::ticketer()?
        };
        let (config, loaded) = build(&self.files, &ticketer)?;
        for certificate in &loaded {
            certificate.check_time(now)?;
        }
        self.handle.replace(config);
        self.loaded = loaded;
        self.ticketer = ticketer;
        self.clients = clients;
        Ok(())
    }
}

fn build(
    files: &TlsFiles,
    ticketer: &Arc<dyn ProducesTickets>,
) -> Result<(Arc<ServerConfig>, Vec<Loaded>), Error> {
    let own = files.pairs.iter().map(Pair::load);
    let mut loaded = own.collect::<Result<Vec<_>, _>>()?;
    loaded.extend(files.coming.iter().filter_map(|pair| pair.load().ok()));
    let verifier = files.clients.as_ref().map(ClientTrust::load).transpose()?;
    let mut parameters = files.parameters.clone();
    if files.challenges.is_some() {
        parameters.alpn.push(ALPN_ACME.to_vec());
    }
    let selection = Selection::new(&loaded).answering(files.challenges.clone());
    let ticketer = Arc::clone(ticketer);
    let config = server::server_config(&parameters, Arc::new(selection), verifier, ticketer)?;
    Ok((config, loaded))
}

fn stamp(files: &TlsFiles) -> Stamp {
    let pairs = files.pairs.iter().chain(&files.coming);
    let pairs = pairs.flat_map(|pair| [pair.certificate.as_path(), pair.key.as_path()]);
    Stamp::of(pairs.chain(client_paths(files)))
}

fn client_stamp(files: &TlsFiles) -> Stamp {
    Stamp::of(client_paths(files))
}

fn client_paths(files: &TlsFiles) -> impl Iterator<Item = &Path> {
    files.clients.iter().flat_map(ClientTrust::paths)
}

#[cfg(test)]
mod tests;
