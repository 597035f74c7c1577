//! What a WebSocket session remembers of its protocol: how far its input was decoded, and whether
//! permessage-deflate was agreed. Compression itself has no state here: compressors and inflaters are
//! the worker's (`crate::worker::Deflater`).

use roomwire_protocols::websocket::deflate::{InflatePool, Window};
use roomwire_protocols::websocket::{Decoder, Item, Limits, Violation};

/// One WebSocket's side of the protocol.
#[derive(Debug)]
pub(crate) struct WebSocketCodec {
    decoder: Decoder,
    deflate: Option<Window>,
}

impl WebSocketCodec {
    /// At the beginning of a connection. With `deflate` messages may come compressed, and are
    /// compressed for this window.
    pub(crate) const fn new(deflate: Option<Window>) -> Self {
        Self {
            decoder: Decoder::new(),
            deflate,
        }
    }

    /// What to compress for this peer with, if it agreed to that.
    pub(crate) const fn deflate(&self) -> Option<Window> {
        self.deflate
    }

    /// The next item, as [`Decoder::next`] has it, inflated where that was agreed.
    ///
    /// # Errors
    /// The first violation of the protocol.
    #[inline]
    pub(crate) fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
        inflaters: &mut InflatePool,
    ) -> Result<(usize, Option<Item<'a>>), Violation> {
        match self.deflate {
            None => self.decoder.next(input, limits),
            Some(_) => self.decoder.next_inflating(input, limits, inflaters),
        }
    }
}
