//! A scheduler as seen from elsewhere: from other threads, from a thread that has entered it, and by
//! whoever may want to cancel.

use std::{
    cell::RefCell,
    fmt,
    marker::PhantomData,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::queue::{Lane, Plan, Shared, Task};

thread_local! {
    static CURRENT: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
}

fn is_current(shared: &Shared) -> bool {
    CURRENT
        .try_with(|current| std::ptr::eq(current.borrow().as_ptr(), shared))
        .unwrap_or(false)
}

/// Why something could not be deferred. It will not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeferError {
    /// The scheduler's queue for it is full.
    Full,
    /// This thread has entered no scheduler and none is attached to the emitter, or it is gone.
    NoScheduler,
}

impl fmt::Display for DeferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the scheduler's queue is full",
            Self::NoScheduler => "there is no scheduler on this thread or attached to the emitter",
        })
    }
}

impl std::error::Error for DeferError {}

/// A scheduler as other threads see it. Clones are the same scheduler.
#[derive(Clone)]
pub struct SchedulerHandle {
    pub(super) shared: Weak<Shared>,
}

impl SchedulerHandle {
    /// The scheduler that this thread has entered, if it is still there.
    pub fn current() -> Option<Self> {
        let shared = CURRENT.try_with(|current| current.borrow().clone()).ok()?;
        Some(Self { shared }).filter(Self::is_alive)
    }

    /// False once the worker has dropped its scheduler, and with it all that was queued.
    pub fn is_alive(&self) -> bool {
        self.shared.strong_count() > 0
    }

    /// [`call_after`](super::Scheduler::call_after) from any thread. The call is dropped, not run, if the scheduler
    /// is dropped first.
    ///
    /// # Errors
    ///
    /// [`DeferError`] when the scheduler is gone or has as many timers as it may have.
    pub fn call_after(
        &self,
        delay: Duration,
        call: impl FnOnce() + Send + 'static,
    ) -> Result<Deferred, DeferError> {
        self.queue(Plan::After(delay, Task::Call(Box::new(call))))
    }

    pub(in crate::emitter) fn is_same(&self, other: &Self) -> bool {
        self.shared.ptr_eq(&other.shared)
    }

    pub(in crate::emitter) fn queue(&self, plan: Plan) -> Result<Deferred, DeferError> {
        let shared = self.shared.upgrade().ok_or(DeferError::NoScheduler)?;
        let on_its_thread = is_current(&shared);
        let (id, lane, queued, to_wake) = shared.queues.with(|queues| {
            let (id, lane, queued) = queues.insert(plan);
            let to_wake = if queued.is_ok() {
                queues.take_wake(on_its_thread)
            } else {
                None
            };
            (id, lane, queued, to_wake)
        });
        if let Some(waker) = to_wake {
            waker.wake();
        }
        // What was refused is dropped here rather than under the lock: it holds a payload of the
        // user's.
        queued.map_err(|_| {
            shared.refused.fetch_add(1, Relaxed);
            DeferError::Full
        })?;
        Ok(Deferred {
            shared: self.shared.clone(),
            id,
            lane,
        })
    }
}

impl fmt::Debug for SchedulerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerHandle")
            .field("alive", &self.is_alive())
            .finish()
    }
}

/// Something queued in a scheduler. Dropping the handle does not cancel it.
pub struct Deferred {
    shared: Weak<Shared>,
    id: u64,
    lane: Lane,
}

impl Deferred {
    /// Takes it out of its queue, with its payload. False when it has run already, or runs right
    /// now; a repeating emit is cancelled for good, also from within its own listener.
    pub fn cancel(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        // Dropped when it has left the lock: it holds a payload of the user's.
        let job = shared
            .queues
            .with(|queues| queues.cancel(self.lane, self.id));
        job.is_some()
    }

    /// True while it waits to run, or to run again.
    pub fn is_pending(&self) -> bool {
        let shared = self.shared.upgrade();
        shared.is_some_and(|shared| {
            shared
                .queues
                .with(|queues| queues.contains(self.lane, self.id))
        })
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Deferred");
        shown
            .field("lane", &self.lane)
            .field("pending", &self.is_pending())
            .finish()
    }
}

/// Makes a scheduler the current thread's. Guards are dropped in the reverse order of entering.
#[must_use = "the scheduler is the thread's only until this is dropped"]
pub struct Entered {
    previous: Weak<Shared>,
    /// It belongs to the thread that entered.
    not_send: PhantomData<*const ()>,
}

impl Entered {
    pub(super) fn enter(shared: &Arc<Shared>) -> Self {
        let previous = CURRENT.replace(Arc::downgrade(shared));
        Self {
            previous,
            not_send: PhantomData,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let previous = std::mem::take(&mut self.previous);
        // A thread that ends may have dropped its slot before its last guard.
        CURRENT.try_with(|current| current.replace(previous)).ok();
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").finish_non_exhaustive()
    }
}
