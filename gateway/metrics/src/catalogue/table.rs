//! The one place where a counter is born.
//!
//! A row here is all it takes: the page, the Prometheus text, the command line and
//! `docs/counters.md` come from it. The help says what the figure means and then what to do when it
//! moves. Order is free; related rows stand together. The kinds are `counter`, `gauge`, `high` (a
//! high-water mark) and `histogram`; a compile-time check refuses a bad or repeated name.

catalogue! {
    counter SessionsOpened "sessions_opened_total" Sessions Info
        "Sessions accepted on any wire since the start. Compare with sessions_closed_total; a rise without a rise of sessions means clients reconnect in a loop.";
    counter SessionsClosed "sessions_closed_total" Sessions Info
        "Sessions that ended, for any reason. Opened minus closed equals sessions.";
    gauge Sessions "sessions" Sessions Info
        "Sessions open now. Near the connection limit: raise the limit of descriptors (ulimit -n) and max_sessions, or add a gateway.";
    counter SessionsRefused "sessions_refused_total" Sessions Info
        "Connections turned away because a limit was reached. Any rise: raise the limit that the log names, or find who opens so many.";
    counter SessionPanics "session_panics_total" Sessions Info
        "Sessions ended by a panic in their handler. Any rise is a bug: the log has the place; please report it.";
    counter CommandsReceived "commands_received_total" Commands Info
        "Commands taken from sessions on all wires, good and bad.";
    counter CommandsInvalid "commands_invalid_total" Commands Info
        "Commands answered with an error because they could not be understood. A rise with one client version: look at the error codes at log level debug.";
    counter BytesReceived "wire_bytes_received_total" Bytes Info
        "Bytes read from all sockets, after TLS.";
    counter BytesSent "wire_bytes_sent_total" Bytes Info
        "Bytes written to all sockets, before TLS.";
    counter MessagesPublished "hub_messages_published_total" Messages Info
        "Messages that got an offset in a room.";
    counter MessagesDelivered "hub_messages_delivered_total" Messages Info
        "Messages put into a session's outbox. Divided by hub_messages_published_total: the average fan-out.";
    counter OutboxDropped "hub_outbox_dropped_total" Messages Info
        "Messages dropped from full outboxes by the room's slow policy; the session got a gap notice. A rise: receivers are too slow or the outbox limits too small.";
    counter OutboxOverflows "hub_outbox_overflows_total" Sessions Info
        "Sessions ended because their outbox was full. A rise: receivers are too slow; raise outbox limits or choose a policy that drops.";
    gauge OutboxBytes "hub_outbox_bytes" Bytes Info
        "Bytes waiting in all outboxes. Steady growth: receivers are slower than the rooms they are in.";
    gauge Rooms "hub_rooms" Rooms Info
        "Rooms that exist now, with members or with history. Near max_rooms: shorten history_age or raise the limit.";
    high InboxHigh "hub_inbox_high_water" Messages Diag
        "Most deliveries that ever waited in one worker's inbox. At three quarters of the capacity publishers are paused; a worker that is often there is overloaded.";
    histogram TurnMicros "worker_turn_us" Micros Diag
        "Length of one turn of a worker. A high p99 delays every session of the worker: look for a slow handler.";
    histogram FlushMicros "hub_publish_to_flush_us" Micros Diag
        "Time from a message's publish to its first write to a socket. A high p99 with short turns: the socket's peers are slow.";
}
