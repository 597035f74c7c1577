//! One bounded queue of deliveries per worker: many rooms push, the worker drains once a turn.
//!
//! A place is reserved before anything is pushed, so a publish that needs several inboxes takes
//! all its places or none, and never waits. Nothing is woken under a lock: pushes collect whom to
//! wake in [`Wakes`]. Above three quarters an inbox is *crowded*; while any is, publishers are not
//! read from, and the drain that ends it wakes every worker so that they are read from again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::task::Waker;

use smallvec::SmallVec;

use crate::delivery::{Delivery, WorkerId};
use crate::lock::Lock;

/// Deliveries for which a drained inbox keeps its memory. Chosen: a turn's worth, some 50 KiB.
const KEPT_CAPACITY: usize = 1_024;

/// The queue of one worker.
pub struct Inbox<M, C> {
    index: usize,
    capacity: usize,
    /// From this length on the inbox is crowded.
    crowded_at: usize,
    /// Deliveries queued, and places reserved for what is about to be.
    len: AtomicUsize,
    queue: Lock<Queue<M, C>>,
    bell: Arc<Bell>,
}

struct Queue<M, C> {
    items: VecDeque<Delivery<M, C>>,
    /// Set by the push that wakes the worker, cleared by the drain that leaves nothing.
    rung: bool,
}

/// What all inboxes of a hub share: how many are crowded, and how to wake each worker.
struct Bell {
    /// May dip below 0 for a moment: an inbox that fills and drains at once can be counted out by
    /// the one thread before the other has counted it in.
    crowded: AtomicIsize,
    wakers: Box<[Lock<Option<Waker>>]>,
}

impl Bell {
    fn wake(&self, worker: usize) {
        let waker = self.wakers[worker].with(|waker| waker.clone());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_all(&self) {
        for worker in 0..self.wakers.len() {
            self.wake(worker);
        }
    }
}

/// Whom to wake once no lock is held any more.
#[derive(Debug, Default)]
#[must_use = "workers that are not woken do not deliver"]
pub(crate) struct Wakes {
    workers: SmallVec<[u16; 8]>,
    everyone: bool,
}

/// An inbox is at its capacity; what was to be sent comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<C>(pub C);

impl<C> fmt::Display for Full<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker's inbox is full")
    }
}

impl<C: fmt::Debug> std::error::Error for Full<C> {}

impl<M, C> Inbox<M, C> {
    /// Says how to wake the worker. It is woken when something comes into a drained inbox, and when
    /// no inbox of the hub is crowded any more; at once if there is something already.
    pub fn set_waker(&self, waker: Waker) {
        self.bell.wakers[self.index].with(|slot| *slot = Some(waker));
        if !self.is_empty() {
            self.bell.wake(self.index);
        }
    }

    /// Moves at most `max` deliveries to `into`, in order, and returns how many.
    ///
    /// A drain that leaves something behind leaves the waker silent: the worker comes back by
    /// itself. One that empties the inbox arms it again.
    pub fn drain(&self, max: usize, into: &mut Vec<Delivery<M, C>>) -> usize {
        let drained = self.queue.with(|queue| {
            let count = queue.items.len().min(max);
            into.extend(queue.items.drain(..count));
            if queue.items.is_empty() {
                queue.rung = false;
                // Only what the inbox does not use at this rate goes back: one that fills to the
                // brim every turn would otherwise grow anew every turn.
                if queue.items.capacity() > KEPT_CAPACITY && count < queue.items.capacity() / 4 {
                    queue.items.shrink_to(KEPT_CAPACITY);
                }
            }
            count
        });
        if self.release(drained) {
            self.bell.wake_all();
        }
        drained
    }

    /// Deliveries that wait, one that is being pushed this very moment included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a place if fewer than `limit` are taken.
    fn reserve(&self, limit: usize) -> bool {
        let taken = self
            .len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
                (len < limit).then_some(len + 1)
            });
        let Ok(before) = taken else {
            return false;
        };
        if before + 1 == self.crowded_at {
            self.bell.crowded.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Gives places back and tells whether that ended the last congestion.
    fn release(&self, places: usize) -> bool {
        if places == 0 {
            return false;
        }
        let before = self.len.fetch_sub(places, Ordering::Relaxed);
        let was_crowded = before >= self.crowded_at && before - places < self.crowded_at;
        was_crowded && self.bell.crowded.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Queues on a reserved place and tells whether the worker must be woken.
    fn push(&self, delivery: Delivery<M, C>) -> bool {
        self.queue.with(|queue| {
            queue.items.push_back(delivery);
            !std::mem::replace(&mut queue.rung, true)
        })
    }
}

impl<M, C> fmt::Debug for Inbox<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("worker", &self.index)
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The inboxes of all workers.
pub(crate) struct Inboxes<M, C> {
    inboxes: Box<[Inbox<M, C>]>,
    bell: Arc<Bell>,
}

impl<M, C> Inboxes<M, C> {
    pub(crate) fn new(workers: u16, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let workers = usize::from(workers.max(1));
        let bell = Arc::new(Bell {
            crowded: AtomicIsize::new(0),
            wakers: (0..workers).map(|_| Lock::new("waker", None)).collect(),
        });
        let inboxes = (0..workers)
            .map(|index| Inbox {
                index,
                capacity,
                // The first length above three quarters.
                crowded_at: capacity - capacity.div_ceil(4) + 1,
                len: AtomicUsize::new(0),
                queue: Lock::new(
                    "inbox",
                    Queue {
                        items: VecDeque::new(),
                        rung: false,
                    },
                ),
                bell: Arc::clone(&bell),
            })
            .collect();
        Self { inboxes, bell }
    }

    pub(crate) fn of(&self, worker: WorkerId) -> &Inbox<M, C> {
        &self.inboxes[usize::from(worker.0)]
    }

    pub(crate) fn is_congested(&self) -> bool {
        self.bell.crowded.load(Ordering::Relaxed) > 0
    }

    /// Takes one place in the inbox of each worker, or none at all.
    pub(crate) fn reserve_all(
        &self,
        workers: impl Iterator<Item = u16> + Clone,
        wakes: &mut Wakes,
    ) -> bool {
        for (taken, worker) in workers.clone().enumerate() {
            let inbox = self.of(WorkerId(worker));
            if !inbox.reserve(inbox.capacity) {
                for worker in workers.take(taken) {
                    wakes.everyone |= self.of(WorkerId(worker)).release(1);
                }
                return false;
            }
        }
        true
    }

    /// Takes a place for what cannot be refused: up to twice the capacity.
    pub(crate) fn reserve_overdraft(&self, worker: u16) -> bool {
        let inbox = self.of(WorkerId(worker));
        inbox.reserve(inbox.capacity.saturating_mul(2))
    }

    /// Queues on a place that was reserved.
    pub(crate) fn push(&self, worker: u16, delivery: Delivery<M, C>, wakes: &mut Wakes) {
        if self.of(WorkerId(worker)).push(delivery) {
            wakes.workers.push(worker);
        }
    }

    /// Wakes whom the pushes found asleep. The caller holds no lock.
    pub(crate) fn fire(&self, wakes: Wakes) {
        if wakes.everyone {
            self.bell.wake_all();
        } else {
            for worker in wakes.workers {
                self.bell.wake(usize::from(worker));
            }
        }
    }

    /// Panics unless counts and queues agree. Only true while nobody pushes or drains.
    pub(crate) fn check_invariants(&self) {
        let mut crowded = 0;
        for inbox in &self.inboxes {
            let queued = inbox.queue.with(|queue| {
                assert!(
                    queue.items.is_empty() || queue.rung,
                    "a filled inbox has rung"
                );
                queue.items.len()
            });
            assert_eq!(queued, inbox.len(), "places taken are places filled");
            assert!(
                queued <= inbox.capacity * 2,
                "an inbox holds twice its capacity at most"
            );
            crowded += isize::from(queued >= inbox.crowded_at);
        }
        assert_eq!(crowded, self.bell.crowded.load(Ordering::Relaxed));
    }
}

impl<M, C> fmt::Debug for Inboxes<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.inboxes.iter()).finish()
    }
}
