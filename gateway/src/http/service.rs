//! One request, answered: the same for every version of HTTP.

use std::collections::BTreeMap;
use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use roomwire_metrics::Id;
use roomwire_protocols::http1::is_host;

use super::body::{CollectError, RequestBody, ResponseBody};
use super::connection::Connection;
use super::problem::{Answer, Problem};
use super::router::{Match, Parameters, Target};
use super::{
    admin, api, custom, emit, event_stream, files, health, listing, message, origin, page, site,
    upgrade, upload,
};
use crate::config::Route;
use crate::event::BoundAddress;

/// A request with what its path told.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) connection: Rc<Connection>,
    pub(crate) request: Request<RequestBody>,
    pub(crate) parameters: Parameters,
}

impl Call {
    /// A parameter that the route's path names.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The first value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let query = self.request.uri().query()?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Refuses a request without a body: without one, and without a word about it.
    pub(crate) fn require_body(&self) -> Result<(), Problem> {
        let headers = self.request.headers();
        let told = headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING);
        if told || !self.request.body().is_end_stream() {
            return Ok(());
        }
        let detail = "send a body, and its length or chunks";
        let status = StatusCode::LENGTH_REQUIRED;
        Err(Problem::new(status, "length_required", detail))
    }

    /// The whole body under the configured limits.
    pub(crate) async fn body(
        request: Request<RequestBody>,
        connection: &Connection,
    ) -> Result<bytes::Bytes, Problem> {
        let (body, _) = Self::body_and_trailers(request, connection).await?;
        Ok(body)
    }

    /// The same, and the fields behind it.
    pub(crate) async fn body_and_trailers(
        request: Request<RequestBody>,
        connection: &Connection,
    ) -> Result<(bytes::Bytes, HeaderMap), Problem> {
        let limits = &connection.worker.shared.config.limits;
        let max = limits.max_body.as_usize();
        let patience = limits.header_timeout.get();
        request
            .into_body()
            .collect_within(max, patience)
            .await
            .map_err(|error| match error {
                CollectError::TooLarge => {
                    connection.worker.count(Id::ErrorsTooLarge);
                    let detail = format!("a body is at most {max} bytes (limits.max_body)");
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
                }
                CollectError::TimedOut => {
                    connection.worker.count(Id::HttpTimeouts);
                    let detail = "the body did not come in time";
                    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
                }
                CollectError::Failed => Problem::new(
                    StatusCode::BAD_REQUEST,
                    "bad_body",
                    "the body did not come whole",
                ),
            })
    }
}

/// Finds what answers a request and lets it.
pub(super) async fn dispatch(
    connection: &Rc<Connection>,
    request: Request<RequestBody>,
) -> Result<Answer, Problem> {
    check_host(connection, &request)?;
    check_form(connection, &request)?;
    check_expectation(&request)?;
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        // RFC 9110 §9.3.7: about the server as a whole.
        return wrong_method(request.method(), "GET, HEAD, POST, DELETE, OPTIONS");
    }
    if let Some(location) = site::secure_location(connection, &request) {
        return location.map(site::redirect);
    }
    let routes = site::routes(connection, authority(&request));
    let path = request.uri().path();
    let (target, parameters) = match find(connection, routes, request.method(), path) {
        Match::Found(target, parameters) => (target, parameters),
        Match::BadPath => {
            let detail = "the path is not percent-encoded UTF-8";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_path", detail));
        }
        Match::WrongMethod(allow) => return wrong_method(request.method(), &allow),
        Match::None => return Err(Problem::not_found()),
    };
    let reads = request.method().is_safe();
    let opens = matches!(
        target,
        Target::AdminFigures | Target::WebSocket | Target::Echo
    );
    if !reads || opens {
        check_origin(connection, request.headers(), authority(&request))?;
    }
    if admin::is_guarded(&target) {
        admin::check(connection, &request)?;
    }
    let request = custom::announce(connection, request);
    let call = Call {
        connection: Rc::clone(connection),
        request,
        parameters,
    };
    // What waits is boxed, so that no other request has to have room for it.
    match target {
        Target::Admin => Ok(admin::page(&call)),
        Target::AdminFigures => admin::figures(&call),
        Target::Asset => page::asset(call.parameter("file")),
        Target::CloseConnection => Box::pin(api::close_connection(&call)).await,
        Target::Connections => Box::pin(listing::connections(&call)).await,
        Target::Custom(event) => Box::pin(custom::answer(&event, call)).await,
        Target::Drain => Ok(admin::drain(&call)),
        Target::Echo => upgrade::upgrade(call, upgrade::Handler::Echo),
        Target::Emit => Box::pin(emit::emit(call)).await,
        Target::Events => event_stream::open(&call),
        Target::AcmeChallenge => api::acme_challenge(&call),
        Target::Health => Ok(health::health(&call)),
        Target::Home => Ok(page::home()),
        Target::LogLevels => admin::log_levels(),
        Target::Members => api::members(&call),
        Target::Messages => Box::pin(message::read(&call)).await,
        Target::Metrics => Ok(api::metrics(&call)),
        Target::OpenApi => Ok(page::openapi()),
        Target::Publish => Box::pin(message::publish(call)).await,
        Target::Ready => Ok(health::ready(&call)),
        Target::Rooms => Box::pin(listing::rooms(&call)).await,
        Target::SetLogLevels => Box::pin(admin::set_log_levels(call)).await,
        Target::Static(prefix) => serve_file(&call, prefix).await,
        Target::Stats => Ok(api::stats(&call)),
        Target::Upload => Box::pin(upload::put(call)).await,
        Target::UploadForm => Box::pin(upload::post(call)).await,
        Target::WebSocket => upgrade::upgrade(call, upgrade::Handler::Rooms),
        Target::WithoutSlash => Ok(files::with_slash(call.request.uri())),
    }
}

/// Refuses requests that are not clearly meant for us: without exactly one valid `Host` (RFC 9112
/// §3.2) or `:authority` (RFC 9113 §8.3.1), or, on loopback, for a name that is not loopback's and not
/// listed.
fn check_host(connection: &Connection, request: &Request<RequestBody>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let target = request.uri().authority().map(Authority::as_str);
    let only = match (host, second, target) {
        (Some(host), None, None) => Some(host.as_bytes()),
        (None, None, Some(target)) if request.version() == Version::HTTP_2 => {
            Some(target.as_bytes())
        }
        _ => None,
    };
    let only = only.filter(|only| !only.is_empty());
    // Clients say the same in each request of a connection.
    if only.is_some_and(|only| connection.host.borrow().as_slice() == only) {
        return Ok(());
    }
    let well_formed = second.is_none()
        && host.is_none_or(|host| is_host(host.as_bytes()))
        && target.is_none_or(|target| is_host(target.as_bytes()));
    let told = match request.version() {
        // What a target says counts (RFC 9112 §3.2.2), but a `Host` must be there.
        Version::HTTP_11 => host.is_some(),
        Version::HTTP_2 => match (host, target) {
            (Some(host), Some(target)) => host.as_bytes().eq_ignore_ascii_case(target.as_bytes()),
            (host, target) => host.is_some() || target.is_some(),
        },
        _ => true,
    };
    if !well_formed || !told {
        connection.worker.count(Id::HttpBadRequests);
        let detail = "there must be exactly one Host, and it must be valid";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_host", detail));
    }
    match authority(request).and_then(|host| host.parse::<Authority>().ok()) {
        Some(host) => check_name(connection, Some(&host))?,
        // Before HTTP/1.1 nobody had to tell.
        None => site::check(connection, None)?,
    }
    if let Some(only) = only {
        let mut known = connection.host.borrow_mut();
        known.clear();
        known.extend_from_slice(only);
    }
    Ok(())
}

/// Refuses what is asked of proxies and of other servers than this listener is.
fn check_form(connection: &Connection, request: &Request<RequestBody>) -> Result<(), Problem> {
    if request.method() == Method::CONNECT {
        let detail = "CONNECT is served for WebSocket over HTTP/2 only";
        let status = StatusCode::NOT_IMPLEMENTED;
        return Err(Problem::new(status, "not_implemented", detail));
    }
    // RFC 9110 §7.4: over a connection without TLS nothing is answered in the name of https.
    let absolute = request.version() < Version::HTTP_2 && request.uri().authority().is_some();
    if absolute && !connection.secure && request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
        let detail = "this listener does not speak TLS";
        let status = StatusCode::MISDIRECTED_REQUEST;
        return Err(Problem::new(status, "misdirected", detail));
    }
    Ok(())
}

/// RFC 9110 §10.1.1: there is one expectation, and it is hyper or the peer that meets it.
fn check_expectation(request: &Request<RequestBody>) -> Result<(), Problem> {
    let mut expected = request.headers().get_all(header::EXPECT).iter();
    if expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Ok(());
    }
    let detail = "nothing can be expected but 100-continue";
    let status = StatusCode::EXPECTATION_FAILED;
    Err(Problem::new(status, "expectation_failed", detail))
}

/// Refuses requests for a name that the listener does not serve; on loopback for one that is not
/// loopback's and not listed.
pub(super) fn check_name(connection: &Connection, host: Option<&Authority>) -> Result<(), Problem> {
    site::check(connection, host)?;
    let gateway = &connection.worker.shared.config.gateway;
    let bound = listener(connection).address;
    let named = host.is_some_and(|host| site::is_named(connection, host));
    if gateway.open
        || named
        || host.is_some_and(|host| origin::is_ours(host, bound, &gateway.origins))
    {
        return Ok(());
    }
    connection.worker.count(Id::HttpOriginRefused);
    let detail = "this listener is on loopback and answers to loopback's names only; if a proxy \
        passes this name on, list its origin in gateway.origins";
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        detail,
    ))
}

/// Refuses browsers whose page may not act here.
pub(super) fn check_origin(
    connection: &Connection,
    headers: &HeaderMap,
    authority: Option<&str>,
) -> Result<(), Problem> {
    let listed = &connection.worker.shared.config.gateway.origins;
    let bound = listener(connection).address;
    let authority = authority.and_then(|text| text.parse::<Authority>().ok());
    let named = authority.as_ref();
    let named = named.is_some_and(|host| site::is_named(connection, host));
    let local = bound.ip().is_loopback() && !named;
    if origin::is_allowed(headers, authority.as_ref(), local, listed) {
        return Ok(());
    }
    connection.worker.count(Id::HttpOriginRefused);
    let detail = "this Origin may not act here; list it in gateway.origins";
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "origin_refused",
        detail,
    ))
}

/// The route: the site's own table first, then the one of the gateway, at last a site at `/`.
pub(super) fn find(
    connection: &Connection,
    routes: &BTreeMap<String, Route>,
    method: &Method,
    path: &str,
) -> Match {
    let router = &connection.worker.shared.router;
    let socket = match routes.get(path) {
        Some(Route::Rooms) => Some(Target::WebSocket),
        Some(Route::Echo) => Some(Target::Echo),
        Some(Route::Static(_)) | None => None,
    };
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let readers = || Match::WrongMethod("GET, HEAD, OPTIONS".to_owned());
    if let Some(target) = socket.or_else(|| find_site(routes, path)) {
        if reads {
            return Match::Found(target, Parameters::new());
        }
        return match router.find(method, path) {
            Match::None => readers(),
            found => found,
        };
    }
    let found = router.find(method, path);
    let unclaimed = matches!(found, Match::None | Match::Found(Target::Home, _));
    if !unclaimed || !matches!(routes.get("/"), Some(Route::Static(_))) {
        return found;
    }
    if reads {
        return Match::Found(Target::Static("/".len()), Parameters::new());
    }
    readers()
}

/// The static route that knows most of a path, but for the one at `/`. Paths that begin another are in
/// order of their length, so the last that fits is the longest.
fn find_site(routes: &BTreeMap<String, Route>, path: &str) -> Option<Target> {
    let sites = routes.iter().rev();
    let mut sites =
        sites.filter(|(prefix, route)| matches!(route, Route::Static(_)) && prefix.len() > 1);
    sites.find_map(|(prefix, _)| {
        if path.starts_with(prefix.as_str()) {
            return Some(Target::Static(prefix.len()));
        }
        let without_slash = prefix.strip_suffix('/') == Some(path);
        without_slash.then_some(Target::WithoutSlash)
    })
}

async fn serve_file(call: &Call, prefix: usize) -> Result<Answer, Problem> {
    let prefix = call.request.uri().path().get(..prefix).unwrap_or_default();
    let routes = site::routes(&call.connection, authority(&call.request));
    let Some(Route::Static(route)) = routes.get(prefix) else {
        return Err(Problem::not_found());
    };
    match files::kept(route, call) {
        Some(answer) => answer,
        None => Box::pin(files::answer(route, prefix, call)).await,
    }
}

fn wrong_method(method: &Method, allow: &str) -> Result<Answer, Problem> {
    let value = HeaderValue::from_str(allow).unwrap_or(HeaderValue::from_static("GET"));
    if method == Method::OPTIONS {
        let mut answer = Response::new(ResponseBody::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer.headers_mut().insert(header::ALLOW, value);
        return Ok(answer);
    }
    let detail = format!("{method} is not one of the methods here: {allow}");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    Err(problem.with_header(header::ALLOW, value))
}

/// The host the client asked for: HTTP/2's `:authority`, else `Host`.
pub(crate) fn authority<B>(request: &Request<B>) -> Option<&str> {
    let host = || {
        request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
    };
    request
        .uri()
        .authority()
        .map(Authority::as_str)
        .or_else(host)
}

/// The listener that the connection came by.
pub(crate) fn listener(connection: &Connection) -> &BoundAddress {
    &connection.worker.shared.listeners[usize::from(connection.listener)]
}
