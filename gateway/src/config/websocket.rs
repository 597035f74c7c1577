//! `[websocket]`: what is compressed on WebSocket sessions.

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::Visitor;
use super::unit::ByteSize;

/// permessage-deflate (RFC 7692), for clients that offer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocketConfig {
    /// Whether messages are compressed for clients that offer it. Default true.
    pub compression: bool,
    /// From 1, the fastest, to 9, the smallest. Default 1.
    pub compression_level: usize,
    /// Shorter messages are sent as they are. Default 128B, from 0B to 64MiB.
    pub compress_from: ByteSize,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            compression: true,
            compression_level: 1,
            compress_from: ByteSize::bytes(128),
        }
    }
}

impl WebSocketConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("compression", &mut self.compression);
        visitor.bounded("compression_level", &mut self.compression_level, 1, 9);
        let from = &mut self.compress_from;
        visitor.bounded("compress_from", from, ByteSize::bytes(0), ByteSize::mib(64));
    }
}
