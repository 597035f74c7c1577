//! The fuzz targets without a fuzzer: every seed goes through the body of its target.
//!
//! The bodies are `tests/fuzz/src/target`, taken as they are. What a fuzzer found becomes a seed
//! there, so that it is tried here ever after. Fuzzing itself: `tests/fuzz/README.md`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "helpers of tests fail by panicking, as tests do, and say so where they are told"
)]

#[path = "../fuzz/src/target/mod.rs"]
pub mod target;

#[test]
fn every_seed_of_every_target_holds() {
    for target in target::ALL {
        let seeds = (target.seeds)();
        assert!(seeds.len() > 5, "{target:?} has {} seeds", seeds.len());
        for seed in seeds {
            (target.run)(&seed);
        }
    }
}

/// A poor man's fuzzer: each seed cut short everywhere, and with each byte changed.
#[test]
fn seeds_that_are_cut_or_changed_hold_too() {
    for target in target::ALL {
        for seed in (target.seeds)().iter().filter(|seed| seed.len() < 200) {
            for at in 0..seed.len() {
                (target.run)(&seed[..at]);
                let mut changed = seed.clone();
                for flip in [1, 0x08, 0x80] {
                    changed[at] = seed[at] ^ flip;
                    (target.run)(&changed);
                }
            }
        }
    }
}
