//! Routes of the program that embeds the gateway. A route is an event named `METHOD /path`; its
//! answering listeners make the reply.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, TRAILER};
use http::{HeaderMap, Method, Response, StatusCode};
use roomwire_certs::Identity;
use roomwire_hub::emitter::{Emitter, GatherError, Mode, name};
use roomwire_metrics::Id;
use roomwire_protocols::problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{RequestBody, ResponseBody};
use super::client::client;
use super::connection::Connection;
use super::problem::{Answer, Problem};
use super::router::Parameters;
use super::service::Call;
use crate::rooms::Rooms;
use crate::work::{Full, Work};
use crate::worker::Core;

/// A request to a route. The body is whole: at most `limits.max_body`.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    path: String,
    query: String,
    parameters: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
    peer: SocketAddr,
    identity: Option<Arc<Identity>>,
    rooms: Rooms,
    emitter: Emitter,
    work: Work,
}

impl Request {
    fn new(
        head: &http::request::Parts,
        parameters: Parameters,
        (body, trailers): (Bytes, HeaderMap),
        connection: &Connection,
    ) -> Self {
        let shared = &connection.worker.shared;
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            parameters: parameters.into_iter().collect(),
            headers: head.headers.clone(),
            body,
            trailers,
            peer: client(connection, &head.extensions),
            identity: connection.identity.clone(),
            rooms: Rooms::new(shared),
            emitter: shared.emitter.clone(),
            work: shared.work.clone(),
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path as it was asked for.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A parameter of the route's path, decoded: `id` of `/users/{id}`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The fields that came behind the body (RFC 9110 §6.5), if any did.
    pub fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// When it is not valid JSON or does not fit the type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// To publish into the gateway's rooms.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Threads for work that takes the processor, which a route must not do itself.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// The gateway's emitter, to emit or to gather answers.
    pub fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    /// Whom the client's certificate names, where the listener asks for one and it showed one that
    /// was accepted.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// The client's address: what a trusted proxy says (`trusted_proxies`), with port 0 where it does not
    /// tell the port, else the connection's own.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// What a route answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Reply {
    /// A status without a body.
    pub fn status(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
        }
    }

    /// Plain text with status 200.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of("text/plain; charset=utf-8", text.into())
    }

    /// HTML with status 200.
    pub fn html(html: impl Into<String>) -> Self {
        Self::of("text/html; charset=utf-8", html.into())
    }

    /// JSON with status 200; a value that has no JSON is answered with status 500.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::of("application/json", body),
            Err(error) => {
                tracing::error!(%error, "a route's answer has no JSON");
                Self::status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Bytes of any type with status 200. Without a valid type it is `application/octet-stream`.
    pub fn bytes(content_type: &str, body: impl Into<Bytes>) -> Self {
        let fallback = HeaderValue::from_static("application/octet-stream");
        let content_type = HeaderValue::from_str(content_type).unwrap_or(fallback);
        Self {
            body: body.into(),
            ..Self::status(StatusCode::OK)
        }
        .with_header(CONTENT_TYPE, content_type)
    }

    /// A problem document (RFC 9457) with this status; `code` is a word for programs, `detail` a
    /// sentence for people.
    pub fn problem(status: StatusCode, code: &str, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        let mut body = Vec::new();
        problem::render(&mut body, status.as_u16(), title, detail, code);
        Self::of(problem::CONTENT_TYPE, body).with_status(status)
    }

    fn of(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::status(StatusCode::OK)
        }
        .with_header(CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with a header field set.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same with a field behind the body. Over HTTP/1.1 clients get it that say `te: trailers`
    /// (RFC 9110 §6.5.1).
    #[must_use]
    pub fn with_trailer(mut self, name: HeaderName, value: HeaderValue) -> Self {
        // RFC 9110 §6.6.2: announced in `Trailer`, which hyper goes by.
        self.headers
            .append(TRAILER, HeaderValue::from(name.clone()));
        self.trailers.append(name, value);
        self
    }

    fn into_answer(self) -> Answer {
        let body = if self.trailers.is_empty() {
            ResponseBody::Whole(self.body)
        } else {
            ResponseBody::Trailed(Box::new((self.body, self.trailers)))
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers;
        answer
    }
}

/// 503: come back in a second.
impl From<Full> for Reply {
    fn from(full: Full) -> Self {
        let detail = format!("{full}; try again");
        let reply = Self::problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", &detail);
        reply.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }
}

/// The event that a route is.
pub(crate) fn route_event(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}

/// Emits `request`, where somebody listens. The body is not read for it.
pub(super) fn announce(
    connection: &Connection,
    request: http::Request<RequestBody>,
) -> http::Request<RequestBody> {
    let topic = |core: &mut Core| core.topics.request.has_listeners();
    if !connection.worker.with(topic) {
        return request;
    }
    let (head, body) = request.into_parts();
    let no_body = (Bytes::new(), HeaderMap::new());
    let announced = Request::new(&head, Parameters::new(), no_body, connection);
    connection
        .worker
        .shared
        .emitter
        .emit(name::REQUEST, &announced);
    http::Request::from_parts(head, body)
}

/// Has the listeners of a route's event answer; the first that does wins.
pub(super) async fn answer(event: &str, call: Call) -> Result<Answer, Problem> {
    let Call {
        connection,
        request,
        parameters,
    } = call;
    let (head, body) = request.into_parts();
    let id = head.headers.get("x-request-id").cloned();
    let failed = |error: &str| failed(&connection, event, error, id.as_ref());
    let body = Call::body_and_trailers(http::Request::new(body), &connection).await?;
    let request = Request::new(&head, parameters, body, &connection);
    let shared = &connection.worker.shared;
    let patience = shared.config.limits.max_request_timeout.get();
    let gathered = shared
        .emitter
        .gather(event, Arc::new(request), Mode::Any, patience)
        .await;
    match gathered {
        Ok(gathered) => match gathered.answers_as::<Reply>().into_iter().next() {
            Some(reply) => Ok(reply.into_answer()),
            None => Err(failed("it answered with something else than a Reply")),
        },
        Err(GatherError::AllRejected(errors)) if errors.is_empty() => Err(Problem::not_found()),
        Err(GatherError::TimedOut(_)) => {
            connection.worker.count(Id::HttpTimeouts);
            let detail = "the route did not answer in time";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail))
        }
        Err(GatherError::NotDeferred(_)) => {
            let detail = "too much waits already; try again";
            Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
                    .with_header(RETRY_AFTER, HeaderValue::from_static("1")),
            )
        }
        Err(error) => Err(failed(&error.to_string())),
    }
}

fn failed(
    connection: &Connection,
    event: &str,
    error: &str,
    request_id: Option<&HeaderValue>,
) -> Problem {
    let request_id = request_id.and_then(|id| id.to_str().ok());
    let (client, peer) = (connection.session, connection.peer);
    tracing::error!(event, error, %client, %peer, request_id, "a route failed");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the route failed",
    )
}
