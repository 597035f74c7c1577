//! HTTP/2 by the h2 crate: what is at hand is answered at once and written together, other requests
//! become tasks, and bodies keep to the peer's flow control.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendPushedResponse, SendResponse};
use h2::{FlowControl, Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use roomwire_metrics::Id;
use roomwire_protocols::http1 as wire;
use roomwire_protocols::http2::{Limits, Violation};

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::cork::{Cork, Corked, cork};
use super::counted::{Count, Counted};
use super::linger::LINGER;
use super::pipeline::{date, refuse, respond};
use super::problem::Problem;
use super::unasked::Unasked;
use super::watch::{Answering, FAREWELL, Verdict, Watch};
use crate::config::{self, ByteSize, Config, Http2Config};
use crate::session::Stream;

/// Bytes h2 keeps per stream that the peer has not taken yet.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// Fields in one request, as over HTTP/1.1.
const MAX_HEADERS: usize = 100;

/// RFC 9113 §6.5.2: what each field counts besides its name and value.
const FIELD_OVERHEAD: usize = 32;

/// Bytes of body sent without asking for flow-control capacity again.
const CHUNK: usize = 16 * 1024;

/// A connection as h2 drives it, and what it wrote meanwhile.
struct Served {
    connection: h2::server::Connection<Corked<Counted>, Bytes>,
    cork: Cork<Counted>,
    /// Requests taken before any is answered.
    most: usize,
}

/// A request that has come.
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// What came of letting h2 read and write.
enum Came {
    Requests,
    End,
    Failed(h2::Error),
    /// What h2 wrote could not be sent.
    Lost(io::Error),
}

impl Served {
    /// Lets h2 read and write, and takes the requests that came, so that all are answered before h2
    /// writes again. Once there are none, what h2 wrote is sent.
    fn poll_requests(&mut self, requests: &mut Vec<Asked>, cx: &mut Context<'_>) -> Poll<Came> {
        let end = loop {
            if requests.len() >= self.most {
                return Poll::Ready(Came::Requests);
            }
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok(request))) => requests.push(request),
                Poll::Ready(Some(Err(error))) => break Poll::Ready(Came::Failed(error)),
                Poll::Ready(None) => break Poll::Ready(Came::End),
                Poll::Pending if requests.is_empty() => break Poll::Pending,
                Poll::Pending => return Poll::Ready(Came::Requests),
            }
        };
        match self.cork.poll_send(cx) {
            // Why h2 gave up says more.
            Poll::Ready(Err(error)) if end.is_pending() => Poll::Ready(Came::Lost(error)),
            Poll::Ready(_) | Poll::Pending => end,
        }
    }

    async fn requests(&mut self, requests: &mut Vec<Asked>) -> Came {
        poll_fn(|cx| self.poll_requests(requests, cx)).await
    }

    /// Lets the connection come to its end; requests that come now are not looked at.
    async fn finish(&mut self) {
        while matches!(self.requests(&mut Vec::new()).await, Came::Requests) {}
    }
}

/// Serves requests until the connection ends, is closed from elsewhere, or the gateway drains, in
/// which case GOAWAY is sent and the streams are finished.
pub(super) async fn serve(connection: &Rc<Connection>, mut stream: Stream) {
    let worker = &connection.worker;
    let config = &worker.shared.config;
    let watch = Watch::http2(&config.limits);
    stream.report_to(Some(watch.activity()));
    let count = Rc::new(Count::default());
    let bounds = bounds(&config.http2);
    let stream = Counted::new(stream, bounds, worker.shared.clock, Rc::clone(&count));
    let (stream, cork) = cork(stream);
    let mut shaking = pin!(builder(config).handshake::<_, Bytes>(stream));
    let handshake = poll_fn(|cx| {
        let shaken = shaking.as_mut().poll(cx);
        // Where this fails, reading does.
        drop(cork.poll_send(cx));
        shaken
    });
    let handshake = tokio::time::timeout(config.limits.handshake_timeout.get(), handshake);
    let shaken = match handshake.await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(error)) => return failed(connection, &error, &count),
        Err(_) => {
            worker.count(Id::HttpTimeouts);
            return;
        }
    };
    let mut served = Served {
        connection: shaken,
        cork,
        most: config.http2.max_streams,
    };
    let mut requests = Vec::new();
    let mut begun = 0;
    let mut drained = pin!(connection.drained());
    let mut verdict = pin!(watch.verdict());
    let mut draining = false;
    loop {
        let came = tokio::select! {
            biased;
            came = served.requests(&mut requests) => came,
            violation = poll_fn(|cx| count.poll_violation(cx)) => {
                return break_off(connection, served, violation).await;
            }
            () = drained.as_mut(), if !draining => {
                draining = true;
                watch.drain();
                served.connection.graceful_shutdown();
                continue;
            }
            verdict = verdict.as_mut() => {
                connection.judged(verdict);
                if verdict == Verdict::Idle {
                    go_away(served).await;
                }
                break;
            }
            _ = connection.closed() => break,
        };
        for (request, reply) in requests.drain(..) {
            begun += 1;
            let answering = watch.begin();
            let mut answer = Box::pin(answer(Rc::clone(connection), request, reply, answering));
            // Most answers are at hand; the others are made by tasks.
            let answered = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
            if answered.is_pending() {
                worker.scope.spawn("http/2 stream", answer);
            }
        }
        match came {
            Came::Requests => {}
            Came::End => break,
            Came::Failed(error) => {
                failed(connection, &error, &count);
                break;
            }
            Came::Lost(error) => {
                worker.count(Id::HttpConnectionErrors);
                tracing::debug!(peer = %connection.peer, %error, "http/2 connection failed");
                break;
            }
        }
    }
    let unserved = count.opened().saturating_sub(begun);
    worker.lane.add(Id::Http2Unserved, unserved);
}

fn builder(config: &Config) -> Builder {
    let http2 = &config.http2;
    let bytes = |size: ByteSize| u32::try_from(size.get()).unwrap_or(u32::MAX);
    let max_streams = u32::try_from(http2.max_streams).unwrap_or(u32::MAX);
    let window = bytes(http2.stream_window);
    // As large as all streams' windows together, so that a stream that is not read holds up no other;
    // RFC 9113 §6.9.1 has an end to it.
    let connection_window = max_streams.saturating_mul(window).min(u32::MAX >> 1);
    let max_header = config.limits.max_header.as_usize() + MAX_HEADERS * FIELD_OVERHEAD;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(max_streams)
        .initial_window_size(window)
        .initial_connection_window_size(connection_window)
        .max_header_list_size(u32::try_from(max_header).unwrap_or(u32::MAX))
        .enable_connect_protocol()
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .data_frame_budget(http2.max_small_data.as_usize())
        .max_local_error_reset_streams(Some(http2.max_stream_errors))
        // Those that are given up before we had a look: no more than could be open otherwise.
        .max_pending_accept_reset_streams(http2.max_streams);
    builder
}

fn bounds(config: &Http2Config) -> Limits {
    let frames = |most: usize| u32::try_from(most).unwrap_or(u32::MAX);
    Limits {
        pings: frames(config.max_pings),
        settings: frames(config.max_settings),
        resets: frames(config.max_resets),
        priorities: frames(config.max_priorities),
        window_updates: frames(config.max_window_updates),
        empty: frames(config.max_empty_frames),
        continuations: frames(config.max_continuations),
    }
}

/// Tells the peer that no more is taken, so that it knows a request on its way was not looked at.
async fn go_away(mut served: Served) {
    served.connection.graceful_shutdown();
    // What comes now is refused by it.
    drop(tokio::time::timeout(FAREWELL, served.requests(&mut Vec::new())).await);
}

/// Ends a connection whose peer only makes work, and says so.
async fn break_off(connection: &Connection, mut served: Served, violation: Violation) {
    let (counter, reason) = match violation {
        Violation::Continuations => (Id::Http2ContinuationFloods, Reason::ENHANCE_YOUR_CALM),
        Violation::Empty => (Id::Http2EmptyFloods, Reason::ENHANCE_YOUR_CALM),
        Violation::FrameSize => (Id::HttpBadRequests, Reason::FRAME_SIZE_ERROR),
        Violation::Pings => (Id::Http2PingFloods, Reason::ENHANCE_YOUR_CALM),
        Violation::Priorities => (Id::Http2PriorityFloods, Reason::ENHANCE_YOUR_CALM),
        Violation::Resets => (Id::Http2ResetFloods, Reason::ENHANCE_YOUR_CALM),
        Violation::Settings => (Id::Http2SettingsFloods, Reason::ENHANCE_YOUR_CALM),
        Violation::StreamClosed => (Id::HttpBadRequests, Reason::STREAM_CLOSED),
        Violation::WindowUpdates => (Id::Http2WindowFloods, Reason::ENHANCE_YOUR_CALM),
    };
    connection.worker.count(counter);
    tracing::debug!(peer = %connection.peer, ?violation, "http/2 connection broken off");
    served.connection.abrupt_shutdown(reason);
    drop(tokio::time::timeout(FAREWELL + LINGER, served.finish()).await);
}

/// What h2 says in a GOAWAY for what one of its own bounds forbids.
const COMPLAINTS: [(&str, Id); 5] = [
    ("header_list_way_too_large", Id::Http2HeaderBombs),
    ("too_many_continuations", Id::Http2ContinuationFloods),
    ("too_many_data_frames", Id::Http2SmallDataFloods),
    ("too_many_internal_resets", Id::Http2ErrorFloods),
    ("too_many_resets", Id::Http2ResetFloods),
];

fn failed(connection: &Connection, error: &h2::Error, count: &Count) {
    let complaint = || {
        let known = COMPLAINTS.iter().find(|(word, _)| count.last_said(word));
        known.map_or(Id::HttpBadRequests, |(_, id)| *id)
    };
    let id = if error.is_io() {
        Id::HttpConnectionErrors
    } else if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        complaint()
    } else {
        Id::HttpBadRequests
    };
    connection.worker.count(id);
    tracing::debug!(client = %connection.session, %error, "http/2 connection failed");
}

async fn answer(
    connection: Rc<Connection>,
    mut request: Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    answering: Answering,
) {
    if request.method() == Method::CONNECT {
        return super::upgrade::connect(&connection, request, reply, answering).await;
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let unread = Unread::of(request.body_mut());
    let request = request.map(|stream| {
        let ended = unread.as_ref().map(|unread| Arc::clone(&unread.ended));
        RequestBody::http2(stream, length.unwrap_or(0), ended)
    });
    let unasked = Unasked::of(&connection, &request);
    let response = tokio::select! {
        biased;
        response = async {
            match check(request.uri(), request.headers(), &connection.worker.shared.config.limits) {
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
    let mut response = response;
    if let (Some(page), Some(unasked)) = (response.extensions_mut().remove(), unasked) {
        unasked.send(&connection, page, &mut reply, &answering);
    }
    finish(&connection, response, &mut reply).await;
    drop(answering);
    if let Some(unread) = unread {
        unread.linger(&mut reply).await;
    }
}

/// Bodies at a time, for each worker, that are still looked at behind an answer that did not wait for
/// them. Chosen: some 2 MiB.
const MAX_LINGERING: usize = 1024;

thread_local! {
    static LINGERING: Cell<usize> = const { Cell::new(0) };
}

/// A request's body that had not ended when its head came. Behind an answer that does not wait for it
/// the stream is kept for a moment, so that a client which is in the middle of sending gets the answer
/// and not a reset (RFC 9113 §8.1), and what is malformed is told so.
struct Unread {
    ended: Arc<AtomicBool>,
    /// Without it h2 would reset the stream once nobody reads from it.
    _stream: FlowControl,
}

impl Unread {
    fn of(stream: &mut RecvStream) -> Option<Self> {
        if stream.is_end_stream() {
            return None;
        }
        Some(Self {
            ended: Arc::default(),
            _stream: stream.flow_control().clone(),
        })
    }

    async fn linger(self, reply: &mut SendResponse<Bytes>) {
        if self.ended.load(Ordering::Relaxed) || LINGERING.get() >= MAX_LINGERING {
            return;
        }
        LINGERING.set(LINGERING.get() + 1);
        let _one = OneLingers;
        let given_up = poll_fn(|cx| reply.poll_reset(cx));
        drop(tokio::time::timeout(LINGER, given_up).await);
    }
}

struct OneLingers;

impl Drop for OneLingers {
    fn drop(&mut self) {
        LINGERING.set(LINGERING.get() - 1);
    }
}

/// Sends an answer, or says that it broke off.
pub(super) async fn finish(
    connection: &Connection,
    response: Response<ResponseBody>,
    reply: &mut impl Respond,
) {
    let patience = connection.worker.shared.config.limits.write_timeout.get();
    if let Err(error) = send(response, reply, patience).await {
        tracing::debug!(client = %connection.session, %error, "http/2 stream failed");
        if error.reason() == Some(Reason::CANCEL) {
            connection.worker.count(Id::Http2Stalled);
        }
        reply.send_reset(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
    }
}

/// What the screen refuses over HTTP/1.1 before hyper has it, and h2 does not.
fn check(uri: &Uri, headers: &HeaderMap, limits: &config::Limits) -> Result<(), Problem> {
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let largest = headers.iter().map(field).max().unwrap_or(0);
    let violation = if target.len() > limits.max_target.as_usize() {
        wire::Violation::TargetTooLong
    } else if !target.is_ascii() {
        wire::Violation::Target
    } else if headers.len() > MAX_HEADERS {
        wire::Violation::TooManyFields
    } else if largest > limits.max_header_field.as_usize() {
        wire::Violation::FieldTooLarge
    } else {
        return Ok(());
    };
    let status = StatusCode::from_u16(violation.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let code = if status == StatusCode::BAD_REQUEST {
        "bad_request"
    } else {
        "too_large"
    };
    Err(Problem::new(status, code, violation.reason()))
}

/// What takes an answer: a request, or one that was promised.
pub(super) trait Respond {
    fn send_response(
        &mut self,
        head: Response<()>,
        end: bool,
    ) -> Result<SendStream<Bytes>, h2::Error>;

    fn send_reset(&mut self, reason: Reason);
}

impl Respond for SendResponse<Bytes> {
    fn send_response(
        &mut self,
        head: Response<()>,
        end: bool,
    ) -> Result<SendStream<Bytes>, h2::Error> {
        self.send_response(head, end)
    }

    fn send_reset(&mut self, reason: Reason) {
        self.send_reset(reason);
    }
}

impl Respond for SendPushedResponse<Bytes> {
    fn send_response(
        &mut self,
        head: Response<()>,
        end: bool,
    ) -> Result<SendStream<Bytes>, h2::Error> {
        self.send_response(head, end)
    }

    fn send_reset(&mut self, reason: Reason) {
        self.send_reset(reason);
    }
}

pub(super) async fn send(
    response: Response<ResponseBody>,
    reply: &mut impl Respond,
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
            biased;
            frame = body.frame() => frame,
            reset = poll_fn(|cx| stream.poll_reset(cx)) => {
                reset?;
                return Ok(());
            }
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            // Ended like a whole one, a part would pass for the whole.
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer breaks off");
                return Err(Reason::INTERNAL_ERROR.into());
            }
            None => return stream.send_data(Bytes::new(), true),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => return stream.send_trailers(trailers),
                Err(_) => continue,
            },
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
        let wanted = data.len().min(CHUNK);
        stream.reserve_capacity(wanted);
        let capacity = if stream.capacity() >= wanted {
            wanted
        } else {
            let window = poll_fn(|cx| stream.poll_capacity(cx));
            match tokio::time::timeout(patience, window).await {
                Ok(Some(capacity)) => capacity?,
                // The stream was reset by the peer.
                Ok(None) => return Ok(()),
                // Its window stayed shut: this stream ends, the others go on.
                Err(_) => return Err(Reason::CANCEL.into()),
            }
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
