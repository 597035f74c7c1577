//! TLS from outside: which certificate a client gets, reloads, resumption, what is spoken, and what
//! each failure is counted as.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use roomwire::Reply;
use roomwire::config::{CertificateConfig, ClientCertificates, Config, Protocol, Span, TlsVersion};
use roomwire_tests::{
    Authority, Client, Files, GatewayOptions, Http, Issued, PATIENCE, Task, TestGateway, TlsClient,
    eventually, find_program, run_program, within,
};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Changes the https listener.
fn https(config: &mut Config) -> &mut roomwire::config::ListenerConfig {
    let mut listeners = config.listeners.iter_mut();
    let found = listeners.find(|listener| listener.protocol == Protocol::Https);
    found.expect("there is one")
}

fn serve(files: &Files, more: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::with(|config| {
        https(config).certificate = Some(files.certificate.clone());
        https(config).key = Some(files.key.clone());
        more(config);
    })
}

/// A gateway with one certificate for `example.test`, and a place for files.
struct Place {
    authority: Authority,
    issued: Issued,
    files: Files,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("Test");
        let issued = authority.issue(&["example.test"]);
        let files = issued.write(directory.path(), "web");
        Self {
            authority,
            issued,
            files,
            directory,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn client(&self) -> TlsClient {
        TlsClient::new(&self.authority, "example.test")
    }
}

/// The alert or other error that rustls gave.
fn cause(error: &std::io::Error) -> &rustls::Error {
    let inner = error.get_ref().and_then(|error| error.downcast_ref());
    inner.unwrap_or_else(|| panic!("{error}"))
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let place = Place::new();
    let chat = place.authority.issue(&["chat.test", "*.chat.test"]);
    let more = chat.write(place.path(), "chat");
    let gateway = serve(&place.files, |config| {
        https(config).certificates.push(CertificateConfig {
            certificate: more.certificate,
            key: more.key,
        });
    });
    let got = async |name: &str| {
        let client = TlsClient::new(&place.authority, name);
        client.certificate(gateway.https()).await
    };
    assert_eq!(got("example.test").await, place.issued.der());
    assert_eq!(got("chat.test").await, chat.der());
    assert_eq!(got("a.chat.test").await, chat.der());
    let unknown = TlsClient::new(&place.authority, "unknown.test");
    let refused = unknown.connect(gateway.https()).await.unwrap_err();
    let text = cause(&refused).to_string();
    assert!(text.contains("example.test"), "the default one: {text}");
    gateway.reaches("tls_certificates", 2).await;
    gateway.reaches("tls_certificate_days_left", 90).await;
}

#[tokio::test]
async fn a_gateway_does_not_start_with_keys_that_others_read_or_that_do_not_fit() {
    let place = Place::new();
    let refusal = |files: &Files| {
        let options = GatewayOptions::new().config(|config| {
            https(config).certificate = Some(files.certificate.clone());
            https(config).key = Some(files.key.clone());
        });
        options.try_start().unwrap_err().to_string()
    };
    let other = place
        .authority
        .issue(&["other.test"])
        .write(place.path(), "other");
    let mixed = Files {
        certificate: place.files.certificate.clone(),
        key: other.key,
    };
    let message = refusal(&mixed);
    assert!(
        message.contains("other-key.pem does not belong to"),
        "{message}"
    );
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&place.files.key, open).unwrap();
    let message = refusal(&place.files);
    assert!(message.contains("open to other users"), "{message}");
    assert!(message.contains("chmod 600"), "{message}");
}

#[tokio::test]
async fn a_link_turned_to_new_files_is_followed_and_open_connections_stay() {
    let place = Place::new();
    let renewed = place.authority.issue_for(&["example.test"], 30);
    for (directory, issued) in [("one", &place.issued), ("two", &renewed)] {
        let directory = place.path().join(directory);
        std::fs::create_dir(&directory).unwrap();
        issued.write(&directory, "web");
    }
    symlink("one", place.path().join("live")).unwrap();
    let files = Files {
        certificate: place.path().join("live/web.pem"),
        key: place.path().join("live/web-key.pem"),
    };
    let gateway = serve(&files, |_| {});
    let client = place.client().offering(&[b"http/1.1"]).forgetful();
    let mut open = client.connect(gateway.https()).await.unwrap();
    assert_eq!(
        client.certificate(gateway.https()).await,
        place.issued.der()
    );

    symlink("two", place.path().join("live.new")).unwrap();
    std::fs::rename(place.path().join("live.new"), place.path().join("live")).unwrap();
    gateway.reaches("tls_reloads_total", 1).await;
    assert_eq!(client.certificate(gateway.https()).await, renewed.der());
    gateway.reaches("tls_certificate_days_left", 30).await;

    let request = b"GET /healthz HTTP/1.1\r\nhost: example.test\r\nconnection: close\r\n\r\n";
    open.write_all(request).await.unwrap();
    let mut answer = String::new();
    within("an answer", open.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

#[tokio::test]
async fn a_broken_new_certificate_leaves_the_old_one_in_use_until_it_is_mended() {
    let place = Place::new();
    let gateway = serve(&place.files, |_| {});
    let client = place.client();
    std::fs::write(&place.files.certificate, "-----BEGIN CERT").unwrap();
    gateway.reaches("tls_reload_errors_total", 1).await;
    assert_eq!(
        client.certificate(gateway.https()).await,
        place.issued.der()
    );

    place
        .authority
        .issue_for(&["example.test"], -1)
        .write(place.path(), "web");
    gateway.reaches("tls_reload_errors_total", 2).await;
    assert_eq!(
        client.certificate(gateway.https()).await,
        place.issued.der()
    );

    let renewed = place.authority.issue(&["example.test"]);
    renewed.write(place.path(), "web");
    gateway.reaches("tls_reloads_total", 1).await;
    assert_eq!(client.certificate(gateway.https()).await, renewed.der());
}

#[tokio::test]
async fn no_handshake_fails_while_certificates_are_reloaded() {
    let place = Place::new();
    let gateway = serve(&place.files, |_| {});
    let (to, stop) = (gateway.https(), Arc::new(AtomicBool::new(false)));
    let shaken = Arc::new(AtomicU64::new(0));
    let churn: Vec<_> = [&TLS12, &TLS13, &TLS12, &TLS13]
        .into_iter()
        .enumerate()
        .map(|(nth, version)| {
            let client = TlsClient::speaking(&place.authority, "example.test", version);
            let client = if nth < 2 { client } else { client.forgetful() };
            let (stop, shaken) = (Arc::clone(&stop), Arc::clone(&shaken));
            Task::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.connect(to).await.expect("every handshake succeeds");
                    shaken.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=20 {
        place
            .authority
            .issue(&["example.test"])
            .write(place.path(), "web");
        gateway.reload_certificates();
        eventually(PATIENCE, || {
            match gateway.snapshot().value("tls_reloads_total") {
                Some(done) if done >= round => Ok(()),
                done => Err(done),
            }
        })
        .await;
        let goal = shaken.load(Ordering::Relaxed) + 8;
        eventually(PATIENCE, || {
            let now = shaken.load(Ordering::Relaxed);
            if now >= goal { Ok(()) } else { Err(now) }
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in churn {
        task.join().await;
    }
    assert_eq!(
        gateway.snapshot().value("tls_handshake_errors_total"),
        Some(0)
    );
}

#[tokio::test]
async fn sessions_are_resumed_by_every_worker_in_both_versions() {
    for version in [&TLS12, &TLS13] {
        let place = Place::new();
        let gateway = serve(&place.files, |_| {});
        let client =
            TlsClient::speaking(&place.authority, "example.test", version).offering(&[b"http/1.1"]);
        let counters = gateway.counters();
        for nth in 0..12 {
            let mut stream = client.connect(gateway.https()).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            let expected = if nth == 0 {
                HandshakeKind::Full
            } else {
                HandshakeKind::Resumed
            };
            assert_eq!(kind, Some(expected), "{version:?}, connection {nth}");
            // TLS 1.3 tickets come after the handshake, with the answer.
            let request =
                b"GET /healthz HTTP/1.1\r\nhost: example.test\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            within("an answer", stream.read_to_end(&mut answer))
                .await
                .unwrap();
        }
        let expected = [
            ("tls_handshakes_total", 12),
            ("tls_handshakes_full_total", 1),
            ("tls_handshakes_resumed_total", 11),
        ];
        counters.moved(&expected).await;
    }
}

#[tokio::test]
async fn the_hybrid_key_exchange_is_preferred() {
    let place = Place::new();
    let gateway = serve(&place.files, |_| {});
    let stream = place.client().connect(gateway.https()).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group();
    assert_eq!(
        group.map(|group| group.name()),
        Some(NamedGroup::X25519MLKEM768)
    );
}

#[tokio::test]
async fn a_client_without_a_protocol_in_common_is_told_so() {
    let place = Place::new();
    let gateway = serve(&place.files, |_| {});
    let counters = gateway.counters();
    let refused = place
        .client()
        .offering(&[b"spdy/3"])
        .connect(gateway.https())
        .await;
    let error = refused.unwrap_err();
    let expected = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(*cause(&error), expected);
    let without = place.client().offering(&[]).connect(gateway.https()).await;
    assert!(without.is_ok(), "ALPN is not demanded");
    let expected = [
        ("tls_handshake_errors_total", 1),
        ("tls_errors_alpn_total", 1),
    ];
    counters.complained(&expected).await;
}

#[tokio::test]
async fn only_what_is_configured_is_spoken() {
    let place = Place::new();
    let gateway = serve(&place.files, |config| {
        let tls = &mut https(config).tls;
        tls.min_version = TlsVersion::V13;
        // The client would rather have the second.
        tls.cipher_suites = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"]
            .map(str::to_owned)
            .to_vec();
        tls.key_exchanges = vec!["secp384r1".to_owned()];
    });
    let counters = gateway.counters();
    let stream = place.client().connect(gateway.https()).await.unwrap();
    let session = stream.get_ref().1;
    let suite = session.negotiated_cipher_suite().expect("one").suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let group = session.negotiated_key_exchange_group().expect("one");
    assert_eq!(group.name(), NamedGroup::secp384r1);

    let old = TlsClient::speaking(&place.authority, "example.test", &TLS12);
    let error = old.connect(gateway.https()).await.unwrap_err();
    let expected = rustls::Error::AlertReceived(AlertDescription::ProtocolVersion);
    assert_eq!(*cause(&error), expected);
    let expected = [
        ("tls_handshake_errors_total", 1),
        ("tls_errors_incompatible_total", 1),
    ];
    counters.complained(&expected).await;
}

#[tokio::test]
async fn each_failed_handshake_has_its_counter() {
    let place = Place::new();
    let gateway = serve(&place.files, |config| {
        config.limits.handshake_timeout = Span::millis(300);
    });
    let check = async |name: &str| {
        gateway.reaches(name, 1).await;
    };
    let stranger = TlsClient::new(&Authority::new("Another"), "example.test");
    stranger.connect(gateway.https()).await.unwrap_err();
    check("tls_errors_certificate_total").await;

    let mut raw = gateway.raw(gateway.https()).await;
    raw.write(&[22, 3, 1, 0, 2, 1, 0]).await;
    drop(raw);
    check("tls_errors_gone_total").await;

    let mut raw = gateway.raw(gateway.https()).await;
    raw.write(&[0; 64]).await;
    check("tls_errors_malformed_total").await;
    // It is read from for a second, longer than a handshake may take, and is no timeout for that.
    assert!(!raw.read_to_end().await.is_empty(), "the alert");

    let mut silent = gateway.raw(gateway.https()).await;
    silent.write(&[22, 3, 1]).await;
    check("tls_errors_timeout_total").await;
    check("session_close_handshake_timeout_total").await;
    gateway.reaches("tls_handshake_errors_total", 4).await;
    gateway.reaches("tls_handshakes_total", 0).await;
}

#[tokio::test]
async fn openssl_resumes_its_sessions() {
    let Some(openssl) = find_program("openssl") else {
        return;
    };
    let place = Place::new();
    let gateway = serve(&place.files, |_| {});
    let to = gateway.https().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = place.path().join(version);
        let session = session.to_str().expect("text");
        let request = "GET /healthz HTTP/1.0\r\nhost: example.test\r\n\r\n";
        let connect = async |ticket: [&str; 2]| {
            let arguments = ["s_client", "-connect", &to, "-servername", "example.test"];
            let more = [version, "-ign_eof", ticket[0], ticket[1]];
            let all: Vec<&str> = arguments.into_iter().chain(more).collect();
            let output = run_program(&openssl, &all, request).await;
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let first = connect(["-sess_out", session]).await;
        assert!(first.contains("\nNew, TLSv1."), "{version}: {first}");
        let second = connect(["-sess_in", session]).await;
        assert!(second.contains("\nReused, TLSv1."), "{version}: {second}");
    }
    // Without tickets TLS 1.2 resumes by the session's id.
    let arguments = [
        "s_client",
        "-connect",
        &to,
        "-tls1_2",
        "-no_ticket",
        "-reconnect",
    ];
    let output = run_program(&openssl, &arguments, "").await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches("\nReused, TLSv1.2").count(), 5, "{text}");
}

/// A place whose gateway asks for client certificates of an authority.
struct Guarded {
    place: Place,
    clients: Authority,
    gateway: TestGateway,
}

impl Guarded {
    fn new(demand: ClientCertificates) -> Self {
        Self::with(demand, Authority::new("Clients"), None)
    }

    /// With a list of what the authority has revoked.
    fn with(demand: ClientCertificates, clients: Authority, list: Option<String>) -> Self {
        let place = Place::new();
        let authorities = place.path().join("clients.pem");
        std::fs::write(&authorities, clients.pem()).unwrap();
        let revoked = place.path().join("clients.crl");
        if let Some(list) = &list {
            std::fs::write(&revoked, list).unwrap();
        }
        let gateway = serve(&place.files, |config| {
            let tls = &mut https(config).tls;
            tls.client_certificates = demand;
            tls.client_ca = Some(authorities);
            tls.client_crl = list.map(|_| revoked);
        });
        Self {
            place,
            clients,
            gateway,
        }
    }

    /// What a client that shows `shown` hears after its request: over TLS 1.3 a client only learns
    /// then that the server refused it.
    async fn ask(&self, client: TlsClient) -> std::io::Result<String> {
        let client = client.offering(&[b"http/1.1"]);
        let mut stream = client.connect(self.gateway.https()).await?;
        let request =
            b"GET /v1/connections HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await?;
        Ok(answer)
    }

    fn showing(&self, shown: &Issued) -> TlsClient {
        TlsClient::showing(&self.place.authority, "example.test", shown)
    }

    async fn refuses(&self, client: TlsClient, alert: AlertDescription) {
        let counters = self.gateway.counters();
        let error = self.ask(client).await.unwrap_err();
        assert_eq!(*cause(&error), rustls::Error::AlertReceived(alert));
        let expected = [
            ("tls_handshake_errors_total", 1),
            ("tls_errors_client_certificate_total", 1),
        ];
        counters.complained(&expected).await;
    }
}

#[tokio::test]
async fn a_required_client_certificate_is_checked_and_its_absence_refused() {
    let guarded = Guarded::new(ClientCertificates::Required);
    let known = guarded.clients.issue(&["sensor-7"]);
    let answer = guarded.ask(guarded.showing(&known)).await.unwrap();
    assert!(answer.contains(r#""subject":"CN=sensor-7""#), "{answer}");
    assert!(answer.contains(r#""names":["sensor-7"]"#), "{answer}");

    let alert = AlertDescription::CertificateRequired;
    guarded.refuses(guarded.place.client(), alert).await;
    let foreign = Authority::new("Foreign").issue(&["sensor-7"]);
    guarded
        .refuses(guarded.showing(&foreign), AlertDescription::UnknownCA)
        .await;
    let old = guarded.clients.issue_for(&["sensor-7"], -1);
    guarded
        .refuses(guarded.showing(&old), AlertDescription::CertificateExpired)
        .await;
}

#[tokio::test]
async fn an_optional_client_certificate_may_be_absent_but_not_wrong() {
    let guarded = Guarded::new(ClientCertificates::Optional);
    let answer = guarded.ask(guarded.place.client()).await.unwrap();
    assert!(answer.contains(r#""certificate":null"#), "{answer}");
    let foreign = Authority::new("Foreign").issue(&["sensor-7"]);
    guarded
        .refuses(guarded.showing(&foreign), AlertDescription::UnknownCA)
        .await;
}

#[tokio::test]
async fn a_revoked_client_certificate_is_refused_even_where_its_session_could_be_resumed() {
    let clients = Authority::new("Clients");
    let (kept, lost) = (clients.issue(&["kept"]), clients.issue(&["lost"]));
    let list = clients.revoke(&[&lost], 7);
    let guarded = Guarded::with(ClientCertificates::Required, clients, Some(list));
    let client = guarded.showing(&kept);
    assert!(guarded.ask(client.clone()).await.is_ok());
    assert!(guarded.ask(client.clone()).await.is_ok());
    guarded
        .gateway
        .reaches("tls_handshakes_resumed_total", 1)
        .await;
    let alert = AlertDescription::CertificateRevoked;
    guarded.refuses(guarded.showing(&lost), alert).await;

    let path = guarded.place.path().join("clients.crl");
    std::fs::write(&path, guarded.clients.revoke(&[&lost, &kept], 7)).unwrap();
    guarded.gateway.reaches("tls_reloads_total", 1).await;
    guarded.refuses(client, alert).await;
}

#[tokio::test]
async fn a_revocation_list_past_its_end_lets_nobody_in() {
    let clients = Authority::new("Clients");
    let list = clients.revoke(&[], -1);
    let guarded = Guarded::with(ClientCertificates::Required, clients, Some(list));
    let known = guarded.clients.issue(&["kept"]);
    guarded.ask(guarded.showing(&known)).await.unwrap_err();
    guarded
        .gateway
        .reaches("tls_errors_client_certificate_total", 1)
        .await;
}

#[tokio::test]
async fn whom_a_certificate_names_is_seen_by_events_routes_and_listings() {
    let place = Place::new();
    let clients = Authority::new("Clients");
    let authorities = place.path().join("clients.pem");
    std::fs::write(&authorities, clients.pem()).unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let options = GatewayOptions::new()
        .config(|config| {
            let https = https(config);
            https.certificate = Some(place.files.certificate.clone());
            https.key = Some(place.files.key.clone());
            https.tls.client_certificates = ClientCertificates::Required;
            https.tls.client_ca = Some(authorities);
        })
        .build(move |builder| {
            builder
                .on_payload("join", move |membership: &roomwire::event::Membership| {
                    let identity = membership.connection.identity();
                    let subject = identity.map_or("nobody", |it| &it.subject);
                    noted.lock().unwrap().push(subject.to_owned());
                })
                .get("/whoami", |request| async move {
                    Reply::text(request.identity().map_or("nobody", |it| &it.subject))
                })
        });
    let gateway = options.start();
    let known = clients.issue(&["sensor-7"]);
    let client = TlsClient::showing(&place.authority, "example.test", &known);

    let socket = client
        .clone()
        .offering(&[b"http/1.1"])
        .connect(gateway.https())
        .await
        .unwrap();
    let mut member = Client::websocket(Box::new(socket), gateway.https(), "/ws").await;
    member.join("lobby").await;
    let socket = client
        .offering(&[b"h2"])
        .connect(gateway.https())
        .await
        .unwrap();
    let mut http = Http::version2(Box::new(socket), gateway.https(), "https").await;
    assert_eq!(http.get("/whoami").await.text(), "CN=sensor-7");
    let mut tunnelled = http.websocket("/ws").await;
    tunnelled.join("lobby").await;
    assert_eq!(*seen.lock().unwrap(), ["CN=sensor-7"; 2]);

    let mut plain = gateway.http1().await;
    assert_eq!(plain.get("/whoami").await.text(), "nobody");
    let listing = plain.get("/v1/connections").await.json();
    let named = listing["connections"].as_array().unwrap().iter();
    let of_sensor = named
        .filter(|it| it["certificate"]["subject"] == "CN=sensor-7")
        .count();
    assert_eq!(of_sensor, 3, "two sockets and a connection: {listing}");
}
