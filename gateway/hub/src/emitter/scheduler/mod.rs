//! Deferred emits and calls, run by a worker's own loop.
//!
//! The hub reads no clock and runs no task, so a [`Scheduler`] is a set of bounded queues which the
//! loop empties at the right moments, with the time as an argument. Everything may be queued from any
//! thread: `queue.rs` holds the queues, behind one short lock under which nothing foreign runs,
//! `handle.rs` is how others reach them.

mod handle;
mod line;
mod queue;
mod timer;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

pub use self::handle::{DeferError, Deferred, Entered, SchedulerHandle};
pub(super) use self::queue::{DeferredEmit, Plan, Task};
use self::queue::{Queues, Shared, Turn};
use super::failure::catch;
use crate::lock::Lock;

/// Bounds of one scheduler. At each of the first three, queueing is refused and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// Next ticks waiting. Default 65,536, at 64 bytes each without payload.
    pub max_next_ticks: usize,
    /// Immediates waiting. Default 65,536.
    pub max_immediates: usize,
    /// Timers set. Default 65,536, at about 200 bytes each without payload.
    pub max_timers: usize,
    /// Next ticks that one call runs. Default 10,000, at 150 ns each as measured: a listener that
    /// queues itself again takes the worker 1.5 ms a turn and cannot keep it from its input.
    pub next_tick_budget: usize,
}

impl Default for SchedulerLimits {
    fn default() -> Self {
        Self {
            max_next_ticks: 65_536,
            max_immediates: 65_536,
            max_timers: 65_536,
            next_tick_budget: 10_000,
        }
    }
}

/// Figures of one scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Next ticks waiting now.
    pub next_ticks: usize,
    /// Immediates waiting now.
    pub immediates: usize,
    /// Timers set now.
    pub timers: usize,
    /// Refused because a queue was full, ever.
    pub refused: u64,
    /// Deferred calls that panicked, ever. Listeners that panic count with their emitter.
    pub panics: u64,
}

/// The queues of one worker. The worker owns it, and its loop alone runs what is in it: the methods
/// that run take `&mut self`, so they are neither nested nor on two threads at a time.
///
/// One turn of the loop is
///
/// 1. poll for input, no longer than until [`next_deadline`](Self::next_deadline);
/// 2. [`begin_turn`](Self::begin_turn) with the time read after the poll;
/// 3. [`run_immediates`](Self::run_immediates): those queued before that poll, in order;
/// 4. [`run_timers`](Self::run_timers): by deadline, then in the order of setting;
/// 5. handle the input; after each piece, and once at the end,
///    [`run_next_ticks`](Self::run_next_ticks), so that they come before more input is read;
/// 6. [`end_turn`](Self::end_turn).
pub struct Scheduler {
    shared: Arc<Shared>,
}

impl Scheduler {
    /// A scheduler with the default [`SchedulerLimits`].
    pub fn new() -> Self {
        Self::with_limits(SchedulerLimits::default())
    }

    /// A scheduler with these bounds.
    pub fn with_limits(limits: SchedulerLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                queues: Lock::new("scheduler", Queues::new(&limits)),
                next_tick_budget: limits.next_tick_budget,
                refused: AtomicU64::new(0),
                panics: AtomicU64::new(0),
            }),
        }
    }

    /// A handle for other threads, which does not keep the scheduler alive.
    pub fn handle(&self) -> SchedulerHandle {
        SchedulerHandle {
            shared: Arc::downgrade(&self.shared),
        }
    }

    /// Makes this the scheduler of the current thread until the guard is dropped. What the
    /// `run_…` methods call finds it in any case.
    pub fn enter(&self) -> Entered {
        Entered::enter(&self.shared)
    }

    /// Sets what is woken when something is queued outside a turn. Wakes are coalesced: one until
    /// the loop has looked. Woken at once if something waits already.
    pub fn set_waker(&self, waker: Waker) {
        let to_wake = self.shared.queues.with(|queues| {
            queues.woken = !queues.is_idle();
            let to_wake = queues.woken.then(|| waker.clone());
            (queues.waker.replace(waker), to_wake)
        });
        if let (_, Some(waker)) = to_wake {
            waker.wake();
        }
    }

    /// Begins a turn of the loop at `now`, in milliseconds of the loop's clock. Until
    /// [`end_turn`](Self::end_turn), delays set on this thread count from `now`, and nothing set
    /// on it wakes the waker.
    pub fn begin_turn(&mut self, now: u64) {
        self.shared.queues.with(|queues| {
            queues.woken = false;
            queues.turn = Turn {
                running: true,
                now: Some(now),
            };
            queues.timers.arm_incoming(now);
        });
    }

    /// Ends the turn. The time is not known after it: delays then count from the next
    /// [`begin_turn`](Self::begin_turn) or [`run_timers`](Self::run_timers).
    pub fn end_turn(&mut self) {
        self.shared
            .queues
            .with(|queues| queues.turn = Turn::default());
    }

    /// Runs the next ticks, also those that are queued meanwhile, up to the budget of
    /// [`SchedulerLimits::next_tick_budget`]. Returns how many ran; what the budget left is for the
    /// next call, which [`next_deadline`](Self::next_deadline) asks for.
    pub fn run_next_ticks(&mut self) -> usize {
        let budget = self.shared.next_tick_budget;
        self.run(None, |queues, ran| {
            (ran < budget).then(|| queues.next_ticks.pop_below(u64::MAX))?
        })
    }

    /// Runs the immediates that are queued now; those that are queued meanwhile wait for the next
    /// call. Returns how many ran.
    pub fn run_immediates(&mut self) -> usize {
        let bound = self.shared.queues.with(|queues| queues.next_id);
        self.run(None, |queues, _| queues.immediates.pop_below(bound))
    }

    /// Runs the timers whose deadline is at or before `now`, in milliseconds. Timers that are set
    /// meanwhile are due after `now`. Returns how many ran.
    pub fn run_timers(&mut self, now: u64) -> usize {
        self.shared
            .queues
            .with(|queues| queues.timers.arm_incoming(now));
        self.run(Some(now), |queues, _| queues.timers.pop_due(now))
    }

    /// When the loop must run again at the latest, in milliseconds of its clock: 0 (at once) while
    /// next ticks, immediates or timers without a deadline wait. `None` when nothing does.
    pub fn next_deadline(&self) -> Option<u64> {
        self.shared.queues.with(|queues| {
            let ready = queues.next_ticks.len() + queues.immediates.len();
            if ready > 0 || queues.timers.has_incoming() {
                return Some(0);
            }
            queues.timers.first_deadline()
        })
    }

    /// Calls `call` once, `delay` from now (see [`begin_turn`](Self::begin_turn)).
    ///
    /// # Errors
    ///
    /// [`DeferError::Full`] when there are as many timers as there may be.
    pub fn call_after(
        &self,
        delay: Duration,
        call: impl FnOnce() + Send + 'static,
    ) -> Result<Deferred, DeferError> {
        self.handle().call_after(delay, call)
    }

    /// The scheduler's figures.
    pub fn stats(&self) -> SchedulerStats {
        let shared = &*self.shared;
        shared.queues.with(|queues| SchedulerStats {
            next_ticks: queues.next_ticks.len(),
            immediates: queues.immediates.len(),
            timers: queues.timers.len(),
            refused: shared.refused.load(Relaxed),
            panics: shared.panics.load(Relaxed),
        })
    }

    /// Runs what `next` finds, one at a time and without the lock, so that what runs can queue and
    /// cancel, itself and what comes after it included.
    fn run(
        &self,
        now: Option<u64>,
        mut next: impl FnMut(&mut Queues, usize) -> Option<Task>,
    ) -> usize {
        let shared = &*self.shared;
        let _entered = self.enter();
        let outer = shared.queues.with(|queues| {
            queues.woken = false;
            let outer = queues.turn;
            queues.turn = Turn {
                running: true,
                now: now.or(outer.now),
            };
            outer
        });
        let mut ran = 0;
        while let Some(task) = shared.queues.with(|queues| next(queues, ran)) {
            ran += 1;
            if catch(|| task.run()).is_err() {
                shared.panics.fetch_add(1, Relaxed);
            }
        }
        shared.queues.with(|queues| queues.turn = outer);
        ran
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
