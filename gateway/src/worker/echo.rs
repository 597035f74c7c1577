//! Sending WebSocket messages back: what one read brought is answered by one write, at once.
//!
//! Nobody else is sent these answers, so nothing is gained by leaving them until the end of the turn:
//! by then the bytes of many sessions have passed through the processor's cache, and copying them to
//! the kernel costs several times as much. They gather in one buffer of the worker; only what the
//! socket does not take goes to the session's outbox, and then the session is not read from.

use std::pin::Pin;
use std::task::{Context, Poll};

use roomwire_metrics::Id;
use roomwire_protocols::websocket::deflate::Window;
use roomwire_protocols::websocket::{self, Item, Opcode};
use tokio::io::AsyncWrite;

use super::flush::count_write;
use super::{Core, Slice};
use crate::session::{CloseReason, Io, WebSocketCodec};

/// Bytes of answers that are written although more input is at hand. Chosen: large enough that a
/// write costs little beside its bytes, small enough that they stay in the cache.
const WRITE_FROM: usize = 128 * 1024;

/// A buffer that grew beyond this for a large message is freed after it.
const KEPT_BYTES: usize = 2 * WRITE_FROM;

/// Frames that answer what is being read; empty between two reads.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    frames: usize,
}

impl Reply {
    /// Frees the buffer; called when the worker has been idle for a while.
    pub(crate) fn release(&mut self) {
        self.bytes = Vec::new();
    }

    fn clear(&mut self) {
        self.frames = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

/// What ends an echo.
enum End {
    /// The peer's close frame, and the code that answers it.
    Close(Option<u16>),
    Violation(websocket::Violation),
}

impl Core {
    /// Sends back the messages in `input`; returns how much of it was used up.
    pub(super) fn feed_echo(
        &mut self,
        slot: u32,
        codec: &mut WebSocketCodec,
        input: &mut [u8],
    ) -> usize {
        let limits = self.shared.bounds.websocket;
        let window = codec.deflate();
        let mut reply = std::mem::take(&mut self.output.reply);
        let mut consumed = 0;
        let mut end = None;
        // The decoder is asked until it has nothing more, which is when it gives its buffer back.
        while let Some(rest) = input.get_mut(consumed..) {
            match codec.next(rest, &limits, &mut self.inflaters) {
                Ok((used, None)) => {
                    consumed += used;
                    break;
                }
                Ok((used, Some(item))) => {
                    consumed += used;
                    match item {
                        Item::Text(text) => {
                            self.send_back(slot, &mut reply, Opcode::Text, text.as_bytes(), window);
                        }
                        Item::Binary(bytes) => {
                            self.send_back(slot, &mut reply, Opcode::Binary, bytes, window);
                        }
                        Item::Ping(payload) => {
                            self.lane.increment(Id::WebsocketPingsIn);
                            websocket::frame(&mut reply.bytes, Opcode::Pong, payload);
                            reply.frames += 1;
                        }
                        Item::Pong(_) => self.lane.increment(Id::WebsocketPongsIn),
                        Item::Close(close) => {
                            let code = close.map(|(code, _)| code);
                            end = Some(End::Close(websocket::close::reply_to(code)));
                            break;
                        }
                    }
                }
                Err(violation) => {
                    end = Some(End::Violation(violation));
                    break;
                }
            }
            if reply.bytes.len() >= WRITE_FROM && !self.write_reply(slot, &mut reply) {
                break;
            }
        }
        self.write_reply(slot, &mut reply);
        self.output.reply = reply;
        match end {
            None => consumed,
            Some(End::Close(code)) => {
                self.queue_close(slot, code, "");
                self.closed_by_peer(slot, CloseReason::Closed);
                consumed
            }
            Some(End::Violation(violation)) => {
                self.violated(slot, violation);
                input.len()
            }
        }
    }

    fn send_back(
        &mut self,
        slot: u32,
        reply: &mut Reply,
        opcode: Opcode,
        payload: &[u8],
        window: Option<Window>,
    ) {
        self.lane.increment(Id::WebsocketMessagesIn);
        self.emit_message(slot, payload);
        let deflater = &mut self.output.deflater;
        let compressed =
            window.is_some_and(|window| deflater.frame(opcode, payload, window, &mut reply.bytes));
        if !compressed {
            websocket::frame(&mut reply.bytes, opcode, payload);
        }
        reply.frames += 1;
    }

    /// Writes the reply and empties it. False when the session can be given no more now: its socket
    /// did not take all, or it has ended.
    fn write_reply(&mut self, slot: u32, reply: &mut Reply) -> bool {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            reply.clear();
            return false;
        };
        if reply.bytes.is_empty() {
            return session.is_open();
        }
        let block = self
            .shared
            .page
            .listener_block(usize::from(session.listener));
        let mut written = 0;
        let mut failed = None;
        // What waits already goes first.
        if let Io::Stream(stream) = &mut session.io
            && session.outbox.is_empty()
            && session.stalled_ms.is_none()
        {
            let mut cx = Context::from_waker(&session.waker);
            while let Some(rest) = reply.bytes.get(written..).filter(|rest| !rest.is_empty()) {
                match stream.poll_send(&mut cx, rest) {
                    Poll::Ready(Ok(0)) => failed = Some(CloseReason::Reset),
                    Poll::Ready(Err(error)) => failed = Some(CloseReason::of(&error)),
                    Poll::Ready(Ok(count)) => {
                        written += count;
                        continue;
                    }
                    Poll::Pending => {}
                }
                break;
            }
            // TLS may have taken the bytes and not sent them: an ordinary flush minds that.
            if !matches!(Pin::new(stream).poll_flush(&mut cx), Poll::Ready(Ok(()))) {
                self.output.touch(slot, session);
            }
        }
        let rest = reply.bytes.get(written..).unwrap_or_default();
        // What is left is one frame to the outbox, which counts it when it has gone.
        let frames = reply.frames - usize::from(!rest.is_empty());
        count_write(&self.lane, block, written, frames);
        let all = rest.is_empty();
        if let Some(reason) = failed {
            self.die(slot, reason);
        } else if !all {
            self.push_rest(slot, Slice::owned(rest.to_vec()));
            self.pause(slot);
        }
        reply.clear();
        all && failed.is_none()
            && self
                .sessions
                .get(slot as usize)
                .is_some_and(|it| it.is_open())
    }
}
