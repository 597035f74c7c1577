//! What counting costs: on the hot path, at the end of a turn, and in the shared lane.
//!
//! `cargo bench -p roomwire-metrics`. The first line is the one with a promise: at most one
//! nanosecond for an increment, publication included, as one turn makes many.

use divan::{Bencher, black_box, counter::ItemsCount};
use roomwire_metrics::{CATALOGUE, Id, Kind, LaneWriter, Page, PageOptions};

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
                black_box(&lane).increment(Id::CommandsReceived);
                black_box(&lane).increment(Id::MessagesPublished);
                black_box(&lane).add(Id::MessagesDelivered, 7);
                black_box(&lane).add(Id::BytesSent, 100);
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
                black_box(&lane).record(Id::TurnMicros, black_box(value));
            }
        });
}

/// The end of a turn that changed so many cache lines of figures.
#[divan::bench(args = [0, 1, 10, 100])]
fn publish(bencher: Bencher<'_, '_>, lines: u64) {
    let lane = lane();
    bencher
        .with_inputs(|| {
            if lines == 1 {
                lane.increment(Id::CommandsReceived);
            } else {
                // Eight values from 64 on share a line of the histogram; one line has its sums.
                (1..lines).for_each(|line| lane.record(Id::TurnMicros, bucket_in_line(line)));
            }
        })
        .bench_local_values(|()| lane.publish());
}

/// A value whose bucket lies in the given cache line: 32 buckets, four lines, per power of two.
const fn bucket_in_line(line: u64) -> u64 {
    (32 + line % 4 * 8) << (line / 4)
}

#[divan::bench]
fn shared_increment(bencher: Bencher<'_, '_>) {
    let page = Page::anonymous(&PageOptions::new("bench", 1)).expect("the options are good");
    let shared = page.shared();
    bencher.bench_local(|| black_box(&shared).increment(Id::SessionsRefused));
}

#[divan::bench]
fn snapshot_of_sixteen_workers(bencher: Bencher<'_, '_>) {
    let page = Page::anonymous(&PageOptions::new("bench", 16)).expect("the options are good");
    bencher.bench_local(|| page.snapshot());
}
