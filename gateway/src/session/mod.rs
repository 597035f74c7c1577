//! A session: our state for one peer, plain data in its worker's slab.
//!
//! A session owns its socket ([`Io`]), what its protocol needs to remember between two reads
//! ([`Wire`]) and its outbox. It owns no buffer while it is idle and it knows nothing of rooms: who
//! is in one is the hub's knowledge (`Seats`). Next files to read: `close.rs` for why sessions end,
//! `command.rs` for what they may ask.

mod chat;
mod close;
mod command;
mod h2_socket;
mod room;
mod stream;
mod websocket;

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use roomwire_certs::Identity;
use roomwire_hub::{MemberId, Outbox};
use roomwire_protocols::frame::FrameDecoder;
use roomwire_protocols::line::LineDecoder;
use roomwire_protocols::websocket::deflate::Window;

pub use close::{CloseInfo, CloseReason, Fault};
pub(crate) use command::counter_of;
pub(crate) use h2_socket::H2Socket;
pub(crate) use room::{Refusal, position};
pub(crate) use stream::{Activity, Socket, Stream};
pub(crate) use websocket::WebSocketCodec;

use crate::listener::Permit;
use crate::proxy::Proxied;
use crate::udp::{Flow, Peer};
use crate::worker::{Burst, Slice, SlotWaker};

/// Names one session in the whole gateway: its worker, its slot there and the slot's generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(u64);

impl ClientId {
    const SLOT_BITS: u32 = 26;
    const WORKER_BITS: u32 = 10;
    /// Sessions one worker can hold: 67 million.
    pub(crate) const MAX_SLOTS: u32 = 1 << Self::SLOT_BITS;

    pub(crate) fn pack(worker: u16, generation: u32, slot: u32) -> Self {
        debug_assert!(slot < Self::MAX_SLOTS && u32::from(worker) < 1 << Self::WORKER_BITS);
        let generation = u64::from(generation) << (Self::SLOT_BITS + Self::WORKER_BITS);
        Self(generation | u64::from(worker) << Self::SLOT_BITS | u64::from(slot))
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "masked to the field's bits"
    )]
    pub(crate) fn worker(self) -> u16 {
        (self.0 >> Self::SLOT_BITS) as u16 & ((1 << Self::WORKER_BITS) - 1)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "masked to the field's bits"
    )]
    pub(crate) fn slot(self) -> u32 {
        self.0 as u32 & (Self::MAX_SLOTS - 1)
    }

    pub(crate) fn member(self) -> MemberId {
        MemberId(self.0)
    }

    pub(crate) fn from_member(member: MemberId) -> Self {
        Self(member.0)
    }

    /// Reads what `Display` wrote: 16 lower-case hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.as_bytes().iter().all(lower) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a session reads from and writes to.
#[derive(Debug)]
pub(crate) enum Io {
    /// A connection that the worker reads and writes itself.
    Stream(Stream),
    /// A peer of a UDP socket of this worker.
    Datagram(Box<Peer>),
    /// Something an HTTP task looks after; the task is told when the session changed.
    Task(Rc<RefCell<TaskSide>>),
}

/// The part of a session that its HTTP task sees.
#[derive(Debug, Default)]
pub(crate) struct TaskSide {
    /// Set when the session shall end; the task ends it.
    pub(crate) closed: Option<CloseReason>,
    /// Set when a message came for a long poll.
    pub(crate) notified: bool,
    pub(crate) waker: Option<Waker>,
}

impl TaskSide {
    /// Wakes the task, if it waits.
    pub(crate) fn wake(side: &Rc<RefCell<Self>>) {
        let waker = side.borrow_mut().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The protocol a session speaks, with what it must remember between two reads.
#[derive(Debug)]
pub(crate) enum Wire {
    /// A rooms connection over TCP whose first byte has not come.
    Undecided,
    /// `roomwire.v1`, one JSON object per line.
    Lines(LineDecoder),
    /// A person: plain lines.
    Chat(Box<ChatState>),
    /// `roomwire.v1` over WebSocket.
    WebSocket(WebSocketCodec),
    /// WebSocket messages sent back.
    WebSocketEcho(WebSocketCodec),
    /// Bytes sent back.
    Echo,
    /// Bytes thrown away.
    Discard,
    /// Messages in a stream, sent back or thrown away.
    Framed(Box<Framed>),
    /// `roomwire.v1`, one JSON object per datagram.
    Datagram,
    /// Server-sent events.
    Events,
    /// A long poll, told that there is something to fetch.
    Waiter,
    /// Bytes passed on to an upstream, and back.
    Proxy(Box<Proxied>),
    /// Datagrams passed on to an upstream, and back.
    DatagramProxy(Box<Flow>),
    /// A program's input and output.
    Exec,
    /// An HTTP connection.
    Http,
    /// Lent to the code that is reading the session at this moment.
    Lent,
}

/// What a session of a listener with framing remembers.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) decoder: FrameDecoder,
    /// Messages are sent back.
    pub(crate) echo: bool,
}

impl Framed {
    pub(crate) fn new(echo: bool) -> Box<Self> {
        let decoder = FrameDecoder::default();
        Box::new(Self { decoder, echo })
    }
}

/// What a chat session remembers.
#[derive(Debug, Default)]
pub(crate) struct ChatState {
    pub(crate) lines: LineDecoder,
    /// The room joined last: where plain lines go.
    pub(crate) room: Option<Arc<str>>,
}

/// How what is sent to a session is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Text messages, compressed for a window where that was agreed.
    WebSocket(Option<Window>),
    Line,
    Chat,
    Datagram,
    Events,
    /// WebSocket frames, but no words of `roomwire.v1`.
    WebSocketEcho,
    /// Nothing is queued; a task is told.
    Notify,
    /// The wire carries no messages.
    None,
}

impl Framing {
    /// How many there are.
    pub(crate) const COUNT: usize = 11;

    /// Whether the worker itself writes the frames to a stream of bytes.
    pub(crate) const fn is_stream(self) -> bool {
        matches!(self, Self::WebSocket(_) | Self::Line | Self::Chat)
    }

    /// Its place in a table of [`Self::COUNT`] entries.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::None => 0,
            Self::Notify => 1,
            Self::WebSocketEcho => 2,
            Self::Line => 3,
            Self::Chat => 4,
            Self::Datagram => 5,
            Self::Events => 6,
            Self::WebSocket(None) => 7,
            Self::WebSocket(Some(window)) => 8 + window as usize,
        }
    }
}

impl Wire {
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Self::WebSocket(codec) => Framing::WebSocket(codec.deflate()),
            Self::Lines(_) => Framing::Line,
            Self::Chat(_) => Framing::Chat,
            Self::Datagram => Framing::Datagram,
            Self::Events => Framing::Events,
            Self::Waiter => Framing::Notify,
            Self::WebSocketEcho(_) => Framing::WebSocketEcho,
            Self::Undecided
            | Self::Echo
            | Self::Discard
            | Self::Framed(_)
            | Self::Exec
            | Self::Proxy(_)
            | Self::DatagramProxy(_)
            | Self::Http
            | Self::Lent => Framing::None,
        }
    }

    /// The wire's name in listings and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Undecided | Self::Lines(_) => "tcp",
            Self::Chat(_) => "tcp-chat",
            Self::WebSocket(_) => "websocket",
            Self::WebSocketEcho(_) => "websocket-echo",
            Self::Echo => "tcp-echo",
            Self::Framed(framed) if framed.echo => "tcp-echo",
            Self::Framed(_) | Self::Discard => "tcp-discard",
            Self::Datagram => "udp",
            Self::Events => "events",
            Self::Waiter => "long-poll",
            Self::Proxy(_) => "tcp-proxy",
            Self::DatagramProxy(_) => "udp-proxy",
            Self::Exec => "tcp-exec",
            Self::Http => "http",
            Self::Lent => "busy",
        }
    }
}

/// How far a session's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    /// Ending; its last words are being queued, and nothing after them.
    LastWords,
    /// The last words are queued; what comes from the peer is thrown away until it closes too, or
    /// until the deadline. Without this wait an unread byte would turn our close into a reset that
    /// destroys the last words on their way (RFC 1122 §4.2.2.13).
    Ending {
        reason: CloseReason,
        deadline_ms: u64,
        shut: bool,
    },
    /// To be removed at the end of the turn.
    Dead(CloseReason),
}

/// A time on the workers' clock in a form that costs nothing where there is none; its first
/// millisecond counts as the second.
pub(crate) fn moment(now_ms: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(now_ms.max(1))
}

/// Our state for one peer.
///
/// The order of the fields is that of memory: what a delivery looks at comes first, and lies in three
/// of the seven cache lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Session {
    /// The framing of `wire`, kept apart so that it is known while the wire is lent.
    pub(crate) framing: Framing,
    /// On the worker's list of sessions to flush.
    pub(crate) touched: bool,
    /// The peer sends no more. It still gets what its last words caused in this turn.
    pub(crate) input_over: bool,
    /// Not read from until its outbox is empty.
    pub(crate) paused: bool,
    /// Not read from until the hub's inboxes have room.
    pub(crate) parked: bool,
    pub(crate) listener: u16,
    /// What the gauge of queued bytes has of this session.
    pub(crate) counted_bytes: u32,
    /// Requests of this session that wait for replies.
    pub(crate) requests: u16,
    /// What follows the outbox; empty but between a fan-out and the flush after it.
    pub(crate) burst: Burst,
    /// When the socket was full and has taken nothing since.
    pub(crate) stalled_ms: Option<NonZeroU64>,
    pub(crate) outbox: Outbox<Slice>,
    pub(crate) io: Io,
    /// `slot_waker` as the runtime wants it.
    pub(crate) waker: Waker,
    pub(crate) stage: Stage,
    pub(crate) id: ClientId,
    pub(crate) wire: Wire,
    /// When the ping was sent that nothing has answered.
    pub(crate) pinged_ms: Option<NonZeroU64>,
    pub(crate) opened_ms: u64,
    pub(crate) heard_ms: u64,
    pub(crate) peer: SocketAddr,
    /// Whom the client's certificate names, where it showed one.
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) name: Option<Arc<str>>,
    /// The sender's name on messages: `name`, else the client id; made at the first publish.
    pub(crate) from: Option<Arc<str>>,
    /// Input that was read but must wait until the session is read again.
    pub(crate) stash: Vec<u8>,
    /// What the connection was admitted with; an HTTP task keeps its own.
    #[allow(dead_code, reason = "given back when the session is dropped")]
    pub(crate) permit: Option<Permit>,
    pub(crate) slot_waker: Arc<SlotWaker>,
}

// An idle WebSocket has 1 KiB in all, of which the runtime takes half.
const _: () = assert!(size_of::<Session>() <= 416);

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// The peer was not read from for a while: its time to answer a ping begins anew.
    pub(crate) fn restart_pong(&mut self, now_ms: u64) {
        self.pinged_ms = self.pinged_ms.and_then(|_| moment(now_ms));
    }

    /// Whether anything may still be queued for the peer.
    pub(crate) fn is_spoken_to(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::LastWords)
    }

    /// Whether the peer is known to receive at its address; only of UDP peers is it not.
    pub(crate) fn is_proven(&self) -> bool {
        match &self.io {
            Io::Datagram(peer) => peer.lease.is_proven(),
            Io::Stream(_) | Io::Task(_) => true,
        }
    }

    /// The name that stands in `from` of what this session publishes.
    pub(crate) fn from(&mut self) -> Arc<str> {
        let (name, id) = (&self.name, self.id);
        Arc::clone(self.from.get_or_insert_with(|| {
            name.as_ref()
                .map_or_else(|| Arc::from(id.to_string()), Arc::clone)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_keeps_its_parts_and_its_text() {
        let id = ClientId::pack(1023, 0x0abc_def0, ClientId::MAX_SLOTS - 1);
        assert_eq!((id.worker(), id.slot()), (1023, ClientId::MAX_SLOTS - 1));
        assert_eq!(ClientId::parse(&id.to_string()), Some(id));
        assert_eq!(ClientId::parse("xyz"), None);
        assert_eq!(ClientId::parse("+123456789abcdef"), None);
    }

    #[test]
    fn every_framing_has_its_own_place_in_a_table() {
        let windows = Window::ALL.map(|window| Framing::WebSocket(Some(window)));
        let others = [
            Framing::WebSocket(None),
            Framing::Line,
            Framing::Chat,
            Framing::Datagram,
            Framing::Events,
            Framing::WebSocketEcho,
            Framing::Notify,
            Framing::None,
        ];
        let mut places: Vec<_> = others
            .into_iter()
            .chain(windows)
            .map(Framing::index)
            .collect();
        places.sort_unstable();
        assert_eq!(places, (0..Framing::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn an_idle_session_is_small() {
        assert!(
            size_of::<Session>() <= 416,
            "{} bytes",
            size_of::<Session>()
        );
    }
}
