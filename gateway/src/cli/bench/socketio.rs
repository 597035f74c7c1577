//! Socket.IO (protocol 5) over the WebSocket transport of Engine.IO (protocol 4), as a client: just
//! enough to be let in, to answer pings, and to send and hear one event.
//!
//! A server that is measured answers the event `echo` with the same, and sends `publish` to all. No
//! other part of Socket.IO is used: neither long polling, from which browsers begin, nor
//! acknowledgements, binary attachments or namespaces.

/// Where servers listen that were not told otherwise; it asks for the WebSocket from the start.
pub(super) const PATH: &str = "/socket.io/?EIO=4&transport=websocket";

/// What a client says to the server's `open`: that it wants the main namespace.
pub(super) const CONNECT: &[u8] = b"40";

/// The answer to a ping of Engine.IO, which is a message and no WebSocket frame of its own.
pub(super) const PONG: &[u8] = b"3";

/// What a text message of the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The transport is there, and waits for [`CONNECT`].
    Open,
    /// The namespace is there; events may flow.
    Connected,
    /// An event, whole: prefix, name and arguments.
    Event,
    Ping,
    /// A refusal, a farewell, or what this client knows nothing of.
    Other,
}

#[inline]
pub(super) fn packet(text: &[u8]) -> Packet {
    match text {
        [b'4', b'2', ..] => Packet::Event,
        [b'2'] => Packet::Ping,
        [b'0', ..] => Packet::Open,
        [b'4', b'0', ..] => Packet::Connected,
        _ => Packet::Other,
    }
}

/// What stands before and behind the argument of an event; the argument is JSON.
pub(super) fn event(name: &str) -> (String, &'static str) {
    (format!("42[\"{name}\","), "]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_by_how_they_begin() {
        assert_eq!(packet(br#"0{"sid":"a","upgrades":[]}"#), Packet::Open);
        assert_eq!(packet(br#"40{"sid":"b"}"#), Packet::Connected);
        assert_eq!(packet(br#"42["echo","x"]"#), Packet::Event);
        assert_eq!(packet(b"2"), Packet::Ping);
        for other in [&b"44{}"[..], b"1", b"41", b"6", b""] {
            assert_eq!(packet(other), Packet::Other);
        }
    }

    #[test]
    fn an_event_is_an_array_behind_its_number() {
        let (before, after) = event("echo");
        let text = format!("{before}\"x\"{after}");
        assert_eq!(text, r#"42["echo","x"]"#);
        assert_eq!(packet(text.as_bytes()), Packet::Event);
    }
}
