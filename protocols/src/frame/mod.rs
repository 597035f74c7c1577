//! Messages in a byte stream: lines, a length before each, a fixed size, or a delimiter after each.
//!
//! A message that lies whole in the input is yielded as a slice of it; only an unfinished one is
//! copied, and never more of it than the limit. What a message means, and that one which is too long
//! ends the session, is the caller's decision. [`crate::line`] is the decoder of `roomwire.v1`, which
//! goes on after a line that is too long; here nothing after it could be trusted to be a message.

use std::fmt;
use std::str::FromStr;

use crate::word;

/// The longest delimiter, in bytes. Chosen: nobody needs more than a word.
const MAX_DELIMITER: usize = 16;

/// How messages are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `\n` ends each; a `\r` before it belongs to the end.
    Lines,
    /// Its length stands before each, and does not count itself.
    Length(Width, Order),
    /// Each has so many bytes.
    Fixed(usize),
    /// These bytes end each; 1 to 16.
    Delimiter(Vec<u8>),
}

/// How many bytes a length has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Two.
    U16,
    /// Four.
    U32,
}

/// In which order a length's bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The highest first.
    Big,
    /// The lowest first.
    Little,
}

/// A message has more bytes than the limit. The decoder yields nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits a stream into messages.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// The beginning of a message whose end has not come yet, its length included, or, while
    /// `yielded`, the message that the last call returned. At most the limit and what frames it.
    partial: Vec<u8>,
    /// How much of `partial` is known to hold no end, so that it is searched once.
    searched: usize,
    yielded: bool,
    failed: bool,
}

/// Where a message lies at the beginning of some input.
enum Found {
    /// So many bytes of framing before it, of the message, and of framing after it.
    Whole {
        before: usize,
        length: usize,
        after: usize,
    },
    /// It is not whole yet; so many bytes are needed before it is worth looking again.
    Unfinished(usize),
}

impl FrameDecoder {
    /// Whether the decoder is between two messages and owns no buffer.
    pub const fn is_idle(&self) -> bool {
        self.partial.capacity() == 0
    }

    /// Whether a message has begun whose end has not come.
    pub const fn is_unfinished(&self) -> bool {
        !self.yielded && !self.partial.is_empty()
    }

    /// Yields the next message, without what frames it, and how many bytes of `input` were used up.
    ///
    /// Call again with the rest of `input` until there is no message: only that call gives back the
    /// buffer of a message that came in pieces. `max` is the longest message in bytes.
    pub fn next<'a>(
        &'a mut self,
        framing: &Framing,
        input: &'a [u8],
        max: usize,
    ) -> (usize, Option<Result<&'a [u8], TooLong>>) {
        if self.yielded {
            self.partial = Vec::new();
            self.searched = 0;
            self.yielded = false;
        }
        if self.failed {
            return (input.len(), None);
        }
        if self.partial.is_empty() {
            return self.begin(framing, input, max);
        }
        let mut used = 0;
        loop {
            match find(framing, &self.partial, self.searched, max) {
                Err(too_long) => return self.fail(input, too_long),
                Ok(Found::Whole { before, length, .. }) => {
                    self.yielded = true;
                    let message = self.partial.get(before..before + length);
                    return (used, Some(Ok(message.unwrap_or_default())));
                }
                Ok(Found::Unfinished(needed)) => {
                    self.searched = self.partial.len();
                    let rest = input.get(used..).unwrap_or_default();
                    let missing = needed.saturating_sub(self.partial.len()).max(1);
                    let take = self.take(framing, rest, missing);
                    if take == 0 {
                        return (used, None);
                    }
                    let taken = rest.get(..take).unwrap_or_default();
                    self.partial.extend_from_slice(taken);
                    used += take;
                }
            }
        }
    }

    /// How many bytes of `rest` may belong to the message in `partial`, and no other.
    fn take(&self, framing: &Framing, rest: &[u8], missing: usize) -> usize {
        match framing {
            Framing::Length(..) | Framing::Fixed(_) => missing.min(rest.len()),
            Framing::Lines => word::find_byte(rest, b'\n').map_or(rest.len(), |end| end + 1),
            // The delimiter may have begun in what is kept: up to its last byte, then look.
            Framing::Delimiter(delimiter) => {
                let last = delimiter.last().copied().unwrap_or_default();
                word::find_byte(rest, last).map_or(rest.len(), |end| end + 1)
            }
        }
    }

    fn begin<'a>(
        &'a mut self,
        framing: &Framing,
        input: &'a [u8],
        max: usize,
    ) -> (usize, Option<Result<&'a [u8], TooLong>>) {
        if input.is_empty() {
            return (0, None);
        }
        match find(framing, input, 0, max) {
            Err(too_long) => self.fail(input, too_long),
            Ok(Found::Whole {
                before,
                length,
                after,
            }) => {
                let message = input.get(before..before + length).unwrap_or_default();
                (before + length + after, Some(Ok(message)))
            }
            Ok(Found::Unfinished(_)) => {
                self.partial.extend_from_slice(input);
                (input.len(), None)
            }
        }
    }

    fn fail(
        &mut self,
        input: &[u8],
        too_long: TooLong,
    ) -> (usize, Option<Result<&'static [u8], TooLong>>) {
        self.partial = Vec::new();
        self.failed = true;
        (input.len(), Some(Err(too_long)))
    }
}

/// Looks for one message at the beginning of `bytes`, in the first `searched` of which no end lies
/// whole.
fn find(framing: &Framing, bytes: &[u8], searched: usize, max: usize) -> Result<Found, TooLong> {
    match framing {
        Framing::Lines => {
            let unsearched = bytes.get(searched..).unwrap_or_default();
            let Some(end) = word::find_byte(unsearched, b'\n').map(|end| searched + end) else {
                // A `\r` at the end may turn out to belong to the line's end.
                let counted = bytes.len() - usize::from(bytes.last() == Some(&b'\r'));
                return unfinished(counted, max, bytes.len() + 1);
            };
            let line = bytes.get(..end).unwrap_or_default();
            let length = line.strip_suffix(b"\r").unwrap_or(line).len();
            whole(0, length, end + 1 - length, max)
        }
        Framing::Delimiter(delimiter) => {
            // It may have begun in what was searched.
            let from = searched.saturating_sub(delimiter.len().saturating_sub(1));
            let unsearched = bytes.get(from..).unwrap_or_default();
            let mut windows = unsearched.windows(delimiter.len().max(1));
            match windows.position(|window| window == delimiter) {
                Some(end) => whole(0, from + end, delimiter.len(), max),
                None => {
                    let counted = bytes
                        .len()
                        .saturating_sub(delimiter.len().saturating_sub(1));
                    unfinished(counted, max, bytes.len() + 1)
                }
            }
        }
        Framing::Fixed(length) => {
            if *length > max {
                return Err(TooLong);
            }
            if bytes.len() < *length {
                return Ok(Found::Unfinished(*length));
            }
            whole(0, *length, 0, max)
        }
        Framing::Length(width, order) => {
            let before = width.bytes();
            let Some(length) = width.read(*order, bytes) else {
                return Ok(Found::Unfinished(before));
            };
            if length > max {
                return Err(TooLong);
            }
            if bytes.len() < before + length {
                return Ok(Found::Unfinished(before + length));
            }
            whole(before, length, 0, max)
        }
    }
}

fn whole(before: usize, length: usize, after: usize, max: usize) -> Result<Found, TooLong> {
    if length > max {
        return Err(TooLong);
    }
    Ok(Found::Whole {
        before,
        length,
        after,
    })
}

fn unfinished(counted: usize, max: usize, needed: usize) -> Result<Found, TooLong> {
    if counted > max {
        return Err(TooLong);
    }
    Ok(Found::Unfinished(needed))
}

impl Width {
    const fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    fn read(self, order: Order, bytes: &[u8]) -> Option<usize> {
        let length = match (self, order) {
            (Self::U16, Order::Big) => u32::from(u16::from_be_bytes(*bytes.first_chunk()?)),
            (Self::U16, Order::Little) => u32::from(u16::from_le_bytes(*bytes.first_chunk()?)),
            (Self::U32, Order::Big) => u32::from_be_bytes(*bytes.first_chunk()?),
            (Self::U32, Order::Little) => u32::from_le_bytes(*bytes.first_chunk()?),
        };
        usize::try_from(length).ok()
    }
}

/// Appends `message` as the framing wants it. A message that the framing cannot carry, because its
/// length does not fit or is not the fixed one, is left out and false returned.
pub fn encode(out: &mut Vec<u8>, framing: &Framing, message: &[u8]) -> bool {
    match framing {
        Framing::Lines => {
            out.extend_from_slice(message);
            out.push(b'\n');
        }
        Framing::Delimiter(delimiter) => {
            out.extend_from_slice(message);
            out.extend_from_slice(delimiter);
        }
        Framing::Fixed(length) if *length != message.len() => return false,
        Framing::Fixed(_) => out.extend_from_slice(message),
        Framing::Length(width, order) => {
            let Ok(length) = u32::try_from(message.len()) else {
                return false;
            };
            match (width, u16::try_from(length)) {
                (Width::U16, Err(_)) => return false,
                (Width::U16, Ok(short)) => out.extend_from_slice(&match order {
                    Order::Big => short.to_be_bytes(),
                    Order::Little => short.to_le_bytes(),
                }),
                (Width::U32, _) => out.extend_from_slice(&match order {
                    Order::Big => length.to_be_bytes(),
                    Order::Little => length.to_le_bytes(),
                }),
            }
            out.extend_from_slice(message);
        }
    }
    true
}

/// A text that names no framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidFraming;

impl FromStr for Framing {
    type Err = InvalidFraming;

    /// Reads what `Display` writes: `lines`, `u16`, `u16-le`, `u32`, `u32-le`, `fixed:64` or
    /// `delimiter:;`.
    fn from_str(text: &str) -> Result<Self, InvalidFraming> {
        let named = match text {
            "lines" => Some(Self::Lines),
            "u16" => Some(Self::Length(Width::U16, Order::Big)),
            "u16-le" => Some(Self::Length(Width::U16, Order::Little)),
            "u32" => Some(Self::Length(Width::U32, Order::Big)),
            "u32-le" => Some(Self::Length(Width::U32, Order::Little)),
            _ => None,
        };
        if let Some(framing) = named {
            return Ok(framing);
        }
        if let Some(length) = text.strip_prefix("fixed:") {
            let length = length.parse().ok().filter(|length| *length > 0);
            return length.map(Self::Fixed).ok_or(InvalidFraming);
        }
        let delimiter = text.strip_prefix("delimiter:").ok_or(InvalidFraming)?;
        if !(1..=MAX_DELIMITER).contains(&delimiter.len()) {
            return Err(InvalidFraming);
        }
        Ok(Self::Delimiter(delimiter.as_bytes().to_vec()))
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Lines => "lines",
            Self::Length(Width::U16, Order::Big) => "u16",
            Self::Length(Width::U16, Order::Little) => "u16-le",
            Self::Length(Width::U32, Order::Big) => "u32",
            Self::Length(Width::U32, Order::Little) => "u32-le",
            Self::Fixed(length) => return write!(f, "fixed:{length}"),
            Self::Delimiter(delimiter) => {
                return write!(f, "delimiter:{}", String::from_utf8_lossy(delimiter));
            }
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests;
