//! The seats of one worker's sessions: which session gets what a room sends this worker.
//!
//! Plain data without a lock; only its worker touches it. The rooms know how many seats a worker
//! has, this module knows whose they are. A seat remembers where the room stood when it was taken,
//! so what was queued for this worker before does not reach it, however late the inbox is drained.
//! Seats for patterns are in `pattern`, names of rooms that only they hear in `heard`.

mod heard;
mod pattern;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use indexmap::IndexMap;

use self::heard::HeardRooms;
use self::pattern::PatternSeats;
use crate::delivery::{RoomId, RoomMessage, RoomRef, Stored, WorkerId};
use crate::hub::{EnterError, Hub};
use crate::id_hash::IdHash;
use crate::member::{Member, MemberId, MemberPage};
use crate::pattern::is_pattern;
use crate::position::{Epoch, Position};
use crate::room::{Entered, Room, Terms, shrink};

/// What a session wants a seat for, and how.
#[derive(Clone, Debug)]
pub struct Join<'a> {
    /// A room's name or a pattern; the caller has checked its syntax.
    pub subject: &'a str,
    /// Who joins. One session has one id.
    pub member: Member,
    /// What the client has seen already; ignored for a pattern.
    pub since: Option<Position>,
    /// Whether the session wants to know who comes and goes; ignored for a pattern.
    pub presence: bool,
    /// A watcher is not listed and causes no changes of presence, but keeps the room alive.
    pub watch: bool,
}

/// A seat that is taken.
#[derive(Clone, Debug)]
pub struct Joined<M> {
    /// The room's name or the pattern.
    pub subject: Arc<str>,
    /// The room's incarnation; 0 for a pattern.
    pub epoch: Epoch,
    /// The newest message's number when the seat was taken: what comes live is later. 0 for a
    /// pattern.
    pub offset: u64,
    /// Whether everything after `since` is in `missed`. `Some` exactly if `since` was given.
    pub recovered: Option<bool>,
    /// What is to be sent before anything live, in ascending order: what was published after
    /// `since`, or, if that is not all there any more, whatever is still there.
    pub missed: Vec<Stored<M>>,
    /// Whether the subject is a pattern.
    pub pattern: bool,
    /// None for a pattern.
    pub room: Option<Arc<RoomRef>>,
    /// The session had this seat already and keeps it, with the wish for presence of this request.
    /// If it was brought up to date (`recovered`, or something in `missed`), what is live for it
    /// now begins after `offset`: nothing comes twice. Otherwise what it gets live is unchanged.
    pub again: bool,
}

/// Why a seat was not taken; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// A worker that would have to be told of the new member has a full inbox. It passes.
    Congested,
    /// As many different patterns as the hub keeps are subscribed to already.
    TooManyPatterns,
    /// The room does not exist, and the hub holds as many as it may.
    TooManyRooms,
    /// The session has as many seats as it may.
    TooManyRoomsForSession,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Congested => "a worker's inbox is full; try again soon",
            Self::TooManyPatterns => "as many patterns are subscribed to as may be",
            Self::TooManyRooms => "there are as many rooms as there may be",
            Self::TooManyRoomsForSession => "the session is in as many rooms as it may be",
        })
    }
}

impl std::error::Error for JoinError {}

impl From<EnterError> for JoinError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Congested => Self::Congested,
            EnterError::TooManyRooms => Self::TooManyRooms,
        }
    }
}

/// The seats of one worker. Dropping it leaves all of them, except in a panic.
///
/// `slot` is a session's index in the worker's slab, small and reused; it may go to another
/// session only after [`Self::leave_all`].
pub struct Seats<M: Clone, C> {
    hub: Arc<Hub<M, C>>,
    worker: WorkerId,
    max_rooms_per_session: usize,
    /// Rooms with at least one seat here.
    rooms: HashMap<RoomId, LocalRoom<M>, IdHash>,
    /// The same rooms by name: two incarnations of one name never have seats at the same time.
    by_name: HashMap<Arc<str>, RoomId>,
    patterns: PatternSeats,
    heard: HeardRooms,
    /// By slot, in the order in which the session joined.
    places: Vec<Vec<Place>>,
    /// The latest time that a caller named, for the seats that are left over in `drop`.
    clock: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Room(RoomId),
    Pattern(Arc<str>),
}

struct LocalRoom<M> {
    room: Arc<Room<M>>,
    /// By slot. Dense, so that a fan-out is a walk over an array.
    seats: IndexMap<u32, Seat, IdHash>,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    member: MemberId,
    /// Messages up to this offset are not for this seat: they are older, or were replayed to it.
    after: u64,
    /// Broadcasts up to this sequence are older than the seat.
    broadcasts_after: u64,
    /// Changes of presence up to this sequence are older than the seat, or in a list of members
    /// that the session was given since.
    presence_after: u64,
    presence: bool,
    watch: bool,
    /// The client has, or knows that it lost, everything up to `after`; so no pattern of the
    /// session may deliver it once more.
    caught_up: bool,
}

impl Seat {
    const fn terms(&self) -> Terms {
        Terms {
            presence: self.presence,
            watch: self.watch,
        }
    }
}

/// Whether a client that was told this has, or knows to have lost, all up to the offset.
fn catches_up<M>(entered: &Entered<M>) -> bool {
    entered.recovered == Some(true) || !entered.missed.is_empty()
}

impl<M: Clone, C> Seats<M, C> {
    /// A worker's seats, none taken yet. Patterns count as rooms in `max_rooms_per_session`.
    #[must_use]
    pub fn new(hub: Arc<Hub<M, C>>, worker: WorkerId, max_rooms_per_session: usize) -> Self {
        Self {
            hub,
            worker,
            max_rooms_per_session,
            rooms: HashMap::default(),
            by_name: HashMap::new(),
            patterns: PatternSeats::new(),
            heard: HeardRooms::new(),
            places: Vec::new(),
            clock: 0,
        }
    }

    /// Takes a seat for a session.
    ///
    /// What [`Joined::missed`] holds goes to the session at once, before anything that a fan-out
    /// after this call brings; then it sees every message exactly once, in the room's order.
    ///
    /// # Errors
    ///
    /// [`JoinError`]; then nothing has changed.
    pub fn join(&mut self, slot: u32, request: Join<'_>, now: u64) -> Result<Joined<M>, JoinError> {
        self.clock = self.clock.max(now);
        if is_pattern(request.subject) {
            return self.join_pattern(slot, &request);
        }
        if let Some(joined) = self.join_again(slot, &request, now) {
            return Ok(joined);
        }
        if self.places_of(slot).len() >= self.max_rooms_per_session {
            return Err(JoinError::TooManyRoomsForSession);
        }
        let terms = Terms {
            presence: request.presence,
            watch: request.watch,
        };
        let member = request.member.id;
        let (room, entered) = self.hub.enter(
            self.worker,
            request.subject,
            request.member,
            terms,
            request.since,
            now,
        )?;
        let identity = Arc::clone(&room.identity);
        let local = self.rooms.entry(identity.id).or_insert_with(|| LocalRoom {
            room,
            seats: IndexMap::default(),
        });
        let seat = Seat {
            member,
            after: entered.offset,
            broadcasts_after: entered.sequence,
            presence_after: entered.sequence,
            presence: request.presence,
            watch: request.watch,
            caught_up: catches_up(&entered),
        };
        if local.seats.insert(slot, seat).is_none() && local.seats.len() == 1 {
            self.by_name.insert(Arc::clone(&identity.name), identity.id);
        }
        self.add_place(slot, Place::Room(identity.id));
        Ok(joined(identity, entered, false))
    }

    fn join_again(&mut self, slot: u32, request: &Join<'_>, now: u64) -> Option<Joined<M>> {
        let id = self.by_name.get(request.subject)?;
        let local = self.rooms.get_mut(id)?;
        let seat = local.seats.get_mut(&slot)?;
        if seat.presence != request.presence {
            seat.presence = request.presence;
            local
                .room
                .locked(|state| state.set_presence(self.worker, request.presence));
        }
        let entered = self.hub.enter_again(&local.room, request.since, now);
        seat.presence_after = entered.sequence;
        if catches_up(&entered) {
            seat.after = entered.offset;
            seat.caught_up = true;
        }
        Some(joined(Arc::clone(&local.room.identity), entered, true))
    }

    fn join_pattern(&mut self, slot: u32, request: &Join<'_>) -> Result<Joined<M>, JoinError> {
        let held = self.patterns.subject_of(slot, request.subject);
        let again = held.is_some();
        let subject = match held {
            Some(subject) => subject,
            None if self.places_of(slot).len() >= self.max_rooms_per_session => {
                return Err(JoinError::TooManyRoomsForSession);
            }
            None => {
                let since = self
                    .hub
                    .add_pattern(self.worker, request.subject)
                    .map_err(|_| JoinError::TooManyPatterns)?;
                let subject = self
                    .patterns
                    .take(slot, request.subject, request.member.id, since);
                self.add_place(slot, Place::Pattern(Arc::clone(&subject)));
                subject
            }
        };
        Ok(Joined {
            subject,
            epoch: Epoch(0),
            offset: 0,
            recovered: request.since.map(|_| false),
            missed: Vec::new(),
            pattern: true,
            room: None,
            again,
        })
    }

    /// Gives a seat up; false if the session has none for this subject.
    pub fn leave(&mut self, slot: u32, subject: &str, now: u64) -> bool {
        self.clock = self.clock.max(now);
        let place = if is_pattern(subject) {
            self.patterns.subject_of(slot, subject).map(Place::Pattern)
        } else {
            let id = self.by_name.get(subject).copied();
            id.filter(|id| self.rooms[id].seats.contains_key(&slot))
                .map(Place::Room)
        };
        let Some(place) = place else {
            return false;
        };
        let places = &mut self.places[slot as usize];
        places.retain(|held| *held != place);
        if places.is_empty() {
            *places = Vec::new();
        }
        self.give_up(slot, &place, now);
        true
    }

    /// Gives up all seats of a session; cheap if it has none. After it the slot may be reused.
    pub fn leave_all(&mut self, slot: u32, now: u64) {
        self.clock = self.clock.max(now);
        let Some(places) = self.places.get_mut(slot as usize) else {
            return;
        };
        for place in std::mem::take(places) {
            self.give_up(slot, &place, now);
        }
    }

    fn give_up(&mut self, slot: u32, place: &Place, now: u64) {
        match place {
            Place::Pattern(subject) => {
                if self.patterns.give_up(slot, subject) {
                    self.hub.remove_pattern(self.worker, subject);
                }
            }
            Place::Room(id) => {
                let Some(local) = self.rooms.get_mut(id) else {
                    return;
                };
                let Some(seat) = local.seats.swap_remove(&slot) else {
                    return;
                };
                shrink(&mut local.seats);
                let room = Arc::clone(&local.room);
                if local.seats.is_empty() {
                    self.rooms.remove(id);
                    self.by_name.remove(&room.identity.name);
                    shrink_map(&mut self.rooms);
                    shrink_map(&mut self.by_name);
                }
                self.hub
                    .exit(self.worker, &room, seat.member, seat.terms(), now);
            }
        }
    }

    /// Changes the name under which a session is listed in every room that it is a member of.
    /// Nobody is told: a name also travels with each message.
    pub fn rename(&mut self, slot: u32, name: Arc<str>) {
        for place in self.places_of(slot) {
            if let Place::Room(id) = place
                && let Some(local) = self.rooms.get(id)
                && let Some(seat) = local.seats.get(&slot).filter(|seat| !seat.watch)
            {
                local
                    .room
                    .locked(|state| state.rename(seat.member, Arc::clone(&name)));
            }
        }
    }

    /// At most `limit` members of a room, for a session of this worker; `None` if there is no such
    /// room. Changes of presence that the list already shows are not delivered to the session's
    /// seat any more, so list and changes fit together.
    pub fn members(&mut self, slot: u32, room: &str, limit: usize) -> Option<MemberPage> {
        let id = self.by_name.get(room);
        let local = id.and_then(|id| self.rooms.get_mut(id));
        let Some(local) = local else {
            return self.hub.members(room, limit);
        };
        let (page, sequence) = local
            .room
            .locked(|state| (state.members(limit), state.sequence()));
        if let Some(seat) = local.seats.get_mut(&slot) {
            seat.presence_after = sequence;
        }
        Some(page)
    }

    /// The rooms and patterns that a session has seats for, in the order in which it joined them.
    pub fn subjects(&self, slot: u32) -> impl Iterator<Item = &str> {
        self.places_of(slot).iter().filter_map(|place| match place {
            Place::Pattern(subject) => Some(&**subject),
            Place::Room(id) => Some(&*self.rooms.get(id)?.room.identity.name),
        })
    }

    /// Whether a session is a member of the room: watchers and patterns do not count.
    #[must_use]
    pub fn is_member(&self, slot: u32, room: &str) -> bool {
        let id = self.by_name.get(room);
        let local = id.and_then(|id| self.rooms.get(id));
        let seat = local.and_then(|local| local.seats.get(&slot));
        seat.is_some_and(|seat| !seat.watch)
    }

    /// Calls `deliver` once for each session that shall get the message.
    ///
    /// That is: seats in the room that were taken before the message was published, and seats for
    /// patterns that match, never the excluded member, and each session once however many of its
    /// seats match.
    pub fn fan_out(&mut self, message: &RoomMessage<M>, mut deliver: impl FnMut(u32)) {
        self.fan_out_run(slice::from_ref(message), |slot, _| deliver(slot));
    }

    /// The same for messages that follow each other in the inbox, all of one room: a session is told
    /// in one call which of them, by their indices, it shall get, in as few calls as they have gaps.
    /// Walking a large room once for all of them is what makes the difference when it is busy.
    ///
    /// Calls for one session come in the order of the messages; those for different ones in any.
    pub fn fan_out_run(
        &mut self,
        messages: &[RoomMessage<M>],
        mut deliver: impl FnMut(u32, Range<usize>),
    ) {
        let Some(first) = messages.first() else {
            return;
        };
        debug_assert!(
            messages
                .windows(2)
                .all(|pair| pair[0].room.id == pair[1].room.id && pair[0].offset < pair[1].offset),
            "a run is of one room, in its order"
        );
        if !self.patterns.is_empty() {
            for (index, message) in messages.iter().enumerate() {
                self.fan_out_with_patterns(message, |slot| deliver(slot, index..index + 1));
            }
            return;
        }
        let Some(local) = self.rooms.get(&first.room.id) else {
            return;
        };
        let excluding = messages.iter().any(|message| message.exclude.is_some());
        for (&slot, seat) in &local.seats {
            let begin = if first.offset > seat.after {
                0
            } else {
                messages.partition_point(|message| message.offset <= seat.after)
            };
            if !excluding {
                if begin < messages.len() {
                    deliver(slot, begin..messages.len());
                }
                continue;
            }
            let mut from = begin;
            for (index, message) in messages.iter().enumerate().skip(begin) {
                if message.exclude == Some(seat.member) {
                    if from < index {
                        deliver(slot, from..index);
                    }
                    from = index + 1;
                }
            }
            if from < messages.len() {
                deliver(slot, from..messages.len());
            }
        }
    }

    fn fan_out_with_patterns(&mut self, message: &RoomMessage<M>, mut deliver: impl FnMut(u32)) {
        let local = self.rooms.get(&message.room.id);
        let mut round = self.patterns.begin(self.places.len());
        if let Some(local) = local {
            for (&slot, seat) in &local.seats {
                let live = message.offset > seat.after;
                if live || seat.caught_up {
                    round.serve(slot);
                }
                if live && message.exclude != Some(seat.member) {
                    deliver(slot);
                }
            }
        }
        let reached = round.fan_out(message, &mut deliver);
        if reached && local.is_none() {
            self.heard.note(&message.room);
        }
    }

    /// Calls `deliver` for each session that asked for presence in the room before the change of
    /// this `sequence`, except the member itself.
    pub fn fan_out_presence(
        &mut self,
        room: &RoomRef,
        member: MemberId,
        sequence: u64,
        mut deliver: impl FnMut(u32),
    ) {
        let Some(local) = self.rooms.get(&room.id) else {
            return;
        };
        for (&slot, seat) in &local.seats {
            if seat.presence && seat.member != member && sequence > seat.presence_after {
                deliver(slot);
            }
        }
    }

    /// Calls `deliver` for each member of the room that was one before the broadcast of this
    /// `sequence`.
    pub fn fan_out_members(
        &mut self,
        room: &RoomRef,
        sequence: u64,
        mut deliver: impl FnMut(u32, MemberId),
    ) {
        let Some(local) = self.rooms.get(&room.id) else {
            return;
        };
        for (&slot, seat) in &local.seats {
            if !seat.watch && sequence > seat.broadcasts_after {
                deliver(slot, seat.member);
            }
        }
    }

    /// The name of a room that a session of this worker has a seat in, or that one of its patterns
    /// heard lately.
    #[must_use]
    pub fn room_name(&self, id: RoomId) -> Option<&Arc<str>> {
        match self.rooms.get(&id) {
            Some(local) => Some(&local.room.identity.name),
            None => self.heard.name(id),
        }
    }

    fn places_of(&self, slot: u32) -> &[Place] {
        self.places.get(slot as usize).map_or(&[], Vec::as_slice)
    }

    fn add_place(&mut self, slot: u32, place: Place) {
        let index = slot as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, Vec::new);
        }
        self.places[index].push(place);
    }

    /// Panics unless the seats agree with each other and with what the rooms count for this
    /// worker.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        assert_eq!(self.rooms.len(), self.by_name.len());
        let mut seats = 0;
        for (id, local) in &self.rooms {
            assert!(!local.seats.is_empty());
            assert_eq!(self.by_name.get(&local.room.identity.name), Some(id));
            for &slot in local.seats.keys() {
                assert!(self.places_of(slot).contains(&Place::Room(*id)));
            }
            let count = |of: fn(&Seat) -> bool| {
                let counted = local.seats.values().filter(|seat| of(seat)).count();
                u32::try_from(counted).expect("slots are 32 bits wide")
            };
            local.room.locked(|state| {
                assert!(!state.is_gone(), "a room with seats is not gone");
                let at = state.roster().seats_of(self.worker.0);
                assert_eq!(at.seats, count(|_| true));
                assert_eq!(at.watchers, count(|seat| seat.watch));
                assert_eq!(at.presence, count(|seat| seat.presence));
                for seat in local.seats.values().filter(|seat| !seat.watch) {
                    assert!(state.roster().is_listed(seat.member));
                }
            });
            seats += local.seats.len();
        }
        seats += self.patterns.check_invariants();
        let places: usize = self.places.iter().map(Vec::len).sum();
        assert_eq!(places, seats, "a session's places are its seats");
    }
}

impl<M: Clone, C> Drop for Seats<M, C> {
    fn drop(&mut self) {
        // The panic may have come from under a lock, which would panic here once more and end the
        // process. A worker that dies of a panic is the gateway's to report, with its seats.
        if std::thread::panicking() {
            return;
        }
        for slot in 0..self.places.len() {
            if let Ok(slot) = u32::try_from(slot) {
                self.leave_all(slot, self.clock);
            }
        }
    }
}

impl<M: Clone, C> fmt::Debug for Seats<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seats")
            .field("worker", &self.worker)
            .field("rooms", &self.rooms.len())
            .field("patterns", &self.patterns.len())
            .finish_non_exhaustive()
    }
}

fn joined<M>(room: Arc<RoomRef>, entered: Entered<M>, again: bool) -> Joined<M> {
    Joined {
        subject: Arc::clone(&room.name),
        epoch: room.epoch,
        offset: entered.offset,
        recovered: entered.recovered,
        missed: entered.missed,
        pattern: false,
        room: Some(room),
        again,
    }
}

fn shrink_map<K, V, S>(map: &mut HashMap<K, V, S>)
where
    K: std::hash::Hash + Eq,
    S: std::hash::BuildHasher,
{
    if map.is_empty() || (map.capacity() > 64 && map.len() < map.capacity() / 4) {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests;
