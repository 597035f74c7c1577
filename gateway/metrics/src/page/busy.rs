//! The list of the busiest rooms: blocks whose labels change while the page is read.
//!
//! One thread writes them, now and then. A reader must not take one room's figures for another's,
//! so each block has a version that is odd while it is changed (a seqlock): a reader that finds it
//! odd, or finds another one after it has read, reads again.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::Page;
use crate::catalogue::{BlockId, BlockKind};
use crate::layout::{self, BUSY_ROOMS, FIRST_BUSY_ROOM, LABEL_BYTES, block_word};
use crate::words::WORD;

const LABEL_WORDS: usize = LABEL_BYTES / WORD;

/// One of the busiest rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusyRoom {
    /// Its name.
    pub name: String,
    /// Messages in a thousand seconds, at the rate of the last look.
    pub per_1000_s: u64,
    /// Messages published in this life of the room.
    pub offset: u64,
    /// Its members.
    pub members: u64,
    /// Those who hear it without being listed.
    pub watchers: u64,
    /// Messages in its history.
    pub history_messages: u64,
    /// What they take.
    pub history_bytes: u64,
}

impl Page {
    /// Most rooms that [`set_busy_rooms`](Self::set_busy_rooms) shows.
    pub const BUSY_ROOMS: usize = BUSY_ROOMS;

    /// Shows these rooms, the busiest first, and no others. To be called by one thread only; a
    /// second one's list may mix with the first's until either calls again.
    pub fn set_busy_rooms(&self, rooms: &[BusyRoom]) {
        for nth in 0..BUSY_ROOMS {
            let block = FIRST_BUSY_ROOM + nth;
            let header = self.block_header(block);
            let shown = header[block_word::KIND].load(Ordering::Relaxed) != 0;
            let Some(room) = rooms.get(nth) else {
                if shown {
                    changing(header, || {
                        header[block_word::KIND].store(0, Ordering::Relaxed)
                    });
                }
                continue;
            };
            let part = self.block_part(block, 0);
            changing(header, || {
                let kind = BlockKind::Room.to_word();
                header[block_word::KIND].store(kind, Ordering::Relaxed);
                let name: String = room.name.chars().filter(|c| !c.is_control()).collect();
                let label: [u64; LABEL_WORDS] =
                    layout::text_words(layout::prefix(&name, LABEL_BYTES));
                for (to, word) in header[block_word::LABEL..].iter().zip(label) {
                    to.store(word, Ordering::Relaxed);
                }
                for (id, value) in [
                    (BlockId::RoomRate, room.per_1000_s),
                    (BlockId::RoomOffset, room.offset),
                    (BlockId::RoomMembers, room.members),
                    (BlockId::RoomWatchers, room.watchers),
                    (BlockId::RoomHistoryMessages, room.history_messages),
                    (BlockId::RoomHistoryBytes, room.history_bytes),
                ] {
                    part[id.slot()].store(value, Ordering::Relaxed);
                }
            });
        }
    }
}

/// Makes the version odd while `change` runs.
fn changing(header: &[AtomicU64], change: impl FnOnce()) {
    let version = &header[block_word::VERSION];
    let odd = version.load(Ordering::Relaxed) | 1;
    version.store(odd, Ordering::Relaxed);
    // Pairs with the reader's acquire fence before its second look at the version: who saw any of
    // the stores below sees the odd version then.
    fence(Ordering::Release);
    change();
    // Pairs with the reader's acquire fence after its first look: who saw the even version sees all
    // of the change.
    version.store(odd.wrapping_add(1), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageOptions;

    fn room(name: &str, offset: u64) -> BusyRoom {
        BusyRoom {
            name: name.to_owned(),
            offset,
            members: offset,
            history_messages: offset,
            ..BusyRoom::default()
        }
    }

    #[test]
    fn busy_rooms_are_shown_in_their_order_and_vanish_when_they_are_none() {
        let page = Page::anonymous(&PageOptions::new("main", 1)).unwrap();
        let seen = || -> Vec<(String, Option<u64>)> {
            let blocks = page.snapshot().blocks;
            let rooms = blocks.iter().filter(|block| block.kind == BlockKind::Room);
            rooms
                .map(|block| (block.label.clone(), block.value("room_offset")))
                .collect()
        };
        assert_eq!(seen(), []);
        page.set_busy_rooms(&[room("b", 7), room("a", 5)]);
        assert_eq!(
            seen(),
            [("b".to_owned(), Some(7)), ("a".to_owned(), Some(5))]
        );
        let long = "ä".repeat(200);
        page.set_busy_rooms(&[room(&long, 1)]);
        assert_eq!(
            seen(),
            [("ä".repeat(127), Some(1))],
            "cut between characters"
        );
        let many: Vec<_> = (0..100).map(|nth| room("x", nth)).collect();
        page.set_busy_rooms(&many);
        assert_eq!(seen().len(), BUSY_ROOMS);
    }

    #[test]
    fn a_reader_never_mixes_two_rooms() {
        let page = Page::anonymous(&PageOptions::new("main", 1)).unwrap();
        let rounds = if cfg!(miri) { 20 } else { 5_000u64 };
        let (one, two) = (room("one", 1), room("a room called two", 2));
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut looked = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..rounds {
                    page.set_busy_rooms(std::slice::from_ref(&one));
                    page.set_busy_rooms(std::slice::from_ref(&two));
                }
                done.store(true, Ordering::Relaxed);
            });
            while looked < 10 || !done.load(Ordering::Relaxed) {
                for block in page.snapshot().blocks {
                    if block.kind != BlockKind::Room {
                        continue;
                    }
                    let expected = if block.label == "one" { 1 } else { 2 };
                    assert_eq!(
                        block.value("room_offset"),
                        Some(expected),
                        "{}",
                        block.label
                    );
                    assert_eq!(block.value("room_history_messages"), Some(expected));
                    looked += 1;
                }
            }
        });
    }
}
