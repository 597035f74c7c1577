//! Work off the loop: threads for what would hold up a worker and everybody on it, such as hashing a
//! password or waiting for a disk.
//!
//! Programs that embed the gateway have [`Work`]; what the gateway itself waits for, disks, has a pool of
//! its own. A pool is bounded in threads and in what waits for one; beyond that work is refused, and whoever
//! wanted it says so to its peer. Threads begin when there is work and stay until the pool is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use roomwire_metrics::{Id, SharedLane};
use tokio::sync::oneshot;

use crate::config::Limits;

/// How nice threads for the processor are to the workers. Chosen: a worker that wants to run gets about
/// nine tenths of a processor that it shares with one of them.
const GIVES_WAY: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool of threads.
pub(crate) struct Pool {
    shared: Arc<PoolShared>,
}

struct PoolShared {
    name: &'static str,
    threads: usize,
    max_waiting: usize,
    /// Of its threads; 0 is as others.
    nice: i32,
    state: Mutex<State>,
    work_came: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    /// Threads that look for work, or will once they have started: nothing of theirs waits.
    idle: usize,
    closed: bool,
}

/// As much waits already as may. As a [`Reply`](crate::Reply) it is a 503 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much work waits already")]
pub struct Full;

/// The work panicked, or the gateway ended before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was given up")]
pub struct GivenUp;

/// Threads for work of an embedding program that takes the processor: hashing a password, drawing an
/// image. Cheap to clone, usable from any thread; it does not keep the gateway alive.
///
/// There are `limits.work_threads` of them, and they give way to the workers where both want the
/// processor. `limits.max_work_queue` pieces may wait; what comes beyond that is refused.
#[derive(Clone)]
pub struct Work {
    pool: Arc<Pool>,
    lane: SharedLane,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

impl Work {
    pub(crate) fn new(limits: &Limits, lane: SharedLane) -> Self {
        let threads = match limits.work_threads {
            0 => thread::available_parallelism().map_or(1, |cores| cores.get() / 2),
            threads => threads,
        };
        let mut shared = PoolShared::new("work", threads, limits.max_work_queue);
        shared.nice = GIVES_WAY;
        Self {
            pool: Arc::new(Pool {
                shared: Arc::new(shared),
            }),
            lane,
        }
    }

    /// Has a thread do `work`. The result is to be awaited; dropping it skips what has not begun.
    ///
    /// # Errors
    ///
    /// [`Full`] when all threads are busy and as much waits already as may.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Working<T>, Full> {
        let waiting = Waiting::begin(&self.lane);
        let working = self.pool.run(move || {
            drop(waiting);
            work()
        });
        self.lane.increment(match working {
            Ok(_) => Id::WorkTaken,
            Err(Full) => Id::WorkRefused,
        });
        working
    }
}

/// Something waits for a thread for as long as this lives.
struct Waiting(SharedLane);

impl Waiting {
    fn begin(lane: &SharedLane) -> Self {
        lane.gauge_add(Id::WorkWaiting, 1);
        Self(lane.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.gauge_sub(Id::WorkWaiting, 1);
    }
}

/// Work in progress. Dropping it does not stop work that has begun; what has not begun is skipped.
#[must_use = "what nobody waits for is not begun"]
pub struct Working<T>(oneshot::Receiver<T>);

impl<T> Future for Working<T> {
    type Output = Result<T, GivenUp>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0)
            .poll(cx)
            .map(|done| done.map_err(|_| GivenUp))
    }
}

impl<T> fmt::Debug for Working<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Working")
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.shared;
        f.debug_struct("Pool")
            .field("name", &shared.name)
            .field("threads", &shared.threads)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of at most `threads` threads, for which at most `max_waiting` pieces of work wait.
    pub(crate) fn new(name: &'static str, threads: usize, max_waiting: usize) -> Self {
        Self {
            shared: Arc::new(PoolShared::new(name, threads, max_waiting)),
        }
    }

    /// Has a thread do `work`.
    ///
    /// # Errors
    ///
    /// When all threads are busy and as much waits already as may, or no thread could be started.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Working<T>, Full> {
        self.submit(work, self.shared.max_waiting)
    }

    /// The same for a piece of something that was begun and that somebody waits for, so that it cannot
    /// be refused any more. Whoever calls this has at most one piece waiting at a time.
    pub(crate) fn run_begun<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Working<T> {
        let working = self.submit(work, usize::MAX);
        working.expect("nothing is full that has no bound")
    }

    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        max_waiting: usize,
    ) -> Result<Working<T>, Full> {
        let (done, working) = oneshot::channel();
        let job = Box::new(move || {
            if !done.is_closed() {
                // Whoever wanted it may have gone meanwhile.
                drop(done.send(work()));
            }
        });
        self.shared.push(job, max_waiting)?;
        Ok(Working(working))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        let unbegun = std::mem::take(&mut state.waiting);
        drop(state);
        self.shared.work_came.notify_all();
        drop(unbegun);
    }
}

impl PoolShared {
    fn new(name: &'static str, threads: usize, max_waiting: usize) -> Self {
        Self {
            name,
            threads: threads.max(1),
            max_waiting,
            nice: 0,
            state: Mutex::default(),
            work_came: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock();
        state.expect("nothing panics under the lock of a pool")
    }

    fn push(self: &Arc<Self>, job: Job, max_waiting: usize) -> Result<(), Full> {
        let mut state = self.state();
        let spare = state.idle.saturating_sub(state.waiting.len());
        let starts = spare == 0 && state.running < self.threads;
        let beyond = state.waiting.len().saturating_sub(state.idle);
        if spare == 0 && !starts && beyond >= max_waiting {
            return Err(Full);
        }
        if starts {
            state.running += 1;
            state.idle += 1;
        }
        state.waiting.push_back(job);
        drop(state);
        if starts {
            self.start();
        } else {
            self.work_came.notify_one();
        }
        Ok(())
    }

    fn start(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let builder = thread::Builder::new().name(self.name.to_owned());
        if let Err(error) = builder.spawn(move || shared.work()) {
            tracing::error!(pool = self.name, %error, "no thread could be started");
            let mut state = self.state();
            state.running -= 1;
            state.idle -= 1;
            // Without any thread nobody would ever take it.
            let unbegun = (state.running == 0).then(|| std::mem::take(&mut state.waiting));
            drop(state);
            drop(unbegun);
        }
    }

    fn work(&self) {
        if self.nice != 0 {
            // Of this thread alone (Linux). Anybody may be nicer.
            let set = rustix::process::setpriority_process(None, self.nice);
            if let Err(error) = set {
                tracing::debug!(pool = self.name, %error, "its threads do not give way");
            }
        }
        let mut state = self.state();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.idle -= 1;
                drop(state);
                // The panic hook has written what there is to know; whoever waits is told.
                drop(catch_unwind(AssertUnwindSafe(job)));
                state = self.state();
                state.idle += 1;
            } else if state.closed {
                return;
            } else {
                let woken = self.work_came.wait(state);
                state = woken.expect("nothing panics under the lock of a pool");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn work_is_done_and_what_it_returns_comes_back() {
        let pool = Pool::new("test", 2, 2);
        for n in 0..100 {
            assert_eq!(pool.run(move || n * 2).unwrap().await, Ok(n * 2));
        }
    }

    #[tokio::test]
    async fn what_no_thread_is_free_for_waits_up_to_a_bound() {
        let pool = Pool::new("test", 1, 2);
        let (begun, has_begun) = sync_channel(1);
        let (release, released) = sync_channel::<()>(1);
        let busy = pool.run(move || {
            begun.send(()).unwrap();
            released.recv().unwrap();
        });
        has_begun.recv().unwrap();
        let waiting = [pool.run(|| 1).unwrap(), pool.run(|| 2).unwrap()];
        assert_eq!(pool.run(|| 3).err(), Some(Full));
        release.send(()).unwrap();
        busy.unwrap().await.unwrap();
        for (working, expected) in waiting.into_iter().zip([1, 2]) {
            assert_eq!(working.await, Ok(expected));
        }
        assert_eq!(pool.run(|| 4).unwrap().await, Ok(4));
    }

    #[tokio::test]
    async fn a_panic_gives_up_its_own_work_only() {
        let pool = Pool::new("test", 1, 2);
        let panics = pool.run(|| panic!("on purpose")).unwrap();
        assert_eq!(panics.await, Err(GivenUp));
        assert_eq!(pool.run(|| 1).unwrap().await, Ok(1));
    }
}
