//! What counting costs: on the hot path, at the end of a turn, and in the shared lane.
//!
//! `cargo bench -p roomwire-metrics`. The first line is the one with a promise: at most one
//! nanosecond for an increment, publication included, as one turn makes many.

use divan::{Bencher, black_box, counter::ItemsCount};
use roomwire_metrics::{CATALOGUE, Id, Kind, LaneWriter, Page, PageOptions};

// Known at compile time, as they are where the gateway counts.
const COUNTERS: [Id; 4] = [
    nth(Kind::Counter, 0),
    nth(Kind::Counter, 9),
    nth(Kind::Counter, 1),
    nth(Kind::Counter, 5),
];
const HISTOGRAM: Id = nth(Kind::Histogram, 0);

const fn nth(kind: Kind, mut n: usize) -> Id {
    let mut i = 0;
    loop {
        let metric = &CATALOGUE[i];
        if metric.kind as u8 == kind as u8 {
            if n == 0 {
                return metric.id;
            }
            n -= 1;
        }
        i += 1;
    }
}

fn main() {
    divan::main();
}

fn lane() -> LaneWriter {
    let page = Page::anonymous(&PageOptions::new("bench", 1)).expect("the options are good");
    page.lane(0).expect("lane 0 is free")
}

/// A turn of a busy worker: a thousand counts of four figures, then the publication.
#[divan::bench]
fn increment_amortised(bencher: Bencher<'_, '_>) {
    let lane = lane();
    bencher
        .counter(ItemsCount::new(1_000usize))
        .bench_local(|| {
            for _ in 0..250 {
                black_box(&lane).increment(COUNTERS[0]);
                black_box(&lane).increment(COUNTERS[1]);
                black_box(&lane).add(COUNTERS[2], 7);
                black_box(&lane).add(COUNTERS[3], 100);
            }
            lane.publish();
        });
}

/// Which figure is known only at run time.
#[divan::bench]
fn increment_by_variable_id(bencher: Bencher<'_, '_>) {
    let lane = lane();
    let ids: Vec<Id> = CATALOGUE
        .iter()
        .filter(|row| row.kind == Kind::Counter)
        .map(|row| row.id)
        .collect();
    bencher.counter(ItemsCount::new(ids.len())).bench_local(|| {
        for id in &ids {
            black_box(&lane).increment(black_box(*id));
        }
    });
}

#[divan::bench]
fn record(bencher: Bencher<'_, '_>) {
    let lane = lane();
    bencher
        .counter(ItemsCount::new(1_000usize))
        .bench_local(|| {
            for value in 0..1_000 {
                black_box(&lane).record(HISTOGRAM, black_box(value));
            }
        });
}

/// A turn that changed so many cache lines of figures, and its publication. Less [`mark`] it is
/// the publication alone.
#[divan::bench(args = [0, 1, 10, 100])]
fn mark_and_publish(bencher: Bencher<'_, '_>, lines: u64) {
    let lane = lane();
    bencher.bench_local(|| {
        change_lines(black_box(&lane), lines);
        black_box(&lane).publish();
    });
}

#[divan::bench(args = [1, 10, 100])]
fn mark(bencher: Bencher<'_, '_>, lines: u64) {
    let lane = lane();
    bencher.bench_local(|| change_lines(black_box(&lane), lines));
}

fn change_lines(lane: &LaneWriter, lines: u64) {
    match lines {
        0 => {}
        1 => lane.increment(COUNTERS[0]),
        // The first line of a histogram has its sums, each other one eight buckets.
        lines => (1..lines).for_each(|line| lane.record(HISTOGRAM, value_in_line(line))),
    }
}

/// A value whose bucket lies in the given cache line: 32 buckets, four lines, per power of two.
const fn value_in_line(line: u64) -> u64 {
    (32 + line % 4 * 8) << (line / 4)
}

#[divan::bench]
fn shared_increment(bencher: Bencher<'_, '_>) {
    let page = Page::anonymous(&PageOptions::new("bench", 1)).expect("the options are good");
    let shared = page.shared();
    bencher.bench_local(|| black_box(&shared).increment(COUNTERS[0]));
}

#[divan::bench]
fn snapshot_of_sixteen_workers(bencher: Bencher<'_, '_>) {
    let page = Page::anonymous(&PageOptions::new("bench", 16)).expect("the options are good");
    bencher.bench_local(|| page.snapshot());
}
