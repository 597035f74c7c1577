//! What every request and answer goes through, whatever version of HTTP they came by: counters, a
//! request id, panics, fields for browsers, compression, the access log.
//!
//! Plain functions around [`service::dispatch`], not a stack of tower layers: each layer wraps the
//! future and the body in types of its own, wants them `Send` and static, and knows nothing of a worker
//! and its counters; what these few do fits one screen. Next file to read: `service.rs`.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use roomwire_metrics::{BlockId, Id};

use super::access_log::{AccessLog, Entry};
use super::body::{RequestBody, ResponseBody};
use super::client::{self, Told};
use super::compress::{compress, vary};
use super::connection::Connection;
use super::problem::{Answer, Problem};
use super::{origin, service};
use crate::config::Config;
use crate::lifecycle::Clock;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken from a client. Chosen: a UUID has 36 characters.
const MAX_REQUEST_ID: usize = 64;

/// What a page of another origin may read of an answer besides what every page may.
const EXPOSED: &str = "content-range, etag, ratelimit, ratelimit-policy, retry-after, x-request-id";

/// What a page of another origin may say in a request besides what every page may.
const ALLOWED: &str = "authorization, content-type, idempotency-key, if-match, if-none-match, \
    last-event-id, range, x-request-id";

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

/// The settings in the form in which answers take them.
#[derive(Debug)]
pub(crate) struct Pipeline {
    hsts: Option<HeaderValue>,
    cors_max_age: HeaderValue,
    log: Option<AccessLog>,
}

impl Pipeline {
    /// Opens the access log, where there is to be one.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or its thread not be started.
    pub(crate) fn new(config: &Config) -> std::io::Result<Self> {
        let seconds = config.http.hsts.get().as_secs();
        let hsts = format!("max-age={seconds}");
        let text = |text: &str| HeaderValue::from_str(text).expect("letters and digits");
        let log = config.http.access_log.as_deref().map(AccessLog::open);
        Ok(Self {
            hsts: (seconds > 0).then(|| text(&hsts)),
            cors_max_age: text(&config.http.cors_max_age.get().as_secs().to_string()),
            log: log.transpose()?,
        })
    }
}

/// What is remembered of a request until its answer is there.
struct Seen {
    began_us: u64,
    head: bool,
    /// A long poll's time tells nothing.
    waits: bool,
    accept_encoding: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    /// Where the request is from a page of another origin that may connect.
    origin: Option<HeaderValue>,
    preflight: bool,
    entry: Option<Entry>,
    /// How the client stands with its quotas.
    told: Told,
    /// Method and path, while answers are logged at level `debug`.
    named: Option<(Method, String)>,
}

/// Answers one request.
pub(crate) async fn respond(
    connection: &Rc<Connection>,
    mut request: Request<RequestBody>,
) -> Response<ResponseBody> {
    let worker = &connection.worker;
    worker.count(Id::HttpRequests);
    let block = worker
        .shared
        .page
        .listener_block(usize::from(connection.listener));
    worker.lane.block_add(block, BlockId::ListenerRequests, 1);
    client::identify(connection, &mut request);
    let (told, allowed) = client::count(connection, &request);
    let seen = Seen::of(connection, &mut request, told);
    if let Err(problem) = allowed {
        let answer = problem.into_answer_to(seen.request_id.as_ref());
        return seen.finish(connection, answer);
    }
    let dispatched = AssertUnwindSafe(service::dispatch(connection, request));
    let answer = match dispatched.catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Ok(Err(problem)) => problem.into_answer_to(seen.request_id.as_ref()),
        // The panic hook has written where; one request's fault is not the connection's.
        Err(_) => {
            worker.count(Id::HttpPanics);
            let (client, id) = (connection.session, shown(seen.request_id.as_ref()));
            tracing::error!(%client, request_id = id, "answering a request panicked");
            let detail = "this should not have happened; please report it";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
                .into_answer_to(seen.request_id.as_ref())
        }
    };
    seen.finish(connection, answer)
}

/// Answers what is no request.
pub(super) fn refuse(connection: &Connection, problem: Problem) -> Answer {
    let mut answer = problem.into_answer();
    count_class(connection, answer.status());
    set_static_fields(connection, answer.headers_mut());
    answer
}

impl Seen {
    fn of(connection: &Connection, request: &mut Request<RequestBody>, told: Told) -> Self {
        let shared = &connection.worker.shared;
        let config = &shared.config;
        let request_id = config
            .http
            .request_id
            .then(|| request_id(connection, request));
        let headers = request.headers();
        let origin = headers.get(header::ORIGIN).filter(|origin| {
            let listed = config.gateway.origins.iter();
            let mut listed = listed.map(String::as_bytes);
            listed.any(|it| it == b"*" || it.eq_ignore_ascii_case(origin.as_bytes()))
        });
        let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let query = request.uri().query();
        let entry = shared.pipeline.log.as_ref();
        Self {
            began_us: shared.clock.now_us(),
            head: *request.method() == Method::HEAD,
            waits: query.is_some_and(|query| query.contains("wait=")),
            accept_encoding: headers
                .get(header::ACCEPT_ENCODING)
                .filter(|_| origin.is_some() || !may_be_guessed(connection, request))
                .cloned(),
            origin: origin.cloned(),
            preflight: asks && *request.method() == Method::OPTIONS,
            entry: entry.map(|_| Entry::of(connection, request)),
            named: tracing::enabled!(tracing::Level::DEBUG)
                .then(|| (request.method().clone(), request.uri().path().to_owned())),
            request_id,
            told,
        }
    }

    fn finish(self, connection: &Connection, mut answer: Answer) -> Answer {
        let worker = &connection.worker;
        let shared = &worker.shared;
        let took_us = shared.clock.now_us().saturating_sub(self.began_us);
        if !self.waits {
            worker.lane.record(Id::HttpRequestMicros, took_us);
        }
        count_class(connection, answer.status());
        if let Some((method, path)) = &self.named {
            let (client, id) = (connection.session, shown(self.request_id.as_ref()));
            let status = answer.status().as_u16();
            tracing::debug!(%client, request_id = id, %method, path, status, took_us, "answered");
        }
        set_static_fields(connection, answer.headers_mut());
        self.told.set(answer.headers_mut());
        if let Some(origin) = self.origin {
            share(connection, answer.headers_mut(), origin, self.preflight);
        }
        if self.head {
            strip_body(&mut answer);
        } else {
            compress(connection, &mut answer, self.accept_encoding.as_ref());
        }
        if let (Some(entry), Some(log)) = (self.entry, &shared.pipeline.log) {
            let sample = shared.config.http.access_log_sample;
            log.note(
                connection,
                entry,
                self.request_id.as_ref(),
                &answer,
                took_us,
                sample,
            );
        }
        if let Some(request_id) = self.request_id {
            answer.headers_mut().insert(REQUEST_ID, request_id);
        }
        answer
    }
}

/// A request's id in the log.
fn shown(request_id: Option<&HeaderValue>) -> &str {
    request_id
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
}

/// The request's own id where it is one that can be printed anywhere, else a new one, which the
/// request's handler sees as well.
fn request_id(connection: &Connection, request: &mut Request<RequestBody>) -> HeaderValue {
    let printable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    let usable = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(printable)
    };
    if let Some(id) = request.headers().get(REQUEST_ID).filter(usable) {
        return id.clone();
    }
    let number = REQUESTS.get();
    REQUESTS.set(number + 1);
    let run = connection.worker.shared.first_generation;
    // Two connections of one peer are of two workers, or follow each other with other numbers.
    let port = connection.peer.port();
    let mut id = Vec::with_capacity(32);
    push_hex(&mut id, u64::from(run), 8);
    id.push(b'-');
    push_hex(&mut id, u64::from(port), 1);
    id.push(b'-');
    push_hex(&mut id, number, 1);
    let id = HeaderValue::from_maybe_shared(Bytes::from(id));
    let id = id.expect("hexadecimal digits are a header's value");
    request.headers_mut().insert(REQUEST_ID, id.clone());
    id
}

/// Whether a browser asks at the bidding of another site's page, which could learn what an answer over
/// TLS holds from how well it compresses (BREACH). A page that may read answers has no need to.
fn may_be_guessed(connection: &Connection, request: &Request<RequestBody>) -> bool {
    connection.secure && origin::is_cross_site(request.headers(), service::authority(request))
}

/// Appends a number, with zeros before it where it has fewer digits.
fn push_hex(text: &mut Vec<u8>, number: u64, least: u32) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(least);
    for at in (0..digits).rev() {
        let digit = number.checked_shr(at * 4).unwrap_or(0) & 0xf;
        text.push(b"0123456789abcdef"[usize::try_from(digit).unwrap_or(0)]);
    }
}

fn count_class(connection: &Connection, status: StatusCode) {
    connection.worker.count(match status.as_u16() {
        ..300 => Id::HttpResponsesOk,
        300..400 => Id::HttpResponsesRedirect,
        400..500 => Id::HttpResponsesClientError,
        _ => Id::HttpResponsesServerError,
    });
}

fn set_static_fields(connection: &Connection, headers: &mut HeaderMap) {
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let Some(hsts) = &connection.worker.shared.pipeline.hsts else {
        return;
    };
    // RFC 6797 §7.2: never without TLS.
    if connection.secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

/// Lets a page of another origin read the answer; which origins may was checked.
fn share(connection: &Connection, headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    let shared = &connection.worker.shared;
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    vary(headers, "origin");
    if shared.config.http.cors_credentials {
        let credentials = HeaderValue::from_static("true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials);
    }
    if !preflight {
        let exposed = HeaderValue::from_static(EXPOSED);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        return;
    }
    if let Some(allow) = headers.get(header::ALLOW).cloned() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
    }
    let allowed = HeaderValue::from_static(ALLOWED);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    let age = shared.pipeline.cors_max_age.clone();
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, age);
}

/// RFC 9110 §9.3.2: a HEAD is answered with a GET's fields and nothing more.
fn strip_body(answer: &mut Answer) {
    let body = std::mem::replace(answer.body_mut(), ResponseBody::Unsaid);
    if let Some(length) = body.size_hint().exact() {
        answer
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
}

/// How a version is written in the log.
pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// The date (RFC 9110 §6.6.1), made once a second. Answers get it where they are written; over
/// HTTP/1.1 hyper does that, too.
pub(super) fn date() -> HeaderValue {
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
