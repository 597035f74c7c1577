//! A connection's bytes on their way to h2, with its frames counted by the [`Inspector`].
//!
//! h2 bounds what a peer can make it keep; what it does not mind are frames that only make work. When
//! the inspector has seen enough, h2 gets nothing more to read, and whoever serves the connection hears
//! of it through the [`Count`] and says why it ends.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use roomwire_protocols::http2::{Inspector, Limits, Violation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::linger::Linger;
use crate::lifecycle::Clock;
use crate::session::Stream;

/// What the stream that h2 has and the task that serves it share.
#[derive(Debug, Default)]
pub(super) struct Count {
    violation: Cell<Option<Violation>>,
    waker: RefCell<Option<Waker>>,
    opened: Cell<u64>,
    last_words: Cell<[u8; LAST_WORDS]>,
}

/// Bytes that are remembered of what was written last. h2 says in a GOAWAY, and nowhere else, which of its
/// own bounds was broken; its longest word for one has 25.
const LAST_WORDS: usize = 32;

impl Count {
    /// Ready when the connection is to be ended.
    pub(super) fn poll_violation(&self, cx: &Context<'_>) -> Poll<Violation> {
        if let Some(violation) = self.violation.get() {
            return Poll::Ready(violation);
        }
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|it| !it.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Streams that the peer opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.get()
    }

    /// Whether what was written last, which of a connection that ended badly is its GOAWAY, ends so.
    pub(super) fn last_said(&self, word: &str) -> bool {
        self.last_words.get().ends_with(word.as_bytes())
    }

    fn said(&self, bytes: &[u8]) {
        let mut words = self.last_words.get();
        let new = bytes.get(bytes.len().saturating_sub(LAST_WORDS)..);
        let new = new.unwrap_or_default();
        words.rotate_left(new.len());
        let at = LAST_WORDS - new.len();
        words.get_mut(at..).unwrap_or_default().copy_from_slice(new);
        self.last_words.set(words);
    }

    fn found(&self, violation: Violation) {
        self.violation.set(Some(violation));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A stream of which h2 gets what a peer may send.
pub(super) struct Counted {
    stream: Stream,
    inspector: Inspector,
    clock: Clock,
    count: Rc<Count>,
    shut: bool,
    lingering: Option<Linger>,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Counted");
        shown.field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Counted {
    pub(super) fn new(stream: Stream, limits: Limits, clock: Clock, count: Rc<Count>) -> Self {
        Self {
            stream,
            inspector: Inspector::new(limits),
            clock,
            count,
            shut: false,
            lingering: None,
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.count.violation.get().is_some() {
            // Whoever serves the connection was woken.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        let now_ms = this.clock.now_ms();
        let inspected = this.inspector.inspect(read, now_ms, this.stream.written());
        this.count.opened.set(this.inspector.opened());
        if let Err(refused) = inspected {
            buffer.set_filled(before + refused.passed);
            this.count.found(refused.violation);
            if refused.passed == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.count.said(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let taken = left.min(slice.len());
            this.count.said(slice.get(..taken).unwrap_or_default());
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Closes our side. What has come already is thrown away, so that the peer gets our GOAWAY and not
    /// a reset; whoever broke a limit is in the middle of sending, and is read from for a moment.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.shut = true;
        }
        let over = this
            .lingering
            .get_or_insert_with(Linger::begin)
            .poll_over(&mut this.stream, cx);
        match this.count.violation.get() {
            Some(_) => over.map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}
