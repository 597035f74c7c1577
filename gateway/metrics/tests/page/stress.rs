//! Many writers and readers at once: sums are exact in the end, and nothing goes back on the way.

use std::sync::atomic::{AtomicBool, Ordering};

use roomwire_metrics::{Kind, Metric, Reader, Snapshot};

use crate::{COUNTER, GAUGE, HIGH, HISTOGRAM, OTHER_COUNTER, create, nth, place};

const SHARED_COUNTER: &Metric = nth(Kind::Counter, 2);

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
                            lane.increment(COUNTER.id);
                            lane.add(OTHER_COUNTER.id, 10);
                            lane.record(HISTOGRAM.id, turn * COUNTS_A_TURN + count);
                        }
                        lane.gauge_add(GAUGE.id, 3);
                        lane.gauge_sub(GAUGE.id, 2);
                        lane.high_water(HIGH.id, turn);
                        shared.increment(SHARED_COUNTER.id);
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
        (COUNTER.name, counts),
        (OTHER_COUNTER.name, 10 * counts),
        (GAUGE.name, turns),
        (SHARED_COUNTER.name, turns),
        (HIGH.name, TURNS - 1),
        (HISTOGRAM.name, counts),
    ] {
        assert_eq!(seen.value(name), Some(expected), "{name}");
    }
    let each = TURNS * COUNTS_A_TURN;
    assert_eq!(
        seen.row(HISTOGRAM.name).unwrap().per_lane,
        [each, each, each, each, 0]
    );
    let sum = u64::from(WORKERS) * each * (each - 1) / 2;
    assert_eq!(
        seen.row(HISTOGRAM.name)
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
        COUNTER.name,
        OTHER_COUNTER.name,
        SHARED_COUNTER.name,
        HIGH.name,
        HISTOGRAM.name,
    ] {
        assert!(last.value(name) <= now.value(name), "{name} went back");
    }
    // A turn is published whole, and each figure in one store.
    let published = now.value(COUNTER.name).unwrap();
    assert_eq!(published % COUNTS_A_TURN, 0, "part of a turn was published");
}
