//! What gives when a frame does not fit: the three policies.
//!
//! | policy of the new frame | what goes |
//! |---|---|
//! | `Disconnect` | nothing: overflow |
//! | `DropOldest` | the oldest frames of rooms with this policy, until it fits |
//! | `KeepLatest` | all frames of the same room, then the oldest of rooms with this policy |
//! | none (an answer) | the oldest frames of rooms with either policy, until it fits |
//!
//! A frame that has begun to be written stays, and so does an answer. What goes leaves one notice
//! per room, where the first of it stood; frames of one room lie in the queue in order, so
//! everything of the room that is still there lies behind its notice.

use super::{Entry, Gap, NO_ROOM, Origin, Outbox, OutboxLimits};
use crate::delivery::RoomId;
use crate::options::SlowPolicy;

impl<H> Outbox<H> {
    /// Lets frames go until `bytes` more fit; returns how many went, or None if all that may go is
    /// not enough.
    #[cold]
    pub(super) fn make_room(
        &mut self,
        bytes: usize,
        origin: Option<Origin>,
        limits: &OutboxLimits,
    ) -> Option<usize> {
        if bytes > limits.max_bytes {
            return None;
        }
        match origin {
            None => self.drop_oldest(bytes, limits, |slow| slow != SlowPolicy::Disconnect),
            Some(origin) => match origin.slow {
                SlowPolicy::Disconnect => None,
                SlowPolicy::DropOldest => {
                    self.drop_oldest(bytes, limits, |slow| slow == SlowPolicy::DropOldest)
                }
                SlowPolicy::KeepLatest => {
                    let superseded = self.drop_room(origin.room);
                    let older =
                        self.drop_oldest(bytes, limits, |slow| slow == SlowPolicy::KeepLatest)?;
                    Some(superseded + older)
                }
            },
        }
    }

    /// The first entry that has not begun to be written.
    fn first_waiting(&self) -> usize {
        usize::from(self.skip > 0)
    }

    fn drop_oldest(
        &mut self,
        bytes: usize,
        limits: &OutboxLimits,
        may_go: impl Fn(SlowPolicy) -> bool,
    ) -> Option<usize> {
        let mut dropped = 0;
        let mut index = self.first_waiting();
        while !self.fits(bytes, limits) {
            let (room, offset, size) = match self.entries.get(index)? {
                Entry::Frame {
                    room,
                    offset,
                    bytes,
                    slow,
                    ..
                } if *room != NO_ROOM && may_go(*slow) => (*room, *offset, *bytes),
                _ => {
                    index += 1;
                    continue;
                }
            };
            self.bytes -= size as usize;
            dropped += 1;
            if let Some(notice) = self.notice_before(index, room) {
                self.extend_notice(notice, offset);
                self.entries.remove(index);
            } else {
                self.entries[index] = Entry::Gap(Gap {
                    room,
                    from: offset,
                    to: offset,
                });
                self.gaps += 1;
                index += 1;
            }
        }
        Some(dropped)
    }

    /// Where the room's notice lies, if it has one that has not begun to be written.
    fn notice_before(&self, index: usize, room: RoomId) -> Option<usize> {
        if self.gaps == 0 {
            return None;
        }
        (self.first_waiting()..index).find(|&at| gap_of(&self.entries[at], room).is_some())
    }

    fn extend_notice(&mut self, index: usize, offset: u64) {
        let entry = &mut self.entries[index];
        let (Entry::Gap(gap) | Entry::Notice { gap, .. }) = entry else {
            return;
        };
        let gap = Gap {
            room: gap.room,
            from: gap.from.min(offset),
            to: gap.to.max(offset),
        };
        self.bytes -= entry.bytes() as usize;
        *entry = Entry::Gap(gap);
    }

    /// Lets all frames of a room go that have not begun to be written; returns how many went.
    fn drop_room(&mut self, room: RoomId) -> usize {
        let first = self.first_waiting();
        let mut dropped = 0;
        let mut whole: Option<Gap> = None;
        for entry in self.entries.range(first..) {
            let gap = match *entry {
                Entry::Frame {
                    room: from_room,
                    offset,
                    ..
                } if from_room == room => {
                    dropped += 1;
                    Gap {
                        room,
                        from: offset,
                        to: offset,
                    }
                }
                _ => match gap_of(entry, room) {
                    Some(gap) => gap,
                    None => continue,
                },
            };
            whole = Some(whole.map_or(gap, |whole| Gap {
                room,
                from: whole.from.min(gap.from),
                to: whole.to.max(gap.to),
            }));
        }
        let Some(whole) = whole.filter(|_| dropped > 0) else {
            return 0;
        };
        self.replace_room_by(whole, first);
        dropped
    }

    /// Puts the gap where the first frame or notice of its room stands, and takes out the others.
    fn replace_room_by(&mut self, gap: Gap, first: usize) {
        let mut index = 0;
        let mut placed = false;
        let (bytes, gaps) = (&mut self.bytes, &mut self.gaps);
        self.entries.retain_mut(|entry| {
            let waiting = index >= first;
            index += 1;
            let of_room = match entry {
                Entry::Frame { room, .. } => *room == gap.room,
                Entry::Gap(_) | Entry::Notice { .. } => gap_of(entry, gap.room).is_some(),
            };
            if !waiting || !of_room {
                return true;
            }
            *bytes -= entry.bytes() as usize;
            *gaps -= u32::from(entry.is_gap());
            if placed {
                return false;
            }
            placed = true;
            *gaps += 1;
            *entry = Entry::Gap(gap);
            true
        });
    }
}

fn gap_of<H>(entry: &Entry<H>, room: RoomId) -> Option<Gap> {
    match entry {
        Entry::Gap(gap) | Entry::Notice { gap, .. } if gap.room == room => Some(*gap),
        Entry::Gap(_) | Entry::Notice { .. } | Entry::Frame { .. } => None,
    }
}
