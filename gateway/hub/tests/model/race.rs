//! Threads that join, publish, drain and leave at once: what must hold whoever comes first.
//!
//! No oracle here; each session keeps a diary, and a diary proves itself: offsets in one stay are
//! without holes and without repetitions, what was missed joins what comes live, and at the end
//! everybody stands where the room stands.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use roomwire_hub::{
    Delivery, Epoch, HistoryLimits, Hub, HubOptions, Join, Joined, Member, MemberId, Position,
    Publish, PublishError, RoomSettings, Seats, SlowPolicy, WorkerId,
};

use crate::for_each_seed;
use crate::rng::Rng;

const WORKERS: u16 = 3;
const SLOTS: u32 = 4;
const ROOMS: &[&str] = &["a.x", "a.y", "bare"];
const STEPS: usize = 1_500;

type Message = Arc<u64>;

/// What was published: epoch and offset to payload.
type Record = Mutex<HashMap<(u64, u64), u64>>;

struct Racer {
    rng: Rng,
    hub: Arc<Hub<Message, ()>>,
    seats: Seats<Message, ()>,
    worker: WorkerId,
    /// By slot and room: where the session stands in its stay.
    stands: HashMap<(u32, &'static str), Position>,
    /// By slot and epoch: where the session's pattern stands, since it was taken.
    heard: HashMap<(u32, u64), u64>,
    /// By slot and room: where the session stood when it left.
    left: HashMap<(u32, &'static str), Position>,
    received: Vec<(u64, u64, u64)>,
}

/// The slot whose session only ever has a pattern.
const LISTENER: u32 = SLOTS;

impl Racer {
    fn new(hub: &Arc<Hub<Message, ()>>, worker: u16, seed: u64) -> Self {
        let worker = WorkerId(worker);
        Self {
            rng: Rng::new(seed.wrapping_mul(31).wrapping_add(u64::from(worker.0))),
            hub: Arc::clone(hub),
            seats: Seats::new(Arc::clone(hub), worker, 8),
            worker,
            stands: HashMap::new(),
            heard: HashMap::new(),
            left: HashMap::new(),
            received: Vec::new(),
        }
    }

    fn join_as(
        &mut self,
        slot: u32,
        subject: &str,
        since: Option<Position>,
    ) -> Option<Joined<Message>> {
        let member = u64::from(self.worker.0) * 100 + u64::from(slot);
        let request = Join {
            subject,
            member: Member {
                id: MemberId(member),
                name: None,
            },
            since,
            presence: self.rng.one_in(2),
            watch: self.rng.one_in(4),
        };
        // Congestion is the only error that can be, and passes.
        self.seats.join(slot, request, 0).ok()
    }

    fn join(&mut self, slot: u32, room: &'static str) {
        if self.stands.contains_key(&(slot, room)) {
            return;
        }
        let since = self.left.get(&(slot, room)).copied();
        let Some(joined) = self.join_as(slot, room, since) else {
            return;
        };
        assert!(!joined.again);
        if let (Some(since), Some(true)) = (since, joined.recovered) {
            assert_eq!(since.epoch, joined.epoch);
            let first = joined
                .missed
                .first()
                .map_or(joined.offset, |m| m.offset - 1);
            assert_eq!(
                first, since.offset,
                "nothing is missing before what was missed"
            );
        }
        for pair in joined.missed.windows(2) {
            assert_eq!(pair[0].offset + 1, pair[1].offset);
        }
        if let Some(last) = joined.missed.last() {
            assert_eq!(last.offset, joined.offset, "missed ends where live begins");
        }
        for missed in &joined.missed {
            self.received
                .push((joined.epoch.0, missed.offset, *missed.message));
        }
        let position = Position {
            epoch: joined.epoch,
            offset: joined.offset,
        };
        self.stands.insert((slot, room), position);
    }

    fn leave(&mut self, slot: u32, room: &'static str) {
        let held = self.stands.remove(&(slot, room));
        assert_eq!(self.seats.leave(slot, room, 0), held.is_some());
        if let Some(position) = held {
            self.left.insert((slot, room), position);
        }
    }

    fn publish(&mut self, room: &str, payload: u64, record: &Record) {
        loop {
            let publish = Publish {
                room,
                message: Arc::new(payload),
                bytes: 8,
                key: None,
                exclude: None,
            };
            match self.hub.publish(publish, 0) {
                Ok(published) => {
                    let key = (published.epoch.0, published.offset);
                    let mut record = record.lock().expect("no thread panicked");
                    assert_eq!(record.insert(key, payload), None, "an offset given twice");
                    return;
                }
                Err(PublishError::Congested) => {
                    self.drain();
                    thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn drain(&mut self) {
        let mut drained = Vec::new();
        let max = self.rng.index(40);
        self.hub.inbox(self.worker).drain(max, &mut drained);
        self.deliver(drained);
    }

    fn deliver(&mut self, drained: Vec<Delivery<Message, ()>>) {
        for delivery in drained {
            match delivery {
                Delivery::Message(message) => {
                    let mut slots = Vec::new();
                    self.seats.fan_out(&message, |slot| slots.push(slot));
                    for slot in slots {
                        self.receive(slot, &message.room.name, message.room.epoch, message.offset);
                        self.received.push((
                            message.room.epoch.0,
                            message.offset,
                            *message.message,
                        ));
                    }
                }
                Delivery::Presence {
                    room,
                    member,
                    sequence,
                    ..
                } => self
                    .seats
                    .fan_out_presence(&room, member.id, sequence, |slot| {
                        assert!(slot < SLOTS);
                    }),
                Delivery::Broadcast { .. } | Delivery::Control(()) => {}
            }
        }
    }

    fn receive(&mut self, slot: u32, room: &str, epoch: Epoch, offset: u64) {
        if slot == LISTENER {
            let before = self.heard.insert((slot, epoch.0), offset);
            assert!(before.is_none_or(|before| before + 1 == offset));
            return;
        }
        let room = ROOMS.iter().find(|known| **known == room);
        let room = room.expect("a known room");
        let stand = self.stands.get_mut(&(slot, *room));
        let stand = stand.expect("only who is seated receives");
        assert_eq!(stand.epoch, epoch);
        assert_eq!(stand.offset + 1, offset, "a hole or a repetition");
        stand.offset = offset;
    }

    fn run(&mut self, numbers: std::ops::Range<u64>, record: &Record) {
        assert!(
            self.join_as(LISTENER, "a.*", None)
                .is_some_and(|j| j.pattern)
        );
        for number in numbers {
            let room = *self.rng.pick(ROOMS);
            let slot = u32::try_from(self.rng.below(u64::from(SLOTS))).expect("few slots");
            match self.rng.below(12) {
                0..=5 => self.publish(room, number, record),
                6..=7 => self.join(slot, room),
                8 => self.leave(slot, room),
                9 if self.rng.one_in(10) => {
                    self.seats.leave(LISTENER, "a.*", 0);
                    self.heard.clear();
                    self.join_as(LISTENER, "a.*", None);
                }
                _ => self.drain(),
            }
        }
    }

    /// True once nobody publishes and everything is drained.
    fn stands_where_the_rooms_stand(&self) {
        for (&(_, room), stand) in &self.stands {
            let state = self.hub.history(room, None, 0, 0);
            let state = state.expect("a room with a seat exists");
            assert_eq!((state.epoch, state.offset), (stand.epoch, stand.offset));
        }
        self.seats.check_invariants();
    }

    fn drain_all(&mut self) {
        let mut drained = Vec::new();
        self.hub.inbox(self.worker).drain(usize::MAX, &mut drained);
        self.deliver(drained);
    }
}

fn race(seed: u64) {
    let options = HubOptions {
        workers: WORKERS,
        inbox_capacity: if seed.is_multiple_of(2) { 16 } else { 4_096 },
        rooms: RoomSettings {
            history: HistoryLimits {
                messages: 30,
                bytes: 1_000,
                age_ms: u64::MAX,
            },
            slow: SlowPolicy::Disconnect,
        },
        overrides: vec![(
            "bare".parse().expect("a pattern"),
            RoomSettings {
                history: HistoryLimits::NONE,
                slow: SlowPolicy::Disconnect,
            },
        )],
        seed,
        ..HubOptions::default()
    };
    let hub = Arc::new(Hub::new(options));
    let record = Record::default();
    let running = AtomicUsize::new(usize::from(WORKERS));
    let checked = Barrier::new(usize::from(WORKERS));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (hub, record, running, checked) = (&hub, &record, &running, &checked);
            scope.spawn(move || {
                let mut racer = Racer::new(hub, worker, seed);
                let first = u64::from(worker) * STEPS as u64;
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    racer.run(first..first + STEPS as u64, record);
                }));
                // Who is done, or has failed, drains on: the others may need space in its inbox.
                running.fetch_sub(1, Ordering::SeqCst);
                while running.load(Ordering::SeqCst) > 0 {
                    if outcome.is_ok() {
                        racer.drain_all();
                    } else {
                        hub.inbox(WorkerId(worker))
                            .drain(usize::MAX, &mut Vec::new());
                    }
                    thread::yield_now();
                }
                if let Err(panic) = outcome {
                    checked.wait();
                    std::panic::resume_unwind(panic);
                }
                racer.drain_all();
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    racer.stands_where_the_rooms_stand();
                }));
                checked.wait();
                if let Err(panic) = outcome {
                    std::panic::resume_unwind(panic);
                }
                let record = record.lock().expect("no thread panicked");
                for (epoch, offset, payload) in &racer.received {
                    assert_eq!(record.get(&(*epoch, *offset)), Some(payload));
                }
            });
        }
    });
    let mut left = Vec::new();
    for worker in 0..WORKERS {
        hub.inbox(WorkerId(worker)).drain(usize::MAX, &mut left);
    }
    hub.check_invariants();
    assert!(
        hub.history("bare", None, 0, 0)
            .is_none_or(|page| page.messages.is_empty())
    );
    hub.sweep(u64::MAX, usize::MAX, 0);
    let stats = hub.stats();
    assert_eq!(
        (stats.rooms, stats.patterns, stats.history_bytes),
        (0, 0, 0)
    );
}

#[test]
fn nothing_is_lost_or_repeated_between_threads() {
    for_each_seed(30, race);
}

/// Runs `act` many times on each worker's thread, with seats of its own.
fn churn(
    history: HistoryLimits,
    act: impl Fn(&Hub<Message, ()>, &mut Seats<Message, ()>, u16) + Sync,
) {
    let hub = Arc::new(Hub::new(HubOptions {
        workers: WORKERS,
        rooms: RoomSettings {
            history,
            slow: SlowPolicy::Disconnect,
        },
        ..HubOptions::default()
    }));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (hub, act) = (&hub, &act);
            scope.spawn(move || {
                let mut seats = Seats::new(Arc::clone(hub), WorkerId(worker), 8);
                for _ in 0..8_000 {
                    act(hub, &mut seats, worker);
                }
            });
        }
    });
    for worker in 0..WORKERS {
        hub.inbox(WorkerId(worker))
            .drain(usize::MAX, &mut Vec::new());
    }
    hub.check_invariants();
    hub.sweep(u64::MAX, usize::MAX, 0);
    assert_eq!(hub.stats().rooms, 0);
}

fn take_seat(seats: &mut Seats<Message, ()>, worker: u16, subject: &str) -> Joined<Message> {
    let request = Join {
        subject,
        member: Member {
            id: MemberId(u64::from(worker)),
            name: None,
        },
        since: None,
        presence: false,
        watch: false,
    };
    seats.join(0, request, 0).expect("nothing is at its bound")
}

/// Drains after each publish, so only another thread's publishes can have filled an inbox.
fn publish_and_drain(
    hub: &Hub<Message, ()>,
    seats: &mut Seats<Message, ()>,
    worker: u16,
    room: &str,
) -> (Position, Vec<Position>) {
    let publish = Publish {
        room,
        message: Arc::new(0),
        bytes: 1,
        key: None,
        exclude: None,
    };
    let published = hub.publish(publish, 0).expect("nothing is at its bound");
    let mut drained = Vec::new();
    hub.inbox(WorkerId(worker)).drain(usize::MAX, &mut drained);
    let mut heard = Vec::new();
    for delivery in drained {
        if let Delivery::Message(message) = delivery {
            let (epoch, offset) = (message.room.epoch, message.offset);
            seats.fan_out(&message, |_| heard.push(Position { epoch, offset }));
        }
    }
    let published = Position {
        epoch: published.epoch,
        offset: published.offset,
    };
    (published, heard)
}

#[test]
fn a_room_never_vanishes_under_a_seat() {
    churn(HistoryLimits::NONE, |hub, seats, worker| {
        let joined = take_seat(seats, worker, "bare");
        let (published, heard) = publish_and_drain(hub, seats, worker, "bare");
        assert_eq!(published.epoch, joined.epoch);
        assert!(heard.contains(&published));
        assert!(seats.leave(0, "bare", 0));
    });
}

#[test]
fn a_pattern_hears_every_publish_that_begins_after_it_was_joined() {
    churn(HistoryLimits::default(), |hub, seats, worker| {
        take_seat(seats, worker, "a.*");
        let (published, heard) = publish_and_drain(hub, seats, worker, "a.x");
        assert!(heard.contains(&published));
        for pair in heard.windows(2) {
            assert_eq!(pair[0].offset + 1, pair[1].offset);
        }
        assert!(seats.leave(0, "a.*", 0));
    });
}
