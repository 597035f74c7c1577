//! Emits that happen later: on the next tick, as an immediate, after a delay, or again and again.
//!
//! They go to the scheduler that the current thread has entered, and from any other thread to the
//! first one attached to the emitter that is still alive. In which order a worker runs them stands
//! with [`Scheduler`].

use std::{any::Any, sync::Arc, time::Duration};

use super::{
    DeferError, Deferred, Emitter, Scheduler, SchedulerHandle, Topic,
    failure::Counters,
    scheduler::{DeferredEmit, Plan, Task},
};

impl Emitter {
    /// Lets threads that have entered no scheduler defer to this one. Where several are attached,
    /// the first that is alive is used.
    pub fn attach(&self, scheduler: &Scheduler) {
        let handle = scheduler.handle();
        self.inner.schedulers.with(|schedulers| {
            schedulers.retain(|other| other.is_alive() && !other.is_same(&handle));
            schedulers.push(handle);
        });
    }

    /// Emits before the worker reads more input.
    ///
    /// # Errors
    ///
    /// [`DeferError`] when there is no scheduler or its queue is full.
    pub fn emit_next_tick<T: Any + Send + Sync>(
        &self,
        event: &str,
        payload: T,
    ) -> Result<Deferred, DeferError> {
        self.defer(event, payload, |emit| Plan::NextTick(Task::Emit(emit)))
    }

    /// Emits after the worker's next poll of input.
    ///
    /// # Errors
    ///
    /// [`DeferError`] when there is no scheduler or its queue is full.
    pub fn emit_immediate<T: Any + Send + Sync>(
        &self,
        event: &str,
        payload: T,
    ) -> Result<Deferred, DeferError> {
        self.defer(event, payload, |emit| Plan::Immediate(Task::Emit(emit)))
    }

    /// Emits once, when `delay` has passed. Resolution is a millisecond; a delay is rounded up, to
    /// one at least. It counts from the turn it is set in, or from the worker's next turn where it
    /// is set on another thread.
    ///
    /// # Errors
    ///
    /// [`DeferError`] when there is no scheduler or it has as many timers as it may have.
    pub fn emit_after<T: Any + Send + Sync>(
        &self,
        delay: Duration,
        event: &str,
        payload: T,
    ) -> Result<Deferred, DeferError> {
        self.defer(event, payload, |emit| Plan::After(delay, Task::Emit(emit)))
    }

    /// Emits every `period` until it is cancelled, the first time after one period. Times that a
    /// busy worker missed are left out, the others stay on the grid.
    ///
    /// # Errors
    ///
    /// [`DeferError`] when there is no scheduler or it has as many timers as it may have.
    pub fn emit_every<T: Any + Send + Sync>(
        &self,
        period: Duration,
        event: &str,
        payload: T,
    ) -> Result<Deferred, DeferError> {
        self.defer(event, payload, |emit| Plan::Every(period, emit))
    }

    /// The scheduler that serves the current thread.
    pub(super) fn scheduler(&self) -> Result<SchedulerHandle, DeferError> {
        SchedulerHandle::current()
            .or_else(|| {
                self.inner.schedulers.with(|schedulers| {
                    schedulers
                        .iter()
                        .find(|scheduler| scheduler.is_alive())
                        .cloned()
                })
            })
            .ok_or(DeferError::NoScheduler)
    }

    fn defer<T: Any + Send + Sync>(
        &self,
        event: &str,
        payload: T,
        plan: impl FnOnce(DeferredEmit) -> Plan,
    ) -> Result<Deferred, DeferError> {
        let emit = DeferredEmit {
            emitter: self.clone(),
            event: self.inner.registry.name(event),
            payload: Arc::new(payload),
        };
        self.scheduler()
            .and_then(|scheduler| scheduler.queue(plan(emit)))
            .inspect_err(|_| Counters::increment(&self.inner.counters.deferred_refused))
    }
}

impl Topic {
    /// [`Emitter::emit_next_tick`] of this event.
    ///
    /// # Errors
    ///
    /// [`DeferError`] when there is no scheduler or its queue is full.
    pub fn emit_next_tick<T: Any + Send + Sync>(&self, payload: T) -> Result<Deferred, DeferError> {
        self.emitter().emit_next_tick(self.name(), payload)
    }

    /// [`Emitter::emit_immediate`] of this event.
    ///
    /// # Errors
    ///
    /// [`DeferError`] when there is no scheduler or its queue is full.
    pub fn emit_immediate<T: Any + Send + Sync>(&self, payload: T) -> Result<Deferred, DeferError> {
        self.emitter().emit_immediate(self.name(), payload)
    }
}
