//! `[limits]`: every bound of the gateway, with its default, its range and what it costs at worst.
//!
//! This is the one table of bounds. Nothing in the gateway may grow with what peers do unless a
//! row here stops it. Worst cases are what a hostile peer can hold, not what a usual one does.
//! Relations between rows are in [`Limits::broken_relation`], which the compiler runs on the
//! defaults and the loader on what is configured.

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::Visitor;
use super::unit::{ByteSize, Span};

/// The most that `max_message` can be set to; limits that must hold a message are tied to it.
const LARGEST_MESSAGE: ByteSize = ByteSize::mib(64);

/// The most that `max_outbox_bytes` can be set to.
const LARGEST_OUTBOX: ByteSize = ByteSize::gib(1);

macro_rules! limits {
    ($( $(#[$doc:meta])+ $name:ident: $kind:ty = $default:expr, $min:expr => $max:expr; )+) => {
        /// Every bound of the gateway.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $( $(#[$doc])+ pub $name: $kind, )+
        }

        impl Limits {
            /// The limits where nothing is configured.
            pub const DEFAULT: Self = Self { $( $name: $default, )+ };

            pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
                $( visitor.bounded(stringify!($name), &mut self.$name, $min, $max); )+
            }
        }
    };
}

limits! {
    /// The largest message, command or line taken from a peer, whatever the wire. Default 64KiB,
    /// from 1KiB to 64MiB. Worst case: this much for each session that leaves one unfinished.
    max_message: ByteSize = ByteSize::kib(64), ByteSize::kib(1) => LARGEST_MESSAGE;
    /// Frames in one WebSocket message, not counting an empty one that ends it. Default 1024, from 1
    /// to 1000000. Worst case: no memory, the parts are joined as they come; it bounds the work that
    /// empty frames can cause.
    max_fragments: usize = 1024, 1 => 1_000_000;
    /// How many times its compressed size a WebSocket message may have, beyond its first 128KiB.
    /// Default 10, from 1 to 1000. Worst case: 48 KiB for each session that leaves more than 4 KiB
    /// of a compressed message unfinished, besides `max_message`.
    max_inflate_ratio: usize = 10, 1 => 1000;
    /// What may wait to be written to one session, in bytes. Default 1MiB, or twice `max_message`
    /// where that is more; from 4KiB to 1GiB. Worst case: this much for each session, though a
    /// message that waits in many outboxes is held once.
    max_outbox_bytes: ByteSize = ByteSize::mib(1), ByteSize::kib(4) => LARGEST_OUTBOX;
    /// What may wait to be written to one session, in messages. Default 1000, from 16 to 1000000.
    /// Worst case: 48 bytes for each, in each session.
    max_outbox_messages: usize = 1000, 16 => 1_000_000;
    /// Rooms and patterns that one session may be in. Default 128, or `max_rooms` where that is
    /// less; from 1 to 65536. Worst case: about 200 bytes for each, in each session.
    max_rooms_per_session: usize = 128, 1 => 65_536;
    /// Rooms that exist at a time. Default 100000, from 1 to 10000000. Worst case: 1 KiB for each,
    /// and its history (`rooms.history.bytes`).
    max_rooms: usize = 100_000, 1 => 10_000_000;
    /// Different patterns (`news.*`) that are subscribed to at a time. Default 10000, from 1 to
    /// 1000000. Worst case: 1 KiB for each; a new room is compared with them all.
    max_patterns: usize = 10_000, 1 => 1_000_000;
    /// Sessions at a time on all listeners; 0 takes what the limit of open files (RLIMIT_NOFILE)
    /// leaves. Default 0, from 0 to 10000000. Worst case: `max_message` and `max_outbox_bytes`
    /// for each.
    max_connections: usize = 0, 0 => 10_000_000;
    /// Deliveries that may wait for one worker. Default 16384, from 64 to 1000000. Worst case: 64
    /// bytes for each, and the messages they refer to. Above three quarters of it sessions that
    /// publish are not read from.
    max_inbox: usize = 16_384, 64 => 1_000_000;
    /// Members told in one answer; the rest is only counted. Default 1000, from 1 to 100000. Worst
    /// case: about 600 bytes for each while the answer is made.
    max_members_listed: usize = 1000, 1 => 100_000;
    /// Messages in one answer from history. Default 1000, from 1 to 100000. Worst case: references
    /// to messages that the history holds anyway, until they are encoded into the outbox.
    max_history_page: usize = 1000, 1 => 100_000;
    /// The headers of one HTTP request, in bytes. Default 16KiB, from 8KiB to 1MiB. Worst case:
    /// this much for each HTTP session.
    max_header: ByteSize = ByteSize::kib(16), ByteSize::kib(8) => ByteSize::mib(1);
    /// The target of one HTTP request, path and query, in bytes. Default 8KiB, from 256B to 32KiB.
    /// Worst case: it is a part of `max_header`.
    max_target: ByteSize = ByteSize::kib(8), ByteSize::bytes(256) => ByteSize::kib(32);
    /// One header of an HTTP request, name and value, in bytes. Default 8KiB, from 256B to 1MiB.
    /// Worst case: it is a part of `max_header`.
    max_header_field: ByteSize = ByteSize::kib(8), ByteSize::bytes(256) => ByteSize::mib(1);
    /// The body of one HTTP request, in bytes. Default 64KiB, or `max_message` where that is more;
    /// from 1KiB to 64MiB. Worst case: this much for each of `max_requests_per_session`, in each
    /// HTTP session.
    max_body: ByteSize = ByteSize::kib(64), ByteSize::kib(1) => LARGEST_MESSAGE;
    /// Threads that open and read files for static routes where that takes a disk. Default 4, from 1
    /// to 256. Worst case: a stack for each.
    file_threads: usize = 4, 1 => 256;
    /// Requests that may wait for one of these threads; others are answered by 503. Default 1024, from
    /// 1 to 1000000. Worst case: 64KiB for each.
    max_file_queue: usize = 1024, 1 => 1_000_000;
    /// Threads for work of an embedding program that takes the processor. Default 0, which is half as
    /// many as there are cores, from 0 to 256. Worst case: a stack for each.
    work_threads: usize = 0, 0 => 256;
    /// Pieces of such work that may wait for a thread; more are refused. Default 64, from 0 to 1000000.
    /// Worst case: what each holds, as a password of `max_body`.
    max_work_queue: usize = 64, 0 => 1_000_000;
    /// Clients that each quota of `[rate]` remembers; one that is forgotten has its whole quota again.
    /// Default 100000, from 16 to 10000000. Worst case: 64 bytes for each, in each of three quotas.
    max_rate_entries: usize = 100_000, 16 => 10_000_000;
    /// Small static files kept for the next who asks, for a second at the most, in bytes; 0B keeps none.
    /// Default 4MiB, from 0B to 1GiB. Worst case: this much for each worker.
    max_kept_files: ByteSize = ByteSize::mib(4), ByteSize::bytes(0) => ByteSize::gib(1);
    /// Requests to rooms that one session may have waiting for replies. Default 16, from 1 to 1000.
    /// Worst case: half of `max_outbox_bytes` for each.
    max_requests_per_session: usize = 16, 1 => 1000;
    /// Replies that one room request waits for. Default 1000, from 1 to 100000. Worst case:
    /// `max_message` for each.
    max_request_replies: usize = 1000, 1 => 100_000;
    /// Peers that hold a lease on all UDP listeners together. Default 10000, from 1 to 1000000.
    /// Worst case: `max_outbox_bytes` for each.
    max_udp_sessions: usize = 10_000, 1 => 1_000_000;
    /// The largest datagram sent, in bytes; of a larger message its UDP members are told the gap.
    /// Default 1200B, from 512B to 65507B. Worst case: no memory; above the path's MTU datagrams are
    /// lost.
    max_udp_datagram: ByteSize =
        ByteSize::bytes(1200), ByteSize::bytes(512) => ByteSize::bytes(65_507);
    /// Answers kept for each UDP session, for when a command that changed something comes again; 0
    /// obeys each again. Default 16, from 0 to 1000. Worst case: `max_udp_datagram` for each, in each
    /// session.
    max_udp_answers: usize = 16, 0 => 1000;
    /// HTTP requests that wait for messages: long polls and event streams. Default 10000, from 0 to
    /// 1000000. Worst case: `max_outbox_bytes` for each.
    max_waiters: usize = 10_000, 0 => 1_000_000;
    /// How long a session may be silent before it is pinged. Default 25s, from 1s to 1h. Worst
    /// case: no memory; two packets for each idle session in this time.
    ping_interval: Span = Span::seconds(25), Span::seconds(1) => Span::hours(1);
    /// How long the answer to a ping may take. Default 10s, or `ping_interval` where that is less;
    /// from 100ms to 1h. Worst case: a dead session is kept this long after `ping_interval`.
    pong_timeout: Span = Span::seconds(10), Span::millis(100) => Span::hours(1);
    /// How long TLS and the first bytes of HTTP may take together, and how long a UDP peer that
    /// proved nothing is remembered. Default 10s, from 100ms to 5m. Worst case: a peer that sends
    /// nothing holds a connection this long.
    handshake_timeout: Span = Span::seconds(10), Span::millis(100) => Span::minutes(5);
    /// How long the headers of an HTTP request may take. Default 10s, from 100ms to 5m. Worst case:
    /// `max_header` is held this long.
    header_timeout: Span = Span::seconds(10), Span::millis(100) => Span::minutes(5);
    /// How long an HTTP connection without a request is kept. Default 1m, from 1s to 1h. Worst
    /// case: an idle connection is held this long.
    idle_http: Span = Span::seconds(60), Span::seconds(1) => Span::hours(1);
    /// How long a socket may refuse to take more before the session ends. Default 5s, from 100ms to
    /// 5m. Worst case: `max_outbox_bytes` is held this long.
    write_timeout: Span = Span::seconds(5), Span::millis(100) => Span::minutes(5);
    /// How long the key of a publish is remembered. Default 5m, from 1s to 24h. Worst case: about
    /// 300 bytes for each publish with a key in this time.
    idempotency_ttl: Span = Span::minutes(5), Span::seconds(1) => Span::hours(24);
    /// How long a UDP membership lasts without a datagram. Default 30s, from 1s to 1h. Worst case:
    /// a silent peer is sent messages this long.
    udp_lease: Span = Span::seconds(30), Span::seconds(1) => Span::hours(1);
    /// How long a room request waits for replies unless it says otherwise. Default 10s, or
    /// `max_request_timeout` where that is less; from 1ms to 1h. Worst case: its replies are held
    /// this long.
    request_timeout: Span = Span::seconds(10), Span::millis(1) => Span::hours(1);
    /// The longest time a request may ask for: replies in a room, messages in a long poll. Default
    /// 1m, from 1s to 1h. Worst case: one of `max_waiters` is taken this long.
    max_request_timeout: Span = Span::seconds(60), Span::seconds(1) => Span::hours(1);
    /// How long a peer may take to answer our close. Default 5s, from 100ms to 5m. Worst case: a
    /// session that has ended is held this long.
    close_timeout: Span = Span::seconds(5), Span::millis(100) => Span::minutes(5);
}

const fn broken(key: &'static str, rule: &'static str) -> Option<BrokenRelation> {
    Some(BrokenRelation { key, rule })
}

/// Two limits that cannot both be as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenRelation {
    /// The key to change.
    pub(super) key: &'static str,
    /// Completes "`limits.KEY` …".
    pub(super) rule: &'static str,
}

impl Limits {
    /// The first relation between limits that does not hold.
    pub(super) const fn broken_relation(&self) -> Option<BrokenRelation> {
        if self.max_outbox_bytes.get() < self.max_message.get().saturating_mul(2) {
            return broken(
                "max_outbox_bytes",
                "must be at least twice `max_message`, or the largest message could not be sent",
            );
        }
        if self.pong_timeout.as_millis() > self.ping_interval.as_millis() {
            return broken(
                "pong_timeout",
                "must not be longer than `ping_interval`, or pings would overlap",
            );
        }
        if self.request_timeout.as_millis() > self.max_request_timeout.as_millis() {
            return broken(
                "request_timeout",
                "must not be longer than `max_request_timeout`",
            );
        }
        if self.max_rooms_per_session > self.max_rooms {
            return broken("max_rooms_per_session", "must not be more than `max_rooms`");
        }
        None
    }

    /// Adapts defaults to limits that were given, so that relations break only between limits that
    /// somebody wrote; `is_set` tells which keys were.
    pub(super) fn derive(&mut self, is_set: impl Fn(&str) -> bool) {
        // What is out of range is refused anyway, and must not spread to other limits.
        let message = self.max_message.min(LARGEST_MESSAGE);
        if !is_set("max_outbox_bytes") {
            let least = ByteSize::bytes(message.get().saturating_mul(2));
            self.max_outbox_bytes = self.max_outbox_bytes.max(least);
        }
        if !is_set("max_body") {
            self.max_body = self.max_body.max(message);
        }
        if !is_set("max_rooms_per_session") {
            self.max_rooms_per_session = self.max_rooms_per_session.min(self.max_rooms.max(1));
        }
        if !is_set("pong_timeout") {
            self.pong_timeout = self
                .pong_timeout
                .min(self.ping_interval.max(Span::seconds(1)));
        }
        if !is_set("request_timeout") {
            let longest = self.max_request_timeout.max(Span::seconds(1));
            self.request_timeout = self.request_timeout.min(longest);
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = assert!(Limits::DEFAULT.broken_relation().is_none());
// Even the largest message fits where `derive` makes room for it.
const _: () = assert!(2 * LARGEST_MESSAGE.get() <= LARGEST_OUTBOX.get());
// A publish over HTTP carries what one over WebSocket may.
const _: () = assert!(Limits::DEFAULT.max_body.get() >= Limits::DEFAULT.max_message.get());
// RFC 9000 §14.1 and §14.2: 1200 bytes pass every path that QUIC can use.
const _: () = assert!(Limits::DEFAULT.max_udp_datagram.get() <= 1200);
// An inbox can hold a whole answer from history while it is being delivered.
const _: () = assert!(Limits::DEFAULT.max_inbox >= Limits::DEFAULT.max_history_page);
// A UDP member that answers each ping keeps its lease.
const _: () =
    assert!(Limits::DEFAULT.udp_lease.as_millis() > Limits::DEFAULT.ping_interval.as_millis());
