//! What goes wrong in an emitter, who is told, and how it is counted.
//!
//! A listener that panics or returns an error costs its own run and nothing else. The failure is
//! counted and emitted as `error`. What nobody listens for, and what fails while an `error` is
//! being handled, goes to the unhandled-error hook instead, so a failure never causes itself. The
//! hub has no logger: the gateway sets the hooks and logs there.

use std::{
    any::Any,
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::Payload;

/// The payload of the `error` event that the emitter emits for a listener that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerError {
    /// The event that the listener was called for.
    pub event: Arc<str>,
    /// The error's text, or the panic's message.
    pub message: Box<str>,
    /// How it failed.
    pub kind: FailureKind,
}

impl fmt::Display for ListenerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            FailureKind::Error => "failed",
            FailureKind::Panic => "panicked",
        };
        write!(f, "a listener of `{}` {verb}: {}", self.event, self.message)
    }
}

impl std::error::Error for ListenerError {}

/// How a listener failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// It returned an error.
    Error,
    /// It panicked.
    Panic,
}

/// An `error` event that reached no listener.
#[derive(Clone, Copy)]
pub struct UnhandledError<'a> {
    payload: &'a Payload,
}

impl<'a> UnhandledError<'a> {
    /// The payload, if it is a `T`.
    pub fn payload<T: Any>(&self) -> Option<&'a T> {
        self.payload.downcast_ref()
    }

    /// The failure, if a listener's failure is what nobody handled.
    pub fn listener_error(&self) -> Option<&'a ListenerError> {
        self.payload()
    }
}

/// A [`ListenerError`] and text are shown as they are; the emitter cannot read other payloads.
impl fmt::Display for UnhandledError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = self.listener_error() {
            error.fmt(f)
        } else if let Some(text) = self.payload::<String>() {
            f.write_str(text)
        } else if let Some(text) = self.payload::<&'static str>() {
            f.write_str(text)
        } else {
            f.write_str("an `error` event whose payload is not text")
        }
    }
}

impl fmt::Debug for UnhandledError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnhandledError")
            .field(&format_args!("{self}"))
            .finish()
    }
}

/// More listeners on one event than expected, which usually means that guards are detached in a
/// loop. Given to the warning hook once per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The event.
    pub event: Arc<str>,
    /// How many listeners it has now.
    pub count: usize,
    /// The number above which this warning is given.
    pub max_listeners: usize,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event `{}` has {} listeners, more than {}: is a guard detached in a loop?",
            self.event, self.count, self.max_listeners
        )
    }
}

/// A registration was refused because a bound was reached. Nothing was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterError {
    /// The event's name is longer than [`Limits::max_name_bytes`](super::Limits).
    NameTooLong,
    /// The emitter holds [`Limits::max_total_listeners`](super::Limits) listeners.
    TooManyListeners,
    /// The emitter knows [`Limits::max_topics`](super::Limits) events.
    TooManyTopics,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameTooLong => "the event's name is too long",
            Self::TooManyListeners => "the emitter has as many listeners as it may have",
            Self::TooManyTopics => "the emitter knows as many events as it may know",
        })
    }
}

impl std::error::Error for RegisterError {}

/// Figures of one emitter. All but the first two only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmitterStats {
    /// Events that have a listener or a topic handle.
    pub topics: usize,
    /// Listeners, answering ones included.
    pub listeners: usize,
    /// Listeners that panicked.
    pub panics: u64,
    /// Listeners that returned an error.
    pub errors: u64,
    /// `error` events that went to the unhandled-error hook.
    pub unhandled_errors: u64,
    /// Warnings about too many listeners on one event.
    pub warnings: u64,
    /// Registrations refused because of a bound.
    pub refused: u64,
    /// Deferred emits refused for want of a scheduler or of room in it.
    pub deferred_refused: u64,
    /// Payloads that full streams dropped.
    pub stream_dropped: u64,
    /// Answering listeners that panicked.
    pub answer_panics: u64,
}

/// The counters behind [`EmitterStats`]. Only rare events touch them.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) panics: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) unhandled_errors: AtomicU64,
    pub(super) warnings: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) deferred_refused: AtomicU64,
    pub(super) stream_dropped: AtomicU64,
    pub(super) answer_panics: AtomicU64,
}

impl Counters {
    pub(super) fn increment(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self, topics: usize, listeners: usize) -> EmitterStats {
        EmitterStats {
            topics,
            listeners,
            panics: self.panics.load(Relaxed),
            errors: self.errors.load(Relaxed),
            unhandled_errors: self.unhandled_errors.load(Relaxed),
            warnings: self.warnings.load(Relaxed),
            refused: self.refused.load(Relaxed),
            deferred_refused: self.deferred_refused.load(Relaxed),
            stream_dropped: self.stream_dropped.load(Relaxed),
            answer_panics: self.answer_panics.load(Relaxed),
        }
    }
}

type WarningHook = Arc<dyn Fn(&Warning) + Send + Sync>;
type ErrorHook = Arc<dyn Fn(&UnhandledError<'_>) + Send + Sync>;

/// The two places where the gateway looks in.
#[derive(Default)]
pub(super) struct Hooks {
    warning: Mutex<Option<WarningHook>>,
    unhandled_error: Mutex<Option<ErrorHook>>,
}

impl Hooks {
    pub(super) fn set_warning(&self, hook: WarningHook) {
        drop(replace(&self.warning, hook));
    }

    pub(super) fn set_unhandled_error(&self, hook: ErrorHook) {
        drop(replace(&self.unhandled_error, hook));
    }

    pub(super) fn warn(&self, warning: &Warning) {
        if let Some(hook) = current(&self.warning) {
            catch(|| hook(warning)).ok();
        }
    }

    pub(super) fn unhandled_error(&self, payload: &Payload) {
        if let Some(hook) = current(&self.unhandled_error) {
            catch(|| hook(&UnhandledError { payload })).ok();
        }
    }
}

/// Puts a hook in place and hands back the old one, to be dropped outside the lock.
fn replace<T>(hook: &Mutex<Option<T>>, new: T) -> Option<T> {
    hook.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(new)
}

fn current<T: Clone>(hook: &Mutex<Option<T>>) -> Option<T> {
    hook.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Runs foreign code; a panic comes back as its message.
pub(super) fn catch<R>(run: impl FnOnce() -> R) -> Result<R, Box<str>> {
    catch_unwind(AssertUnwindSafe(run)).map_err(panic_message)
}

/// The message of a caught panic, which is text for every `panic!`.
#[cold]
pub(super) fn panic_message(panic: Box<dyn Any + Send>) -> Box<str> {
    let message = if let Some(text) = panic.downcast_ref::<&'static str>() {
        Box::from(*text)
    } else if let Some(text) = panic.downcast_ref::<String>() {
        Box::from(text.as_str())
    } else {
        Box::from("a panic without a message")
    };
    // `panic_any` can carry a value whose own `Drop` panics; that one is leaked, as dropping it
    // could go on like this for ever.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(
            clippy::mem_forget,
            reason = "the destructor of this value cannot be trusted"
        )]
        std::mem::forget(second);
    }
    message
}

thread_local! {
    static HANDLING_FAILURE: Cell<bool> = const { Cell::new(false) };
}

/// Marks that this thread is emitting `error` for a failed listener. An `error` listener may emit
/// an event whose listener fails, whose `error` would come here again, without end.
pub(super) struct HandlingFailure(());

impl HandlingFailure {
    /// `None` when this thread is handling a failure already.
    pub(super) fn begin() -> Option<Self> {
        (!HANDLING_FAILURE.replace(true)).then_some(Self(()))
    }
}

impl Drop for HandlingFailure {
    fn drop(&mut self) {
        HANDLING_FAILURE.set(false);
    }
}
