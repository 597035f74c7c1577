//! Looking at rooms without being in one: history, members, summaries, sums.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Hub;
use crate::delivery::{RoomId, Stored};
use crate::member::MemberPage;
use crate::position::{Epoch, Position};
use crate::room::{Room, State};

/// A part of a room's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage<M> {
    /// The incarnation of the room.
    pub epoch: Epoch,
    /// The newest message's number, whether or not it is in this page; 0 before the first.
    pub offset: u64,
    /// In ascending order, without holes.
    pub messages: Vec<Stored<M>>,
    /// Nothing is lost between the position asked for and the first message of the page. True if
    /// no position was given.
    pub recovered: bool,
}

/// One line about a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    /// The name as clients write it.
    pub name: Arc<str>,
    /// The incarnation of the room.
    pub epoch: Epoch,
    /// The newest message's number; 0 before the first.
    pub offset: u64,
    /// Members, each once.
    pub members: usize,
    /// Seats that are not listed.
    pub watchers: usize,
    /// Messages that the history holds; what is too old may still be among them.
    pub history_messages: usize,
    /// Their sizes' sum.
    pub history_bytes: usize,
}

/// Which rooms come first in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomOrder {
    /// By name.
    Name,
    /// Those with most members, of equals those with most messages, then by name.
    Members,
}

/// Some of the rooms that were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomsPage {
    /// The first of them.
    pub rooms: Vec<RoomSummary>,
    /// How many there are.
    pub total: usize,
}

/// Sums over the whole hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Rooms that exist.
    pub rooms: usize,
    /// Different patterns that are subscribed to.
    pub patterns: usize,
    /// Messages in all histories.
    pub history_messages: u64,
    /// Their sizes' sum.
    pub history_bytes: u64,
    /// Departures that a worker could not be told because its inbox held twice its capacity.
    pub presence_dropped: u64,
}

/// How busy a room is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRate {
    /// The room.
    pub room: RoomId,
    /// Messages in a thousand seconds, measured over a second or more.
    pub per_1000_s: u64,
    /// What else is to be said about it.
    pub summary: RoomSummary,
}

/// What one sweep removed, and what it saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rooms that nobody was in and that remembered nothing.
    pub rooms: usize,
    /// Messages that were too old.
    pub messages: usize,
    /// Idempotency keys that were due.
    pub keys: usize,
    /// The busiest of the rooms that were looked at, in descending order; of rooms as busy as each
    /// other those with more members first.
    pub busiest: Vec<RoomRate>,
}

pub(super) fn summary<M: Clone>(room: &Room<M>, state: &State<M>) -> RoomSummary {
    let (history_messages, history_bytes) = state.footprint();
    RoomSummary {
        name: Arc::clone(&room.identity.name),
        epoch: room.identity.epoch,
        offset: state.offset(),
        members: state.roster().listed(),
        watchers: state.roster().watchers(),
        history_messages,
        history_bytes,
    }
}

impl<M: Clone, C> Hub<M, C> {
    /// A part of a room's history; `None` if there is no such room.
    ///
    /// With `since` the first `limit` messages after it, or, if it cannot be reached back to, the
    /// first `limit` that are still there. Without, the newest `limit`.
    #[must_use]
    pub fn history(
        &self,
        room: &str,
        since: Option<Position>,
        limit: usize,
        now: u64,
    ) -> Option<HistoryPage<M>> {
        let room = self.directory.find(room)?;
        self.locked(&room, now, |state| {
            if state.is_gone() {
                return None;
            }
            let recovered = since.is_none_or(|since| state.is_whole_since(since));
            let history = state.history();
            let messages = match since {
                None => history.latest(limit),
                Some(since) if recovered => history.after(since.offset, limit),
                Some(_) => history.after(0, limit),
            };
            Some(HistoryPage {
                epoch: room.identity.epoch,
                offset: state.offset(),
                messages,
                recovered,
            })
        })
    }

    /// At most `limit` members of a room; `None` if there is no such room.
    #[must_use]
    pub fn members(&self, room: &str, limit: usize) -> Option<MemberPage> {
        let room = self.directory.find(room)?;
        room.locked(|state| (!state.is_gone()).then(|| state.members(limit)))
    }

    /// At most `limit` rooms, the first by name. Walks over all rooms: for operators, not for
    /// every request of a client.
    #[must_use]
    pub fn rooms(&self, limit: usize) -> Vec<RoomSummary> {
        let mut rooms = self.directory.all();
        rooms.sort_unstable_by(|a, b| a.identity.name.cmp(&b.identity.name));
        let summaries = rooms.iter().filter_map(|room| {
            room.locked(|state| (!state.is_gone()).then(|| summary(room, state)))
        });
        summaries.take(limit).collect()
    }

    /// At most `limit` of the rooms that have `search` in their names, in upper or lower case. Walks
    /// over all rooms.
    #[must_use]
    pub fn find_rooms(&self, search: &str, order: RoomOrder, limit: usize) -> RoomsPage {
        let search = search.to_lowercase();
        let rooms = self.directory.all();
        let named = rooms.iter().filter(|room| {
            search.is_empty() || room.identity.name.to_lowercase().contains(&search)
        });
        let summaries = named.filter_map(|room| {
            room.locked(|state| (!state.is_gone()).then(|| summary(room, state)))
        });
        let mut rooms: Vec<RoomSummary> = summaries.collect();
        let total = rooms.len();
        match order {
            RoomOrder::Name => rooms.sort_unstable_by(|a, b| a.name.cmp(&b.name)),
            RoomOrder::Members => rooms.sort_unstable_by(|a, b| {
                let (most, second) = ((b.members, b.offset), (a.members, a.offset));
                most.cmp(&second).then_with(|| a.name.cmp(&b.name))
            }),
        }
        rooms.truncate(limit);
        RoomsPage { rooms, total }
    }

    /// Sums over the whole hub; a few relaxed loads.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        HubStats {
            rooms: self.directory.len(),
            patterns: self.patterns.len(),
            history_messages: self.history_messages.load(Ordering::Relaxed),
            history_bytes: self.history_bytes.load(Ordering::Relaxed),
            presence_dropped: self.presence_dropped.load(Ordering::Relaxed),
        }
    }
}
