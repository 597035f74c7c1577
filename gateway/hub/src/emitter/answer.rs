//! Listeners that answer, for [`Emitter::gather`].
//!
//! They are asynchronous and stand apart from the others: an emit does not start them, and a gather
//! does not call plain listeners.

use std::{
    any::{Any, type_name},
    fmt,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
};

use futures_util::FutureExt;

use super::{
    Emitter, FailureKind, Guard, Payload, RegisterError, WrongPayload,
    failure::{catch, panic_message},
    registry::{AnswererEntry, Registration},
};

/// An answer, seen without its type.
pub type Answer = Box<dyn Any + Send>;

/// Why a listener did not answer: a rejection, in the words of promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerError {
    /// Whether it returned an error or panicked.
    pub kind: FailureKind,
    /// The error's text, or the panic's message.
    pub message: Box<str>,
}

impl AnswerError {
    /// A rejection with this text.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            kind: FailureKind::Error,
            message: message.to_string().into_boxed_str(),
        }
    }

    fn panic(message: Box<str>) -> Self {
        Self {
            kind: FailureKind::Panic,
            message,
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FailureKind::Error => f.write_str(&self.message),
            FailureKind::Panic => write!(f, "panicked: {}", self.message),
        }
    }
}

impl std::error::Error for AnswerError {}

pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Answer, AnswerError>> + Send>>;

/// A listener that answers. Neither it nor its future panics: a panic is a rejection.
pub(super) trait Answerer: Send + Sync {
    fn start(&self, payload: Arc<Payload>) -> Answering;
}

struct Closure<F>(F);

impl<F, A> Answerer for Closure<F>
where
    F: Fn(Arc<Payload>) -> A + Send + Sync,
    A: Future<Output = Result<Answer, AnswerError>> + Send + 'static,
{
    fn start(&self, payload: Arc<Payload>) -> Answering {
        match catch(|| (self.0)(payload)) {
            Ok(answering) => {
                let caught = AssertUnwindSafe(answering).catch_unwind();
                Box::pin(caught.map(|outcome| {
                    outcome.unwrap_or_else(|panic| Err(AnswerError::panic(panic_message(panic))))
                }))
            }
            Err(message) => Box::pin(std::future::ready(Err(AnswerError::panic(message)))),
        }
    }
}

impl Emitter {
    /// Registers a listener that answers `event` when it is gathered, after those there already.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn answer<F, A>(&self, event: &str, answerer: F) -> Result<Guard, RegisterError>
    where
        F: Fn(Arc<Payload>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Answer, AnswerError>> + Send + 'static,
    {
        let answerer = Arc::new(Closure(answerer));
        self.register(event, |id| {
            Registration::Answerer(AnswererEntry { id, answerer })
        })
    }

    /// [`answer`](Self::answer) for a listener that wants a `T`. An event that carries another type
    /// is rejected with [`WrongPayload`].
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when a bound is reached.
    pub fn answer_payload<T, F, A, R, E>(
        &self,
        event: &str,
        answerer: F,
    ) -> Result<Guard, RegisterError>
    where
        T: Any + Send + Sync,
        F: Fn(Arc<T>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<R, E>> + Send + 'static,
        R: Any + Send,
        E: fmt::Display,
    {
        self.answer(event, move |payload| {
            let answering = payload.downcast::<T>().map(&answerer);
            async move {
                let wrong = |_| {
                    AnswerError::new(WrongPayload {
                        expected: type_name::<T>(),
                    })
                };
                match answering.map_err(wrong)?.await {
                    Ok(answer) => Ok(Box::new(answer) as Answer),
                    Err(error) => Err(AnswerError::new(error)),
                }
            }
        })
    }
}
