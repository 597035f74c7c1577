//! A connection's bytes as hyper may have them: looked at by the [`Inspector`] first, heads only when
//! they are whole.
//!
//! hyper takes more than RFC 9112 writes. In the place of a head that is refused, hyper gets a request
//! of ours with the same place in line; [`Screen::refusal_of`] tells the service which one it is, so
//! that a refusal is answered like everything else, behind the answers that come before it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use roomwire_protocols::http1::{Inspector, Limits, Violation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::BROKEN_PREFACE;
use super::linger::Linger;
use super::problem::Problem;
use crate::session::{Activity, Stream};

/// What hyper gets for a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What the stream that hyper has and the service share.
#[derive(Debug, Default)]
pub(super) struct Screen {
    refusal: OnceLock<Refusal>,
    /// The head that is under way has taken too long.
    late: AtomicBool,
    /// Our side is closed; what is read from here on is thrown away.
    closed: AtomicBool,
    /// The first line was nothing that HTTP/1.1 has.
    not_http: AtomicBool,
}

/// Why the input is not looked at any further.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// Heads that passed before, where it is a head that was refused and not a part of a body.
    after: Option<u64>,
    pub(super) status: u16,
    reason: &'static str,
}

impl Screen {
    /// Has a head that does not end answered by 408. `false` where the input stands elsewhere.
    pub(super) fn give_up(&self) -> bool {
        self.refusal.get().is_none() && !self.late.swap(true, Ordering::Relaxed)
    }

    /// Whether the last answer of the connection was given, so that nothing more is expected of the peer.
    pub(super) fn is_over(&self) -> bool {
        self.refusal.get().is_some() || self.closed.load(Ordering::Relaxed)
    }

    /// Why the request is refused that so many came before.
    pub(super) fn refusal_of(&self, index: u64) -> Option<Refusal> {
        let refusal = self.refusal.get();
        refusal.filter(|it| it.after == Some(index)).copied()
    }

    /// Whether the connection ended because its first line was nothing that HTTP/1.1 has.
    pub(super) fn heard_no_http(&self) -> bool {
        self.not_http.load(Ordering::Relaxed)
    }

    /// Whether a part of a body was refused.
    pub(super) fn refused_body(&self) -> bool {
        self.refusal.get().is_some_and(|it| it.after.is_none())
    }
}

impl Refusal {
    pub(super) fn problem(self) -> Problem {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let code = match self.status {
            408 => "timeout",
            414 | 431 => "too_large",
            _ => "bad_request",
        };
        Problem::new(status, code, self.reason)
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self {
            after: None,
            status: violation.status(),
            reason: violation.reason(),
        }
    }
}

/// A stream of which hyper gets what is beyond doubt.
pub(super) struct Screened {
    stream: Stream,
    inspector: Inspector,
    screen: Arc<Screen>,
    activity: Arc<Activity>,
    /// An unfinished head.
    held: BytesMut,
    /// Looked at, and not taken by hyper yet.
    ready: Bytes,
    /// Nothing more is given to hyper.
    over: bool,
    /// What is said before our side is closed.
    last_words: Bytes,
    shut: bool,
    lingering: Option<Linger>,
}

impl fmt::Debug for Screened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Screened");
        shown.field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Screened {
    pub(super) fn new(
        mut stream: Stream,
        limits: Limits,
        screen: Arc<Screen>,
        activity: Arc<Activity>,
    ) -> Self {
        stream.report_to(Some(Arc::clone(&activity)));
        Self {
            stream,
            inspector: Inspector::new(limits),
            screen,
            activity,
            held: BytesMut::new(),
            ready: Bytes::new(),
            over: false,
            last_words: Bytes::new(),
            shut: false,
            lingering: None,
        }
    }

    /// The stream after an upgrade, with what hyper had read beyond the request.
    pub(super) fn into_stream(mut self, read: Bytes) -> Stream {
        let unread = if self.ready.is_empty() {
            read
        } else {
            [read, self.ready].concat().into()
        };
        if !unread.is_empty() {
            self.stream.unread(unread);
        }
        self.stream.report_to(None);
        self.stream
    }

    /// Looks at what was read behind the first `before` bytes of `buffer`, and keeps back what hyper
    /// may not have yet.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = buffer.filled().get(before..).unwrap_or_default();
        let inspected = if self.held.is_empty() {
            let inspected = self.inspector.inspect(read);
            let rest = read.get(inspected.passed..).unwrap_or_default();
            self.held.extend_from_slice(rest);
            buffer.set_filled(before + inspected.passed);
            inspected
        } else {
            self.held.extend_from_slice(read);
            buffer.set_filled(before);
            let inspected = self.inspector.inspect(&self.held);
            self.ready = self.held.split_to(inspected.passed).freeze();
            inspected
        };
        let unfinished = !self.held.is_empty();
        self.activity
            .unfinished
            .store(unfinished, Ordering::Relaxed);
        match inspected.refused {
            Some(Violation::NotHttp) if self.inspector.heads() == 0 => self.turn_away(),
            Some(violation) => self.refuse(violation.into()),
            None => {}
        }
    }

    /// Ends a connection on which the peer began with something else. Where both versions are spoken
    /// it may have been meant as HTTP/2's preface, and is answered as that (RFC 9113 §3.4).
    fn turn_away(&mut self) {
        self.over = true;
        self.held = BytesMut::new();
        self.last_words = Bytes::from_static(BROKEN_PREFACE);
        self.screen.not_http.store(true, Ordering::Relaxed);
    }

    fn refuse(&mut self, mut refusal: Refusal) {
        self.over = true;
        self.held = BytesMut::new();
        if self.inspector.in_head() {
            refusal.after = Some(self.inspector.heads());
            self.ready = [&self.ready, STAND_IN].concat().into();
        }
        // There is no second one: nothing is looked at from here on.
        self.screen.refusal.get_or_init(|| refusal);
    }

    /// Refuses the head that is under way, where there is one and it is too late.
    fn give_up(&mut self) {
        let late = self.screen.late.load(Ordering::Relaxed);
        if late && self.inspector.in_head() {
            let refusal = Refusal {
                after: None,
                status: 408,
                reason: "the head did not come in time",
            };
            self.refuse(refusal);
        }
    }

    /// Behind a head that was refused there is no more to read; a body that was is broken.
    fn nothing_more(&self) -> Poll<io::Result<()>> {
        if self.screen.heard_no_http() {
            return Poll::Ready(Ok(()));
        }
        match self.screen.refusal.get().filter(|it| it.after.is_none()) {
            Some(refusal) => {
                let kind = io::ErrorKind::InvalidData;
                Poll::Ready(Err(io::Error::new(kind, refusal.reason)))
            }
            None => Poll::Pending,
        }
    }

    /// Whether the peer may have sent what nobody reads.
    fn leaves_unread(&self) -> bool {
        self.over || !self.held.is_empty() || !self.inspector.in_head()
    }
}

impl AsyncRead for Screened {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            if !this.over {
                this.give_up();
            }
            if !this.ready.is_empty() {
                let taken = this.ready.len().min(buffer.remaining());
                buffer.put_slice(&this.ready[..taken]);
                this.ready.advance(taken);
                return Poll::Ready(Ok(()));
            }
            if this.over {
                return this.nothing_more();
            }
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            this.look(buffer, before);
            // hyper would take no bytes for the end.
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Screened {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Closes our side, and reads on for a moment where the peer has more to send.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.last_words.is_empty() {
            let words = Pin::new(&mut this.stream).poll_write(cx, &this.last_words);
            match ready!(words)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => this.last_words.advance(written),
            }
        }
        if !this.shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.shut = true;
            this.screen.closed.store(true, Ordering::Relaxed);
        }
        if !this.leaves_unread() {
            return Poll::Ready(Ok(()));
        }
        let lingering = this.lingering.get_or_insert_with(Linger::begin);
        lingering.poll_over(&mut this.stream, cx).map(Ok)
    }
}
