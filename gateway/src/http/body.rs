//! Bodies: what requests bring, whichever version they came by, and what responses are made of.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::admin::FigureStream;
use super::compress::Compressed;
use super::event_stream::EventStream;
use super::files::FileBody;

/// How long the rest of a body that is too large is waited for before it is refused.
const REST_PATIENCE: Duration = Duration::from_millis(100);

/// A request's body over either version.
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    Http1(hyper::body::Incoming),
    Http2 {
        stream: h2::RecvStream,
        /// What `content-length` says is still to come; 0 where it says nothing.
        left: u64,
        /// Raised when all of it was read, or it broke off.
        ended: Option<Arc<AtomicBool>>,
    },
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Http1(_) => "Http1",
            Self::Http2 { .. } => "Http2",
        })
    }
}

/// The body did not come whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("http/1.1: {0}")]
    Http1(#[from] hyper::Error),
    #[error("http/2: {0}")]
    Http2(#[from] h2::Error),
}

/// Why a request's body could not be collected.
#[derive(Debug)]
pub(crate) enum CollectError {
    TooLarge,
    TimedOut,
    /// The connection or stream failed; nobody is left to answer.
    Failed,
}

impl RequestBody {
    pub(crate) fn http1(body: hyper::body::Incoming) -> Self {
        Self::Http1(body)
    }

    pub(crate) fn http2(
        stream: h2::RecvStream,
        length: u64,
        ended: Option<Arc<AtomicBool>>,
    ) -> Self {
        Self::Http2 {
            stream,
            left: length,
            ended,
        }
    }

    /// The whole body, at most `max` bytes of it, within `patience`, and the fields behind it.
    pub(crate) async fn collect_within(
        self,
        max: usize,
        patience: Duration,
    ) -> Result<(Bytes, HeaderMap), CollectError> {
        if self.is_end_stream() && !matches!(self, Self::Http2 { .. }) {
            return Ok((Bytes::new(), HeaderMap::new()));
        }
        if self.size_hint().lower() > max as u64 {
            // Said beforehand: nothing is read, and a client that waits for 100 sends nothing.
            return Err(CollectError::TooLarge);
        }
        let mut body = self;
        let whole = Limited::new(&mut body, max).collect();
        match tokio::time::timeout(patience, whole).await {
            Ok(Ok(whole)) => {
                let trailers = whole.trailers().cloned().unwrap_or_default();
                Ok((whole.to_bytes(), trailers))
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                // Where little is left, the connection can go on.
                let rest = Limited::new(body, max).collect();
                drop(tokio::time::timeout(REST_PATIENCE, rest).await);
                Err(CollectError::TooLarge)
            }
            Ok(Err(_)) => Err(CollectError::Failed),
            Err(_) => Err(CollectError::TimedOut),
        }
    }
}

fn raise(flag: Option<&Arc<AtomicBool>>) {
    if let Some(flag) = flag {
        flag.store(true, Ordering::Relaxed);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Self::Http2 {
                stream,
                left,
                ended,
            } => match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    if stream.is_end_stream() {
                        raise(ended.as_ref());
                    }
                    // Collected under a limit, so the window may open again at once.
                    stream.flow_control().release_capacity(data.len())?;
                    *left = left.saturating_sub(data.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Some(Err(error)) => {
                    raise(ended.as_ref());
                    Poll::Ready(Some(Err(error.into())))
                }
                None => {
                    let trailers = ready!(stream.poll_trailers(cx));
                    raise(ended.as_ref());
                    match trailers {
                        Ok(trailers) => Poll::Ready(trailers.map(|it| Ok(Frame::trailers(it)))),
                        Err(error) => Poll::Ready(Some(Err(error.into()))),
                    }
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2 { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2 { left, .. } => {
                let mut hint = SizeHint::default();
                hint.set_lower(*left);
                hint
            }
        }
    }
}

/// A response's body.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Nothing, or the rest of what is left of it.
    Whole(Bytes),
    /// Nothing, and nothing said about a length: the answer to a HEAD.
    Unsaid,
    /// A file, or parts of one.
    File(Box<FileBody>),
    /// Another body on its way through a compressor.
    Compressed(Box<Compressed>),
    /// Bytes, and fields behind them; the bytes are taken first.
    Trailed(Box<(Bytes, HeaderMap)>),
    /// Server-sent events, until the room, the peer or the gateway ends.
    Events(EventStream),
    /// Figures for an admin page, until it or the gateway ends.
    Figures(FigureStream),
}

impl ResponseBody {
    pub(crate) const fn empty() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Unsaid => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File(file) => file
                .poll_piece(cx)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Compressed(compressed) => compressed
                .poll_piece(cx)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Trailed(rest) => {
                let (bytes, trailers) = &mut **rest;
                let frame = if bytes.is_empty() {
                    let trailers = std::mem::take(trailers);
                    (!trailers.is_empty()).then(|| Frame::trailers(trailers))
                } else {
                    Some(Frame::data(std::mem::take(bytes)))
                };
                Poll::Ready(frame.map(Ok))
            }
            Self::Figures(figures) => figures
                .poll_next(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events
                .poll_next(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Unsaid => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::File(file) => file.left() == 0,
            Self::Compressed(compressed) => compressed.is_over(),
            Self::Trailed(rest) => rest.0.is_empty() && rest.1.is_empty(),
            Self::Events(_) | Self::Figures(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(file) => SizeHint::with_exact(file.left()),
            // Over HTTP/1.1 only what comes in chunks can have trailers.
            Self::Unsaid
            | Self::Compressed(_)
            | Self::Trailed(_)
            | Self::Events(_)
            | Self::Figures(_) => SizeHint::default(),
        }
    }
}
