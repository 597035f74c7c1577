//! The message as the hub holds it: one allocation shared by history, inboxes and workers.

use std::sync::Arc;

use roomwire_protocols::event::MessageView;

/// What somebody published. Room and offset are not in it: the hub carries them beside it.
#[derive(Debug)]
pub struct Message {
    from: Arc<str>,
    time_ms: u64,
    /// When it was taken, in the microseconds of the gateway's clock.
    taken_us: u64,
    data: Box<[u8]>,
}

impl Message {
    /// `data` is one valid JSON text, kept byte for byte; `time_ms` counts from 1970, `taken_us` from
    /// the gateway's start.
    pub(crate) fn new(from: Arc<str>, time_ms: u64, taken_us: u64, data: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            from,
            time_ms,
            taken_us,
            data: data.into(),
        })
    }

    /// The publisher's name, else its client id, else `api`.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// When the gateway took it, in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    pub(crate) fn taken_us(&self) -> u64 {
        self.taken_us
    }

    /// The JSON text, byte for byte as published.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// What it counts for in a history's byte limit: payload, names and bookkeeping.
    pub(crate) fn cost(&self) -> usize {
        const BOOKKEEPING: usize = 96;
        self.data.len() + self.from.len() + BOOKKEEPING
    }

    /// What it takes on a wire at most, framing included: names may be escaped to six times their
    /// length.
    pub(crate) fn wire_cost(&self, room: &str) -> usize {
        const KEYS_AND_FRAMING: usize = 160;
        KEYS_AND_FRAMING + self.data.len() + 6 * (self.from.len() + room.len())
    }

    pub(crate) fn view<'a>(&'a self, room: &'a str, offset: u64) -> MessageView<'a> {
        MessageView {
            room,
            offset,
            from: &self.from,
            time_ms: self.time_ms,
            data: &self.data,
        }
    }
}
