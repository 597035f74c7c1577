//! What an emit costs: through a topic handle and by name, with none, one and ten listeners.
//!
//! The budget: one listener through a handle in at most 10 ns, by name in at most 60 ns, on the
//! reference machine. Every listener runs under its own `catch_unwind`.

use divan::{Bencher, black_box};
use roomwire_hub::emitter::{Emitter, name};

fn main() {
    divan::main();
}

/// An emitter on whose `message` so many listeners listen, with neighbours in the map.
fn emitter(listeners: usize) -> Emitter {
    let emitter = Emitter::new();
    for event in [
        name::CONNECTION,
        name::JOIN,
        name::LEAVE,
        name::PUBLISH,
        name::CLOSE,
    ] {
        listen(&emitter, event);
    }
    for _ in 0..listeners {
        listen(&emitter, name::MESSAGE);
    }
    emitter
}

fn listen(emitter: &Emitter, event: &str) {
    let guard = emitter.on_payload(event, |payload: &u64| {
        black_box(*payload);
    });
    guard.expect("within the limits").detach();
}

#[divan::bench(args = [0, 1, 10])]
fn through_a_topic(bencher: Bencher<'_, '_>, listeners: usize) {
    let topic = emitter(listeners)
        .topic(name::MESSAGE)
        .expect("within the limits");
    bencher.bench_local(|| black_box(&topic).emit(black_box(&7_u64)));
}

/// The listener takes the event as it is, without asking for a type.
#[divan::bench]
fn through_a_topic_untyped(bencher: Bencher<'_, '_>) {
    let emitter = Emitter::new();
    let guard = emitter.on(name::MESSAGE, |event| {
        black_box(event.any());
    });
    guard.expect("within the limits").detach();
    let topic = emitter.topic(name::MESSAGE).expect("within the limits");
    bencher.bench_local(|| black_box(&topic).emit(black_box(&7_u64)));
}

#[divan::bench(args = [0, 1, 10])]
fn by_name(bencher: Bencher<'_, '_>, listeners: usize) {
    let emitter = emitter(listeners);
    bencher.bench_local(|| black_box(&emitter).emit(black_box(name::MESSAGE), black_box(&7_u64)));
}

/// An event that nobody ever registered, as it may come in over HTTP.
#[divan::bench]
fn by_an_unknown_name(bencher: Bencher<'_, '_>) {
    let emitter = emitter(1);
    bencher.bench_local(|| black_box(&emitter).emit(black_box("unheardOf"), black_box(&7_u64)));
}

#[divan::bench]
fn has_listeners(bencher: Bencher<'_, '_>) {
    let topic = emitter(1).topic(name::MESSAGE).expect("within the limits");
    bencher.bench_local(|| black_box(&topic).has_listeners());
}
