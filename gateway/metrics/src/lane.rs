//! Where counting happens: a worker's own lane, and the lane that all threads share.
//!
//! A [`LaneWriter`] counts into plain integers of its worker and notes which cache lines of them
//! changed; [`publish`](LaneWriter::publish), once per turn, copies those lines into the page. So a
//! count costs an addition, and a reader's loads never take a cache line away in the middle of a
//! turn. A [`SharedLane`] adds atomically at once, for what is rare or belongs to no worker.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalogue::{Id, Kind, LANE_SLOTS, LINE_SLOTS};
use crate::histogram::{self, BUCKETS_SLOT, COUNT_SLOT, MAX_SLOT, SUM_SLOT};
use crate::layout::lane_word;
use crate::page::Page;

/// Cache lines of a lane's slots.
const LINES: usize = LANE_SLOTS / LINE_SLOTS;
/// Flags that [`LaneWriter::publish`] looks at together. Chosen: two vector registers of x86-64.
const GROUP_LINES: usize = 32;
const GROUPS: usize = LINES.div_ceil(GROUP_LINES);

/// The lane of one worker. Moves with its worker; is not shared.
///
/// What was counted is seen by readers after the next [`publish`](Self::publish), which dropping it
/// does as well. Counting with a verb that does not fit the metric's kind is a bug, caught in debug
/// builds.
pub struct LaneWriter {
    page: Arc<Page>,
    worker: u16,
    values: Box<[Cell<u64>; LANE_SLOTS]>,
    /// Invariant: the flag of every line that differs from the page is 1.
    ///
    /// Flags and not bits: setting a flag is a store that nothing waits for, while bits would make
    /// each count wait for the one before it.
    dirty: [Cell<[u8; GROUP_LINES]>; GROUPS],
    publications: Cell<u64>,
}

impl LaneWriter {
    pub(crate) fn new(page: Arc<Page>, worker: u16) -> Self {
        let load = |word: &AtomicU64| Cell::new(word.load(Ordering::Relaxed));
        let values: Box<[Cell<u64>]> = page
            .lane_slots(usize::from(worker))
            .iter()
            .map(load)
            .collect();
        let publications = load(&page.lane_header(usize::from(worker))[lane_word::PUBLICATIONS]);
        Self {
            values: values.try_into().expect("a lane has LANE_SLOTS slots"),
            dirty: [const { Cell::new([0; GROUP_LINES]) }; GROUPS],
            publications,
            page,
            worker,
        }
    }

    /// The worker whose lane this is.
    pub const fn worker(&self) -> u16 {
        self.worker
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, id: Id, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Counter, "{id:?}");
        self.update(id.slot(), |value| value.wrapping_add(n));
    }

    /// Adds one to a counter.
    #[inline]
    pub fn increment(&self, id: Id) {
        self.add(id, 1);
    }

    /// Raises a gauge. What one lane adds another may take away: only the sum has to be true.
    #[inline]
    pub fn gauge_add(&self, id: Id, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.update(id.slot(), |value| value.wrapping_add(n));
    }

    /// Lowers a gauge.
    #[inline]
    pub fn gauge_sub(&self, id: Id, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.update(id.slot(), |value| value.wrapping_sub(n));
    }

    /// Sets this lane's part of a gauge.
    #[inline]
    pub fn gauge_set(&self, id: Id, value: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.update(id.slot(), |_| value);
    }

    /// Raises a high-water mark to `value` if it is below.
    #[inline]
    pub fn high_water(&self, id: Id, value: u64) {
        debug_assert_eq!(id.metric().kind, Kind::High, "{id:?}");
        if self.values[id.slot()].get() < value {
            self.update(id.slot(), |_| value);
        }
    }

    /// Records a value in a histogram.
    #[inline]
    pub fn record(&self, id: Id, value: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Histogram, "{id:?}");
        // In a release build a wrong id is left alone: its slots would be other metrics'.
        if !matches!(id.metric().kind, Kind::Histogram) {
            return;
        }
        let first = id.slot();
        self.update(first + COUNT_SLOT, |count| count.wrapping_add(1));
        self.update(first + SUM_SLOT, |sum| sum.wrapping_add(value));
        self.update(first + MAX_SLOT, |max| max.max(value));
        self.update(first + BUCKETS_SLOT + histogram::bucket(value), |n| {
            n.wrapping_add(1)
        });
    }

    #[inline]
    fn update(&self, slot: usize, f: impl FnOnce(u64) -> u64) {
        let value = &self.values[slot];
        value.set(f(value.get()));
        let line = slot / LINE_SLOTS;
        let group: &Cell<[u8]> = &self.dirty[line / GROUP_LINES];
        group.as_slice_of_cells()[line % GROUP_LINES].set(1);
    }

    /// Copies what changed since the last time into the page. Once per turn of the worker.
    ///
    /// Also a sign of life of this worker: the lane counts its publications.
    pub fn publish(&self) {
        let lane = usize::from(self.worker);
        let (page_lines, _) = self.page.lane_slots(lane).as_chunks::<LINE_SLOTS>();
        let (own_lines, _) = self.values.as_chunks::<LINE_SLOTS>();
        for (group, dirty) in self.dirty.iter().enumerate() {
            let flags = dirty.get();
            if flags == [0; GROUP_LINES] {
                continue;
            }
            dirty.set([0; GROUP_LINES]);
            for (within, _) in flags.iter().enumerate().filter(|(_, flag)| **flag != 0) {
                let line = group * GROUP_LINES + within;
                for (to, from) in page_lines[line].iter().zip(&own_lines[line]) {
                    to.store(from.get(), Ordering::Relaxed);
                }
            }
        }
        self.publications
            .set(self.publications.get().wrapping_add(1));
        self.page.lane_header(lane)[lane_word::PUBLICATIONS]
            .store(self.publications.get(), Ordering::Relaxed);
    }
}

impl Drop for LaneWriter {
    fn drop(&mut self) {
        self.publish();
        self.page.give_back(self.worker);
    }
}

impl fmt::Debug for LaneWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneWriter")
            .field("worker", &self.worker)
            .field("publications", &self.publications.get())
            .finish_non_exhaustive()
    }
}

/// The lane of everybody else. Cheap to clone; every call is one atomic operation (four for
/// [`record`](Self::record)) on memory that other threads write too, so it is not for hot paths.
#[derive(Clone, Debug)]
pub struct SharedLane {
    page: Arc<Page>,
}

impl SharedLane {
    pub(crate) const fn new(page: Arc<Page>) -> Self {
        Self { page }
    }

    fn slot(&self, slot: usize) -> &AtomicU64 {
        &self.page.lane_slots(self.page.shared_lane())[slot]
    }

    /// Adds to a counter.
    pub fn add(&self, id: Id, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Counter, "{id:?}");
        self.slot(id.slot()).fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one to a counter.
    pub fn increment(&self, id: Id) {
        self.add(id, 1);
    }

    /// Raises a gauge.
    pub fn gauge_add(&self, id: Id, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.slot(id.slot()).fetch_add(n, Ordering::Relaxed);
    }

    /// Lowers a gauge.
    pub fn gauge_sub(&self, id: Id, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.slot(id.slot()).fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets the shared lane's part of a gauge.
    pub fn gauge_set(&self, id: Id, value: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.slot(id.slot()).store(value, Ordering::Relaxed);
    }

    /// Raises a high-water mark to `value` if it is below.
    pub fn high_water(&self, id: Id, value: u64) {
        debug_assert_eq!(id.metric().kind, Kind::High, "{id:?}");
        self.slot(id.slot()).fetch_max(value, Ordering::Relaxed);
    }

    /// Records a value in a histogram.
    pub fn record(&self, id: Id, value: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Histogram, "{id:?}");
        // In a release build a wrong id is left alone: its slots would be other metrics'.
        if !matches!(id.metric().kind, Kind::Histogram) {
            return;
        }
        let first = id.slot();
        self.slot(first + SUM_SLOT)
            .fetch_add(value, Ordering::Relaxed);
        self.slot(first + MAX_SLOT)
            .fetch_max(value, Ordering::Relaxed);
        self.slot(first + BUCKETS_SLOT + histogram::bucket(value))
            .fetch_add(1, Ordering::Relaxed);
        self.slot(first + COUNT_SLOT)
            .fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageOptions;
    use crate::catalogue::sample::{COUNTER, GAUGE, HIGH, HISTOGRAM, OTHER_COUNTER};

    fn page() -> Arc<Page> {
        Page::anonymous(&PageOptions::new("main", 2)).unwrap()
    }

    #[test]
    fn counts_are_seen_after_publish_and_not_before() {
        let page = page();
        let lane = page.lane(1).unwrap();
        lane.add(COUNTER.id, 40);
        lane.high_water(HIGH.id, 7);
        lane.high_water(HIGH.id, 3);
        lane.record(HISTOGRAM.id, 12);
        assert!(page.snapshot().rows.iter().all(|row| row.value == 0));
        lane.publish();
        let seen = page.snapshot();
        assert_eq!(seen.value(COUNTER.name), Some(40));
        assert_eq!(seen.value(HIGH.name), Some(7));
        let turns = seen
            .row(HISTOGRAM.name)
            .and_then(|row| row.histogram.clone())
            .unwrap();
        assert_eq!(
            (turns.count(), turns.sum(), turns.max(), turns.p50()),
            (1, 12, 12, 12)
        );
        assert_eq!(seen.rows.iter().filter(|row| row.value != 0).count(), 3);
    }

    #[test]
    fn publish_stores_only_lines_that_changed() {
        let page = page();
        let lane = page.lane(0).unwrap();
        let far = HISTOGRAM.id.slot() + BUCKETS_SLOT + histogram::bucket(5_000);
        page.lane_slots(0)[far].store(99, Ordering::Relaxed);
        lane.increment(COUNTER.id);
        lane.publish();
        assert_eq!(
            page.lane_slots(0)[far].load(Ordering::Relaxed),
            99,
            "its line had no change"
        );
        lane.record(HISTOGRAM.id, 5_000);
        lane.publish();
        assert_eq!(page.lane_slots(0)[far].load(Ordering::Relaxed), 1);
    }

    #[test]
    fn every_slot_reaches_the_page() {
        let page = page();
        let lane = page.lane(0).unwrap();
        for slot in 0..LANE_SLOTS {
            lane.update(slot, |_| slot as u64 + 1);
            lane.publish();
            assert_eq!(
                page.lane_slots(0)[slot].load(Ordering::Relaxed),
                slot as u64 + 1
            );
        }
    }

    #[test]
    fn dropping_publishes_and_the_next_writer_goes_on_from_there() {
        let page = page();
        for expected in [1, 2, 3] {
            page.lane(0).unwrap().increment(COUNTER.id);
            assert_eq!(page.snapshot().value(COUNTER.name), Some(expected));
        }
    }

    #[test]
    fn every_publication_is_a_sign_of_life() {
        let page = page();
        let lane = page.lane(1).unwrap();
        (0..3).for_each(|_| lane.publish());
        let lanes: Vec<_> = page
            .snapshot()
            .lanes
            .iter()
            .map(|lane| (lane.worker, lane.publications))
            .collect();
        assert_eq!(lanes, [(Some(0), 0), (Some(1), 3), (None, 0)]);
    }

    #[test]
    fn a_gauge_adds_up_across_lanes_and_never_shows_less_than_zero() {
        let page = page();
        let (opener, closer, shared) =
            (page.lane(0).unwrap(), page.lane(1).unwrap(), page.shared());
        let sessions = || page.snapshot().value(GAUGE.name).unwrap();
        closer.gauge_sub(GAUGE.id, 2);
        closer.publish();
        assert_eq!(sessions(), 0, "the other lane's publication is late");
        opener.gauge_add(GAUGE.id, 5);
        opener.publish();
        assert_eq!(sessions(), 3);
        shared.gauge_sub(GAUGE.id, 1);
        assert_eq!(sessions(), 2);
        opener.gauge_set(GAUGE.id, 10);
        opener.publish();
        shared.gauge_set(GAUGE.id, 0);
        assert_eq!(sessions(), 8);
        let per_lane = page.snapshot().row(GAUGE.name).unwrap().per_lane.clone();
        assert_eq!(per_lane, [10, 0, 0], "a part below zero is shown as zero");
    }

    #[test]
    fn the_shared_lane_counts_at_once_and_for_all_threads() {
        let page = page();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let shared = page.shared();
                scope.spawn(move || {
                    for i in 0..1_000 {
                        shared.increment(OTHER_COUNTER.id);
                        shared.record(HISTOGRAM.id, i);
                        shared.high_water(HIGH.id, thread * 1_000 + i);
                    }
                });
            }
        });
        let seen = page.snapshot();
        assert_eq!(seen.value(OTHER_COUNTER.name), Some(4_000));
        assert_eq!(seen.value(HIGH.name), Some(3_999));
        let turns = seen
            .row(HISTOGRAM.name)
            .unwrap()
            .histogram
            .as_ref()
            .unwrap();
        assert_eq!(
            (turns.count(), turns.sum(), turns.max()),
            (4_000, 4 * 499_500, 999)
        );
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "left: Gauge")]
    fn counting_with_the_wrong_verb_is_a_bug() {
        let page = page();
        // A lane publishes when it is dropped, also in a panic; it must not mind.
        page.lane(0).unwrap().increment(GAUGE.id);
    }
}
