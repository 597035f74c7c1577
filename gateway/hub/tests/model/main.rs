//! Random operations against naive models of the hub and of the outbox, and threads that race.
//!
//! A run is a number: `ROOMWIRE_MODEL_SEED=n` replays one, `ROOMWIRE_MODEL_SEEDS=n` says how many
//! are tried. The models are in `oracle` (who gets what from rooms) and `outbox` (what gives at the
//! bound); `hub` drives both side by side with the real thing, `race` uses threads and checks what
//! must hold whoever wins.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "everything here is a test, also outside of the functions marked as such"
)]

mod hub;
mod oracle;
mod outbox;
mod race;
mod rng;

/// Runs one seed after another and names the one that failed.
fn for_each_seed(default: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let read = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(value.parse().expect("a seed is a whole number"))
    };
    let seeds = match read("ROOMWIRE_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..read("ROOMWIRE_MODEL_SEEDS").unwrap_or(default),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = outcome {
            println!("replay with ROOMWIRE_MODEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
