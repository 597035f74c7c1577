//! From HTTP/1.1 to WebSocket: the handshake's answer, then the socket moves to the worker.

use std::rc::Rc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use roomwire_metrics::Id;
use roomwire_protocols::websocket::Decoder;
use roomwire_protocols::websocket::handshake;

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::problem::{Answer, Problem};
use super::service::Call;
use crate::session::{CloseReason, Stream, Wire};
use crate::worker::NewSession;

/// What speaks on the socket afterwards.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handler {
    Rooms,
    Echo,
}

/// Answers a handshake; the socket follows when hyper has sent the answer.
pub(super) fn upgrade(call: Call, handler: Handler) -> Result<Answer, Problem> {
    let Call {
        connection,
        mut request,
        ..
    } = call;
    let accepted = accept(&request).inspect_err(|_| {
        connection.worker.count(Id::WebsocketHandshakesRefused);
    })?;
    connection.ending.set(CloseReason::Upgraded);
    let upgrade = hyper::upgrade::on(&mut request);
    let moved = move_socket(Rc::clone(&connection), upgrade, handler);
    connection.worker.scope.spawn("websocket upgrade", moved);
    let mut answer = Response::new(ResponseBody::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let key = HeaderValue::from_str(&accepted.accept_key);
    headers.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        key.expect("base64 is a header value"),
    );
    if let (Some(subprotocol), Handler::Rooms) = (accepted.subprotocol, handler) {
        let value = HeaderValue::from_static(subprotocol);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(answer)
}

fn accept(request: &Request<RequestBody>) -> Result<handshake::Accepted, Problem> {
    if request.version() == Version::HTTP_2 {
        let detail = "WebSocket over HTTP/2 is not available; connect with HTTP/1.1";
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "no_websocket_over_http2",
            detail,
        ));
    }
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let parts = handshake::Request {
        method: request.method().as_str(),
        version11_or_newer: request.version() >= Version::HTTP_11,
        headers,
    };
    handshake::accept(parts).map_err(|rejected| {
        let status = StatusCode::from_u16(rejected.status).unwrap_or(StatusCode::BAD_REQUEST);
        let problem = Problem::new(status, "bad_handshake", rejected.reason);
        match rejected.header {
            Some((name, value)) => problem.with_header(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            ),
            None => problem,
        }
    })
}

async fn move_socket(connection: Rc<Connection>, upgrade: OnUpgrade, handler: Handler) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(peer = %connection.peer, %error, "upgrade failed");
            return;
        }
    };
    let Some(stream) = take_stream(upgraded) else {
        return;
    };
    connection.worker.count(Id::WebsocketHandshakes);
    let wire = match handler {
        Handler::Rooms => Wire::WebSocket(Decoder::new()),
        Handler::Echo => Wire::WebSocketEcho(Decoder::new()),
    };
    let Some(permit) = connection.permit.borrow_mut().take() else {
        return;
    };
    let new = NewSession::stream(stream, wire, connection.listener, connection.peer, permit);
    connection.worker.with(|core| core.add(new));
}

/// The socket as it was before hyper had it, with what hyper read beyond the handshake.
fn take_stream(upgraded: Upgraded) -> Option<Stream> {
    match upgraded.downcast::<TokioIo<Stream>>() {
        Ok(parts) => {
            let mut stream = parts.io.into_inner();
            stream.report_to(None);
            if !parts.read_buf.is_empty() {
                stream.unread(parts.read_buf);
            }
            Some(stream)
        }
        Err(_) => {
            debug_assert!(false, "hyper was given a TokioIo<Stream>");
            None
        }
    }
}
