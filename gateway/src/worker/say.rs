//! What is said to one session alone: answers, notices, control frames and last words.

use std::sync::Arc;

use roomwire_hub::{Epoch, Stored};
use roomwire_metrics::Id;
use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::websocket::deflate::Window;
use roomwire_protocols::websocket::{self, Opcode};
use roomwire_protocols::{chat, event, line, sse};

use super::core::Output;
use super::deflater::Deflater;
use super::encode::FRAMING_BYTES;
use super::{Core, Slice};
use crate::message::Message;
use crate::session::{CloseReason, Framing, Stage};

/// Frames one JSON object of `roomwire.v1` that is not a room's message, uncompressed.
pub(crate) fn frame(framing: Framing, json: &[u8], out: &mut Vec<u8>) {
    match framing {
        Framing::WebSocket(_) => websocket::frame(out, Opcode::Text, json),
        Framing::Line => line::frame(out, json),
        Framing::Datagram => out.extend_from_slice(json),
        Framing::Events => sse::event(out, "notice", json),
        Framing::Chat | Framing::WebSocketEcho | Framing::Notify | Framing::None => {}
    }
}

/// Where a message stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) room: &'a str,
    pub(crate) epoch: Epoch,
    pub(crate) offset: u64,
}

/// Frames a room's message, whose JSON is given. A datagram that it does not fit into says the gap.
pub(crate) fn message_frame(
    framing: Framing,
    place: &Place<'_>,
    message: &Message,
    json: &[u8],
    max_datagram: usize,
    out: &mut Vec<u8>,
) {
    match framing {
        Framing::Chat => chat::render(out, message.from(), message.data()),
        Framing::Events => sse::message(out, &place.epoch, place.offset, json),
        Framing::Datagram if json.len() > max_datagram => {
            event::gap(out, place.room, place.offset, place.offset);
        }
        Framing::WebSocket(_) | Framing::Line | Framing::Datagram => frame(framing, json, out),
        Framing::WebSocketEcho | Framing::Notify | Framing::None => {}
    }
}

impl Core {
    /// Queues what `encode` writes for one session: in the turn's arena, or in a chunk of its own
    /// where the session is stalled and may keep it for long.
    pub(crate) fn send(&mut self, slot: u32, encode: impl FnOnce(&mut Vec<u8>)) {
        self.send_deflating(slot, |out, _| encode(out));
    }

    fn send_deflating(&mut self, slot: u32, encode: impl FnOnce(&mut Vec<u8>, &mut Deflater)) {
        let Some(session) = self.sessions.get(slot as usize) else {
            return;
        };
        // Nothing follows a close frame (RFC 6455 §5.5.1).
        if !session.is_spoken_to() {
            return;
        }
        let Output {
            arenas, deflater, ..
        } = &mut self.output;
        let frame = if session.stalled_ms.is_some() {
            let mut bytes = Vec::new();
            encode(&mut bytes, deflater);
            Slice::owned(bytes)
        } else {
            arenas.answer(|out| encode(out, deflater))
        };
        if frame.len() > 0 {
            self.push(slot, frame, None);
        }
    }

    /// Queues one JSON object. Sessions that do not speak `roomwire.v1` are not told.
    pub(crate) fn say(&mut self, slot: u32, encode: impl FnOnce(&mut Vec<u8>)) {
        self.say_answer(slot, None, encode);
    }

    /// Queues the answer to a command. What no outbox or datagram of the session can take is
    /// answered by an error instead.
    pub(crate) fn say_answer(
        &mut self,
        slot: u32,
        id: Option<u64>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(session) = self.sessions.get(slot as usize) else {
            return;
        };
        let framing = session.framing;
        let mut json = std::mem::take(&mut self.output.scratch);
        json.clear();
        encode(&mut json);
        self.send_fitting(slot, id, framing, &json);
        self.output.scratch = json;
    }

    fn send_fitting(&mut self, slot: u32, id: Option<u64>, framing: Framing, json: &[u8]) {
        let bounds = &self.shared.bounds;
        let max = if framing == Framing::Datagram {
            bounds.max_udp_datagram
        } else {
            bounds.outbox.max_bytes.saturating_sub(FRAMING_BYTES)
        };
        if json.len() <= max {
            self.remember_answer(slot, id, json);
            return self.send_object(slot, framing, json);
        }
        self.lane.increment(Id::AnswersTooLarge);
        let mut error = Vec::new();
        let text = format!(
            "the answer has {} bytes and at most {max} can be sent",
            json.len()
        );
        event::error(&mut error, id, ErrorCode::TooLarge, &text);
        self.remember_answer(slot, id, &error);
        self.send(slot, |out| frame(framing, &error, out));
    }

    fn send_object(&mut self, slot: u32, framing: Framing, json: &[u8]) {
        if let Framing::WebSocket(Some(window)) = framing {
            return self.send_message(slot, Opcode::Text, json, Some(window));
        }
        self.send(slot, |out| frame(framing, json, out));
    }

    /// Queues one WebSocket message, compressed for `window` where that makes it smaller.
    pub(crate) fn send_message(
        &mut self,
        slot: u32,
        opcode: Opcode,
        payload: &[u8],
        window: Option<Window>,
    ) {
        self.send_deflating(slot, |out, deflater| {
            let compressed =
                window.is_some_and(|window| deflater.frame(opcode, payload, window, out));
            if !compressed {
                websocket::frame(out, opcode, payload);
            }
        });
    }

    /// Queues what a session missed, uncompressed: a message is never compressed for one member. It
    /// counts as one entry of the outbox, because it is one answer; over UDP each message is a
    /// datagram and an entry of its own.
    pub(crate) fn replay(
        &mut self,
        slot: u32,
        room: &str,
        epoch: Epoch,
        messages: &[Stored<Arc<Message>>],
    ) {
        let Some(session) = self.sessions.get(slot as usize) else {
            return;
        };
        let framing = session.framing;
        let each = if framing == Framing::Datagram {
            1
        } else {
            messages.len().max(1)
        };
        let max_datagram = self.shared.bounds.max_udp_datagram;
        let mut json = Vec::new();
        for chunk in messages.chunks(each) {
            self.send(slot, |out| {
                for stored in chunk {
                    json.clear();
                    event::message(&mut json, &stored.message.view(room, stored.offset));
                    let place = Place {
                        room,
                        epoch,
                        offset: stored.offset,
                    };
                    let message = &stored.message;
                    message_frame(framing, &place, message, &json, max_datagram, out);
                }
            });
        }
    }

    /// Tells a person something; other sessions are not told.
    pub(crate) fn notice(&mut self, slot: u32, text: &str) {
        if self
            .sessions
            .get(slot as usize)
            .is_none_or(|session| session.framing != Framing::Chat)
        {
            return;
        }
        self.send(slot, |out| chat::notice(out, text));
    }

    /// Tells a person a ready-made text of whole lines.
    pub(crate) fn say_plain(&mut self, slot: u32, text: &str) {
        self.send(slot, |out| out.extend_from_slice(text.as_bytes()));
    }

    /// Queues one WebSocket frame.
    pub(crate) fn send_frame(&mut self, slot: u32, opcode: Opcode, payload: &[u8]) {
        self.send(slot, |out| websocket::frame(out, opcode, payload));
    }

    /// Queues a close frame. RFC 6455 §5.5.1: nothing may follow it, so the session must end.
    pub(crate) fn queue_close(&mut self, slot: u32, code: Option<u16>, reason: &str) {
        self.send(slot, |out| websocket::close_frame(out, code, reason));
    }

    /// Ends a WebSocket session with a code of its own.
    pub(crate) fn end_websocket(&mut self, slot: u32, reason: CloseReason, code: u16, text: &str) {
        self.queue_close(slot, Some(code), text);
        self.closed_by_peer(slot, reason);
    }

    /// The last words are queued already, or there are none: only the socket is left to close.
    pub(crate) fn closed_by_peer(&mut self, slot: u32, reason: CloseReason) {
        let deadline_ms = self.now_ms + self.shared.bounds.close_timeout_ms;
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if !session.is_open() {
            return;
        }
        session.stage = Stage::Ending {
            reason,
            deadline_ms,
            shut: false,
        };
        self.output.touch(slot, session);
        self.leave_rooms(slot);
    }

    /// Goodbye in the peer's own language, then its protocol's close.
    pub(crate) fn last_words(&mut self, slot: u32, reason: CloseReason) {
        let info = reason.info();
        let Some(session) = self.sessions.get(slot as usize) else {
            return;
        };
        let framing = session.framing;
        // During a drain everybody was told at its beginning.
        if info.goodbye && self.drain.is_none() {
            self.goodbye(slot, info.word, info.reconnect, 0);
        }
        if matches!(framing, Framing::WebSocket(_) | Framing::WebSocketEcho) {
            self.queue_close(slot, info.websocket, info.word);
        }
        if let Some(session) = self.sessions.get_mut(slot as usize) {
            self.output.touch(slot, session);
        }
    }

    pub(crate) fn goodbye(&mut self, slot: u32, reason: &str, reconnect: bool, after_ms: u64) {
        self.notice(slot, &format!("goodbye: {reason}"));
        self.say(slot, |out| event::goodbye(out, reason, reconnect, after_ms));
    }
}
