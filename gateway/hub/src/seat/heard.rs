//! Names of rooms that a worker has no seats in but that its patterns heard.
//!
//! A gap notice in an outbox knows its room by id only; when it is at last written, its name is
//! looked up here. Two generations of bounded size: what is heard goes into the young one, and
//! when that is full it becomes the old one. A name is forgotten at the earliest after
//! `GENERATION` other rooms were heard, and then costs a notice that came too late.

use std::collections::HashMap;
use std::sync::Arc;

use crate::delivery::{RoomId, RoomRef};
use crate::id_hash::IdHash;

/// Names per generation. Chosen: some 100 KiB for both.
const GENERATION: usize = 1_024;

#[derive(Debug)]
pub(super) struct HeardRooms {
    young: HashMap<RoomId, Arc<str>, IdHash>,
    old: HashMap<RoomId, Arc<str>, IdHash>,
}

impl HeardRooms {
    pub(super) fn new() -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
        }
    }

    pub(super) fn note(&mut self, room: &RoomRef) {
        if self.young.contains_key(&room.id) {
            return;
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(room.id, Arc::clone(&room.name));
    }

    pub(super) fn name(&self, id: RoomId) -> Option<&Arc<str>> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::SlowPolicy;
    use crate::position::Epoch;

    #[test]
    fn a_name_survives_a_generation_and_the_number_of_names_is_bounded() {
        let mut heard = HeardRooms::new();
        let room = |id: u64| RoomRef {
            id: RoomId(id),
            name: id.to_string().into(),
            epoch: Epoch(id),
            slow: SlowPolicy::Disconnect,
            class: 0,
        };
        for id in 1..=10 * GENERATION as u64 {
            heard.note(&room(id));
            assert_eq!(
                heard.name(RoomId(id)).map(|name| &**name),
                Some(&*id.to_string())
            );
            let earlier = id.saturating_sub(GENERATION as u64 - 1).max(1);
            assert!(heard.name(RoomId(earlier)).is_some());
            assert!(heard.young.len() + heard.old.len() <= 2 * GENERATION);
        }
        assert!(heard.name(RoomId(1)).is_none());
    }
}
