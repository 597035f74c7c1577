//! permessage-deflate for a whole worker: one compressor and a few inflaters, whatever the number of
//! sessions (RFC 7692, without context takeover).

use std::rc::Rc;

use roomwire_metrics::{Id, LaneWriter};
use roomwire_protocols::websocket::deflate::{Compressor, InflatePool, Window};
use roomwire_protocols::websocket::{self, Opcode};

use crate::config::Config;

/// Inflaters kept that nobody uses, of 48 KiB each. Chosen: one serves all messages that lie whole
/// in what was read, the others those that come in pieces.
const IDLE_INFLATERS: usize = 4;

/// Compresses what goes out.
#[derive(Debug)]
pub(crate) struct Deflater {
    compressor: Compressor,
    /// Where a message is compressed before it is framed; empty between two uses.
    scratch: Vec<u8>,
    lane: Rc<LaneWriter>,
}

impl Deflater {
    pub(crate) fn new(config: &Config, lane: Rc<LaneWriter>) -> Self {
        let level = u8::try_from(config.websocket.compression_level).unwrap_or(u8::MAX);
        let min_length = config.websocket.compress_from.as_usize();
        Self {
            compressor: Compressor::new(level, min_length),
            scratch: Vec::new(),
            lane,
        }
    }

    /// Appends `payload` as one compressed message. False, and nothing appended, when it is better
    /// sent as it is.
    pub(crate) fn frame(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        window: Window,
        out: &mut Vec<u8>,
    ) -> bool {
        self.scratch.clear();
        let compressed = self.compressor.compress(payload, window, &mut self.scratch);
        if compressed {
            websocket::frame_compressed(out, opcode, &self.scratch);
            self.lane.increment(Id::WebsocketCompressed);
            self.lane
                .add(Id::WebsocketCompressedBytesIn, payload.len() as u64);
            self.lane
                .add(Id::WebsocketCompressedBytesOut, self.scratch.len() as u64);
        }
        compressed
    }

    /// Frees what is only kept for the next message.
    pub(crate) fn release(&mut self) {
        self.compressor.release();
        self.scratch = Vec::new();
    }
}

/// The inflaters of one worker.
pub(crate) fn inflaters(config: &Config) -> InflatePool {
    InflatePool::new(config.limits.max_inflate_ratio, IDLE_INFLATERS)
}
