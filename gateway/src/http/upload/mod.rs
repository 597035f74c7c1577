//! Files that clients leave here: `PUT /v1/files/{name}` and forms with `POST /v1/files`.
//!
//! A body is taken in pieces: one is read while there is none to be written, and written by a thread for
//! files before the next one is read. So a disk that is slow slows its sender by the means of its
//! protocol, and a file of any size takes the memory of one piece. Nothing of a file can be seen
//! before it is whole, and nothing of one that does not become whole stays: see `store.rs`.

mod store;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use roomwire_metrics::Id;
use roomwire_protocols::multipart::{Event, Malformed, Parser};
use serde::Serialize;
use tokio::time::timeout;

pub(crate) use store::Store;
use store::{Fault, Incoming, Name, Place, Stored, Wanted};

use super::body::RequestBody;
use super::connection::Connection;
use super::problem::{Answer, Problem, json};
use super::service::Call;
use crate::work::{Full, GivenUp, Pool};

/// Bytes of a file that are written at a time. Chosen: handing work to a thread costs little beside it.
const PIECE: usize = 128 * 1024;

/// Files and fields of one form. Each file is open until all of them are whole.
const MAX_PARTS: usize = 16;

/// Bytes of a form that are in no file: its fields, and what stands around its parts.
const MAX_BESIDE: usize = 1024 * 1024;

/// How often at most it is logged that files cannot be written.
const COMPLAINT_MS: u64 = 60_000;

/// A file in an answer.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    size: u64,
    sha256: String,
}

impl<'a> Entry<'a> {
    fn of(name: &'a Name, stored: &Stored) -> Self {
        let digits = stored.sha256.as_ref().iter();
        Self {
            name: name.as_str(),
            size: stored.size,
            sha256: digits.map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// `PUT /v1/files/{name}`
pub(super) async fn put(call: Call) -> Result<Answer, Problem> {
    let desk = Desk::open(&call)?;
    let name = name(call.parameter("name"));
    let taken = desk.take(take_file(&desk, name, call)).await?;
    let (name, stored) = taken;
    let status = if stored.replaced {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let mut answer = json(status, &Entry::of(&name, &stored));
    let etag = HeaderValue::try_from(&stored.etag);
    let etag = etag.expect("an entity tag is digits, letters and punctuation");
    answer.headers_mut().insert(header::ETAG, etag);
    Ok(answer)
}

async fn take_file(
    desk: &Desk,
    name: Result<Name, Problem>,
    call: Call,
) -> Result<(Name, Stored), Problem> {
    let name = name?;
    call.require_body()?;
    let headers = call.request.headers();
    if headers.contains_key(header::CONTENT_RANGE) {
        // RFC 9110 §14.5: to take a part for the whole would be worse than to refuse it.
        let detail = "a file is taken whole, and not in parts";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_range", detail));
    }
    let wanted = wanted(headers);
    let mut body = call.request.into_body();
    if body.size_hint().lower() > desk.store.max_file() {
        // Said beforehand: nothing is read, and a client that waits for 100 sends nothing.
        return Err(desk.problem(Fault::TooLarge));
    }
    let mut file = Taken::begin(desk, name, wanted).await?;
    while let Some(data) = desk.next(&mut body).await? {
        file.push(data).await?;
    }
    file.finish().await
}

/// `POST /v1/files`
pub(super) async fn post(call: Call) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Files<'a> {
        files: Vec<Entry<'a>>,
    }
    let desk = Desk::open(&call)?;
    let stored = desk.take(take_form(&desk, call.request)).await?;
    let files = stored.iter().map(|(name, stored)| Entry::of(name, stored));
    let files = files.collect();
    Ok(json(StatusCode::CREATED, &Files { files }))
}

async fn take_form(
    desk: &Desk,
    request: Request<RequestBody>,
) -> Result<Vec<(Name, Stored)>, Problem> {
    let headers = request.headers();
    let content_type = headers.get(header::CONTENT_TYPE);
    let Some(mut parser) = content_type.and_then(|it| Parser::new(it.as_bytes())) else {
        desk.connection.worker.count(Id::HttpWrongType);
        let detail = "send multipart/form-data with a boundary, as forms with files do";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "unsupported_media_type", detail));
    };
    let wanted = wanted(headers);
    let mut body = request.into_body();
    let mut input = BytesMut::new();
    let (mut files, mut names) = (Vec::new(), BTreeSet::new());
    let mut present: Option<Taken<'_>> = None;
    let (mut parts, mut beside) = (0, 0);
    loop {
        let (length, event) = parser.next(&input).map_err(malformed)?;
        let data = input.split_to(length);
        match event {
            Event::More => match desk.next(&mut body).await? {
                Some(more) => input.extend_from_slice(&more),
                None => return Err(bad_body("the form has no end")),
            },
            Event::Begin(part) => {
                parts += 1;
                // A browser sends a file without a name where none was chosen.
                let filename = part.filename.filter(|name| !name.is_empty());
                if let Some(filename) = filename {
                    let name = name(&filename)?;
                    if !names.insert(filename) {
                        return Err(bad_body("two files of the form have the same name"));
                    }
                    present = Some(Taken::begin(desk, name, wanted.clone()).await?);
                }
            }
            Event::Data if present.is_some() => {
                if let Some(file) = &mut present {
                    file.push(data.freeze()).await?;
                }
            }
            Event::Data | Event::Skip => beside += length,
            Event::End => {
                if let Some(mut file) = present.take() {
                    file.write().await?;
                    files.push(file);
                }
            }
            Event::Finish => break,
        }
        check_beside(parts, beside)?;
    }
    while let Some(rest) = desk.next(&mut body).await? {
        beside += rest.len();
        check_beside(parts, beside)?;
    }
    if files.is_empty() {
        return Err(bad_body("the form has no file"));
    }
    let mut stored = Vec::new();
    for file in files {
        stored.push(file.finish().await?);
    }
    Ok(stored)
}

fn check_beside(parts: usize, beside: usize) -> Result<(), Problem> {
    if parts <= MAX_PARTS && beside <= MAX_BESIDE {
        return Ok(());
    }
    let detail = format!("a form has at most {MAX_PARTS} parts, and 1 MiB beside its files");
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    Err(Problem::new(status, "too_large", detail))
}

fn name(text: &str) -> Result<Name, Problem> {
    Name::new(text).ok_or_else(|| {
        let detail = "a name is 1 to 255 bytes without slashes, backslashes and control characters, \
                      and does not begin with a dot";
        Problem::new(StatusCode::BAD_REQUEST, "invalid_name", detail)
    })
}

fn malformed(error: Malformed) -> Problem {
    bad_body(error.reason())
}

fn bad_body(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_body", detail)
}

fn wanted(headers: &HeaderMap) -> Wanted {
    let bytes = |name| headers.get(name).map(|value| value.as_bytes().to_vec());
    Wanted {
        if_match: bytes(header::IF_MATCH),
        if_none_match: bytes(header::IF_NONE_MATCH),
        if_unmodified_since: headers
            .get(header::IF_UNMODIFIED_SINCE)
            .and_then(super::files::date),
    }
}

/// One request that brings files.
struct Desk {
    connection: Rc<Connection>,
    store: Arc<Store>,
    /// How it ended was counted.
    concluded: Cell<bool>,
    /// It ended by its sender, who went away or sent nothing.
    broken: Cell<bool>,
    _place: Place,
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !self.concluded.get() {
            // Its connection or stream has gone.
            self.connection.worker.count(Id::UploadsBroken);
        }
    }
}

impl Desk {
    fn open(call: &Call) -> Result<Self, Problem> {
        let worker = &call.connection.worker;
        let store = worker.shared.uploads.as_ref();
        let store = Arc::clone(store.ok_or_else(Problem::not_found)?);
        let Some(place) = store.enter() else {
            worker.count(Id::UploadsRefused);
            return Err(busy("there are as many uploads as there may be at a time"));
        };
        Ok(Self {
            connection: Rc::clone(&call.connection),
            store,
            concluded: Cell::new(false),
            broken: Cell::new(false),
            _place: place,
        })
    }

    /// Takes what comes, in the time that there is, and counts how it ended.
    async fn take<T: Count>(
        &self,
        taking: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let worker = &self.connection.worker;
        let patience = worker.shared.config.uploads.max_time.get();
        let taken = timeout(patience, taking).await;
        let taken = taken.unwrap_or_else(|_| Err(self.late()));
        self.concluded.set(true);
        match &taken {
            Ok(taken) => {
                let (files, bytes) = taken.count();
                worker.lane.add(Id::UploadsTaken, files);
                worker.lane.add(Id::UploadBytes, bytes);
            }
            Err(_) if self.broken.get() => worker.count(Id::UploadsBroken),
            Err(_) => worker.count(Id::UploadsRefused),
        }
        taken
    }

    /// What comes next of a body; `None` at its end.
    async fn next(&self, body: &mut RequestBody) -> Result<Option<Bytes>, Problem> {
        let patience = self.connection.worker.shared.config.uploads.stall_timeout;
        loop {
            match timeout(patience.get(), body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => {}
                },
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "an upload broke");
                    self.broken.set(true);
                    return Err(bad_body("the body did not come whole"));
                }
                Err(_) => return Err(self.late()),
            }
        }
    }

    fn late(&self) -> Problem {
        self.broken.set(true);
        self.connection.worker.count(Id::HttpTimeouts);
        let detail = "the file did not come in time";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.connection.worker.shared.files
    }

    fn problem(&self, fault: Fault) -> Problem {
        let (status, code) = match &fault {
            Fault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Fault::NoRoom => (StatusCode::INSUFFICIENT_STORAGE, "no_room"),
            Fault::Condition => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Fault::Occupied => (StatusCode::CONFLICT, "occupied"),
            Fault::Io(error) => {
                self.complain(error);
                let detail = "the file could not be written";
                return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
            }
        };
        let detail = match fault {
            Fault::TooLarge => format!("a file has at most {} bytes", self.store.max_file()),
            other => other.to_string(),
        };
        Problem::new(status, code, detail)
    }

    fn complain(&self, error: &std::io::Error) {
        static QUIET_UNTIL: AtomicU64 = AtomicU64::new(0);
        let now_ms = self.connection.worker.shared.clock.now_ms();
        let quiet = QUIET_UNTIL.load(Ordering::Relaxed);
        let until = now_ms + COMPLAINT_MS;
        let relaxed = Ordering::Relaxed;
        let first = QUIET_UNTIL.compare_exchange(quiet, until, relaxed, relaxed);
        if now_ms >= quiet && first.is_ok() {
            tracing::error!(%error, "a file that was uploaded could not be written");
        } else {
            tracing::debug!(%error, "a file that was uploaded could not be written");
        }
    }
}

/// What an upload is counted as: files and their bytes.
trait Count {
    fn count(&self) -> (u64, u64);
}

impl Count for (Name, Stored) {
    fn count(&self) -> (u64, u64) {
        (1, self.1.size)
    }
}

impl<T: Count> Count for Vec<T> {
    fn count(&self) -> (u64, u64) {
        let counts = self.iter().map(Count::count);
        counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

/// A file that is being taken, and what of it has not been written yet.
struct Taken<'a> {
    desk: &'a Desk,
    name: Name,
    wanted: Wanted,
    /// There unless a thread has it.
    incoming: Option<Incoming>,
    held: Vec<Bytes>,
    held_bytes: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            // To give back the disk's space takes its time.
            drop(self.desk.pool().run_begun(move || drop(incoming)));
        }
    }
}

impl<'a> Taken<'a> {
    async fn begin(desk: &'a Desk, name: Name, wanted: Wanted) -> Result<Self, Problem> {
        let store = Arc::clone(&desk.store);
        let (name_of, conditions) = (name.clone(), wanted.clone());
        let beginning = desk.pool().run(move || store.begin(&name_of, &conditions));
        let begun = match beginning {
            Ok(beginning) => beginning.await.map_err(|GivenUp| given_up())?,
            Err(Full) => return Err(busy("too many requests wait for the disk; try again")),
        };
        Ok(Self {
            incoming: Some(begun.map_err(|fault| desk.problem(fault))?),
            desk,
            name,
            wanted,
            held: Vec::new(),
            held_bytes: 0,
        })
    }

    /// Takes what comes next, and writes once it is enough.
    async fn push(&mut self, data: Bytes) -> Result<(), Problem> {
        self.held_bytes += data.len();
        self.held.push(data);
        if self.held_bytes < PIECE {
            return Ok(());
        }
        self.write().await
    }

    /// Writes what is held.
    async fn write(&mut self) -> Result<(), Problem> {
        self.held_bytes = 0;
        let pieces = std::mem::take(&mut self.held);
        let mut incoming = self.incoming.take().ok_or_else(given_up)?;
        let writing = self.desk.pool().run_begun(move || {
            let written = incoming.write(&pieces);
            (incoming, written)
        });
        let (incoming, written) = writing.await.map_err(|GivenUp| given_up())?;
        self.incoming = Some(incoming);
        written.map_err(|fault| self.desk.problem(fault))
    }

    /// Has the file where it is to be.
    async fn finish(mut self) -> Result<(Name, Stored), Problem> {
        if !self.held.is_empty() {
            self.write().await?;
        }
        let incoming = self.incoming.take().ok_or_else(given_up)?;
        let (name, wanted) = (self.name.clone(), self.wanted.clone());
        let finishing = self
            .desk
            .pool()
            .run_begun(move || incoming.finish(&name, &wanted));
        let stored = finishing.await.map_err(|GivenUp| given_up())?;
        let stored = stored.map_err(|fault| self.desk.problem(fault))?;
        Ok((self.name.clone(), stored))
    }
}

fn given_up() -> Problem {
    let detail = "please report this";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

fn busy(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}
