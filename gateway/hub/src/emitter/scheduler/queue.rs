//! The queues of one scheduler and what lies in them: an emit with a payload of its own, or a call.
//!
//! Whoever fills a queue wakes the loop, once until the loop has looked, and not from within a turn
//! on the loop's own thread: at the end of its turn the loop asks for the next deadline anyway.

use std::{
    sync::{Arc, atomic::AtomicU64},
    task::Waker,
    time::Duration,
};

use super::{
    SchedulerLimits,
    line::Line,
    timer::{Job, Timers},
};
use crate::{
    emitter::{Emitter, Payload},
    lock::Lock,
};

pub(in crate::emitter) enum Task {
    Emit(DeferredEmit),
    Call(Box<dyn FnOnce() + Send>),
}

/// An emit that owns all it needs. It keeps its emitter alive until it has run.
#[derive(Clone)]
pub(in crate::emitter) struct DeferredEmit {
    pub(in crate::emitter) emitter: Emitter,
    pub(in crate::emitter) event: Arc<str>,
    pub(in crate::emitter) payload: Arc<Payload>,
}

impl Task {
    pub(super) fn run(self) {
        match self {
            Self::Emit(emit) => {
                emit.emitter.emit_any(&emit.event, &*emit.payload);
            }
            Self::Call(call) => call(),
        }
    }
}

/// What to queue, and until when. Only an emit can repeat.
pub(in crate::emitter) enum Plan {
    NextTick(Task),
    Immediate(Task),
    After(Duration, Task),
    Every(Duration, DeferredEmit),
}

/// Which queue a [`Deferred`](super::Deferred) waits in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lane {
    Immediate,
    NextTick,
    Timer,
}

/// What a scheduler and its handles share.
pub(super) struct Shared {
    pub(super) queues: Lock<Queues>,
    pub(super) next_tick_budget: usize,
    pub(super) refused: AtomicU64,
    pub(super) panics: AtomicU64,
}

pub(super) struct Queues {
    pub(super) next_id: u64,
    pub(super) next_ticks: Line,
    pub(super) immediates: Line,
    pub(super) timers: Timers,
    pub(super) turn: Turn,
    pub(super) waker: Option<Waker>,
    /// The waker was woken and no call has looked at the queues since.
    pub(super) woken: bool,
}

/// What the loop is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// The loop is in a turn, or inside a `run_…` call: it will look at the queues by itself.
    pub(super) running: bool,
    /// The time of the turn, where it is known.
    pub(super) now: Option<u64>,
}

impl Queues {
    pub(super) fn new(limits: &SchedulerLimits) -> Self {
        Self {
            next_id: 0,
            next_ticks: Line::new(limits.max_next_ticks),
            immediates: Line::new(limits.max_immediates),
            timers: Timers::new(limits.max_timers),
            turn: Turn::default(),
            waker: None,
            woken: false,
        }
    }

    /// Queues what is planned under an id of its own, or gives it back.
    pub(super) fn insert(&mut self, plan: Plan) -> (u64, Lane, Result<(), Job>) {
        let (id, now) = (self.next_id, self.turn.now);
        self.next_id += 1;
        let (lane, queued) = match plan {
            Plan::NextTick(task) => (
                Lane::NextTick,
                self.next_ticks.push(id, task).map_err(Job::Once),
            ),
            Plan::Immediate(task) => (
                Lane::Immediate,
                self.immediates.push(id, task).map_err(Job::Once),
            ),
            Plan::After(delay, task) => (
                Lane::Timer,
                self.timers.set(id, delay, Job::Once(task), now),
            ),
            Plan::Every(period, emit) => (
                Lane::Timer,
                self.timers.set(id, period, Job::Every(emit), now),
            ),
        };
        (id, lane, queued)
    }

    /// Takes something out; the caller drops it outside the lock.
    pub(super) fn cancel(&mut self, lane: Lane, id: u64) -> Option<Job> {
        match lane {
            Lane::Immediate => self.immediates.cancel(id).map(Job::Once),
            Lane::NextTick => self.next_ticks.cancel(id).map(Job::Once),
            Lane::Timer => self.timers.cancel(id),
        }
    }

    pub(super) fn contains(&self, lane: Lane, id: u64) -> bool {
        match lane {
            Lane::Immediate => self.immediates.contains(id),
            Lane::NextTick => self.next_ticks.contains(id),
            Lane::Timer => self.timers.contains(id),
        }
    }

    /// The waker, if whoever queued something must wake the loop.
    pub(super) fn take_wake(&mut self, on_its_thread: bool) -> Option<Waker> {
        if self.woken || (on_its_thread && self.turn.running) {
            return None;
        }
        self.woken = self.waker.is_some();
        self.waker.clone()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.next_ticks.len() == 0 && self.immediates.len() == 0 && self.timers.len() == 0
    }
}
