//! An event name resolved once: emitting through the handle hashes nothing and takes no lock.
//!
//! Every topic has a version that each change of its list moves on. A handle keeps the list it used
//! last and compares one number; only when the topic has changed does it go back to the emitter's
//! map. The lowest bit of the version says whether anybody listens at all.

use std::{
    any::Any,
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    Emitter, Event, Guard, IntoOutcome, Payload, RegisterError,
    listener::{Closure, List, Place, Times},
    name,
};

/// What the handles of one event share with the emitter's map.
pub(super) struct TopicState {
    pub(super) name: Arc<str>,
    /// Twice the number of changes, plus one while there are listeners. Written only under the
    /// lock of the map's shard, which also orders the list: a relaxed load is enough to notice.
    version: AtomicU64,
    /// Handles alive; above zero the emitter keeps the topic though nobody listens. Raised from
    /// zero only under the lock of the map's shard.
    pub(super) handles: AtomicUsize,
    /// An `error` that nobody listens to is not lost.
    is_error: bool,
}

impl TopicState {
    pub(super) fn new(name: Arc<str>) -> Arc<Self> {
        let is_error = &*name == name::ERROR;
        Arc::new(Self {
            name,
            version: AtomicU64::new(0),
            handles: AtomicUsize::new(0),
            is_error,
        })
    }

    /// Moves the version on; the caller holds the shard's lock and stores it in the list.
    pub(super) fn advance(&self, has_listeners: bool) -> u64 {
        let changes = (self.version.load(Relaxed) >> 1) + 1;
        let version = (changes << 1) | u64::from(has_listeners);
        self.version.store(version, Relaxed);
        version
    }
}

/// A handle to one event of one emitter. Each thread clones its own: a handle is `Send`, not `Sync`.
///
/// It keeps the list of listeners it emitted to last until its next emit, or until it is dropped: a
/// listener that was removed is freed no earlier.
pub struct Topic {
    emitter: Emitter,
    state: Arc<TopicState>,
    /// Taken out while an emit walks it, so an emit from within a listener loads the list anew.
    cached: Cell<Option<Arc<List>>>,
}

impl Topic {
    /// The caller has counted this handle in `state.handles`.
    pub(super) fn new(emitter: Emitter, state: Arc<TopicState>) -> Self {
        Self {
            emitter,
            state,
            cached: Cell::new(None),
        }
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The emitter that this is an event of.
    pub fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    /// True when an emit would reach a listener. One relaxed load: use it to avoid building a
    /// payload that nobody wants.
    #[inline]
    pub fn has_listeners(&self) -> bool {
        self.state.version.load(Relaxed) & 1 != 0
    }

    /// [`Emitter::listener_count`] of this event.
    pub fn listener_count(&self) -> usize {
        self.emitter.listener_count(self.name())
    }

    /// [`Emitter::emit`] without the look-up.
    #[inline]
    pub fn emit<T: Any + Send + Sync>(&self, payload: &T) -> bool {
        self.emit_any(payload)
    }

    /// [`Emitter::emit_any`] without the look-up.
    #[inline]
    pub fn emit_any(&self, payload: &Payload) -> bool {
        let version = self.state.version.load(Relaxed);
        let cached = self.cached.take();
        if version & 1 == 0 {
            if cached.is_some() || self.state.is_error {
                self.emit_to_nobody(cached, payload);
            }
            return false;
        }
        self.emit_to_listeners(cached, version, payload)
    }

    /// Apart from the look at the version, so that an emit without listeners costs only that.
    #[inline(never)]
    fn emit_to_listeners(
        &self,
        cached: Option<Arc<List>>,
        version: u64,
        payload: &Payload,
    ) -> bool {
        let list = match cached {
            Some(list) if list.version == version => list,
            stale => self.reload(stale),
        };
        let reached = self.emitter.run(&list, self.name(), payload);
        self.cached.set(Some(list));
        reached
    }

    #[cold]
    fn reload(&self, stale: Option<Arc<List>>) -> Arc<List> {
        drop(stale);
        self.emitter.list(self.name())
    }

    #[cold]
    fn emit_to_nobody(&self, cached: Option<Arc<List>>, payload: &Payload) {
        drop(cached);
        self.emitter.emit_to_nobody(self.name(), payload);
    }

    /// [`Emitter::on`] for this event.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn on<F, R>(&self, listener: F) -> Result<Guard, RegisterError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.emitter
            .register(self.name(), Place::Last, Times::Always, Closure(listener))
    }

    /// [`Emitter::once`] for this event.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn once<F, R>(&self, listener: F) -> Result<Guard, RegisterError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.emitter
            .register(self.name(), Place::Last, Times::Once, Closure(listener))
    }
}

impl Clone for Topic {
    fn clone(&self) -> Self {
        self.state.handles.fetch_add(1, Relaxed);
        Self::new(self.emitter.clone(), Arc::clone(&self.state))
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if self.state.handles.fetch_sub(1, Relaxed) == 1 {
            self.emitter.vacate(&self.state.name);
        }
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
