//! Whether a certificate will do, and if not why: what an operator asks before and after a renewal.
//!
//! A report says everything that is wrong at once, where loading ends at the first fault. Whether
//! clients trust the issuer is theirs to know; what is checked is all that the files themselves tell.

use std::time::{Duration, SystemTime};

use crate::inspect::{self, CertificateInfo};
use crate::pair::read_chain;
use crate::{Error, Pair, load};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a pair of files says and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The files.
    pub pair: Pair,
    /// The chain as it is in the file, the server's own certificate first; empty if unreadable.
    pub chain: Vec<CertificateInfo>,
    /// Whether the key belongs to the first certificate and can be used. `None` where the
    /// certificate could not be read.
    pub key_matches: Option<bool>,
    /// Whole days until the first certificate of the chain ends, 0 after that.
    pub days_left: u64,
    /// What is wrong, for people. Empty: it will do.
    pub problems: Vec<String>,
    /// What may be meant that way.
    pub notes: Vec<String>,
}

/// Looks at a pair of files as a listener would use them at `now`. A certificate that ends within
/// `min_days` is a problem.
pub fn check(pair: &Pair, now: SystemTime, min_days: u64) -> Report {
    let mut report = Report {
        pair: pair.clone(),
        chain: Vec::new(),
        key_matches: None,
        days_left: 0,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    if let Err(error) = report.read(now, min_days) {
        report.problems.push(error.to_string());
    }
    report
}

impl Report {
    fn read(&mut self, now: SystemTime, min_days: u64) -> Result<(), Error> {
        let path = &self.pair.certificate;
        let ders = read_chain(path)?;
        let parsed = ders
            .iter()
            .map(|der| inspect::parse(der, path))
            .collect::<Result<Vec<_>, _>>()?;
        self.chain = parsed.iter().map(inspect::describe).collect();
        for (nth, links) in parsed.windows(2).enumerate() {
            let [below, above] = links else { continue };
            if below.verify_signature(Some(above.public_key())).is_err() {
                self.problems.push(format!(
                    "certificate {} of the chain ({}) is not signed by the one after it ({})",
                    nth + 1,
                    below.subject(),
                    above.subject()
                ));
            }
        }
        self.look_at_names();
        self.look_at_time(now, min_days);
        match load(&self.pair.certificate, &self.pair.key) {
            Ok(_) => self.key_matches = Some(true),
            Err(error) => {
                self.key_matches = Some(false);
                return Err(error);
            }
        }
        Ok(())
    }

    fn look_at_names(&mut self) {
        let (Some(own), Some(last)) = (self.chain.first(), self.chain.last()) else {
            return;
        };
        if own.names.is_empty() {
            let problem = "the server's certificate has no alternative names, without which no \
                           client accepts it";
            self.problems.push(problem.to_owned());
        }
        if own.is_ca {
            let note = "the first certificate is an authority's; the server's own must come first";
            self.notes.push(note.to_owned());
        }
        if self.chain.len() == 1 && last.issuer != last.subject {
            let note = format!(
                "the chain ends with the server's own certificate: clients must know {}",
                last.issuer
            );
            self.notes.push(note);
        }
    }

    fn look_at_time(&mut self, now: SystemTime, min_days: u64) {
        let ends = self
            .chain
            .iter()
            .map(|certificate| certificate.not_after)
            .min();
        let left = ends.and_then(|end| end.duration_since(now).ok());
        self.days_left = left.map_or(0, |left| left.as_secs() / DAY.as_secs());
        for certificate in &self.chain {
            let subject = &certificate.subject;
            if certificate.not_after < now {
                self.problems.push(format!("{subject} has expired"));
            } else if certificate.not_before > now {
                self.problems.push(format!("{subject} is not valid yet"));
            }
        }
        if left.is_some() && self.days_left < min_days {
            let days = self.days_left;
            self.problems.push(format!(
                "it ends in {days} days, which is less than {min_days}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    fn named(name: &str, names: &[&str], days: u32) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = (now() - DAY).into();
        params.not_after = (now() + days * DAY).into();
        params
    }

    struct Authority(Issuer<'static, KeyPair>, String);

    fn authority(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name, &[], 1000);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority(Issuer::new(params, key), pem)
    }

    fn write(directory: &Path, certificate: &str, key: &KeyPair) -> Pair {
        let pair = Pair::new(directory.join("cert.pem"), directory.join("key.pem"));
        std::fs::write(&pair.certificate, certificate).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        pair
    }

    #[test]
    fn a_good_pair_has_no_problems() {
        let directory = tempfile::tempdir().unwrap();
        let (issuer, key) = (authority("Issuer"), KeyPair::generate().unwrap());
        let leaf = named("web", &["web.test"], 90)
            .signed_by(&key, &issuer.0)
            .unwrap();
        let pair = write(directory.path(), &(leaf.pem() + &issuer.1), &key);
        let report = check(&pair, now(), 14);
        assert_eq!(report.problems, [""; 0]);
        assert_eq!(report.notes, [""; 0]);
        assert_eq!((report.days_left, report.key_matches), (90, Some(true)));
        let alone = write(directory.path(), &leaf.pem(), &key);
        let report = check(&alone, now(), 14);
        assert_eq!(report.problems, [""; 0]);
        assert!(report.notes[0].contains("CN=Issuer"), "{:?}", report.notes);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let (issuer, other) = (authority("Issuer"), authority("Other"));
        let key = KeyPair::generate().unwrap();
        let leaf = named("web", &[], 3).signed_by(&key, &issuer.0).unwrap();
        let strange = KeyPair::generate().unwrap();
        let pair = write(directory.path(), &(leaf.pem() + &other.1), &strange);
        let report = check(&pair, now(), 14);
        assert_eq!(report.key_matches, Some(false));
        let expected = [
            "is not signed by",
            "no alternative names",
            "3 days",
            "does not belong",
        ];
        assert_eq!(
            report.problems.len(),
            expected.len(),
            "{:#?}",
            report.problems
        );
        for (problem, part) in report.problems.iter().zip(expected) {
            assert!(problem.contains(part), "{problem}");
        }
        let report = check(&pair, now() + 4 * DAY, 14);
        assert!(
            report
                .problems
                .iter()
                .any(|it| it.contains("CN=web has expired"))
        );
        assert_eq!(report.days_left, 0);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let report = check(&Pair::new("absent.pem", "absent-key.pem"), now(), 14);
        assert_eq!((report.problems.len(), report.key_matches), (1, None));
        assert!(report.problems[0].contains("absent.pem"));
    }
}
