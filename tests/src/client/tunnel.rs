//! A stream of an HTTP/2 connection as a socket (RFC 8441), for WebSocket over it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::task::Task;

/// Both directions of the stream, and the connection that it is on.
pub struct Tunnel {
    receive: RecvStream,
    send: SendStream<Bytes>,
    received: Bytes,
    /// Moves the connection's bytes, where no other stream needs it; cut when the tunnel is dropped.
    _connection: Option<Task<()>>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl Tunnel {
    /// One of many streams of a connection that the test keeps going.
    pub fn new(receive: RecvStream, send: SendStream<Bytes>) -> Self {
        Self {
            receive,
            send,
            received: Bytes::new(),
            _connection: None,
        }
    }

    /// The only stream of a connection, which it takes along.
    pub(super) fn with_connection(mut self, connection: Task<()>) -> Self {
        self._connection = Some(connection);
        self
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.received.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(data)) => this.received = data,
            }
        }
        let count = this.received.len().min(buffer.remaining());
        buffer.put_slice(&this.received[..count]);
        this.received.advance(count);
        let released = this.receive.flow_control().release_capacity(count);
        Poll::Ready(released.map_err(io::Error::other))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.send.reserve_capacity(bytes.len());
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Some(capacity) => capacity.map_err(io::Error::other)?,
            };
        }
        let count = this.send.capacity().min(bytes.len());
        let data = Bytes::copy_from_slice(&bytes[..count]);
        let sent = this.send.send_data(data, false);
        Poll::Ready(sent.map(|()| count).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The gateway may have ended the stream before.
        drop(self.get_mut().send.send_data(Bytes::new(), true));
        Poll::Ready(Ok(()))
    }
}
