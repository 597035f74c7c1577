//! Taking bytes in: from a socket into the worker's buffer, through the codec, to commands.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use roomwire_metrics::{BlockId, Id};
use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::event;
use roomwire_protocols::frame;
use roomwire_protocols::line::LineDecoder;
use roomwire_protocols::websocket::{self, Item, Opcode, Violation};
use tokio::io::AsyncWrite;

use super::core::{ECHO_READ_BYTES, READ_BYTES};
use super::{Core, Slice};
use crate::config::Framing;
use crate::session::{ChatState, CloseReason, Framed, Io, Stage, WebSocketCodec, Wire, moment};

/// Reads of one session in one turn. Chosen: 256 KiB before the next session has its turn, and 1 MiB
/// of who gets its messages back.
const READS_PER_TURN: usize = 4;

impl Core {
    /// Reads a session until its socket is empty, its budget is used or it must wait.
    pub(crate) fn read(&mut self, slot: u32) {
        for _ in 0..READS_PER_TURN {
            if !self.resume(slot) {
                return;
            }
            let Some(session) = self.sessions.get_mut(slot as usize) else {
                return;
            };
            if matches!(session.wire, Wire::Proxy(_)) && session.is_open() {
                return self.pump(slot);
            }
            let listener = usize::from(session.listener);
            let most = match session.wire {
                Wire::WebSocketEcho(_) => ECHO_READ_BYTES,
                _ => READ_BYTES,
            };
            let Io::Stream(stream) = &mut session.io else {
                return;
            };
            let mut buffer = std::mem::take(&mut self.read_buffer);
            let mut cx = Context::from_waker(&session.waker);
            let read = stream.poll_read_into(&mut cx, buffer.get_mut(..most).unwrap_or_default());
            match read {
                Poll::Ready(Ok(0)) => self.input_ended(slot),
                Poll::Ready(Ok(count)) => {
                    self.lane.increment(Id::Reads);
                    self.lane.add(Id::BytesIn, count as u64);
                    let block = self.shared.page.listener_block(listener);
                    self.lane
                        .block_add(block, BlockId::ListenerBytesIn, count as u64);
                    if let Some(input) = buffer.get_mut(..count) {
                        self.feed(slot, input);
                    }
                }
                Poll::Ready(Err(ref error)) => self.die(slot, CloseReason::of(error)),
                Poll::Pending => {}
            }
            self.read_buffer = buffer;
            if !matches!(read, Poll::Ready(Ok(1..))) {
                return;
            }
        }
        if let Some(session) = self.session(slot) {
            session.waker.wake_by_ref();
        }
    }

    /// Feeds what was set aside. False when the session must not be read now.
    fn resume(&mut self, slot: u32) -> bool {
        let Some(session) = self.session(slot) else {
            return false;
        };
        let waits = session.paused || session.parked;
        let over = session.input_over && session.is_open();
        if waits || over || matches!(session.stage, Stage::Dead(_)) {
            return false;
        }
        if session.stash.is_empty() {
            return true;
        }
        let mut stash = std::mem::take(&mut session.stash);
        self.feed(slot, &mut stash);
        self.session(slot)
            .is_some_and(|session| !session.paused && !session.parked)
    }

    /// Gives input to the session's protocol. What must wait is kept in the session's stash.
    pub(crate) fn feed(&mut self, slot: u32, input: &mut [u8]) {
        let now_ms = self.now_ms;
        let Some(session) = self.session(slot) else {
            return;
        };
        session.heard_ms = now_ms;
        session.pinged_ms = None;
        let ending = !session.is_open();
        let mut wire = std::mem::replace(&mut session.wire, Wire::Lent);
        if matches!(wire, Wire::Undecided) {
            wire = self.decide(slot, input);
        }
        let consumed = match &mut wire {
            // An ending WebSocket still waits for the peer's close frame; other input is noise.
            Wire::WebSocket(codec) | Wire::WebSocketEcho(codec) if ending => {
                self.await_close(slot, codec, input)
            }
            _ if ending => input.len(),
            Wire::Lines(decoder) => self.feed_lines(slot, decoder, input),
            Wire::Chat(state) => self.feed_chat(slot, state, input),
            Wire::WebSocket(codec) => self.feed_websocket(slot, codec, input),
            Wire::WebSocketEcho(codec) => self.feed_echo(slot, codec, input),
            Wire::Echo => self.echo(slot, input),
            Wire::Framed(framed) => self.feed_framed(slot, framed, input),
            Wire::Discard
            | Wire::Datagram
            | Wire::Events
            | Wire::Waiter
            | Wire::Exec
            | Wire::Http
            | Wire::Proxy(_)
            | Wire::DatagramProxy(_)
            | Wire::Undecided
            | Wire::Lent => input.len(),
        };
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        session.wire = wire;
        if let Some(rest) = input.get(consumed..).filter(|rest| !rest.is_empty())
            && session.is_open()
        {
            session.stash.extend_from_slice(rest);
        }
    }

    /// Chooses between JSON lines and plain chat by the first byte.
    fn decide(&mut self, slot: u32, input: &[u8]) -> Wire {
        let wire = if input.first() == Some(&b'{') {
            Wire::Lines(LineDecoder::default())
        } else {
            Wire::Chat(Box::<ChatState>::default())
        };
        if let Some(session) = self.session(slot) {
            session.framing = wire.framing();
        }
        wire
    }

    /// Whether the next command of this session may be carried out now. When the outbox is half
    /// full it is flushed first; a peer that pipelines commands and does not read their answers is
    /// not read from, rather than ended.
    fn may_go_on(&mut self, slot: u32) -> bool {
        if self.shared.hub.is_congested() {
            if let Some(session) = self.sessions.get_mut(slot as usize)
                && !session.parked
            {
                session.parked = true;
                self.parked.push(session.id);
                self.lane.increment(Id::SessionsParked);
            }
            return false;
        }
        if self.is_half_full(slot) {
            self.output.arenas.seal();
            self.flush(slot);
            if self.is_half_full(slot) {
                self.pause(slot);
            }
        }
        self.session(slot)
            .is_some_and(|session| session.is_open() && !session.paused)
    }

    /// Whether a session's outbox is at half of either limit.
    pub(crate) fn is_half_full(&self, slot: u32) -> bool {
        let bounds = &self.shared.bounds;
        self.sessions.get(slot as usize).is_some_and(|session| {
            session.outbox.len() >= bounds.outbox_half_messages
                || session.outbox.bytes() >= bounds.outbox_half_bytes
        })
    }

    /// Stops reading a session until its outbox is empty.
    pub(super) fn pause(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        if !session.paused {
            session.paused = true;
            self.lane.increment(Id::SessionsPaused);
        }
    }

    fn feed_lines(&mut self, slot: u32, decoder: &mut LineDecoder, input: &[u8]) -> usize {
        let max = self.shared.bounds.max_message;
        let mut consumed = 0;
        while self.may_go_on(slot) {
            let (used, line) = decoder.next(input.get(consumed..).unwrap_or_default(), max);
            consumed += used;
            match line {
                None => break,
                Some(Ok([])) => {}
                Some(Ok(line)) => {
                    self.lane.increment(Id::LinesIn);
                    self.command(slot, line);
                }
                Some(Err(_)) => {
                    self.line_too_long(slot, max);
                    return input.len();
                }
            }
        }
        consumed
    }

    /// Takes messages of a listener with framing.
    fn feed_framed(&mut self, slot: u32, framed: &mut Framed, input: &[u8]) -> usize {
        let shared = Arc::clone(&self.shared);
        let listener = self.sessions.get(slot as usize).map(|it| it.listener);
        let listener = listener.and_then(|it| shared.config.listeners.get(usize::from(it)));
        let Some(Framing(framing)) = listener.and_then(|it| it.framing.as_ref()) else {
            return input.len();
        };
        let max = self.shared.bounds.max_message;
        let mut consumed = 0;
        while self.may_go_on(slot) {
            let rest = input.get(consumed..).unwrap_or_default();
            let (used, message) = framed.decoder.next(framing, rest, max);
            consumed += used;
            match message {
                None => break,
                Some(Ok(message)) => {
                    self.lane.increment(Id::FramedMessagesIn);
                    self.emit_message(slot, message);
                    if framed.echo {
                        self.send(slot, |out| _ = frame::encode(out, framing, message));
                    }
                }
                Some(Err(frame::TooLong)) => {
                    self.lane.increment(Id::ErrorsTooLarge);
                    self.end(slot, CloseReason::TooBig);
                    return input.len();
                }
            }
        }
        consumed
    }

    fn line_too_long(&mut self, slot: u32, max: usize) {
        self.lane.increment(Id::ErrorsTooLarge);
        let text = format!("a line is at most {max} bytes (limits.max_message)");
        self.say(slot, |out| {
            event::error(out, None, ErrorCode::LineTooLong, &text)
        });
        self.end(slot, CloseReason::TooBig);
    }

    fn feed_chat(&mut self, slot: u32, state: &mut ChatState, input: &[u8]) -> usize {
        let max = self.shared.bounds.max_message;
        let mut consumed = 0;
        while self.may_go_on(slot) {
            let (used, line) = state
                .lines
                .next(input.get(consumed..).unwrap_or_default(), max);
            consumed += used;
            match line {
                None => break,
                Some(Ok(line)) => {
                    self.lane.increment(Id::LinesIn);
                    self.chat_line(slot, &mut state.room, line);
                }
                Some(Err(_)) => {
                    self.lane.increment(Id::ErrorsTooLarge);
                    self.notice(slot, &format!("a line is at most {max} bytes; goodbye"));
                    self.end(slot, CloseReason::TooBig);
                    return input.len();
                }
            }
        }
        consumed
    }

    fn feed_websocket(&mut self, slot: u32, codec: &mut WebSocketCodec, input: &mut [u8]) -> usize {
        let limits = self.shared.bounds.websocket;
        let mut consumed = 0;
        // The decoder is asked until it has nothing more, which is when it gives its buffer back.
        while self.may_go_on(slot) {
            let Some(rest) = input.get_mut(consumed..) else {
                break;
            };
            match codec.next(rest, &limits, &mut self.inflaters) {
                Ok((used, None)) => {
                    consumed += used;
                    break;
                }
                Ok((used, Some(item))) => {
                    consumed += used;
                    self.websocket_item(slot, &item);
                }
                Err(violation) => {
                    self.violated(slot, violation);
                    return input.len();
                }
            }
        }
        consumed
    }

    /// Ends a session that broke its protocol's rules.
    pub(super) fn violated(&mut self, slot: u32, violation: Violation) {
        self.lane.increment(Id::WebsocketViolations);
        let reason = CloseReason::from_violation(violation.close_code());
        let client = self.client(slot);
        tracing::debug!(
            client,
            violation = violation.reason(),
            "websocket violation"
        );
        self.end_websocket(slot, reason, violation.close_code(), violation.reason());
    }

    fn websocket_item(&mut self, slot: u32, item: &Item<'_>) {
        match item {
            Item::Text(text) => {
                self.lane.increment(Id::WebsocketMessagesIn);
                self.text_command(slot, text);
            }
            Item::Binary(_) => {
                self.lane.increment(Id::ErrorsBinary);
                let text = "roomwire.v1 is JSON in text messages; a binary message is not taken";
                self.say(slot, |out| {
                    event::error(out, None, ErrorCode::BinaryNotSupported, text);
                });
            }
            Item::Ping(payload) => {
                self.lane.increment(Id::WebsocketPingsIn);
                self.send_frame(slot, Opcode::Pong, payload);
            }
            Item::Pong(_) => self.lane.increment(Id::WebsocketPongsIn),
            Item::Close(close) => {
                let reply = websocket::close::reply_to(close.map(|(code, _)| code));
                self.queue_close(slot, reply, "");
                self.closed_by_peer(slot, CloseReason::Closed);
            }
        }
    }

    /// Throws input away until the peer's close frame, which ends the wait.
    fn await_close(&mut self, slot: u32, codec: &mut WebSocketCodec, input: &mut [u8]) -> usize {
        let limits = self.shared.bounds.websocket;
        let mut consumed = 0;
        while let Some(rest) = input.get_mut(consumed..).filter(|rest| !rest.is_empty()) {
            match codec.next(rest, &limits, &mut self.inflaters) {
                Ok((_, Some(Item::Close(_)))) => {
                    self.die(slot, CloseReason::Closed);
                    break;
                }
                Ok((used, _)) => consumed += used,
                Err(_) => break,
            }
        }
        input.len()
    }

    /// Sends input back. What the socket does not take at once is kept, and the session is not read
    /// until it is gone: at most one read of it is ever buffered.
    fn echo(&mut self, slot: u32, input: &[u8]) -> usize {
        self.emit_message(slot, input);
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return input.len();
        };
        let listener = usize::from(session.listener);
        let Io::Stream(stream) = &mut session.io else {
            return input.len();
        };
        let mut cx = Context::from_waker(&session.waker);
        let written = match stream.poll_send(&mut cx, input) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => {
                self.die(slot, CloseReason::of(&error));
                return input.len();
            }
            Poll::Pending => 0,
        };
        // TLS may have taken the bytes and not sent them.
        let flushed = Pin::new(stream).poll_flush(&mut cx);
        let block = self.shared.page.listener_block(listener);
        self.lane.increment(Id::Writes);
        self.lane.add(Id::BytesOut, written as u64);
        self.lane
            .block_add(block, BlockId::ListenerBytesOut, written as u64);
        if let Poll::Ready(Err(error)) = flushed {
            self.die(slot, CloseReason::of(&error));
        } else if let Some(rest) = input.get(written..).filter(|rest| !rest.is_empty()) {
            self.push_rest(slot, Slice::owned(rest.to_vec()));
            self.pause(slot);
        } else if flushed.is_pending() {
            session.stalled_ms = moment(self.now_ms);
            self.pause(slot);
        }
        input.len()
    }

    /// The peer closed its side. A last line without an end counts, and what it caused is still
    /// sent: the session ends in the next turn, when its own inbox has been fanned out.
    fn input_ended(&mut self, slot: u32) {
        let Some(session) = self.session(slot) else {
            return;
        };
        match session.stage {
            Stage::Open => {}
            Stage::Ending {
                reason, shut: true, ..
            } => return self.die(slot, reason),
            Stage::LastWords | Stage::Ending { .. } | Stage::Dead(_) => return,
        }
        session.input_over = true;
        session.waker.wake_by_ref();
        let mut wire = std::mem::replace(&mut session.wire, Wire::Lent);
        match &mut wire {
            Wire::Lines(decoder) => {
                if let Some(line) = decoder.finish() {
                    self.lane.increment(Id::LinesIn);
                    self.command(slot, &line);
                }
            }
            Wire::Chat(state) => {
                if let Some(line) = state.lines.finish() {
                    self.lane.increment(Id::LinesIn);
                    self.chat_line(slot, &mut state.room, &line);
                }
            }
            _ => {}
        }
        if let Some(session) = self.session(slot) {
            session.wire = wire;
        }
    }

    /// Ends a session whose input is over.
    pub(crate) fn hang_up(&mut self, slot: u32) {
        let Some(session) = self.session(slot) else {
            return;
        };
        let at_once = matches!(&session.io, Io::Stream(stream) if stream.ends_when_dropped());
        if at_once && session.outbox.is_empty() && session.is_open() {
            self.die(slot, CloseReason::Ended);
        } else {
            self.closed_by_peer(slot, CloseReason::Ended);
        }
    }
}
