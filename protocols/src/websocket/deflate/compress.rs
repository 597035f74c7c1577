//! Compressing messages, each for itself (RFC 7692 §7.2.1).
//!
//! Whether to compress is decided here too: short messages are not worth it, and a result that is
//! not smaller is not used. What is compressed for one [`Window`] serves everybody who agreed to
//! it, so callers keep the result for the time of a delivery and call once, not once per member.

use std::fmt;

use zlib_rs::{Deflate, DeflateFlush};

use super::{TAIL, Window};

/// The fastest. Of 512 bytes of JSON it leaves about a third, in half the time that level 6 takes.
pub const DEFAULT_LEVEL: u8 = 1;

/// Shorter messages are sent as they are. Chosen: what is left of them fits the same packet.
pub const DEFAULT_MIN_LENGTH: usize = 128;

/// What is kept between messages of the buffer that they are compressed into. Chosen: the default
/// limit on a message.
const MAX_SCRATCH_KEPT: usize = 64 * 1024;

/// The compressors of one worker: one for each [`Window`] that was asked for, of 250 KiB, and
/// 380 KiB for the largest.
pub struct Compressor {
    level: u8,
    min_length: usize,
    streams: [Option<Deflate>; Window::ALL.len()],
    scratch: Vec<u8>,
}

impl Compressor {
    /// A compressor of `level` 1 (fast) to 9 (small), for messages of at least `min_length` bytes.
    /// It takes memory when it is used first.
    pub fn new(level: u8, min_length: usize) -> Self {
        Self {
            level: level.clamp(1, 9),
            min_length,
            streams: Window::ALL.map(|_| None),
            scratch: Vec::new(),
        }
    }

    /// Appends `payload` compressed to `out`, for
    /// [`frame_compressed`](crate::websocket::frame_compressed). `false`: it is too short or would
    /// not become shorter, `out` is as it was, and the payload goes as it is.
    #[must_use]
    pub fn compress(&mut self, payload: &[u8], window: Window, out: &mut Vec<u8>) -> bool {
        if payload.len() < self.min_length {
            return false;
        }
        let compressed = self.deflate(payload, window);
        let shorter = compressed.filter(|compressed| compressed.len() < payload.len());
        out.extend_from_slice(shorter.unwrap_or_default());
        let done = shorter.is_some();
        self.scratch.truncate(MAX_SCRATCH_KEPT);
        self.scratch.shrink_to(MAX_SCRATCH_KEPT);
        done
    }

    /// Frees what is only kept for the next message.
    pub fn release(&mut self) {
        self.streams = Window::ALL.map(|_| None);
        self.scratch = Vec::new();
    }

    fn deflate(&mut self, payload: &[u8], window: Window) -> Option<&[u8]> {
        let slot = self.streams.get_mut(window as usize)?;
        let mut stream = slot
            .take()
            .unwrap_or_else(|| Deflate::new(i32::from(self.level), false, window.bits()));
        // The bound is that of a stream's data; the flush at its end is an empty block more.
        let room = zlib_rs::compress_bound(payload.len()) + 2 * TAIL.len();
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let flush = DeflateFlush::SyncFlush;
        let result = stream.compress(payload, &mut self.scratch, flush);
        let produced = usize::try_from(stream.total_out()).ok()?;
        let taken = stream.total_in() == payload.len() as u64;
        let compressed = self.scratch.get(..produced)?;
        // With room to spare all is written. A stream that is reset while something is not would
        // panic later (zlib-rs 0.6.8), so only after this it is used again.
        if result.is_err() || !taken || produced == self.scratch.len() {
            return None;
        }
        stream.reset();
        *slot = Some(stream);
        compressed.strip_suffix(&TAIL)
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new(DEFAULT_LEVEL, DEFAULT_MIN_LENGTH)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("level", &self.level)
            .field("min_length", &self.min_length)
            .finish_non_exhaustive()
    }
}
