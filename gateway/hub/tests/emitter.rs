//! The rules of the emitter: order, changes during an emit, guards, failures, bounds, topics.

use std::{
    cell::RefCell,
    panic::panic_any,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use roomwire_hub::emitter::{
    Emitter, Event, FailureKind, Guard, Limits, ListenerError, RegisterError, Topic, Warning, name,
};

/// What listeners have noted, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0
            .lock()
            .expect("nobody panics under it")
            .push(note.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("nobody panics under it"))
    }

    /// A listener that notes this.
    fn listener(&self, note: &'static str) -> impl Fn(&Event<'_>) + Send + Sync + 'static + use<> {
        let notes = self.clone();
        move |_| notes.add(note)
    }
}

fn counted() -> (
    Arc<AtomicUsize>,
    impl Fn(&Event<'_>) + Send + Sync + 'static,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    (count, move |_: &Event<'_>| {
        counter.fetch_add(1, Relaxed);
    })
}

/// Notes what reaches the unhandled-error hook.
fn unhandled(emitter: &Emitter) -> Notes {
    let notes = Notes::default();
    let hook = notes.clone();
    emitter.set_unhandled_error_hook(move |error| hook.add(error.to_string()));
    notes
}

#[test]
fn listeners_run_in_the_order_of_registration_and_prepended_ones_before() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let _guards = [
        emitter.on("x", notes.listener("first")).unwrap(),
        emitter.once("x", notes.listener("once")).unwrap(),
        emitter.on("x", notes.listener("last")).unwrap(),
        emitter.prepend("x", notes.listener("before")).unwrap(),
        emitter
            .prepend_once("x", notes.listener("very first"))
            .unwrap(),
    ];
    emitter.emit("x", &());
    assert_eq!(
        notes.take(),
        ["very first", "before", "first", "once", "last"]
    );
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["before", "first", "last"]);
}

#[test]
fn emit_runs_listeners_before_it_returns_and_tells_whether_there_were_any() {
    let emitter = Emitter::new();
    assert!(!emitter.emit("x", &()));
    let (count, listener) = counted();
    let guard = emitter.once("x", listener).unwrap();
    assert!(emitter.emit("x", &()));
    assert_eq!(count.load(Relaxed), 1);
    assert!(!emitter.emit("x", &()));
    drop(guard);
}

#[test]
fn a_listener_gets_the_name_the_payload_and_the_emitter() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let seen = notes.clone();
    let _guard = emitter
        .on("GET /hello", move |event| {
            assert_eq!(event.payload::<String>(), None);
            let number = event.payload::<u32>().unwrap();
            let count = event.emitter().listener_count(event.name());
            seen.add(format!("{} {number} {count}", event.name()));
        })
        .unwrap();
    emitter.emit("GET /hello", &7_u32);
    emitter.emit_any("GET /hello", &8_u32);
    assert_eq!(notes.take(), ["GET /hello 7 1", "GET /hello 8 1"]);
    assert_eq!(emitter.stats().panics, 0);
}

#[test]
fn a_listener_added_during_an_emit_runs_from_the_next_one_on() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let inner = notes.clone();
    let _guard = emitter
        .once("x", move |event| {
            inner.add("outer");
            event
                .emitter()
                .on("x", inner.listener("added"))
                .unwrap()
                .detach();
            event
                .emitter()
                .prepend("x", inner.listener("prepended"))
                .unwrap()
                .detach();
        })
        .unwrap();
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["outer"]);
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["prepended", "added"]);
}

#[test]
fn a_listener_removed_during_an_emit_still_runs_in_it() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let later = Arc::new(Mutex::new(None::<Guard>));
    let (inner, victim) = (notes.clone(), Arc::clone(&later));
    let _guard = emitter
        .on("x", move |_| {
            inner.add("remover");
            drop(victim.lock().unwrap().take());
        })
        .unwrap();
    *later.lock().unwrap() = Some(emitter.on("x", notes.listener("victim")).unwrap());
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["remover", "victim"]);
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["remover"]);
}

#[test]
fn remove_all_during_an_emit_lets_it_finish() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let inner = notes.clone();
    let remove_all = move |event: &Event<'_>| {
        inner.add(event.emitter().remove_all(Some("x")).to_string());
    };
    let _guards = [
        emitter.on("x", remove_all).unwrap(),
        emitter.on("x", notes.listener("second")).unwrap(),
    ];
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["2", "second"]);
    assert!(!emitter.emit("x", &()));
}

#[test]
fn once_is_removed_before_it_runs() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let inner = notes.clone();
    let _guard = emitter
        .once("x", move |event| {
            let reached = event.emitter().emit("x", &());
            inner.add(format!("{} {reached}", event.emitter().listener_count("x")));
            assert!(!event.remove_listener());
        })
        .unwrap();
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["0 false"]);
    assert_eq!(emitter.stats().panics, 0);
}

#[test]
fn once_runs_exactly_once_however_many_threads_emit() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 500;
    let emitter = Emitter::new();
    let (count, listener) = counted();
    let listener = Arc::new(listener);
    let reached = AtomicUsize::new(0);
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (emitter, listener, barrier, reached) = (&emitter, &listener, &barrier, &reached);
            scope.spawn(move || {
                let topic = emitter.topic("x").unwrap();
                for _ in 0..ROUNDS {
                    if thread == 0 {
                        let listener = Arc::clone(listener);
                        emitter
                            .once("x", move |event| listener(event))
                            .unwrap()
                            .detach();
                    }
                    barrier.wait();
                    let told = if thread % 2 == 0 {
                        topic.emit(&())
                    } else {
                        emitter.emit("x", &())
                    };
                    reached.fetch_add(usize::from(told), Relaxed);
                    barrier.wait();
                }
            });
        }
    });
    assert_eq!(count.load(Relaxed), ROUNDS);
    assert_eq!(
        reached.load(Relaxed),
        ROUNDS,
        "one emit of each round had the listener"
    );
    assert_eq!(emitter.stats().listeners, 0);
}

#[test]
fn dropping_the_guard_removes_the_listener_and_detaching_keeps_it() {
    let emitter = Emitter::new();
    let guard = emitter.on("x", |_| {}).unwrap();
    let id = emitter.on("x", |_| {}).unwrap().detach();
    assert_eq!(emitter.listener_count("x"), 2);
    drop(guard);
    assert_eq!(emitter.listener_count("x"), 1);
    assert_eq!(id.event(), "x");
    assert!(emitter.off(&id));
    assert!(!emitter.off(&id), "it is gone already");
    assert_eq!(emitter.stats().topics, 0);
}

#[test]
fn a_guard_may_outlive_its_emitter() {
    let emitter = Emitter::new();
    let guard = emitter.on("x", |_| {}).unwrap();
    drop(emitter);
    drop(guard);
}

#[test]
fn an_id_of_another_emitter_removes_nothing() {
    let (one, other) = (Emitter::new(), Emitter::new());
    let id = one.on("x", |_| {}).unwrap().detach();
    let _guard = other.on("x", |_| {}).unwrap();
    assert!(!other.off(&id));
    assert_eq!(other.listener_count("x"), 1);
}

#[test]
fn a_listener_can_remove_itself() {
    let emitter = Emitter::new();
    let _guard = emitter
        .on("x", |event| assert!(event.remove_listener()))
        .unwrap();
    assert!(emitter.emit("x", &()));
    assert!(!emitter.emit("x", &()));
    assert_eq!(emitter.stats().panics, 0);
}

#[test]
fn remove_all_removes_the_listeners_of_one_event_or_of_all() {
    let emitter = Emitter::new();
    let _guards = ["a", "a", "b", "c"].map(|event| emitter.on(event, |_| {}).unwrap());
    assert_eq!(emitter.remove_all(Some("a")), 2);
    assert_eq!(emitter.remove_all(Some("a")), 0);
    assert_eq!(emitter.event_names().len(), 2);
    assert_eq!(emitter.remove_all(None), 2);
    assert_eq!(emitter.event_names().len(), 0);
    assert_eq!(emitter.stats().listeners, 0);
}

#[test]
fn events_with_listeners_are_named_in_order_of_name() {
    let emitter = Emitter::new();
    let _guards = ["join", "close", "join"].map(|event| emitter.on(event, |_| {}).unwrap());
    let _topic = emitter.topic("nobody listens here").unwrap();
    let names = emitter.event_names();
    assert_eq!(
        names.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
        ["close", "join"]
    );
    assert_eq!(emitter.listener_count("join"), 2);
    assert_eq!(emitter.listener_count("leave"), 0);
}

#[test]
fn too_many_listeners_on_one_event_are_warned_of_once_with_event_and_count() {
    let emitter = Emitter::new();
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&warnings);
    emitter.set_warning_hook(move |warning| seen.lock().unwrap().push(warning.clone()));
    let guards: Vec<_> = (0..20).map(|_| emitter.on("x", |_| {}).unwrap()).collect();
    drop(guards);
    let _guards: Vec<_> = (0..10).map(|_| emitter.on("y", |_| {}).unwrap()).collect();
    let expected = Warning {
        event: "x".into(),
        count: 11,
        max_listeners: 10,
    };
    assert!(expected.to_string().contains("`x` has 11 listeners"));
    assert_eq!(*warnings.lock().unwrap(), [expected]);
    assert_eq!(emitter.stats().warnings, 1);
}

#[test]
fn the_number_to_warn_at_can_be_set_and_zero_never_warns() {
    let emitter = Emitter::new();
    emitter.set_max_listeners(0);
    let _many: Vec<_> = (0..20).map(|_| emitter.on("x", |_| {}).unwrap()).collect();
    assert_eq!(emitter.stats().warnings, 0);
    emitter.set_max_listeners(1);
    let _two = [
        emitter.on("y", |_| {}).unwrap(),
        emitter.on("y", |_| {}).unwrap(),
    ];
    assert_eq!(emitter.stats().warnings, 1);
}

#[test]
fn a_warning_hook_may_use_the_emitter() {
    let emitter = Emitter::new();
    let inner = emitter.clone();
    emitter.set_max_listeners(1);
    emitter.set_warning_hook(move |warning| {
        inner.remove_all(Some(&warning.event));
    });
    let _two = [
        emitter.on("y", |_| {}).unwrap(),
        emitter.on("y", |_| {}).unwrap(),
    ];
    assert_eq!(emitter.listener_count("y"), 0);
    // The hook holds the emitter, which holds the hook.
    emitter.set_warning_hook(|_| {});
}

#[test]
fn a_panic_is_caught_counted_and_emitted_as_error_and_the_others_still_run() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let seen = notes.clone();
    let _guards = [
        emitter.on("x", |_| -> () { panic!("boom {}", 1) }).unwrap(),
        emitter.on("x", |_| -> () { panic!("boom") }).unwrap(),
        emitter.on("x", notes.listener("after")).unwrap(),
        emitter
            .on_payload(name::ERROR, move |error: &ListenerError| {
                assert_eq!(error.kind, FailureKind::Panic);
                seen.add(error.to_string());
            })
            .unwrap(),
    ];
    assert!(emitter.emit("x", &()));
    let expected = [
        "a listener of `x` panicked: boom 1",
        "a listener of `x` panicked: boom",
        "after",
    ];
    assert_eq!(notes.take(), expected);
    let stats = emitter.stats();
    assert_eq!(
        (stats.panics, stats.errors, stats.unhandled_errors),
        (2, 0, 0)
    );
}

#[test]
fn an_error_is_counted_and_emitted_as_error_and_the_others_still_run() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let seen = notes.clone();
    let _guards = [
        emitter.on("x", |_| Err::<(), _>("no")).unwrap(),
        emitter.on("x", |_| Ok::<(), String>(())).unwrap(),
        emitter.on("x", notes.listener("after")).unwrap(),
        emitter
            .on(name::ERROR, move |event| {
                let error = event.expect_payload::<ListenerError>()?;
                seen.add(format!(
                    "{} {} {:?}",
                    error.event, error.message, error.kind
                ));
                Ok::<(), roomwire_hub::emitter::WrongPayload>(())
            })
            .unwrap(),
    ];
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["x no Error", "after"]);
    assert_eq!((emitter.stats().panics, emitter.stats().errors), (0, 1));
}

#[test]
fn an_error_that_nobody_listens_to_goes_to_the_hook() {
    let emitter = Emitter::new();
    emitter.emit(name::ERROR, &"before there is a hook");
    let notes = unhandled(&emitter);
    let _guard = emitter.on("x", |_| Err::<(), _>("no")).unwrap();
    emitter.emit("x", &());
    assert!(!emitter.emit(name::ERROR, &"text"));
    emitter.emit(name::ERROR, &String::from("owned"));
    emitter.topic(name::ERROR).unwrap().emit(&3_u8);
    let expected = [
        "a listener of `x` failed: no",
        "text",
        "owned",
        "an `error` event whose payload is not text",
    ];
    assert_eq!(notes.take(), expected);
    assert_eq!(emitter.stats().unhandled_errors, 5);
}

#[test]
fn a_failing_error_listener_goes_to_the_hook_and_does_not_recurse() {
    let emitter = Emitter::new();
    let notes = unhandled(&emitter);
    let (count, listener) = counted();
    let _guards = [
        emitter
            .on(name::ERROR, |_| -> () { panic!("worse") })
            .unwrap(),
        emitter.on(name::ERROR, listener).unwrap(),
        emitter.on("x", |_| Err::<(), _>("no")).unwrap(),
    ];
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["a listener of `error` panicked: worse"]);
    assert_eq!(
        count.load(Relaxed),
        1,
        "the error listeners after it still run"
    );
}

#[test]
fn an_error_listener_that_causes_further_failures_ends() {
    let emitter = Emitter::new();
    let notes = unhandled(&emitter);
    let _guards = [
        emitter.on("x", |_| Err::<(), _>("no")).unwrap(),
        emitter
            .on(name::ERROR, |event| {
                event.emitter().emit("x", &());
            })
            .unwrap(),
    ];
    emitter.emit("x", &());
    assert_eq!(notes.take(), ["a listener of `x` failed: no"]);
    emitter.emit("x", &());
    assert_eq!(
        emitter.stats().errors,
        4,
        "the next failure is handled as the first was"
    );
}

#[test]
fn a_panicking_hook_is_survived() {
    let emitter = Emitter::new();
    emitter.set_unhandled_error_hook(|_| panic!("the hook too"));
    emitter.set_warning_hook(|_| panic!("the hook too"));
    emitter.set_max_listeners(1);
    let _guards = ["x", "x"].map(|event| emitter.on(event, |_| -> () { panic!("x") }).unwrap());
    assert!(emitter.emit("x", &()));
    assert_eq!((emitter.stats().panics, emitter.stats().warnings), (2, 1));
}

#[test]
fn a_panic_with_any_payload_is_survived() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("in the destructor of a panic's payload");
        }
    }
    let emitter = Emitter::new();
    let notes = unhandled(&emitter);
    let _guards = [
        emitter.on("x", |_| -> () { panic_any(7) }).unwrap(),
        emitter.on("x", |_| -> () { panic_any(Grenade) }).unwrap(),
    ];
    assert!(emitter.emit("x", &()));
    assert_eq!(
        notes.take(),
        ["a listener of `x` panicked: a panic without a message"; 2]
    );
}

#[test]
fn a_wrong_payload_is_a_failure_of_the_listener_that_expects_another() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let failures = unhandled(&emitter);
    let seen = notes.clone();
    let _guards = [
        emitter
            .on_payload("x", move |n: &u32| seen.add(n.to_string()))
            .unwrap(),
        emitter
            .on_payload("x", |text: &String| text.parse::<u8>().map(drop))
            .unwrap(),
        emitter.once_payload("y", |_: &u32| {}).unwrap(),
    ];
    emitter.emit("x", &5_u32);
    emitter.emit("y", &"wrong");
    assert!(!emitter.emit("y", &5_u32), "its one run is used up");
    assert_eq!(notes.take(), ["5"]);
    let expected = [
        "a listener of `x` failed: expected a payload of type alloc::string::String",
        "a listener of `y` failed: expected a payload of type u32",
    ];
    assert_eq!(failures.take(), expected);
}

#[test]
fn listeners_may_emit_register_and_remove_on_the_same_event() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let seen = notes.clone();
    let _guard = emitter
        .on_payload("x", {
            let emitter = emitter.clone();
            move |depth: &u32| {
                seen.add(depth.to_string());
                drop(emitter.on("x", |_| {}));
                if *depth < 3 {
                    emitter.emit("x", &(depth + 1));
                }
            }
        })
        .unwrap();
    emitter.emit("x", &0_u32);
    assert_eq!(notes.take(), ["0", "1", "2", "3"]);
    // The listener holds the emitter, which holds the listener.
    emitter.remove_all(None);
}

#[test]
fn an_emit_within_an_emit_through_the_same_topic_handle_sees_the_current_listeners() {
    thread_local! {
        static TOPIC: RefCell<Option<std::rc::Rc<Topic>>> = const { RefCell::new(None) };
    }
    fn topic() -> std::rc::Rc<Topic> {
        TOPIC.with_borrow(|topic| topic.clone().expect("set below"))
    }
    let (emitter, notes) = (Emitter::new(), Notes::default());
    TOPIC.set(Some(std::rc::Rc::new(emitter.topic("x").unwrap())));
    let inner = notes.clone();
    let _guard = emitter
        .on_payload("x", move |depth: &u32| {
            inner.add(format!("outer {depth}"));
            if *depth == 0 {
                event_added(&inner);
                topic().emit(&1_u32);
                inner.add("back");
            }
        })
        .unwrap();
    fn event_added(notes: &Notes) {
        topic().on(notes.listener("added")).unwrap().detach();
    }
    topic().emit(&0_u32);
    assert_eq!(notes.take(), ["outer 0", "outer 1", "added", "back"]);
    topic().emit(&2_u32);
    assert_eq!(notes.take(), ["outer 2", "added"]);
    TOPIC.set(None);
}

#[test]
fn a_topic_handle_follows_every_change() {
    let (emitter, notes) = (Emitter::new(), Notes::default());
    let topic = emitter.topic("x").unwrap();
    let clone = topic.clone();
    assert!(!topic.emit(&()) && !topic.has_listeners());
    let one = emitter.on("x", notes.listener("one")).unwrap();
    let two = topic.on(notes.listener("two")).unwrap();
    let _once = topic.once(notes.listener("once")).unwrap();
    assert!(topic.has_listeners() && clone.has_listeners());
    assert!(topic.emit(&()));
    assert_eq!(notes.take(), ["one", "two", "once"]);
    assert!(clone.emit(&()));
    assert_eq!(notes.take(), ["one", "two"]);
    drop(one);
    assert!(topic.emit(&()));
    assert_eq!(notes.take(), ["two"]);
    drop(two);
    assert!(!topic.emit(&()) && !topic.has_listeners() && !clone.emit(&()));
    assert_eq!((topic.name(), topic.listener_count()), ("x", 0));
}

#[test]
fn any_thread_may_emit_register_and_remove_at_the_same_time() {
    const EMITS: usize = 2_000;
    let emitter = Emitter::new();
    let (count, listener) = counted();
    let _guard = emitter.on("x", listener).unwrap();
    let topic = emitter.topic("x").unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            let topic = topic.clone();
            scope.spawn(move || (0..EMITS).for_each(|_| assert!(topic.emit(&()))));
        }
        scope.spawn(|| (0..EMITS).for_each(|_| assert!(emitter.emit("x", &()))));
        scope.spawn(|| {
            for _ in 0..EMITS {
                let guard = emitter.on("x", |_| {}).unwrap();
                let other = emitter.prepend("x", |_| {}).unwrap();
                drop((guard, other));
            }
        });
    });
    assert_eq!(count.load(Relaxed), 3 * EMITS);
    assert_eq!(emitter.listener_count("x"), 1);
}

#[test]
fn emitting_an_unknown_name_creates_nothing() {
    let emitter = Emitter::new();
    for n in 0..1_000 {
        assert!(!emitter.emit(&format!("unheard-of-{n}"), &()));
    }
    assert_eq!(emitter.stats().topics, 0);
}

#[test]
fn topics_listeners_and_names_are_bounded_and_refusals_counted() {
    let limits = Limits {
        max_topics: 2,
        max_total_listeners: 3,
        max_name_bytes: 4,
    };
    let emitter = Emitter::with_limits(limits);
    let refused = |event: &str| emitter.on(event, |_| {}).map(drop).unwrap_err();
    let a = [
        emitter.on("a", |_| {}).unwrap(),
        emitter.on("a", |_| {}).unwrap(),
    ];
    let topic = emitter.topic("b").unwrap();
    assert_eq!(refused("c"), RegisterError::TooManyTopics);
    assert_eq!(
        emitter.topic("c").map(drop),
        Err(RegisterError::TooManyTopics)
    );
    assert_eq!(refused("abcde"), RegisterError::NameTooLong);
    let b = topic.on(|_| {}).unwrap();
    assert_eq!(refused("a"), RegisterError::TooManyListeners);
    assert_eq!(emitter.stats().refused, 4);
    assert_eq!((emitter.stats().topics, emitter.stats().listeners), (2, 3));

    drop((a, b, topic));
    assert_eq!((emitter.stats().topics, emitter.stats().listeners), (0, 0));
    let _room_again = ["c", "d", "d"].map(|event| emitter.on(event, |_| {}).unwrap());
}

#[test]
fn a_topic_stays_while_it_has_a_handle() {
    let emitter = Emitter::new();
    let topic = emitter.topic("x").unwrap();
    let clone = topic.clone();
    drop(emitter.on("x", |_| {}));
    drop(topic);
    assert_eq!(emitter.stats().topics, 1);
    let _guard = emitter.on("x", |_| {}).unwrap();
    assert!(clone.emit(&()), "it is the same topic still");
    drop(_guard);
    drop(clone);
    assert_eq!(emitter.stats().topics, 0);
}

#[test]
fn a_removed_listener_is_freed_at_once_and_by_a_handle_with_its_next_emit() {
    let emitter = Emitter::new();
    let held = Arc::new(());
    let listener = |held: &Arc<()>| {
        let held = Arc::clone(held);
        move |_: &Event<'_>| drop(Arc::clone(&held))
    };
    let guard = emitter.on("x", listener(&held)).unwrap();
    emitter.emit("x", &());
    drop(guard);
    assert_eq!(Arc::strong_count(&held), 1);

    let topic = emitter.topic("x").unwrap();
    let guard = emitter.on("x", listener(&held)).unwrap();
    topic.emit(&());
    drop(guard);
    topic.emit(&());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn what_a_listener_holds_may_use_the_emitter_when_it_is_dropped() {
    struct Emits(Emitter);
    impl Drop for Emits {
        fn drop(&mut self) {
            self.0.emit("gone", &());
            self.0.on("x", |_| {}).map(Guard::detach).map(drop).ok();
        }
    }
    let emitter = Emitter::new();
    let (count, listener) = counted();
    let _guard = emitter.on("gone", listener).unwrap();
    let holding = |event: &str| {
        let held = Emits(emitter.clone());
        emitter.on(event, move |_| drop(held.0.clone())).unwrap()
    };
    drop(holding("x"));
    holding("y").detach();
    emitter.remove_all(Some("y"));
    holding("z").detach();
    emitter
        .once("z", |event| {
            event.emitter().remove_all(Some("z"));
        })
        .unwrap()
        .detach();
    emitter.emit("z", &());
    assert_eq!(count.load(Relaxed), 3);
    assert_eq!(emitter.listener_count("x"), 3);
}
