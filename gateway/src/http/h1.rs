//! HTTP/1.1 by hyper.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use roomwire_metrics::Id;

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::service::respond;
use super::watch::{Answering, Watch};
use crate::session::Stream;

/// Headers in one request; hyper's own default.
const MAX_HEADERS: usize = 100;

/// hyper refuses a smaller buffer.
const MIN_BUFFER_BYTES: usize = 8192;

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
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let connection = Rc::clone(connection);
        let answering = watch.begin();
        async move {
            let answer = respond(&connection, request.map(RequestBody::http1)).await;
            Ok::<_, Infallible>(answer.map(|body| Watched {
                body,
                _answering: answering,
            }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // Of a head and of the wait for one; the watch minds the first.
        .header_read_timeout(limits.idle_http.get().max(limits.header_timeout.get()))
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.max_header.as_usize().max(MIN_BUFFER_BYTES))
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
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
            verdict = verdict.as_mut() => return connection.judged(verdict),
            _ = connection.closed() => return,
        }
    };
    match ended {
        Ok(()) => {}
        // Nothing was asked for idle_http: an ordinary end.
        Err(error) if error.is_timeout() => {}
        Err(error) => {
            let bad = error.is_parse();
            connection.worker.count(if bad {
                Id::HttpBadRequests
            } else {
                Id::HttpConnectionErrors
            });
            tracing::debug!(peer = %connection.peer, %error, "http/1.1 connection failed");
        }
    }
}
