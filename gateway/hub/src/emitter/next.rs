//! Waiting for the next event of a kind.
//!
//! An emit lends its payload, so what waits gets a clone. The wait is a listener like any other,
//! registered when [`Emitter::next`] is called rather than when it is first polled: what is emitted
//! in between is not missed.

use std::{
    any::Any,
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    Emitter, Event, Guard, RegisterError,
    listener::{Listen, Place, Times},
};
use crate::lock::Lock;

impl Emitter {
    /// A future of the payload of the next `event`. An event with another type of payload is a
    /// failure of this listener, and is waited past.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn next<T: Any + Clone + Send + Sync>(
        &self,
        event: &str,
    ) -> Result<Next<T>, RegisterError> {
        let slot = Arc::new(Lock::new("emitter next", State::Waiting(None)));
        let waiting = Waiting {
            slot: Arc::clone(&slot),
        };
        let guard = self.listen(event, Place::Last, Times::Always, waiting)?;
        Ok(Next { slot, guard })
    }
}

/// Waits for one event; made by [`Emitter::next`]. Dropping it removes the listener.
///
/// # Cancel safety
///
/// An event that arrived before the drop is lost with it.
#[must_use = "it waits only while it is polled"]
pub struct Next<T> {
    slot: Arc<Lock<State<T>>>,
    guard: Guard,
}

/// The listener of a wait was removed, or the emitter is gone: no event will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the listener was removed before an event came")
    }
}

impl std::error::Error for Closed {}

enum State<T> {
    Waiting(Option<Waker>),
    Arrived(T),
    Closed,
}

/// The listener's side.
struct Waiting<T> {
    slot: Arc<Lock<State<T>>>,
}

impl<T> Waiting<T> {
    /// Ends the wait, unless it has ended. Wakes after unlocking.
    fn settle(&self, state: State<T>) {
        let (waker, _unused) = self.slot.with(|slot| match slot {
            State::Waiting(_) => match mem::replace(slot, state) {
                State::Waiting(waker) => (waker, None),
                State::Arrived(_) | State::Closed => (None, None),
            },
            State::Arrived(_) | State::Closed => (None, Some(state)),
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Any + Clone + Send + Sync> Listen for Waiting<T> {
    fn call(&self, event: &Event<'_>) -> Result<(), Box<str>> {
        let payload = event
            .expect_payload::<T>()
            .map_err(|wrong| wrong.to_string())?
            .clone();
        // Removed before it settles, as a `once` is removed before it runs. Not through
        // `remove_listener`, which would tell it that it is closed.
        drop(
            event
                .emitter
                .inner
                .registry
                .take(event.name, event.listener),
        );
        self.settle(State::Arrived(payload));
        Ok(())
    }

    fn removed(&self) {
        self.settle(State::Closed);
    }
}

/// The emitter is gone, and the listener with it.
impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.settle(State::Closed);
    }
}

impl<T> Future for Next<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker().clone();
        let (poll, _old_waker) = self.slot.with(|slot| match slot {
            State::Waiting(current) => (Poll::Pending, current.replace(waker)),
            State::Arrived(_) | State::Closed => match mem::replace(slot, State::Closed) {
                State::Arrived(payload) => (Poll::Ready(Ok(payload)), Some(waker)),
                State::Waiting(_) | State::Closed => (Poll::Ready(Err(Closed)), Some(waker)),
            },
        });
        poll
    }
}

impl<T> fmt::Debug for Next<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}
