//! `[rooms]`: what rooms keep and what happens to a member that is too slow, for all of them and for
//! those whose names match a pattern.

use schemars::JsonSchema;
use serde::Serialize;

use super::setting::{Visitor, words};
use super::unit::{ByteSize, Span};

/// The most patterns with settings of their own. Chosen: a new room is compared with them all.
pub(super) const MAX_ROOM_PATTERNS: usize = 256;

/// What applies to rooms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsConfig {
    /// How much of what was said a room keeps.
    pub history: HistoryConfig,
    /// What happens when a member's outbox is full.
    pub slow: SlowPolicy,
    /// Rooms to which something else applies; of several that match the first counts.
    #[serde(rename = "pattern")]
    pub patterns: Vec<RoomPattern>,
}

/// What applies to the rooms whose names match; what it does not say is as for every room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoomPattern {
    /// A room's name, or a pattern such as `news.*` or `news.>`.
    #[serde(rename = "match")]
    #[schemars(required)]
    pub matches: String,
    /// How much of what was said these rooms keep.
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
        visitor.table("history", |visitor| self.history.visit(visitor));
        let new = RoomPattern {
            matches: String::new(),
            history: self.history.clone(),
            slow: self.slow,
        };
        visitor.tables("pattern", &mut self.patterns, &new, RoomPattern::visit);
    }
}

impl RoomPattern {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.setting("match", &mut self.matches);
        visitor.setting("slow", &mut self.slow);
        visitor.table("history", |visitor| self.history.visit(visitor));
    }
}

impl HistoryConfig {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.bounded("messages", &mut self.messages, 0, 1_000_000);
        visitor.bounded("age", &mut self.age, Span::seconds(1), Span::hours(168));
        let bytes = &mut self.bytes;
        visitor.bounded("bytes", bytes, ByteSize::kib(1), ByteSize::gib(1));
    }
}
