//! A gateway in the test's own process.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roomwire::config::{Config, Handler, Protocol};
use roomwire::{Builder, Drained, Gateway, Phase, StartError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Client, Frames, Http, Person, Raw, Socket};
use crate::counter::Counters;
use crate::patience::{PATIENCE, eventually, within};

/// Workers, where a test does not say otherwise: enough for messages to cross from one to another.
const WORKERS: usize = 2;

/// What a gateway under test is made with.
pub struct GatewayOptions {
    builder: Builder,
    directory: TempDir,
}

impl fmt::Debug for GatewayOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayOptions").finish_non_exhaustive()
    }
}

impl GatewayOptions {
    /// A listener of each kind on a free port, and two workers.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let data_dir = directory.path().to_owned();
        let builder = Gateway::builder()
            .workers(WORKERS)
            .listen("rooms", Protocol::Tcp, any, Handler::Rooms)
            .listen("rooms-udp", Protocol::Udp, any, Handler::Rooms)
            .listen("echo", Protocol::Tcp, any, Handler::Echo)
            .listen("echo-udp", Protocol::Udp, any, Handler::Echo)
            .listen("discard", Protocol::Tcp, any, Handler::Discard)
            .listen("http", Protocol::Http, any, Handler::Http)
            .listen("https", Protocol::Https, any, Handler::Http)
            .configure(|config| config.gateway.data_dir = Some(data_dir));
        Self { builder, directory }
    }

    /// Changes the configuration.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        self.builder = self.builder.configure(change);
        self
    }

    /// Adds what an embedding program adds: event listeners and routes.
    #[must_use]
    pub fn build(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Starts it.
    pub fn start(self) -> TestGateway {
        self.try_start().expect("the gateway starts")
    }

    /// Starts it, or says why it does not start.
    ///
    /// # Errors
    ///
    /// What the gateway said.
    pub fn try_start(self) -> Result<TestGateway, StartError> {
        let gateway = self.builder.start()?;
        Ok(TestGateway {
            gateway: Arc::new(gateway),
            directory: self.directory,
        })
    }
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A gateway that serves until this is dropped.
#[derive(Debug)]
pub struct TestGateway {
    gateway: Arc<Gateway>,
    directory: TempDir,
}

impl Deref for TestGateway {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl TestGateway {
    /// A gateway with defaults.
    pub fn start() -> Self {
        GatewayOptions::new().start()
    }

    /// A gateway whose configuration is changed first.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        GatewayOptions::new().config(change).start()
    }

    fn at(&self, listener: &str) -> SocketAddr {
        let address = self.address(listener);
        address.unwrap_or_else(|| panic!("no listener {listener}"))
    }

    /// Rooms over TCP.
    pub fn tcp(&self) -> SocketAddr {
        self.at("rooms")
    }

    /// Rooms over UDP.
    pub fn udp(&self) -> SocketAddr {
        self.at("rooms-udp")
    }

    /// Echo over TCP.
    pub fn echo(&self) -> SocketAddr {
        self.at("echo")
    }

    /// Echo over UDP.
    pub fn echo_udp(&self) -> SocketAddr {
        self.at("echo-udp")
    }

    /// HTTP and WebSocket.
    pub fn http(&self) -> SocketAddr {
        self.at("http")
    }

    /// The same over TLS.
    pub fn https(&self) -> SocketAddr {
        self.at("https")
    }

    /// A directory that vanishes with the gateway.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `roomwire.v1` over TCP.
    pub async fn lines(&self) -> Client {
        Client::lines(self.tcp()).await
    }

    /// `roomwire.v1` over WebSocket.
    pub async fn websocket(&self) -> Client {
        Client::websocket(connect(self.http()).await, self.http(), "/ws").await
    }

    /// `roomwire.v1` over WebSocket and TLS.
    pub async fn websocket_tls(&self) -> Client {
        Client::websocket(self.tls(b"http/1.1").await, self.https(), "/ws").await
    }

    /// `roomwire.v1` over WebSocket as a stream of HTTP/2.
    pub async fn websocket_http2(&self) -> Client {
        self.http2().await.websocket("/ws").await
    }

    /// `roomwire.v1` over UDP.
    pub async fn datagrams(&self) -> Client {
        Client::datagrams(self.udp()).await
    }

    /// A person with `nc`.
    pub async fn person(&self) -> Person {
        Person::connect(self.tcp()).await
    }

    /// HTTP/1.1.
    pub async fn http1(&self) -> Http {
        Http::version1(connect(self.http()).await, self.http(), "http").await
    }

    /// HTTP/1.1 to a listener of the test's own.
    pub async fn http1_at(&self, listener: &str) -> Http {
        let mut to = self.at(listener);
        if to.ip().is_unspecified() {
            to.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        Http::version1(connect(to).await, to, "http").await
    }

    /// HTTP/2 with prior knowledge.
    pub async fn http2(&self) -> Http {
        Http::version2(connect(self.http()).await, self.http(), "http").await
    }

    /// HTTP/1.1 over TLS.
    pub async fn https1(&self) -> Http {
        Http::version1(self.tls(b"http/1.1").await, self.https(), "https").await
    }

    /// HTTP/2 over TLS.
    pub async fn https2(&self) -> Http {
        Http::version2(self.tls(b"h2").await, self.https(), "https").await
    }

    /// Bytes to a listener, as they are.
    pub async fn raw(&self, to: SocketAddr) -> Raw {
        Raw::new(connect(to).await)
    }

    /// HTTP/2 of which the test writes every frame, with prior knowledge or over TLS; `settings` are
    /// said with the preface.
    pub async fn frames(&self, tls: bool, settings: &[u8]) -> Frames {
        let socket = if tls {
            self.tls(b"h2").await
        } else {
            connect(self.http()).await
        };
        Frames::open(socket, settings).await
    }

    /// A WebSocket of which the test writes the frames.
    pub async fn raw_websocket(&self) -> Raw {
        let mut raw = self.raw(self.http()).await;
        raw.upgrade("/ws").await;
        raw
    }

    /// A TLS connection that trusts the gateway's development CA and nothing else.
    pub async fn tls(&self, protocol: &[u8]) -> Socket {
        let mut roots = rustls::RootCertStore::empty();
        let ca = self.development_ca().expect("https uses a development CA");
        let ca = CertificateDer::from_pem_file(ca).expect("the CA is PEM");
        roots.add(ca).expect("the CA is a certificate");
        let provider = Arc::new(roomwire_certs::provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TcpStream::connect(self.https()).await.expect("it listens");
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within("a TLS handshake", connector.connect(name, stream)).await;
        let stream = stream.expect("the certificate is trusted");
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed, Some(protocol), "ALPN");
        Box::new(stream)
    }

    /// The figures as they are now, to compare with later.
    pub fn counters(&self) -> Counters<'_> {
        Counters::of(self)
    }

    /// The same once every worker has published what it counted before. Takes two of an idle
    /// worker's turns, a fifth of a second.
    pub async fn settled_counters(&self) -> Counters<'_> {
        let publications = || -> Vec<u64> {
            let lanes = self.snapshot().lanes;
            let workers = lanes.iter().filter(|lane| lane.worker.is_some());
            workers.map(|lane| lane.publications).collect()
        };
        let before = publications();
        // The first publication may have been under way, the second holds all of it.
        eventually(PATIENCE, || {
            let now = publications();
            let moved = now
                .iter()
                .zip(&before)
                .all(|(now, before)| *now >= before + 2);
            if moved { Ok(()) } else { Err(now) }
        })
        .await;
        self.counters()
    }

    /// Waits until a figure has this value.
    pub async fn reaches(&self, figure: &str, value: u64) {
        self.reaches_in(PATIENCE, figure, value).await;
    }

    /// Waits for a figure's value for so long at most.
    pub async fn reaches_in(&self, deadline: Duration, figure: &str, value: u64) {
        eventually(deadline, || match self.snapshot().value(figure) {
            Some(now) if now == value => Ok(()),
            now => Err(format!("{figure} is {now:?}, expected {value}")),
        })
        .await;
    }

    /// Waits until a room has so many members.
    pub async fn has_members(&self, room: &str, count: u64) {
        let mut http = self.http1().await;
        let path = format!("/v1/rooms/{room}/members");
        loop {
            let answer = http.get(&path).await;
            if answer.status == 200 && answer.json()["member_count"] == count {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Shuts down on a thread of its own, while the test's clients go on.
    pub async fn drain(&self) -> Drained {
        let gateway = Arc::clone(&self.gateway);
        let drained = tokio::task::spawn_blocking(move || gateway.shutdown());
        let drained = within("a shutdown", drained).await.expect("no panic");
        assert_eq!(self.phase(), Phase::Stopped);
        drained
    }
}

pub(crate) async fn connect(to: SocketAddr) -> Socket {
    let stream = within("a connection", TcpStream::connect(to)).await;
    let stream = stream.unwrap_or_else(|error| panic!("{to}: {error}"));
    stream.set_nodelay(true).expect("a socket option");
    Box::new(stream)
}
