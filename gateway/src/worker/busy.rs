//! The busiest rooms, put together from what sweeps see, for the counter page.
//!
//! A sweep names the busiest of the rooms that it looked at. A room that is among the busiest of
//! all is among those of its sweep, so it is enough to keep what sweeps named for as long as it
//! takes to look at every room once.

use std::cmp::Reverse;

use roomwire_hub::{RoomId, RoomRate};
use roomwire_metrics::{BusyRoom, Page};

/// How much longer than a round of sweeps a room is kept. Chosen: a late tick or two.
const GRACE_MS: u64 = 500;

/// What sweeps named lately, the busiest first.
#[derive(Debug, Default)]
pub(crate) struct BusyRooms {
    rooms: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    room: RoomId,
    at_ms: u64,
    per_1000_s: u64,
    shown: BusyRoom,
}

impl BusyRooms {
    /// Takes what a sweep named. `round_ms` is how long it takes to look at every room once.
    pub(crate) fn take(&mut self, named: Vec<RoomRate>, now_ms: u64, round_ms: u64) {
        let keep_ms = round_ms + GRACE_MS;
        self.rooms.retain(|seen| {
            let is_young = now_ms.saturating_sub(seen.at_ms) <= keep_ms;
            is_young && named.iter().all(|rate| rate.room != seen.room)
        });
        let seen = named.into_iter().map(|rate| Seen {
            room: rate.room,
            at_ms: now_ms,
            per_1000_s: rate.per_1000_s,
            shown: BusyRoom {
                name: rate.summary.name.to_string(),
                per_1000_s: rate.per_1000_s,
                offset: rate.summary.offset,
                members: rate.summary.members as u64,
                watchers: rate.summary.watchers as u64,
                history_messages: rate.summary.history_messages as u64,
                history_bytes: rate.summary.history_bytes as u64,
            },
        });
        self.rooms.extend(seen);
        let rank = |seen: &Seen| Reverse((seen.per_1000_s, seen.shown.members));
        self.rooms.sort_by_key(rank);
        self.rooms.truncate(Page::BUSY_ROOMS);
    }

    /// Shows them in the page.
    pub(crate) fn show(&self, page: &Page) {
        let rooms: Vec<BusyRoom> = self.rooms.iter().map(|seen| seen.shown.clone()).collect();
        page.set_busy_rooms(&rooms);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roomwire_hub::{Hub, HubOptions, Publish};

    use super::*;

    #[test]
    fn the_busiest_rooms_come_first_and_those_that_are_gone_vanish() {
        let hub: Hub<(), ()> = Hub::new(HubOptions::default());
        let publish = |room: &str, times: usize, now: u64| {
            for _ in 0..times {
                let publish = Publish {
                    room,
                    message: (),
                    bytes: 1,
                    key: None,
                    exclude: None,
                };
                hub.publish(publish, now).expect("there is room");
            }
        };
        let page = Page::anonymous(&roomwire_metrics::PageOptions::new("main", 1));
        let page: Arc<Page> = page.expect("the options are good");
        let shown = |busy: &BusyRooms| -> Vec<(String, Option<u64>)> {
            busy.show(&page);
            let blocks = page.snapshot().blocks.into_iter();
            blocks
                .filter(|block| block.kind == roomwire_metrics::BlockKind::Room)
                .map(|block| (block.label.clone(), block.value("room_messages_per_1000_s")))
                .collect()
        };
        let mut busy = BusyRooms::default();
        publish("idle", 1, 1);
        publish("busy", 1, 1);
        busy.take(hub.sweep(1_000, 10, 32).busiest, 1_000, 100);
        publish("busy", 20, 1_500);
        publish("idle", 2, 1_500);
        busy.take(hub.sweep(2_000, 10, 32).busiest, 2_000, 100);
        let of = |name: &str, rate| (name.to_owned(), Some(rate));
        assert_eq!(shown(&busy), [of("busy", 20_000), of("idle", 2_000)]);
        busy.take(hub.sweep(u64::MAX, 10, 32).busiest, 10_000, 100);
        assert_eq!(shown(&busy), []);
    }
}
