//! What the threads of a run share: its phase, its clock, how many connections are ready, and the
//! first thing that went wrong.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use super::inflate::Inflated;

/// Where a run stands. Phases only advance, and some may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Connections are being opened.
    Opening,
    /// Load, not measured: caches and buffers find their size.
    Warmup,
    /// Load, measured.
    Measure,
    /// No new load; what is in flight may arrive.
    Drain,
    /// Threads end.
    Stop,
}

/// State of a run that all its threads see.
pub(super) struct Shared {
    phase: AtomicU8,
    ready: AtomicU64,
    closed: AtomicU64,
    opened: AtomicU64,
    turns: AtomicU64,
    deflating: AtomicU64,
    inflated: Mutex<Inflated>,
    failure: OnceLock<String>,
    start: Instant,
    wakers: Box<[OwnedFd]>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(threads: usize) -> io::Result<Self> {
        let waker = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let wakers: Result<_, rustix::io::Errno> = (0..threads).map(|_| waker()).collect();
        Ok(Self {
            phase: AtomicU8::new(Phase::Opening as u8),
            ready: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            deflating: AtomicU64::new(0),
            inflated: Mutex::default(),
            failure: OnceLock::new(),
            start: Instant::now(),
            wakers: wakers?,
        })
    }

    /// Nanoseconds since the run began.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        let elapsed = self.start.elapsed();
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
    }

    pub(super) fn phase(&self) -> Phase {
        // Nothing else is published with the phase, so Relaxed will do.
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Opening,
            1 => Phase::Warmup,
            2 => Phase::Measure,
            3 => Phase::Drain,
            _ => Phase::Stop,
        }
    }

    /// Begins a phase and wakes all threads; one that lies behind is not gone back to.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
        for thread in 0..self.wakers.len() {
            self.wake(thread);
        }
    }

    /// Has a thread leave its wait.
    pub(super) fn wake(&self, thread: usize) {
        if let Some(waker) = self.wakers.get(thread) {
            // It fails only when the counter is full, and then the thread is awake anyway.
            rustix::io::write(waker, &1_u64.to_ne_bytes()).ok();
        }
    }

    pub(super) fn waker(&self, thread: usize) -> Option<&OwnedFd> {
        self.wakers.get(thread)
    }

    /// Counts a connection that its load can use.
    pub(super) fn add_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ready(&self) -> u64 {
        self.ready.load(Ordering::Relaxed)
    }

    /// Counts a connection that the server ended, or that was lost.
    pub(super) fn add_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Counts a connection on which the server may compress.
    pub(super) fn add_deflating(&self) {
        self.deflating.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn deflating(&self) -> u64 {
        self.deflating.load(Ordering::Relaxed)
    }

    /// Adds what a thread has inflated, at its end.
    pub(super) fn add_inflated(&self, part: Inflated) {
        let mut sum = self.inflated.lock().unwrap_or_else(PoisonError::into_inner);
        sum.messages += part.messages;
        sum.compressed_bytes += part.compressed_bytes;
        sum.plain_bytes += part.plain_bytes;
    }

    pub(super) fn inflated(&self) -> Inflated {
        *self.inflated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a turn in which a connection had something to tell.
    pub(super) fn add_turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Numbers the connects of all threads.
    pub(super) fn next_connect(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends the measurement for a reason. The first reason is kept.
    pub(super) fn fail(&self, why: impl Into<String>) {
        self.failure.set(why.into()).ok();
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}
