//! All rooms by name, and in a line by id for whoever walks over all of them in portions.
//!
//! The map is the one structure that every worker may touch; a guard of it never outlives the
//! statement that took it, and no room lock is taken while one is held. A room leaves in two
//! steps: whoever finds it vacant marks it gone under its lock, then anyone who meets the mark
//! helps it out of here and goes on with a fresh incarnation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use indexmap::IndexMap;

use crate::delivery::{RoomId, RoomRef};
use crate::id_hash::IdHash;
use crate::lock::Lock;
use crate::options::{HubOptions, RoomSettings};
use crate::position::Epoch;
use crate::room::{Room, shrink};

/// The hub holds as many rooms as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryFull;

#[derive(Debug)]
pub(crate) struct Directory<M> {
    by_name: DashMap<Arc<str>, Arc<Room<M>>>,
    line: Lock<Line<M>>,
    /// Rooms in `by_name`, and those that are about to be: never above the bound.
    rooms: AtomicUsize,
    /// Ids given out so far.
    ids: AtomicU64,
}

#[derive(Debug)]
struct Line<M> {
    rooms: IndexMap<RoomId, Arc<Room<M>>, IdHash>,
    /// Where the next portion begins.
    next: usize,
}

/// Rooms for which the map keeps its memory. Chosen: some 25 KiB.
const KEPT_CAPACITY: usize = 1_024;

impl<M: Clone> Directory<M> {
    pub(crate) fn new() -> Self {
        Self {
            by_name: DashMap::new(),
            line: Lock::new(
                "rooms in line",
                Line {
                    rooms: IndexMap::default(),
                    next: 0,
                },
            ),
            rooms: AtomicUsize::new(0),
            ids: AtomicU64::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Room<M>>> {
        self.by_name.view(name, |_, room| Arc::clone(room))
    }

    /// The room of this name, made if there is none.
    pub(crate) fn open(
        &self,
        name: &str,
        options: &HubOptions,
    ) -> Result<Arc<Room<M>>, DirectoryFull> {
        if let Some(room) = self.find(name) {
            return Ok(room);
        }
        let reserved = self
            .rooms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rooms| {
                (rooms < options.max_rooms).then_some(rooms + 1)
            });
        if reserved.is_err() {
            // Somebody else may have made it with the last place.
            return self.find(name).ok_or(DirectoryFull);
        }
        let fresh = Arc::new(self.make(name, options));
        let entry = self.by_name.entry(Arc::clone(&fresh.identity.name));
        let existing = match entry {
            Entry::Occupied(entry) => Some(Arc::clone(entry.get())),
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(&fresh));
                None
            }
        };
        if let Some(room) = existing {
            self.rooms.fetch_sub(1, Ordering::Relaxed);
            return Ok(room);
        }
        self.line
            .with(|line| line.rooms.insert(fresh.identity.id, Arc::clone(&fresh)));
        Ok(fresh)
    }

    fn make(&self, name: &str, options: &HubOptions) -> Room<M> {
        let (settings, class) = settings_of(name, options);
        let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        let identity = RoomRef {
            id: RoomId(id),
            name: name.into(),
            epoch: Epoch::derive(options.seed, id),
            slow: settings.slow,
            class,
        };
        Room::new(identity, settings.history)
    }

    /// Takes a room out that is marked as gone; says whether this call did it.
    pub(crate) fn forget(&self, room: &Arc<Room<M>>) -> bool {
        let removed = self
            .by_name
            .remove_if(&room.identity.name, |_, found| Arc::ptr_eq(found, room));
        // Also by who came second: the maker may have put the room in line only after it was
        // already out of the map.
        self.line.with(|line| line.remove(room.identity.id));
        if removed.is_none() {
            return false;
        }
        self.rooms.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// The next rooms in line, each at most once, going round.
    pub(crate) fn portion(&self, budget: usize) -> Vec<Arc<Room<M>>> {
        self.line.with(|line| {
            let count = line.rooms.len().min(budget);
            (0..count)
                .filter_map(|_| {
                    if line.next >= line.rooms.len() {
                        line.next = 0;
                    }
                    let (_, room) = line.rooms.get_index(line.next)?;
                    line.next += 1;
                    Some(Arc::clone(room))
                })
                .collect()
        })
    }

    /// Gives memory back that a larger number of rooms once needed.
    pub(crate) fn shrink(&self) {
        let capacity = self.by_name.capacity();
        if capacity > KEPT_CAPACITY && self.len() < capacity / 4 {
            self.by_name.shrink_to_fit();
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Room<M>>> {
        self.line
            .with(|line| line.rooms.values().map(Arc::clone).collect())
    }

    /// Panics unless map, line and count agree. Only true while nobody uses the hub.
    pub(crate) fn check_invariants(&self) {
        let rooms = self.all();
        assert_eq!(rooms.len(), self.len());
        assert_eq!(rooms.len(), self.by_name.len());
        for room in rooms {
            let found = self.find(&room.identity.name);
            assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &room)));
        }
    }
}

impl<M> Line<M> {
    fn remove(&mut self, id: RoomId) {
        if self.rooms.swap_remove(&id).is_some() {
            shrink(&mut self.rooms);
        }
    }
}

/// What a room of this name is like, and the number of the override that says so.
fn settings_of(name: &str, options: &HubOptions) -> (RoomSettings, u16) {
    let overrides = &options.overrides;
    let found = overrides
        .iter()
        .position(|(pattern, _)| pattern.matches(name));
    let class = found.unwrap_or(overrides.len());
    let settings = overrides
        .get(class)
        .map_or(options.rooms, |&(_, settings)| settings);
    (settings, u16::try_from(class).unwrap_or(u16::MAX))
}
