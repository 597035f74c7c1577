//! `static` routes: files below a directory.
//!
//! What lies in the kernel's caches is opened and read at once; what would wait for a disk goes to the
//! pool of threads for files, so no worker waits. Read `locate.rs` for how a path finds its file and
//! stays below the root, `body.rs` for how a file of any size is sent with the memory of a small one,
//! `kept.rs` for what small files that many ask for are spared.

mod body;
mod kept;
mod listing;
mod locate;
mod path;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use roomwire_metrics::Id;
use roomwire_protocols::content::{
    Coding, Conditions, Ranges, Validators, Verdict, allows_range, is_compressible, ranges,
};

pub(super) use body::FileBody;
use kept::Content;
use locate::{Attempt, Located, OpenFile, Wanted, locate};

use super::body::ResponseBody;
use super::problem::{Answer, Problem};
use super::service::Call;
use crate::config::StaticRoute;
use crate::work::Full;

/// Files up to this size are read whole: one system call, and no body that has to be polled.
const SMALL: u64 = 64 * 1024;

/// Answers a request with a file that was sent a moment ago, if it is one.
pub(super) fn kept(route: &StaticRoute, call: &Call) -> Option<Result<Answer, Problem>> {
    let content = kept::find(route, call)?;
    call.connection.worker.count(Id::FilesKept);
    Some(serve_kept(call, content))
}

/// Answers a request for what follows a route's `prefix`.
pub(super) async fn answer(
    route: &StaticRoute,
    prefix: &str,
    call: &Call,
) -> Result<Answer, Problem> {
    let rest = call.request.uri().path().strip_prefix(prefix);
    let segments = path::segments(rest.unwrap_or_default(), route.hidden)?;
    let headers = call.request.headers();
    let mut wanted = Wanted::new(segments);
    if route.precompressed {
        // RFC 9110 §5.3: several fields are one, and browsers send one.
        let accepted = headers.get(header::ACCEPT_ENCODING);
        wanted.accept_encoding = accepted.map(|it| it.as_bytes().to_vec());
    }
    wanted.pages = accepts_pages(headers);
    match find(route, call, wanted).await? {
        Located::File(file) => serve(route, call, file).await,
        Located::Listing(page) => Ok(listing_answer(page)),
        Located::NoSlash => Ok(with_slash(call.request.uri())),
        Located::Missing => Err(Problem::not_found()),
    }
}

/// Looks at once in what the kernel has at hand, else on a thread for files.
async fn find(route: &StaticRoute, call: &Call, wanted: Wanted) -> Result<Located, Problem> {
    let worker = &call.connection.worker;
    if let Some(found) = locate(route, &wanted, Attempt::AtHand) {
        return Ok(found);
    }
    worker.count(Id::FilesWaited);
    let route = route.clone();
    let looking = worker
        .shared
        .files
        .run(move || locate(&route, &wanted, Attempt::Wait));
    let found = looking.map_err(|Full| busy(call))?.await;
    found.ok().flatten().ok_or_else(Problem::not_found)
}

async fn serve(route: &StaticRoute, call: &Call, file: OpenFile) -> Result<Answer, Problem> {
    let headers = call.request.headers();
    let mut answer = Response::new(ResponseBody::empty());
    let etag = etag(
        file.modified,
        file.size,
        file.coding.map_or("", Coding::extension),
    );
    describe(route, &file, &etag, answer.headers_mut());
    let validators = Validators {
        etag: &etag,
        modified: file.modified.0,
    };
    if !is_wanted(call, &mut answer, validators)? {
        return Ok(answer);
    }
    let parts = match headers.get(header::RANGE) {
        Some(range) if part_is_fine(headers, validators) => ranges(range.as_bytes(), file.size),
        _ => Ranges::Whole,
    };
    let media_type = file.media_type();
    *answer.body_mut() = match parts {
        Ranges::Unsatisfiable => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let value = HeaderValue::from_str(&format!("bytes */{}", file.size));
            let value = value.expect("digits are a header's value");
            let problem = Problem::new(status, "bad_range", "the file has none of these bytes");
            return Err(problem.with_header(header::CONTENT_RANGE, value));
        }
        Ranges::Whole if file.size == 0 => ResponseBody::empty(),
        Ranges::Whole if file.size <= SMALL && call.request.method() != Method::HEAD => {
            let (name, identity) = (file.name.clone(), file.identity);
            let (is_fallback, modified) = (file.is_fallback, file.modified.0);
            let bytes = read_whole(call, file).await?;
            if !is_fallback {
                let content = Content {
                    fields: answer.headers().clone(),
                    etag,
                    modified,
                    bytes: bytes.clone(),
                };
                kept::keep(route, call, &name, identity, content);
            }
            ResponseBody::Whole(bytes)
        }
        Ranges::Whole => {
            let pool = Arc::clone(&call.connection.worker.shared.files);
            let whole = 0..file.size;
            ResponseBody::File(Box::new(FileBody::new(file.file, pool, [whole])))
        }
        Ranges::Parts(parts) => {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let pool = Arc::clone(&call.connection.worker.shared.files);
            let body = body::partial(file, pool, parts, media_type, answer.headers_mut());
            ResponseBody::File(Box::new(body))
        }
    };
    Ok(answer)
}

fn serve_kept(call: &Call, content: Content) -> Result<Answer, Problem> {
    let mut answer = Response::new(ResponseBody::empty());
    *answer.headers_mut() = content.fields;
    let validators = Validators {
        etag: &content.etag,
        modified: content.modified,
    };
    if is_wanted(call, &mut answer, validators)? {
        *answer.body_mut() = ResponseBody::Whole(content.bytes);
    }
    Ok(answer)
}

/// Whether the file is to be sent. If its client has it already, the answer says so.
fn is_wanted(
    call: &Call,
    answer: &mut Answer,
    validators: Validators<'_>,
) -> Result<bool, Problem> {
    match conditions(call.request.headers()).evaluate(validators) {
        Verdict::Proceed => Ok(true),
        Verdict::NotModified => {
            // RFC 9110 §15.4.5: what describes the content stays out.
            answer.headers_mut().remove(header::CONTENT_TYPE);
            answer.headers_mut().remove(header::CONTENT_ENCODING);
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            *answer.body_mut() = ResponseBody::Unsaid;
            Ok(false)
        }
        Verdict::Failed => {
            let status = StatusCode::PRECONDITION_FAILED;
            let detail = "the file is not in the state that the request wants";
            Err(Problem::new(status, "precondition_failed", detail))
        }
    }
}

/// The fields that describe a file, whichever part of it is sent.
fn describe(route: &StaticRoute, file: &OpenFile, etag: &str, headers: &mut HeaderMap) {
    let media_type = file.media_type();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let modified = UNIX_EPOCH + Duration::from_secs(file.modified.0);
    let mut set = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).expect("digits, letters and punctuation");
        headers.insert(name, value);
    };
    set(header::ETAG, etag);
    set(header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    set(header::ACCEPT_RANGES, "bytes");
    let age = route.max_age.get().as_secs();
    if age == 0 || file.is_fallback {
        set(header::CACHE_CONTROL, "no-cache");
    } else {
        set(header::CACHE_CONTROL, &format!("max-age={age}"));
    }
    if route.precompressed && is_compressible(media_type.as_bytes()) {
        set(header::VARY, "accept-encoding");
    }
    if let Some(coding) = file.coding {
        set(header::CONTENT_ENCODING, coding.as_str());
    }
}

/// Strong: it changes with every write, to the nanosecond, and with the file's coding.
pub(super) fn etag((seconds, nanos): (u64, u64), size: u64, coding: &str) -> String {
    format!("\"{seconds:x}.{nanos:x}-{size:x}{coding}\"")
}

fn conditions(headers: &HeaderMap) -> Conditions<'_> {
    let bytes = |name| headers.get(name).map(HeaderValue::as_bytes);
    let seconds = |name| headers.get(name).and_then(date);
    Conditions {
        if_match: bytes(header::IF_MATCH),
        if_none_match: bytes(header::IF_NONE_MATCH),
        if_modified_since: seconds(header::IF_MODIFIED_SINCE),
        if_unmodified_since: seconds(header::IF_UNMODIFIED_SINCE),
    }
}

fn part_is_fine(headers: &HeaderMap, validators: Validators<'_>) -> bool {
    headers
        .get(header::IF_RANGE)
        .is_none_or(|field| allows_range(field.as_bytes(), date(field), validators))
}

pub(super) fn date(value: &HeaderValue) -> Option<u64> {
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    seconds_since_1970(date)
}

fn seconds_since_1970(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

async fn read_whole(call: &Call, file: OpenFile) -> Result<Bytes, Problem> {
    let worker = &call.connection.worker;
    let size = usize::try_from(file.size).unwrap_or(usize::MAX);
    let read = match body::read_at_hand(&file.file, 0, size) {
        Some(read) => read,
        None => {
            worker.count(Id::FilesWaited);
            let reading = worker
                .shared
                .files
                .run(move || body::read(&file.file, 0, size));
            let read = reading.map_err(|Full| busy(call))?.await;
            read.unwrap_or_else(|given_up| Err(std::io::Error::other(given_up)))
        }
    };
    read.map_err(|error| {
        tracing::error!(%error, path = call.request.uri().path(), "a file could not be read");
        let detail = "the file could not be read";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })
}

fn busy(call: &Call) -> Problem {
    call.connection.worker.count(Id::FilesRefused);
    let detail = "too many requests wait for the disk; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Whether a browser wants a page, and not a script or an image of one.
fn accepts_pages(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
    accepted.is_some_and(|it| it.windows(9).any(|word| word == b"text/html"))
}

/// To the same directory by its proper name: relative links of its page would lead elsewhere.
pub(super) fn with_slash(uri: &http::Uri) -> Answer {
    // Relative, because a path that begins with two slashes would name another host.
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}"));
    let target = format!("./{name}/{}", query.unwrap_or_default());
    let mut answer = Response::new(ResponseBody::empty());
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let target = HeaderValue::from_str(&target).expect("a part of a target is a header's value");
    answer.headers_mut().insert(header::LOCATION, target);
    answer
}

fn listing_answer(page: Vec<u8>) -> Answer {
    let mut answer = super::problem::with_type(StatusCode::OK, "text/html; charset=utf-8", page);
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    answer
}
