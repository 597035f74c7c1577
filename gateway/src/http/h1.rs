//! HTTP/1.1: directly as long as it is simple (`direct.rs`), then by hyper, behind a screen that is
//! stricter than it is.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use roomwire_metrics::Id;
use roomwire_protocols::http1 as wire;

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::direct::{self, Rest};
use super::pipeline::{refuse, respond};
use super::screened::{Refusal, Screen, Screened};
use super::watch::{Answering, Verdict, Watch};
use crate::config::Limits;
use crate::session::Stream;

/// Headers in one request; hyper's own default.
const MAX_HEADERS: usize = 100;

/// What hyper's buffer has room for besides one head: it takes a full buffer for a head over the limit.
const BUFFER_MARGIN: usize = 1024;

/// An answer's body, which counts as being answered until hyper has taken all of it.
struct Watched {
    body: ResponseBody,
    _answering: Answering,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves requests until the connection ends, is closed from elsewhere, or the gateway drains, in
/// which case the request in progress is the last.
pub(super) async fn serve(connection: &Rc<Connection>, mut stream: Stream) {
    let limits = &connection.worker.shared.config.limits;
    let watch = Watch::http1(limits);
    stream.report_to(Some(watch.activity()));
    let rest = direct::serve(connection, stream, &watch, bounds(limits)).await;
    if let Some(rest) = rest {
        Box::pin(serve_with_hyper(connection, rest, &watch)).await;
    }
}

async fn serve_with_hyper(connection: &Rc<Connection>, rest: Rest, watch: &Watch) {
    let limits = &connection.worker.shared.config.limits;
    let begun = Cell::new(rest.first);
    let screen = Arc::new(Screen::default());
    let requests = Cell::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        let connection = Rc::clone(connection);
        let answering = watch.begin();
        let refusal = screen.refusal_of(requests.replace(requests.get() + 1));
        let begun = begun.take();
        // hyper keeps room for this future as long as the connection lasts: boxed, only as long as
        // the request does. The same goes for the connection's own phases in `connection.rs`.
        Box::pin(async move {
            let answer = match begun {
                Some(begun) => begun.await,
                None => answer(&connection, request, refusal).await,
            };
            Ok::<_, Infallible>(answer.map(|body| Watched {
                body,
                _answering: answering,
            }))
        })
    });
    let max_header = limits.max_header.as_usize();
    let screened = Screened::new(
        rest.stream,
        bounds(limits),
        Arc::clone(&screen),
        watch.activity(),
    );
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // Of a head and of the wait for one; the watch minds the first.
        .header_read_timeout(limits.idle_http.get().max(limits.header_timeout.get()))
        .max_headers(MAX_HEADERS)
        .max_buf_size(max_header + BUFFER_MARGIN)
        .half_close(false)
        .serve_connection(TokioIo::new(screened), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut drained = pin!(connection.drained());
    let mut verdict = pin!(watch.verdict());
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            () = drained.as_mut(), if !draining => {
                draining = true;
                watch.drain();
                served.as_mut().graceful_shutdown();
            }
            found = verdict.as_mut() => {
                let slow = found == Verdict::HeadTooSlow;
                if slow && screen.is_over() {
                    // It had its answer, which was counted.
                    return;
                }
                if !slow || !screen.give_up() {
                    return connection.judged(found);
                }
                // It is answered first, which must not take for ever either.
                verdict.set(watch.verdict());
            }
            _ = connection.closed() => return,
        }
    };
    if screen.refused_body() || screen.heard_no_http() {
        connection.worker.count(Id::HttpBadRequests);
    }
    match ended {
        Ok(()) => {}
        Err(_) if screen.refused_body() => {}
        // Nothing was asked for idle_http: an ordinary end.
        Err(error) if error.is_timeout() => {}
        Err(error) => {
            let bad = error.is_parse();
            connection.worker.count(if bad {
                Id::HttpBadRequests
            } else {
                Id::HttpConnectionErrors
            });
            tracing::debug!(client = %connection.session, %error, "http/1.1 connection failed");
        }
    }
}

async fn answer(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    refusal: Option<Refusal>,
) -> Response<ResponseBody> {
    let (mut answer, close) = if let Some(refusal) = refusal {
        let timed_out = refusal.status == StatusCode::REQUEST_TIMEOUT;
        connection.worker.count(if timed_out {
            Id::HttpTimeouts
        } else {
            Id::HttpBadRequests
        });
        (refuse(connection, refusal.problem()), true)
    } else {
        let mut upgrades = request.headers().get_all(UPGRADE).iter();
        let websocket = upgrades.any(|value| wire::wants_websocket(value.as_bytes()));
        let answer = respond(connection, request.map(RequestBody::http1)).await;
        // What follows such a request was not looked at, so it cannot be another one.
        let refused = websocket && answer.status() != StatusCode::SWITCHING_PROTOCOLS;
        (answer, refused)
    };
    if close {
        let headers = answer.headers_mut();
        // RFC 9110 §7.8: whoever sends Upgrade lists it here.
        let options = if headers.contains_key(UPGRADE) {
            "upgrade, close"
        } else {
            "close"
        };
        headers.insert(CONNECTION, HeaderValue::from_static(options));
    }
    answer
}

fn bounds(limits: &Limits) -> wire::Limits {
    wire::Limits {
        max_head: limits.max_header.as_usize(),
        max_target: limits.max_target.as_usize(),
        max_field: limits.max_header_field.as_usize(),
        max_fields: MAX_HEADERS,
    }
}
