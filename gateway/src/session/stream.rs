//! A byte stream that a session reads and writes: TCP, TLS over TCP, or a stream of an HTTP/2
//! connection, with bytes already read.
//!
//! hyper, h2 and the sessions all use this one type, so a connection can be looked at, handed to
//! hyper and taken back after an upgrade without boxing. Writes go straight to the socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use roomwire_certs::Identity;
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::h2_socket::H2Socket;

/// A connection's bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    transport: Transport,
    /// Read from the transport but not consumed yet; given out before anything else.
    prefix: Option<Box<Bytes>>,
    /// Told what happens, for whoever minds how long it takes.
    activity: Option<Arc<Activity>>,
}

/// What happened on a stream that somebody else drives.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Something was read since this was lowered.
    pub(crate) heard: AtomicBool,
    /// Whoever drives the stream has read what is no whole request yet.
    pub(crate) unfinished: AtomicBool,
    /// The last write found the socket full.
    pub(crate) blocked: AtomicBool,
    /// Bytes that the socket took.
    pub(crate) written: AtomicU64,
}

/// A TCP connection that counts what its peer's side of the kernel took: below TLS, whose own buffer
/// takes bytes that have not moved.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    written: u64,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, written: 0 }
    }

    /// Sends without asking the runtime whether the socket is ready: it nearly always is, and asking
    /// costs a cache line of the runtime's for each socket (2 % of a delivery, measured). A full one
    /// is left to the runtime, which tells when to try again.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => self.note(Poll::Ready(Ok(sent))),
            Err(Errno::AGAIN | Errno::INTR) => Pin::new(self).poll_write(cx, bytes),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn note(&mut self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &wrote {
            self.written += *bytes as u64;
        }
        wrote
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note(wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[derive(Debug)]
enum Transport {
    Tcp(Socket),
    Tls(Box<TlsStream<Socket>>),
    Http2(Box<H2Socket>),
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self {
            transport: Transport::Tcp(Socket::new(stream)),
            prefix: None,
            activity: None,
        }
    }

    pub(crate) fn tls(stream: TlsStream<Socket>) -> Self {
        Self {
            transport: Transport::Tls(Box::new(stream)),
            prefix: None,
            activity: None,
        }
    }

    pub(crate) fn http2(stream: H2Socket) -> Self {
        Self {
            transport: Transport::Http2(Box::new(stream)),
            prefix: None,
            activity: None,
        }
    }

    /// Puts bytes back so that they are read first.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        let bytes = match self.prefix.take() {
            None => bytes,
            Some(later) => [&bytes[..], &later[..]].concat().into(),
        };
        self.prefix = (!bytes.is_empty()).then(|| Box::new(bytes));
    }

    /// Whether what is written is encrypted first.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Reports to `activity` from here on.
    pub(crate) fn report_to(&mut self, activity: Option<Arc<Activity>>) {
        self.activity = activity;
    }

    /// Whom the client's certificate names, where it was asked for one and showed it.
    pub(crate) fn identity(&self) -> Option<Arc<Identity>> {
        let Transport::Tls(stream) = &self.transport else {
            return None;
        };
        let chain = stream.get_ref().1.peer_certificates()?;
        Identity::of(chain).map(Arc::new)
    }

    /// The TCP connection below.
    fn socket(&self) -> Option<&TcpStream> {
        match &self.transport {
            Transport::Tcp(socket) => Some(&socket.stream),
            Transport::Tls(stream) => Some(&stream.get_ref().0.stream),
            Transport::Http2(_) => None,
        }
    }

    /// The TCP connection, where it carries what is read and written as it is, and nothing was read
    /// ahead.
    pub(crate) fn as_plain(&self) -> Option<&TcpStream> {
        match &self.transport {
            Transport::Tcp(socket) if self.prefix.is_none() => Some(&socket.stream),
            Transport::Tcp(_) | Transport::Tls(_) | Transport::Http2(_) => None,
        }
    }

    /// The address that the peer connected to.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket()?.local_addr().ok()
    }

    /// Has the connection end by a reset when it is dropped, as for one whose other end was.
    pub(crate) fn reset_on_close(&self) {
        if let Some(socket) = self.socket()
            && let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "a reset is passed on as an end");
        }
    }

    /// Bytes that left for the peer so far.
    pub(crate) fn written(&self) -> u64 {
        match &self.transport {
            Transport::Tcp(socket) => socket.written,
            Transport::Tls(stream) => stream.get_ref().0.written,
            Transport::Http2(stream) => stream.written(),
        }
    }

    /// Whether all that was written still arrives, and the end as an end, when this is dropped without
    /// a shutdown. TLS has to say that it ends (RFC 8446 §6.1), and h2 resets a stream that does not.
    pub(crate) fn ends_when_dropped(&self) -> bool {
        matches!(self.transport, Transport::Tcp(_))
    }

    fn note<T>(&self, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Some(activity) = &self.activity {
            activity
                .blocked
                .store(wrote.is_pending(), Ordering::Relaxed);
            activity.written.store(self.written(), Ordering::Relaxed);
        }
        wrote
    }

    /// Writes what a worker sends of its own, in a turn that bounds how much that is. Tasks write by
    /// `poll_write`, for which the runtime sees to it that they take turns.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Tcp(socket) => socket.poll_send(cx, bytes),
            Transport::Tls(_) | Transport::Http2(_) => Pin::new(self).poll_write(cx, bytes),
        }
    }

    /// Reads into `buffer`; `Ok(0)` is the end of the stream.
    pub(crate) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Some(prefix) = &mut this.prefix {
            let taken = prefix.len().min(buffer.remaining());
            buffer.put_slice(&prefix.split_to(taken));
            if prefix.is_empty() {
                this.prefix = None;
            }
        } else {
            ready!(match &mut this.transport {
                Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
                Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
                Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            })?;
        }
        if let Some(activity) = this
            .activity
            .as_ref()
            .filter(|_| buffer.filled().len() > before)
        {
            activity.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        };
        this.note(wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        };
        this.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wrote = match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        };
        this.note(wrote)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
