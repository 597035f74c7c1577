//! Keeps TLS fresh: looks at the files, reloads what changed, publishes when certificates end.
//!
//! One thread, because reading and signing block and no worker may. It looks every second: links
//! that are turned elsewhere, as certbot and Kubernetes do it, are no event of the directory that a
//! path names, and twenty calls of `stat` cost less than a watch on every directory of the path.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use roomwire_certs::{Error, Look};
use roomwire_metrics::Id;
use tokio::sync::watch;

use super::acme::Acme;
use super::{Setup, Source};
use crate::lifecycle::Phase;
use crate::shared::Shared;

/// How often files are looked at. What was replaced is loaded once two looks agree, so it is in use
/// after one to two of these.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// From how many days before its end a certificate is warned of, each day. Chosen: Let's Encrypt
/// renews a month before; two weeks later something is wrong.
const WARN_DAYS: u64 = 14;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The thread that keeps TLS fresh. It ends by itself when the gateway closes.
#[derive(Debug)]
pub(crate) struct Keeper {
    reload: watch::Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts it; `None` where there is nothing to keep.
    ///
    /// # Errors
    ///
    /// When there can be no thread, or no event loop on it.
    pub(crate) fn start(setup: Setup, shared: &Arc<Shared>) -> io::Result<Option<Self>> {
        if setup.sources.is_empty() {
            return Ok(None);
        }
        let (reload, asked) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let acme = setup.acme;
        let mut keeping = Keeping {
            shared: Arc::clone(shared),
            sources: setup.sources,
            warned_day: None,
        };
        // Before anybody can connect: an expired certificate is told of at the start.
        keeping.publish(SystemTime::now());
        let thread = thread::Builder::new()
            .name("roomwire-tls".to_owned())
            .spawn(move || runtime.block_on(keeping.run(asked, acme)))?;
        Ok(Some(Self { reload, thread }))
    }

    /// Has all files loaded again, whether they changed or not.
    pub(crate) fn reload(&self) {
        self.reload.send_replace(());
    }

    /// Waits for the end of the thread, which the phase `Closing` brings.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the thread that reloads certificates panicked");
        }
    }
}

struct Keeping {
    shared: Arc<Shared>,
    sources: Vec<Source>,
    /// The day, counted from 1970, on which certificates that end soon were last warned of.
    warned_day: Option<u64>,
}

impl Keeping {
    async fn run(mut self, mut asked: watch::Receiver<()>, acme: Option<Acme>) {
        let mut phase = self.shared.phase.subscribe();
        let shared = Arc::clone(&self.shared);
        let ordering = async move {
            match acme {
                Some(acme) => acme.run(shared).await,
                None => std::future::pending().await,
            }
        };
        let mut ordering = pin!(ordering);
        loop {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return,
                changed = asked.changed() => match changed {
                    Ok(()) => self.reload_all(),
                    Err(_) => return,
                },
                () = tokio::time::sleep(LOOK_EVERY) => self.look(),
                () = &mut ordering => return,
            }
        }
    }

    fn look(&mut self) {
        let now = SystemTime::now();
        let mut changed = false;
        for source in &mut self.sources {
            match source.files.look(now) {
                Look::Unchanged => continue,
                Look::Reloaded => told(&self.shared, &source.listener, Ok(())),
                Look::Refused(error) => told(&self.shared, &source.listener, Err(error)),
            }
            changed = true;
        }
        let today = Some(days_since_1970(now));
        if changed || self.warned_day != today {
            self.publish(now);
        }
    }

    fn reload_all(&mut self) {
        let now = SystemTime::now();
        for source in &mut self.sources {
            let done = source.files.reload(now);
            told(&self.shared, &source.listener, done);
        }
        self.publish(now);
    }

    /// Publishes when the first certificate ends, and warns of those that end soon once a day.
    fn publish(&mut self, now: SystemTime) {
        let today = Some(days_since_1970(now));
        let warn = self.warned_day != today;
        self.warned_day = today;
        let all = self
            .sources
            .iter()
            .flat_map(|source| source.files.certificates());
        let mut count = 0;
        let mut earliest = None;
        for certificate in all {
            count += 1;
            let left = certificate
                .not_after()
                .duration_since(now)
                .unwrap_or_default();
            let days = left.as_secs() / DAY_SECONDS;
            earliest = Some(earliest.unwrap_or(days).min(days));
            if !warn || days >= WARN_DAYS {
                continue;
            }
            match certificate.check_time(now) {
                Err(error) => tracing::error!("{error}"),
                Ok(()) => {
                    let path = certificate.pair.certificate.display();
                    tracing::warn!(days, "the certificate {path} ends soon: renew it");
                }
            }
        }
        let lane = &self.shared.lane;
        lane.gauge_set(Id::TlsCertificates, count);
        lane.gauge_set(Id::TlsCertificateDaysLeft, earliest.unwrap_or(0));
    }
}

/// Counts a reload and says how it went.
fn told(shared: &Shared, listener: &str, done: Result<(), Error>) {
    match done {
        Ok(()) => {
            shared.lane.increment(Id::TlsReloads);
            tracing::info!(listener, "certificates reloaded");
        }
        Err(error) => {
            shared.lane.increment(Id::TlsReloadErrors);
            tracing::error!(listener, "certificates stay as they were: {error}");
        }
    }
}

fn days_since_1970(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs() / DAY_SECONDS
}
