//! What a hub is made with: the bounds of everything it keeps, and what rooms do at them.
//!
//! Plain data, checked by whoever reads the configuration. A room's settings are looked up once,
//! when the room is created, and stay with that incarnation.

use crate::pattern::Pattern;

/// What happens to a session whose outbox is full when a room has a message for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SlowPolicy {
    /// The session ends. A client that must not miss anything reconnects and resumes.
    #[default]
    Disconnect,
    /// The oldest waiting messages go; the client is told which offsets.
    DropOldest,
    /// Only the newest message of the room stays: for rooms whose messages replace each other.
    KeepLatest,
}

/// How much of its past a room keeps. Whatever bound is reached first lets the oldest message go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// 0: the room keeps no history.
    pub messages: usize,
    /// Sum of the sizes that the publishers stated, in bytes; 0: the room keeps no history.
    pub bytes: usize,
    /// Milliseconds that a message stays; 0: the room keeps no history; `u64::MAX`: no limit.
    pub age_ms: u64,
}

impl HistoryLimits {
    /// The limits of a room that remembers nothing.
    pub const NONE: Self = Self {
        messages: 0,
        bytes: 0,
        age_ms: 0,
    };

    /// Whether a room with these limits never keeps a message.
    #[must_use]
    pub const fn keeps_nothing(&self) -> bool {
        self.messages == 0 || self.bytes == 0 || self.age_ms == 0
    }
}

impl Default for HistoryLimits {
    /// 100 messages, 1 MiB, 300 seconds.
    fn default() -> Self {
        Self {
            messages: 100,
            bytes: 1 << 20,
            age_ms: 300_000,
        }
    }
}

/// How one room behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomSettings {
    /// What the room remembers.
    pub history: HistoryLimits,
    /// What the room does to a session that does not keep up.
    pub slow: SlowPolicy,
}

/// The bounds of a hub. Worst-case memory is stated per field, beside the handles of the messages.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// How many workers there are; their ids are `0..workers`. At least 1.
    pub workers: u16,
    /// Deliveries that one worker's inbox holds; about 48 bytes each beside the message.
    pub inbox_capacity: usize,
    /// Settings of every room that no override matches.
    pub rooms: RoomSettings,
    /// Settings of the rooms that a pattern or a plain name matches; the first match wins.
    pub overrides: Vec<(Pattern, RoomSettings)>,
    /// Rooms that exist at the same time; about 500 bytes each beside members and history.
    pub max_rooms: usize,
    /// Different patterns subscribed to at the same time; about 100 bytes for each of a pattern's
    /// tokens, of which a subject of 255 bytes has at most 128.
    pub max_patterns: usize,
    /// Idempotency keys that one room remembers; at the bound the oldest is forgotten.
    pub max_keys_per_room: usize,
    /// Milliseconds that an idempotency key is remembered.
    pub key_ttl_ms: u64,
    /// Sets the epochs apart from those of another run. Must differ from start to start.
    pub seed: u64,
}

impl Default for HubOptions {
    /// One worker, the documented defaults, and a seed of 0 that a gateway must replace.
    fn default() -> Self {
        Self {
            workers: 1,
            // Chosen: at 100 bytes a message some 2 MiB, and a tenth of a second at 160,000 messages
            // a second for one worker.
            inbox_capacity: 16_384,
            rooms: RoomSettings::default(),
            overrides: Vec::new(),
            max_rooms: 100_000,
            max_patterns: 4_096,
            max_keys_per_room: 1_000,
            key_ttl_ms: 300_000,
            seed: 0,
        }
    }
}
