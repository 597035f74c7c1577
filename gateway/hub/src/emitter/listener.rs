//! One registration, the ordered list of them that an emit walks, and the guard that ends one.
//!
//! A list is never changed while anybody else can see it: who emits holds the `Arc` it took, so
//! a registration or removal during an emit does not change that emit. While nobody emits and no
//! topic handle has the list cached, it is changed in place, so that registering many listeners
//! in a row costs amortised constant time each.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{Emitter, Event, Inner, IntoOutcome};

/// What a registration calls. Runs with no lock held.
pub(super) trait Listen: Send + Sync {
    /// Takes one event.
    fn call(&self, event: &Event<'_>) -> Result<(), Box<str>>;

    /// Called once when the registration is removed other than by having been a spent `once`.
    /// An emit that began earlier may still call the listener afterwards.
    fn removed(&self) {}
}

/// A closure as a listener.
pub(super) struct Closure<F>(pub(super) F);

impl<F, R> Listen for Closure<F>
where
    F: Fn(&Event<'_>) -> R + Send + Sync,
    R: IntoOutcome,
{
    #[inline]
    fn call(&self, event: &Event<'_>) -> Result<(), Box<str>> {
        (self.0)(event).into_outcome()
    }
}

/// How often a registration runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Always,
    Once,
}

/// Where a registration goes in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Last,
}

/// One registration.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// For a `once`: whether its one run is taken. It lies beside the listener, because the hot
    /// path looks at nothing else before it calls.
    spent: Option<Arc<AtomicBool>>,
    pub(super) listener: Arc<dyn Listen>,
}

impl Entry {
    pub(super) fn new(id: u64, times: Times, listener: impl Listen + 'static) -> Self {
        let spent = (times == Times::Once).then(Arc::default);
        Self {
            id,
            spent,
            listener: Arc::new(listener),
        }
    }

    #[inline]
    pub(super) fn is_once(&self) -> bool {
        self.spent.is_some()
    }

    /// Takes the one run of a `once`. True for exactly one caller, whichever thread it is on.
    pub(super) fn claim(&self) -> bool {
        self.spent
            .as_ref()
            .is_some_and(|spent| !spent.swap(true, Relaxed))
    }
}

/// The listeners of one event, in the order in which they run.
pub(super) struct List {
    /// Equals the topic's version while this is the topic's list.
    pub(super) version: u64,
    pub(super) entries: Vec<Entry>,
}

impl List {
    pub(super) const fn empty() -> Self {
        Self {
            version: 0,
            entries: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, entry: Entry, place: Place) {
        match place {
            Place::First => self.entries.insert(0, entry),
            Place::Last => self.entries.push(entry),
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.id == id)?;
        Some(self.entries.remove(index))
    }

    /// A copy with room for a few more, because a list that changed once tends to change again.
    pub(super) fn copy(&self) -> Self {
        let mut entries = Vec::with_capacity(self.entries.len() + self.entries.len() / 2 + 1);
        entries.extend(self.entries.iter().cloned());
        Self {
            version: self.version,
            entries,
        }
    }
}

/// Names one registration of one emitter, for [`Emitter::off`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId {
    pub(super) event: Arc<str>,
    pub(super) id: u64,
}

impl ListenerId {
    /// The event that the listener is registered for.
    pub fn event(&self) -> &str {
        &self.event
    }
}

/// Holds one registration: dropping the guard removes the listener.
///
/// It does not keep the emitter alive. An emit that is under way on another thread while the guard
/// is dropped may still call the listener once, since it walks the list it began with.
#[must_use = "dropping the guard removes the listener; call `detach` to keep it"]
pub struct Guard {
    emitter: Weak<Inner>,
    id: Option<ListenerId>,
}

impl Guard {
    pub(super) fn new(emitter: &Emitter, id: ListenerId) -> Self {
        Self {
            emitter: Arc::downgrade(&emitter.inner),
            id: Some(id),
        }
    }

    /// Keeps the listener for as long as the emitter lives, or until [`Emitter::off`] removes it
    /// by the returned id.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the id is there until this call takes it"
    )]
    pub fn detach(mut self) -> ListenerId {
        self.id
            .take()
            .expect("a guard has its id until it is detached")
    }

    /// The registration that this guard holds.
    #[expect(
        clippy::missing_panics_doc,
        reason = "only `detach`, which ends the guard, takes it"
    )]
    pub fn id(&self) -> &ListenerId {
        self.id
            .as_ref()
            .expect("a guard has its id until it is detached")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let (Some(id), Some(inner)) = (self.id.take(), self.emitter.upgrade()) {
            Emitter { inner }.off(&id);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
