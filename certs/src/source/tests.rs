//! Rules of reloading: what is taken, what is refused, and what a handle shows meanwhile.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Writes a pair as an operator does: one file after the other.
fn write(directory: &Path, name: &str, days: u64) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = SystemTime::UNIX_EPOCH.into();
    params.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
    if days == 0 {
        params.not_after = (SystemTime::UNIX_EPOCH + Duration::from_secs(86_400)).into();
    }
    std::fs::write(
        directory.join("cert.pem"),
        params.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(directory.join("key.pem"), mode).unwrap();
}

fn source(directory: &Path) -> TlsSource {
    let files = TlsFiles {
        pairs: vec![Pair::new(
            directory.join("cert.pem"),
            directory.join("key.pem"),
        )],
        ..TlsFiles::default()
    };
    TlsSource::open(files).unwrap()
}

fn name(source: &TlsSource) -> &str {
    &source.certificates()[0].names()[0]
}

#[test]
fn changed_files_are_loaded_once_two_looks_agree() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "one.test", 9);
    let mut source = source(directory.path());
    let (handle, now) = (source.handle(), SystemTime::now());
    let before = handle.config();
    assert!(matches!(source.look(now), Look::Unchanged));

    write(directory.path(), "two.test", 9);
    assert!(
        matches!(source.look(now), Look::Unchanged),
        "they may still be written"
    );
    assert_eq!(name(&source), "one.test");
    assert!(matches!(source.look(now), Look::Reloaded));
    assert_eq!(name(&source), "two.test");
    assert!(!Arc::ptr_eq(&before, &handle.config()));
    assert!(
        Arc::ptr_eq(&before.ticketer, &handle.config().ticketer),
        "sessions go on"
    );
    assert!(matches!(source.look(now), Look::Unchanged));
}

#[test]
fn files_that_cannot_be_used_are_refused_once_and_the_old_ones_stay() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "one.test", 9);
    let mut source = source(directory.path());
    let (handle, now) = (source.handle(), SystemTime::now());
    let before = handle.config();

    std::fs::write(directory.path().join("cert.pem"), "nothing").unwrap();
    assert!(matches!(source.look(now), Look::Unchanged));
    assert!(matches!(
        source.look(now),
        Look::Refused(Error::NoCertificate { .. })
    ));
    assert!(matches!(source.look(now), Look::Unchanged), "told once");
    assert!(Arc::ptr_eq(&before, &handle.config()));

    write(directory.path(), "two.test", 9);
    let other = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(directory.path().join("key.pem"), other).unwrap();
    assert!(matches!(source.reload(now), Err(Error::KeyMismatch { .. })));

    write(directory.path(), "three.test", 0);
    assert!(matches!(source.reload(now), Err(Error::Expired { .. })));
    assert_eq!(name(&source), "one.test");

    write(directory.path(), "four.test", 9);
    assert!(matches!(source.look(now), Look::Unchanged));
    assert!(matches!(source.look(now), Look::Reloaded));
    assert_eq!(name(&source), "four.test");
}

#[test]
fn an_expired_certificate_is_still_good_enough_to_start_with() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "old.test", 0);
    let source = source(directory.path());
    let checked = source.certificates()[0].check_time(SystemTime::now());
    assert!(matches!(checked, Err(Error::Expired { .. })));
}

#[test]
fn new_rules_for_clients_make_old_sessions_worthless() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "one.test", 9);
    let mut files = source(directory.path()).files;
    let authorities = directory.path().join("clients.pem");
    std::fs::copy(directory.path().join("cert.pem"), &authorities).unwrap();
    files.clients = Some(ClientTrust {
        authorities: authorities.clone(),
        revoked: None,
        demand: crate::Demand::Required,
    });
    let mut source = TlsSource::open(files).unwrap();
    let before = source.handle().config();
    source.reload(SystemTime::now()).unwrap();
    assert!(Arc::ptr_eq(
        &before.ticketer,
        &source.handle().config().ticketer
    ));
    std::fs::write(
        &authorities,
        std::fs::read(directory.path().join("cert.pem")).unwrap(),
    )
    .unwrap();
    source.reload(SystemTime::now()).unwrap();
    assert!(!Arc::ptr_eq(
        &before.ticketer,
        &source.handle().config().ticketer
    ));
}
