//! `[rooms]`: what every room keeps and what happens to a member that is too slow.

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::{Visitor, words};
use super::unit::{ByteSize, Span};

/// What applies to every room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsConfig {
    /// How much of what was said a room keeps.
    pub history: HistoryConfig,
    /// What happens when a member's outbox is full.
    pub slow: SlowPolicy,
}

/// How much of what was said a room keeps in memory; whichever bound is met first decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// The most messages; 0 keeps none. Default 100, from 0 to 1000000.
    pub messages: usize,
    /// The age at which a message is forgotten. Default 5m, from 1s to 168h.
    pub age: Span,
    /// The most bytes of message data. A message larger than this is delivered and not kept.
    /// Default 1MiB, from 1KiB to 1GiB. Worst case: this much for each of `limits.max_rooms`.
    pub bytes: ByteSize,
}

words! {
    /// What happens when a message does not fit into a member's outbox.
    #[derive(Default)]
    pub enum SlowPolicy {
        /// The member is disconnected, so that what it did see has no hole.
        #[default]
        Disconnect = "disconnect",
        /// The oldest messages go; the member is told which ones by a `gap`.
        DropOldest = "drop-oldest",
        /// Only the newest message of the room stays; a `gap` tells of the others.
        KeepLatest = "keep-latest",
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            messages: 100,
            age: Span::seconds(300),
            bytes: ByteSize::mib(1),
        }
    }
}

impl RoomsConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("slow", &mut self.slow);
        visitor.table("history", |visitor| {
            let history = &mut self.history;
            visitor.bounded("messages", &mut history.messages, 0, 1_000_000);
            visitor.bounded("age", &mut history.age, Span::seconds(1), Span::hours(168));
            visitor.bounded(
                "bytes",
                &mut history.bytes,
                ByteSize::kib(1),
                ByteSize::gib(1),
            );
        });
    }
}
