//! Where counting happens: a worker's own lane, and the lane that all threads share.
//!
//! A [`LaneWriter`] counts into plain integers of its worker and keeps a list of the cache lines of
//! them that changed; [`publish`](LaneWriter::publish), once per turn, copies those lines into the
//! page. So a count costs an addition, a publication costs what the turn changed, and a reader's
//! loads never take a cache line away in the middle of a turn. A worker's parts of the blocks are
//! further lines of the same kind. A [`SharedLane`] adds atomically at once, for what is rare or
//! belongs to no worker.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalogue::{
    BLOCK_CATALOGUE, BLOCK_SLOTS, BlockId, CATALOGUE, Id, Kind, LANE_SLOTS, LINE_SLOTS,
};
use crate::histogram::{self, BUCKETS_SLOT, COUNT_SLOT, MAX_SLOT, SUM_SLOT};
use crate::layout::{BLOCKS, lane_word};
use crate::page::{Block, Page};

/// Cache lines of a lane's slots.
const LANE_LINES: usize = LANE_SLOTS / LINE_SLOTS;
/// Cache lines of a worker's part of a block.
const PART_LINES: usize = BLOCK_SLOTS / LINE_SLOTS;
/// The slots of the lane, then those of the worker's part of each block.
const ALL_SLOTS: usize = LANE_SLOTS + BLOCKS * BLOCK_SLOTS;
const LINES: usize = ALL_SLOTS / LINE_SLOTS;

const _: () = assert!(LINES <= u16::MAX as usize && PART_LINES * LINE_SLOTS == BLOCK_SLOTS);

/// The lane of one worker. Moves with its worker; is not shared.
///
/// What was counted is seen by readers after the next [`publish`](Self::publish), which dropping it
/// does as well. Counting with a verb that does not fit the metric's kind is a bug, caught in debug
/// builds.
pub struct LaneWriter {
    page: Arc<Page>,
    worker: u16,
    values: Box<[Cell<u64>; ALL_SLOTS]>,
    /// Invariant: every line that differs from the page is among the first `changed_count` of
    /// `changed`, each once, and its flag is set.
    is_changed: Box<[Cell<bool>; LINES]>,
    changed: Box<[Cell<u16>; LINES]>,
    changed_count: Cell<u16>,
    publications: Cell<u64>,
}

impl LaneWriter {
    pub(crate) fn new(page: Arc<Page>, worker: u16) -> Self {
        let load = |word: &AtomicU64| Cell::new(word.load(Ordering::Relaxed));
        let lane = usize::from(worker);
        let values: Box<[Cell<u64>]> = (page.lane_slots(lane).iter())
            .chain((0..BLOCKS).flat_map(|block| page.block_part(block, lane)))
            .map(load)
            .collect();
        let publications = load(&page.lane_header(lane)[lane_word::PUBLICATIONS]);
        Self {
            values: values
                .try_into()
                .expect("lane and blocks have ALL_SLOTS slots"),
            is_changed: Box::new([const { Cell::new(false) }; LINES]),
            changed: Box::new([const { Cell::new(0) }; LINES]),
            changed_count: Cell::new(0),
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

    /// Records the same value several times in a histogram.
    #[inline]
    pub fn record_many(&self, id: Id, value: u64, times: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Histogram, "{id:?}");
        if times == 0 || !matches!(id.metric().kind, Kind::Histogram) {
            return;
        }
        let first = id.slot();
        let sum = value.wrapping_mul(times);
        self.update(first + COUNT_SLOT, |count| count.wrapping_add(times));
        self.update(first + SUM_SLOT, |all| all.wrapping_add(sum));
        self.update(first + MAX_SLOT, |max| max.max(value));
        self.update(first + BUCKETS_SLOT + histogram::bucket(value), |n| {
            n.wrapping_add(times)
        });
    }

    /// Adds to a counter of a block.
    #[inline]
    pub fn block_add(&self, block: Block, id: BlockId, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Counter, "{id:?}");
        self.update(block_slot(block, id), |value| value.wrapping_add(n));
    }

    /// Raises a gauge of a block.
    #[inline]
    pub fn block_gauge_add(&self, block: Block, id: BlockId, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.update(block_slot(block, id), |value| value.wrapping_add(n));
    }

    /// Lowers a gauge of a block.
    #[inline]
    pub fn block_gauge_sub(&self, block: Block, id: BlockId, n: u64) {
        debug_assert_eq!(id.metric().kind, Kind::Gauge, "{id:?}");
        self.update(block_slot(block, id), |value| value.wrapping_sub(n));
    }

    /// Sets every gauge of this lane to nothing: for the lane of a worker that failed, whose
    /// sessions went with it.
    pub fn clear_gauges(&self) {
        for metric in CATALOGUE.iter().filter(|it| it.kind == Kind::Gauge) {
            self.gauge_set(metric.id, 0);
        }
        for metric in BLOCK_CATALOGUE.iter().filter(|it| it.kind == Kind::Gauge) {
            for block in self.page.blocks_of(metric.block) {
                self.update(block_slot(block, metric.id), |_| 0);
            }
        }
    }

    #[inline]
    fn update(&self, slot: usize, f: impl FnOnce(u64) -> u64) {
        // Measures what counting costs, see docs/benchmarks.md; nothing is counted then.
        if cfg!(roomwire_uncounted) {
            return;
        }
        let value = &self.values[slot];
        value.set(f(value.get()));
        let line = slot / LINE_SLOTS;
        let is_changed = &self.is_changed[line];
        if !is_changed.replace(true) {
            self.note_change(line);
        }
    }

    /// Apart, so that what is inlined everywhere stays small.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a line's number is below LINES, which fits"
    )]
    #[cold]
    fn note_change(&self, line: usize) {
        let count = self.changed_count.get();
        self.changed[usize::from(count)].set(line as u16);
        self.changed_count.set(count + 1);
    }

    /// Copies what changed since the last time into the page. Once per turn of the worker.
    ///
    /// Also a sign of life of this worker: the lane counts its publications.
    pub fn publish(&self) {
        let lane = usize::from(self.worker);
        let (page_lines, _) = self.page.lane_slots(lane).as_chunks::<LINE_SLOTS>();
        let (own_lines, _) = self.values.as_chunks::<LINE_SLOTS>();
        for changed in &self.changed[..usize::from(self.changed_count.replace(0))] {
            let line = usize::from(changed.get());
            self.is_changed[line].set(false);
            let to = match line.checked_sub(LANE_LINES) {
                None => &page_lines[line],
                Some(line) => {
                    let part = self.page.block_part(line / PART_LINES, lane);
                    &part.as_chunks::<LINE_SLOTS>().0[line % PART_LINES]
                }
            };
            for (to, from) in to.iter().zip(&own_lines[line]) {
                to.store(from.get(), Ordering::Relaxed);
            }
        }
        self.publications
            .set(self.publications.get().wrapping_add(1));
        self.page.lane_header(lane)[lane_word::PUBLICATIONS]
            .store(self.publications.get(), Ordering::Relaxed);
    }
}

#[inline]
fn block_slot(block: Block, id: BlockId) -> usize {
    LANE_SLOTS + block.index() * BLOCK_SLOTS + id.slot()
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
        for slot in 0..BLOCKS * BLOCK_SLOTS {
            lane.update(LANE_SLOTS + slot, |_| slot as u64 + 1);
            lane.publish();
            assert_eq!(
                page.block_part(slot / BLOCK_SLOTS, 0)[slot % BLOCK_SLOTS].load(Ordering::Relaxed),
                slot as u64 + 1
            );
        }
    }

    #[test]
    fn all_lines_may_change_between_two_publications() {
        let page = page();
        let lane = page.lane(0).unwrap();
        for _ in 0..2 {
            (0..ALL_SLOTS).for_each(|slot| lane.update(slot, |value| value + 1));
            lane.publish();
        }
        assert!(
            page.lane_slots(0)
                .iter()
                .all(|slot| slot.load(Ordering::Relaxed) == 2)
        );
        let last = page.block_part(BLOCKS - 1, 0);
        assert!(last.iter().all(|slot| slot.load(Ordering::Relaxed) == 2));
    }

    #[test]
    fn a_failed_workers_gauges_can_be_cleared_and_its_counts_stay() {
        let page = page();
        let (lane, other) = (page.lane(0).unwrap(), page.lane(1).unwrap());
        let block = page.listener_block(0);
        for lane in [&lane, &other] {
            lane.gauge_add(GAUGE.id, 3);
            lane.increment(COUNTER.id);
            lane.block_gauge_add(block, BlockId::ListenerSessions, 3);
            lane.block_add(block, BlockId::ListenerOpened, 3);
        }
        other.publish();
        lane.clear_gauges();
        lane.publish();
        let seen = page.snapshot();
        assert_eq!(
            (seen.value(GAUGE.name), seen.value(COUNTER.name)),
            (Some(3), Some(2))
        );
        let block = &seen.blocks[0];
        assert_eq!(block.value("listener_sessions"), Some(3));
        assert_eq!(block.value("listener_sessions_opened_total"), Some(6));
    }

    #[test]
    fn a_value_recorded_many_times_is_as_often_there() {
        let page = page();
        let lane = page.lane(0).unwrap();
        lane.record_many(HISTOGRAM.id, 40, 7);
        lane.record_many(HISTOGRAM.id, 99, 0);
        lane.publish();
        let row = page.snapshot();
        let values = row.row(HISTOGRAM.name).unwrap().histogram.clone().unwrap();
        assert_eq!((values.count(), values.sum(), values.max()), (7, 280, 40));
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
