//! The event emitter: named events, listeners in the order of their registration, and answers.
//!
//! An [`Emitter`] is a handle that any thread may use. Listeners run synchronously on the thread that
//! emits, with no lock held, so they may emit, register and remove as they like. A [`Topic`] is an
//! event resolved once, for hot paths. A [`Scheduler`] runs deferred emits in a worker's loop;
//! [`Emitter::next`], [`Emitter::stream`] and [`Emitter::gather`] serve async code without naming a
//! runtime. It knows nothing about rooms, sessions or wires, reads no clock and logs nothing.
//!
//! The one idea: a topic's list of listeners is immutable once somebody walks it. No lock in here is
//! taken inside another, and no foreign code runs under one. Read `listener.rs` next, then `topic.rs`.

mod answer;
mod defer;
mod event;
mod failure;
mod gather;
mod listener;
pub mod name;
mod next;
mod registry;
mod scheduler;
mod stream;
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

pub use self::{
    answer::{Answer, AnswerError},
    event::{Event, IntoOutcome, Payload, WrongPayload},
    failure::{EmitterStats, FailureKind, ListenerError, RegisterError, UnhandledError, Warning},
    gather::{GatherError, Gathered, Mode, Settled},
    listener::{Guard, ListenerId},
    next::{Closed, Next},
    scheduler::{
        DeferError, Deferred, Entered, Scheduler, SchedulerHandle, SchedulerLimits, SchedulerStats,
    },
    stream::{EventStream, Overflow},
    topic::Topic,
};
use self::{
    failure::{Counters, HandlingFailure, Hooks, panic_message},
    listener::{Closure, Entry, List, Listen, Place, Times},
    registry::{Registration, Registry},
};
use crate::lock::Lock;

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

/// Ids are unique in the process, so an id given to the wrong emitter removes nothing.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

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
    registry: Registry,
    max_listeners: AtomicUsize,
    /// Attached, in this order; the dead ones go when another is attached.
    schedulers: Lock<Vec<SchedulerHandle>>,
    counters: Counters,
    hooks: Hooks,
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
                registry: Registry::new(limits),
                max_listeners: AtomicUsize::new(DEFAULT_MAX_LISTENERS),
                schedulers: Lock::new("emitter schedulers", Vec::new()),
                counters: Counters::default(),
                hooks: Hooks::none(),
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
        self.listen(event, Place::Last, Times::Always, Closure(listener))
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
        self.listen(event, Place::Last, Times::Once, Closure(listener))
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
        self.listen(event, Place::First, Times::Always, Closure(listener))
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
        self.listen(event, Place::First, Times::Once, Closure(listener))
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
        match self.inner.registry.listeners(event) {
            Some(list) => self.run(&list, event, payload),
            None => self.emit_to_nobody(event, payload),
        }
    }

    /// Resolves a name to a handle that emits without looking it up.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached: a topic that has a handle counts as one.
    pub fn topic(&self, event: &str) -> Result<Topic, RegisterError> {
        let state = self
            .inner
            .registry
            .handle(event)
            .inspect_err(|_| self.refuse())?;
        Ok(Topic::new(self.clone(), state))
    }

    /// How many listeners an emit of `event` would call.
    pub fn listener_count(&self, event: &str) -> usize {
        self.inner.registry.counts(event).0
    }

    /// How many answering listeners a gather of `event` would ask.
    pub fn answerer_count(&self, event: &str) -> usize {
        self.inner.registry.counts(event).1
    }

    /// The events that have listeners, answering ones included, sorted by name.
    pub fn event_names(&self) -> Vec<Arc<str>> {
        self.inner.registry.names()
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
        let registry = &self.inner.registry;
        self.inner
            .counters
            .read(registry.topic_count(), registry.registration_count())
    }

    fn listen(
        &self,
        event: &str,
        place: Place,
        times: Times,
        listener: impl Listen + 'static,
    ) -> Result<Guard, RegisterError> {
        self.register(event, |id| {
            Registration::Listener(Entry::new(id, times, listener), place)
        })
    }

    fn register(
        &self,
        event: &str,
        registration: impl FnOnce(u64) -> Registration,
    ) -> Result<Guard, RegisterError> {
        let inner = &*self.inner;
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let max_listeners = inner.max_listeners.load(Relaxed);
        let registered = inner
            .registry
            .register(event, registration(id), max_listeners)
            .inspect_err(|_| self.refuse())?;
        if let Some(count) = registered.above_max {
            Counters::increment(&inner.counters.warnings);
            let event = Arc::clone(&registered.event);
            inner.hooks.warn(&Warning {
                event,
                count,
                max_listeners,
            });
        }
        Ok(Guard::new(
            self,
            ListenerId {
                event: registered.event,
                id,
            },
        ))
    }

    fn remove(&self, event: &str, id: u64) -> bool {
        let taken = self.inner.registry.take(event, id);
        if let Some(Registration::Listener(entry, _)) = &taken {
            entry.listener.removed();
        }
        taken.is_some()
    }

    fn remove_all_of(&self, event: &str) -> usize {
        let (entries, answerers) = self.inner.registry.take_all(event);
        for entry in &entries {
            entry.listener.removed();
        }
        entries.len() + answerers.len()
    }

    fn refuse(&self) {
        Counters::increment(&self.inner.counters.refused);
    }

    /// Calls the listeners of one list in order. One `catch_unwind` spans as many of them as do
    /// not panic: measured a tenth cheaper than one for each.
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
        drop(event.emitter.inner.registry.take(event.name, entry.id));
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
