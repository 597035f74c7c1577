//! Which sessions have something to do: wakers that note a slot number instead of waking a task.
//!
//! A session is plain data in the worker's slab, not a task. Its [`SlotWaker`] is what the runtime
//! calls when the session's socket becomes readable or writable; it puts the slot on the
//! [`ReadyQueue`] and wakes the worker's one driver task, once per batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake};

use futures_util::task::AtomicWaker;

/// Slots that were woken since the last turn, each at most once; bounded by the number of slots.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    slots: Mutex<Vec<u32>>,
    /// Something is to be done: set before the driver is woken, cleared when it has noticed.
    notified: AtomicBool,
    driver: AtomicWaker,
}

impl ReadyQueue {
    /// Ready once the driver was woken since the last call that was ready.
    pub(crate) fn poll_notified(&self, cx: &Context<'_>) -> Poll<()> {
        self.driver.register(cx.waker());
        // Acquire, pairs with the release in `notify`: what was queued before it is seen.
        if self.notified.swap(false, Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Has the driver run a turn.
    fn notify(&self) {
        // Release, pairs with the acquire in `poll_notified`.
        if !self.notified.swap(true, Ordering::Release) {
            self.driver.wake();
        }
    }

    /// Moves what is queued into `into`, which must be empty; its memory is used for what comes.
    pub(crate) fn take(&self, into: &mut Vec<u32>) {
        debug_assert!(into.is_empty());
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *slots, into);
    }

    fn push(&self, slot: u32) {
        let first = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.push(slot);
            slots.len() == 1
        };
        if first {
            self.notify();
        }
    }
}

/// The hub's inbox and the emitter's scheduler wake the driver without a slot.
impl Wake for ReadyQueue {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}

/// Notes one slot on the ready queue when woken.
#[derive(Debug)]
pub(crate) struct SlotWaker {
    queue: Arc<ReadyQueue>,
    slot: u32,
    /// True while the slot is on the queue.
    queued: AtomicBool,
}

impl SlotWaker {
    pub(crate) fn new(queue: &Arc<ReadyQueue>, slot: u32) -> Arc<Self> {
        Arc::new(Self {
            queue: Arc::clone(queue),
            slot,
            queued: AtomicBool::new(false),
        })
    }

    /// To be called when the slot has been taken off the queue and before it is looked at, so that
    /// a wake-up during the look is noted again.
    pub(crate) fn taken(&self) {
        // AcqRel, pairs with the swap in `wake_by_ref`: a wake-up that finds the flag still set was
        // before the look that follows.
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel: a wake-up that finds the flag set must not be ordered before the look it relies
        // on; the look begins after `taken` cleared the flag on the worker's own thread.
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_slot_woken_twice_is_queued_once_until_it_is_taken() {
        let queue = Arc::new(ReadyQueue::default());
        let slot = SlotWaker::new(&queue, 7);
        let waker = Waker::from(Arc::clone(&slot));
        waker.wake_by_ref();
        waker.wake_by_ref();
        let mut ready = Vec::new();
        queue.take(&mut ready);
        assert_eq!(ready, [7]);
        slot.taken();
        waker.wake_by_ref();
        ready.clear();
        queue.take(&mut ready);
        assert_eq!(ready, [7]);
    }
}
