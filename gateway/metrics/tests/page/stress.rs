//! Many writers and readers at once: sums are exact in the end, and nothing goes back on the way.

use std::sync::atomic::{AtomicBool, Ordering};

use roomwire_metrics::{Id, Reader, Snapshot};

use crate::{create, place};

const WORKERS: u16 = 4;
const TURNS: u64 = 2_000;
const COUNTS_A_TURN: u64 = 16;

#[test]
fn sums_across_lanes_are_exact_and_never_go_back() {
    let (_directory, path) = place();
    let page = create(&path, WORKERS);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = Reader::open(&path).unwrap();
                let done = &done;
                scope.spawn(move || watch(&reader, done))
            })
            .collect();
        let writers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (lane, shared) = (page.lane(worker).unwrap(), page.shared());
                scope.spawn(move || {
                    for turn in 0..TURNS {
                        for count in 0..COUNTS_A_TURN {
                            lane.increment(Id::MessagesPublished);
                            lane.add(Id::MessagesDelivered, 10);
                            lane.record(Id::TurnMicros, turn * COUNTS_A_TURN + count);
                        }
                        lane.gauge_add(Id::Sessions, 3);
                        lane.gauge_sub(Id::Sessions, 2);
                        lane.high_water(Id::InboxHigh, turn);
                        shared.increment(Id::SessionsRefused);
                        lane.publish();
                    }
                })
            })
            .collect();
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        let looks: u64 = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert!(
            looks > 2,
            "the readers looked while there was something to see"
        );
    });

    let seen = Reader::open(&path).unwrap().snapshot().unwrap();
    let (turns, counts) = (
        u64::from(WORKERS) * TURNS,
        u64::from(WORKERS) * TURNS * COUNTS_A_TURN,
    );
    for (name, expected) in [
        ("hub_messages_published_total", counts),
        ("hub_messages_delivered_total", 10 * counts),
        ("sessions", turns),
        ("sessions_refused_total", turns),
        ("hub_inbox_high_water", TURNS - 1),
        ("worker_turn_us", counts),
    ] {
        assert_eq!(seen.value(name), Some(expected), "{name}");
    }
    let each = TURNS * COUNTS_A_TURN;
    assert_eq!(
        seen.row("worker_turn_us").unwrap().per_lane,
        [each, each, each, each, 0]
    );
    let sum = u64::from(WORKERS) * each * (each - 1) / 2;
    assert_eq!(
        seen.row("worker_turn_us")
            .unwrap()
            .histogram
            .as_ref()
            .unwrap()
            .sum(),
        sum
    );
}

fn watch(reader: &Reader, done: &AtomicBool) -> u64 {
    let mut last = reader.snapshot().unwrap();
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        let now = reader.snapshot().unwrap();
        check_growth(&last, &now);
        last = now;
        looks += 1;
    }
    looks
}

fn check_growth(last: &Snapshot, now: &Snapshot) {
    for name in [
        "hub_messages_published_total",
        "hub_messages_delivered_total",
        "sessions_refused_total",
        "hub_inbox_high_water",
        "worker_turn_us",
    ] {
        assert!(last.value(name) <= now.value(name), "{name} went back");
    }
    // One publication is one cache line for these two, written in the order of their slots.
    let published = now.value("hub_messages_published_total").unwrap();
    assert_eq!(published % COUNTS_A_TURN, 0, "part of a turn was published");
}
