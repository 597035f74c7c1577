//! What one session still has to be sent: a bounded queue of frames, and what gives at the bound.
//!
//! Pure: it knows neither sockets nor what a frame is, only how many bytes it has. Frames leave in
//! the order in which they came. Where a room's policy lets frames go, one notice per room stands
//! in their place, becomes a frame just before it is written, and can grow until it has begun to
//! be. Pushing below the bound is the hot path: a comparison and a move. The policies are in
//! `policy`.

mod policy;

use std::collections::VecDeque;

use crate::delivery::RoomId;
use crate::options::SlowPolicy;

/// Bounds of a session's outbox. A frame that does not fit into either is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Frames and gap notices; each costs 48 bytes at most for a handle of 16.
    pub max_messages: usize,
    /// Bytes that are still to be written.
    pub max_bytes: usize,
}

/// Where a frame comes from, if it is a room's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The incarnation of the room.
    pub room: RoomId,
    /// The message's number in it.
    pub offset: u64,
    /// The room's policy.
    pub slow: SlowPolicy,
}

/// Messages of one room that the session is not sent, both ends included. Offsets in between may
/// never have been meant for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The incarnation of the room.
    pub room: RoomId,
    /// The first offset that was let go.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after an overflow the session must end"]
pub enum Push {
    /// It waits; nothing had to go for it.
    Queued,
    /// It waits; so many others had to go for it.
    Dropped(usize),
    /// It does not fit: nothing was queued, and the session must end.
    Overflow,
}

/// The queue of one session. `H` is a handle of a frame, usually a reference-counted slice.
#[derive(Debug)]
pub struct Outbox<H> {
    entries: VecDeque<Entry<H>>,
    /// Sum over `entries` less `skip`; a notice that is not yet a frame counts nothing.
    bytes: usize,
    /// Bytes of the first entry that are written; above 0 that entry has begun and must stay.
    skip: u32,
    /// Notices in `entries`, whether frames yet or not.
    gaps: u32,
}

/// Notices are made frames this far ahead of the first. Chosen: as many slices as one vectored
/// write usefully takes; what lies beyond may yet grow.
const RESOLVED_AHEAD: usize = 64;

/// No room has this id: the frame is an answer.
const NO_ROOM: RoomId = RoomId(0);

#[derive(Debug)]
enum Entry<H> {
    Frame {
        frame: H,
        room: RoomId,
        offset: u64,
        bytes: u32,
        slow: SlowPolicy,
    },
    Gap(Gap),
    /// A gap that is a frame already, and still a gap until its first byte is written.
    Notice {
        frame: H,
        bytes: u32,
        gap: Gap,
    },
}

impl<H> Entry<H> {
    const fn bytes(&self) -> u32 {
        match self {
            Self::Frame { bytes, .. } | Self::Notice { bytes, .. } => *bytes,
            Self::Gap(_) => 0,
        }
    }

    const fn is_gap(&self) -> bool {
        matches!(self, Self::Gap(_) | Self::Notice { .. })
    }
}

impl<H> Outbox<H> {
    /// An empty outbox; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            skip: 0,
            gaps: 0,
        }
    }

    /// Queues a frame of so many bytes. At the bound the policy of the frame's origin decides; a
    /// frame without one, an answer, is never let go, and makes room as far as others' policies
    /// allow.
    pub fn push(
        &mut self,
        frame: H,
        bytes: usize,
        origin: Option<Origin>,
        limits: &OutboxLimits,
    ) -> Push {
        let Ok(size) = u32::try_from(bytes) else {
            return Push::Overflow;
        };
        let mut dropped = 0;
        if !self.fits(bytes, limits) {
            match self.make_room(bytes, origin, limits) {
                Some(count) => dropped = count,
                None => return Push::Overflow,
            }
        }
        let origin = origin.unwrap_or(Origin {
            room: NO_ROOM,
            offset: 0,
            slow: SlowPolicy::Disconnect,
        });
        self.entries.push_back(Entry::Frame {
            frame,
            room: origin.room,
            offset: origin.offset,
            bytes: size,
            slow: origin.slow,
        });
        self.bytes += bytes;
        if dropped == 0 {
            Push::Queued
        } else {
            Push::Dropped(dropped)
        }
    }

    fn fits(&self, bytes: usize, limits: &OutboxLimits) -> bool {
        self.entries.len() < limits.max_messages
            && self.bytes.saturating_add(bytes) <= limits.max_bytes
    }

    /// Whether nothing waits, not even a gap notice.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Frames that wait, with the gap notices that are going to be frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that are still to be written.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a gap notice waits.
    #[must_use]
    pub const fn has_gaps(&self) -> bool {
        self.gaps > 0
    }

    /// Makes frames of the gap notices that are about to be written: of all among the next 64
    /// entries. `encode` returns the frame and its bytes; with `None` the notice is left out.
    ///
    /// A notice that has become a frame counts with its bytes. If more of its room has to go before
    /// it begins to be written, it turns back into a notice, and `encode` is asked again.
    pub fn resolve_gaps(&mut self, mut encode: impl FnMut(Gap) -> Option<(H, usize)>) {
        if self.gaps == 0 {
            return;
        }
        let mut index = 0;
        while index < self.entries.len().min(RESOLVED_AHEAD) {
            let Entry::Gap(gap) = self.entries[index] else {
                index += 1;
                continue;
            };
            let encoded = encode(gap)
                .and_then(|(frame, bytes)| u32::try_from(bytes).ok().map(|bytes| (frame, bytes)));
            if let Some((frame, bytes)) = encoded {
                self.entries[index] = Entry::Notice { frame, bytes, gap };
                self.bytes += bytes as usize;
                index += 1;
            } else {
                self.entries.remove(index);
                self.gaps -= 1;
            }
        }
    }

    /// The frames in order, each with the number of its bytes that are written already, which is 0
    /// for all but the first. Ends before a gap notice that is not a frame yet: call
    /// [`Self::resolve_gaps`] before.
    pub fn frames(&self) -> impl Iterator<Item = (&H, usize)> {
        let skips = std::iter::once(self.skip as usize).chain(std::iter::repeat(0));
        let frames = self.entries.iter().map_while(|entry| match entry {
            Entry::Frame { frame, .. } | Entry::Notice { frame, .. } => Some(frame),
            Entry::Gap(_) => None,
        });
        frames.zip(skips)
    }

    /// Notes that so many bytes were written, and returns how many frames that finished.
    pub fn advance(&mut self, mut written: usize) -> usize {
        let mut finished = 0;
        while let Some(first) = self.entries.front() {
            if matches!(first, Entry::Gap(_)) {
                break;
            }
            let left = (first.bytes() - self.skip) as usize;
            if written < left {
                break;
            }
            written -= left;
            self.pop_front();
            finished += 1;
        }
        if written > 0 {
            debug_assert!(
                matches!(
                    self.entries.front(),
                    Some(Entry::Frame { .. } | Entry::Notice { .. })
                ),
                "more was written than there was"
            );
            // Less than what is left of the first entry, whose bytes fit.
            self.skip += u32::try_from(written).unwrap_or(0);
            self.bytes = self.bytes.saturating_sub(written);
        }
        finished
    }

    /// Takes the first frame out, with the number of its bytes that are written already. None if
    /// nothing waits, or a gap notice that is not a frame yet is first.
    pub fn pop(&mut self) -> Option<(H, usize)> {
        if matches!(self.entries.front()?, Entry::Gap(_)) {
            return None;
        }
        let skip = self.skip as usize;
        match self.pop_front()? {
            Entry::Frame { frame, .. } | Entry::Notice { frame, .. } => Some((frame, skip)),
            Entry::Gap(_) => None,
        }
    }

    fn pop_front(&mut self) -> Option<Entry<H>> {
        let entry = self.entries.pop_front()?;
        self.bytes -= (entry.bytes() - self.skip) as usize;
        self.gaps -= u32::from(entry.is_gap());
        self.skip = 0;
        Some(entry)
    }

    /// Calls `f` for every frame, the first with the number of its bytes that are written already:
    /// for handles that must be exchanged for others of the same bytes.
    pub fn for_each_frame_mut(&mut self, mut f: impl FnMut(&mut H, usize)) {
        let mut skip = self.skip as usize;
        for entry in &mut self.entries {
            if let Entry::Frame { frame, .. } | Entry::Notice { frame, .. } = entry {
                f(frame, skip);
            }
            skip = 0;
        }
    }

    /// Lets everything go.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Lets everything go but a frame that is partly written, so that the peer can still tell frames
    /// apart.
    pub fn clear_unsent(&mut self) {
        if self.skip == 0 {
            return self.clear();
        }
        self.entries.truncate(1);
        self.bytes = self
            .entries
            .iter()
            .map(|entry| entry.bytes() as usize)
            .sum::<usize>()
            - self.skip as usize;
        self.gaps = u32::from(self.entries.front().is_some_and(Entry::is_gap));
    }

    /// Gives the memory back if nothing waits.
    pub fn shrink_if_idle(&mut self) {
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Panics unless the sums are those of the entries.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let sum: usize = self
            .entries
            .iter()
            .map(|entry| entry.bytes() as usize)
            .sum();
        assert_eq!(sum - self.skip as usize, self.bytes);
        let gaps = self.entries.iter().filter(|entry| entry.is_gap()).count();
        assert_eq!(gaps, self.gaps as usize);
        let first = self.entries.front().map_or(0, Entry::bytes);
        assert!(
            self.skip == 0 || self.skip < first,
            "a finished frame is gone"
        );
    }
}

impl<H> Default for Outbox<H> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
