//! Life of a development directory: first start, reuse, renewal, damage and concurrency.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, HandshakeKind, RootCertStore, ServerConfig,
    ServerConnection,
};

use super::*;
use crate::{ALPN_HTTP, Parameters, TlsFiles, TlsSource, inspect};

const NOW: Duration = Duration::from_secs(1_795_000_000);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn in_days(days: u32) -> SystemTime {
    now() + DAY * days
}

fn ensure(directory: &Path, now: SystemTime) -> DevelopmentCertificates {
    DevelopmentCertificates::ensure(directory, now).unwrap()
}

fn contents(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(name)).unwrap()
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("certs");
    (parent, path)
}

#[test]
fn the_first_start_makes_a_ca_and_a_leaf_with_private_keys() {
    let (_parent, path) = directory();
    let made = ensure(&path, now());
    assert!(made.created);
    assert_eq!(made.ca_path, path.join("ca.pem"));
    for (name, mode) in [
        ("ca.pem", 0o644),
        ("ca-key.pem", 0o600),
        ("localhost.pem", 0o644),
        ("localhost-key.pem", 0o600),
    ] {
        let found = std::fs::metadata(path.join(name)).unwrap().mode() & 0o777;
        assert_eq!(found & !mode, 0, "{name} has mode {found:o}");
    }
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 4);

    let [leaf, ca] = inspect(&made.leaf_path).unwrap().try_into().unwrap();
    assert_eq!(leaf.names, DEVELOPMENT_NAMES);
    assert_eq!(leaf.issuer, ca.subject);
    assert!(ca.is_ca && !leaf.is_ca);
    assert!(
        ca.subject.contains("Roomwire development CA"),
        "{}",
        ca.subject
    );
    assert!(leaf.not_after.duration_since(leaf.not_before).unwrap() <= DAY * 397);
    assert_eq!(inspect(&made.ca_path).unwrap(), [ca]);
}

#[test]
fn later_starts_reuse_both() {
    let (_parent, path) = directory();
    ensure(&path, now());
    let (ca, leaf) = (contents(&path, CA_FILE), contents(&path, LEAF_FILE));
    let again = ensure(&path, in_days(365));
    assert!(!again.created);
    assert_eq!(contents(&path, CA_FILE), ca);
    assert_eq!(contents(&path, LEAF_FILE), leaf);
}

#[test]
fn a_leaf_near_its_end_is_renewed_by_the_same_ca() {
    let (_parent, path) = directory();
    ensure(&path, now());
    let (ca, leaf) = (contents(&path, CA_FILE), contents(&path, LEAF_FILE));
    let renewed = ensure(&path, in_days(367));
    assert!(!renewed.created);
    assert_eq!(contents(&path, CA_FILE), ca);
    assert_ne!(contents(&path, LEAF_FILE), leaf);
    assert_eq!(inspect(&renewed.leaf_path).unwrap().len(), 2);
}

#[test]
fn a_ca_near_its_end_is_replaced_together_with_the_leaf() {
    let (_parent, path) = directory();
    ensure(&path, now());
    let replaced = ensure(&path, in_days(3640));
    assert!(replaced.created);
    handshake(&replaced, in_days(3640), "localhost").unwrap();
}

#[test]
fn a_clock_before_the_certificates_makes_new_ones() {
    let (_parent, path) = directory();
    ensure(&path, now());
    let earlier = now() - DAY;
    handshake(&ensure(&path, earlier), earlier, "localhost").unwrap();
}

#[test]
fn another_ca_gets_another_leaf() {
    let (_parent, path) = directory();
    let (_other_parent, other) = directory();
    ensure(&path, now());
    ensure(&other, now());
    for name in [CA_FILE, CA_KEY_FILE] {
        std::fs::copy(other.join(name), path.join(name)).unwrap();
    }
    let reissued = ensure(&path, now());
    assert!(!reissued.created);
    assert_eq!(contents(&path, CA_FILE), contents(&other, CA_FILE));
    handshake(&reissued, now(), "localhost").unwrap();
}

#[test]
fn a_removed_ca_key_is_missed_only_when_a_leaf_is_due() {
    let (_parent, path) = directory();
    ensure(&path, now());
    std::fs::remove_file(path.join(CA_KEY_FILE)).unwrap();
    assert!(!ensure(&path, now()).created);
    assert!(ensure(&path, in_days(380)).created);
}

#[test]
fn files_that_a_crash_left_unmatched_are_made_anew() {
    for lost in [CA_FILE, LEAF_FILE, LEAF_KEY_FILE] {
        let (_parent, path) = directory();
        ensure(&path, now());
        std::fs::remove_file(path.join(lost)).unwrap();
        let repaired = ensure(&path, now());
        assert_eq!(repaired.created, lost == CA_FILE, "{lost}");
        handshake(&repaired, now(), "localhost").unwrap();
    }
    for swapped in [CA_KEY_FILE, LEAF_KEY_FILE] {
        let (_parent, path) = directory();
        let (_other_parent, other) = directory();
        ensure(&path, now());
        ensure(&other, now());
        std::fs::copy(other.join(swapped), path.join(swapped)).unwrap();
        // Makes a leaf due, so that the CA has to sign.
        std::fs::remove_file(path.join(LEAF_FILE)).unwrap();
        let repaired = ensure(&path, now());
        assert_eq!(repaired.created, swapped == CA_KEY_FILE, "{swapped}");
        handshake(&repaired, now(), "localhost").unwrap();
    }
}

#[test]
fn a_file_that_is_something_else_is_refused_and_kept() {
    for name in [CA_FILE, LEAF_FILE] {
        let (_parent, path) = directory();
        ensure(&path, now());
        std::fs::write(path.join(name), "my notes").unwrap();
        let error = DevelopmentCertificates::ensure(&path, now()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(contents(&path, name), b"my notes");
    }
}

#[test]
fn a_key_open_to_others_is_refused_with_the_remedy() {
    for name in [CA_KEY_FILE, LEAF_KEY_FILE] {
        let (_parent, path) = directory();
        ensure(&path, now());
        let key = path.join(name);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let message = DevelopmentCertificates::ensure(&path, now())
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with(&format!("run `chmod 600 {}`", key.display())),
            "{message}"
        );
    }
}

#[test]
fn of_many_first_starts_at_once_one_makes_the_certificates() {
    let (_parent, path) = directory();
    let created = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ensure(&path, now()).created))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .filter(|&c| c)
            .count()
    });
    assert_eq!(created, 1);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 4);
    handshake(&ensure(&path, now()), now(), "localhost").unwrap();
}

#[test]
fn clients_that_trust_the_ca_reach_every_loopback_name() {
    let (_parent, path) = directory();
    let made = ensure(&path, now());
    for name in DEVELOPMENT_NAMES {
        assert_eq!(
            handshake(&made, now(), name).unwrap().as_deref(),
            Some(b"h2".as_slice())
        );
    }
    assert!(handshake(&made, now(), "example.test").is_err());
}

#[test]
fn the_ca_cannot_sign_for_other_hosts() {
    let (_parent, path) = directory();
    let made = ensure(&path, now());
    let authority = Authority::load(&Paths::new(&path), now()).unwrap().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["example.test".to_owned()]).unwrap();
    params.not_before = now().into();
    params.not_after = in_days(1).into();
    let forged = params.signed_by(&key, &authority.issuer).unwrap();
    std::fs::write(&made.leaf_path, forged.pem()).unwrap();
    std::fs::write(&made.leaf_key_path, key.serialize_pem()).unwrap();
    let error = handshake(&made, now(), "example.test");
    let error = format!("{:?}", error.unwrap_err());
    assert!(error.contains("NameConstraint"), "{error}");
}

#[derive(Debug)]
struct FixedTime(SystemTime);

impl rustls::time_provider::TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(
            self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap(),
        ))
    }
}

#[test]
fn a_client_that_comes_back_resumes_with_its_ticket() {
    let (_parent, path) = directory();
    let made = ensure(&path, now());
    let client = client_config(&made.ca_path, now());
    let server = server_config(&made);
    let first = connect(&client, &server, "localhost").unwrap();
    assert_ne!(first.handshake_kind(), Some(HandshakeKind::Resumed));
    let second = connect(&client, &server, "localhost").unwrap();
    assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
}

/// Shakes hands as a client that trusts the CA's file; returns the agreed protocol.
fn handshake(
    made: &DevelopmentCertificates,
    now: SystemTime,
    name: &str,
) -> Result<Option<Vec<u8>>, rustls::Error> {
    let server = server_config(made);
    let client = connect(&client_config(&made.ca_path, now), &server, name)?;
    Ok(client.alpn_protocol().map(<[u8]>::to_vec))
}

fn server_config(made: &DevelopmentCertificates) -> Arc<ServerConfig> {
    let files = TlsFiles {
        pairs: vec![made.pair()],
        parameters: Parameters::http(),
        ..TlsFiles::default()
    };
    TlsSource::open(files).unwrap().handle().config()
}

fn client_config(ca: &Path, now: SystemTime) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(read_chain(ca).unwrap().remove(0)).unwrap();
    let provider = Arc::new(crate::provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(FixedTime(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = ALPN_HTTP.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// Shakes hands in memory, up to and including the server's tickets.
fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<ClientConnection, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        transfer(&mut client, &mut server)?;
        transfer(&mut server, &mut client)?;
    }
    Ok(client)
}

fn transfer<A, B>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut input = bytes.as_slice();
    while !input.is_empty() {
        to.read_tls(&mut input).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}
