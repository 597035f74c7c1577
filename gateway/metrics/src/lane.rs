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

/// Words of the map of changed lines, one bit each.
const DIRTY_WORDS: usize = (LANE_SLOTS / LINE_SLOTS).div_ceil(u64::BITS as usize);

/// The lane of one worker. Moves with its worker; is not shared.
///
/// What was counted is seen by readers after the next [`publish`](Self::publish), which dropping it
/// does as well. Counting with a verb that does not fit the metric's kind is a bug, caught in debug
/// builds.
pub struct LaneWriter {
    page: Arc<Page>,
    worker: u16,
    values: Box<[Cell<u64>; LANE_SLOTS]>,
    /// Invariant: the bit of every line that differs from the page is set.
    dirty: [Cell<u64>; DIRTY_WORDS],
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
            dirty: [const { Cell::new(0) }; DIRTY_WORDS],
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
        let dirty = &self.dirty[line / u64::BITS as usize];
        dirty.set(dirty.get() | 1 << (line % u64::BITS as usize));
    }

    /// Copies what changed since the last time into the page. Once per turn of the worker.
    ///
    /// Also a sign of life of this worker: the lane counts its publications.
    pub fn publish(&self) {
        let lane = usize::from(self.worker);
        let (page_lines, _) = self.page.lane_slots(lane).as_chunks::<LINE_SLOTS>();
        let (own_lines, _) = self.values.as_chunks::<LINE_SLOTS>();
        for (word, dirty) in self.dirty.iter().enumerate() {
            let mut lines = dirty.get();
            if lines == 0 {
                continue;
            }
            dirty.set(0);
            while lines != 0 {
                let line = word * u64::BITS as usize + lines.trailing_zeros() as usize;
                lines &= lines - 1;
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
