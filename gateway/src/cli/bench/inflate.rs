//! Compressed messages from the server (permessage-deflate, RFC 7692), without context takeover.
//!
//! A server that compresses a message once for a whole room sends the same bytes to every member, and
//! one that compresses for each member mostly does so too. What was inflated lately is remembered
//! by its compressed bytes, so that the load generator pays for a message once and not a thousand
//! times; it still compares every byte that came.

use zlib_rs::{Inflate, InflateFlush};

use super::frame::MAX_PAYLOAD;

/// Messages that are remembered, one in each slot. Chosen: twice what is usually in flight.
const SLOTS: usize = 512;
/// Longer ones are not remembered; the slots hold at most 8 MiB of what came compressed.
const MAX_REMEMBERED: usize = 16 << 10;
/// Bytes that come out at a time.
const CHUNK: usize = 16 << 10;
/// What the sender left out (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

#[derive(Clone, Debug, Default)]
struct Known {
    compressed: Vec<u8>,
    plain: Vec<u8>,
}

/// The inflater of one thread.
pub(super) struct Inflater {
    stream: Inflate,
    known: Vec<Known>,
    /// What is not remembered is kept here until the next message.
    last: Known,
    messages: u64,
    compressed_bytes: u64,
    plain_bytes: u64,
}

/// What came compressed, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Inflated {
    pub(super) messages: u64,
    pub(super) compressed_bytes: u64,
    pub(super) plain_bytes: u64,
}

/// It is no deflate stream, or more than [`MAX_PAYLOAD`] bytes come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a compressed message that cannot be inflated")]
pub(super) struct InflateError;

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            stream: Inflate::new(false, 15),
            known: Vec::new(),
            last: Known::default(),
            messages: 0,
            compressed_bytes: 0,
            plain_bytes: 0,
        }
    }

    pub(super) fn inflated(&self) -> Inflated {
        Inflated {
            messages: self.messages,
            compressed_bytes: self.compressed_bytes,
            plain_bytes: self.plain_bytes,
        }
    }

    /// What a message says.
    pub(super) fn inflate(&mut self, compressed: &[u8]) -> Result<&[u8], InflateError> {
        if self.known.is_empty() {
            self.known.resize(SLOTS, Known::default());
        }
        let slot = slot_of(compressed);
        let is_short = compressed.len() <= MAX_REMEMBERED;
        let known = match self.known.get_mut(slot) {
            Some(known) if is_short => known,
            _ => &mut self.last,
        };
        if known.compressed != compressed || !is_short || compressed.is_empty() {
            known.compressed.clear();
            known.plain.clear();
            inflate(&mut self.stream, compressed, &mut known.plain)?;
            if is_short {
                known.compressed.extend_from_slice(compressed);
            }
        }
        self.messages += 1;
        self.compressed_bytes += compressed.len() as u64;
        self.plain_bytes += known.plain.len() as u64;
        Ok(&known.plain)
    }
}

/// FNV-1a over the ends, where publications differ: the first bytes hold their numbers.
fn slot_of(compressed: &[u8]) -> usize {
    let ends = compressed
        .iter()
        .take(48)
        .chain(compressed.iter().rev().take(8));
    let hash = ends.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash % SLOTS as u64).unwrap_or(0)
}

fn inflate(stream: &mut Inflate, input: &[u8], out: &mut Vec<u8>) -> Result<(), InflateError> {
    stream.reset(false);
    for mut input in [input, &TAIL] {
        loop {
            let length = out.len();
            out.resize(length + CHUNK, 0);
            let (taken, given) = (stream.total_in(), stream.total_out());
            let room = out.get_mut(length..).unwrap_or_default();
            let status = stream.decompress(input, room, InflateFlush::NoFlush);
            let moved = |then: u64, now: u64| usize::try_from(now - then).unwrap_or(0);
            let produced = moved(given, stream.total_out());
            let consumed = moved(taken, stream.total_in());
            out.truncate(length + produced);
            if out.len() > MAX_PAYLOAD
                || (status.is_err() && produced + consumed == 0 && !input.is_empty())
            {
                return Err(InflateError);
            }
            input = input.get(consumed..).unwrap_or_default();
            if produced < CHUNK && (input.is_empty() || consumed == 0) {
                break;
            }
        }
        if !input.is_empty() {
            return Err(InflateError);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use roomwire_protocols::websocket::deflate::{Compressor, Window};

    use super::*;

    fn compress(payload: &[u8], window: Window) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(Compressor::new(1, 0).compress(payload, window, &mut out));
        out
    }

    #[test]
    fn what_the_gateway_compresses_is_read_at_every_size() {
        let mut inflater = Inflater::new();
        for window in Window::ALL {
            for length in [40, 512, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1 << 20] {
                let payload: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
                let compressed = compress(&payload, window);
                for _ in 0..2 {
                    assert_eq!(inflater.inflate(&compressed), Ok(&payload[..]), "{length}");
                }
            }
        }
        assert_eq!(inflater.inflated().messages, 42);
    }

    #[test]
    fn messages_that_share_a_slot_are_told_apart() {
        let mut inflater = Inflater::new();
        let texts: Vec<Vec<u8>> = (0..3 * SLOTS)
            .map(|number| format!("{{\"id\":{number}}} and so on and so on and so on").into_bytes())
            .collect();
        for text in texts.iter().chain(&texts) {
            let compressed = compress(text, Window::Bits15);
            assert_eq!(inflater.inflate(&compressed), Ok(&text[..]));
        }
    }

    #[test]
    fn what_is_no_deflate_stream_is_an_error() {
        let mut inflater = Inflater::new();
        for bytes in [&[0xff, 0xff, 0xff][..], &[0x07; 40]] {
            assert_eq!(inflater.inflate(bytes), Err(InflateError), "{bytes:02x?}");
        }
        let payload = b"abcabcabcabcabcabcabc";
        let compressed = compress(payload, Window::Bits15);
        assert_eq!(inflater.inflate(&compressed), Ok(&payload[..]));
    }
}
