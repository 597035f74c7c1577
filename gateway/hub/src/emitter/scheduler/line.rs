//! A bounded first-in, first-out queue of tasks that can be cancelled in the middle.
//!
//! A cancelled task is dropped at once and leaves an empty place behind, so that ids stay sorted
//! and a task is found by bisection. Places are swept when they outnumber the tasks.

use std::collections::VecDeque;

use super::queue::Task;

/// Empty places that are not worth sweeping. Chosen: a cache line or two of them.
const FEW_PLACES: usize = 32;

/// Places kept allocated by a queue that has run empty; a burst gives back what is above.
const KEPT_CAPACITY: usize = 256;

pub(super) struct Line {
    /// Ids ascend. `None` is the place of a cancelled task.
    places: VecDeque<(u64, Option<Task>)>,
    /// Places that hold a task: `live <= max`, `places.len() <= 2 * live + FEW_PLACES`.
    live: usize,
    max: usize,
}

impl Line {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            places: VecDeque::new(),
            live: 0,
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Queues a task under an id above all before, or gives it back when the queue is full.
    pub(super) fn push(&mut self, id: u64, task: Task) -> Result<(), Task> {
        if self.live >= self.max {
            return Err(task);
        }
        self.places.push_back((id, Some(task)));
        self.live += 1;
        Ok(())
    }

    /// The oldest task whose id is below `bound`.
    pub(super) fn pop_below(&mut self, bound: u64) -> Option<Task> {
        while self.places.front().is_some_and(|(id, _)| *id < bound) {
            if let Some((_, Some(task))) = self.places.pop_front() {
                self.live -= 1;
                self.tidy();
                return Some(task);
            }
        }
        None
    }

    /// Takes a task out; the caller drops it outside the lock.
    pub(super) fn cancel(&mut self, id: u64) -> Option<Task> {
        let index = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let task = self.places.get_mut(index)?.1.take()?;
        self.live -= 1;
        self.tidy();
        Some(task)
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        let index = self.places.binary_search_by_key(&id, |(id, _)| *id);
        index.is_ok_and(|index| {
            self.places
                .get(index)
                .is_some_and(|(_, task)| task.is_some())
        })
    }

    fn tidy(&mut self) {
        if self.places.len() > 2 * self.live + FEW_PLACES {
            self.places.retain(|(_, task)| task.is_some());
        }
        if self.live == 0 {
            self.places.clear();
            self.places.shrink_to(KEPT_CAPACITY);
        }
    }
}
