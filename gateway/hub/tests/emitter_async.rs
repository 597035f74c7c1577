//! The rules of waiting: the next event, streams of events, and gathering answers in four modes.

use std::{
    future::{Future, pending, ready},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use roomwire_hub::emitter::{
    Answer, AnswerError, Closed, DeferError, Emitter, EventStream, FailureKind, GatherError,
    Gathered, Guard, Mode, Next, Overflow, Scheduler, Settled,
};

const TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Polls a future by hand and counts how often it was woken.
struct Task<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

impl<F: Future> Task<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            wakes: Arc::default(),
        }
    }

    fn poll(&mut self) -> Option<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Relaxed)
    }
}

/// A future that ends when its other half says so, and counts its polls.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    open: bool,
    polls: usize,
    waker: Option<Waker>,
}

impl Gate {
    fn open(&self) {
        let mut state = self.0.lock().expect("not poisoned");
        state.open = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn polls(&self) -> usize {
        self.0.lock().expect("not poisoned").polls
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().expect("not poisoned");
        state.polls += 1;
        state.waker = Some(context.waker().clone());
        if state.open {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

fn assert_send_and_static<T: Send + 'static>(value: T) -> T {
    value
}

#[test]
fn next_is_the_payload_of_the_next_event() {
    let emitter = Emitter::new();
    let mut next = Task::new(assert_send_and_static(emitter.next::<String>("x").unwrap()));
    assert_eq!(next.poll(), None);
    assert!(emitter.emit("x", &String::from("first")));
    assert_eq!(next.wakes(), 1);
    assert_eq!(emitter.listener_count("x"), 0);
    assert!(!emitter.emit("x", &String::from("second")));
    assert_eq!(next.poll(), Some(Ok(String::from("first"))));
}

#[test]
fn next_does_not_miss_what_is_emitted_before_it_is_polled() {
    let emitter = Emitter::new();
    let next = emitter.next::<u32>("x").unwrap();
    emitter.emit("x", &1_u32);
    assert_eq!(next.now_or_never(), Some(Ok(1)));
}

#[test]
fn next_waits_past_an_event_with_another_payload_which_is_an_error() {
    let emitter = Emitter::new();
    let next = emitter.next::<u32>("x").unwrap();
    emitter.emit("x", &"text");
    assert_eq!(emitter.stats().errors, 1);
    emitter.emit("x", &2_u32);
    assert_eq!(next.now_or_never(), Some(Ok(2)));
}

#[test]
fn next_ends_when_its_listener_is_removed_or_the_emitter_is_gone() {
    let emitter = Emitter::new();
    let topic = emitter.topic("x").unwrap();
    let mut removed = Task::new(emitter.next::<u32>("x").unwrap());
    assert_eq!(removed.poll(), None);
    emitter.once("x", |_| {}).unwrap().detach();
    topic.emit(&"wrong payload, so that the handle holds on to the listener");
    emitter.remove_all(None);
    assert_eq!(removed.wakes(), 1);
    assert_eq!(removed.poll(), Some(Err(Closed)));

    let mut orphan = Task::new(emitter.next::<u32>("x").unwrap());
    assert_eq!(orphan.poll(), None);
    drop((emitter, topic));
    assert_eq!(orphan.wakes(), 1);
    assert_eq!(orphan.poll(), Some(Err(Closed)));
}

#[test]
fn dropping_a_wait_removes_its_listener() {
    let emitter = Emitter::new();
    let next: Next<u32> = emitter.next("x").unwrap();
    let stream: EventStream<u32> = emitter.stream("x", 1, Overflow::DropOldest).unwrap();
    assert_eq!(emitter.listener_count("x"), 2);
    drop((next, stream));
    assert_eq!(emitter.stats().topics, 0);
}

#[test]
fn next_is_woken_from_another_thread() {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let emitter = Emitter::new();
    let mut next = pin!(emitter.next::<u32>("x").unwrap());
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let other = emitter;
    let thread = thread::spawn(move || other.emit("x", &5_u32));
    let payload = loop {
        match next.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(payload) => break payload,
            Poll::Pending => thread::park(),
        }
    };
    assert_eq!(payload, Ok(5));
    assert!(thread.join().unwrap());
}

#[test]
fn a_stream_yields_the_payloads_in_order_and_wakes_its_reader() {
    let emitter = Emitter::new();
    let mut stream = emitter.stream::<u32>("x", 8, Overflow::DropOldest).unwrap();
    emitter.emit("x", &1_u32);
    emitter.emit("x", &2_u32);
    assert_eq!(stream.next().now_or_never(), Some(Some(1)));
    assert_eq!(stream.try_next(), Some(2));
    assert_eq!(stream.try_next(), None);
    let mut next = Task::new(stream.next());
    assert_eq!(next.poll(), None);
    emitter.emit("x", &3_u32);
    assert_eq!((next.wakes(), next.poll()), (1, Some(Some(3))));
}

#[test]
fn a_full_stream_drops_the_oldest_or_the_newest_and_counts() {
    let emitter = Emitter::new();
    let mut oldest = emitter.stream::<u32>("x", 2, Overflow::DropOldest).unwrap();
    let mut newest = emitter.stream::<u32>("x", 2, Overflow::DropNewest).unwrap();
    let mut least = emitter.stream::<u32>("x", 0, Overflow::DropNewest).unwrap();
    (0..5).for_each(|n: u32| assert!(emitter.emit("x", &n)));
    assert_eq!(
        (oldest.try_next(), oldest.try_next(), oldest.try_next()),
        (Some(3), Some(4), None)
    );
    assert_eq!(
        (newest.try_next(), newest.try_next(), newest.try_next()),
        (Some(0), Some(1), None)
    );
    assert_eq!((least.try_next(), least.try_next()), (Some(0), None));
    assert_eq!(
        (oldest.dropped(), newest.dropped(), least.dropped()),
        (3, 3, 4)
    );
    assert_eq!(emitter.stats().stream_dropped, 10);
}

#[test]
fn a_stream_ends_after_what_waits_when_its_listener_or_the_emitter_goes() {
    let emitter = Emitter::new();
    let removed = emitter.stream::<u32>("x", 2, Overflow::DropOldest).unwrap();
    emitter.emit("x", &1_u32);
    emitter.remove_all(Some("x"));
    assert_eq!(removed.collect::<Vec<_>>().now_or_never(), Some(vec![1]));

    let mut orphan = emitter.stream::<u32>("x", 2, Overflow::DropOldest).unwrap();
    emitter.emit("x", &2_u32);
    let mut task = Task::new(async move { (orphan.next().await, orphan.next().await) });
    assert_eq!(task.poll(), None);
    drop(emitter);
    assert_eq!((task.wakes(), task.poll()), (1, Some((Some(2), None))));
}

#[test]
fn a_stream_takes_a_wrong_payload_as_its_listeners_error() {
    let emitter = Emitter::new();
    let mut stream = emitter.stream::<u32>("x", 2, Overflow::DropOldest).unwrap();
    emitter.emit("x", &"text");
    assert_eq!(stream.try_next(), None);
    assert_eq!(emitter.stats().errors, 1);
}

/// An emitter with a scheduler, and answering listeners on `ask`.
struct Panel {
    emitter: Emitter,
    scheduler: Scheduler,
    guards: Vec<Guard>,
}

impl Panel {
    fn new() -> Self {
        let (emitter, scheduler) = (Emitter::new(), Scheduler::new());
        emitter.attach(&scheduler);
        Self {
            emitter,
            scheduler,
            guards: Vec::new(),
        }
    }

    fn add<A>(&mut self, answer: impl Fn() -> A + Send + Sync + 'static)
    where
        A: Future<Output = Result<&'static str, &'static str>> + Send + 'static,
    {
        let guard = self
            .emitter
            .answer_payload("ask", move |_: Arc<u32>| answer());
        self.guards.push(guard.expect("within the limits"));
    }

    /// Answers or rejects when the gate opens.
    fn gated(&mut self, result: Result<&'static str, &'static str>) -> Gate {
        let gate = Gate::default();
        let answer = gate.clone();
        self.add(move || answer.clone().map(move |()| result));
        gate
    }

    fn at_once(&mut self, result: Result<&'static str, &'static str>) {
        self.add(move || ready(result));
    }

    fn gather(
        &self,
        mode: Mode,
    ) -> Task<impl Future<Output = Result<Gathered, GatherError>> + Send + 'static + use<>> {
        Task::new(assert_send_and_static(self.emitter.gather(
            "ask",
            Arc::new(1_u32),
            mode,
            TIMEOUT,
        )))
    }

    fn time_out(&mut self) {
        self.scheduler.run_timers(0);
        assert_eq!(self.scheduler.run_timers(100), 1);
    }
}

/// A result of a gather as text, so that a test can state it in a line.
fn told(result: Result<Gathered, GatherError>) -> String {
    let answer = |answer: Answer| *answer.downcast::<&'static str>().expect("answers are text");
    let settled = |settled| match settled {
        Settled::Answered(it) => answer(it).to_owned(),
        Settled::Rejected(error) => format!("!{error}"),
        Settled::TimedOut => String::from("late"),
    };
    let join = |words: Vec<String>| words.join(" ");
    match result {
        Ok(Gathered::All(answers)) => {
            format!(
                "all: {}",
                join(answers.into_iter().map(|it| answer(it).into()).collect())
            )
        }
        Ok(Gathered::AllSettled(all)) => {
            format!("settled: {}", join(all.into_iter().map(settled).collect()))
        }
        Ok(Gathered::First { index, answer: it }) => format!("first: {index} {}", answer(it)),
        Err(GatherError::Rejected { index, error }) => format!("rejected: {index} {error}"),
        Err(GatherError::AllRejected(errors)) => {
            format!(
                "all rejected: {}",
                join(errors.iter().map(ToString::to_string).collect())
            )
        }
        Err(GatherError::TimedOut(all)) => {
            format!(
                "timed out: {}",
                join(all.into_iter().map(settled).collect())
            )
        }
        Err(GatherError::NotDeferred(error)) => format!("not deferred: {error:?}"),
    }
}

fn gathered(panel: &Panel, mode: Mode) -> String {
    panel
        .gather(mode)
        .poll()
        .map_or_else(|| String::from("pending"), told)
}

#[test]
fn all_are_the_answers_in_the_order_of_registration() {
    let mut panel = Panel::new();
    let slow = panel.gated(Ok("slow"));
    panel.at_once(Ok("fast"));
    let mut task = panel.gather(Mode::All);
    assert!(task.poll().is_none());
    slow.open();
    assert_eq!(task.wakes(), 1);
    assert_eq!(told(task.poll().unwrap()), "all: slow fast");
}

#[test]
fn all_fails_with_the_first_rejection_and_cancels_the_rest() {
    let mut panel = Panel::new();
    let gate = panel.gated(Ok("never asked for"));
    let rejection = panel.gated(Err("no"));
    let mut task = panel.gather(Mode::All);
    assert!(task.poll().is_none());
    rejection.open();
    assert_eq!(told(task.poll().unwrap()), "rejected: 1 no");
    drop(task);
    // The listener holds one and the test the other: the answer's own is gone.
    assert_eq!(Arc::strong_count(&gate.0), 2);
}

#[test]
fn all_settled_tells_what_became_of_each() {
    let mut panel = Panel::new();
    panel.at_once(Err("no"));
    let gate = panel.gated(Ok("yes"));
    panel.add(|| async { panic!("in the future") });
    panel.add(|| -> std::future::Ready<_> { panic!("before the future") });
    let mut task = panel.gather(Mode::AllSettled);
    assert!(task.poll().is_none());
    gate.open();
    let expected = "settled: !no yes !panicked: in the future !panicked: before the future";
    assert_eq!(told(task.poll().unwrap()), expected);
    assert_eq!(panel.emitter.stats().answer_panics, 2);
}

#[test]
fn race_is_the_first_to_settle_whether_it_answers_or_rejects() {
    let mut panel = Panel::new();
    let answer = panel.gated(Ok("yes"));
    let rejection = panel.gated(Err("no"));
    let mut one = panel.gather(Mode::Race);
    assert!(one.poll().is_none());
    rejection.open();
    assert_eq!(told(one.poll().unwrap()), "rejected: 1 no");
    answer.open();
    assert_eq!(
        gathered(&panel, Mode::Race),
        "first: 0 yes",
        "both are ready: the first one"
    );
}

#[test]
fn any_is_the_first_answer_and_waits_past_rejections() {
    let mut panel = Panel::new();
    panel.at_once(Err("no"));
    let (slow, fast) = (panel.gated(Ok("slow")), panel.gated(Ok("fast")));
    let mut task = panel.gather(Mode::Any);
    assert!(task.poll().is_none());
    fast.open();
    assert_eq!(told(task.poll().unwrap()), "first: 2 fast");
    drop(slow);
}

#[test]
fn any_fails_with_all_rejections_in_the_order_of_registration() {
    let mut panel = Panel::new();
    let gate = panel.gated(Err("one"));
    panel.at_once(Err("two"));
    let mut task = panel.gather(Mode::Any);
    assert!(task.poll().is_none());
    gate.open();
    assert_eq!(told(task.poll().unwrap()), "all rejected: one two");
}

#[test]
fn with_nobody_to_ask_the_modes_end_as_their_promises_do() {
    let mut panel = Panel::new();
    assert_eq!(gathered(&panel, Mode::All), "all: ");
    assert_eq!(gathered(&panel, Mode::AllSettled), "settled: ");
    assert_eq!(gathered(&panel, Mode::Any), "all rejected: ");
    let mut race = panel.gather(Mode::Race);
    assert!(
        race.poll().is_none(),
        "a race without runners has no winner"
    );
    panel.time_out();
    assert_eq!(race.wakes(), 1);
    assert_eq!(told(race.poll().unwrap()), "timed out: ");
    assert_eq!(panel.emitter.stats().topics, 0, "asking creates nothing");
}

#[test]
fn a_timeout_ends_each_mode_with_what_has_arrived() {
    for (mode, expected) in [
        (Mode::All, "timed out: yes late"),
        (Mode::AllSettled, "settled: yes late"),
        (Mode::Any, "timed out: !no late"),
        (Mode::Race, "timed out: late late"),
    ] {
        let mut panel = Panel::new();
        match mode {
            Mode::All | Mode::AllSettled => panel.at_once(Ok("yes")),
            Mode::Any => panel.at_once(Err("no")),
            Mode::Race => panel.add(pending),
        }
        panel.add(pending);
        let mut task = panel.gather(mode);
        assert!(task.poll().is_none());
        let wakes = task.wakes();
        panel.time_out();
        assert_eq!(task.wakes(), wakes + 1, "{mode:?}");
        assert_eq!(told(task.poll().unwrap()), expected, "{mode:?}");
    }
}

#[test]
fn an_answer_and_the_timeout_at_the_same_time_is_an_answer() {
    let mut panel = Panel::new();
    let gate = panel.gated(Ok("in time"));
    let mut task = panel.gather(Mode::All);
    assert!(task.poll().is_none());
    gate.open();
    panel.time_out();
    assert_eq!(told(task.poll().unwrap()), "all: in time");
}

#[test]
fn a_gather_that_ends_or_is_dropped_takes_its_timer_back() {
    let mut panel = Panel::new();
    let gate = panel.gated(Ok("yes"));
    let (mut one, mut two) = (panel.gather(Mode::All), panel.gather(Mode::All));
    assert!(two.poll().is_none() && one.poll().is_none());
    assert_eq!(panel.scheduler.stats().timers, 2);
    drop(two);
    gate.open();
    assert!(one.poll().is_some());
    assert_eq!(panel.scheduler.stats().timers, 0);
}

#[test]
fn without_a_scheduler_nobody_is_asked() {
    let emitter = Emitter::new();
    let _guard = emitter
        .answer("ask", |_| async { panic!("asked") })
        .unwrap();
    let result = emitter
        .gather("ask", Arc::new(()), Mode::All, TIMEOUT)
        .now_or_never();
    let Some(Err(GatherError::NotDeferred(error))) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error, DeferError::NoScheduler);
    assert_eq!(
        (
            emitter.stats().answer_panics,
            emitter.stats().deferred_refused
        ),
        (0, 1)
    );
}

#[test]
fn a_scheduler_that_goes_away_times_out_what_waits_on_it() {
    let mut panel = Panel::new();
    panel.add(pending);
    let mut task = panel.gather(Mode::AllSettled);
    assert!(task.poll().is_none());
    let wakes = task.wakes();
    panel.scheduler = Scheduler::new();
    assert_eq!(task.wakes(), wakes + 1);
    assert_eq!(told(task.poll().unwrap()), "settled: late");
}

#[test]
fn only_the_answers_that_were_woken_are_polled() {
    let mut panel = Panel::new();
    let gates: Vec<_> = (0..50).map(|_| panel.gated(Ok("yes"))).collect();
    let mut task = panel.gather(Mode::All);
    while task.poll().is_none() && gates.iter().any(|gate| gate.polls() == 0) {}
    for gate in gates.iter().rev() {
        gate.open();
        if let Some(result) = task.poll() {
            assert_eq!(result.unwrap().into_answers().len(), 50);
        }
    }
    assert!(
        gates.iter().all(|gate| gate.polls() == 2),
        "one to begin and one to end"
    );
}

#[test]
fn a_gather_begins_when_it_is_polled() {
    let mut panel = Panel::new();
    let mut task = panel.gather(Mode::All);
    panel.at_once(Ok("registered later"));
    assert_eq!(told(task.poll().unwrap()), "all: registered later");
}

#[test]
fn an_answer_gets_the_payload_and_rejects_another_type() {
    let panel = Panel::new();
    let emitter = &panel.emitter;
    let _guards = [
        emitter
            .answer_payload("sum", |pair: Arc<(u32, u32)>| async move {
                pair.0.checked_add(pair.1).ok_or("overflow")
            })
            .unwrap(),
        emitter
            .answer_payload("sum", |_: Arc<String>| ready(Ok::<u32, AnswerError>(0)))
            .unwrap(),
    ];
    let gather = |pair: (u32, u32)| {
        emitter
            .gather("sum", Arc::new(pair), Mode::AllSettled, TIMEOUT)
            .now_or_never()
            .unwrap()
    };
    let Ok(Gathered::AllSettled(settled)) = gather((1, 2)) else {
        panic!("not settled")
    };
    let Settled::Rejected(error) = &settled[1] else {
        panic!("{settled:?}")
    };
    assert_eq!(error.kind, FailureKind::Error);
    assert_eq!(
        &*error.message,
        "expected a payload of type alloc::string::String"
    );
    assert_eq!(Gathered::AllSettled(settled).answers_as::<u32>(), [3]);
    assert_eq!(gather((u32::MAX, 2)).unwrap().answers_as::<u32>(), []);
}

#[test]
fn answering_listeners_stand_apart_from_the_others() {
    let panel = Panel::new();
    let emitter = &panel.emitter;
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let plain = emitter
        .on("ask", move |_| {
            counter.fetch_add(1, Relaxed);
        })
        .unwrap();
    let answering = emitter
        .answer("ask", |_| ready(Ok(Box::new(1_u8) as Answer)))
        .unwrap();
    assert_eq!(
        (emitter.listener_count("ask"), emitter.answerer_count("ask")),
        (1, 1)
    );
    emitter.emit("ask", &());
    let gather = emitter.gather("ask", Arc::new(()), Mode::All, TIMEOUT);
    assert_eq!(
        gather.now_or_never().unwrap().unwrap().answers_as::<u8>(),
        [1]
    );
    assert_eq!(count.load(Relaxed), 1);

    drop(plain);
    assert!(
        !emitter.emit("ask", &()),
        "an emit does not start the answering one"
    );
    assert_eq!(emitter.event_names().len(), 1);
    drop(answering);
    assert_eq!((emitter.stats().topics, emitter.stats().listeners), (0, 0));
    emitter.answer("ask", |_| pending()).unwrap().detach();
    assert_eq!(emitter.remove_all(None), 1);
}
