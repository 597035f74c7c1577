//! A stream of an HTTP/2 connection as a socket: WebSocket over extended CONNECT (RFC 8441).
//!
//! Reading gives flow-control credit back as bytes are taken, so a session that is not read holds up
//! its own stream and no other; writing takes no more than the peer's window allows.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes asked of the window at a time: one DATA frame of HTTP/2's default size.
const CHUNK_BYTES: usize = 16 * 1024;

/// Both directions of one stream.
#[derive(Debug)]
pub(crate) struct H2Socket {
    receive: RecvStream,
    send: SendStream<Bytes>,
    /// Received and not taken yet; its credit is given back as it is.
    received: Bytes,
    ended: bool,
    /// Tells the connection, while it lives, that this stream is in use.
    _in_use: Box<dyn Any + Send>,
    /// Bytes that the peer's window took.
    written: u64,
}

impl H2Socket {
    pub(crate) fn new(
        receive: RecvStream,
        send: SendStream<Bytes>,
        in_use: Box<dyn Any + Send>,
    ) -> Self {
        Self {
            receive,
            send,
            received: Bytes::new(),
            ended: false,
            _in_use: in_use,
            written: 0,
        }
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// How much may be written now, at least one byte.
    fn poll_window(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if let Poll::Ready(reset) = self.send.poll_reset(cx) {
            reset.map_err(io::Error::other)?;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.send.reserve_capacity(wanted.min(CHUNK_BYTES));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        Poll::Ready(Ok(self.send.capacity().min(wanted)))
    }
}

impl AsyncRead for H2Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.received.is_empty() {
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.receive.poll_data(cx)) {
                Some(data) => this.received = data.map_err(io::Error::other)?,
                None => this.ended = true,
            }
        }
        let taken = this.received.len().min(buffer.remaining());
        buffer.put_slice(&this.received[..taken]);
        this.received.advance(taken);
        this.receive
            .flow_control()
            .release_capacity(taken)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut left = ready!(this.poll_window(cx, wanted))?;
        let mut data = BytesMut::with_capacity(left);
        for slice in slices {
            let taken = slice.len().min(left);
            data.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        let written = data.len();
        this.written += written as u64;
        this.send
            .send_data(data.freeze(), false)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}
