//! What is for operators: who is let in, the admin page, its figures, the drain, the log's levels.
//!
//! The token comes as `Authorization: Bearer`, or in a cookie that the printed link leaves: a browser's
//! event stream cannot say the former. The cookie does not go with what another site's page asks for
//! (`SameSite=Lax`), and requests that act have their origin checked besides.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, CACHE_CONTROL, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use roomwire_metrics::Id;
use serde::{Deserialize, Serialize};

use super::body::ResponseBody;
use super::connection::Connection;
use super::message::is_json;
use super::origin;
use super::page;
use super::problem::{Answer, Problem, json, with_type};
use super::service::{Call, authority, listener};
use crate::admin::{Frame, Viewer};

/// The cookie with the token.
const COOKIE: &str = "roomwire_admin";

/// How long a browser keeps it. Chosen: a month; the link can be used again.
const COOKIE_SECONDS: u32 = 30 * 24 * 60 * 60;

/// What proxies add to requests.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Refuses requests that need the token and do not show it.
pub(super) fn check<B>(connection: &Connection, request: &Request<B>) -> Result<(), Problem> {
    if is_trusted(connection, request) || shows_token(connection, request.headers()) {
        return Ok(());
    }
    connection.worker.count(Id::AdminRefused);
    let detail = "this is for operators: show the admin token as `Authorization: Bearer TOKEN`, or open \
        the link that `roomwire serve` printed";
    let challenge = HeaderValue::from_static("Bearer realm=\"roomwire admin\"");
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "admin_token", detail);
    Err(problem.with_header(header::WWW_AUTHENTICATE, challenge))
}

fn is_trusted<B>(connection: &Connection, request: &Request<B>) -> bool {
    let guard = &connection.worker.shared.guard;
    let bound = listener(connection).address.ip();
    let host = authority(request).map(str::parse::<Authority>);
    let named = match host {
        // Who says nothing was not sent here by a name.
        None => true,
        Some(host) => host.is_ok_and(|host| origin::is_loopback(host.host())),
    };
    let headers = request.headers();
    guard.trusts(bound, connection.peer.ip())
        && named
        && !FORWARDED.iter().any(|name| headers.contains_key(*name))
}

fn shows_token(connection: &Connection, headers: &HeaderMap) -> bool {
    let guard = &connection.worker.shared.guard;
    let bearer = headers.get(header::AUTHORIZATION).and_then(bearer);
    let mut shown = bearer.into_iter().chain(cookies(headers));
    shown.any(|token| guard.accepts(token))
}

/// The token of `Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

/// Every value of our cookie: another program of the same host may have set one as well.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// `GET /admin`: the page; with `?token=` the cookie first, and then the page without it in its address.
pub(super) fn page(call: &Call) -> Answer {
    let shared = &call.connection.worker.shared;
    let shown = call.query("token");
    if let Some(shown) = shown.filter(|shown| shared.guard.accepts(shown)) {
        return set_cookie(&call.connection, &shown);
    }
    match check(&call.connection, &call.request) {
        Ok(()) => page::admin(),
        Err(problem) => {
            let mut answer = page::token();
            *answer.status_mut() = problem.status;
            let headers = answer.headers_mut();
            headers.extend(problem.header.map(|(name, value)| (Some(name), value)));
            answer
        }
    }
}

fn set_cookie(connection: &Connection, token: &str) -> Answer {
    let secure = if connection.secure { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE}={token}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax{secure}"
    );
    let mut answer = Response::new(ResponseBody::empty());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let headers = answer.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/admin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let referrer = header::HeaderName::from_static("referrer-policy");
    headers.insert(referrer, HeaderValue::from_static("no-referrer"));
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.insert(SET_COOKIE, cookie);
    }
    answer
}

/// `POST /v1/drain`: what SIGTERM does. Asking again changes nothing.
pub(super) fn drain(call: &Call) -> Answer {
    #[derive(Serialize)]
    struct Draining {
        state: &'static str,
        sessions: usize,
        drain_ms: u64,
    }
    let shared = &call.connection.worker.shared;
    let sessions = shared.sessions.load(std::sync::atomic::Ordering::Relaxed);
    if shared.begin_drain() {
        let (peer, drain) = (call.connection.peer, shared.config.gateway.drain);
        tracing::info!(%peer, sessions, %drain, "draining, as asked over the API");
    }
    let drain_ms = shared.config.gateway.drain.as_millis();
    let body = Draining {
        state: shared.phase().as_str(),
        sessions,
        drain_ms,
    };
    json(StatusCode::ACCEPTED, &body)
}

/// `GET /v1/stats/events`: figures each second, after what was in the last ten minutes.
pub(super) fn figures(call: &Call) -> Result<Answer, Problem> {
    if call.request.method() == Method::HEAD {
        let mut answer = with_type(StatusCode::OK, "text/event-stream", Bytes::new());
        *answer.body_mut() = ResponseBody::Unsaid;
        return Ok(answer);
    }
    let worker = &call.connection.worker;
    let viewer = worker.shared.feed.join().ok_or_else(|| {
        worker.count(Id::AdminViewersRefused);
        let detail = "as many admin pages look on as may (admin.max_viewers)";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, "overloaded", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
    })?;
    let stream = FigureStream::new(viewer);
    let mut answer = Response::new(ResponseBody::Figures(stream));
    let headers = answer.headers_mut();
    let event_stream = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, event_stream);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and its like pass events on at once when told so.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

/// The body of a stream of figures.
pub(crate) struct FigureStream {
    /// What is waited for; it owns the viewer meanwhile.
    waiting: Pin<Box<dyn Future<Output = (Viewer, Option<Frame>)>>>,
    over: bool,
}

impl fmt::Debug for FigureStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FigureStream")
    }
}

impl FigureStream {
    fn new(mut viewer: Viewer) -> Self {
        let greeting = async move {
            let bytes = viewer.greeting().await;
            let frame = bytes.map(|bytes| Frame { bytes, last: false });
            (viewer, frame)
        };
        Self {
            waiting: Box::pin(greeting),
            over: false,
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        let (mut viewer, frame) = ready!(self.waiting.as_mut().poll(cx));
        self.waiting = Box::pin(async move {
            let frame = viewer.next().await;
            (viewer, frame)
        });
        self.over = frame.as_ref().is_none_or(|frame| frame.last);
        Poll::Ready(frame.map(|frame| frame.bytes))
    }
}

/// `GET /v1/log`: what is logged now, and what was at the start.
pub(super) fn log_levels() -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Shown<'a> {
        filter: &'a str,
        start: &'a str,
    }
    let levels = crate::log::levels().ok_or_else(not_ours)?;
    let (now, start) = levels.shown();
    let filter = &now.text;
    Ok(json(StatusCode::OK, &Shown { filter, start }))
}

/// `PUT /v1/log`: logs what a filter says, or with `null` what was logged at the start.
pub(super) async fn set_log_levels(call: Call) -> Result<Answer, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        filter: Option<String>,
    }
    let levels = crate::log::levels().ok_or_else(not_ours)?;
    call.require_body()?;
    if !is_json(call.request.headers()) {
        call.connection.worker.count(Id::HttpWrongType);
        let detail = "send application/json, as in {\"filter\": \"debug\"}";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "unsupported_media_type", detail));
    }
    let Call {
        connection,
        request,
        ..
    } = call;
    let body = Call::body(request, &connection).await?;
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_filter", detail);
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let set = levels.set(wanted.filter.as_deref());
    set.map_err(|error| bad(error.to_string()))?;
    log_levels()
}

fn not_ours() -> Problem {
    let detail = "the program that this gateway is part of has a log of its own";
    Problem::new(StatusCode::CONFLICT, "no_log", detail)
}

/// Whether a request must show the token, where it is not trusted without.
pub(super) fn is_guarded(target: &super::Target) -> bool {
    use super::Target;
    matches!(
        target,
        Target::AdminFigures
            | Target::CloseConnection
            | Target::Connections
            | Target::Drain
            | Target::Emit
            | Target::LogLevels
            | Target::SetLogLevels
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_where_clients_put_it() {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        assert_eq!(bearer(&value("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&value("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&value("Basic abc")), None);
        assert_eq!(bearer(&value("Bearer")), None);
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, value("a=1; roomwire_admin=one;b=2"));
        headers.append(
            header::COOKIE,
            value("roomwire_admin=two=; xroomwire_admin=no"),
        );
        assert_eq!(cookies(&headers).collect::<Vec<_>>(), ["one", "two="]);
    }
}
