//! Deferred emits and calls, run by a worker's own loop.
//!
//! The hub reads no clock and runs no task, so a [`Scheduler`] is a set of bounded queues which the
//! loop empties at the right moments, with the time as an argument. One turn of the loop is
//!
//! 1. poll for input, no longer than until [`next_deadline`](Scheduler::next_deadline);
//! 2. [`begin_turn`](Scheduler::begin_turn) with the time read after the poll;
//! 3. [`run_immediates`](Scheduler::run_immediates): those queued before that poll;
//! 4. [`run_timers`](Scheduler::run_timers): by deadline, then in the order of setting;
//! 5. handle the input; after each piece, and once at the end,
//!    [`run_next_ticks`](Scheduler::run_next_ticks), so that they come before more input is read;
//! 6. [`end_turn`](Scheduler::end_turn).
//!
//! Everything may be queued from any thread: `line.rs` and `timer.rs` hold the queues, behind one
//! short lock under which nothing foreign runs.

mod line;
mod task;
mod timer;

use std::{
    cell::RefCell,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

pub(super) use self::task::{DeferredEmit, Task};
use self::{
    line::Line,
    timer::{Job, Timers},
};
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
    /// Next ticks that one call runs. Default 10,000: a listener that queues itself again as next
    /// tick takes the worker a millisecond or so per turn and cannot keep it from its input.
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

/// What to queue, and until when. Only an emit can repeat.
pub(super) enum Plan {
    NextTick(Task),
    Immediate(Task),
    After(Duration, Task),
    Every(Duration, DeferredEmit),
}

/// Which queue a [`Deferred`] waits in.
#[derive(Clone, Copy, Debug)]
enum Lane {
    Immediate,
    NextTick,
    Timer,
}

struct Shared {
    queues: Lock<Queues>,
    next_tick_budget: usize,
    refused: AtomicU64,
    panics: AtomicU64,
}

struct Queues {
    next_id: u64,
    next_ticks: Line,
    immediates: Line,
    timers: Timers,
    turn: Turn,
    waker: Option<Waker>,
    /// The waker was woken and no call has looked at the queues since.
    woken: bool,
}

/// What the loop is doing.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// The loop is in a turn, or inside a `run_…` call: it will look at the queues by itself.
    running: bool,
    /// The time of the turn, where it is known.
    now: Option<u64>,
}

impl Queues {
    /// The waker, if whoever queued something must wake the loop.
    fn wake_for(&mut self, on_its_thread: bool) -> Option<Waker> {
        if self.woken || (on_its_thread && self.turn.running) {
            return None;
        }
        self.woken = self.waker.is_some();
        self.waker.clone()
    }

    fn is_idle(&self) -> bool {
        self.next_ticks.len() == 0 && self.immediates.len() == 0 && self.timers.len() == 0
    }
}

thread_local! {
    static CURRENT: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
}

fn is_current(shared: &Shared) -> bool {
    CURRENT
        .try_with(|current| std::ptr::eq(current.borrow().as_ptr(), shared))
        .unwrap_or(false)
}

/// The queues of one worker. The worker owns it, and its loop alone runs what is in it: the methods
/// that run take `&mut self`, so they are neither nested nor on two threads at a time.
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
        let queues = Queues {
            next_id: 0,
            next_ticks: Line::new(limits.max_next_ticks),
            immediates: Line::new(limits.max_immediates),
            timers: Timers::new(limits.max_timers),
            turn: Turn::default(),
            waker: None,
            woken: false,
        };
        Self {
            shared: Arc::new(Shared {
                queues: Lock::new("scheduler", queues),
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
        let previous = CURRENT.replace(Arc::downgrade(&self.shared));
        Entered {
            previous,
            not_send: PhantomData,
        }
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

/// A scheduler as other threads see it. Clones are the same scheduler.
#[derive(Clone)]
pub struct SchedulerHandle {
    shared: Weak<Shared>,
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

    /// [`Scheduler::call_after`] from any thread. The call is dropped, not run, if the scheduler
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

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.shared.ptr_eq(&other.shared)
    }

    pub(super) fn queue(&self, plan: Plan) -> Result<Deferred, DeferError> {
        let shared = self.shared.upgrade().ok_or(DeferError::NoScheduler)?;
        let on_its_thread = is_current(&shared);
        let (id, lane, queued, to_wake) = shared.queues.with(|queues| {
            let id = queues.next_id;
            queues.next_id += 1;
            let (lane, queued) = insert(queues, id, plan);
            let to_wake = if queued.is_ok() {
                queues.wake_for(on_its_thread)
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

/// Queues what is planned, or gives it back.
fn insert(queues: &mut Queues, id: u64, plan: Plan) -> (Lane, Result<(), Job>) {
    let now = queues.turn.now;
    match plan {
        Plan::NextTick(task) => (
            Lane::NextTick,
            queues.next_ticks.push(id, task).map_err(Job::Once),
        ),
        Plan::Immediate(task) => (
            Lane::Immediate,
            queues.immediates.push(id, task).map_err(Job::Once),
        ),
        Plan::After(delay, task) => (
            Lane::Timer,
            queues.timers.set(id, delay, Job::Once(task), now),
        ),
        Plan::Every(period, emit) => (
            Lane::Timer,
            queues.timers.set(id, period, Job::Every(emit), now),
        ),
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
        let id = self.id;
        // Dropped when it has left the lock: it holds a payload of the user's.
        let job = shared.queues.with(|queues| match self.lane {
            Lane::Immediate => queues.immediates.cancel(id).map(Job::Once),
            Lane::NextTick => queues.next_ticks.cancel(id).map(Job::Once),
            Lane::Timer => queues.timers.cancel(id),
        });
        job.is_some()
    }

    /// True while it waits to run, or to run again.
    pub fn is_pending(&self) -> bool {
        let id = self.id;
        self.shared.upgrade().is_some_and(|shared| {
            shared.queues.with(|queues| match self.lane {
                Lane::Immediate => queues.immediates.contains(id),
                Lane::NextTick => queues.next_ticks.contains(id),
                Lane::Timer => queues.timers.contains(id),
            })
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
