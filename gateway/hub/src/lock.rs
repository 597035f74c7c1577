//! The crate's one way to lock: a named `std::sync::Mutex` whose guard never leaves this type.
//!
//! Callers pass a closure, so what runs under a lock can be read in one place and no guard lives
//! longer than its statement. Which lock may be taken inside which is in the crate's front page.
//! A poisoned lock means a panic in our own code under it; there is no sound state to go on from,
//! so the next user panics too, with the lock's name.

use std::fmt;
use std::sync::Mutex;

pub(crate) struct Lock<T> {
    name: &'static str,
    inner: Mutex<T>,
}

impl<T> Lock<T> {
    pub(crate) const fn new(name: &'static str, value: T) -> Self {
        Self {
            name,
            inner: Mutex::new(value),
        }
    }

    #[expect(
        clippy::panic,
        reason = "a poisoned lock guards a state that our own bug left half changed"
    )]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        match self.inner.lock() {
            Ok(mut guard) => act(&mut guard),
            Err(_) => panic!("the lock `{}` is poisoned by an earlier panic", self.name),
        }
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("name", &self.name).finish()
    }
}
