//! A naive model of rooms, written from the rules and without any of the hub's structures.
//!
//! The one idea: what is published is for the seats that exist at that moment, so the model writes
//! their serial numbers on the letter, and at delivery hands it to those of them that still exist.
//! The hub has neither serial numbers nor lists of receivers; it must come to the same result.

use std::collections::{BTreeSet, VecDeque};

use roomwire_hub::{JoinError, Pattern, PublishError, RoomSettings};

pub(crate) struct Rules {
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    pub(crate) capacity: usize,
    pub(crate) max_rooms: usize,
    pub(crate) max_patterns: usize,
    pub(crate) max_keys: usize,
    pub(crate) key_ttl_ms: u64,
    pub(crate) max_rooms_per_session: usize,
    pub(crate) rooms: RoomSettings,
    pub(crate) overrides: Vec<(Pattern, RoomSettings)>,
}

pub(crate) struct Oracle {
    pub(crate) rules: Rules,
    /// Every incarnation there ever was.
    pub(crate) rooms: Vec<OracleRoom>,
    /// `worker * slots + slot`.
    pub(crate) sessions: Vec<Session>,
    pub(crate) inboxes: Vec<VecDeque<Letter>>,
    pub(crate) untold: u64,
    serials: u64,
}

pub(crate) struct OracleRoom {
    pub(crate) name: &'static str,
    pub(crate) exists: bool,
    pub(crate) offset: u64,
    pub(crate) past: Vec<Past>,
    keys: Vec<(String, u64, u64)>,
    settings: RoomSettings,
}

#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) offset: u64,
    pub(crate) payload: u64,
    bytes: usize,
    at: u64,
}

pub(crate) struct Session {
    pub(crate) member: u64,
    pub(crate) name: Option<String>,
    pub(crate) seats: Vec<OracleSeat>,
}

#[derive(Clone, Debug)]
pub(crate) struct OracleSeat {
    pub(crate) subject: &'static str,
    /// None for a pattern.
    pub(crate) room: Option<usize>,
    pub(crate) presence: bool,
    pub(crate) watch: bool,
    serial: u64,
    /// New whenever the session is given a list of members.
    presence_serial: u64,
    /// The session has been brought up to date to here, so no letter up to here is for it.
    covered: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Message {
        offset: u64,
        payload: u64,
    },
    Presence {
        member: u64,
        name: Option<String>,
        joined: bool,
    },
    Broadcast(u32),
    Control(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// Not of a control.
    pub(crate) room: usize,
    pub(crate) what: What,
    /// Serial numbers of seats; of their presence for a change of presence.
    seats: Vec<u64>,
}

/// What the model says of a join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seated {
    pub(crate) room: Option<usize>,
    pub(crate) offset: u64,
    pub(crate) recovered: Option<bool>,
    pub(crate) missed: Vec<(u64, u64)>,
    pub(crate) again: bool,
}

pub(crate) struct Wish {
    pub(crate) subject: &'static str,
    /// The incarnation that the client names, and an offset in it.
    pub(crate) since: Option<(Option<usize>, u64)>,
    pub(crate) presence: bool,
    pub(crate) watch: bool,
}

pub(crate) fn is_pattern(subject: &str) -> bool {
    subject.contains('*') || subject.contains('>')
}

fn covers(pattern: &str, name: &str) -> bool {
    let pattern: Pattern = pattern.parse().expect("the tests use valid patterns");
    pattern.matches(name)
}

impl Oracle {
    pub(crate) fn new(rules: Rules) -> Self {
        let mut oracle = Self {
            rooms: Vec::new(),
            sessions: Vec::new(),
            inboxes: vec![VecDeque::new(); rules.workers],
            untold: 0,
            serials: 0,
            rules,
        };
        for _ in 0..oracle.rules.workers * oracle.rules.slots {
            let member = oracle.serial();
            oracle.sessions.push(Session {
                member,
                name: None,
                seats: Vec::new(),
            });
        }
        oracle
    }

    fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    pub(crate) fn worker_of(&self, session: usize) -> usize {
        session / self.rules.slots
    }

    pub(crate) fn existing(&self, name: &str) -> Option<usize> {
        self.rooms
            .iter()
            .position(|room| room.exists && room.name == name)
    }

    pub(crate) fn rooms_now(&self) -> usize {
        self.rooms.iter().filter(|room| room.exists).count()
    }

    pub(crate) fn patterns_now(&self) -> BTreeSet<&'static str> {
        let seats = self.sessions.iter().flat_map(|session| &session.seats);
        seats
            .filter(|seat| seat.room.is_none())
            .map(|seat| seat.subject)
            .collect()
    }

    /// All seats in a room, with their sessions.
    pub(crate) fn seats_in(&self, room: usize) -> Vec<(usize, OracleSeat)> {
        let mut found = Vec::new();
        for (index, session) in self.sessions.iter().enumerate() {
            for seat in session.seats.iter().filter(|seat| seat.room == Some(room)) {
                found.push((index, seat.clone()));
            }
        }
        found
    }

    fn open(&mut self, name: &'static str) -> Option<usize> {
        if let Some(room) = self.existing(name) {
            return Some(room);
        }
        if self.rooms_now() >= self.rules.max_rooms {
            return None;
        }
        let overridden = self.rules.overrides.iter().find(|(p, _)| p.matches(name));
        let settings = overridden.map_or(self.rules.rooms, |(_, settings)| *settings);
        self.rooms.push(OracleRoom {
            name,
            exists: true,
            offset: 0,
            past: Vec::new(),
            keys: Vec::new(),
            settings,
        });
        Some(self.rooms.len() - 1)
    }

    fn has_space(&self, workers: &BTreeSet<usize>) -> bool {
        workers
            .iter()
            .all(|&worker| self.inboxes[worker].len() < self.rules.capacity)
    }

    pub(crate) fn is_congested(&self) -> bool {
        self.inboxes
            .iter()
            .any(|inbox| inbox.len() * 4 > self.rules.capacity * 3)
    }

    /// A room that an operation could not use and that is only there because of it.
    fn undo_open(&mut self, room: usize) {
        if self.rooms[room].offset == 0 && self.seats_in(room).is_empty() {
            self.rooms[room].exists = false;
        }
    }

    /// The offset, and whether it is a repetition.
    pub(crate) fn publish(
        &mut self,
        name: &'static str,
        payload: u64,
        bytes: usize,
        key: Option<&str>,
        exclude: Option<u64>,
        now: u64,
    ) -> Result<(usize, u64, bool), PublishError> {
        let room = self.open(name).ok_or(PublishError::TooManyRooms)?;
        self.rooms[room].expire(now);
        self.rooms[room].keys.retain(|key| key.2 > now);
        if let Some(key) = key
            && let Some(known) = self.rooms[room].keys.iter().find(|known| known.0 == key)
        {
            return Ok((room, known.1, true));
        }
        let mut workers = BTreeSet::new();
        let mut seats = Vec::new();
        for (index, session) in self.sessions.iter().enumerate() {
            for seat in &session.seats {
                let for_it = match seat.room {
                    Some(seated) => seated == room,
                    None => covers(seat.subject, name),
                };
                if for_it {
                    workers.insert(self.worker_of(index));
                    if exclude != Some(session.member) {
                        seats.push(seat.serial);
                    }
                }
            }
        }
        if !self.has_space(&workers) {
            self.undo_open(room);
            return Err(PublishError::Congested);
        }
        let offset = self.rooms[room].offset + 1;
        let what = What::Message { offset, payload };
        for worker in workers {
            self.post(worker, room, what.clone(), seats.clone());
        }
        let max_keys = self.rules.max_keys;
        let key_ttl_ms = self.rules.key_ttl_ms;
        let room_state = &mut self.rooms[room];
        room_state.remember(payload, bytes, now);
        if let Some(key) = key {
            room_state
                .keys
                .push((key.to_owned(), offset, now + key_ttl_ms));
            while room_state.keys.len() > max_keys {
                room_state.keys.remove(0);
            }
        }
        Ok((room, offset, false))
    }

    fn post(&mut self, worker: usize, room: usize, what: What, seats: Vec<u64>) {
        self.inboxes[worker].push_back(Letter { room, what, seats });
    }

    fn replay(
        &mut self,
        room: usize,
        since: Option<(Option<usize>, u64)>,
        now: u64,
    ) -> (Option<bool>, Vec<(u64, u64)>) {
        let room_state = &mut self.rooms[room];
        room_state.expire(now);
        let Some((epoch, offset)) = since else {
            return (None, Vec::new());
        };
        let kept: Vec<u64> = room_state.past.iter().map(|past| past.offset).collect();
        let whole = epoch == Some(room)
            && offset <= room_state.offset
            && (offset + 1..=room_state.offset).all(|offset| kept.contains(&offset));
        let missed = room_state.past.iter();
        let missed = missed.filter(|past| !whole || past.offset > offset);
        (
            Some(whole),
            missed.map(|past| (past.offset, past.payload)).collect(),
        )
    }

    pub(crate) fn join(
        &mut self,
        session: usize,
        wish: &Wish,
        now: u64,
    ) -> Result<Seated, JoinError> {
        let held = self.sessions[session]
            .seats
            .iter()
            .position(|seat| seat.subject == wish.subject);
        let full = self.sessions[session].seats.len() >= self.rules.max_rooms_per_session;
        if is_pattern(wish.subject) {
            if held.is_none() {
                let known = self.patterns_now();
                if full {
                    return Err(JoinError::TooManyRoomsForSession);
                }
                if !known.contains(wish.subject) && known.len() >= self.rules.max_patterns {
                    return Err(JoinError::TooManyPatterns);
                }
                self.take_seat(session, wish, None, 0);
            }
            return Ok(Seated {
                room: None,
                offset: 0,
                recovered: wish.since.map(|_| false),
                missed: Vec::new(),
                again: held.is_some(),
            });
        }
        if let Some(held) = held {
            return Ok(self.join_again(session, held, wish, now));
        }
        if full {
            return Err(JoinError::TooManyRoomsForSession);
        }
        let room = self.open(wish.subject).ok_or(JoinError::TooManyRooms)?;
        if !wish.watch && !self.announce(room, session, true) {
            self.undo_open(room);
            return Err(JoinError::Congested);
        }
        let (recovered, missed) = self.replay(room, wish.since, now);
        let offset = self.rooms[room].offset;
        let up_to_date = recovered == Some(true) || !missed.is_empty();
        self.take_seat(
            session,
            wish,
            Some(room),
            if up_to_date { offset } else { 0 },
        );
        Ok(Seated {
            room: Some(room),
            offset,
            recovered,
            missed,
            again: false,
        })
    }

    fn take_seat(&mut self, session: usize, wish: &Wish, room: Option<usize>, covered: u64) {
        let serial = self.serial();
        let presence_serial = self.serial();
        self.sessions[session].seats.push(OracleSeat {
            subject: wish.subject,
            room,
            presence: wish.presence && room.is_some(),
            watch: wish.watch,
            serial,
            presence_serial,
            covered,
        });
    }

    fn join_again(&mut self, session: usize, held: usize, wish: &Wish, now: u64) -> Seated {
        let room = self.sessions[session].seats[held]
            .room
            .expect("patterns are handled before");
        let (recovered, missed) = self.replay(room, wish.since, now);
        let offset = self.rooms[room].offset;
        let presence_serial = self.serial();
        let seat = &mut self.sessions[session].seats[held];
        seat.presence = wish.presence;
        seat.presence_serial = presence_serial;
        if recovered == Some(true) || !missed.is_empty() {
            seat.covered = offset;
        }
        Seated {
            room: Some(room),
            offset,
            recovered,
            missed,
            again: true,
        }
    }

    /// The session is given a list of the room's members.
    pub(crate) fn list(&mut self, session: usize, room: usize) {
        let presence_serial = self.serial();
        for seat in &mut self.sessions[session].seats {
            if seat.room == Some(room) {
                seat.presence_serial = presence_serial;
            }
        }
    }

    /// Posts a change of presence; false if a join has to be refused for it.
    fn announce(&mut self, room: usize, session: usize, joined: bool) -> bool {
        let audience = self.seats_in(room);
        let audience: Vec<_> = audience.iter().filter(|seat| seat.1.presence).collect();
        let workers: BTreeSet<usize> = audience.iter().map(|seat| self.worker_of(seat.0)).collect();
        if joined && !self.has_space(&workers) {
            return false;
        }
        let seats: Vec<u64> = audience
            .iter()
            .filter(|seat| seat.0 != session)
            .map(|seat| seat.1.presence_serial)
            .collect();
        let what = What::Presence {
            member: self.sessions[session].member,
            name: self.sessions[session].name.clone(),
            joined,
        };
        for worker in workers {
            if self.inboxes[worker].len() < self.rules.capacity * 2 {
                self.post(worker, room, what.clone(), seats.clone());
            } else {
                self.untold += 1;
            }
        }
        true
    }

    pub(crate) fn leave(&mut self, session: usize, subject: &str, now: u64) -> bool {
        let seats = &mut self.sessions[session].seats;
        let Some(held) = seats.iter().position(|seat| seat.subject == subject) else {
            return false;
        };
        let seat = seats.remove(held);
        let Some(room) = seat.room else {
            return true;
        };
        self.rooms[room].expire(now);
        if !seat.watch {
            self.announce(room, session, false);
        }
        if self.is_vacant(room) {
            self.rooms[room].exists = false;
        }
        true
    }

    /// Ends the session and puts another into its slot.
    pub(crate) fn end_session(&mut self, session: usize, now: u64) {
        let seats = self.sessions[session].seats.clone();
        for seat in seats {
            self.leave(session, seat.subject, now);
        }
        self.sessions[session].member = self.serial();
        self.sessions[session].name = None;
    }

    fn is_vacant(&self, room: usize) -> bool {
        self.seats_in(room).is_empty() && self.rooms[room].past.is_empty()
    }

    /// Whether a sweep at this time may remove the room.
    pub(crate) fn may_go(&mut self, room: usize, now: u64) -> bool {
        self.rooms[room].expire(now);
        self.is_vacant(room)
    }

    pub(crate) fn members(&self, room: usize) -> Vec<(u64, Option<String>)> {
        let seats = self.seats_in(room);
        let members = seats.iter().filter(|seat| !seat.1.watch);
        let mut members: Vec<_> = members
            .map(|seat| {
                let session = &self.sessions[seat.0];
                (session.member, session.name.clone())
            })
            .collect();
        members.sort();
        members
    }

    /// None: no such room. Some(None): refused.
    pub(crate) fn broadcast(&mut self, name: &str, control: u32) -> Option<Option<usize>> {
        let room = self.existing(name)?;
        let seats = self.seats_in(room);
        let members: Vec<_> = seats.iter().filter(|seat| !seat.1.watch).collect();
        let workers: BTreeSet<usize> = members.iter().map(|seat| self.worker_of(seat.0)).collect();
        if !self.has_space(&workers) {
            return Some(None);
        }
        let serials: Vec<u64> = members.iter().map(|seat| seat.1.serial).collect();
        for worker in workers {
            self.post(worker, room, What::Broadcast(control), serials.clone());
        }
        Some(Some(members.len()))
    }

    pub(crate) fn send(&mut self, worker: usize, control: u32) -> bool {
        let space = self.inboxes[worker].len() < self.rules.capacity;
        if space {
            self.post(worker, 0, What::Control(control), Vec::new());
        }
        space
    }

    /// The slots of a worker whose sessions get the letter, in ascending order.
    pub(crate) fn receivers(&self, worker: usize, letter: &Letter) -> Vec<u32> {
        let slots = 0..self.rules.slots;
        let gets = |slot: &usize| {
            let session = &self.sessions[worker * self.rules.slots + slot];
            let mut seats = session.seats.iter();
            match letter.what {
                What::Message { offset, .. } => {
                    let covered = session
                        .seats
                        .iter()
                        .any(|seat| seat.room == Some(letter.room) && seat.covered >= offset);
                    !covered && seats.any(|seat| letter.seats.contains(&seat.serial))
                }
                What::Presence { .. } => {
                    seats.any(|seat| seat.presence && letter.seats.contains(&seat.presence_serial))
                }
                What::Broadcast(_) => seats.any(|seat| letter.seats.contains(&seat.serial)),
                What::Control(_) => false,
            }
        };
        slots
            .filter(gets)
            .map(|slot| u32::try_from(slot).expect("few slots"))
            .collect()
    }
}

impl OracleRoom {
    pub(crate) fn expire(&mut self, now: u64) {
        let age_ms = self.settings.history.age_ms;
        self.past
            .retain(|past| past.at.saturating_add(age_ms) > now);
    }

    fn remember(&mut self, payload: u64, bytes: usize, now: u64) {
        self.offset += 1;
        let limits = self.settings.history;
        if limits.age_ms > 0 {
            self.past.push(Past {
                offset: self.offset,
                payload,
                bytes,
                at: now,
            });
        }
        while self.past.len() > limits.messages
            || self.past.iter().map(|past| past.bytes).sum::<usize>() > limits.bytes
            || (limits.bytes == 0 && !self.past.is_empty())
        {
            self.past.remove(0);
        }
    }
}
