//! `GET /v1/rooms/{room}/events`: server-sent events, resumed by `Last-Event-ID`.
//!
//! A stream is a session whose socket is somebody else's: the worker queues encoded events in its
//! outbox and wakes the HTTP connection's task once per turn; the task takes all that is queued.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Response, StatusCode};
use roomwire_hub::{Join, Joined, Member, Position};
use roomwire_metrics::{BlockId, Id};
use roomwire_protocols::{event, sse};

use super::api::{overloaded, room_of};
use super::body::ResponseBody;
use super::client::client;
use super::message::parse_position;
use super::problem::{Answer, Problem, with_type};
use super::service::Call;
use crate::message::Message;
use crate::session::{ClientId, CloseReason, Io, Refusal, TaskSide, Wire};
use crate::worker::{Core, NewSession, Worker, count_queue};

/// Bytes taken from the outbox at a time.
const TAKEN_BYTES: usize = 64 * 1024;

/// A room's watcher: a session that is not listed among the members. Leaves when dropped.
pub(crate) struct Watcher {
    worker: Rc<Worker>,
    id: ClientId,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("id", &self.id).finish()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.worker
            .with(|core| core.task_ended(self.id, CloseReason::Ended));
    }
}

impl Watcher {
    /// Opens a session that watches `room` for a request; `side` is where its task is told.
    pub(super) fn open(
        call: &Call,
        side: &Rc<RefCell<TaskSide>>,
        wire: Wire,
        room: &str,
        since: Option<&Position>,
    ) -> Result<(Self, Joined<Arc<Message>>), Problem> {
        let connection = &call.connection;
        let peer = client(connection, call.request.extensions());
        let worker = Rc::clone(&connection.worker);
        let opened = worker.with(|core| {
            if core.drain.is_some() {
                return Err(Problem::draining());
            }
            if core.waiters >= core.shared.bounds.max_waiters {
                core.lane.increment(Id::WaitersRefused);
                return Err(overloaded());
            }
            let io = Io::Task(Rc::clone(side));
            let listener = connection.listener;
            let new = NewSession {
                io,
                wire,
                listener,
                peer,
                permit: None,
                identity: connection.identity.clone(),
            };
            let id = core.add(new).ok_or_else(overloaded)?;
            core.waiters += 1;
            let joined = core.watch(id.slot(), room, since.copied());
            if joined.is_err() {
                core.die(id.slot(), CloseReason::LimitReached);
                core.reap_soon();
            }
            Ok((id, joined?))
        });
        let (id, joined) = opened?;
        Ok((Self { worker, id }, joined))
    }
}

impl Core {
    fn watch(
        &mut self,
        slot: u32,
        room: &str,
        since: Option<Position>,
    ) -> Result<Joined<Arc<Message>>, Refusal> {
        let Some(session) = self.session(slot) else {
            return Err(Refusal::overloaded());
        };
        let member = Member {
            id: session.id.member(),
            name: None,
        };
        let join = Join {
            subject: room,
            member,
            since,
            presence: false,
            watch: true,
        };
        self.seats
            .join(slot, join, self.now_ms)
            .map_err(|error| self.refuse(error))
    }

    fn count_taken(&mut self, id: ClientId, bytes: usize, frames: u64) {
        let lane = Rc::clone(&self.lane);
        let Some(session) = self.find(id) else {
            return;
        };
        count_queue(session, &lane);
        let listener = session.listener;
        let block = self.listener_block(listener);
        lane.block_add(block, BlockId::ListenerBytesOut, bytes as u64);
        lane.block_add(block, BlockId::ListenerFramesOut, frames);
    }

    /// Takes queued bytes of an event stream; `None` once it has ended and all is taken.
    fn take_events(
        &mut self,
        id: ClientId,
        side: &Rc<RefCell<TaskSide>>,
        cx: &Context<'_>,
    ) -> Poll<Option<Bytes>> {
        self.output.arenas.seal();
        if self.find(id).is_some() {
            self.resolve_gaps(id.slot());
        }
        let mut frames = 0;
        let taken = self.find(id).map_or_else(Vec::new, |session| {
            let mut bytes = Vec::new();
            while bytes.len() < TAKEN_BYTES {
                let Some((frame, _)) = session.outbox.pop() else {
                    break;
                };
                bytes.extend_from_slice(frame.bytes());
                frames += 1;
            }
            session.stalled_ms = None;
            bytes
        });
        if !taken.is_empty() {
            self.lane.add(Id::BytesOut, taken.len() as u64);
            self.lane.add(Id::FramesOut, frames);
            self.count_taken(id, taken.len(), frames);
            return Poll::Ready(Some(taken.into()));
        }
        let mut side = side.borrow_mut();
        if side.closed.is_some() {
            return Poll::Ready(None);
        }
        side.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The body of an event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    watcher: Watcher,
    side: Rc<RefCell<TaskSide>>,
    /// What is sent before anything live: a greeting and what was missed.
    first: Bytes,
}

impl EventStream {
    pub(super) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.first)));
        }
        let Watcher { worker, id } = &self.watcher;
        worker.with(|core| core.take_events(*id, &self.side, cx))
    }
}

/// Opens a stream. With `Last-Event-ID`, or `since` in the query, what was missed comes first.
pub(super) fn open(call: &Call) -> Result<Answer, Problem> {
    let room = room_of(call)?;
    if call.request.method() == http::Method::HEAD {
        let mut answer = with_type(StatusCode::OK, "text/event-stream", Bytes::new());
        *answer.body_mut() = ResponseBody::Unsaid;
        return Ok(answer);
    }
    let last = call
        .request
        .headers()
        .get("last-event-id")
        .and_then(|id| id.to_str().ok());
    // A client cannot choose what its browser remembers, so an id that is not ours is not an error:
    // it is a place that no longer exists.
    let since = last.map(str::to_owned).or_else(|| call.query("since"));
    let since = since
        .filter(|text| !text.is_empty())
        .map(|text| parse_position(&text).unwrap_or_else(|| crate::session::position("", 0)));
    call.connection.worker.count(Id::EventStreams);
    let side = Rc::new(RefCell::new(TaskSide::default()));
    let opened = Watcher::open(call, &side, Wire::Events, room, since.as_ref());
    let (watcher, joined) = opened?;
    let mut first = Vec::new();
    // A comment first, so that a client sees at once that the stream is open.
    sse::comment(&mut first, "ok");
    let mut json = Vec::new();
    if joined.recovered == Some(false) {
        sse::event(&mut first, "unrecovered", b"{}");
    }
    for stored in &joined.missed {
        json.clear();
        event::message(&mut json, &stored.message.view(room, stored.offset));
        sse::message(&mut first, &joined.epoch, stored.offset, &json);
    }
    let stream = EventStream {
        watcher,
        side,
        first: first.into(),
    };
    let mut answer = Response::new(ResponseBody::Events(stream));
    let headers = answer.headers_mut();
    let event_stream = HeaderValue::from_static("text/event-stream");
    headers.insert(http::header::CONTENT_TYPE, event_stream);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and its like pass events on at once when told so.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}
