//! The names of the events that the gateway itself emits.
//!
//! They are fixed: users of the library listen on them by these strings. Any other string is an
//! event of the user's own; HTTP routes are events too, named `METHOD PATH` (`GET /hello`).

/// A listener is bound; the payload carries its address.
pub const LISTENING: &str = "listening";
/// A session began.
pub const CONNECTION: &str = "connection";
/// A session sent a line, a message or a datagram.
pub const MESSAGE: &str = "message";
/// An HTTP request for something that exists.
pub const REQUEST: &str = "request";
/// A session joined a room.
pub const JOIN: &str = "join";
/// A session left a room.
pub const LEAVE: &str = "leave";
/// A message was published to a room.
pub const PUBLISH: &str = "publish";
/// A session ended.
pub const CLOSE: &str = "close";
/// Something failed; see [`ListenerError`](super::ListenerError) for the hub's own payload.
pub const ERROR: &str = "error";
/// A connection was refused because a limit was reached.
pub const DROP: &str = "drop";
/// A session that was not read from, for not reading itself, is read again.
pub const DRAIN: &str = "drain";
