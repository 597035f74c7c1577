//! Frames that a server sends: never fragmented, never masked (RFC 6455 §5.1).

use super::header::RSV1;
use super::{MAX_CONTROL_PAYLOAD, Opcode};

/// Most bytes that [`header`] appends.
pub const MAX_HEADER: usize = 10;

const FIN: u8 = 0x80;

/// Appends the header of a frame with `length` bytes of payload, in the shortest form.
#[inline]
pub fn header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    start(out, FIN | opcode as u8, length);
}

#[inline]
fn start(out: &mut Vec<u8>, first: u8, length: usize) {
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        out.extend_from_slice(&[first, short]);
    } else if let Ok(medium) = u16::try_from(length) {
        let [high, low] = medium.to_be_bytes();
        out.extend_from_slice(&[first, 126, high, low]);
    } else {
        out.extend_from_slice(&[first, 127]);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Appends a whole frame. The payload of a control frame is cut to 125 bytes (RFC 6455 §5.5).
pub fn frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let max = if opcode.is_control() {
        MAX_CONTROL_PAYLOAD
    } else {
        usize::MAX
    };
    let payload = payload.get(..max).unwrap_or(payload);
    out.reserve(MAX_HEADER + payload.len());
    header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a whole message whose `payload` [`Compressor::compress`] made (RFC 7692 §6). `opcode` is
/// text or binary: control frames are never compressed.
///
/// [`Compressor::compress`]: super::deflate::Compressor::compress
pub fn frame_compressed(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary));
    out.reserve(MAX_HEADER + payload.len());
    start(out, FIN | RSV1 | opcode as u8, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame. `reason` is cut to 123 bytes between two characters; without a code it
/// cannot be sent and is left out.
pub fn close_frame(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else {
        return frame(out, Opcode::Close, &[]);
    };
    let max = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
    let reason = (0..=max)
        .rev()
        .find_map(|length| reason.get(..length))
        .unwrap_or_default();
    header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}
