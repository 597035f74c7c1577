//! Writes that leave together. h2 writes frame by frame and flushes between them; here what it writes
//! is collected, and who drives the connection sends it once h2 has no more to say: many answers in one
//! system call, and in TLS records that are full.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes collected before they are sent in any case. Chosen: four TLS records, which is also what rustls
/// takes in one go.
const MOST: usize = 64 * 1024;

thread_local! {
    /// A worker's spare buffer: a connection has one only while it has something to send.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream whose writes are collected.
pub(super) struct Corked<S>(Rc<RefCell<Inner<S>>>);

/// The other end of a [`Corked`]: sends what was collected.
pub(super) struct Cork<S>(Rc<RefCell<Inner<S>>>);

struct Inner<S> {
    stream: S,
    output: Vec<u8>,
    sent: usize,
}

impl<S> fmt::Debug for Corked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Corked")
    }
}

/// Collects what is written to `stream` from here on.
pub(super) fn cork<S>(stream: S) -> (Corked<S>, Cork<S>) {
    let inner = Rc::new(RefCell::new(Inner {
        stream,
        output: Vec::new(),
        sent: 0,
    }));
    (Corked(Rc::clone(&inner)), Cork(inner))
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    /// Sends what was collected.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Some(left) = self.output.get(self.sent..).filter(|it| !it.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        self.sent = 0;
        SPARE.set(output);
        Poll::Ready(Ok(()))
    }

    /// Takes some of what is to be written, once there is room.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.output.len() >= MOST {
            ready!(self.poll_send(cx))?;
        }
        if self.output.capacity() == 0 {
            self.output = SPARE.take();
        }
        let taken = bytes.len().min(MOST - self.output.len());
        self.output
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Poll::Ready(Ok(taken))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        let mut taken = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match inner.poll_take(cx, slice) {
                Poll::Ready(Ok(more)) => {
                    taken += more;
                    if more < slice.len() {
                        break;
                    }
                }
                // What was taken counts; the rest comes again.
                Poll::Pending | Poll::Ready(Err(_)) if taken > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Sending waits for who has the [`Cork`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}
