//! The five wires, behind one enum.
//!
//! A [`Transport`] is one live connection: commands are queued into it without waiting, and all input
//! and output happens inside of [`Transport::next`], which may be dropped and called again at any
//! time. So a slow gateway can never block the side that reads, and one task is enough. What a
//! connection means beyond its own life (resuming, sending again) is the [`Client`](super::Client)'s.

use std::{io, path::Path, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    command::Command,
    event::ServerEvent,
    trust::{self, TrustError},
    url::{Scheme, ServerUrl},
};

mod http;
mod sse;
mod tcp;
mod udp;
mod websocket;

pub(super) use udp::UdpTiming;

/// The largest message, line, event or answer that a client accepts: 16 times what a gateway accepts
/// by default, so that a history of many messages fits.
pub const MAX_INCOMING_BYTES: usize = 1024 * 1024;

/// How a connection fails. The one question is whether trying again may help.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// It may: the network or the gateway had a bad moment.
    #[error("{0}")]
    Lost(String),
    /// It cannot: the other side is not what was asked for.
    #[error("{0}")]
    Refused(String),
}

impl LinkError {
    fn oversize(what: &str) -> Self {
        Self::Refused(format!(
            "the gateway sent {what} of more than {MAX_INCOMING_BYTES} bytes, which this client does \
             not accept"
        ))
    }

    fn foreign(url: &ServerUrl, problem: impl std::fmt::Display) -> Self {
        Self::Refused(format!(
            "what answers at {url} does not speak roomwire.v1 ({problem}); check the port and the kind \
             of URL"
        ))
    }
}

/// A byte stream, with or without TLS. Boxed: a client has one, and its path is not hot.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Everything that opening a connection needs.
pub(super) struct Dialer {
    url: ServerUrl,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    connect_timeout: Duration,
    udp: UdpTiming,
}

impl Dialer {
    pub(super) fn new(
        url: ServerUrl,
        ca: Option<&Path>,
        connect_timeout: Duration,
        udp: UdpTiming,
    ) -> Result<Self, TrustError> {
        let tls = if url.scheme().is_tls() {
            let name = ServerName::try_from(url.host().to_owned())
                .map_err(|error| TrustError::Setup(rustls::Error::General(error.to_string())))?;
            Some((trust::config(&url, ca)?, name))
        } else {
            None
        };
        Ok(Self {
            url,
            tls,
            connect_timeout,
            udp,
        })
    }

    pub(super) fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Opens the connection and does what comes before the first command: TLS, the WebSocket
    /// handshake, for datagrams a sign of life. HTTP connects when it has something to ask.
    pub(super) async fn connect(self: Arc<Self>) -> Result<Transport, LinkError> {
        let limit = self.connect_timeout;
        let url = self.url.clone();
        let connect = async {
            Ok(match self.url.scheme() {
                Scheme::Ws | Scheme::Wss => {
                    Transport::WebSocket(Box::new(websocket::WebSocket::connect(&self).await?))
                }
                Scheme::Tcp | Scheme::Tls => Transport::Tcp(tcp::Tcp::connect(&self).await?),
                Scheme::Udp => Transport::Udp(Box::new(udp::Udp::connect(&self).await?)),
                Scheme::Http | Scheme::Https => {
                    Transport::Http(Box::new(http::Http::connect(self).await?))
                }
            })
        };
        timeout(limit, connect).await.unwrap_or_else(|_elapsed| {
            Err(LinkError::Lost(format!("{url} did not answer in time")))
        })
    }

    /// A byte stream to the gateway, through TLS where the URL says so.
    async fn open(&self) -> Result<Box<dyn Wire>, LinkError> {
        let lost = |error: io::Error| LinkError::Lost(describe(&self.url, &error));
        let stream = TcpStream::connect((self.url.host(), self.url.port()))
            .await
            .map_err(lost)?;
        // Commands are small and each is waited for; Nagle would hold them back.
        stream.set_nodelay(true).map_err(lost)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), stream)
            .await
            .map_err(|error| match trust::explain(&self.url, &error) {
                Some(problem) => LinkError::Refused(problem),
                None => LinkError::Lost(format!("no TLS with {}: {error}", self.url.authority())),
            })?;
        Ok(Box::new(stream))
    }
}

/// What an error of the operating system means for someone who tries to reach `url`.
fn describe(url: &ServerUrl, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "nothing listens at {url}; is the gateway running (`roomwire serve`) and is this its port?"
        ),
        io::ErrorKind::UnexpectedEof => format!("{url} closed the connection"),
        _ => format!("{url}: {error}"),
    }
}

/// One live connection over one of the wires.
pub(super) enum Transport {
    Http(Box<http::Http>),
    Tcp(tcp::Tcp),
    Udp(Box<udp::Udp>),
    WebSocket(Box<websocket::WebSocket>),
}

impl Transport {
    /// Takes a command to be sent by [`next`](Self::next). The caller bounds how many are under way.
    pub(super) fn queue(&mut self, id: u64, command: &Command) {
        match self {
            Self::Http(http) => http.queue(id, command),
            Self::Tcp(tcp) => tcp.queue(&command.encode(id)),
            Self::Udp(udp) => udp.queue(id, command),
            Self::WebSocket(websocket) => websocket.queue(command.encode(id)),
        }
    }

    /// Sends what is queued and waits for the next thing the gateway says.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: all progress is kept in `self`.
    pub(super) async fn next(&mut self) -> Result<ServerEvent, LinkError> {
        match self {
            Self::Http(http) => http.next().await,
            Self::Tcp(tcp) => tcp.next().await,
            Self::Udp(udp) => udp.next().await,
            Self::WebSocket(websocket) => websocket.next().await,
        }
    }

    /// Whether the client has to find out by pings that the other side has gone silent. Datagrams
    /// have their leases to renew anyway, and server-sent events cannot be asked.
    pub(super) fn needs_pings(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::WebSocket(_))
    }

    /// Whether `hello` comes before the joins. An address that has not yet proved that it receives
    /// is nobody, so over datagrams it comes after.
    pub(super) fn greets_first(&self) -> bool {
        !matches!(self, Self::Udp(_))
    }

    /// Ends the connection as its wire asks for, within `limit`.
    pub(super) async fn close(self, limit: Duration) {
        let close = async {
            match self {
                Self::Tcp(tcp) => tcp.close().await,
                Self::WebSocket(websocket) => websocket.close().await,
                Self::Http(_) | Self::Udp(_) => {}
            }
        };
        // A gateway that does not play along is left in the middle of it.
        drop(timeout(limit, close).await);
    }
}
