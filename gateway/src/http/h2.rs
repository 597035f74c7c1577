//! HTTP/2 by the h2 crate: requests become tasks, bodies keep to the peer's flow control.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use roomwire_metrics::Id;
use roomwire_protocols::http1 as wire;

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::pipeline::{refuse, respond};
use super::problem::Problem;
use super::watch::{Answering, FAREWELL, Verdict, Watch};
use crate::lifecycle::Clock;
use crate::session::Stream;

/// Requests at once on one connection. Chosen: what browsers use, and what RFC 9113 §6.5.2 asks
/// for at the least.
const MAX_STREAMS: u32 = 128;

/// Bytes of request bodies, or of a WebSocket, in flight per stream.
const STREAM_WINDOW: u32 = 64 * 1024;
/// As large as all streams' windows together, so that a stream that is not read holds up no other.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// Bytes h2 keeps per stream that the peer has not taken yet.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// What DATA frames under 256 bytes may cost a connection until they are read, in bytes that each is
/// short of that. h2's default ends connections whose WebSockets send many small messages, although
/// they are read promptly: all that one poll of the connection reads, at most 128 times 8 KiB, comes
/// before any session has its turn. In the smallest messages that is 17 MiB; as much again is for
/// streams that are not read now. Worst case: 134,000 frames of 250 bytes in h2's memory, 32 MiB.
const DATA_FRAME_BUDGET: usize = 32 * 1024 * 1024;

/// Bytes of body sent without asking for flow-control capacity again.
const CHUNK: usize = 16 * 1024;

/// A connection as h2 drives it.
type Served = h2::server::Connection<Stream, Bytes>;

/// Serves requests until the connection ends, is closed from elsewhere, or the gateway drains, in
/// which case GOAWAY is sent and the streams are finished.
pub(super) async fn serve(connection: &Rc<Connection>, mut stream: Stream) {
    let worker = &connection.worker;
    let limits = &worker.shared.config.limits;
    let max_header = u32::try_from(limits.max_header.as_usize()).unwrap_or(u32::MAX);
    let watch = Watch::http2(limits);
    stream.report_to(Some(watch.activity()));
    let handshake = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(max_header)
        .enable_connect_protocol()
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .handshake::<_, Bytes>(stream);
    let handshake = tokio::time::timeout(limits.handshake_timeout.get(), handshake);
    let mut served = match handshake.await {
        Ok(Ok(served)) => served,
        Ok(Err(error)) => return failed(connection, &error),
        Err(_) => {
            worker.count(Id::HttpTimeouts);
            return;
        }
    };
    let mut drained = pin!(connection.drained());
    let mut verdict = pin!(watch.verdict());
    let mut draining = false;
    loop {
        let request = tokio::select! {
            request = served.accept() => request,
            () = drained.as_mut(), if !draining => {
                draining = true;
                watch.drain();
                served.graceful_shutdown();
                continue;
            }
            verdict = verdict.as_mut() => {
                connection.judged(verdict);
                if verdict == Verdict::Idle {
                    go_away(served).await;
                }
                return;
            }
            _ = connection.closed() => return,
        };
        match request {
            None => return,
            Some(Err(error)) => return failed(connection, &error),
            Some(Ok((request, reply))) => {
                let (connection, answering) = (Rc::clone(connection), watch.begin());
                worker.scope.spawn("http/2 stream", async move {
                    answer(connection, request, reply, answering).await;
                });
            }
        }
    }
}

/// Tells the peer that no more is taken, so that it knows a request on its way was not looked at.
async fn go_away(mut served: Served) {
    served.graceful_shutdown();
    // Accepting is what drives the connection; what comes now is refused by it.
    drop(tokio::time::timeout(FAREWELL, served.accept()).await);
}

fn failed(connection: &Connection, error: &h2::Error) {
    let id = if error.is_io() {
        Id::HttpConnectionErrors
    } else {
        Id::HttpBadRequests
    };
    connection.worker.count(id);
    tracing::debug!(peer = %connection.peer, %error, "http/2 connection failed");
}

async fn answer(
    connection: Rc<Connection>,
    request: Request<h2::RecvStream>,
    mut reply: SendResponse<Bytes>,
    answering: Answering,
) {
    if request.method() == Method::CONNECT {
        return super::upgrade::connect(&connection, request, reply, answering).await;
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let request = request.map(|stream| RequestBody::http2(stream, length.unwrap_or(0)));
    let max_target = connection.worker.shared.config.limits.max_target.as_usize();
    let response = tokio::select! {
        response = async {
            match check_target(request.uri(), max_target) {
                Ok(()) => respond(&connection, request).await,
                Err(problem) => {
                    connection.worker.count(Id::HttpBadRequests);
                    refuse(&connection, problem)
                }
            }
        } => response,
        // The client gave up on the request; nobody is left to answer.
        _ = poll_fn(|cx| reply.poll_reset(cx)) => return,
    };
    let patience = connection.worker.shared.config.limits.write_timeout.get();
    if let Err(error) = send(response, &mut reply, patience).await {
        tracing::debug!(peer = %connection.peer, %error, "http/2 stream failed");
        reply.send_reset(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
    }
}

/// What the screen refuses over HTTP/1.1 before hyper has it.
fn check_target(uri: &Uri, max_target: usize) -> Result<(), Problem> {
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let (status, violation) = if target.len() > max_target {
        (StatusCode::URI_TOO_LONG, wire::Violation::TargetTooLong)
    } else if !target.is_ascii() {
        (StatusCode::BAD_REQUEST, wire::Violation::Target)
    } else {
        return Ok(());
    };
    Err(Problem::new(status, "bad_request", violation.reason()))
}

/// The date, made once a second.
fn date() -> HeaderValue {
    thread_local! {
        static MADE: RefCell<(u64, Option<HeaderValue>)> = const { RefCell::new((0, None)) };
    }
    let second = Clock::unix_ms() / 1000;
    MADE.with_borrow_mut(|(made, date)| {
        if *made != second {
            *date = None;
            *made = second;
        }
        let make = || {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            let text = httpdate::fmt_http_date(now);
            HeaderValue::try_from(text).expect("a date is letters, digits and punctuation")
        };
        date.get_or_insert_with(make).clone()
    })
}

pub(super) async fn send(
    response: Response<ResponseBody>,
    reply: &mut SendResponse<Bytes>,
    patience: Duration,
) -> Result<(), h2::Error> {
    let (mut head, mut body) = response.into_parts();
    // RFC 9113 §8.2.2: these belong to HTTP/1.1's connection.
    head.headers.remove(http::header::CONNECTION);
    head.headers.remove(http::header::UPGRADE);
    // RFC 9110 §8.6: an answer without content has no length of it.
    let contentless = matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if let Some(length) = body.size_hint().exact().filter(|_| !contentless) {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    // RFC 9110 §6.6.1; over HTTP/1.1 hyper adds it.
    if !head.headers.contains_key(http::header::DATE) {
        head.headers.insert(http::header::DATE, date());
    }
    let end = body.is_end_stream();
    let mut stream = reply.send_response(Response::from_parts(head, ()), end)?;
    if end {
        return Ok(());
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            reset = poll_fn(|cx| stream.poll_reset(cx)) => {
                reset?;
                return Ok(());
            }
        };
        let Some(Ok(frame)) = frame else {
            return stream.send_data(Bytes::new(), true);
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let last = body.is_end_stream();
        send_data(&mut stream, data, last, patience).await?;
        if last {
            return Ok(());
        }
    }
}

/// Sends as much at a time as the peer's window allows.
async fn send_data(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
    patience: Duration,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len().min(CHUNK));
        let window = poll_fn(|cx| stream.poll_capacity(cx));
        let capacity = match tokio::time::timeout(patience, window).await {
            Ok(Some(capacity)) => capacity?,
            // The stream was reset by the peer.
            Ok(None) => return Ok(()),
            // Its window stayed shut: this stream ends, the others go on.
            Err(_) => return Err(Reason::CANCEL.into()),
        };
        let piece = data.split_to(capacity.min(data.len()));
        let end = last && data.is_empty();
        stream.send_data(piece, end)?;
        if end {
            return Ok(());
        }
    }
    if last {
        stream.send_data(Bytes::new(), true)
    } else {
        Ok(())
    }
}
