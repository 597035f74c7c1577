//! Certificates from an ACME authority (RFC 8555), such as Let's Encrypt: ordered when there is none,
//! renewed before they end.
//!
//! What is obtained is written to a file, certificate and key in one, and nothing else: the listener
//! that uses it notices the file as it notices any other. So an order that fails touches nothing that
//! works, and a restart begins where the last run ended. Next files to read: `order.rs` for one
//! order, `http.rs` for how the authority is spoken to.

mod http;
mod order;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use roomwire_certs::{Challenges, Loaded, Pair, write_private};
use roomwire_metrics::Id;

use crate::config::{AcmeConfig, Challenge};
use crate::shared::Shared;

/// Of its lifetime what is left of a certificate when it is renewed. RFC 8739's and Let's Encrypt's
/// recommendation: a third.
const RENEW_AT: u32 = 3;

/// The longest time between two attempts. Chosen: four a day still find out soon that whatever was
/// wrong is over, and stay far from every authority's limits.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// The longest time between two looks at the clock, which may be set meanwhile.
const LONGEST_NAP: Duration = Duration::from_secs(60 * 60);

/// How long one order may take, all its waits included.
const ORDER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// One listener's certificate.
#[derive(Debug)]
struct Wanted {
    names: Vec<String>,
    /// Holds the chain and the key; written as a whole.
    file: PathBuf,
    /// When it is ordered next.
    due: SystemTime,
    /// Attempts that failed since the last one that did not.
    failures: u32,
}

/// Orders and renews certificates.
#[derive(Debug)]
pub(super) struct Acme {
    config: AcmeConfig,
    directory: PathBuf,
    challenges: Arc<Challenges>,
    wanted: Vec<Wanted>,
}

impl Acme {
    /// For an authority as configured; files are kept below `data_dir`, apart for each authority.
    pub(super) fn new(config: &AcmeConfig, data_dir: &Path, challenges: Arc<Challenges>) -> Self {
        let kept = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        };
        let authority = config.directory.trim_start_matches("https://");
        let authority: String = authority.chars().map(kept).collect();
        Self {
            directory: data_dir.join("acme").join(authority),
            config: config.clone(),
            challenges,
            wanted: Vec::new(),
        }
    }

    /// Wants a certificate for these names, of which there is one at least; tells where it will be.
    pub(super) fn want(&mut self, names: &[String]) -> Pair {
        let file = self.directory.join(file_name(names));
        let pair = Pair::new(&file, &file);
        if self.wanted.iter().all(|wanted| wanted.file != file) {
            self.wanted.push(Wanted {
                names: names.to_vec(),
                file,
                due: SystemTime::UNIX_EPOCH,
                failures: 0,
            });
        }
        pair
    }

    /// Orders what is due, for ever; never resolves.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        for wanted in &mut self.wanted {
            // Whatever is wrong with the file there is, a new one mends it.
            if let Ok(loaded) = Pair::new(&wanted.file, &wanted.file).load() {
                wanted.due = renewal(&loaded);
            }
        }
        loop {
            let now = SystemTime::now();
            let mut wanted = std::mem::take(&mut self.wanted);
            for wanted in wanted.iter_mut().filter(|wanted| wanted.due <= now) {
                self.attempt(wanted, &shared).await;
            }
            self.wanted = wanted;
            let Some(next) = self.wanted.iter().map(|wanted| wanted.due).min() else {
                return std::future::pending().await;
            };
            let nap = next.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::time::sleep(nap.min(LONGEST_NAP)).await;
        }
    }

    async fn attempt(&self, wanted: &mut Wanted, shared: &Shared) {
        let names = wanted.names.join(", ");
        tracing::info!(
            names,
            "ordering a certificate from {}",
            self.config.directory
        );
        shared.lane.increment(Id::AcmeOrders);
        let order = tokio::time::timeout(ORDER_PATIENCE, self.obtain(wanted)).await;
        let done = match order {
            Ok(done) => done,
            Err(_) => Err(anyhow::anyhow!("it took more than {ORDER_PATIENCE:?}")),
        };
        match done {
            Ok(loaded) => {
                wanted.failures = 0;
                wanted.due = renewal(&loaded);
                tracing::info!(names, "certificate obtained");
            }
            Err(error) => {
                shared.lane.increment(Id::AcmeOrderErrors);
                let pause = pause(self.config.retry.get(), wanted.failures);
                wanted.failures = wanted.failures.saturating_add(1);
                wanted.due = SystemTime::now() + pause;
                let pause = pause.as_secs();
                tracing::error!(
                    names,
                    "no certificate, trying again in {pause} s: {error:#}"
                );
            }
        }
    }

    async fn obtain(&self, wanted: &Wanted) -> anyhow::Result<Loaded> {
        let account = order::account(&self.config, &self.directory).await?;
        let kind = self.config.challenge;
        let fulfilled = order::fulfil(&account, &wanted.names, kind, &self.challenges).await;
        let pem = fulfilled.inspect_err(|error| order::forget_unknown(error, &self.directory))?;
        // The file is checked before it replaces one that works.
        let checked = wanted.file.with_extension("new");
        write_private(&checked, pem.as_bytes())?;
        Pair::new(&checked, &checked)
            .load()?
            .check_time(SystemTime::now())?;
        std::fs::rename(&checked, &wanted.file)?;
        Ok(Pair::new(&wanted.file, &wanted.file).load()?)
    }
}

/// The name of the file for a certificate with these names: the first of them, and for more than one
/// a digest of all, because a file's name has at most 255 bytes.
fn file_name(names: &[String]) -> String {
    let first = names.first().map_or("", String::as_str);
    if names.len() < 2 {
        return format!("{first}.pem");
    }
    let digest = digest::digest(&digest::SHA256, names.join(",").as_bytes());
    let digest: String = digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{first}+{digest}.pem")
}

/// When a certificate is renewed: at the last third of its life, and up to a thirtieth earlier, so
/// that many that were made together are not renewed together.
fn renewal(loaded: &Loaded) -> SystemTime {
    let Some(own) = loaded.chain.first() else {
        return SystemTime::UNIX_EPOCH;
    };
    let life = own
        .not_after
        .duration_since(own.not_before)
        .unwrap_or_default();
    let early = (life / 30).mul_f64(fraction());
    own.not_after - life / RENEW_AT - early
}

/// `first` doubled with each failure, up to [`LONGEST_PAUSE`], less up to a half by chance.
fn pause(first: Duration, failures: u32) -> Duration {
    let doubled = first
        .saturating_mul(1 << failures.min(16))
        .min(LONGEST_PAUSE);
    doubled.mul_f64(1.0 - fraction() / 2.0)
}

/// A number from 0 to 1 by chance; 0 where the random source fails.
fn fraction() -> f64 {
    let mut byte = [0; 4];
    if aws_lc_rs::rand::fill(&mut byte).is_err() {
        return 0.0;
    }
    f64::from(u32::from_le_bytes(byte)) / f64::from(u32::MAX)
}

/// What a challenge is called in RFC 8555 and RFC 8737.
fn challenge_type(challenge: Challenge) -> instant_acme::ChallengeType {
    match challenge {
        Challenge::Http01 => instant_acme::ChallengeType::Http01,
        Challenge::TlsAlpn01 => instant_acme::ChallengeType::TlsAlpn01,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_names_has_a_file_of_its_own_whose_name_is_short() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let one = file_name(&names(&["a.test"]));
        assert_eq!(one, "a.test.pem");
        let two = file_name(&names(&["a.test", "b.test"]));
        let three = file_name(&names(&["a.test", "b.test", "c.test"]));
        assert!(two.starts_with("a.test+") && two != three, "{two} {three}");
        let long = "x".repeat(196) + ".com";
        assert!(file_name(&vec![long; 100]).len() < 240);
    }

    #[test]
    fn pauses_double_up_to_six_hours_and_are_never_less_than_half() {
        let first = Duration::from_secs(120);
        for failures in 0..40 {
            let whole = first
                .saturating_mul(1 << failures.min(16))
                .min(LONGEST_PAUSE);
            for _ in 0..20 {
                let pause = pause(first, failures);
                assert!(
                    whole / 2 <= pause && pause <= whole,
                    "{failures}: {pause:?}"
                );
            }
        }
    }
}
