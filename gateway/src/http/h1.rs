//! HTTP/1.1 by hyper.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;

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

/// Serves requests until the connection ends, is closed from elsewhere, or the gateway drains, in
/// which case the request in progress is the last.
pub(super) async fn serve(connection: &Rc<Connection>, stream: Stream) {
    let limits = &connection.worker.shared.config.limits;
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let connection = Rc::clone(connection);
        async move {
            let request = request.map(RequestBody::http1);
            Ok::<_, Infallible>(respond(&connection, request).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout.get())
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.max_header.as_usize().max(8192))
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            () = connection.drained(), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
            _ = connection.closed() => return,
        }
    };
    if let Err(error) = ended {
        let id = if error.is_parse() {
            Id::HttpBadRequests
        } else if error.is_timeout() {
            Id::HttpTimeouts
        } else {
            Id::HttpConnectionErrors
        };
        connection.worker.count(id);
        tracing::debug!(peer = %connection.peer, %error, "http/1.1 connection failed");
    }
}
