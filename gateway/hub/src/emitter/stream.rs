//! A bounded stream of the payloads of one event.
//!
//! Whoever emits never waits for a stream: at its bound a payload is dropped, the oldest or the
//! newest as the stream was told, and counted.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use futures_util::Stream;

use super::{
    Emitter, Event, Guard, RegisterError,
    failure::Counters,
    listener::{Listen, Place, Times},
};
use crate::lock::Lock;

/// What a stream at its bound does with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The new one is dropped.
    DropNewest,
    /// The oldest waiting one is dropped, and the new one waits.
    DropOldest,
}

impl Emitter {
    /// A stream of clones of the payloads of `event`, from now on. At most `bound` of them wait;
    /// zero is taken as one. An event with another type of payload is a failure of this listener.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound of the emitter is reached.
    pub fn stream<T: Any + Clone + Send + Sync>(
        &self,
        event: &str,
        bound: usize,
        overflow: Overflow,
    ) -> Result<EventStream<T>, RegisterError> {
        let shared = Arc::new(Shared {
            state: Lock::new(
                "emitter stream",
                State {
                    queue: VecDeque::new(),
                    waker: None,
                    closed: false,
                },
            ),
            bound: bound.max(1),
            overflow,
            dropped: AtomicU64::new(0),
        });
        let sender = Sender {
            shared: Arc::clone(&shared),
        };
        let guard = self.listen(event, Place::Last, Times::Always, sender)?;
        Ok(EventStream { shared, guard })
    }
}

/// The payloads of one event as they come; made by [`Emitter::stream`]. It ends when its listener
/// is removed or the emitter goes, after what still waits. Dropping it removes the listener.
#[must_use = "a stream that nobody reads drops what comes"]
pub struct EventStream<T> {
    shared: Arc<Shared<T>>,
    guard: Guard,
}

struct Shared<T> {
    state: Lock<State<T>>,
    /// At least one.
    bound: usize,
    overflow: Overflow,
    dropped: AtomicU64,
}

struct State<T> {
    /// `queue.len() <= bound`.
    queue: VecDeque<T>,
    waker: Option<Waker>,
    closed: bool,
}

impl<T> Shared<T> {
    /// Queues a payload. True when it, or an older one, was dropped for it.
    fn push(&self, payload: T) -> bool {
        let (waker, dropped) = self.state.with(|state| {
            let full = state.queue.len() >= self.bound;
            match self.overflow {
                Overflow::DropNewest if full => return (None, Some(payload)),
                Overflow::DropNewest | Overflow::DropOldest => {}
            }
            let dropped = if full { state.queue.pop_front() } else { None };
            state.queue.push_back(payload);
            (state.waker.take(), dropped)
        });
        if let Some(waker) = waker {
            waker.wake();
        }
        if dropped.is_some() {
            self.dropped.fetch_add(1, Relaxed);
        }
        dropped.is_some()
    }

    fn close(&self) {
        let waker = self.state.with(|state| {
            state.closed = true;
            state.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut waker = Some(context.waker().clone());
        self.state.with(|state| match state.queue.pop_front() {
            Some(payload) => Poll::Ready(Some(payload)),
            None if state.closed => Poll::Ready(None),
            None => {
                // The old waker goes out with the local and is dropped after unlocking.
                mem::swap(&mut state.waker, &mut waker);
                Poll::Pending
            }
        })
    }
}

impl<T> EventStream<T> {
    /// The next payload, or `None` at the end. Cancel safe: a payload is taken only when it is
    /// returned.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|context| self.shared.poll(context)).await
    }

    /// The next payload if one waits already.
    pub fn try_next(&mut self) -> Option<T> {
        self.shared.state.with(|state| state.queue.pop_front())
    }

    /// How many payloads this stream has dropped.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

impl<T> Stream for EventStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.shared.poll(context)
    }
}

impl<T> fmt::Debug for EventStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("guard", &self.guard)
            .field("bound", &self.shared.bound)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

/// The listener's side. It closes the stream when it goes, which is when the emitter goes.
struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Any + Clone + Send + Sync> Listen for Sender<T> {
    fn call(&self, event: &Event<'_>) -> Result<(), Box<str>> {
        let payload = event
            .expect_payload::<T>()
            .map_err(|wrong| wrong.to_string())?;
        if self.shared.push(payload.clone()) {
            Counters::increment(&event.emitter.inner.counters.stream_dropped);
        }
        Ok(())
    }

    fn removed(&self) {
        self.shared.close();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}
