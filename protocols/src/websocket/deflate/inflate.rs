//! Inflating under limits, with inflaters that are lent for the time of a message.
//!
//! A message may inflate to `max_message` bytes, and beyond [`RATIO_FREE`] bytes only to
//! `max_ratio` times what came compressed, so that memory is paid for by its sender. The inflater
//! is never given room for more than one byte past the limit. What came is counted in whole blocks
//! of [`BLOCK`] bytes from the message's beginning: counted in the pieces in which it came, the
//! verdict on a message would depend on how the network cut it.
//!
//! Where the pieces come from is `incoming`'s business.

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::TAIL;
use crate::websocket::Violation;
use crate::websocket::message::Plain;

/// So many bytes a message may inflate to before the ratio counts. Chosen: above the default limit on
/// a message, so that what a plain message may cost is not held against a compressed one, and the
/// largest that the Autobahn test suite compresses, JSON of which a byte stands for 27.
pub const RATIO_FREE: usize = 128 * 1024;

/// The most bytes that one compressed byte stands for, beyond [`RATIO_FREE`]: Centrifugo's.
pub const DEFAULT_MAX_RATIO: usize = 10;

/// Bytes that go into the inflater at a time, and the step in which the ratio's allowance grows.
/// Chosen: small messages go in at once, and it adds little to [`RATIO_FREE`].
pub(super) const BLOCK: usize = 1024;

/// Bytes that come out at a time, and memory of every pool.
const CHUNK: usize = 16 * 1024;

/// An empty stored block that ends the stream. After [`TAIL`] it tells whether a message ended
/// where it may: anywhere else it is data, and not an end.
const FINAL: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// Inflaters for the connections of one worker, each lent to a decoder for the time of a message.
///
/// A message that lies whole in the input takes one only inside the call, so that there is one for
/// the whole worker. One of which more than 4 KiB came and the end did not has its own, of about 48
/// KiB. An inflater that is lent to a decoder that is dropped goes with it.
pub struct InflatePool {
    idle: Vec<Inflater>,
    max_idle: usize,
    max_ratio: usize,
    chunk: Vec<u8>,
}

impl InflatePool {
    /// A pool that keeps at most `max_idle` inflaters that nobody uses; it owns none at first.
    /// `max_ratio` is [`DEFAULT_MAX_RATIO`] or another, and `usize::MAX` for no limit but a
    /// message's own.
    pub const fn new(max_ratio: usize, max_idle: usize) -> Self {
        Self {
            idle: Vec::new(),
            max_idle,
            max_ratio,
            chunk: Vec::new(),
        }
    }

    /// Inflaters that nobody uses.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(super) fn lend(&mut self) -> Inflater {
        self.idle.pop().unwrap_or_else(Inflater::new)
    }

    /// Takes an inflater back whose message has ended well.
    pub(super) fn take_back(&mut self, mut inflater: Inflater) {
        if self.idle.len() < self.max_idle {
            inflater.compressed = 0;
            self.idle.push(inflater);
        }
    }

    /// Inflates more of a message to the end of `out`.
    pub(super) fn inflate(
        &mut self,
        inflater: &mut Inflater,
        mut input: &[u8],
        max_message: usize,
        out: &mut Plain,
    ) -> Result<(), Violation> {
        while !input.is_empty() {
            let missing = BLOCK - inflater.compressed % BLOCK;
            let (block, after) = input.split_at(missing.min(input.len()));
            inflater.compressed += block.len();
            self.inflate_block(inflater, block, max_message, out)?;
            input = after;
        }
        Ok(())
    }

    /// Ends a message: after what was cut off it has to be at the beginning of a block.
    pub(super) fn finish(
        &mut self,
        inflater: &mut Inflater,
        max_message: usize,
        out: &mut Plain,
    ) -> Result<(), Violation> {
        // Some senders end with a final block and leave out the byte that RFC 7692 §7.2.3.4 has
        // after it, or send nothing at all for an empty message. Both are unambiguous.
        if !inflater.fresh {
            self.inflate_block(inflater, &TAIL, max_message, out)?;
            self.inflate_block(inflater, &FINAL, max_message, out)?;
        }
        if inflater.fresh {
            Ok(())
        } else {
            Err(Violation::DeflateInvalid)
        }
    }

    fn inflate_block(
        &mut self,
        inflater: &mut Inflater,
        mut input: &[u8],
        max_message: usize,
        out: &mut Plain,
    ) -> Result<(), Violation> {
        self.chunk.resize(CHUNK, 0);
        let blocks = inflater.compressed.div_ceil(BLOCK);
        let paid = self.max_ratio.saturating_mul(blocks * BLOCK);
        let allowed = max_message.min(paid.saturating_add(RATIO_FREE));
        loop {
            let left = allowed.saturating_sub(out.len());
            let room = left.saturating_add(1).min(CHUNK);
            let chunk = self.chunk.get_mut(..room).unwrap_or_default();
            let step = inflater.step(input, chunk);
            // What came out before an error is judged first: it came first.
            let good = step.produced.min(left);
            out.push(chunk.get(..good).unwrap_or_default(), left - good)?;
            if step.produced > left {
                return Err(if allowed < max_message {
                    Violation::InflatedTooFar
                } else {
                    Violation::MessageTooBig
                });
            }
            if step.failed {
                return Err(Violation::DeflateInvalid);
            }
            input = input.get(step.consumed..).unwrap_or_default();
            let drained = step.produced < room;
            if input.is_empty() && drained {
                return Ok(());
            }
            if step.consumed == 0 && step.produced == 0 && !step.ended {
                return Err(Violation::DeflateInvalid);
            }
        }
    }
}

impl fmt::Debug for InflatePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InflatePool")
            .field("idle", &self.idle.len())
            .field("max_idle", &self.max_idle)
            .field("max_ratio", &self.max_ratio)
            .finish_non_exhaustive()
    }
}

/// A raw inflate stream with a window of 32 KiB, which serves every smaller one as well.
pub(super) struct Inflater {
    stream: Inflate,
    /// Bytes of the message that went in.
    compressed: usize,
    /// Whether nothing was read since a stream began: at the beginning, and after a final block.
    fresh: bool,
}

/// What one call of the inflater did.
struct Step {
    consumed: usize,
    produced: usize,
    ended: bool,
    failed: bool,
}

impl Inflater {
    fn new() -> Self {
        Self {
            stream: Inflate::new(false, 15),
            compressed: 0,
            fresh: true,
        }
    }

    pub(super) const fn compressed(&self) -> usize {
        self.compressed
    }

    /// Inflates as much as there is input and room for. A final block does not end the message:
    /// another stream follows it (RFC 7692 §7.2.3.4), which cannot refer to before it.
    fn step(&mut self, input: &[u8], chunk: &mut [u8]) -> Step {
        let before = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, chunk, InflateFlush::NoFlush);
        let moved = |before: u64, after: u64| usize::try_from(after - before).unwrap_or(0);
        let step = Step {
            consumed: moved(before.0, self.stream.total_in()),
            produced: moved(before.1, self.stream.total_out()),
            ended: status == Ok(Status::StreamEnd),
            failed: status.is_err(),
        };
        if step.ended {
            self.stream.reset(false);
            self.fresh = true;
        } else if step.consumed > 0 {
            self.fresh = false;
        }
        step
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("compressed", &self.compressed)
            .field("fresh", &self.fresh)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::deflate::tests::zeros;

    #[test]
    fn a_bomb_takes_no_more_memory_than_is_allowed() {
        // 1 GiB in a megabyte.
        let bomb = zeros(1 << 20).repeat(1 << 10);
        for (max_message, violation) in [
            (1 << 16, Violation::MessageTooBig),
            (1 << 18, Violation::InflatedTooFar),
            (1 << 31, Violation::InflatedTooFar),
        ] {
            let mut pool = InflatePool::new(DEFAULT_MAX_RATIO, 1);
            let mut inflater = pool.lend();
            let mut out = Plain::new(false);
            let result = pool.inflate(&mut inflater, &bomb, max_message, &mut out);
            assert_eq!(result, Err(violation));
            let Plain::Binary(out) = out else {
                panic!("{out:?}")
            };
            assert_eq!(inflater.compressed(), BLOCK, "the first block shows it");
            assert!(out.capacity() <= max_message.min(RATIO_FREE + DEFAULT_MAX_RATIO * BLOCK));
        }
    }
}
