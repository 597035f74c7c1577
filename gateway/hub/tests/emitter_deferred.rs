//! The rules of deferred emits: their order in a turn, delays, cancelling, bounds, threads.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Wake, Waker},
    thread,
    time::Duration,
};

use roomwire_hub::emitter::{
    DeferError, Deferred, Emitter, Event, Scheduler, SchedulerLimits, SchedulerStats,
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An emitter whose event `note` writes its text down.
struct Desk {
    emitter: Emitter,
    notes: Arc<Mutex<Vec<&'static str>>>,
}

impl Desk {
    fn new() -> Self {
        let (emitter, notes) = (Emitter::new(), Arc::<Mutex<Vec<_>>>::default());
        let seen = Arc::clone(&notes);
        let note = move |note: &&'static str| seen.lock().expect("not poisoned").push(*note);
        emitter
            .on_payload("note", note)
            .expect("within the limits")
            .detach();
        Self { emitter, notes }
    }

    fn notes(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.notes.lock().expect("not poisoned"))
    }

    /// Runs `act` with the emitter at the next `event`.
    fn when(&self, event: &str, act: impl Fn(&Emitter) + Send + Sync + 'static) {
        let listener = move |event: &Event<'_>| act(event.emitter());
        self.emitter
            .once(event, listener)
            .expect("within the limits")
            .detach();
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Wakes {
    fn of(scheduler: &Scheduler) -> Arc<Self> {
        let wakes = Arc::<Self>::default();
        scheduler.set_waker(Waker::from(Arc::clone(&wakes)));
        wakes
    }

    fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// One turn of a worker's loop, as the scheduler's documentation gives it.
fn turn(scheduler: &mut Scheduler, now: u64, input: impl FnOnce()) {
    scheduler.begin_turn(now);
    scheduler.run_immediates();
    scheduler.run_timers(now);
    input();
    scheduler.run_next_ticks();
    scheduler.end_turn();
}

#[test]
fn a_turn_runs_immediates_then_timers_then_input_then_next_ticks() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let emitter = &desk.emitter;
    let _entered = scheduler.enter();
    turn(&mut scheduler, 0, || {
        emitter.emit_after(ms(5), "note", "timer 5").unwrap();
        emitter.emit_immediate("note", "immediate").unwrap();
        emitter.emit_next_tick("note", "next tick").unwrap();
        emitter.emit_after(ms(3), "note", "timer 3").unwrap();
        emitter.emit("note", &"input");
    });
    assert_eq!(desk.notes(), ["input", "next tick"]);
    turn(&mut scheduler, 5, || {
        emitter.emit("note", &"more input");
        emitter.emit_next_tick("note", "its next tick").unwrap();
    });
    let expected = [
        "immediate",
        "timer 3",
        "timer 5",
        "more input",
        "its next tick",
    ];
    assert_eq!(desk.notes(), expected);
    assert_eq!(scheduler.next_deadline(), None);
}

#[test]
fn next_ticks_queued_by_next_ticks_run_in_the_same_call() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let _entered = scheduler.enter();
    desk.when("go", |emitter| {
        emitter
            .emit_next_tick("note", "queued by the first")
            .unwrap();
    });
    desk.emitter.emit_next_tick("go", ()).unwrap();
    desk.emitter.emit_next_tick("note", "second").unwrap();
    assert_eq!(scheduler.run_next_ticks(), 3);
    assert_eq!(desk.notes(), ["second", "queued by the first"]);
}

#[test]
fn a_next_tick_that_queues_itself_again_cannot_keep_the_loop_from_its_input() {
    let limits = SchedulerLimits {
        next_tick_budget: 100,
        ..SchedulerLimits::default()
    };
    let mut scheduler = Scheduler::with_limits(limits);
    let emitter = Emitter::new();
    let _guard = emitter
        .on("again", |event| {
            event.emitter().emit_next_tick("again", ()).map(drop)
        })
        .unwrap();
    emitter.attach(&scheduler);
    emitter.emit_next_tick("again", ()).unwrap();
    assert_eq!(scheduler.run_next_ticks(), 100);
    assert_eq!(
        scheduler.next_deadline(),
        Some(0),
        "the loop shall not sleep"
    );
    assert_eq!(scheduler.run_next_ticks(), 100);
}

#[test]
fn immediates_queued_by_immediates_wait_for_the_next_turn() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let _entered = scheduler.enter();
    desk.when("go", |emitter| {
        emitter
            .emit_immediate("note", "queued by the first")
            .unwrap();
    });
    desk.emitter.emit_immediate("go", ()).unwrap();
    desk.emitter.emit_immediate("note", "second").unwrap();
    assert_eq!(scheduler.run_immediates(), 2);
    assert_eq!(desk.notes(), ["second"]);
    assert_eq!(scheduler.next_deadline(), Some(0));
    assert_eq!(scheduler.run_immediates(), 1);
    assert_eq!(desk.notes(), ["queued by the first"]);
}

#[test]
fn timers_run_by_deadline_and_then_in_the_order_of_setting() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let _entered = scheduler.enter();
    scheduler.begin_turn(1_000);
    for (delay, note) in [(20, "20"), (10, "10"), (20, "20 again"), (15, "15")] {
        desk.emitter.emit_after(ms(delay), "note", note).unwrap();
    }
    scheduler.end_turn();
    assert_eq!(scheduler.next_deadline(), Some(1_010));
    assert_eq!(scheduler.run_timers(1_009), 0);
    assert_eq!(scheduler.run_timers(1_010), 1);
    assert_eq!(scheduler.next_deadline(), Some(1_015));
    assert_eq!(scheduler.run_timers(5_000), 3);
    assert_eq!(desk.notes(), ["10", "15", "20", "20 again"]);
}

#[test]
fn a_delay_is_rounded_up_to_milliseconds_and_is_one_at_least() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let _entered = scheduler.enter();
    for (delay, deadline) in [
        (Duration::ZERO, 101),
        (Duration::from_nanos(1), 101),
        (Duration::from_micros(1_001), 102),
        (ms(2), 102),
        (Duration::MAX, u64::MAX),
    ] {
        scheduler.begin_turn(100);
        let timer = desk.emitter.emit_after(delay, "note", "").unwrap();
        assert_eq!(scheduler.next_deadline(), Some(deadline), "{delay:?}");
        assert!(timer.cancel());
    }
}

#[test]
fn a_delay_set_where_the_time_is_unknown_counts_from_the_next_run() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    desk.emitter.attach(&scheduler);
    scheduler.run_timers(1_000);
    desk.emitter.emit_after(ms(10), "note", "x").unwrap();
    assert_eq!(
        scheduler.next_deadline(),
        Some(0),
        "the loop must give it a deadline"
    );
    scheduler.run_timers(7_000);
    assert_eq!(scheduler.next_deadline(), Some(7_010));
    desk.emitter.emit_after(ms(10), "note", "y").unwrap();
    scheduler.begin_turn(7_002);
    assert_eq!(scheduler.run_timers(7_011), 1);
    assert_eq!(scheduler.run_timers(7_012), 1);
    assert_eq!(desk.notes(), ["x", "y"]);
}

#[test]
fn a_timer_set_by_a_timer_is_not_due_in_the_same_call() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let _entered = scheduler.enter();
    desk.when("go", |emitter| {
        emitter.emit_after(Duration::ZERO, "note", "later").unwrap();
    });
    desk.emitter.emit_after(ms(1), "go", ()).unwrap();
    scheduler.run_timers(0);
    assert_eq!(scheduler.run_timers(50), 1);
    assert_eq!(scheduler.next_deadline(), Some(51));
}

#[test]
fn emit_every_stays_on_its_grid_and_leaves_missed_times_out() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let _entered = scheduler.enter();
    scheduler.begin_turn(0);
    let every = desk.emitter.emit_every(ms(10), "note", "tick").unwrap();
    for (now, ran, next) in [
        (9, 0, 10),
        (10, 1, 20),
        (23, 1, 30),
        (30, 1, 40),
        (75, 1, 80),
    ] {
        assert_eq!(scheduler.run_timers(now), ran, "at {now}");
        assert_eq!(scheduler.next_deadline(), Some(next), "at {now}");
    }
    assert!(every.is_pending() && every.cancel() && !every.is_pending());
    assert_eq!(scheduler.next_deadline(), None);
    assert_eq!(desk.notes().len(), 4);
}

#[test]
fn emit_every_can_be_cancelled_from_its_own_listener() {
    let (emitter, mut scheduler) = (Emitter::new(), Scheduler::new());
    let _entered = scheduler.enter();
    let every = Arc::new(Mutex::new(None::<Deferred>));
    let own = Arc::clone(&every);
    let _guard = emitter
        .on("tick", move |_| {
            assert!(own.lock().unwrap().as_ref().unwrap().cancel());
        })
        .unwrap();
    *every.lock().unwrap() = Some(emitter.emit_every(ms(1), "tick", ()).unwrap());
    scheduler.run_timers(0);
    assert_eq!(scheduler.run_timers(1), 1);
    assert_eq!(scheduler.stats().timers, 0);
    assert_eq!(emitter.stats().panics, 0);
}

#[test]
fn what_is_cancelled_does_not_run_and_frees_its_payload_at_once() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let emitter = &desk.emitter;
    let _entered = scheduler.enter();
    let payload = Arc::new("never");
    let all = [
        emitter
            .emit_next_tick("note", Arc::clone(&payload))
            .unwrap(),
        emitter
            .emit_immediate("note", Arc::clone(&payload))
            .unwrap(),
        emitter
            .emit_after(ms(1), "note", Arc::clone(&payload))
            .unwrap(),
        emitter
            .emit_every(ms(1), "note", Arc::clone(&payload))
            .unwrap(),
    ];
    scheduler.begin_turn(0);
    let armed = emitter
        .emit_after(ms(1), "note", Arc::clone(&payload))
        .unwrap();
    for deferred in all.iter().chain([&armed]) {
        assert!(deferred.is_pending() && deferred.cancel());
        assert!(!deferred.is_pending() && !deferred.cancel());
    }
    assert_eq!(Arc::strong_count(&payload), 1);
    assert_eq!(scheduler.next_deadline(), None);
    assert_eq!(scheduler.run_next_ticks() + scheduler.run_immediates(), 0);
    assert_eq!(scheduler.run_timers(100), 0);
}

#[test]
fn a_next_tick_can_cancel_one_that_comes_after_it() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let _entered = scheduler.enter();
    let victim = Arc::new(Mutex::new(None::<Deferred>));
    let held = Arc::clone(&victim);
    desk.when("go", move |_| {
        assert!(held.lock().unwrap().take().unwrap().cancel())
    });
    desk.emitter.emit_next_tick("go", ()).unwrap();
    *victim.lock().unwrap() = Some(desk.emitter.emit_next_tick("note", "victim").unwrap());
    desk.emitter.emit_next_tick("note", "survivor").unwrap();
    assert_eq!(scheduler.run_next_ticks(), 2);
    assert_eq!(desk.notes(), ["survivor"]);
}

#[test]
fn dropping_the_handle_does_not_cancel() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    desk.emitter.attach(&scheduler);
    drop(desk.emitter.emit_next_tick("note", "still here").unwrap());
    scheduler.run_next_ticks();
    assert_eq!(desk.notes(), ["still here"]);
}

#[test]
fn full_queues_refuse_and_count_and_cancelling_makes_room() {
    let limits = SchedulerLimits {
        max_next_ticks: 1,
        max_immediates: 2,
        max_timers: 2,
        ..SchedulerLimits::default()
    };
    let scheduler = Scheduler::with_limits(limits);
    let emitter = Emitter::new();
    emitter.attach(&scheduler);
    let tick = emitter.emit_next_tick("x", ()).unwrap();
    let immediates = [0, 1].map(|_| emitter.emit_immediate("x", ()).unwrap());
    let timers = [
        emitter.emit_after(ms(1), "x", ()),
        emitter.emit_every(ms(1), "x", ()),
    ];
    let payload = Arc::new(());
    for refused in [
        emitter.emit_next_tick("x", Arc::clone(&payload)),
        emitter.emit_immediate("x", Arc::clone(&payload)),
        emitter.emit_after(ms(1), "x", Arc::clone(&payload)),
        scheduler.call_after(ms(1), || {}),
    ] {
        assert_eq!(refused.map(drop), Err(DeferError::Full));
    }
    assert_eq!(Arc::strong_count(&payload), 1);
    assert_eq!(emitter.stats().deferred_refused, 3);
    let expected = SchedulerStats {
        next_ticks: 1,
        immediates: 2,
        timers: 2,
        refused: 4,
        panics: 0,
    };
    assert_eq!(scheduler.stats(), expected);

    assert!(tick.cancel() && immediates[0].cancel() && timers[0].as_ref().unwrap().cancel());
    emitter.emit_next_tick("x", ()).unwrap();
    emitter.emit_immediate("x", ()).unwrap();
    emitter.emit_after(ms(1), "x", ()).unwrap();
}

#[test]
fn queueing_and_cancelling_over_and_over_neither_fills_a_queue_nor_disturbs_it() {
    let limits = SchedulerLimits {
        max_immediates: 3,
        max_timers: 3,
        ..SchedulerLimits::default()
    };
    let mut scheduler = Scheduler::with_limits(limits);
    let desk = Desk::new();
    desk.emitter.attach(&scheduler);
    desk.emitter.emit_immediate("note", "first").unwrap();
    for _ in 0..1_000 {
        assert!(
            desk.emitter
                .emit_immediate("note", "never")
                .unwrap()
                .cancel()
        );
        assert!(
            desk.emitter
                .emit_after(ms(1), "note", "never")
                .unwrap()
                .cancel()
        );
    }
    desk.emitter.emit_immediate("note", "last").unwrap();
    assert_eq!(scheduler.run_immediates(), 2);
    assert_eq!(desk.notes(), ["first", "last"]);
}

#[test]
fn without_a_scheduler_there_is_a_typed_error() {
    let emitter = Emitter::new();
    assert_eq!(
        emitter.emit_next_tick("x", ()).map(drop),
        Err(DeferError::NoScheduler)
    );
    let scheduler = Scheduler::new();
    let handle = scheduler.handle();
    emitter.attach(&scheduler);
    emitter.emit_next_tick("x", ()).unwrap();
    drop(scheduler);
    assert_eq!(
        emitter.emit_next_tick("x", ()).map(drop),
        Err(DeferError::NoScheduler)
    );
    assert_eq!(
        handle.call_after(ms(1), || {}).map(drop),
        Err(DeferError::NoScheduler)
    );
    assert_eq!(emitter.stats().deferred_refused, 2);
}

#[test]
fn a_thread_defers_to_the_scheduler_it_entered_last_and_has_not_left() {
    let desk = Desk::new();
    let [mut one, mut two] = [Scheduler::new(), Scheduler::new()];
    let entered_one = one.enter();
    {
        let _entered_two = two.enter();
        desk.emitter.emit_next_tick("note", "two").unwrap();
    }
    desk.emitter.emit_next_tick("note", "one").unwrap();
    drop(entered_one);
    assert!(desk.emitter.emit_next_tick("note", "nobody").is_err());
    assert_eq!((one.stats().next_ticks, two.stats().next_ticks), (1, 1));
    two.run_next_ticks();
    one.run_next_ticks();
    assert_eq!(desk.notes(), ["two", "one"]);
}

#[test]
fn another_thread_defers_to_the_first_attached_scheduler_that_is_alive() {
    let desk = Desk::new();
    let [one, two] = [Scheduler::new(), Scheduler::new()];
    desk.emitter.attach(&one);
    desk.emitter.attach(&two);
    let defer = || {
        let emitter = desk.emitter.clone();
        thread::spawn(move || emitter.emit_next_tick("note", "x").map(drop))
            .join()
            .unwrap()
    };
    assert_eq!(defer(), Ok(()));
    assert_eq!((one.stats().next_ticks, two.stats().next_ticks), (1, 0));
    drop(one);
    assert_eq!(defer(), Ok(()));
    assert_eq!(two.stats().next_ticks, 1);
}

#[test]
fn what_a_scheduler_runs_defers_to_it_also_on_a_thread_that_has_not_entered_it() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let emitter = desk.emitter.clone();
    scheduler
        .call_after(ms(1), move || {
            drop(emitter.emit_next_tick("note", "found it").unwrap())
        })
        .unwrap();
    scheduler.run_timers(0);
    scheduler.run_timers(1);
    scheduler.run_next_ticks();
    assert_eq!(desk.notes(), ["found it"]);
    assert_eq!(scheduler.stats().panics, 0);
}

#[test]
fn the_waker_is_woken_once_for_what_comes_from_outside_until_the_loop_looks() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let wakes = Wakes::of(&scheduler);
    desk.emitter.attach(&scheduler);
    thread::scope(|scope| {
        scope.spawn(|| {
            desk.emitter.emit_next_tick("note", "x").unwrap();
            desk.emitter.emit_immediate("note", "x").unwrap();
            desk.emitter.emit_after(ms(1), "note", "x").unwrap();
        });
    });
    assert_eq!(wakes.count(), 1);
    turn(&mut scheduler, 0, || {});
    desk.emitter.emit_next_tick("note", "x").unwrap();
    assert_eq!(wakes.count(), 2);
}

#[test]
fn a_worker_in_its_turn_is_not_woken_by_itself_but_by_others() {
    let (desk, mut scheduler) = (Desk::new(), Scheduler::new());
    let wakes = Wakes::of(&scheduler);
    let _entered = scheduler.enter();
    desk.emitter.attach(&scheduler);
    desk.when("go", |emitter| {
        drop(emitter.emit_immediate("note", "x").unwrap())
    });
    turn(&mut scheduler, 0, || {
        desk.emitter.emit_immediate("note", "x").unwrap();
        desk.emitter.emit_after(ms(1), "note", "x").unwrap();
        desk.emitter.emit_next_tick("go", ()).unwrap();
    });
    assert_eq!(wakes.count(), 0);
    scheduler.begin_turn(1);
    thread::scope(|scope| {
        scope.spawn(|| desk.emitter.emit_immediate("note", "x").map(drop).unwrap());
    });
    assert_eq!(wakes.count(), 1);
    scheduler.end_turn();
}

#[test]
fn a_waker_set_late_is_woken_at_once() {
    let scheduler = Scheduler::new();
    let idle = Wakes::of(&scheduler);
    scheduler.call_after(ms(1), || {}).unwrap();
    let late = Wakes::of(&scheduler);
    assert_eq!((idle.count(), late.count()), (1, 1));
}

#[test]
fn nothing_queued_from_other_threads_is_lost_or_run_twice() {
    const EACH: usize = 1_000;
    let mut scheduler = Scheduler::new();
    let emitter = Emitter::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let _guard = emitter
        .on("x", move |_| {
            counter.fetch_add(1, Relaxed);
        })
        .unwrap();
    emitter.attach(&scheduler);
    thread::scope(|scope| {
        let threads = [0, 1, 2].map(|kind| {
            let emitter = &emitter;
            scope.spawn(move || {
                for _ in 0..EACH {
                    match kind {
                        0 => emitter.emit_next_tick("x", ()),
                        1 => emitter.emit_immediate("x", ()),
                        _ => emitter.emit_after(ms(1), "x", ()),
                    }
                    .unwrap();
                }
            })
        });
        let mut now = 0;
        while !threads.iter().all(|thread| thread.is_finished())
            || scheduler.next_deadline().is_some()
        {
            now += 1;
            turn(&mut scheduler, now, || {});
        }
    });
    assert_eq!(count.load(Relaxed), 3 * EACH);
}

#[test]
fn a_call_that_panics_is_counted_and_the_others_run() {
    let mut scheduler = Scheduler::new();
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    scheduler
        .call_after(ms(1), || panic!("in a timer"))
        .unwrap();
    scheduler
        .call_after(ms(1), move || {
            counter.fetch_add(1, Relaxed);
        })
        .unwrap();
    scheduler.run_timers(0);
    assert_eq!(scheduler.run_timers(1), 2);
    assert_eq!((scheduler.stats().panics, ran.load(Relaxed)), (1, 1));
}

#[test]
fn a_scheduler_that_is_dropped_drops_what_waits_in_it() {
    let scheduler = Scheduler::new();
    let emitter = Emitter::new();
    emitter.attach(&scheduler);
    let payload = Arc::new(());
    let deferred = emitter
        .emit_after(ms(1), "x", Arc::clone(&payload))
        .unwrap();
    drop(scheduler);
    assert_eq!(Arc::strong_count(&payload), 1);
    assert!(!deferred.is_pending() && !deferred.cancel());
}

#[test]
fn a_deferred_emit_keeps_its_emitter_and_creates_no_topic() {
    let mut scheduler = Scheduler::new();
    let emitter = Emitter::new();
    emitter.attach(&scheduler);
    emitter.emit_next_tick("unheard of", ()).unwrap();
    let topic = emitter.topic("x").unwrap();
    topic.emit_next_tick(1_u8).unwrap();
    topic.emit_immediate(2_u8).unwrap();
    let sum = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sum);
    let add = move |n: &u8| {
        counter.fetch_add(usize::from(*n), Relaxed);
    };
    emitter.on_payload("x", add).unwrap().detach();
    drop((topic, emitter));
    assert_eq!(scheduler.run_next_ticks() + scheduler.run_immediates(), 3);
    assert_eq!(sum.load(Relaxed), 3);
    assert_eq!(
        Arc::strong_count(&sum),
        1,
        "the emitter is gone with the last of them"
    );
}
