//! The event emitter: named events, listeners in the order of their registration, and answers.
//!
//! An [`Emitter`] is a handle that any thread may use. Listeners run synchronously on the thread that
//! emits, with no lock held, so they may emit, register and remove as they like. A [`Topic`] is an
//! event resolved once, for hot paths. A [`Scheduler`] runs deferred emits in a worker's loop;
//! [`Emitter::next`], [`Emitter::stream`] and [`Emitter::gather`] serve async code without naming a
//! runtime. It knows nothing about rooms, sessions or wires, reads no clock and logs nothing.
//!
//! The one idea: a topic's list of listeners is immutable once somebody walks it. Read `listener.rs`
//! next, then `topic.rs`.

mod event;
mod failure;
mod listener;
pub mod name;
mod topic;

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use dashmap::{DashMap, Entry as MapEntry, mapref::one::RefMut};

pub use self::{
    event::{Event, IntoOutcome, Payload, WrongPayload},
    failure::{EmitterStats, FailureKind, ListenerError, RegisterError, UnhandledError, Warning},
    listener::{Guard, ListenerId},
    topic::Topic,
};
use self::{
    failure::{Counters, HandlingFailure, Hooks, panic_message},
    listener::{Closure, Entry, List, Listen, Place, Times},
    topic::TopicState,
};

/// Bounds of one emitter. At each of them a registration is refused; emitting is never bounded,
/// because it creates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events that have a listener or a topic handle. Default 65,536, about 20 MiB at worst with
    /// short names.
    pub max_topics: usize,
    /// Listeners of all events together, answering ones included. Default 1,048,576.
    pub max_total_listeners: usize,
    /// Bytes in an event's name. Default 1,024: a route with a long path still fits.
    pub max_name_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_topics: 65_536,
            max_total_listeners: 1 << 20,
            max_name_bytes: 1024,
        }
    }
}

/// Listeners on one event above which a warning is given, as in Node.
const DEFAULT_MAX_LISTENERS: usize = 10;

/// A handle to an event emitter; clones are the same emitter.
///
/// ```
/// use roomwire_hub::emitter::Emitter;
///
/// let emitter = Emitter::new();
/// let _stock = emitter.on_payload("orderPlaced", |amount: &u32| println!("reserve {amount}"))?;
/// let _mail = emitter.on("orderPlaced", |event| println!("thank you for {}", event.name()))?;
/// assert!(emitter.emit("orderPlaced", &3_u32));
/// assert!(!emitter.emit("orderLost", &3_u32), "nobody listens");
/// # Ok::<(), roomwire_hub::emitter::RegisterError>(())
/// ```
#[derive(Clone)]
pub struct Emitter {
    inner: Arc<Inner>,
}

/// What all handles share. No lock in it is held while foreign code runs.
struct Inner {
    /// Only registrations and topic handles create entries, never an emit: names of emitted events
    /// may come from peers.
    topics: DashMap<Arc<str>, Slot>,
    /// Entries in `topics`, since counting them would take every shard's lock.
    topic_count: AtomicUsize,
    listener_count: AtomicUsize,
    next_id: AtomicU64,
    max_listeners: AtomicUsize,
    limits: Limits,
    counters: Counters,
    hooks: Hooks,
}

/// What the map holds for one event.
struct Slot {
    state: Arc<TopicState>,
    list: Arc<List>,
    warned: bool,
}

impl Slot {
    fn new(name: Arc<str>) -> Self {
        Self {
            state: TopicState::new(name),
            list: Arc::new(List::empty()),
            warned: false,
        }
    }

    /// Changes the list without anybody who walks it noticing. What `change` takes out of the list
    /// must outlive the shard's lock: dropping a listener runs foreign code.
    fn change<R>(&mut self, change: impl FnOnce(&mut List) -> R) -> R {
        if Arc::get_mut(&mut self.list).is_none() {
            self.list = Arc::new(self.list.copy());
        }
        let list = Arc::get_mut(&mut self.list).expect("a fresh list has one owner");
        let result = change(list);
        list.version = self.state.advance(!list.entries.is_empty());
        result
    }

    fn count(&self) -> usize {
        self.list.entries.len()
    }

    fn is_vacant(&self) -> bool {
        self.count() == 0 && self.state.handles.load(Relaxed) == 0
    }
}

impl Default for Emitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Emitter {
    /// An emitter with the default [`Limits`].
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// An emitter with these bounds.
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                topics: DashMap::new(),
                topic_count: AtomicUsize::new(0),
                listener_count: AtomicUsize::new(0),
                next_id: AtomicU64::new(0),
                max_listeners: AtomicUsize::new(DEFAULT_MAX_LISTENERS),
                limits,
                counters: Counters::default(),
                hooks: Hooks::default(),
            }),
        }
    }

    /// Calls `listener` for every `event`, after the listeners that are there already.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn on<F, R>(&self, event: &str, listener: F) -> Result<Guard, RegisterError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.register(event, Place::Last, Times::Always, Closure(listener))
    }

    /// Calls `listener` for the next `event` only. It is removed before it runs, and runs exactly
    /// once though several threads emit at the same time.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn once<F, R>(&self, event: &str, listener: F) -> Result<Guard, RegisterError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.register(event, Place::Last, Times::Once, Closure(listener))
    }

    /// [`on`](Self::on), but before the listeners that are there already.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn prepend<F, R>(&self, event: &str, listener: F) -> Result<Guard, RegisterError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.register(event, Place::First, Times::Always, Closure(listener))
    }

    /// [`once`](Self::once), but before the listeners that are there already.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn prepend_once<F, R>(&self, event: &str, listener: F) -> Result<Guard, RegisterError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.register(event, Place::First, Times::Once, Closure(listener))
    }

    /// [`on`](Self::on) for a listener that wants the payload and nothing else. An event that
    /// carries another type is a failure of this listener ([`WrongPayload`]).
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn on_payload<T, F, R>(&self, event: &str, listener: F) -> Result<Guard, RegisterError>
    where
        T: Any,
        F: Fn(&T) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.on(event, for_payload(listener))
    }

    /// [`once`](Self::once) for a listener that wants the payload and nothing else. An event that
    /// carries another type uses its one run up.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn once_payload<T, F, R>(&self, event: &str, listener: F) -> Result<Guard, RegisterError>
    where
        T: Any,
        F: Fn(&T) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.once(event, for_payload(listener))
    }

    /// Removes one listener. False when it is gone already. Emits that are under way still call it.
    pub fn off(&self, id: &ListenerId) -> bool {
        self.remove(&id.event, id.id)
    }

    /// Removes the listeners of one event, or with `None` of all events, answering ones included.
    /// Returns how many. Streams and pending waits on them end.
    pub fn remove_all(&self, event: Option<&str>) -> usize {
        match event {
            Some(event) => self.remove_all_of(event),
            None => self
                .event_names()
                .iter()
                .map(|event| self.remove_all_of(event))
                .sum(),
        }
    }

    /// Calls the listeners of `event` in order, on this thread, before it returns. True when at
    /// least one was called.
    ///
    /// A listener that fails does not stop the others. An `error` that nobody listens to goes to
    /// the unhandled-error hook.
    #[inline]
    pub fn emit<T: Any + Send + Sync>(&self, event: &str, payload: &T) -> bool {
        self.emit_any(event, payload)
    }

    /// [`emit`](Self::emit) with a payload whose type the caller does not know.
    pub fn emit_any(&self, event: &str, payload: &Payload) -> bool {
        let list = match self.inner.topics.get(event) {
            Some(slot) if slot.count() > 0 => Arc::clone(&slot.list),
            _ => return self.emit_to_nobody(event, payload),
        };
        self.run(&list, event, payload)
    }

    /// Resolves a name to a handle that emits without looking it up.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached: a topic that has a handle counts as one.
    pub fn topic(&self, event: &str) -> Result<Topic, RegisterError> {
        let slot = self.slot(event).inspect_err(|_| self.refuse())?;
        slot.state.handles.fetch_add(1, Relaxed);
        Ok(Topic::new(self.clone(), Arc::clone(&slot.state)))
    }

    /// How many listeners an emit of `event` would call.
    pub fn listener_count(&self, event: &str) -> usize {
        self.inner.topics.get(event).map_or(0, |slot| slot.count())
    }

    /// The events that have listeners, answering ones included, sorted by name.
    pub fn event_names(&self) -> Vec<Arc<str>> {
        let topics = self.inner.topics.iter();
        let mut names: Vec<_> = topics
            .filter(|slot| slot.count() > 0)
            .map(|slot| Arc::clone(&slot.state.name))
            .collect();
        names.sort_unstable();
        names
    }

    /// Sets the number of listeners on one event above which the warning hook is called, once per
    /// event. Zero means never. Default 10.
    pub fn set_max_listeners(&self, max: usize) {
        self.inner.max_listeners.store(max, Relaxed);
    }

    /// Sets who is told of too many listeners on one event. Replaces the hook before it.
    pub fn set_warning_hook(&self, hook: impl Fn(&Warning) + Send + Sync + 'static) {
        self.inner.hooks.set_warning(Arc::new(hook));
    }

    /// Sets who is told of an `error` that nobody listens to, and of failures while one is being
    /// handled. Replaces the hook before it.
    pub fn set_unhandled_error_hook(
        &self,
        hook: impl Fn(&UnhandledError<'_>) + Send + Sync + 'static,
    ) {
        self.inner.hooks.set_unhandled_error(Arc::new(hook));
    }

    /// The emitter's figures.
    pub fn stats(&self) -> EmitterStats {
        self.inner.counters.read(
            self.inner.topic_count.load(Relaxed),
            self.inner.listener_count.load(Relaxed),
        )
    }

    fn register(
        &self,
        event: &str,
        place: Place,
        times: Times,
        listener: impl Listen + 'static,
    ) -> Result<Guard, RegisterError> {
        let inner = &*self.inner;
        let id = inner.next_id.fetch_add(1, Relaxed);
        let entry = Entry::new(id, times, listener);
        let (event, warning) = self
            .reserve_listener()
            .and_then(|()| self.slot(event).inspect_err(|_| self.release_listeners(1)))
            .map(|mut slot| {
                slot.change(|list| list.insert(entry, place));
                (Arc::clone(&slot.state.name), self.warning(&mut slot))
            })
            .inspect_err(|_| self.refuse())?;
        if let Some(warning) = warning {
            Counters::increment(&inner.counters.warnings);
            inner.hooks.warn(&warning);
        }
        Ok(Guard::new(self, ListenerId { event, id }))
    }

    /// The warning that a slot which has just grown deserves.
    fn warning(&self, slot: &mut Slot) -> Option<Warning> {
        let max_listeners = self.inner.max_listeners.load(Relaxed);
        let count = slot.count();
        if max_listeners == 0 || count <= max_listeners || slot.warned {
            return None;
        }
        slot.warned = true;
        Some(Warning {
            event: Arc::clone(&slot.state.name),
            count,
            max_listeners,
        })
    }

    /// The slot of an event, made if there is none. The caller drops it before it calls out.
    fn slot(&self, event: &str) -> Result<RefMut<'_, Arc<str>, Slot>, RegisterError> {
        let inner = &*self.inner;
        if let Some(slot) = inner.topics.get_mut(event) {
            return Ok(slot);
        }
        if event.len() > inner.limits.max_name_bytes {
            return Err(RegisterError::NameTooLong);
        }
        if !reserve(&inner.topic_count, inner.limits.max_topics) {
            return Err(RegisterError::TooManyTopics);
        }
        let name: Arc<str> = event.into();
        match inner.topics.entry(Arc::clone(&name)) {
            MapEntry::Occupied(entry) => {
                inner.topic_count.fetch_sub(1, Relaxed);
                Ok(entry.into_ref())
            }
            MapEntry::Vacant(entry) => Ok(entry.insert(Slot::new(name))),
        }
    }

    /// Forgets a topic that has neither listeners nor handles.
    fn vacate(&self, event: &str) {
        if self
            .inner
            .topics
            .remove_if(event, |_, slot| slot.is_vacant())
            .is_some()
        {
            self.inner.topic_count.fetch_sub(1, Relaxed);
        }
    }

    /// Takes one registration out of the map; the caller drops it, which runs foreign code.
    fn take(&self, event: &str, id: u64) -> Option<Entry> {
        let mut slot = self.inner.topics.get_mut(event)?;
        // Looked for first, because a change copies a list that somebody walks.
        if !slot.list.entries.iter().any(|entry| entry.id == id) {
            return None;
        }
        let entry = slot.change(|list| list.remove(id));
        let vacant = slot.is_vacant();
        drop(slot);
        self.release_listeners(1);
        if vacant {
            self.vacate(event);
        }
        entry
    }

    fn remove(&self, event: &str, id: u64) -> bool {
        let entry = self.take(event, id);
        if let Some(entry) = &entry {
            entry.listener.removed();
        }
        entry.is_some()
    }

    fn remove_all_of(&self, event: &str) -> usize {
        let Some(mut slot) = self.inner.topics.get_mut(event) else {
            return 0;
        };
        let entries = slot.change(|list| std::mem::take(&mut list.entries));
        drop(slot);
        self.release_listeners(entries.len());
        self.vacate(event);
        for entry in &entries {
            entry.listener.removed();
        }
        entries.len()
    }

    fn reserve_listener(&self) -> Result<(), RegisterError> {
        reserve(
            &self.inner.listener_count,
            self.inner.limits.max_total_listeners,
        )
        .then_some(())
        .ok_or(RegisterError::TooManyListeners)
    }

    fn release_listeners(&self, count: usize) {
        self.inner.listener_count.fetch_sub(count, Relaxed);
    }

    fn refuse(&self) {
        Counters::increment(&self.inner.counters.refused);
    }

    /// The current list of an event that has a topic handle.
    #[cold]
    fn list(&self, event: &str) -> Arc<List> {
        match self.inner.topics.get(event) {
            Some(slot) => Arc::clone(&slot.list),
            None => Arc::new(List::empty()),
        }
    }

    /// Calls the listeners of one list in order. One `catch_unwind` spans as many of them as do
    /// not panic, since entering it is a good part of what a short listener costs.
    #[inline]
    fn run(&self, list: &List, name: &str, payload: &Payload) -> bool {
        let mut event = Event {
            emitter: self,
            name,
            payload,
            listener: 0,
        };
        let mut reached = false;
        let mut rest = list.entries.iter();
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
            for entry in rest.by_ref() {
                event.listener = entry.id;
                if entry.is_once() && !claim(&event, entry) {
                    continue;
                }
                reached = true;
                if let Err(message) = entry.listener.call(&event) {
                    failed(&event, FailureKind::Error, message);
                }
            }
        })) {
            failed(&event, FailureKind::Panic, panic_message(panic));
        }
        reached
    }

    #[inline]
    fn emit_to_nobody(&self, event: &str, payload: &Payload) -> bool {
        if event == name::ERROR {
            self.unhandled(payload);
        }
        false
    }

    #[cold]
    fn unhandled(&self, payload: &Payload) {
        Counters::increment(&self.inner.counters.unhandled_errors);
        self.inner.hooks.unhandled_error(payload);
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Takes the one run of a `once` and removes it, before it runs.
#[cold]
fn claim(event: &Event<'_>, entry: &Entry) -> bool {
    let claimed = entry.claim();
    if claimed {
        drop(event.emitter.take(event.name, entry.id));
    }
    claimed
}

/// Counts and reports the failure of the listener that had this event.
#[cold]
fn failed(event: &Event<'_>, kind: FailureKind, message: Box<str>) {
    let emitter = event.emitter;
    let counters = &emitter.inner.counters;
    Counters::increment(match kind {
        FailureKind::Error => &counters.errors,
        FailureKind::Panic => &counters.panics,
    });
    let error = ListenerError {
        event: event.name.into(),
        message,
        kind,
    };
    match HandlingFailure::begin() {
        Some(_handling) if event.name != name::ERROR => {
            emitter.emit(name::ERROR, &error);
        }
        _ => emitter.unhandled(&error),
    }
}

/// Adds one to a count unless it is at its bound.
fn reserve(count: &AtomicUsize, max: usize) -> bool {
    count
        .fetch_update(Relaxed, Relaxed, |n| (n < max).then_some(n + 1))
        .is_ok()
}

fn for_payload<T, F, R>(
    listener: F,
) -> impl Fn(&Event<'_>) -> Result<(), Box<str>> + Send + Sync + 'static
where
    T: Any,
    F: Fn(&T) -> R + Send + Sync + 'static,
    R: IntoOutcome,
{
    move |event| {
        let payload = event
            .expect_payload::<T>()
            .map_err(|wrong| wrong.to_string())?;
        listener(payload).into_outcome()
    }
}
