//! The header of a frame that a client sent (RFC 6455 §5.2).
//!
//! ```text
//!  byte 0                    byte 1             then
//! +-----+---------+--------+ +------+---------+ +-----------------------+------------+
//! | FIN | RSV 1-3 | opcode | | MASK | len (7) | | 0, 2 or 8 bytes of len | 4 of mask |
//! +-----+---------+--------+ +------+---------+ +-----------------------+------------+
//! ```
//!
//! What one frame cannot know, such as whether a message was begun, is `decoder`'s business.

use super::{MAX_CONTROL_PAYLOAD, Violation};

/// Two bytes, the longest length and the mask.
pub(super) const MAX_LENGTH: usize = 14;

/// The reserved bit that permessage-deflate gives a meaning (RFC 7692 §6).
pub(super) const RSV1: u8 = 0x40;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that was begun.
    Continuation = 0x0,
    /// A text message, or its beginning.
    Text = 0x1,
    /// A binary message, or its beginning.
    Binary = 0x2,
    /// The last frame that its sender sends.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or just tells that the sender lives.
    Pong = 0xA,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether frames of this kind may stand between the fragments of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A whole and valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    /// RSV1 of a first data frame: the message is compressed (RFC 7692 §6).
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    /// Bytes of payload; at most 2^63 - 1, and 125 for a control frame.
    pub(super) payload: u64,
    pub(super) key: [u8; 4],
}

/// Reads a header from the beginning of `bytes` and tells its length. `None`: it is not whole yet.
///
/// With `deflate` agreed RSV1 may be set on the first frame of a message, and nowhere else.
///
/// # Errors
/// The first violation, in the order of the bytes, as soon as its byte is there.
#[inline]
pub(super) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Header, usize)>, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let reserved = first & 0x70;
    if reserved != 0 && !(deflate && reserved == RSV1) {
        return Err(Violation::ReservedBits);
    }
    let fin = first & 0x80 != 0;
    let compressed = reserved != 0;
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::UnknownOpcode)?;
    if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(Violation::ReservedBits);
    }
    if opcode.is_control() && !fin {
        return Err(Violation::ControlFragmented);
    }
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err(Violation::NotMasked);
    }
    let short = second & 0x7f;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
        return Err(Violation::ControlTooLong);
    }
    let rest = bytes.get(2..).unwrap_or_default();
    let Some((payload, rest)) = payload_length(short, rest)? else {
        return Ok(None);
    };
    let Some((key, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    Ok(Some((
        Header {
            fin,
            compressed,
            opcode,
            payload,
            key: *key,
        },
        bytes.len() - rest.len(),
    )))
}

/// The payload's length, and what follows it.
#[inline]
fn payload_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    match short {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*length);
            if length < 126 {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((u64::from(length), rest)))
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*length);
            if length > i64::MAX as u64 {
                return Err(Violation::LengthOutOfRange);
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((length, rest)))
        }
        _ => Ok(Some((u64::from(short), rest))),
    }
}
