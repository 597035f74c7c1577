//! The client's side of the frame codec: masked frames out, unmasked frames in (RFC 6455 §5).
//!
//! RFC 6455 §5.3 wants an unpredictable key for each frame, to protect caches between a browser and
//! a server. There is no script here that could attack one, so one random key serves a whole run and
//! frames are masked before it begins.

use roomwire_protocols::websocket::Opcode;

/// The largest message that is accepted; the largest that the options let the run ask for fits.
pub(super) const MAX_PAYLOAD: usize = 64 << 20;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// RFC 6455 §5.2: RSV1 to RSV3, of which permessage-deflate uses the first.
const RESERVED: u8 = 0x70;
/// RFC 7692 §6: the message is compressed.
const COMPRESSED: u8 = 0x40;

/// Appends a masked frame and tells where in `out` its payload begins.
pub(super) fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) -> usize {
    out.reserve(payload.len() + 14);
    out.push(FIN | opcode as u8);
    if let Ok(short @ 0..=125) = u8::try_from(payload.len()) {
        out.push(MASKED | short);
    } else if let Ok(medium) = u16::try_from(payload.len()) {
        out.push(MASKED | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(MASKED | 127);
        out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend((payload.iter().zip(key.iter().cycle())).map(|(byte, key)| byte ^ key));
    start
}

/// Appends a close frame with a code and no reason.
pub(super) fn append_close(out: &mut Vec<u8>, code: u16, key: [u8; 4]) {
    append(out, Opcode::Close, &code.to_be_bytes(), key);
}

/// One whole frame as the server sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: Opcode,
    /// Whether `payload` is compressed. Only what was negotiated may be.
    pub(super) compressed: bool,
    pub(super) payload: &'a [u8],
    /// Bytes of the frame, its header included.
    pub(super) length: usize,
}

/// Why what came cannot be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the server sent a fragmented message, which this load generator does not join")]
    Fragmented,
    #[error("the server sent a masked frame")]
    Masked,
    #[error("the server sent a frame of more than {MAX_PAYLOAD} bytes")]
    Oversize,
    #[error("the server used an extension that was not offered")]
    Reserved,
    #[error("the server sent a frame of an unknown kind")]
    UnknownOpcode,
}

/// Takes the first frame of `bytes`; `None` where it is not whole yet.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & MASKED != 0 {
        return Err(FrameError::Masked);
    }
    let opcode = opcode(first)?;
    let (length, header) = match second {
        126 => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD {
        return Err(FrameError::Oversize);
    }
    let end = header + length;
    Ok(bytes.get(header..end).map(|payload| Frame {
        opcode,
        compressed: first & COMPRESSED != 0,
        payload,
        length: end,
    }))
}

#[inline]
fn opcode(first: u8) -> Result<Opcode, FrameError> {
    let reserved = first & RESERVED;
    // RFC 7692 §6: only data frames are compressed, and a frame is a whole message here.
    let is_data = matches!(first & !RESERVED, 0x81 | 0x82);
    if reserved != 0 && !(reserved == COMPRESSED && is_data) {
        return Err(FrameError::Reserved);
    }
    match first & !RESERVED {
        0x81 => Ok(Opcode::Text),
        0x82 => Ok(Opcode::Binary),
        0x88 => Ok(Opcode::Close),
        0x89 => Ok(Opcode::Ping),
        0x8A => Ok(Opcode::Pong),
        0x00..=0x02 | 0x80 => Err(FrameError::Fragmented),
        _ => Err(FrameError::UnknownOpcode),
    }
}

#[cfg(test)]
mod tests {
    use roomwire_protocols::websocket::{self, Decoder, Item, Limits};

    use super::*;

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    const LENGTHS: [usize; 8] = [0, 1, 125, 126, 127, 65_535, 65_536, 70_001];

    #[test]
    fn a_frame_is_the_one_of_the_rfc() {
        // RFC 6455 §5.7: a single-frame masked text message.
        let mut out = Vec::new();
        let start = append(&mut out, Opcode::Text, b"Hello", KEY);
        let expected = [
            0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58,
        ];
        assert_eq!((out.as_slice(), start), (&expected[..], 6));
    }

    #[test]
    fn the_gateways_decoder_reads_what_is_built() {
        for length in LENGTHS {
            let payload = vec![b'x'; length];
            let mut out = Vec::new();
            append(&mut out, Opcode::Text, &payload, KEY);
            let limits = Limits {
                max_message: 100_000,
                max_fragments: 1,
            };
            let mut decoder = Decoder::new();
            let (_, item) = decoder.next(&mut out, &limits).expect("no violation");
            let Some(Item::Text(text)) = item else {
                panic!("{length}: {item:?}");
            };
            assert_eq!(text.as_bytes(), payload);
        }
    }

    #[test]
    fn what_a_server_sends_is_read_whole_or_not_at_all() {
        for length in LENGTHS {
            let payload = vec![7; length];
            let mut out = Vec::new();
            websocket::frame(&mut out, Opcode::Binary, &payload);
            for cut in (0..out.len()).step_by(1 + out.len() / 40) {
                assert_eq!(parse(&out[..cut]), Ok(None), "{length} cut at {cut}");
            }
            out.extend_from_slice(b"more");
            let frame = parse(&out).expect("valid").expect("whole");
            assert_eq!(
                (frame.opcode, frame.payload),
                (Opcode::Binary, &payload[..])
            );
            assert_eq!(&out[frame.length..], b"more");
        }
    }

    #[test]
    fn a_compressed_message_is_told_from_a_plain_one() {
        let mut out = Vec::new();
        websocket::frame_compressed(&mut out, Opcode::Text, b"?");
        websocket::frame(&mut out, Opcode::Text, b"!");
        let first = parse(&out).expect("valid").expect("whole");
        assert!(first.compressed);
        let second = parse(&out[first.length..]).expect("valid").expect("whole");
        assert!(!second.compressed);
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        for (bytes, error) in [
            (&[0x81, 0x80][..], FrameError::Masked),
            (&[0xA1, 0x00], FrameError::Reserved),
            (&[0xC9, 0x00], FrameError::Reserved),
            (&[0x01, 0x00], FrameError::Fragmented),
            (&[0x80, 0x00], FrameError::Fragmented),
            (&[0x83, 0x00], FrameError::UnknownOpcode),
            (&[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0], FrameError::Oversize),
        ] {
            assert_eq!(parse(bytes), Err(error), "{bytes:02x?}");
        }
    }
}
