//! The rules of seats, one test each; `tests/model` compares them with a naive hub.

use super::*;
use crate::delivery::{Delivery, PresenceChange};
use crate::hub::Publish;
use crate::options::{HistoryLimits, HubOptions, RoomSettings};

type TestHub = Hub<u32, ()>;

fn hub(history: HistoryLimits) -> Arc<TestHub> {
    let rooms = RoomSettings {
        history,
        ..RoomSettings::default()
    };
    Arc::new(Hub::new(HubOptions {
        rooms,
        ..HubOptions::default()
    }))
}

fn seats(hub: &Arc<TestHub>) -> Seats<u32, ()> {
    Seats::new(Arc::clone(hub), WorkerId(0), 4)
}

fn join(seats: &mut Seats<u32, ()>, slot: u32, subject: &str) -> Result<Joined<u32>, JoinError> {
    join_since(seats, slot, subject, None)
}

fn join_since(
    seats: &mut Seats<u32, ()>,
    slot: u32,
    subject: &str,
    since: Option<Position>,
) -> Result<Joined<u32>, JoinError> {
    let request = Join {
        subject,
        member: Member {
            id: MemberId(u64::from(slot)),
            name: None,
        },
        since,
        presence: true,
        watch: false,
    };
    seats.join(slot, request, 0)
}

fn publish(hub: &TestHub, room: &str, message: u32, exclude: Option<u64>) -> u64 {
    let publish = Publish {
        room,
        message,
        bytes: 1,
        key: None,
        exclude: exclude.map(MemberId),
    };
    hub.publish(publish, 0).expect("below all bounds").offset
}

/// Who gets which message: slot and message. Changes of presence are left out.
fn deliver(hub: &TestHub, seats: &mut Seats<u32, ()>) -> Vec<(u32, u32)> {
    let mut drained = Vec::new();
    hub.inbox(WorkerId(0)).drain(usize::MAX, &mut drained);
    let mut received = Vec::new();
    for delivery in drained {
        if let Delivery::Message(message) = delivery {
            seats.fan_out(&message, |slot| received.push((slot, message.message)));
        }
    }
    seats.check_invariants();
    hub.check_invariants();
    received.sort_unstable();
    received
}

#[test]
fn a_seat_gets_nothing_that_was_queued_before_it_was_taken() {
    let hub = hub(HistoryLimits::default());
    let mut seats = seats(&hub);
    join(&mut seats, 0, "room").expect("joined");
    publish(&hub, "room", 1, None);
    assert_eq!(
        join(&mut seats, 1, "room").map(|joined| joined.offset),
        Ok(1)
    );
    publish(&hub, "room", 2, None);
    assert_eq!(deliver(&hub, &mut seats), [(0, 1), (0, 2), (1, 2)]);
}

#[test]
fn a_session_that_comes_back_gets_what_it_missed_and_then_what_is_live() {
    let hub = hub(HistoryLimits::default());
    let mut seats = seats(&hub);
    let epoch = join(&mut seats, 0, "room").expect("joined").epoch;
    publish(&hub, "room", 1, None);
    publish(&hub, "room", 2, None);
    assert!(seats.leave(0, "room", 0));
    let since = Some(Position { epoch, offset: 1 });
    let joined = join_since(&mut seats, 0, "room", since).expect("joined");
    assert_eq!((joined.recovered, joined.missed.len()), (Some(true), 1));
    assert_eq!(joined.missed[0].message, 2);
    publish(&hub, "room", 3, None);
    assert_eq!(deliver(&hub, &mut seats), [(0, 3)]);
}

#[test]
fn joining_again_with_a_position_repeats_nothing() {
    let hub = hub(HistoryLimits::default());
    let mut seats = seats(&hub);
    let epoch = join(&mut seats, 0, "room").expect("joined").epoch;
    publish(&hub, "room", 1, None);
    let since = Some(Position { epoch, offset: 0 });
    let joined = join_since(&mut seats, 0, "room", since).expect("joined");
    assert!(joined.again);
    assert_eq!(joined.missed.len(), 1);
    publish(&hub, "room", 2, None);
    assert_eq!(deliver(&hub, &mut seats), [(0, 2)]);
}

#[test]
fn joining_again_without_history_loses_nothing() {
    let hub = hub(HistoryLimits::NONE);
    let mut seats = seats(&hub);
    let epoch = join(&mut seats, 0, "room").expect("joined").epoch;
    publish(&hub, "room", 1, None);
    let since = Some(Position { epoch, offset: 0 });
    let joined = join_since(&mut seats, 0, "room", since).expect("joined");
    assert_eq!((joined.recovered, joined.missed.len()), (Some(false), 0));
    assert_eq!(deliver(&hub, &mut seats), [(0, 1)]);
}

#[test]
fn a_session_gets_a_message_once_however_many_of_its_seats_match() {
    let hub = hub(HistoryLimits::default());
    let mut seats = seats(&hub);
    for subject in ["news.a", "news.*", ">", "*.a"] {
        join(&mut seats, 0, subject).expect("joined");
    }
    join(&mut seats, 1, "news.>").expect("joined");
    publish(&hub, "news.a", 1, None);
    publish(&hub, "other", 2, None);
    publish(&hub, "news.a", 3, Some(0));
    assert_eq!(deliver(&hub, &mut seats), [(0, 1), (0, 2), (1, 1), (1, 3)]);
}

#[test]
fn the_name_of_a_room_that_only_a_pattern_heard_is_known() {
    let hub = hub(HistoryLimits::default());
    let mut seats = seats(&hub);
    join(&mut seats, 0, "news.*").expect("joined");
    publish(&hub, "news.a", 1, None);
    assert_eq!(deliver(&hub, &mut seats), [(0, 1)]);
    // Ids count from 1.
    assert_eq!(
        seats.room_name(RoomId(1)).map(|name| &**name),
        Some("news.a")
    );
    assert_eq!(seats.room_name(RoomId(2)), None);
}

#[test]
fn changes_of_presence_go_to_those_who_were_there_before() {
    let hub = hub(HistoryLimits::default());
    let mut seats = seats(&hub);
    for slot in 0..3 {
        join(&mut seats, slot, "room").expect("joined");
    }
    assert!(seats.leave(1, "room", 0));
    let mut drained = Vec::new();
    hub.inbox(WorkerId(0)).drain(usize::MAX, &mut drained);
    let mut told = Vec::new();
    for delivery in drained {
        if let Delivery::Presence {
            room,
            member,
            change,
            sequence,
        } = delivery
        {
            seats.fan_out_presence(&room, member.id, sequence, |slot| {
                told.push((slot, member.id.0, change));
            });
        }
    }
    told.sort_unstable_by_key(|told| (told.0, told.1));
    let expected = [
        (0, 1, PresenceChange::Joined),
        (0, 1, PresenceChange::Left),
        (0, 2, PresenceChange::Joined),
        (2, 1, PresenceChange::Left),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_session_has_so_many_seats_and_no_more() {
    let hub = hub(HistoryLimits::NONE);
    let mut seats = seats(&hub);
    for subject in ["a", "b", "c.*", "d"] {
        join(&mut seats, 0, subject).expect("joined");
    }
    for subject in ["e", "e.*"] {
        let refused = join(&mut seats, 0, subject).err();
        assert_eq!(refused, Some(JoinError::TooManyRoomsForSession));
    }
    assert!(join(&mut seats, 0, "a").is_ok_and(|joined| joined.again));
    assert_eq!(
        seats.subjects(0).collect::<Vec<_>>(),
        ["a", "b", "c.*", "d"]
    );
    seats.leave_all(0, 0);
    assert_eq!((hub.stats().rooms, hub.stats().patterns), (0, 0));
}

#[test]
fn dropping_the_seats_leaves_every_room() {
    let hub = hub(HistoryLimits::NONE);
    let mut seats = seats(&hub);
    join(&mut seats, 0, "a").expect("joined");
    join(&mut seats, 3, "b.*").expect("joined");
    drop(seats);
    assert_eq!((hub.stats().rooms, hub.stats().patterns), (0, 0));
}

/// Drains the inbox as runs of one room each: slot and message, in the order of the calls.
fn deliver_in_runs(hub: &TestHub, seats: &mut Seats<u32, ()>) -> Vec<(u32, u32)> {
    let mut drained = Vec::new();
    hub.inbox(WorkerId(0)).drain(usize::MAX, &mut drained);
    let messages: Vec<_> = drained
        .into_iter()
        .filter_map(|delivery| match delivery {
            Delivery::Message(message) => Some(message),
            _ => None,
        })
        .collect();
    let mut received = Vec::new();
    for run in messages.chunk_by(|one, next| one.room.id == next.room.id) {
        seats.fan_out_run(run, |slot, range| {
            assert!(!range.is_empty());
            received.extend(run[range].iter().map(|message| (slot, message.message)));
        });
    }
    received
}

#[test]
fn a_run_reaches_whom_its_messages_reach_one_by_one_and_in_order() {
    // With a pattern and without: the two walks differ.
    for patterns in [&[][..], &["*"]] {
        let both = [(); 2].map(|()| {
            let hub = hub(HistoryLimits::default());
            let mut seats = seats(&hub);
            for slot in 0..3 {
                join(&mut seats, slot, "a").expect("joined");
            }
            for pattern in patterns {
                join(&mut seats, 5, pattern).expect("joined");
            }
            publish(&hub, "a", 1, None);
            publish(&hub, "a", 2, Some(0));
            join(&mut seats, 3, "a").expect("joined");
            publish(&hub, "a", 3, Some(3));
            publish(&hub, "b", 4, None);
            publish(&hub, "a", 5, Some(0));
            join(&mut seats, 4, "a").expect("joined");
            publish(&hub, "a", 6, None);
            (hub, seats)
        });
        let [(hub, mut seats), (other_hub, mut other_seats)] = both;
        let one_by_one = deliver(&hub, &mut seats);
        let mut in_runs = deliver_in_runs(&other_hub, &mut other_seats);
        for slot in 0..6 {
            let mine = in_runs.iter().filter(|(to, _)| *to == slot);
            assert!(mine.is_sorted(), "in order for {slot}: {in_runs:?}");
        }
        in_runs.sort_unstable();
        assert_eq!(in_runs, one_by_one);
        let expected = [
            (0, 1),
            (0, 3),
            (0, 6),
            (1, 1),
            (1, 2),
            (1, 3),
            (1, 5),
            (1, 6),
            (2, 1),
            (2, 2),
            (2, 3),
            (2, 5),
            (2, 6),
            (3, 5),
            (3, 6),
            (4, 6),
        ];
        let of_the_room: Vec<_> = in_runs.into_iter().filter(|(slot, _)| *slot < 5).collect();
        assert_eq!(of_the_room, expected);
    }
}
