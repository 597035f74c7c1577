//! The hub and its seats beside the oracle: one thread, several workers, drains in between.
//!
//! Deliveries are taken out of an inbox in portions and handed to sessions one by one, with joins,
//! departures and publishes between any two of them, as late as the dice say. Sessions have
//! outboxes so small that all three policies are met all the time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use roomwire_hub::{
    BroadcastError, Delivery, Epoch, HistoryLimits, Hub, HubOptions, Join, Member, MemberId,
    Origin, OutboxLimits, Position, PresenceChange, Publish, PublishError, Push, RoomId,
    RoomSettings, Seats, SlowPolicy, WorkerId,
};

use crate::for_each_seed;
use crate::oracle::{Letter, Oracle, Rules, What, Wish, is_pattern};
use crate::outbox::Pair;
use crate::rng::Rng;

const ROOMS: &[&str] = &[
    "a", "a.b", "a.c", "a.b.c", "latest", "latest.b", "bare", "bare.b",
];
const PATTERNS: &[&str] = &["a.*", "a.>", "*", ">", "*.b", "a.*.c", "bare.>"];
const KEYS: &[&str] = &["k1", "k2", "k3", "k4"];
const STEPS: usize = 250;

type Message = Arc<u64>;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct World {
    rng: Rng,
    now: u64,
    numbers: u64,
    hub: Arc<Hub<Message, u32>>,
    seats: Vec<Seats<Message, u32>>,
    oracle: Oracle,
    /// By the oracle's number of the incarnation.
    epochs: Vec<Option<Epoch>>,
    ids: HashMap<RoomId, usize>,
    /// Per worker: drained, not yet fanned out.
    pending: Vec<VecDeque<(Delivery<Message, u32>, Letter)>>,
    outboxes: Vec<Pair>,
    limits: OutboxLimits,
    bells: Vec<Arc<Bell>>,
    /// Per worker: how often it had been woken when its inbox was last empty.
    at_rest: Vec<usize>,
}

fn settings(rng: &mut Rng, slow: SlowPolicy) -> RoomSettings {
    RoomSettings {
        history: HistoryLimits {
            messages: rng.index(8),
            bytes: *rng.pick(&[0, 12, 1_000, 1_000]),
            age_ms: *rng.pick(&[0, 40, 300, 300, u64::MAX]),
        },
        slow,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let latest = settings(&mut rng, SlowPolicy::KeepLatest);
        let bare = RoomSettings {
            history: HistoryLimits::NONE,
            slow: SlowPolicy::Disconnect,
        };
        let parse = |text: &str| text.parse().expect("a pattern");
        let overrides = vec![
            (parse("latest"), latest),
            (parse("latest.>"), latest),
            (parse("bare"), bare),
            (parse("bare.*"), bare),
        ];
        let workers = 1 + rng.index(3);
        let options = HubOptions {
            workers: u16::try_from(workers).expect("few workers"),
            inbox_capacity: *rng.pick(&[1, 3, 8, 40, 1_000]),
            rooms: settings(&mut rng, SlowPolicy::DropOldest),
            overrides,
            max_rooms: 1 + rng.index(10),
            max_patterns: 1 + rng.index(8),
            max_keys_per_room: rng.index(4),
            key_ttl_ms: 100,
            seed,
        };
        let rules = Rules {
            workers,
            slots: 1 + rng.index(5),
            capacity: options.inbox_capacity,
            max_rooms: options.max_rooms,
            max_patterns: options.max_patterns,
            max_keys: options.max_keys_per_room,
            key_ttl_ms: options.key_ttl_ms,
            max_rooms_per_session: 1 + rng.index(8),
            rooms: options.rooms,
            overrides: options.overrides.clone(),
        };
        let hub = Arc::new(Hub::new(options));
        let ids = || (0..workers).map(|index| WorkerId(u16::try_from(index).expect("few workers")));
        let bells: Vec<Arc<Bell>> = ids().map(|_| Arc::default()).collect();
        for (worker, bell) in ids().zip(&bells) {
            hub.inbox(worker).set_waker(Waker::from(Arc::clone(bell)));
        }
        Self {
            now: 1_000,
            numbers: 0,
            seats: ids()
                .map(|worker| Seats::new(Arc::clone(&hub), worker, rules.max_rooms_per_session))
                .collect(),
            epochs: Vec::new(),
            ids: HashMap::new(),
            pending: ids().map(|_| VecDeque::new()).collect(),
            outboxes: (0..workers * rules.slots)
                .map(|_| Pair::default())
                .collect(),
            limits: OutboxLimits {
                max_messages: 1 + rng.index(10),
                max_bytes: 10 + rng.index(60),
            },
            at_rest: vec![0; workers],
            bells,
            oracle: Oracle::new(rules),
            hub,
            rng,
        }
    }

    fn worker(&self, index: usize) -> WorkerId {
        WorkerId(u16::try_from(index).expect("few workers"))
    }

    fn slot(&self, session: usize) -> u32 {
        u32::try_from(session % self.oracle.rules.slots).expect("few slots")
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Notes or checks the epoch of an incarnation.
    fn meet(&mut self, room: usize, epoch: Epoch) {
        self.epochs.resize(self.oracle.rooms.len(), None);
        match self.epochs[room] {
            Some(known) => assert_eq!(known, epoch, "one incarnation, one epoch"),
            None => {
                assert!(!self.epochs.contains(&Some(epoch)), "an epoch came back");
                self.epochs[room] = Some(epoch);
            }
        }
    }

    fn step(&mut self) {
        let session = self.rng.index(self.outboxes.len());
        match self.rng.below(100) {
            0..=33 => self.publish(session),
            34..=51 => self.join(session),
            52..=58 => self.leave(session),
            59..=60 => self.end_session(session),
            61..=62 => self.rename(session),
            63..=72 => self.drain(),
            73..=84 => self.deliver_some(),
            85..=88 => self.write(session),
            89..=90 => self.read_history(),
            91..=92 => self.read_members(session),
            93 => self.broadcast(),
            94 => self.send(),
            95..=96 => self.sweep(),
            _ => self.now += self.rng.below(60),
        }
        self.check();
    }

    fn publish(&mut self, session: usize) {
        let name = *self.rng.pick(ROOMS);
        let payload = self.number();
        let bytes = self.rng.index(8);
        let key = self.rng.one_in(5).then(|| *self.rng.pick(KEYS));
        let exclude = self.rng.one_in(3);
        let exclude = exclude.then_some(self.oracle.sessions[session].member);
        let publish = Publish {
            room: name,
            message: Arc::new(payload),
            bytes,
            key,
            exclude: exclude.map(MemberId),
        };
        let published = self.hub.publish(publish, self.now);
        let expected = self
            .oracle
            .publish(name, payload, bytes, key, exclude, self.now);
        match (published, expected) {
            (Ok(published), Ok((room, offset, duplicate))) => {
                assert_eq!((published.offset, published.duplicate), (offset, duplicate));
                self.meet(room, published.epoch);
            }
            (Err(error), Err(expected)) => assert_eq!(error, expected),
            (published, expected) => panic!("{published:?} instead of {expected:?}"),
        }
    }

    /// A position that a client could name: of this room, of an earlier one, or nonsense.
    fn since(&mut self, name: &str) -> (Option<(Option<usize>, u64)>, Option<Position>) {
        if self.rng.one_in(2) {
            return (None, None);
        }
        let of_name = |room: &usize| self.oracle.rooms[*room].name == name;
        let known = (0..self.oracle.rooms.len()).rev();
        let known: Vec<usize> = known
            .filter(|&room| self.epochs.get(room).is_some_and(Option::is_some))
            .filter(of_name)
            .collect();
        let room = match known.first() {
            Some(&newest) if !self.rng.one_in(6) => Some(newest),
            Some(_) if self.rng.one_in(2) => Some(*self.rng.pick(&known)),
            _ => None,
        };
        let newest = room.map_or(3, |room| self.oracle.rooms[room].offset);
        let offset = if self.rng.one_in(10) {
            newest + self.rng.below(3)
        } else {
            newest.saturating_sub(self.rng.below(9))
        };
        let epoch = room.and_then(|room| self.epochs[room]).unwrap_or(Epoch(1));
        (Some((room, offset)), Some(Position { epoch, offset }))
    }

    fn join(&mut self, session: usize) {
        let subject = if self.rng.one_in(4) {
            *self.rng.pick(PATTERNS)
        } else {
            *self.rng.pick(ROOMS)
        };
        let (since, position) = self.since(subject);
        let wish = Wish {
            subject,
            since,
            presence: self.rng.one_in(2),
            watch: self.rng.one_in(5),
        };
        // Who sits there already keeps the kind of seat; the model's wish says so too.
        let held = self.oracle.sessions[session].seats.iter();
        let held = held.clone().find(|seat| seat.subject == subject);
        let wish = Wish {
            watch: held.map_or(wish.watch, |seat| seat.watch),
            ..wish
        };
        let request = Join {
            subject,
            member: Member {
                id: MemberId(self.oracle.sessions[session].member),
                name: self.oracle.sessions[session]
                    .name
                    .as_deref()
                    .map(Into::into),
            },
            since: position,
            presence: wish.presence,
            watch: wish.watch,
        };
        let worker = self.oracle.worker_of(session);
        let slot = self.slot(session);
        let joined = self.seats[worker].join(slot, request, self.now);
        let expected = self.oracle.join(session, &wish, self.now);
        let (joined, expected) = match (joined, expected) {
            (Ok(joined), Ok(expected)) => (joined, expected),
            (Err(error), Err(expected)) => return assert_eq!(error, expected),
            (joined, expected) => panic!("{joined:?} instead of {expected:?}"),
        };
        assert_eq!(&*joined.subject, subject);
        assert_eq!(joined.offset, expected.offset);
        assert_eq!(joined.recovered, expected.recovered);
        assert_eq!(joined.again, expected.again);
        assert_eq!(joined.pattern, is_pattern(subject));
        let missed = joined.missed.iter();
        let missed: Vec<_> = missed.map(|past| (past.offset, *past.message)).collect();
        assert_eq!(missed, expected.missed);
        let Some(room) = expected.room else {
            assert!(joined.room.is_none());
            return;
        };
        let identity = joined.room.expect("it is not a pattern");
        assert_eq!((identity.epoch, &*identity.name), (joined.epoch, subject));
        self.meet(room, identity.epoch);
        for (offset, payload) in missed {
            let origin = Origin {
                room: identity.id,
                offset,
                slow: identity.slow,
            };
            self.ids.insert(identity.id, room);
            if self.push(session, payload, Some(origin)) == Push::Overflow {
                self.end_session(session);
                break;
            }
        }
    }

    fn push(&mut self, session: usize, payload: u64, origin: Option<Origin>) -> Push {
        let bytes = 1 + usize::try_from(payload % 7).expect("small");
        self.outboxes[session].push(payload, bytes, origin, &self.limits)
    }

    fn leave(&mut self, session: usize) {
        let seats = &self.oracle.sessions[session].seats;
        let subject = if seats.is_empty() || self.rng.one_in(5) {
            let subjects = if self.rng.one_in(2) { ROOMS } else { PATTERNS };
            *self.rng.pick(subjects)
        } else {
            self.rng.pick(seats).subject
        };
        let worker = self.oracle.worker_of(session);
        let slot = self.slot(session);
        let left = self.seats[worker].leave(slot, subject, self.now);
        assert_eq!(left, self.oracle.leave(session, subject, self.now));
    }

    fn end_session(&mut self, session: usize) {
        let worker = self.oracle.worker_of(session);
        let slot = self.slot(session);
        self.seats[worker].leave_all(slot, self.now);
        self.oracle.end_session(session, self.now);
        self.outboxes[session] = Pair::default();
    }

    fn rename(&mut self, session: usize) {
        let name = format!("n{}", self.number());
        let worker = self.oracle.worker_of(session);
        let slot = self.slot(session);
        self.seats[worker].rename(slot, name.as_str().into());
        self.oracle.sessions[session].name = Some(name);
    }

    fn drain(&mut self) {
        let index = self.rng.index(self.seats.len());
        let max = if self.rng.one_in(2) {
            usize::MAX
        } else {
            self.rng.index(5)
        };
        let congested = self.hub.is_congested();
        let rung: Vec<usize> = self.bells.iter().map(|bell| bell.rung()).collect();
        let mut drained = Vec::new();
        let count = self.hub.inbox(self.worker(index)).drain(max, &mut drained);
        assert_eq!(count, drained.len());
        assert_eq!(count, self.oracle.inboxes[index].len().min(max));
        let letters = self.oracle.inboxes[index].drain(..count);
        self.pending[index].extend(drained.into_iter().zip(letters));
        if congested && !self.hub.is_congested() {
            for (bell, before) in self.bells.iter().zip(rung) {
                assert!(bell.rung() > before, "the end of congestion wakes everyone");
            }
        }
        if self.oracle.inboxes[index].is_empty() {
            self.at_rest[index] = self.bells[index].rung();
        }
    }

    fn deliver_some(&mut self) {
        let worker = self.rng.index(self.seats.len());
        for _ in 0..self.rng.below(8) {
            let Some((delivery, letter)) = self.pending[worker].pop_front() else {
                return;
            };
            self.deliver(worker, delivery, &letter);
        }
    }

    fn deliver(&mut self, worker: usize, delivery: Delivery<Message, u32>, letter: &Letter) {
        let expected = self.oracle.receivers(worker, letter);
        let seats = &mut self.seats[worker];
        let mut reached = Vec::new();
        let (room, what) = match delivery {
            Delivery::Message(message) => {
                seats.fan_out(&message, |slot| reached.push(slot));
                let what = What::Message {
                    offset: message.offset,
                    payload: *message.message,
                };
                (Some(message.room), what)
            }
            Delivery::Presence {
                room,
                member,
                change,
                sequence,
            } => {
                seats.fan_out_presence(&room, member.id, sequence, |slot| reached.push(slot));
                let what = What::Presence {
                    member: member.id.0,
                    name: member.name.map(|name| name.to_string()),
                    joined: change == PresenceChange::Joined,
                };
                (Some(room), what)
            }
            Delivery::Broadcast {
                room,
                control,
                sequence,
            } => {
                seats.fan_out_members(&room, sequence, |slot, _| reached.push(slot));
                (Some(room), What::Broadcast(control))
            }
            Delivery::Control(control) => (None, What::Control(control)),
        };
        assert_eq!(what, letter.what);
        reached.sort_unstable();
        assert_eq!(reached, expected, "receivers of {what:?}");
        let Some(room) = room else {
            return;
        };
        self.meet(letter.room, room.epoch);
        self.ids.insert(room.id, letter.room);
        let (payload, origin) = match what {
            What::Message { offset, payload } => {
                let origin = Origin {
                    room: room.id,
                    offset,
                    slow: room.slow,
                };
                (payload, Some(origin))
            }
            What::Presence { member, .. } => (member, None),
            What::Broadcast(control) | What::Control(control) => (u64::from(control), None),
        };
        for slot in reached {
            let session = worker * self.oracle.rules.slots + slot as usize;
            if self.push(session, payload, origin) == Push::Overflow {
                self.end_session(session);
            }
        }
    }

    fn write(&mut self, session: usize) {
        let worker = self.oracle.worker_of(session);
        let (seats, ids, rooms) = (&self.seats[worker], &self.ids, &self.oracle.rooms);
        self.outboxes[session].write(&mut self.rng, |gap| {
            let name = seats.room_name(gap.room);
            assert!(name.is_none_or(|name| **name == *rooms[ids[&gap.room]].name));
            name.is_some()
        });
    }

    fn read_history(&mut self) {
        let name = *self.rng.pick(ROOMS);
        let (since, position) = self.since(name);
        let limit = self.rng.index(6);
        let page = self.hub.history(name, position, limit, self.now);
        let Some(room) = self.oracle.existing(name) else {
            return assert_eq!(page, None);
        };
        let page = page.expect("the room exists");
        self.meet(room, page.epoch);
        let room_state = &mut self.oracle.rooms[room];
        room_state.expire(self.now);
        assert_eq!(page.offset, room_state.offset);
        let kept = room_state
            .past
            .iter()
            .map(|past| (past.offset, past.payload));
        let mut kept: Vec<(u64, u64)> = kept.collect();
        let mut whole = true;
        if let Some((epoch, offset)) = since {
            whole = epoch == Some(room)
                && offset <= room_state.offset
                && (offset + 1..=room_state.offset)
                    .all(|offset| kept.iter().any(|past| past.0 == offset));
            kept.retain(|past| !whole || past.0 > offset);
            kept.truncate(limit);
        } else {
            kept.drain(..kept.len().saturating_sub(limit));
        }
        let messages = page.messages.iter();
        let messages: Vec<_> = messages.map(|past| (past.offset, *past.message)).collect();
        assert_eq!((messages, page.recovered), (kept, whole));
    }

    fn read_members(&mut self, session: usize) {
        let name = *self.rng.pick(ROOMS);
        let limit = self.rng.index(6);
        let worker = self.oracle.worker_of(session);
        let slot = self.slot(session);
        let page = if self.rng.one_in(2) {
            self.hub.members(name, limit)
        } else {
            let page = self.seats[worker].members(slot, name, limit);
            if let Some(room) = self.oracle.existing(name) {
                self.oracle.list(session, room);
            }
            page
        };
        let Some(room) = self.oracle.existing(name) else {
            return assert_eq!(page, None);
        };
        let page = page.expect("the room exists");
        let expected = self.oracle.members(room);
        assert_eq!(page.total, expected.len());
        assert_eq!(page.members.len(), expected.len().min(limit));
        for member in page.members {
            let name = member.name.map(|name| name.to_string());
            assert!(expected.contains(&(member.id.0, name)));
        }
    }

    fn broadcast(&mut self) {
        let name = *self.rng.pick(ROOMS);
        let control = u32::try_from(self.number()).expect("few numbers");
        let reached = self.hub.broadcast(name, control);
        let expected = match self.oracle.broadcast(name, control) {
            None => Err(BroadcastError::NoSuchRoom),
            Some(None) => Err(BroadcastError::Congested),
            Some(Some(members)) => Ok(members),
        };
        assert_eq!(reached, expected);
    }

    fn send(&mut self) {
        let index = self.rng.index(self.seats.len());
        let control = u32::try_from(self.number()).expect("few numbers");
        let sent = self.hub.send(self.worker(index), control);
        assert_eq!(sent.is_ok(), self.oracle.send(index, control));
        assert!(sent.is_ok() || sent.is_err_and(|full| full.0 == control));
    }

    fn sweep(&mut self) {
        let all = self.rng.one_in(2);
        let budget = if all { 100 } else { self.rng.index(4) };
        let swept = self.hub.sweep(self.now, budget, 0);
        let left = self.hub.rooms(usize::MAX);
        let mut gone = 0;
        for room in 0..self.oracle.rooms.len() {
            if !self.oracle.rooms[room].exists {
                continue;
            }
            let name = self.oracle.rooms[room].name;
            if left.iter().any(|summary| *summary.name == *name) {
                assert!(!all || !self.oracle.may_go(room, self.now), "{name} stayed");
            } else {
                assert!(self.oracle.may_go(room, self.now), "{name} was swept away");
                self.oracle.rooms[room].exists = false;
                gone += 1;
            }
        }
        assert_eq!(swept.rooms, gone);
        assert!(gone <= budget);
        if all {
            let unexpired = self.oracle.rooms.iter().filter(|room| room.exists);
            let unexpired: usize = unexpired.map(|room| room.past.len()).sum();
            assert_eq!(self.hub.stats().history_messages, unexpired as u64);
        }
    }

    fn check(&self) {
        self.hub.check_invariants();
        assert_eq!(self.hub.is_congested(), self.oracle.is_congested());
        let stats = self.hub.stats();
        assert_eq!(stats.rooms, self.oracle.rooms_now());
        assert_eq!(stats.patterns, self.oracle.patterns_now().len());
        assert_eq!(stats.presence_dropped, self.oracle.untold);
        for summary in self.hub.rooms(usize::MAX) {
            let room = self.oracle.existing(&summary.name);
            let room = room.expect("what the hub lists exists");
            let members = self.oracle.members(room).len();
            assert_eq!(summary.offset, self.oracle.rooms[room].offset);
            assert_eq!(summary.members, members);
            assert_eq!(summary.watchers, self.oracle.seats_in(room).len() - members);
        }
        for index in 0..self.seats.len() {
            self.seats[index].check_invariants();
            let inbox = self.hub.inbox(self.worker(index));
            assert_eq!(inbox.len(), self.oracle.inboxes[index].len());
            if !inbox.is_empty() {
                let woken = self.bells[index].rung() > self.at_rest[index];
                assert!(woken, "nobody is woken for what waits");
            }
        }
        for (session, expected) in self.oracle.sessions.iter().enumerate() {
            let seats = &self.seats[self.oracle.worker_of(session)];
            let slot = self.slot(session);
            let subjects: Vec<&str> = seats.subjects(slot).collect();
            let expected: Vec<&str> = expected.seats.iter().map(|seat| seat.subject).collect();
            assert_eq!(subjects, expected);
        }
        for seat in self.oracle.sessions[0]
            .seats
            .iter()
            .filter(|s| s.room.is_some())
        {
            assert_eq!(self.seats[0].is_member(0, seat.subject), !seat.watch);
        }
    }

    /// Everything is delivered, everybody leaves, time passes: nothing may be left.
    fn finish(mut self) {
        for worker in 0..self.seats.len() {
            while let Some((delivery, letter)) = self.pending[worker].pop_front() {
                self.deliver(worker, delivery, &letter);
            }
            let mut drained = Vec::new();
            self.hub
                .inbox(self.worker(worker))
                .drain(usize::MAX, &mut drained);
            let letters: Vec<_> = self.oracle.inboxes[worker].drain(..).collect();
            for (delivery, letter) in drained.into_iter().zip(letters) {
                self.deliver(worker, delivery, &letter);
            }
        }
        self.seats.clear();
        let mut drained = Vec::new();
        for worker in 0..self.bells.len() {
            let worker = WorkerId(u16::try_from(worker).expect("few workers"));
            self.hub.inbox(worker).drain(usize::MAX, &mut drained);
        }
        self.hub.sweep(u64::MAX, usize::MAX, 0);
        self.hub.check_invariants();
        let stats = self.hub.stats();
        assert_eq!((stats.rooms, stats.patterns), (0, 0));
        assert_eq!((stats.history_messages, stats.history_bytes), (0, 0));
    }
}

#[test]
fn every_session_gets_what_the_oracle_says() {
    for_each_seed(500, |seed| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.finish();
    });
}

#[test]
fn ten_thousand_abandoned_rooms_leave_nothing() {
    let hub: Arc<Hub<Message, u32>> = Arc::new(Hub::new(HubOptions {
        max_rooms: 20_000,
        ..HubOptions::default()
    }));
    let mut seats = Seats::new(Arc::clone(&hub), WorkerId(0), 20_000);
    for number in 0..10_000_u64 {
        let name = format!("room.{number}");
        let request = Join {
            subject: &name,
            member: Member {
                id: MemberId(1),
                name: None,
            },
            since: None,
            presence: true,
            watch: false,
        };
        seats.join(0, request, 0).expect("there is room");
        if number % 2 == 0 {
            let publish = Publish {
                room: &name,
                message: Arc::new(number),
                bytes: 10,
                key: Some("once"),
                exclude: None,
            };
            hub.publish(publish, 0).expect("there is room");
        }
    }
    assert_eq!(hub.stats().rooms, 10_000);
    assert_eq!(hub.stats().history_bytes, 50_000);
    seats.leave_all(0, 1);
    seats.check_invariants();
    assert_eq!(hub.stats().rooms, 5_000, "those with history stay");

    let mut removed = 0;
    for _ in 0..10 {
        let swept = hub.sweep(400_000, 500, 0);
        assert!(swept.rooms <= 500);
        removed += swept.rooms;
    }
    assert_eq!(removed, 5_000);
    let stats = hub.stats();
    assert_eq!(
        (stats.rooms, stats.history_messages, stats.history_bytes),
        (0, 0, 0)
    );
    assert!(hub.rooms(1).is_empty());
    hub.check_invariants();
}

#[test]
fn a_full_hub_refuses_new_rooms_and_keeps_the_old() {
    let hub: Hub<Message, u32> = Hub::new(HubOptions {
        max_rooms: 2,
        ..HubOptions::default()
    });
    let publish = |room| {
        let publish = Publish {
            room,
            message: Arc::new(0),
            bytes: 0,
            key: None,
            exclude: None,
        };
        hub.publish(publish, 0).map(|published| published.offset)
    };
    assert_eq!(publish("one"), Ok(1));
    assert_eq!(publish("two"), Ok(1));
    assert_eq!(publish("three"), Err(PublishError::TooManyRooms));
    assert_eq!(publish("one"), Ok(2));
    hub.sweep(400_000, 10, 0);
    assert_eq!(publish("three"), Ok(1));
}
