//! Asking all answering listeners of an event, and waiting for them as promises are waited for.
//!
//! The modes are those of promises, and so are the ends of each ([`Mode`]). The listeners' futures run
//! inside the gather, in the task that awaits it, and only those that were woken are polled again.

use std::{
    any::Any,
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered, task::AtomicWaker};

use super::{
    Answer, AnswerError, DeferError, Deferred, Emitter, FailureKind, Payload, failure::Counters,
};

/// Which answers a gather waits for.
///
/// | mode | ends with | with nobody to ask |
/// |---|---|---|
/// | `All` | all answers, or the first rejection | no answers, at once |
/// | `AllSettled` | what became of each | nothing, at once |
/// | `Any` | the first answer, or all rejections | no rejections, at once |
/// | `Race` | the first answer or rejection | waits for the timeout |
///
/// These are the semantics of `Promise.all`, `allSettled`, `any` and `race`, with two differences: a
/// timeout ends every wait, and answers that are no longer awaited are cancelled, since a future does
/// nothing unless it is polled. Of those that are ready at the same time the first registered wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// All of them; the first rejection ends the wait.
    All,
    /// What becomes of each, whatever it is.
    AllSettled,
    /// The first answer; rejections are waited past.
    Any,
    /// The first answer or rejection.
    Race,
}

/// What became of one listener's answer.
#[derive(Debug)]
pub enum Settled {
    /// It answered.
    Answered(Answer),
    /// It rejected.
    Rejected(AnswerError),
    /// The timeout came first.
    TimedOut,
}

/// What a gather ends with.
#[derive(Debug)]
pub enum Gathered {
    /// [`Mode::All`]: the answers in the order of registration.
    All(Vec<Answer>),
    /// [`Mode::AllSettled`]: one for each listener, in the order of registration.
    AllSettled(Vec<Settled>),
    /// [`Mode::Race`] and [`Mode::Any`]: the answer that came first, and whose it is, counted from
    /// zero in the order of registration.
    First {
        /// The listener's place.
        index: usize,
        /// Its answer.
        answer: Answer,
    },
}

impl Gathered {
    /// The answers there are, in the order of registration.
    pub fn into_answers(self) -> Vec<Answer> {
        match self {
            Self::All(answers) => answers,
            Self::AllSettled(settled) => settled
                .into_iter()
                .filter_map(|settled| match settled {
                    Settled::Answered(answer) => Some(answer),
                    Settled::Rejected(_) | Settled::TimedOut => None,
                })
                .collect(),
            Self::First { answer, .. } => vec![answer],
        }
    }

    /// The answers that are a `T`, in the order of registration.
    pub fn answers_as<T: Any>(self) -> Vec<T> {
        let answers = self.into_answers().into_iter();
        answers
            .filter_map(|answer| answer.downcast().ok())
            .map(|answer| *answer)
            .collect()
    }
}

/// Why a gather ended without what its mode waits for.
#[derive(Debug)]
pub enum GatherError {
    /// [`Mode::Any`]: all listeners rejected, in this order of registration; or there are none.
    AllRejected(Vec<AnswerError>),
    /// The timeout could not be set, and nobody was asked.
    NotDeferred(DeferError),
    /// [`Mode::All`] and [`Mode::Race`]: this listener rejected.
    Rejected {
        /// The listener's place, counted from zero in the order of registration.
        index: usize,
        /// Its reason.
        error: AnswerError,
    },
    /// The timeout came first, or the scheduler went away. Holds what had arrived: one for each
    /// listener, in the order of registration.
    TimedOut(Vec<Settled>),
}

impl fmt::Display for GatherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllRejected(errors) => match errors.first() {
                Some(first) => write!(f, "all {} rejected, the first: {first}", errors.len()),
                None => f.write_str("nobody listens who could answer"),
            },
            Self::NotDeferred(error) => write!(f, "the timeout could not be set: {error}"),
            Self::Rejected { index, error } => write!(f, "listener {index} rejected: {error}"),
            Self::TimedOut(arrived) => {
                let late = arrived
                    .iter()
                    .filter(|settled| matches!(settled, Settled::TimedOut));
                write!(
                    f,
                    "{} of {} did not answer in time",
                    late.count(),
                    arrived.len()
                )
            }
        }
    }
}

impl std::error::Error for GatherError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotDeferred(error) => Some(error),
            Self::Rejected { error, .. } => Some(error),
            Self::AllRejected(_) | Self::TimedOut(_) => None,
        }
    }
}

impl Emitter {
    /// Asks the answering listeners of `event`, and waits as `mode` says, for `timeout` at most.
    ///
    /// It begins when it is first polled: the listeners there are then, in the order of their
    /// registration, are called with the payload. The timeout is a timer of the scheduler that
    /// serves the polling thread; none is set where nobody is asked and the mode does not wait.
    ///
    /// # Errors
    ///
    /// The future ends with a [`GatherError`] where the mode's condition is not met. A timeout of
    /// [`Mode::AllSettled`] is none: those who are late are marked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the answers that are under way and the timer.
    pub fn gather(
        &self,
        event: &str,
        payload: Arc<Payload>,
        mode: Mode,
        timeout: Duration,
    ) -> impl Future<Output = Result<Gathered, GatherError>> + Send + use<> {
        let emitter = self.clone();
        let event = self.inner.registry.name(event);
        async move {
            let answerers = emitter.inner.registry.answerers(&event);
            let mut collector = Collector::new(mode, answerers.len());
            if let Some(result) = collector.ended() {
                return result;
            }
            let timer = Timer::set(&emitter, timeout).map_err(GatherError::NotDeferred)?;
            let mut pending: FuturesUnordered<_> = answerers
                .iter()
                .enumerate()
                .map(|(index, entry)| {
                    entry
                        .answerer
                        .start(Arc::clone(&payload))
                        .map(move |result| (index, result))
                })
                .collect();
            drop((answerers, payload));
            loop {
                let step = poll_fn(|context| match pending.poll_next_unpin(context) {
                    Poll::Ready(Some(settled)) => Poll::Ready(Some(settled)),
                    Poll::Ready(None) | Poll::Pending => timer.poll(context).map(|()| None),
                });
                let Some((index, result)) = step.await else {
                    return collector.timed_out();
                };
                emitter.count_answer(&result);
                if let Some(result) = collector.settle(index, result) {
                    return result;
                }
            }
        }
    }

    fn count_answer(&self, result: &Result<Answer, AnswerError>) {
        if result
            .as_ref()
            .is_err_and(|error| error.kind == FailureKind::Panic)
        {
            Counters::increment(&self.inner.counters.answer_panics);
        }
    }
}

/// What has arrived, and the rules of the mode.
struct Collector {
    mode: Mode,
    /// `TimedOut` until it has settled.
    settled: Vec<Settled>,
    outstanding: usize,
}

type Ended = Option<Result<Gathered, GatherError>>;

impl Collector {
    fn new(mode: Mode, listeners: usize) -> Self {
        let mut settled = Vec::new();
        settled.resize_with(listeners, || Settled::TimedOut);
        Self {
            mode,
            settled,
            outstanding: listeners,
        }
    }

    /// Takes one result, each index once. `Some` when the gather ends with it.
    fn settle(&mut self, index: usize, result: Result<Answer, AnswerError>) -> Ended {
        let settled = match (self.mode, result) {
            (Mode::Any | Mode::Race, Ok(answer)) => {
                return Some(Ok(Gathered::First { index, answer }));
            }
            (Mode::All | Mode::Race, Err(error)) => {
                return Some(Err(GatherError::Rejected { index, error }));
            }
            (Mode::All | Mode::AllSettled, Ok(answer)) => Settled::Answered(answer),
            (Mode::AllSettled | Mode::Any, Err(error)) => Settled::Rejected(error),
        };
        if let Some(place) = self.settled.get_mut(index) {
            *place = settled;
        }
        self.outstanding -= 1;
        self.ended()
    }

    /// The result once nothing is outstanding. A race is never decided by that.
    fn ended(&mut self) -> Ended {
        if self.outstanding > 0 {
            return None;
        }
        let settled = std::mem::take(&mut self.settled);
        match self.mode {
            Mode::All => Some(Ok(Gathered::All(
                Gathered::AllSettled(settled).into_answers(),
            ))),
            Mode::AllSettled => Some(Ok(Gathered::AllSettled(settled))),
            Mode::Any => {
                let errors = settled.into_iter().filter_map(|settled| match settled {
                    Settled::Rejected(error) => Some(error),
                    Settled::Answered(_) | Settled::TimedOut => None,
                });
                Some(Err(GatherError::AllRejected(errors.collect())))
            }
            Mode::Race => None,
        }
    }

    fn timed_out(self) -> Result<Gathered, GatherError> {
        match self.mode {
            Mode::AllSettled => Ok(Gathered::AllSettled(self.settled)),
            Mode::All | Mode::Any | Mode::Race => Err(GatherError::TimedOut(self.settled)),
        }
    }
}

/// A timer of the scheduler's, to be awaited. Cancelled when dropped.
struct Timer {
    state: Arc<TimerState>,
    deferred: Deferred,
}

#[derive(Default)]
struct TimerState {
    fired: AtomicBool,
    waker: AtomicWaker,
}

/// Fires when it is dropped: by having run, or with a scheduler that went away, whose waits would
/// otherwise never end.
struct FireOnDrop(Arc<TimerState>);

impl Drop for FireOnDrop {
    fn drop(&mut self) {
        // `wake` and `register` synchronise with each other; the flag needs no ordering of its own.
        self.0.fired.store(true, Relaxed);
        self.0.waker.wake();
    }
}

impl Timer {
    fn set(emitter: &Emitter, timeout: Duration) -> Result<Self, DeferError> {
        let state = Arc::<TimerState>::default();
        let fire = FireOnDrop(Arc::clone(&state));
        let deferred = emitter
            .scheduler()
            .and_then(|scheduler| scheduler.call_after(timeout, move || drop(fire)))
            .inspect_err(|_| Counters::increment(&emitter.inner.counters.deferred_refused))?;
        Ok(Self { state, deferred })
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if !self.state.fired.load(Relaxed) {
            self.state.waker.register(context.waker());
            if !self.state.fired.load(Relaxed) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.deferred.cancel();
    }
}
