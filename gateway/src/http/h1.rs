//! HTTP/1.1 by hyper.
//!
//! hyper has one timeout for the wait between two requests and for a request's head. These are two
//! things: a browser keeps a connection for a minute, and an attacker sends a head byte by byte. So
//! hyper is given the longer one, and [`HeadWatch`] minds the other.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use roomwire_metrics::Id;

use super::body::RequestBody;
use super::connection::Connection;
use super::service::respond;
use crate::session::Stream;

/// Headers in one request; hyper's own default.
const MAX_HEADERS: usize = 100;

/// hyper refuses a smaller buffer.
const MIN_BUFFER_BYTES: usize = 8192;

/// Finds out heads that take too long: something was read, and no request came of it.
struct HeadWatch {
    /// Raised by reads of the stream, lowered when a request begins.
    heard: Arc<AtomicBool>,
    /// Requests being answered; what is read meanwhile is a body or a pipelined request.
    answering: Cell<usize>,
}

impl HeadWatch {
    /// Resolves when nothing was asked and nothing is being answered for a while.
    async fn silence(&self) {
        loop {
            tokio::time::sleep(FAREWELL).await;
            if self.answering.get() == 0 && !self.heard.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Resolves when a head has taken between once and one and a half times `limit`.
    async fn too_slow(&self, limit: Duration) {
        let mut halves = 0;
        while halves < 3 {
            tokio::time::sleep(limit / 2).await;
            let waits = self.answering.get() == 0 && self.heard.load(Ordering::Relaxed);
            halves = if waits { halves + 1 } else { 0 };
        }
    }
}

/// How long a connection may be silent in a drain before it is closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves requests until the connection ends, is closed from elsewhere, or the gateway drains, in
/// which case the request in progress is the last.
pub(super) async fn serve(connection: &Rc<Connection>, mut stream: Stream) {
    let limits = &connection.worker.shared.config.limits;
    let watch = HeadWatch {
        heard: Arc::default(),
        answering: Cell::new(0),
    };
    stream.report_to(Some(Arc::clone(&watch.heard)));
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let connection = Rc::clone(connection);
        let watch = &watch;
        watch.heard.store(false, Ordering::Relaxed);
        watch.answering.set(watch.answering.get() + 1);
        async move {
            let answer = respond(&connection, request.map(RequestBody::http1)).await;
            watch.answering.set(watch.answering.get() - 1);
            watch.heard.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_http.get().max(limits.header_timeout.get()))
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.max_header.as_usize().max(MIN_BUFFER_BYTES))
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut too_slow = pin!(watch.too_slow(limits.header_timeout.get()));
    let mut draining = false;
    let mut silence = pin!(watch.silence());
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            () = connection.drained(), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
            // hyper would wait for the first request of a connection that was only opened.
            () = silence.as_mut(), if draining => return,
            () = too_slow.as_mut() => {
                connection.worker.count(Id::HttpTimeouts);
                tracing::debug!(peer = %connection.peer, "a request's head took too long");
                return;
            }
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
