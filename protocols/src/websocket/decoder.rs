//! The state machine between bytes and messages (RFC 6455 §5 and §6.2).
//!
//! ```text
//!             header whole
//!   Header ------------------> Payload      A frame that lies whole in the input goes through both
//!     ^  ^                        |         in one call and is yielded in place; only pieces are
//!     |  +------------------------+         kept. Fragments gather in `message` meanwhile.
//!     |        payload whole
//!   Ended <-- a close frame, or a violation: whatever follows is discarded
//! ```
//!
//! Two things can be under way at once: a message (in fragments or in pieces), and inside it one
//! control frame in pieces. An idle decoder owns neither.

use super::deflate::InflatePool;
use super::header::{self, Header, Opcode};
use super::message::{Message, Plain};
use super::{MAX_CONTROL_PAYLOAD, Violation, close, mask};

/// What a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// Answers a ping, or none.
    Pong(&'a [u8]),
    /// The peer's last frame: its code, which was checked, and its reason.
    Close(Option<(u16, &'a str)>),
}

/// Bounds on one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of payload, all fragments together. Checked before the payload is buffered.
    pub max_message: usize,
    /// Most data frames in one message, the first included; at least 1. One more may end it if it
    /// is empty: that is how those end a message who did not know which frame would be the last.
    pub max_fragments: usize,
}

/// Decodes what one client sends. Memory: 64 bytes, and only while something is incomplete its
/// bytes so far (at most [`Limits::max_message`], and 125 for a control frame).
/// Of a compressed message these are its first 4 KiB, and then what they inflate to and an inflater.
#[derive(Debug, Default)]
pub struct Decoder {
    phase: Phase,
    /// The data frames so far of the message under way; 0 while none is.
    frames: u32,
    /// The payload so far of the message under way. With `frames` at 0 it is what the last call
    /// yielded, and is given back by the next.
    message: Message,
    /// The payload so far of a control frame in pieces. Outside [`Phase::Payload`] it is what the
    /// last call yielded, and is given back by the next.
    control: Option<Box<Control>>,
}

const _: () = assert!(size_of::<Decoder>() <= 64);

#[derive(Debug)]
enum Phase {
    /// Between frames, or inside a header of which `length` bytes are there.
    Header {
        length: u8,
        bytes: [u8; header::MAX_LENGTH],
    },
    /// Inside a payload: `missing` bytes are to come, masked with `key` from its first byte on.
    Payload {
        opcode: Opcode,
        fin: bool,
        key: [u8; 4],
        missing: usize,
    },
    /// The peer may send nothing more.
    Ended,
}

impl Phase {
    const BETWEEN: Self = Self::Header {
        length: 0,
        bytes: [0; header::MAX_LENGTH],
    };
}

impl Default for Phase {
    fn default() -> Self {
        Self::BETWEEN
    }
}

#[derive(Debug)]
struct Control {
    length: u8,
    bytes: [u8; MAX_CONTROL_PAYLOAD],
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub const fn new() -> Self {
        Self {
            phase: Phase::BETWEEN,
            frames: 0,
            message: Message::Absent,
            control: None,
        }
    }

    /// Whether the decoder is between messages and owns no buffer.
    pub const fn is_idle(&self) -> bool {
        let between = matches!(self.phase, Phase::Header { length: 0, .. } | Phase::Ended);
        between && matches!(self.message, Message::Absent) && self.control.is_none()
    }

    /// Yields the next item and how many bytes of `input` were used up, when no extension was
    /// agreed.
    ///
    /// A frame that lies whole in `input` is unmasked there and yielded as a slice of it. Call
    /// again with the rest of `input` until there is no item: only that call gives back the buffer
    /// of an item that came in pieces. After a close or a violation all input is discarded.
    ///
    /// # Errors
    /// The first violation, at the first byte that shows it. Items before it were yielded.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
    ) -> Result<(usize, Option<Item<'a>>), Violation> {
        self.advance(input, limits, None)
    }

    /// The same with permessage-deflate agreed: messages may come compressed and are yielded
    /// inflated, under [`Limits::max_message`] and the limits of `pool`, from which an inflater is
    /// lent for the time of a message.
    ///
    /// # Errors
    /// As [`next`](Self::next); what is wrong inside a compressed message may show only when 4 KiB
    /// of it came, or its end.
    pub fn next_inflating<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
        pool: &mut InflatePool,
    ) -> Result<(usize, Option<Item<'a>>), Violation> {
        self.advance(input, limits, Some(pool))
    }

    #[inline]
    fn advance<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
        mut pool: Option<&mut InflatePool>,
    ) -> Result<(usize, Option<Item<'a>>), Violation> {
        self.release_yielded();
        let total = input.len();
        let mut rest = input;
        loop {
            if let Phase::Header { length, .. } = self.phase {
                let parsed = if length == 0 {
                    header::parse(rest, pool.is_some())
                } else {
                    self.resume(rest, pool.is_some())
                };
                let Some((header, used)) = parsed.map_err(|violation| self.end(violation))? else {
                    self.keep_header(rest);
                    return Ok((total, None));
                };
                self.admit(&header, limits)
                    .map_err(|violation| self.end(violation))?;
                rest = rest.get_mut(used..).unwrap_or_default();
            }
            let Phase::Payload {
                opcode,
                fin,
                key,
                missing,
            } = self.phase
            else {
                return Ok((total, None));
            };
            let (piece, after) = rest.split_at_mut(missing.min(rest.len()));
            mask::apply(piece, key);
            let missing = missing - piece.len();
            if missing > 0 {
                let key = mask::rotate(key, piece.len());
                self.phase = Phase::Payload {
                    opcode,
                    fin,
                    key,
                    missing,
                };
                self.keep(opcode, piece, missing, limits, pool)
                    .map_err(|violation| self.end(violation))?;
                return Ok((total, None));
            }
            self.phase = Phase::BETWEEN;
            if fin {
                let consumed = total - after.len();
                return Ok((consumed, Some(self.finish(opcode, piece, limits, pool)?)));
            }
            self.keep(opcode, piece, 0, limits, pool.as_deref_mut())
                .map_err(|violation| self.end(violation))?;
            rest = after;
        }
    }

    /// Gives back what the last call yielded from a buffer.
    #[inline]
    fn release_yielded(&mut self) {
        if self.frames == 0 && !matches!(self.message, Message::Absent) {
            self.message = Message::Absent;
        }
        if self.control.is_some() && !matches!(self.phase, Phase::Payload { .. }) {
            self.control = None;
        }
    }

    /// Nothing more is read from this peer.
    #[cold]
    fn end(&mut self, violation: Violation) -> Violation {
        *self = Self {
            phase: Phase::Ended,
            ..Self::new()
        };
        violation
    }

    /// Reads a header that began in an earlier input. Its length counts from this input on.
    fn resume(&self, input: &[u8], deflate: bool) -> Result<Option<(Header, usize)>, Violation> {
        let Phase::Header { length, mut bytes } = self.phase else {
            return Ok(None);
        };
        let kept = usize::from(length);
        let filled = append(&mut bytes, kept, input);
        let parsed = header::parse(bytes.get(..filled).unwrap_or_default(), deflate)?;
        // A header that was whole earlier would not have been kept, so its end lies in this input.
        Ok(parsed.map(|(header, length)| (header, length.saturating_sub(kept))))
    }

    /// Keeps the beginning of a header, which always fits: 14 bytes are a whole one.
    fn keep_header(&mut self, input: &[u8]) {
        if let Phase::Header { length, bytes } = &mut self.phase {
            let filled = append(bytes, usize::from(*length), input);
            *length = u8::try_from(filled).unwrap_or(u8::MAX);
        }
    }

    /// Checks a frame against the frames before it and the limits, and enters its payload.
    #[inline]
    fn admit(&mut self, header: &Header, limits: &Limits) -> Result<(), Violation> {
        let Header {
            fin,
            compressed,
            opcode,
            payload,
            key,
        } = *header;
        if !opcode.is_control() {
            self.admit_data(opcode, compressed)?;
            if !self.message.admits(payload, limits.max_message) {
                return Err(Violation::MessageTooBig);
            }
            let counts = payload > 0 || !fin;
            if counts && self.frames as usize > limits.max_fragments {
                return Err(Violation::TooManyFragments);
            }
        }
        let missing = usize::try_from(payload).map_err(|_| Violation::MessageTooBig)?;
        self.phase = Phase::Payload {
            opcode,
            fin,
            key,
            missing,
        };
        Ok(())
    }

    /// RFC 6455 §5.4: a message is one first frame and then continuations.
    #[inline]
    fn admit_data(&mut self, opcode: Opcode, compressed: bool) -> Result<(), Violation> {
        match (opcode, self.frames) {
            (Opcode::Continuation, 0) => return Err(Violation::ContinuationWithoutMessage),
            (Opcode::Continuation, _) => {}
            (_, 1..) => return Err(Violation::MessageInterrupted),
            (_, 0) => self.message = Message::new(opcode == Opcode::Text, compressed),
        }
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }

    /// Keeps a piece of payload, of which `missing` more bytes are announced.
    fn keep(
        &mut self,
        opcode: Opcode,
        piece: &[u8],
        missing: usize,
        limits: &Limits,
        pool: Option<&mut InflatePool>,
    ) -> Result<(), Violation> {
        if piece.is_empty() {
            return Ok(());
        }
        if opcode.is_control() {
            self.control.get_or_insert_default().push(piece);
            return Ok(());
        }
        self.message.push(piece, missing, limits.max_message, pool)
    }

    /// Yields what the last piece of payload completes: in place when nothing was kept before it.
    /// On a violation, and after a close frame, the decoder has ended.
    fn finish<'a>(
        &'a mut self,
        opcode: Opcode,
        piece: &'a [u8],
        limits: &Limits,
        pool: Option<&mut InflatePool>,
    ) -> Result<Item<'a>, Violation> {
        if opcode.is_control() {
            return self.finish_control(opcode, piece);
        }
        self.frames = 0;
        let text = match &self.message {
            Message::Plain(plain) if plain.len() == 0 => matches!(plain, Plain::Text(_)),
            Message::Absent | Message::Plain(_) | Message::Compressed(_) => {
                let finished = self.message.finish(piece, limits.max_message, pool);
                finished.map_err(|violation| self.end(violation))?;
                return self.message.item();
            }
        };
        self.message = Message::Absent;
        if !text {
            return Ok(Item::Binary(piece));
        }
        match simdutf8::basic::from_utf8(piece) {
            Ok(text) => Ok(Item::Text(text)),
            Err(_) => Err(self.end(Violation::TextNotUtf8)),
        }
    }

    fn finish_control<'a>(
        &'a mut self,
        opcode: Opcode,
        piece: &'a [u8],
    ) -> Result<Item<'a>, Violation> {
        if opcode == Opcode::Close {
            *self = Self {
                phase: Phase::Ended,
                control: self.control.take(),
                ..Self::new()
            };
        }
        let Some(control) = &mut self.control else {
            return control_item(opcode, piece);
        };
        control.push(piece);
        // Judged before it is lent out, so that a violation can give the memory back.
        let judged = control_item(opcode, control.payload()).map(|_| ());
        judged.map_err(|violation| self.end(violation))?;
        control_item(
            opcode,
            self.control.as_deref().map_or(&[], Control::payload),
        )
    }
}

/// Appends as much of `input` as fits; returns how much is filled then.
fn append(buffer: &mut [u8], filled: usize, input: &[u8]) -> usize {
    let free = buffer.get_mut(filled..).unwrap_or_default();
    let count = free.len().min(input.len());
    for (free, byte) in free.iter_mut().zip(input) {
        *free = *byte;
    }
    filled + count
}

impl Default for Control {
    fn default() -> Self {
        Self {
            length: 0,
            bytes: [0; MAX_CONTROL_PAYLOAD],
        }
    }
}

impl Control {
    /// Appends a piece; the header promised that all of them fit.
    fn push(&mut self, piece: &[u8]) {
        let filled = append(&mut self.bytes, usize::from(self.length), piece);
        self.length = u8::try_from(filled).unwrap_or(u8::MAX);
    }

    fn payload(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

fn control_item(opcode: Opcode, payload: &[u8]) -> Result<Item<'_>, Violation> {
    match opcode {
        Opcode::Ping => Ok(Item::Ping(payload)),
        Opcode::Close => close_item(payload),
        Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            Ok(Item::Pong(payload))
        }
    }
}

/// RFC 6455 §5.5.1: nothing, or a code of two bytes and then a reason in UTF-8.
fn close_item(payload: &[u8]) -> Result<Item<'_>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        let empty = payload.is_empty();
        return if empty {
            Ok(Item::Close(None))
        } else {
            Err(Violation::CloseTruncated)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !close::may_receive(code) {
        return Err(Violation::CloseCodeInvalid);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
    Ok(Item::Close(Some((code, reason))))
}
