//! HTTP/1.1 without hyper, for what most connections are: requests that are all there when they are
//! read, and answers that are at hand when they are asked for.
//!
//! One read, the screen of `protocols` over each head, [`respond`] as for everything else, one write
//! for all answers together. Nothing is kept between requests, so an idle connection has no buffers.
//! Whatever is different goes to hyper with the whole connection, once and for good ([`Rest`]): bodies,
//! upgrades, heads that are unfinished or refused, answers that stream or are not there at once, a
//! drain. What is refused there was not read differently here: [`Plain`] is what the same screen lets
//! pass.

use std::cell::RefCell;
use std::future::{Future, poll_fn, ready as at_once};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use roomwire_metrics::Id;
use roomwire_protocols::http1::{Limits, Plain};
use tokio::io::AsyncWrite;

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::pipeline::{date, respond};
use super::problem::Answer;
use super::watch::Watch;
use crate::lifecycle::Phase;
use crate::session::Stream;

/// Bytes read at a time. Chosen: heads have some hundred bytes, so this is many pipelined ones.
const INPUT: usize = 16 * 1024;

/// Answers are collected up to so many bytes before they are written.
const OUTPUT: usize = 64 * 1024;

/// What the buffers of a worker keep of the memory that one large answer took.
const KEPT: usize = 2 * OUTPUT;

/// An answer that is being made.
pub(super) type Begun = Pin<Box<dyn Future<Output = Answer>>>;

/// A connection that goes on with hyper.
pub(super) struct Rest {
    pub(super) stream: Stream,
    /// The answer to its first request, where that was begun here.
    pub(super) first: Option<Begun>,
}

thread_local! {
    /// The worker's buffers, for what is read and for what is written. Nothing waits while they are in
    /// use, so they are free when they are wanted.
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// What one round of reading, answering and writing came to.
struct Round {
    /// What the peer does not take yet.
    unsent: Option<Vec<u8>>,
    next: Next,
}

enum Next {
    Read,
    Hyper(Option<Begun>),
    End,
}

/// Serves requests until one is for hyper, in which case the connection is given back, or until the
/// connection ends.
pub(super) async fn serve(
    connection: &Rc<Connection>,
    mut stream: Stream,
    watch: &Watch,
    limits: Limits,
) -> Option<Rest> {
    let mut drained = pin!(connection.drained());
    let mut verdict = pin!(watch.verdict());
    let activity = watch.activity();
    loop {
        if connection.worker.shared.phase() >= Phase::Draining {
            let first = None;
            return Some(Rest { stream, first });
        }
        let mut round = tokio::select! {
            biased;
            round = poll_fn(|cx| poll_round(connection, &mut stream, limits, cx)) => round,
            () = drained.as_mut() => continue,
            verdict = verdict.as_mut() => {
                connection.judged(verdict);
                return None;
            }
            _ = connection.closed() => return None,
        };
        if let Ok(Round {
            unsent: Some(unsent),
            ..
        }) = &round
        {
            let _answering = watch.begin();
            let mut left = &unsent[..];
            let wrote = tokio::select! {
                wrote = poll_fn(|cx| poll_write_all(&mut stream, &mut left, cx)) => wrote,
                verdict = verdict.as_mut() => {
                    connection.judged(verdict);
                    return None;
                }
                _ = connection.closed() => return None,
            };
            if let Err(error) = wrote {
                round = Err(error);
            }
        }
        match round.map(|round| round.next) {
            // Nothing that was heard is still to be answered.
            Ok(Next::Read) => activity.heard.store(false, Ordering::Relaxed),
            Ok(Next::Hyper(first)) => return Some(Rest { stream, first }),
            Ok(Next::End) => {
                // TLS says that it ends; whether the peer hears it is its own affair.
                let said = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_shutdown(cx))).await;
                tracing::trace!(said = said.is_ready(), "http/1.1 connection ended");
                return None;
            }
            Err(error) => {
                connection.worker.count(Id::HttpConnectionErrors);
                tracing::debug!(peer = %connection.peer, %error, "http/1.1 connection failed");
                return None;
            }
        }
    }
}

/// Reads once, answers what is there, writes once.
fn poll_round(
    connection: &Rc<Connection>,
    stream: &mut Stream,
    limits: Limits,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Round>> {
    let (mut input, mut output) = BUFFERS.take();
    input.resize(INPUT, 0);
    let round = match stream.poll_read_into(cx, &mut input) {
        Poll::Ready(Ok(read)) => {
            // Requests refer to it for as long as they live.
            let input = Bytes::copy_from_slice(input.get(..read).unwrap_or_default());
            let next = answer_all(connection, stream, input, &mut output, limits, cx);
            write(stream, &output, next, cx)
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Pending,
    };
    output.clear();
    output.shrink_to(KEPT);
    BUFFERS.set((input, output));
    round
}

/// Answers what was read, and puts back what is not to be answered here or now.
fn answer_all(
    connection: &Rc<Connection>,
    stream: &mut Stream,
    mut input: Bytes,
    output: &mut Vec<u8>,
    limits: Limits,
    cx: &mut Context<'_>,
) -> Next {
    if input.is_empty() {
        return Next::End;
    }
    let mut next = Next::Read;
    while !input.is_empty() && output.len() < OUTPUT {
        let Some((request, end)) = read(&input, limits) else {
            next = Next::Hyper(None);
            break;
        };
        let is_head = *request.method() == Method::HEAD;
        let connection = Rc::clone(connection);
        let mut begun = Box::pin(async move { respond(&connection, request).await });
        match begun.as_mut().poll(cx) {
            Poll::Ready(answer) if is_at_hand(&answer, is_head) => encode(&answer, output),
            Poll::Ready(answer) => {
                next = Next::Hyper(Some(Box::pin(at_once(answer))));
                break;
            }
            Poll::Pending => {
                next = Next::Hyper(Some(begun));
                break;
            }
        }
        input.advance(end);
    }
    stream.unread(input);
    next
}

/// The request at the beginning of the input, and where it ends.
fn read(input: &Bytes, limits: Limits) -> Option<(Request<RequestBody>, usize)> {
    let plain = Plain::parse(input, &limits)?;
    let mut request = Request::new(RequestBody::Empty);
    *request.method_mut() = Method::from_bytes(plain.method).ok()?;
    *request.uri_mut() = Uri::from_maybe_shared(input.slice_ref(plain.target)).ok()?;
    let headers = request.headers_mut();
    for (name, value) in plain.fields() {
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_maybe_shared(input.slice_ref(value)).ok()?;
        headers.append(name, value);
    }
    Some((request, plain.end))
}

/// Whether an answer is whole, and says nothing of the connection or of its own framing.
fn is_at_hand(answer: &Answer, is_head: bool) -> bool {
    let status = answer.status();
    let contentless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_whole = match answer.body() {
        ResponseBody::Whole(body) => {
            let told = answer.headers().contains_key(header::CONTENT_LENGTH);
            body.len() <= OUTPUT && !told && !is_head && (body.is_empty() || !contentless)
        }
        ResponseBody::Unsaid => is_head || status == StatusCode::NOT_MODIFIED,
        ResponseBody::File(_)
        | ResponseBody::Compressed(_)
        | ResponseBody::Trailed(_)
        | ResponseBody::Events(_)
        | ResponseBody::Figures(_) => false,
    };
    let headers = answer.headers();
    is_whole
        && !status.is_informational()
        && !headers.contains_key(header::CONNECTION)
        && !headers.contains_key(header::TRANSFER_ENCODING)
}

/// Appends an answer as hyper would write it.
fn encode(answer: &Answer, output: &mut Vec<u8>) {
    let status = answer.status();
    let mut line = |parts: [&[u8]; 4]| parts.map(|part| output.extend_from_slice(part));
    let reason = status.canonical_reason().unwrap_or_default();
    line([
        b"HTTP/1.1 ",
        status.as_str().as_bytes(),
        b" ",
        reason.as_bytes(),
    ]);
    for (name, value) in answer.headers() {
        line([b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    if !answer.headers().contains_key(header::DATE) {
        line([b"\r\ndate: ", date().as_bytes(), b"", b""]);
    }
    let ResponseBody::Whole(body) = answer.body() else {
        return output.extend_from_slice(b"\r\n\r\n");
    };
    // RFC 9110 §8.6: an answer without content has no length of it.
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        let length = HeaderValue::from(body.len());
        line([b"\r\ncontent-length: ", length.as_bytes(), b"", b""]);
    }
    line([b"\r\n\r\n", body, b"", b""]);
}

/// Writes what was answered.
fn write(
    stream: &mut Stream,
    output: &[u8],
    next: Next,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Round>> {
    let mut left = output;
    let wrote = if output.is_empty() {
        Poll::Ready(Ok(()))
    } else {
        poll_write_all(stream, &mut left, cx)
    };
    let unsent = match wrote {
        Poll::Ready(Ok(())) => None,
        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
        Poll::Pending => Some(left.to_vec()),
    };
    Poll::Ready(Ok(Round { unsent, next }))
}

fn poll_write_all(
    stream: &mut Stream,
    left: &mut &[u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !left.is_empty() {
        match ready!(Pin::new(&mut *stream).poll_write(cx, left))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => *left = left.get(written..).unwrap_or_default(),
        }
    }
    Pin::new(stream).poll_flush(cx)
}
