//! Random programs on the emitter and on a model simple enough to be seen right.
//!
//! Every listener carries a script that is a function of the seed, its number and how often it ran:
//! it registers, removes and emits while it is being called. Both worlds write down who ran; the
//! traces must be equal, and so must the counts after each step. `ROOMWIRE_MODEL_SEED=n` replays one seed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use roomwire_hub::emitter::{Emitter, Event, ListenerId, Topic};

const EVENTS: [&str; 3] = ["a", "b", "c"];
const SEEDS: u64 = 300;
const STEPS: u64 = 60;
/// Emits within emits; a script is cut off there, in both worlds alike.
const MAX_DEPTH: u64 = 3;

/// Mixes numbers into one that looks random (splitmix64's finaliser).
fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |state, number| {
        let mut z = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Add {
        event: usize,
        first: bool,
        once: bool,
    },
    Remove {
        listener: u64,
    },
    RemoveAll {
        event: usize,
    },
    Emit {
        event: usize,
        topic: bool,
    },
    Nothing,
}

fn action(random: u64, listeners: u64) -> Action {
    let event = (random >> 8) as usize % EVENTS.len();
    let (one, two) = (random & 1 != 0, random & 2 != 0);
    match (random >> 32) % 16 {
        0..=5 => Action::Add {
            event,
            first: one,
            once: two,
        },
        6..=8 => Action::Remove {
            listener: (random >> 16) % listeners.max(1),
        },
        9 if one && two => Action::RemoveAll { event },
        9..=13 => Action::Emit { event, topic: one },
        _ => Action::Nothing,
    }
}

trait World {
    fn act(&self, action: Action, depth: u64);
}

/// What both worlds keep.
#[derive(Default)]
struct Record {
    trace: Vec<u64>,
    runs: HashMap<u64, u64>,
    listeners: u64,
}

impl Record {
    /// Notes a run and tells what the script does in it.
    fn run(&mut self, seed: u64, listener: u64) -> Action {
        self.trace.push(listener);
        let runs = self.runs.entry(listener).or_default();
        *runs += 1;
        action(mix(&[seed, listener, *runs]), self.listeners)
    }

    fn add(&mut self) -> u64 {
        self.listeners += 1;
        self.listeners - 1
    }
}

struct Real {
    seed: u64,
    emitter: Emitter,
    record: Mutex<Record>,
    ids: Mutex<HashMap<u64, ListenerId>>,
}

thread_local! {
    static TOPICS: std::cell::RefCell<Vec<std::rc::Rc<Topic>>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

#[derive(Clone)]
struct RealWorld(Arc<Real>);

impl World for RealWorld {
    fn act(&self, action: Action, depth: u64) {
        let real = &*self.0;
        match action {
            Action::Add { event, first, once } => {
                let listener = real.record.lock().expect("not poisoned").add();
                // Not the world itself, which would be a cycle.
                let world = Arc::downgrade(&self.0);
                let run = move |event: &Event<'_>| {
                    let world = Self(world.upgrade().expect("the world is there"));
                    let depth = *event.payload::<u64>().expect("the payload is the depth");
                    let next = world
                        .0
                        .record
                        .lock()
                        .expect("not poisoned")
                        .run(world.0.seed, listener);
                    world.act(next, depth + 1);
                };
                let event = EVENTS[event];
                let emitter = &real.emitter;
                let guard = match (first, once) {
                    (false, false) => emitter.on(event, run),
                    (false, true) => emitter.once(event, run),
                    (true, false) => emitter.prepend(event, run),
                    (true, true) => emitter.prepend_once(event, run),
                };
                let id = guard.expect("within the limits").detach();
                real.ids.lock().expect("not poisoned").insert(listener, id);
            }
            Action::Remove { listener } => {
                let id = real
                    .ids
                    .lock()
                    .expect("not poisoned")
                    .get(&listener)
                    .cloned();
                if let Some(id) = id {
                    real.emitter.off(&id);
                }
            }
            Action::RemoveAll { event } => {
                real.emitter.remove_all(Some(EVENTS[event]));
            }
            Action::Emit { .. } if depth >= MAX_DEPTH => {}
            Action::Emit { event, topic: true } => {
                let topic = TOPICS.with_borrow(|topics| topics[event].clone());
                topic.emit(&depth);
            }
            Action::Emit {
                event,
                topic: false,
            } => {
                real.emitter.emit(EVENTS[event], &depth);
            }
            Action::Nothing => {}
        }
    }
}

#[derive(Default)]
struct Model {
    seed: u64,
    record: Mutex<Record>,
    lists: Mutex<BTreeMap<usize, Vec<(u64, bool)>>>,
}

impl Model {
    fn list(&self, event: usize) -> Vec<(u64, bool)> {
        self.lists
            .lock()
            .expect("not poisoned")
            .entry(event)
            .or_default()
            .clone()
    }

    fn remove(&self, listener: u64) {
        for list in self.lists.lock().expect("not poisoned").values_mut() {
            list.retain(|(other, _)| *other != listener);
        }
    }

    fn has_run(&self, listener: u64) -> bool {
        self.record
            .lock()
            .expect("not poisoned")
            .runs
            .contains_key(&listener)
    }
}

impl World for Model {
    fn act(&self, action: Action, depth: u64) {
        match action {
            Action::Add { event, first, once } => {
                let listener = self.record.lock().expect("not poisoned").add();
                let mut lists = self.lists.lock().expect("not poisoned");
                let list = lists.entry(event).or_default();
                let index = if first { 0 } else { list.len() };
                list.insert(index, (listener, once));
            }
            Action::Remove { listener } => self.remove(listener),
            Action::RemoveAll { event } => {
                self.lists.lock().expect("not poisoned").remove(&event);
            }
            Action::Emit { .. } if depth >= MAX_DEPTH => {}
            Action::Emit { event, .. } => {
                for (listener, once) in self.list(event) {
                    if once && self.has_run(listener) {
                        continue;
                    }
                    if once {
                        self.remove(listener);
                    }
                    let next = self
                        .record
                        .lock()
                        .expect("not poisoned")
                        .run(self.seed, listener);
                    self.act(next, depth + 1);
                }
            }
            Action::Nothing => {}
        }
    }
}

fn check(seed: u64) -> usize {
    let emitter = Emitter::new();
    let topics = EVENTS.map(|event| std::rc::Rc::new(emitter.topic(event).expect("three topics")));
    TOPICS.set(topics.into());
    let real = RealWorld(Arc::new(Real {
        seed,
        emitter: emitter.clone(),
        record: Mutex::default(),
        ids: Mutex::default(),
    }));
    let model = Model {
        seed,
        ..Model::default()
    };
    for step in 0..STEPS {
        let listeners = model.record.lock().expect("not poisoned").listeners;
        let next = action(mix(&[seed, step, u64::MAX]), listeners);
        model.act(next, 0);
        real.act(next, 0);
        let (expected, seen) = (
            &model.record.lock().expect("not poisoned").trace,
            &real.0.record.lock().expect("not poisoned").trace,
        );
        assert_eq!(expected, seen, "seed {seed}, step {step}: {next:?}");
        let counts = |count: &dyn Fn(usize) -> usize| [count(0), count(1), count(2)];
        assert_eq!(
            counts(&|event| model.list(event).len()),
            counts(&|event| emitter.listener_count(EVENTS[event])),
            "seed {seed}, step {step}: {next:?}"
        );
        let total: usize = (0..EVENTS.len()).map(|event| model.list(event).len()).sum();
        assert_eq!(
            emitter.stats().listeners,
            total,
            "seed {seed}, step {step}: {next:?}"
        );
    }
    TOPICS.take();
    assert_eq!(emitter.stats().panics, 0, "seed {seed}");
    emitter.remove_all(None);
    assert_eq!(
        (emitter.stats().topics, emitter.stats().listeners),
        (0, 0),
        "seed {seed}"
    );
    model.record.lock().expect("not poisoned").trace.len()
}

#[test]
fn random_programs_run_as_the_model_says() {
    if let Ok(seed) = std::env::var("ROOMWIRE_MODEL_SEED") {
        check(seed.parse().expect("ROOMWIRE_MODEL_SEED is a number"));
        return;
    }
    let runs: usize = (0..SEEDS).map(check).sum();
    assert!(
        runs > 10_000,
        "the programs call too few listeners to show anything: {runs}"
    );
}
