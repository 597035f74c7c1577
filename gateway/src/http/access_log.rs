//! The access log: a line of JSON for each answer, or for one of so many, written by a thread of its
//! own. A worker never waits for it: what the thread has not got to is bounded, and lines beyond are
//! counted instead.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use http::header::{self, HeaderValue};
use http::{Method, Request};
use http_body::Body;
use roomwire_metrics::Id;
use roomwire_protocols::json::push_string;

use super::body::RequestBody;
use super::client::client;
use super::connection::Connection;
use super::pipeline::version;
use super::problem::Answer;
use super::service::authority;
use crate::lifecycle::Clock;
use crate::session::ClientId;

/// Lines that may wait for the thread. Chosen: a second of the fastest worker; 300 bytes for each.
const MAX_WAITING: usize = 16_384;

/// Of what clients write, so much is kept.
const MAX_FIELD: usize = 200;

thread_local! {
    static ANSWERS: Cell<usize> = const { Cell::new(0) };
}

/// Where lines go.
pub(crate) struct AccessLog {
    lines: SyncSender<Vec<u8>>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// What a line says of the request.
pub(super) struct Entry {
    client: SocketAddr,
    method: Method,
    path: String,
    host: String,
    agent: Option<HeaderValue>,
    version: &'static str,
}

impl Entry {
    /// Queries are left out: people put tokens there.
    pub(super) fn of(connection: &Connection, request: &Request<RequestBody>) -> Self {
        debug_assert!(connection.worker.shared.config.http.access_log.is_some());
        let headers = request.headers();
        Self {
            client: client(connection, request.extensions()),
            method: request.method().clone(),
            path: cut(request.uri().path()).to_owned(),
            host: cut(authority(request).unwrap_or_default()).to_owned(),
            agent: headers.get(header::USER_AGENT).cloned(),
            version: version(request.version()),
        }
    }
}

impl AccessLog {
    /// Appends to `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or no thread be started.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(path)?;
        let (lines, waiting) = sync_channel(MAX_WAITING);
        // It ends when the last gateway that writes to it is gone.
        let builder = thread::Builder::new().name("access-log".to_owned());
        builder.spawn(move || write(file, &waiting))?;
        Ok(Self { lines })
    }

    /// Writes a line about an answer, if it is this one's turn or something went wrong with it.
    pub(super) fn note(
        &self,
        connection: &Connection,
        entry: Entry,
        request_id: Option<&HeaderValue>,
        answer: &Answer,
        took_us: u64,
        sample: usize,
    ) {
        let number = ANSWERS.get();
        ANSWERS.set(number.wrapping_add(1));
        if !number.is_multiple_of(sample) && !answer.status().is_server_error() {
            return;
        }
        let line = line(connection.session, &entry, request_id, answer, took_us);
        if self.lines.try_send(line).is_err() {
            connection.worker.count(Id::AccessLogDropped);
        }
    }
}

fn line(
    session: ClientId,
    entry: &Entry,
    request_id: Option<&HeaderValue>,
    answer: &Answer,
    took_us: u64,
) -> Vec<u8> {
    let mut line = Vec::with_capacity(300);
    let mut text = |name: &str, value: &str| {
        line.extend_from_slice(if line.is_empty() { b"{\"" } else { b",\"" });
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\":");
        push_string(&mut line, value);
    };
    let shown = |value: &HeaderValue| cut(&String::from_utf8_lossy(value.as_bytes())).to_owned();
    text("peer", &entry.client.to_string());
    text("client", &session.to_string());
    text("method", cut(entry.method.as_str()));
    text("host", &entry.host);
    text("path", &entry.path);
    text("http", entry.version);
    if let Some(id) = request_id {
        text("id", &shown(id));
    }
    if let Some(agent) = &entry.agent {
        text("agent", &shown(agent));
    }
    let bytes = answer.body().size_hint().exact();
    let bytes = bytes.map_or_else(|| "null".to_owned(), |bytes| bytes.to_string());
    let status = answer.status().as_u16();
    let time = Clock::unix_ms();
    let rest =
        format!(",\"status\":{status},\"bytes\":{bytes},\"us\":{took_us},\"time\":{time}}}\n");
    line.extend_from_slice(rest.as_bytes());
    line
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_FIELD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

fn write(file: File, waiting: &Receiver<Vec<u8>>) {
    let mut file = BufWriter::with_capacity(64 * 1024, file);
    let mut failed = false;
    while let Ok(line) = waiting.recv() {
        let written = file.write_all(&line).and_then(|()| {
            // What came meanwhile goes out together.
            for line in waiting.try_iter().take(MAX_WAITING) {
                file.write_all(&line)?;
            }
            file.flush()
        });
        if let Err(error) = written
            && !failed
        {
            failed = true;
            tracing::error!(%error, "the access log cannot be written; lines are lost");
        }
    }
}
