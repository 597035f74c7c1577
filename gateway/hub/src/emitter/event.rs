//! What a listener is given, and what it may give back.
//!
//! A payload is any `'static` value that threads may share. The emitter never looks inside: a
//! listener asks for the type it knows and gets `None` when the event carries another.

use std::{
    any::{Any, type_name},
    fmt,
};

use super::Emitter;

/// A payload, seen without its type.
pub type Payload = dyn Any + Send + Sync;

/// One event on its way to one listener.
pub struct Event<'a> {
    pub(super) emitter: &'a Emitter,
    pub(super) name: &'a str,
    pub(super) payload: &'a Payload,
    pub(super) listener: u64,
}

impl<'a> Event<'a> {
    /// The name it was emitted under.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The emitter it came from. A listener uses this rather than a clone of its own: a clone
    /// inside a listener is a reference cycle, and neither would ever be freed.
    pub fn emitter(&self) -> &'a Emitter {
        self.emitter
    }

    /// The payload, if it is a `T`.
    pub fn payload<T: Any>(&self) -> Option<&'a T> {
        self.payload.downcast_ref()
    }

    /// The payload without its type.
    pub fn any(&self) -> &'a Payload {
        self.payload
    }

    /// The payload, for a listener that can use nothing but a `T`.
    ///
    /// # Errors
    ///
    /// [`WrongPayload`] when the payload has another type.
    pub fn expect_payload<T: Any>(&self) -> Result<&'a T, WrongPayload> {
        self.payload().ok_or_else(|| WrongPayload {
            expected: type_name::<T>(),
        })
    }

    /// Removes the listener that is running. Returns false when it was removed already, which
    /// is always so for `once`.
    pub fn remove_listener(&self) -> bool {
        self.emitter.remove(self.name, self.listener)
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A listener met a payload of another type than the one it is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPayload {
    /// The name of the type it wanted.
    pub expected: &'static str,
}

impl fmt::Display for WrongPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a payload of type {}", self.expected)
    }
}

impl std::error::Error for WrongPayload {}

/// What a listener may return: nothing, or a `Result` whose error becomes an `error` event.
pub trait IntoOutcome {
    /// The text of the error, if there is one.
    ///
    /// # Errors
    ///
    /// The listener's own error, as text. The box keeps the success path in two registers.
    fn into_outcome(self) -> Result<(), Box<str>>;
}

impl IntoOutcome for () {
    #[inline]
    fn into_outcome(self) -> Result<(), Box<str>> {
        Ok(())
    }
}

impl<E: fmt::Display> IntoOutcome for Result<(), E> {
    #[inline]
    fn into_outcome(self) -> Result<(), Box<str>> {
        self.map_err(|error| error.to_string().into_boxed_str())
    }
}
