//! `[http2]`: what a peer may ask of one HTTP/2 connection, and what it gets unasked.
//!
//! Frames that cost their sender next to nothing are counted in periods of ten seconds
//! (`protocols/src/http2`); whoever sends more of a kind is told so and its connection ends.

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::Visitor;
use super::unit::ByteSize;

/// What a peer may ask of one HTTP/2 connection, and what it gets unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2Config {
    /// Whether the files of our own pages are pushed along with them to clients that take it. Browsers
    /// do not. Default false.
    pub push: bool,
    /// Whether clients that ask for one of our own pages are told beforehand which files it needs
    /// (status 103). Default true.
    pub early_hints: bool,
    /// Requests and WebSockets at a time. Default 128, from 1 to 10000.
    pub max_streams: usize,
    /// Bytes that one stream may have sent us before they are taken. Default 64KiB, from 16KiB to
    /// 16MiB. Worst case: this much for each of `max_streams`.
    pub stream_window: ByteSize,
    /// PING frames in ten seconds. Default 1000, from 1 to 1000000.
    pub max_pings: usize,
    /// SETTINGS frames in ten seconds. Default 100, from 2 to 1000000.
    pub max_settings: usize,
    /// Streams that the peer gives up in ten seconds. Default 500, from 1 to 1000000.
    pub max_resets: usize,
    /// Streams that break a rule, as long as the connection lasts. Default 256, from 1 to 1000000.
    pub max_stream_errors: usize,
    /// PRIORITY frames, and frames of unknown types, in ten seconds. Default 2000, from 0 to 1000000.
    pub max_priorities: usize,
    /// WINDOW_UPDATE frames in ten seconds, besides one for each five bytes that the peer was sent.
    /// Default 5000, from 1 to 1000000.
    pub max_window_updates: usize,
    /// Frames in ten seconds that have no payload and end nothing. Default 50, from 0 to 100.
    pub max_empty_frames: usize,
    /// CONTINUATION frames of one request's headers. Default 5, from 0 to 100.
    pub max_continuations: usize,
    /// What DATA frames under 256 bytes may be short of that, together, until they are read. Default
    /// 32MiB, from 64KiB to 1GiB. Worst case: this much.
    pub max_small_data: ByteSize,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            push: false,
            early_hints: true,
            // What browsers use, and what RFC 9113 §6.5.2 asks for at the least.
            max_streams: 128,
            stream_window: ByteSize::kib(64),
            max_pings: 1000,
            max_settings: 100,
            max_resets: 500,
            max_stream_errors: 256,
            max_priorities: 2000,
            max_window_updates: 5000,
            max_empty_frames: 50,
            max_continuations: 5,
            // h2's default ends connections whose WebSockets send many small messages, although they
            // are read promptly: all that one poll of the connection reads, at most 128 times 8 KiB,
            // comes before any session has its turn. In the smallest messages that is 17 MiB; as much
            // again is for streams that are not read now.
            max_small_data: ByteSize::mib(32),
        }
    }
}

impl Http2Config {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("push", &mut self.push);
        visitor.setting("early_hints", &mut self.early_hints);
        visitor.bounded("max_streams", &mut self.max_streams, 1, 10_000);
        let window = &mut self.stream_window;
        visitor.bounded(
            "stream_window",
            window,
            ByteSize::kib(16),
            ByteSize::mib(16),
        );
        visitor.bounded("max_pings", &mut self.max_pings, 1, 1_000_000);
        // One when the connection begins, and one that takes note of ours.
        visitor.bounded("max_settings", &mut self.max_settings, 2, 1_000_000);
        visitor.bounded("max_resets", &mut self.max_resets, 1, 1_000_000);
        let errors = &mut self.max_stream_errors;
        visitor.bounded("max_stream_errors", errors, 1, 1_000_000);
        visitor.bounded("max_priorities", &mut self.max_priorities, 0, 1_000_000);
        let updates = &mut self.max_window_updates;
        visitor.bounded("max_window_updates", updates, 1, 1_000_000);
        // h2 ends a connection at a hundred, however long it lasts.
        visitor.bounded("max_empty_frames", &mut self.max_empty_frames, 0, 100);
        visitor.bounded("max_continuations", &mut self.max_continuations, 0, 100);
        let small = &mut self.max_small_data;
        visitor.bounded("max_small_data", small, ByteSize::kib(64), ByteSize::gib(1));
    }
}
