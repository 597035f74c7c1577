//! The events that the gateway emits, and their payloads.
//!
//! | event | payload | when |
//! |---|---|---|
//! | `listening` | [`BoundAddress`] | a listener is bound and accepts |
//! | `connection` | [`Connection`] | a session began |
//! | `message` | [`Inbound`] | a session sent a line, message or datagram; UDP echo has no sessions |
//! | `request` | [`crate::Request`] | an HTTP request came in |
//! | `join`, `leave` | [`Membership`] | a session entered or left a room |
//! | `publish` | [`Publication`] | a message was given its offset |
//! | `close` | [`Closed`] | a session ended |
//! | `drop` | [`Refused`] | a connection was refused at a limit |
//! | `drain` | [`Connection`] | a session that was not read from is read again |
//!
//! Listeners run on the worker's thread, inside its turn: they must not block. A payload is only
//! made where somebody listens.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use roomwire_certs::Identity;
use roomwire_hub::WorkerId;
use roomwire_hub::emitter::{Emitter, Topic, name};
use roomwire_metrics::Id;
use tokio::sync::mpsc;

use crate::message::Message;
use crate::rooms::Rooms;
use crate::session::{ClientId, CloseReason, Session};
use crate::shared::Shared;
use crate::worker::{Control, Core};

/// A listener as it is bound.
#[derive(Clone, Debug)]
pub struct BoundAddress {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// `tcp`, `udp`, `http` or `https`.
    pub protocol: &'static str,
    /// What it does: `rooms`, `echo`, `discard` or `http`.
    pub handler: &'static str,
    /// Where it listens; the port is the real one where port 0 was asked for.
    pub address: SocketAddr,
}

/// A session, as listeners of events see it. Cheap to clone; outlives the session harmlessly.
#[derive(Clone)]
pub struct Connection {
    id: ClientId,
    peer: SocketAddr,
    listener: u16,
    name: Option<Arc<str>>,
    identity: Option<Arc<Identity>>,
    shared: Weak<Shared>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .finish()
    }
}

impl Connection {
    fn new(session: &Session, shared: &Arc<Shared>) -> Self {
        Self {
            id: session.id,
            peer: session.peer,
            listener: session.listener,
            name: session.name.clone(),
            identity: session.identity.clone(),
            shared: Arc::downgrade(shared),
        }
    }

    /// The client id, which also stands in `from` of what a nameless session publishes.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The name that the peer gave itself before the event.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whom the peer's certificate names, where the listener asks for one and it showed one that
    /// was accepted.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// The listener that the peer came by; `None` once the gateway is gone.
    pub fn listener(&self) -> Option<BoundAddress> {
        self.shared
            .upgrade()?
            .listeners
            .get(usize::from(self.listener))
            .cloned()
    }

    /// To publish into the gateway's rooms.
    pub fn rooms(&self) -> Rooms {
        Rooms::weak(Weak::clone(&self.shared))
    }

    /// Sends one JSON text to the peer in its wire's framing. False when it is not valid JSON, the
    /// gateway is gone or the session's worker has no room for another command; a session that speaks no JSON is not sent
    /// anything.
    pub fn send(&self, json: impl AsRef<[u8]>) -> bool {
        if roomwire_protocols::json::check(json.as_ref()).is_err() {
            return false;
        }
        self.control(Control::Send {
            client: self.id,
            json: json.as_ref().into(),
        })
    }

    /// Ends the session, which is told `goodbye`.
    pub fn close(&self) -> bool {
        let (answer, _) = mpsc::channel(1);
        self.control(Control::Close {
            client: self.id,
            reason: CloseReason::Kicked,
            answer,
        })
    }

    fn control(&self, control: Control) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        shared.hub.send(WorkerId(self.id.worker()), control).is_ok()
    }
}

/// What a session sent: a line, a WebSocket message, a datagram, or what one read of an echo gave.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Who sent it.
    pub connection: Connection,
    /// The bytes as they came.
    pub data: Bytes,
}

/// Whether somebody came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Entered the room.
    Joined,
    /// Left the room.
    Left,
}

/// Somebody entered or left a room.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Who.
    pub connection: Connection,
    /// The room or pattern.
    pub room: Arc<str>,
    /// Which of the two.
    pub change: Change,
}

/// A message that was given its offset.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The room.
    pub room: Arc<str>,
    /// Its place in the room's order.
    pub offset: u64,
    /// The message.
    pub message: Arc<Message>,
    rooms: Rooms,
}

impl Publication {
    /// To publish an answer. A listener that answers every publish answers its own, too: look at
    /// [`Message::from`] first.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    pub(crate) fn new(
        shared: &Arc<Shared>,
        room: &str,
        offset: u64,
        message: Arc<Message>,
    ) -> Self {
        Self {
            room: Arc::from(room),
            offset,
            message,
            rooms: Rooms::new(shared),
        }
    }
}

/// How deep listeners of `publish` may publish from within each other. Chosen: far beyond what a
/// program means, far below what a thread's stack holds.
const MAX_PUBLISH_DEPTH: u32 = 32;

thread_local! {
    /// Emits of `publish` that this thread is inside of.
    static PUBLISH_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs `emit`, an emit of `publish`, unless listeners are publishing in answer to each other without
/// end: then the message is delivered as any other, and only its event is left out.
pub(crate) fn emit_publication(shared: &Shared, emit: impl FnOnce()) {
    let depth = PUBLISH_DEPTH.get();
    if depth >= MAX_PUBLISH_DEPTH {
        shared.lane.increment(Id::PublishEventsTooDeep);
        tracing::debug!("listeners of publish publish in answer to each other");
        return;
    }
    PUBLISH_DEPTH.set(depth + 1);
    // Listeners do not unwind: the emitter catches their panics.
    emit();
    PUBLISH_DEPTH.set(depth);
}

/// A session that ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Who it was.
    pub id: ClientId,
    /// Its address.
    pub peer: SocketAddr,
    /// Why it ended.
    pub reason: CloseReason,
}

impl Closed {
    pub(crate) fn new(session: &Session, reason: CloseReason) -> Self {
        Self {
            id: session.id,
            peer: session.peer,
            reason,
        }
    }
}

/// A connection that was refused because a limit was reached.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Whose connection it was.
    pub peer: SocketAddr,
}

/// The gateway's own events, resolved once per worker.
#[derive(Debug)]
pub(crate) struct Topics {
    pub(crate) connection: Topic,
    pub(crate) message: Topic,
    pub(crate) request: Topic,
    pub(crate) join: Topic,
    pub(crate) leave: Topic,
    pub(crate) publish: Topic,
    pub(crate) close: Topic,
    pub(crate) refused: Topic,
    pub(crate) drain: Topic,
}

impl Topics {
    pub(crate) fn resolve(emitter: &Emitter) -> Self {
        let topic = |name| {
            emitter
                .topic(name)
                .expect("the gateway's own events come first")
        };
        Self {
            connection: topic(name::CONNECTION),
            message: topic(name::MESSAGE),
            request: topic(name::REQUEST),
            join: topic(name::JOIN),
            leave: topic(name::LEAVE),
            publish: topic(name::PUBLISH),
            close: topic(name::CLOSE),
            refused: topic(name::DROP),
            drain: topic(name::DRAIN),
        }
    }
}

impl Core {
    pub(crate) fn emit_connection(&self, slot: u32) {
        if self.topics.connection.has_listeners()
            && let Some(session) = self.sessions.get(slot as usize)
        {
            self.topics
                .connection
                .emit(&Connection::new(session, &self.shared));
        }
    }

    pub(crate) fn emit_message(&self, slot: u32, data: &[u8]) {
        if self.topics.message.has_listeners()
            && let Some(session) = self.sessions.get(slot as usize)
        {
            let connection = Connection::new(session, &self.shared);
            self.topics.message.emit(&Inbound {
                connection,
                data: Bytes::copy_from_slice(data),
            });
        }
    }

    pub(crate) fn emit_membership(&self, slot: u32, room: &str, change: Change) {
        let topic = match change {
            Change::Joined => &self.topics.join,
            Change::Left => &self.topics.leave,
        };
        if topic.has_listeners()
            && let Some(session) = self.sessions.get(slot as usize)
        {
            let connection = Connection::new(session, &self.shared);
            topic.emit(&Membership {
                connection,
                room: Arc::from(room),
                change,
            });
        }
    }

    pub(crate) fn emit_drain(&self, slot: u32) {
        if self.topics.drain.has_listeners()
            && let Some(session) = self.sessions.get(slot as usize)
        {
            self.topics
                .drain
                .emit(&Connection::new(session, &self.shared));
        }
    }
}
