//! From HTTP to WebSocket: the handshake's answer, then the socket moves to the worker. HTTP/1.1 gives
//! the whole connection away (RFC 6455 §4), HTTP/2 one stream of it (RFC 8441).

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use roomwire_metrics::Id;
use roomwire_protocols::websocket::deflate::{self, Negotiated};
use roomwire_protocols::websocket::handshake;

use super::body::{RequestBody, ResponseBody};
use super::client;
use super::connection::Connection;
use super::problem::{Answer, Problem};
use super::router::{Match, Target};
use super::screened::Screened;
use super::service::{self, Call};
use super::site;
use super::watch::Answering;
use crate::lifecycle::Phase;
use crate::listener::{Admission, Permit};
use crate::session::{CloseReason, H2Socket, Stream, WebSocketCodec, Wire};
use crate::worker::NewSession;

/// What speaks on the socket afterwards.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handler {
    Rooms,
    Echo,
}

impl Handler {
    fn wire(self, deflate: Option<Negotiated>) -> Wire {
        let codec = WebSocketCodec::new(deflate.map(Negotiated::server_window));
        match self {
            Self::Rooms => Wire::WebSocket(codec),
            Self::Echo => Wire::WebSocketEcho(codec),
        }
    }
}

/// Answers a handshake; the socket follows when hyper has sent the answer.
pub(super) fn upgrade(call: Call, handler: Handler) -> Result<Answer, Problem> {
    let Call {
        connection,
        mut request,
        ..
    } = call;
    refuse_in_drain(&connection)?;
    let accepted = accept(&request).inspect_err(|_| {
        connection.worker.count(Id::WebsocketHandshakesRefused);
    })?;
    let deflate = negotiate(&connection, request.headers()).inspect_err(|_| {
        connection.worker.count(Id::WebsocketHandshakesRefused);
    })?;
    connection.ending.set(CloseReason::Upgraded);
    let upgrade = hyper::upgrade::on(&mut request);
    let peer = client::client(&connection, request.extensions());
    let wire = handler.wire(deflate);
    let moved = move_socket(Rc::clone(&connection), upgrade, wire, peer);
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
    agree(headers, deflate);
    Ok(answer)
}

fn accept(request: &Request<RequestBody>) -> Result<handshake::Accepted, Problem> {
    if request.version() == Version::HTTP_2 {
        let detail = "over HTTP/2 a WebSocket begins with an extended CONNECT (RFC 8441)";
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_handshake",
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
    handshake::accept(parts).map_err(rejection)
}

/// What of the client's offers of compression is taken, where it is configured.
fn negotiate(
    connection: &Connection,
    headers: &http::HeaderMap,
) -> Result<Option<Negotiated>, Problem> {
    if !connection.worker.shared.config.websocket.compression {
        return Ok(None);
    }
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let deflate = deflate::negotiate(headers).map_err(rejection)?;
    if deflate.is_some() {
        connection.worker.count(Id::WebsocketDeflateAgreed);
    }
    Ok(deflate)
}

/// Puts what was agreed into the answer.
fn agree(headers: &mut http::HeaderMap, deflate: Option<Negotiated>) {
    if let Some(deflate) = deflate {
        let value = HeaderValue::from_str(&deflate.to_string());
        headers.insert(
            header::SEC_WEBSOCKET_EXTENSIONS,
            value.expect("names and digits are a header value"),
        );
    }
}

/// A session that would be closed at once is not begun.
fn refuse_in_drain(connection: &Connection) -> Result<(), Problem> {
    if connection.worker.shared.phase() >= Phase::Draining {
        return Err(Problem::draining());
    }
    Ok(())
}

fn rejection(rejected: handshake::Rejected) -> Problem {
    let status = StatusCode::from_u16(rejected.status).unwrap_or(StatusCode::BAD_REQUEST);
    let problem = Problem::new(status, "bad_handshake", rejected.reason);
    match rejected.header {
        Some((name, value)) => problem.with_header(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        ),
        None => problem,
    }
}

/// Answers an extended CONNECT; the stream becomes a session of its own.
pub(super) async fn connect(
    connection: &Rc<Connection>,
    mut request: Request<h2::RecvStream>,
    mut reply: SendResponse<Bytes>,
    answering: Answering,
) {
    let worker = &connection.worker;
    worker.count(Id::HttpRequests);
    client::identify(connection, &mut request);
    let (told, allowed) = client::count(connection, &request);
    let accepted = allowed.and_then(|()| accept_connect(connection, &request));
    let (wire, answer, permit) = match accepted {
        Ok(accepted) => accepted,
        Err(problem) => {
            worker.count(Id::WebsocketHandshakesRefused);
            worker.count(Id::HttpResponsesClientError);
            let patience = worker.shared.config.limits.write_timeout.get();
            let mut answer = problem.into_answer();
            told.set(answer.headers_mut());
            let sent = super::h2::send(answer, &mut reply, patience).await;
            return drop(sent.inspect_err(|error| tracing::debug!(%error, "refusing CONNECT")));
        }
    };
    let peer = client::client(connection, request.extensions());
    let send = match reply.send_response(answer, false) {
        Ok(send) => send,
        Err(error) => return tracing::debug!(%error, "answering CONNECT"),
    };
    worker.count(Id::HttpResponsesOk);
    worker.count(Id::WebsocketHandshakes);
    let stream = Stream::http2(H2Socket::new(
        request.into_body(),
        send,
        Box::new(answering),
    ));
    let listener = connection.listener;
    let new = NewSession::stream(stream, wire, listener, peer, permit)
        .identified(connection.identity.clone());
    worker.with(|core| core.add(new));
}

fn accept_connect(
    connection: &Connection,
    request: &Request<h2::RecvStream>,
) -> Result<(Wire, Response<()>, Permit), Problem> {
    refuse_in_drain(connection)?;
    let protocol = request.extensions().get::<h2::ext::Protocol>();
    if protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
        let detail = "CONNECT is served for :protocol websocket only";
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "bad_handshake",
            detail,
        ));
    }
    let host = request.uri().authority();
    service::check_name(connection, host)?;
    if let Some(location) = site::secure_location(connection, request) {
        let detail = "this is served over https only";
        let problem = Problem::new(StatusCode::PERMANENT_REDIRECT, "moved", detail);
        return Err(problem.with_header(header::LOCATION, location?));
    }
    let routes = site::routes(connection, host.map(Authority::as_str));
    let path = request.uri().path();
    let handler = match service::find(connection, routes, &Method::GET, path) {
        Match::Found(Target::WebSocket, _) => Handler::Rooms,
        Match::Found(Target::Echo, _) => Handler::Echo,
        Match::Found(..) | Match::WrongMethod(_) | Match::BadPath | Match::None => {
            return Err(Problem::not_found());
        }
    };
    service::check_origin(connection, request.headers(), host.map(Authority::as_str))?;
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let subprotocol = handshake::accept_connect(headers).map_err(rejection)?;
    let deflate = negotiate(connection, request.headers())?;
    let mut answer = Response::new(());
    agree(answer.headers_mut(), deflate);
    if let (Some(subprotocol), Handler::Rooms) = (subprotocol, handler) {
        let value = HeaderValue::from_static(subprotocol);
        answer
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let shared = &connection.worker.shared;
    let permit = Admission::admit(shared, connection.listener).map_err(|full| {
        connection.worker.count(full.counter());
        let detail = "there are as many sessions as there may be (max_connections)";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    })?;
    Ok((handler.wire(deflate), answer, permit))
}

async fn move_socket(connection: Rc<Connection>, upgrade: OnUpgrade, wire: Wire, peer: SocketAddr) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(client = %connection.session, %error, "upgrade failed");
            return;
        }
    };
    let Some(stream) = take_stream(upgraded) else {
        return;
    };
    connection.worker.count(Id::WebsocketHandshakes);
    let Some(permit) = connection.permit.borrow_mut().take() else {
        return;
    };
    let new = NewSession::stream(stream, wire, connection.listener, peer, permit)
        .identified(connection.identity.clone());
    let session = connection.worker.with(|core| core.add(new));
    if let Some(session) = session {
        tracing::debug!(client = %connection.session, %session, "became a websocket session");
    }
}

/// The socket as it was before hyper had it, with what hyper read beyond the handshake.
fn take_stream(upgraded: Upgraded) -> Option<Stream> {
    match upgraded.downcast::<TokioIo<Screened>>() {
        Ok(parts) => Some(parts.io.into_inner().into_stream(parts.read_buf)),
        Err(_) => {
            debug_assert!(false, "hyper was given a TokioIo<Screened>");
            None
        }
    }
}
