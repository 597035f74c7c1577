//! A byte stream that a session reads and writes: TCP, TLS over TCP, or a stream of an HTTP/2
//! connection, with bytes already read.
//!
//! hyper, h2 and the sessions all use this one type, so a connection can be looked at, handed to
//! hyper and taken back after an upgrade without boxing. Writes go straight to the socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::h2_socket::H2Socket;

/// A connection's bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    transport: Transport,
    /// Read from the transport but not consumed yet; given out before anything else.
    prefix: Bytes,
    /// Raised by every read that brought something, for whoever minds how long a head takes.
    heard: Option<Arc<AtomicBool>>,
}

#[derive(Debug)]
enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Http2(Box<H2Socket>),
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self {
            transport: Transport::Tcp(stream),
            prefix: Bytes::new(),
            heard: None,
        }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self {
            transport: Transport::Tls(Box::new(stream)),
            prefix: Bytes::new(),
            heard: None,
        }
    }

    pub(crate) fn http2(stream: H2Socket) -> Self {
        Self {
            transport: Transport::Http2(Box::new(stream)),
            prefix: Bytes::new(),
            heard: None,
        }
    }

    /// Puts bytes back so that they are read first.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        debug_assert!(self.prefix.is_empty(), "only one prefix is kept");
        self.prefix = bytes;
    }

    /// Raises `heard` with every read from here on.
    pub(crate) fn report_to(&mut self, heard: Option<Arc<AtomicBool>>) {
        self.heard = heard;
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
        if this.prefix.is_empty() {
            ready!(match &mut this.transport {
                Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
                Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
                Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            })?;
        } else {
            let taken = this.prefix.len().min(buffer.remaining());
            buffer.put_slice(&this.prefix[..taken]);
            this.prefix.advance(taken);
        }
        if let Some(heard) = this
            .heard
            .as_ref()
            .filter(|_| buffer.filled().len() > before)
        {
            heard.store(true, Ordering::Relaxed);
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
        match &mut self.get_mut().transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Transport::Http2(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
