//! `[[listener]]`: an address, the protocol spoken there, and what answers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::accept::AcceptConfig;
use super::exec::ExecConfig;
use super::framing::Framing;
use super::host::{HostConfig, UnknownHost};
use super::proxy::ProxyConfig;
use super::route::Route;
use super::setting::{Visitor, words};
use super::tls::{CertificateConfig, TlsConfig};
use super::udp::UdpConfig;

words! {
    /// What is spoken on a listener.
    pub enum Protocol {
        /// Lines over TCP: JSON, or plain chat for people.
        Tcp = "tcp",
        /// The same over TLS.
        Tls = "tls",
        /// Datagrams.
        Udp = "udp",
        /// HTTP/1.1, HTTP/2 with prior knowledge, and WebSocket.
        Http = "http",
        /// The same over TLS.
        Https = "https",
    }
}

words! {
    /// What answers on a listener.
    pub enum Handler {
        /// The rooms.
        Rooms = "rooms",
        /// Sends back what comes.
        Echo = "echo",
        /// Takes what comes and says nothing.
        Discard = "discard",
        /// Joins the client with an upstream.
        Proxy = "proxy",
        /// Lends the client a program.
        Exec = "exec",
        /// Pages, API, WebSocket and the other routes.
        Http = "http",
    }
}

/// An address, the protocol spoken there, and what answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Name in messages and counters: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    #[schemars(regex(pattern = "^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// What is spoken: `tcp`, `tls` (the same over TLS), `udp`, `http` or `https`.
    pub protocol: Protocol,
    /// Address and port, as `127.0.0.1:7000` or `[::1]:7000`; port 0 takes a free one.
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// What answers: `rooms`, `echo`, `discard` or `proxy` over TCP, TLS and UDP (default `rooms`),
    /// `exec` over TCP and TLS, `http` over HTTP and HTTPS.
    #[schemars(with = "Option<Handler>")]
    pub handler: Handler,
    /// Whether a `tcp` or `tls` listener also serves who begins with TLS or a request of HTTP.
    /// Default false.
    #[schemars(default)]
    pub detect: bool,
    /// Paths of an HTTP listener and what answers there, added to `/ws` for rooms and `/echo` for
    /// echo.
    #[schemars(default)]
    pub routes: BTreeMap<String, Route>,
    /// Sites that are chosen by the name a client asks for, with routes of their own.
    #[schemars(default)]
    pub hosts: Vec<HostConfig>,
    /// What is answered to names that none of the hosts has: `serve`, by the routes above, or `refuse`.
    /// Default `serve`.
    #[schemars(default)]
    pub unknown_host: UnknownHost,
    /// Name of the HTTPS listener that clients of this HTTP listener are sent to, with the same path
    /// and query. Default: they are served.
    pub redirect: Option<String>,
    /// The port that they are sent to, where it is another than that listener's own, as behind a
    /// translation of addresses. Default 0, which is its own, from 0 to 65535.
    #[schemars(default)]
    pub redirect_port: usize,
    /// PEM file with the certificate chain of a listener with TLS, for clients that ask for none of
    /// the names there are. Default: the first of `certificates`, else the development one.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
    /// Further certificates of a listener with TLS, chosen by the name that a client asks for.
    #[schemars(default)]
    pub certificates: Vec<CertificateConfig>,
    /// What a listener with TLS speaks, and whether its clients have certificates.
    #[schemars(default)]
    pub tls: TlsConfig,
    /// How connections are accepted and how long they may last.
    #[serde(flatten)]
    pub accept: AcceptConfig,
    /// How messages are told apart in what an `echo` or `discard` over TCP gets: `lines`, `u16`,
    /// `u16-le`, `u32`, `u32-le`, `fixed:BYTES` or `delimiter:TEXT`; each has at most
    /// `limits.max_message`. Default: there are no messages, only bytes.
    #[schemars(with = "Option<String>")]
    pub framing: Option<Framing>,
    /// What holds for the datagrams of a UDP listener.
    #[schemars(default)]
    pub udp: UdpConfig,
    /// Where connections go whose handler is `proxy`.
    #[schemars(default)]
    pub proxy: ProxyConfig,
    /// The program behind a listener whose handler is `exec`.
    #[schemars(default)]
    pub exec: ExecConfig,
}

impl ListenerConfig {
    /// A listener with the defaults of its protocol.
    pub fn new(name: impl Into<String>, protocol: Protocol, bind: SocketAddr) -> Self {
        let routes = if protocol.is_http() {
            default_routes()
        } else {
            BTreeMap::new()
        };
        Self {
            name: name.into(),
            protocol,
            bind,
            handler: protocol.default_handler(),
            detect: false,
            routes,
            hosts: Vec::new(),
            unknown_host: UnknownHost::Serve,
            redirect: None,
            redirect_port: 0,
            certificate: None,
            key: None,
            certificates: Vec::new(),
            tls: TlsConfig::default(),
            accept: AcceptConfig::default(),
            framing: None,
            udp: UdpConfig::default(),
            proxy: ProxyConfig::default(),
            exec: ExecConfig::default(),
        }
    }

    /// The same listener with another handler.
    #[must_use]
    pub fn with_handler(mut self, handler: Handler) -> Self {
        self.handler = handler;
        self
    }

    /// What listens where nothing is configured: loopback only.
    pub fn defaults() -> Vec<Self> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        vec![
            Self::new("rooms", Protocol::Tcp, at(7000)),
            Self::new("rooms-udp", Protocol::Udp, at(7000)),
            Self::new("echo", Protocol::Tcp, at(7007)).with_handler(Handler::Echo),
            Self::new("echo-udp", Protocol::Udp, at(7007)).with_handler(Handler::Echo),
            Self::new("http", Protocol::Http, at(8080)),
            Self::new("https", Protocol::Https, at(8443)),
        ]
    }

    /// Takes over the keys of [`visit`](Self::visit).
    pub(super) fn with_settings(mut self, settings: Self) -> Self {
        let Self {
            accept,
            detect,
            exec,
            framing,
            proxy,
            redirect,
            redirect_port,
            tls,
            udp,
            unknown_host,
            ..
        } = settings;
        if detect {
            for (path, route) in default_routes() {
                self.routes.entry(path).or_insert(route);
            }
        }
        Self {
            accept,
            detect,
            exec,
            framing,
            proxy,
            redirect,
            redirect_port,
            tls,
            udp,
            unknown_host,
            ..self
        }
    }

    /// Walks over the keys whose defaults are the same for every protocol.
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        self.accept.visit(visitor);
        visitor.setting("detect", &mut self.detect);
        visitor.setting("unknown_host", &mut self.unknown_host);
        visitor.setting("redirect", &mut self.redirect);
        visitor.bounded("redirect_port", &mut self.redirect_port, 0, 65_535);
        visitor.table("tls", |visitor| self.tls.visit(visitor));
        visitor.setting("framing", &mut self.framing);
        visitor.table("udp", |visitor| self.udp.visit(visitor));
        visitor.table("proxy", |visitor| self.proxy.visit(visitor));
        visitor.table("exec", |visitor| self.exec.visit(visitor));
    }

    /// Whether connections may begin with TLS.
    pub fn speaks_tls(&self) -> bool {
        self.detect || matches!(self.protocol, Protocol::Https | Protocol::Tls)
    }

    /// Whether connections may carry HTTP.
    pub fn speaks_http(&self) -> bool {
        self.detect || self.protocol.is_http()
    }

    /// The routes of the listener and of each of its hosts.
    pub fn sites(&self) -> impl Iterator<Item = &BTreeMap<String, Route>> {
        let hosts = self.hosts.iter().map(|host| &host.routes);
        std::iter::once(&self.routes).chain(hosts)
    }

    /// Whether only this machine reaches the address.
    pub fn is_loopback(&self) -> bool {
        self.bind.ip().to_canonical().is_loopback()
    }
}

impl Protocol {
    /// Whether HTTP is spoken, with or without TLS.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Whether a stream of bytes is spoken that is no HTTP, with or without TLS.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// What answers where no handler is configured.
    pub const fn default_handler(self) -> Handler {
        if self.is_http() {
            Handler::Http
        } else {
            Handler::Rooms
        }
    }

    /// What can answer.
    pub const fn handlers(self) -> &'static [Handler] {
        match self {
            Self::Http | Self::Https => &[Handler::Http],
            Self::Tcp | Self::Tls => &[
                Handler::Rooms,
                Handler::Echo,
                Handler::Discard,
                Handler::Proxy,
                Handler::Exec,
            ],
            Self::Udp => &[
                Handler::Rooms,
                Handler::Echo,
                Handler::Discard,
                Handler::Proxy,
            ],
        }
    }
}

/// The WebSocket paths of an HTTP listener where nothing is configured.
pub fn default_routes() -> BTreeMap<String, Route> {
    BTreeMap::from([
        ("/echo".to_owned(), Route::Echo),
        ("/ws".to_owned(), Route::Rooms),
    ])
}
