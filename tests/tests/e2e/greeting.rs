//! What comes before a handler's first byte: TLS on listeners that speak no HTTP, and ports that tell
//! TLS, HTTP and lines apart.

use std::io;
use std::net::SocketAddr;

use roomwire::config::{
    ClientCertificates, Config, Handler, ListenerConfig, Protocol, Span, Upstream, default_routes,
};
use roomwire_protocols::proxy_header::{self, Addresses, Version};
use roomwire_tests::{
    Authority, Client, Http, Raw, Task, TestGateway, TlsClient, find_program, run_program, within,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A certificate for `door.test` and who trusts it.
struct Place {
    authority: Authority,
    door: ListenerConfig,
    directory: tempfile::TempDir,
}

impl Place {
    fn new(protocol: Protocol, handler: Handler) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("Test");
        let files = authority
            .issue(&["door.test"])
            .write(directory.path(), "door");
        let mut door =
            ListenerConfig::new("door", protocol, ([127, 0, 0, 1], 0).into()).with_handler(handler);
        door.certificate = Some(files.certificate);
        door.key = Some(files.key);
        Self {
            authority,
            door,
            directory,
        }
    }

    /// One whose listener tells apart what comes.
    fn detecting(protocol: Protocol, handler: Handler) -> Self {
        let mut place = Self::new(protocol, handler);
        place.door.detect = true;
        place.door.routes = default_routes();
        place
    }

    fn start(&self, change: impl FnOnce(&mut Config)) -> TestGateway {
        TestGateway::with(|config| {
            config.listeners.push(self.door.clone());
            change(config);
        })
    }

    /// A client that offers no protocol by ALPN, as those of plain TLS do.
    fn client(&self) -> TlsClient {
        TlsClient::new(&self.authority, "door.test").offering(&[])
    }

    async fn raw(&self, gateway: &TestGateway) -> Raw {
        Raw::new(Box::new(self.client().connect(at(gateway)).await.unwrap()))
    }
}

fn at(gateway: &TestGateway) -> SocketAddr {
    gateway.address("door").expect("it listens")
}

async fn plain(gateway: &TestGateway) -> TcpStream {
    within("a connection", TcpStream::connect(at(gateway)))
        .await
        .unwrap()
}

/// Megabytes out and back, and the ends of both sides.
async fn echoes_megabytes(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
) {
    const LENGTH: usize = 8 << 20;
    let sent: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let expected = sent.clone();
    let write = Task::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut came = Vec::new();
    within("the echo", reader.read_to_end(&mut came))
        .await
        .unwrap();
    assert!(came == expected, "{} bytes", came.len());
    within("the writer", write.join()).await;
}

#[tokio::test]
async fn rooms_speak_the_same_words_over_tls() {
    let place = Place::new(Protocol::Tls, Handler::Rooms);
    let gateway = place.start(|_| {});
    let counters = gateway.counters();
    let stream = place.client().connect(at(&gateway)).await.unwrap();
    let mut client = Client::lines_on(Box::new(stream));
    client.join("den").await;
    let mut person = place.raw(&gateway).await;
    person.write(b"/join den\n").await;
    assert!(!person.read(1).await.is_empty());
    let mut other = gateway.lines().await;
    other.join("den").await;
    other.publish("den", r#""hi""#).await;
    assert_eq!(client.message().await.data, r#""hi""#);
    counters
        .moved(&[
            ("tls_handshakes_total", 2),
            ("tls_handshakes_full_total", 2),
        ])
        .await;
}

#[tokio::test]
async fn an_echo_over_tls_gives_back_megabytes_and_the_end() {
    let place = Place::new(Protocol::Tls, Handler::Echo);
    let gateway = place.start(|_| {});
    let counters = gateway.counters();
    echoes_megabytes(place.client().connect(at(&gateway)).await.unwrap()).await;
    counters.moved(&[("session_close_ended_total", 1)]).await;
}

#[tokio::test]
async fn a_proxy_takes_tls_off() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut place = Place::new(Protocol::Tls, Handler::Proxy);
    place.door.proxy.upstreams = vec![Upstream::from(upstream.local_addr().unwrap())];
    let gateway = place.start(|_| {});
    let echo = Task::spawn(async move {
        let (mut stream, _) = upstream.accept().await.unwrap();
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    echoes_megabytes(place.client().connect(at(&gateway)).await.unwrap()).await;
    within("the upstream", echo.join()).await;
}

#[tokio::test]
async fn a_program_speaks_over_tls() {
    let mut place = Place::new(Protocol::Tls, Handler::Exec);
    place.door.exec.command = vec!["cat".to_owned()];
    let gateway = place.start(|_| {});
    let mut raw = place.raw(&gateway).await;
    raw.write(b"a line\n").await;
    assert_eq!(raw.read(7).await, b"a line\n");
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, b"");
}

#[tokio::test]
async fn clients_of_a_tls_listener_show_certificates_where_they_must() {
    let mut place = Place::new(Protocol::Tls, Handler::Echo);
    let ca = place.directory.path().join("clients.pem");
    std::fs::write(&ca, place.authority.pem()).unwrap();
    place.door.tls.client_certificates = ClientCertificates::Required;
    place.door.tls.client_ca = Some(ca);
    let gateway = place.start(|_| {});
    let counters = gateway.counters();
    let mut refused = place.raw(&gateway).await;
    refused.try_write(b"hello").await.ok();
    assert_eq!(refused.read_to_end().await, b"");
    let shown = place.authority.issue(&["device-7.test"]);
    let client = TlsClient::showing(&place.authority, "door.test", &shown).offering(&[]);
    let mut raw = Raw::new(Box::new(client.connect(at(&gateway)).await.unwrap()));
    raw.write(b"hello").await;
    assert_eq!(raw.read(5).await, b"hello");
    let listed = gateway.http1().await.get("/v1/connections").await.json();
    let listed = listed["connections"].to_string();
    assert!(listed.contains("device-7.test"), "{listed}");
    counters
        .complained(&[
            ("tls_handshake_errors_total", 1),
            ("tls_errors_client_certificate_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn who_speaks_no_tls_to_a_tls_listener_is_refused_and_counted() {
    let place = Place::new(Protocol::Tls, Handler::Rooms);
    let gateway = place.start(|_| {});
    let counters = gateway.counters();
    let mut raw = Raw::new(Box::new(plain(&gateway).await));
    raw.write(b"{\"type\":\"ping\"}\n").await;
    // A TLS alert, whose content type is 21.
    assert_eq!(raw.read_to_end().await.first(), Some(&21));
    counters
        .complained(&[
            ("tls_handshake_errors_total", 1),
            ("tls_errors_malformed_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn one_port_serves_tls_http_and_lines() {
    let place = Place::detecting(Protocol::Tcp, Handler::Rooms);
    let gateway = place.start(|_| {});
    let counters = gateway.counters();
    let (door, tls) = (at(&gateway), place.client());
    let boxed = async || Box::new(plain(&gateway).await);
    let secure = async |protocols: &[&[u8]]| {
        let client = tls.clone().offering(protocols);
        Box::new(client.connect(door).await.unwrap())
    };
    let mut members = vec![
        Client::lines_on(boxed().await),
        Client::lines_on(secure(&[]).await),
        Client::websocket(boxed().await, door, "/ws").await,
        Client::websocket(secure(&[b"http/1.1"]).await, door, "/ws").await,
        Client::websocket(secure(&[]).await, door, "/ws").await,
    ];
    for member in &mut members {
        member.join("den").await;
    }
    let mut person = Raw::new(boxed().await);
    person.write(b"GETTING late\n").await;
    person.write(b"/join den\n").await;
    let mut clients = [
        (Http::version1(boxed().await, door, "http").await, "http/1"),
        (Http::version2(boxed().await, door, "http").await, "http/2"),
        (
            Http::version1(secure(&[b"http/1.1"]).await, door, "https").await,
            "https/1",
        ),
        (
            Http::version2(secure(&[b"h2"]).await, door, "https").await,
            "https/2",
        ),
    ];
    for (http, name) in &mut clients {
        let answer = http.publish("den", &format!("{name:?}"), "").await;
        assert_eq!(answer.status, 201, "{name}");
        for member in &mut members {
            assert_eq!(member.message().await.data, format!("{name:?}"));
        }
    }
    counters
        .moved(&[
            ("listener_detected_tls_total", 5),
            ("listener_detected_http_total", 7),
        ])
        .await;
}

#[tokio::test]
async fn behind_tls_a_port_can_tell_http_and_lines_apart() {
    let place = Place::detecting(Protocol::Tls, Handler::Echo);
    let gateway = place.start(|_| {});
    let client = place.client().offering(&[b"http/1.1"]);
    let stream = client.connect(at(&gateway)).await.unwrap();
    let mut http = Http::version1(Box::new(stream), at(&gateway), "https").await;
    assert_eq!(http.get("/healthz").await.status, 200);
    let mut raw = place.raw(&gateway).await;
    raw.write(b"\0\x01\x02").await;
    assert_eq!(raw.read(3).await, b"\0\x01\x02");
}

#[tokio::test]
async fn words_that_only_begin_like_a_request_come_to_the_handler_whole() {
    let place = Place::detecting(Protocol::Tcp, Handler::Echo);
    let gateway = place.start(|_| {});
    for words in [
        "G",
        "GET",
        "GET me a beer",
        "POSTS",
        "PRI",
        "{",
        "\n",
        "CONNECT",
    ] {
        let mut raw = Raw::new(Box::new(plain(&gateway).await));
        for byte in words.as_bytes() {
            raw.write(&[*byte]).await;
        }
        raw.shutdown().await;
        assert_eq!(raw.read_to_end().await, words.as_bytes(), "{words}");
    }
}

#[tokio::test]
async fn what_cannot_be_told_apart_in_time_is_closed_for_it() {
    let place = Place::detecting(Protocol::Tcp, Handler::Rooms);
    let gateway = place.start(|config| {
        config.limits.handshake_timeout = Span::millis(200);
    });
    let counters = gateway.counters();
    for words in [&b""[..], b"GE", b"\x16\x03\x01"] {
        let mut raw = Raw::new(Box::new(plain(&gateway).await));
        raw.write(words).await;
        raw.read_to_end().await;
    }
    counters
        .complained(&[
            ("session_close_handshake_timeout_total", 3),
            ("tls_handshake_errors_total", 1),
            ("tls_errors_timeout_total", 1),
        ])
        .await;
}

#[tokio::test]
async fn a_proxys_word_comes_before_tls_and_detection() {
    let mut place = Place::detecting(Protocol::Tcp, Handler::Echo);
    place.door.accept.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
    let gateway = place.start(|_| {});
    let mut header = Vec::new();
    let addresses = Addresses {
        source: "192.0.2.9:77".parse().unwrap(),
        destination: "192.0.2.1:443".parse().unwrap(),
    };
    proxy_header::encode(&mut header, Version::V2, &addresses);
    let mut stream = plain(&gateway).await;
    stream.write_all(&header).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    within("an echo", stream.read_exact(&mut echoed))
        .await
        .unwrap();
    let listed = gateway.http1().await.get("/v1/connections").await.json();
    assert!(listed.to_string().contains("192.0.2.9:77"), "{listed}");
}

#[tokio::test]
async fn an_echo_over_tls_that_nobody_reads_is_not_read_from_and_ends_in_time() {
    let place = Place::new(Protocol::Tls, Handler::Echo);
    let gateway = place.start(|config| {
        config.limits.write_timeout = Span::millis(300);
    });
    let counters = gateway.counters();
    let mut stream = place.client().connect(at(&gateway)).await.unwrap();
    let block = vec![7; 1 << 20];
    let written = within("the end", async {
        let mut written = 0;
        loop {
            let wrote: io::Result<usize> = stream.write(&block).await;
            match wrote {
                Ok(count) => written += count,
                Err(_) => return written,
            }
        }
    })
    .await;
    assert!(written < 64 << 20, "{written}");
    counters
        .moved(&[("session_close_write_timeout_total", 1)])
        .await;
    assert!(counters.delta("sessions_paused_total") > 0);
}

#[tokio::test]
async fn openssl_and_curl_find_what_they_ask_for_on_one_port() {
    let place = Place::detecting(Protocol::Tcp, Handler::Rooms);
    let gateway = place.start(|_| {});
    let ca = place.directory.path().join("ca.pem");
    std::fs::write(&ca, place.authority.pem()).unwrap();
    let (ca, to) = (ca.display().to_string(), at(&gateway));
    if let Some(curl) = find_program("curl") {
        let resolve = format!("door.test:{}:127.0.0.1", to.port());
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://door.test:{}/healthz", to.port());
            let arguments = ["-sS", "--cacert", &ca, "--resolve", &resolve, &url];
            let output = run_program(&curl, &arguments, "").await;
            assert!(output.status.success(), "{output:?}");
        }
    }
    if let Some(openssl) = find_program("openssl") {
        let to = to.to_string();
        let arguments = [
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-verify_quiet",
            "-CAfile",
            &ca,
            "-servername",
            "door.test",
            "-connect",
            &to,
        ];
        let output = within(
            "openssl",
            run_program(&openssl, &arguments, "/help\n/quit\n"),
        )
        .await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("/join"), "{output:?}");
    }
}

#[tokio::test]
async fn a_port_that_detects_needs_no_certificate_files() {
    let mut door = ListenerConfig::new("door", Protocol::Tcp, ([127, 0, 0, 1], 0).into())
        .with_handler(Handler::Echo);
    door.detect = true;
    door.routes = default_routes();
    let gateway = TestGateway::with(|config| config.listeners.push(door));
    let mut raw = Raw::new(Box::new(plain(&gateway).await));
    raw.write(b"hello").await;
    assert_eq!(raw.read(5).await, b"hello");
    assert!(gateway.development_ca().is_some());
}
